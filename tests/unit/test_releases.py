"""Releases on disk: manifests, the link to the live one, what is the same, what may go."""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterator
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
    Release,
    Store,
    fingerprint,
    new_id,
    now,
    prunable,
    reusable,
    write_atomically,
)

AT = datetime(2026, 11, 20, 7, 22, 1, tzinfo=timezone.utc)
COMMIT = "4f2a9c10" + "0" * 32


def release(number: int, state: str, wanted: str = "f") -> Release:
    return Release(id=f"20261120T0722{number:02}-4f2a9c10", fingerprint=wanted, source={"commit": COMMIT}, state=state)


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
    made.failure, made.processes, made.schema_after = {"step": "start", "reason": "ünï\nline"}, ["worker"], "0002"
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
        patch.setattr(Path, "replace", crash)
        store.save(made)
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    found = store.load(made.id)
    assert found and found.state == READY


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] The content is on disk before the file takes its place."""
    target = tmp_path / "environment"
    target.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, "new", 0o600)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_file_has_its_mode_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] No moment in which others could read a secret."""
    modes: list[int] = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        modes.append(stat.S_IMODE(self.stat().st_mode))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    write_atomically(tmp_path / "secrets", "x", 0o600, (os.getuid(), os.getgid()))
    assert modes == [0o600]


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


# --- Fingerprint --------------------------------------------------------------------------------


def test_the_fingerprint_sees_each_part_and_each_file(tmp_path: Path) -> None:
    """[S1] Whatever decides how a release behaves changes it; nothing else does."""
    file, folder = tmp_path / "gunicorn.conf.py", tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    file.write_text("workers = 2")
    (folder / "b.ini").write_text("b")
    (folder / "deep/a.ini").write_bytes(b"\xff")
    seen = {}

    def look(what: str, *parts: str) -> None:
        seen[what] = fingerprint(parts or ("commit", "wsgi"), [file, folder])

    look("first")
    look("again")
    os.utime(file, (0, 0))
    look("touched")
    assert len(set(seen.values())) == 1, "time alone changed it"

    look("other part", "commit", "other")
    look("parts shifted", "commitwsgi", "")
    look("part more", "commit", "wsgi", "")
    file.write_text("workers = 3")
    look("file changed")
    file.write_text("")
    look("file empty")
    file.unlink()
    look("file absent")
    (folder / "deep/a.ini").write_bytes(b"\xfe")
    look("nested file changed")
    (folder / "deep/a.ini").rename(folder / "deep/c.ini")
    look("nested file renamed")
    (folder / "deep/c.ini").unlink()
    look("nested file absent")
    (folder / "b.ini").unlink()
    look("folder empty")
    assert len(set(seen.values())) == len(seen) - 2, seen
    # No content can pass for two parts.
    assert fingerprint(["a", "b"], []) != fingerprint(["apart\0b"], [])


def test_the_fingerprint_does_not_depend_on_the_order_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Another file system lists the same files in another order."""
    for name in "cab":
        (tmp_path / name).write_text(name)
    before = fingerprint([], [tmp_path])
    listed = Path.rglob

    def backwards(self: Path, pattern: str) -> Iterator[Path]:
        return iter(sorted(listed(self, pattern), reverse=True))

    monkeypatch.setattr(Path, "rglob", backwards)
    assert fingerprint([], [tmp_path]) == before


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


def test_the_names_of_the_states_are_kept() -> None:
    """Manifests on hosts hold them."""
    assert (module.BUILDING, module.READY, module.LIVE, module.RETIRED, module.FAILED) == ("building", "ready", "live", "retired", "failed")
