"""The backup program: its rules, which touch no host."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import rules
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.config import Config
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.rules import BackupError, Copy

from .backup_play import LISTING

NOW = datetime(2026, 11, 20, 3, 30, tzinfo=timezone.utc)


def names(*days: float, label: str = "") -> list[str]:
    """Names of backups taken so many days ago."""
    return [rules.backup_name(NOW - timedelta(days=day), label) for day in days]


def proven(*days: float) -> list[Copy]:
    return [Copy(name) for name in names(*days)]


def unproven(*days: float) -> list[Copy]:
    return [Copy(name, proven=False) for name in names(*days)]


def restore_points(*days: float) -> list[Copy]:
    return [Copy(name, whole=False) for name in names(*days)]


# --- Names and retention ------------------------------------------------------------------------


def test_a_name_is_utc_and_sorts_by_time() -> None:
    east = timezone(timedelta(hours=5))
    assert rules.backup_name(NOW.astimezone(east)) == "20261120T033000Z"
    assert rules.backup_name(NOW, "before-upgrade") == "20261120T033000Z-before-upgrade"
    assert rules.taken_at("20261120T033000Z-before-upgrade") == NOW
    assert sorted(names(3, 1, 2)) == names(3, 2, 1)


@pytest.mark.parametrize("label", ["../x", "Upper", "-first", "a b", "x" * 41, "new\nline", "é"])
def test_a_label_cannot_leave_the_folder(label: str) -> None:
    with pytest.raises(BackupError, match="label"):
        rules.backup_name(NOW, label)


@pytest.mark.parametrize("name", [".partial-20261120T033000Z", "20261320T033000Z", "20261120", "lost+found", "20261120T033000Z/.."])
def test_other_folders_are_no_backups(name: str) -> None:
    assert rules.taken_at(name) is None


def test_retention_removes_what_is_older_than_the_days() -> None:
    """[D3] Exactly so many days are not older."""
    assert rules.expired(proven(0, 13.9, 14, 14.1, 30), NOW, 14, 1) == names(30, 14.1)


def test_retention_keeps_the_newest_proven_ones_whatever_their_age() -> None:
    """[D3] The clock was wrong, or backups have failed for weeks."""
    assert rules.expired(proven(60, 50, 40), NOW, 14, 1) == names(60, 50)
    assert rules.expired(proven(60, 50, 40), NOW, 14, 2) == names(60)
    assert rules.expired(proven(60, 50, 40), NOW, 14, 7) == []
    assert rules.expired(proven(40), NOW, 14, 0) == [], "never none at all"


def test_an_unproven_backup_counts_for_nothing() -> None:
    """[D3] Bad ones that evicted the good: the newest proven one stays, however many newer ones there are."""
    assert rules.expired([*proven(40), *unproven(39, 20, 3, 0)], NOW, 14, 1) == []
    assert rules.expired([*proven(40, 30), *unproven(39, 20, 0)], NOW, 14, 1) == names(40, 39)
    assert rules.expired([*proven(40, 30), *unproven(20, 0)], NOW, 14, 2) == []


def test_without_a_proven_backup_none_is_removed() -> None:
    """[D3] Nobody knows which of them is worth anything."""
    assert rules.expired(unproven(60, 50, 0), NOW, 14, 1) == []
    assert rules.expired([*restore_points(60, 50, 0), *unproven(55)], NOW, 14, 1) == []


def test_restore_points_go_by_their_age_and_hold_no_place() -> None:
    """[D3] They are proven never or by hand, and say nothing of the uploads."""
    assert rules.expired([*proven(40, 1), *restore_points(30, 20, 3)], NOW, 14, 1) == sorted(names(40, 30, 20))
    assert rules.expired([*proven(40), *restore_points(30, 0)], NOW, 14, 1) == []


def test_retention_leaves_alone_what_is_no_backup() -> None:
    others = [Copy("notes"), Copy(".partial-20200101T000000Z")]
    assert rules.expired([*proven(0), *others], NOW, 14, 1) == []


@pytest.mark.parametrize(
    ("noted", "found", "line"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {}, "a is missing"),
        ({}, {"a": 1}, "a was not there"),
        ({"a": 1}, {"a": 2}, "a has 2 rows instead of 1"),
    ],
)
def test_rows_are_compared_table_by_table(noted: dict[str, int], found: dict[str, int], line: str | None) -> None:
    assert rules.differences(noted, found) == ([line] if line else [])


def test_a_manifest_vouches_for_itself() -> None:
    manifest = rules.sealed({"name": "x", "rows": {"a": 1}})
    assert rules.sealed(manifest) == manifest
    assert rules.sealed({**manifest, "rows": {"a": 2}})["digest"] != manifest["digest"]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", 15),
        ("pg_dump (PostgreSQL) 17.6", 17),
        ("17.6 (Debian 17.6-0+deb13u1)", 17),
        ("18beta2", 18),
    ],
)
def test_versions_are_read(said: str, version: int) -> None:
    assert rules.major(said) == version


def test_zstd_where_pg_dump_has_it() -> None:
    """[D3] Debian 12's has not; what the operator says is left as it is."""
    assert rules.compression("auto", 15) == "1" and rules.compression("auto", 16) == rules.compression("auto", 17) == "zstd:3"
    assert rules.compression("lz4", 17) == "lz4" and rules.compression("9", 15) == "9"


def test_space_follows_the_last_backup_and_without_one_the_data() -> None:
    assert rules.space_needed(1000, 999_999, 50) == 1550
    assert rules.space_needed(None, 999_999, 50) == 1_000_049


# --- What a dump says about itself ----------------------------------------------------------------


def test_tables_are_counted_without_their_data_and_attachments() -> None:
    assert rules.table_count(LISTING) == 2


@pytest.mark.parametrize(
    ("dumped", "live", "before", "words"),
    [(0, 3, 0, "the database has 3"), (0, 0, 5, "before this one holds 5")],
)
def test_an_empty_dump_is_refused(dumped: int, live: int, before: int, words: str) -> None:
    assert words in (rules.refusal(dumped, live, before) or "")


def test_a_database_that_never_had_a_table_is_fine() -> None:
    assert rules.refusal(0, 0, 0) is None
    assert rules.refusal(3, 3, 9) is None


def test_revisions_are_read_from_the_dump() -> None:
    sql = "SET x = 0;\nCOPY public.alembic_version (version_num) FROM stdin;\nb2\na1\n\\.\n\nSELECT 1;\n"
    assert rules.copied_rows(sql) == ["a1", "b2"]
    assert rules.copied_rows("SET x = 0;\n") == []


def test_only_privileged_extensions_are_made_by_the_superuser() -> None:
    assert rules.extensions(LISTING) == {"postgis"}
    assert rules.restore_passes(LISTING, set()) == [("", False)]
    passes = rules.restore_passes(LISTING, {"postgis"})
    assert [superuser for _, superuser in passes] == [False, True, False]
    assert passes[0][0].split()[3] == "SCHEMA"
    assert passes[1][0].count("EXTENSION") == 2
    assert sum(len(text.splitlines()) for text, _ in passes) == len(rules.toc_entries(LISTING))


def test_identifiers_and_strings_are_quoted() -> None:
    assert rules.quote('my-"app') == '"my-""app"'
    assert rules.literal("o'clock") == "'o''clock'"


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"app": "x"}'])
def test_a_broken_configuration_is_named(text: str) -> None:
    with pytest.raises(BackupError, match="configuration"):
        Config.parse(text)
