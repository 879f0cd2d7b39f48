"""Releases on disk: manifests, the link to the live one, what is the same, what may go."""

from __future__ import annotations

import json
import os
import random
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import releases as module
from ansible_collections.slipway.vps.plugins.module_utils.releases import (
    BUILDING,
    FAILED,
    LIVE,
    MANIFEST,
    READY,
    RETIRED,
    ROLLED_BACK,
    Release,
    Store,
    by_service,
    held_back,
    last_good,
    new_id,
    now,
    prunable,
    reusable,
)

AT = datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc)
COMMIT = "4f2a9c10" + "0" * 32


def release(number: int, state: str, wanted: str = "f", live_at: int | None = None) -> Release:
    """Number and order of service are the same unless ``live_at`` says otherwise; what was never live has none."""
    served = live_at or (number if state in (LIVE, RETIRED, ROLLED_BACK) else 0)
    at = (AT + timedelta(hours=served)).isoformat() if served else None
    return Release(id=f"20261120T0722{number:02}-4f2a9c10", fingerprint=wanted, source={"commit": COMMIT}, state=state, live_at=at)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "releases").mkdir()
    return Store(tmp_path)


def saved(store: Store, number: int, state: str) -> Release:
    made = release(number, state)
    store.folder(made.id).mkdir()
    store.save(made)
    return made


# --- Ids ----------------------------------------------------------------------------------------


def test_an_id_shows_time_and_commit() -> None:
    """[S1] The form that the contract names."""
    assert new_id(COMMIT, AT, []) == "20261120T072201-4f2a9c10"


def test_ids_sort_by_time() -> None:
    """[S1] A rollback chooses by id, never by a file's time."""
    chance = random.Random(1)
    times = sorted(AT + timedelta(seconds=second) for second in chance.sample(range(10**8), 50))
    ids = [new_id(f"{chance.getrandbits(160):040x}", at, []) for at in times]
    assert ids == sorted(ids)


def test_ids_are_unique_and_still_sort_within_a_second() -> None:
    """[S1] Two quick deploys of one commit."""
    taken: list[str] = []
    for _ in range(20):
        taken.append(new_id(COMMIT, AT, taken))
    assert len(set(taken)) == 20 and taken == sorted(taken)


@pytest.mark.parametrize("identity", ["blog==1.4.0", f"{COMMIT}-dirty", "../../etc", "", "abc"])
def test_any_identity_makes_an_id(store: Store, identity: str) -> None:
    """[S1] What is no digest is hashed; the id is a plain folder name that the store finds again."""
    made = release(0, READY)
    made.id = new_id(identity, AT, [])
    store.folder(made.id).mkdir()
    store.save(made)
    assert store.all() == [made]
    assert new_id(identity, AT, []) != new_id(identity + "x", AT, [])


def test_now_is_utc() -> None:
    """[S1] A host whose clock changes with the season must not reorder releases."""
    assert now().utcoffset() == timedelta(0)


# --- Manifests ----------------------------------------------------------------------------------


def test_a_manifest_survives(store: Store) -> None:
    """[S1] All of it, for nobody but root and the app's group to read."""
    made = release(1, FAILED)
    made.failure, made.processes, made.schema_after = {"step": "start", "reason": "ünï\nline"}, {"worker": {"command": "celery"}}, "0002"
    made.on_trial, made.replaces, made.rolled_back_from, made.served_before = True, *ids(1, 2), False
    store.folder(made.id).mkdir()
    store.save(made)
    assert store.load(made.id) == made
    assert stat.S_IMODE((store.folder(made.id) / MANIFEST).stat().st_mode) == 0o640


