"""What is asked of systemd and the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import units as system
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands of the module system; one whose name begins with `bad` fails."""
    lines: list[str] = []

    def command(*words: str, **options: Any) -> str:
        lines.append(" ".join(words))
        if words[-1].startswith("bad"):
            raise CommandError("Failed to connect to bus")
        cursor = "-- cursor: s=1;i=2\n" if "--show-cursor" in words else ""
        return f"one\ntwo\n{cursor}" if words[0] == "journalctl" else "deactivating\n"

    monkeypatch.setattr(system, "command", command)
    return lines


def test_units_end_without_anybody_waiting(asked: list[str]) -> None:
    """[S1] All in one job; nothing to end is nothing to ask; who cannot be told is left to the next look."""
    system.end_units("a", "b")
    system.end_units()
    system.end_units("bad")
    assert asked == ["systemctl stop --no-block a b", "systemctl stop --no-block bad"]


def test_a_unit_is_queued_without_anybody_waiting(asked: list[str]) -> None:
    """[A15] Whether it starts is not known yet; that it cannot even be queued is a failure."""
    system.queue_unit("a")
    with pytest.raises(CommandError, match="connect to bus"):
        system.queue_unit("bad")
    assert asked == ["systemctl start --no-block a", "systemctl start --no-block bad"]


def test_units_are_stopped_and_waited_for(asked: list[str]) -> None:
    """[S1] And forgotten when they had failed. Not so with no unit at all, which systemctl refuses; one that resists is left."""
    system.stop_units("a", "b")
    system.stop_units()
    system.stop_units("bad")
    assert asked == [f"systemctl {verb} {units}" for units in ("a b", "bad") for verb in ("stop", "reset-failed")]


def test_a_unit_is_ending_or_not(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.is_ending("a") and asked == ["systemctl show --property=ActiveState --value a"]
    monkeypatch.setattr(system, "command", lambda *words: "active\n")
    assert not system.is_ending("a")


def test_the_journal_as_evidence_never_fails(asked: list[str]) -> None:
    """[S1] What it would explain has failed already; with that it is said why there is nothing."""
    assert system.journal("good") == "one\ntwo"
    assert system.journal("bad@1.service") == "(the journal of bad@1.service cannot be read: Failed to connect to bus)"


def test_the_journal_is_read_from_a_time_and_then_on(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] From the switch on, and no line twice. journalctl refuses a time together with the file of its cursor."""
    cursor = tmp_path / "cursor"
    assert system.journal_since("a", cursor, 1.5) == ["one", "two"]
    assert cursor.read_text() == "s=1;i=2"
    assert system.journal_since("a", cursor, 1.5) == ["one", "two"]
    plain = "journalctl --no-pager --quiet --output=cat --unit=a"
    assert asked == [f"{plain} --since=@1.500 --show-cursor", f"{plain} --cursor-file {cursor}"]
    assert system.journal_between("a", 1, 2.25) == ["one", "two"]
    assert asked[-1] == f"{plain} --since=@1.000 --until=@2.250"
    cursor.unlink()
    monkeypatch.setattr(system, "command", lambda *words: "")
    assert system.journal_since("a", cursor, 1.5) == [] and not cursor.exists()