def test_a_crash_leaves_the_old_manifest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Killed just before the new one takes its place: the old one is whole, and no file is left over."""
    made = saved(store, 1, READY)
    folder = store.folder(made.id)

    def crash(self: Path, target: Path) -> Path:
        assert json.loads(self.read_text())["state"] == LIVE, "the new one has to be complete before it is visible"
        raise KeyboardInterrupt

    made.state = LIVE
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", crash)
        store.save(made)
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    found = store.load(made.id)
    assert found and found.state == READY


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "5", '"id"', "{}", '{"id": "20261120T072201-4f2a9c10"}', b"\xff\xfe", '{"id": "x", "fingerprint": "f"'],
)
def test_what_cannot_be_read_is_no_release(store: Store, text: str | bytes) -> None:
    """[S1] A torn or partial manifest hides one release and never stops a deploy."""
    good = saved(store, 2, LIVE)
    broken = store.folder(release(1, READY).id)
    broken.mkdir()
    (broken / MANIFEST).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert store.load(broken.name) is None
    assert store.all() == [good]


def test_a_manifest_of_a_newer_version_is_read(store: Store) -> None:
    """[S1] Keys that this version does not know are passed over, so that going back to it works."""
    made = saved(store, 1, LIVE)
    path = store.folder(made.id) / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "canary_share": 10}))
    assert store.load(made.id) == made


def test_a_manifest_of_an_older_version_is_read(store: Store) -> None:
    """[S1] A release that was brought before there was a trial is not on one."""
    made = saved(store, 1, LIVE)
    path = store.folder(made.id) / MANIFEST
    old = json.loads(path.read_text())
    for name in ("on_trial", "rolled_back_from", "replaces", "served_before"):
        del old[name]
    path.write_text(json.dumps(old))
    found = store.load(made.id)
    assert found == made and found.on_trial is False and found.rolled_back_from is None


def test_other_folders_are_no_releases(store: Store) -> None:
    """[S1] A copy that somebody made by hand is not chosen for anything."""
    made = saved(store, 1, LIVE)
    for name in (f"{made.id}.bak", f"{made.id}-copy", "old", f".{made.id}"):
        folder = store.releases / name
        folder.mkdir()
        (folder / MANIFEST).write_text((store.folder(made.id) / MANIFEST).read_text())
    assert store.all() == [made]


def test_all_is_oldest_first_whatever_the_times(store: Store) -> None:
    """[S1] A restored backup has other times; the order stays."""
    made = [saved(store, number, RETIRED) for number in (3, 1, 2)]
    os.utime(store.folder(made[1].id) / MANIFEST, (2**31, 2**31))
    assert [found.id for found in store.all()] == sorted(found.id for found in made)


def test_a_bare_host_has_no_releases(tmp_path: Path) -> None:
    store = Store(tmp_path / "absent")
    assert (store.all(), store.live_id(), store.live()) == ([], None, None)


# --- current ------------------------------------------------------------------------------------


def test_current_is_never_absent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] At each step of the move it names the old release or the new one."""
    old, new = saved(store, 1, LIVE), saved(store, 2, READY)
    store.point_current_at(old.id)
    seen: list[str | None] = []

    def watch(name: str) -> None:
        real = getattr(Path, name)

        def wrapped(self: Path, *words: Any, **options: Any) -> Any:
            seen.append(store.live_id())
            result = real(self, *words, **options)
            seen.append(store.live_id())
            return result

        monkeypatch.setattr(Path, name, wrapped)

    for name in ("unlink", "symlink_to", "replace"):
        watch(name)
    store.point_current_at(new.id)
    assert seen[0] == old.id and seen[-1] == new.id
    assert set(seen) == {old.id, new.id}, "current was gone for a moment"
    assert sorted(path.name for path in store.root.iterdir()) == ["current", "releases"]


def test_current_survives_a_crash_and_the_next_try(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Killed just before the move; what the crash left does not stop the next one."""
    old, new = saved(store, 1, LIVE), saved(store, 2, READY)
    store.point_current_at(old.id)

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", crash)
        store.point_current_at(new.id)
    assert store.live() == old
    store.point_current_at(new.id)
    assert store.live() == new


def test_current_is_relative(store: Store, tmp_path: Path) -> None:
    """[D3] A restored or moved folder still points into itself."""
    made = saved(store, 1, LIVE)
    store.point_current_at(made.id)
    assert str(store.current.readlink()) == f"releases/{made.id}"


def test_previous_links_name_the_last_two(store: Store) -> None:
    """[E6] Relative, replaced in one step each, and gone when there are fewer."""
    for wanted in (ids(1), ids(2, 1), ids(3, 2, 1), [], ids(1)):
        store.point_previous_at(iter(wanted))
        links = sorted(store.root.glob("previous-*"))
        assert [str(link.readlink()) for link in links] == [f"releases/{name}" for name in wanted[:2]]
    assert sorted(path.name for path in store.root.iterdir()) == ["previous-1", "releases"]


def test_next_names_the_release_that_starts(store: Store) -> None:
    """[E6] And nothing at all other times."""
    store.point_next_at(None)
    store.point_next_at(ids(1)[0])
    store.point_next_at(ids(2)[0])
    assert str((store.root / "next").readlink()) == f"releases/{ids(2)[0]}"
    store.point_next_at(None)
    assert [path.name for path in store.root.iterdir()] == ["releases"]


def test_other_links_are_not_current(store: Store) -> None:
    """[S1] Only `current` says what is live."""
    store.point_next_at(ids(1)[0])
    store.point_previous_at(ids(2))
    assert store.live_id() is None


def test_the_size_of_a_release(store: Store) -> None:
    """[K7] All its files, without following links out of it."""
    made = saved(store, 1, LIVE)
    (store.folder(made.id) / "deep").mkdir()
    before = store.size(made.id)
    (store.folder(made.id) / "deep/file").write_bytes(b"x" * 1000)
    (store.folder(made.id) / "link").symlink_to("/proc/kcore")
    assert store.size(made.id) - before == 1000 + len("/proc/kcore")


def test_a_dangling_current_names_its_release(store: Store) -> None:
    """[S1] The id is known, the manifest is not."""
    store.point_current_at("20261120T072201-4f2a9c10")
    assert (store.live_id(), store.live()) == ("20261120T072201-4f2a9c10", None)


def test_strip_leaves_the_manifest_only(store: Store, tmp_path: Path) -> None:
    """[S1] And does not follow links out of the release."""
    made = saved(store, 1, FAILED)
    folder, outside = store.folder(made.id), tmp_path / "shared"
    outside.mkdir()
    (outside / "upload").write_text("kept")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / "app.py").write_text("")
    (folder / "uploads").symlink_to(outside)
    (folder / "dangling").symlink_to("nowhere")
    store.strip(made.id)
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    assert (outside / "upload").exists()
    store.remove(made.id)
    assert not folder.exists()
    store.remove(made.id)


# --- Which one, which may go --------------------------------------------------------------------


def test_an_interrupted_deploys_release_is_used_again() -> None:
    """[S1] The newest that waits and is what is wanted."""
    everything = [
        release(1, READY),
        release(2, READY),
        release(3, READY, "other"),
        release(4, FAILED),
        release(5, RETIRED),
        release(6, BUILDING),
    ]
    found = reusable(everything, "f")
    assert found and found.id == everything[1].id
    assert reusable(everything, "unknown") is None
    assert reusable([release(1, state) for state in (BUILDING, LIVE, RETIRED, FAILED)], "f") is None


def ids(*numbers: int) -> list[str]:
    return [release(number, READY).id for number in numbers]


def test_pruning_keeps_the_live_one_and_the_newest_that_served() -> None:
    """[S1] Something to go back to is always there."""
    everything = [release(number, RETIRED) for number in range(1, 8)] + [release(8, LIVE)]
    assert prunable(everything, everything[-1].id, 3) == ids(1, 2, 3, 4)
    assert prunable(everything, everything[-1].id, 1) == ids(1, 2, 3, 4, 5, 6)
    assert prunable(everything, everything[-1].id, 7) == []


@pytest.mark.parametrize("state", [BUILDING, READY, LIVE, RETIRED, FAILED])
def test_pruning_never_takes_the_live_one(state: str) -> None:
    """[S1] Not even when its manifest says something else (an old one brought back, a crash between two writes)."""
    everything = [release(1, state), *(release(number, RETIRED) for number in range(2, 9))]
    assert everything[0].id not in prunable(everything, everything[0].id, 1)


def test_pruning_keeps_the_last_good_one_behind_failures() -> None:
    """[S1] Ten failed deploys in a row do not push out the release that a rollback needs."""
    everything = [release(1, RETIRED), release(2, LIVE), *(release(number, FAILED) for number in range(3, 13))]
    gone = prunable(everything, everything[1].id, 2)
    assert gone == ids(*range(3, 11)), "failures are bounded, the newest stay to be read"


def test_pruning_takes_what_never_served() -> None:
    """[S1] Interrupted builds, and releases that were built and overtaken."""
    everything = [release(1, BUILDING), release(2, READY), release(3, RETIRED), release(4, LIVE), release(5, READY)]
    assert prunable(everything, everything[3].id, 5) == ids(1, 2, 5)


def test_a_switch_that_was_interrupted_counts_as_served() -> None:
    """[S1] Two manifests say live after a crash between the manifest and the link; the link decides."""
    everything = [release(1, RETIRED), release(2, LIVE), release(3, LIVE)]
    assert prunable(everything, everything[1].id, 1) == ids(1)


def test_pruning_follows_the_order_of_service() -> None:
    """[S1] One that was gone back to is the newest that served, however old its id."""
    everything = [release(1, RETIRED, live_at=9), release(2, RETIRED), release(3, RETIRED), release(4, LIVE, live_at=10)]
    assert prunable(everything, everything[3].id, 1) == ids(2, 3)


def test_what_was_rolled_away_from_does_not_count_as_good() -> None:
    """[S1] Nor is it kept for ever; the newest ones stay to be looked at."""
    everything = [release(1, RETIRED), *(release(number, ROLLED_BACK) for number in range(2, 7)), release(7, LIVE)]
    assert prunable(everything, everything[-1].id, 2) == ids(2, 3, 4)
    mixed = [release(1, RETIRED), release(2, FAILED), release(3, ROLLED_BACK), release(4, FAILED), release(5, LIVE)]
    assert prunable(mixed, mixed[-1].id, 2) == ids(2)


@pytest.mark.parametrize("seed", range(20))
def test_pruning_keeps_what_a_rollback_would_choose(seed: int) -> None:
    """[S1] Whatever the history: it and the live one stay, and at most ``keep`` of each kind."""
    chance = random.Random(seed)
    states = [chance.choice([BUILDING, READY, RETIRED, FAILED, ROLLED_BACK]) for _ in range(20)]
    served = chance.sample(range(1, 50), 20)
    everything = [
        release(number, state, live_at=served[number] if state in (RETIRED, ROLLED_BACK) else None) for number, state in enumerate(states)
    ]
    live = release(30, LIVE, live_at=60)
    keep = chance.randint(1, 4)
    gone = prunable([*everything, live], live.id, keep)
    kept = [r.state for r in everything if r.id not in gone]
    chosen = last_good([*everything, live], live)
    assert chosen and chosen.id not in gone and live.id not in gone and gone == sorted(set(gone))
    assert kept.count(RETIRED) == min(keep, states.count(RETIRED))
    assert kept.count(FAILED) + kept.count(ROLLED_BACK) == min(keep, states.count(FAILED) + states.count(ROLLED_BACK))
    assert not {BUILDING, READY} & set(kept)


def test_the_order_of_service() -> None:
    """[S1] By the time in the manifest; what never served is not in it; a tie is decided."""
    served = [release(1, RETIRED, live_at=5), release(2, ROLLED_BACK), release(6, LIVE, live_at=5)]
    everything = [*served, release(3, READY), release(4, FAILED)]
    assert [r.id for r in by_service(everything)] == ids(6, 1, 2)


@pytest.mark.parametrize(
    ("before", "chosen"),
    [
        ([release(1, RETIRED), release(2, RETIRED)], 2),
        ([release(1, RETIRED), release(2, ROLLED_BACK)], 1),
        ([release(1, RETIRED), release(2, FAILED), release(3, READY), release(4, BUILDING)], 1),
        # The older id served later.
        ([release(1, RETIRED, live_at=7), release(2, RETIRED)], 1),
        # It went live after the live one: an interrupted switch.
        ([release(1, RETIRED), release(2, RETIRED, live_at=20)], 1),
        # Nobody marked it yet: the run was cancelled while both served.
        ([release(1, RETIRED), release(2, LIVE)], 2),
        ([release(1, ROLLED_BACK)], None),
        ([], None),
    ],
)
def test_the_last_good_release(before: list[Release], chosen: int | None) -> None:
    """[S1] Served last before the live one, and not rolled away from."""
    live = release(9, LIVE)
    found = last_good([*before, live], live)
    assert (found.id if found else None) == (ids(chosen)[0] if chosen else None)
    assert last_good([live, *reversed(before)], live) == found, "the order of the folder decided"


def test_what_was_rolled_away_from_is_found_again() -> None:
    """[S1] The newest, by what it is; a release of the same commit with another configuration is another one."""
    everything = [release(1, ROLLED_BACK), release(2, ROLLED_BACK), release(3, ROLLED_BACK, "other"), release(4, RETIRED, "third")]
    live = release(5, LIVE, "fourth")
    for serving in (live, None):
        found = held_back(everything, "f", serving)
        assert found and found.id == ids(2)[0]
        assert held_back(everything, "third", serving) is None and held_back([], "f", serving) is None
    assert reusable(everything, "f") is None, "it would be deployed again without having been built"


def test_what_is_just_being_rolled_away_from_is_held_back_too() -> None:
    """[S1] A rollback that was cut off has not marked it yet: the live one's manifest says so."""
    live, bad = release(1, LIVE, "old"), release(2, LIVE)
    assert held_back([live, bad], "f", live) is None
    live.rolled_back_from = bad.id
    found = held_back([live, bad], "f", live)
    assert found and found.id == bad.id
    assert held_back([live, bad], "old", live) is None


def test_the_names_of_the_states_are_kept() -> None:
    """Manifests on hosts hold them."""
    assert (module.BUILDING, module.READY, module.LIVE, module.RETIRED, module.FAILED) == ("building", "ready", "live", "retired", "failed")
    assert module.ROLLED_BACK == "rolled-back"
