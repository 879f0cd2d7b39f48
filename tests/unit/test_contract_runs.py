"""What the contract says of commands, timers, shared paths and openings of the sandbox."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.commands import shell_syntax, words
from ansible_collections.slipway.vps.plugins.module_utils.resolve import resolve_sandbox, resolve_timer
from ansible_collections.slipway.vps.plugins.module_utils.rules.runs import calendar_of, is_calendar, is_cron

from .test_contract import check, only

#: Calendar events of systemd.time(7).
EVENTS = (
    *("daily", "03:00", "*-*-* 03:00", "Mon..Fri 08:30", "Mon,Wed *-*-* 4:00:00", "*:0/15", "Mon", "weekly UTC", "03:00 Europe/Berlin"),
    *("*-*~01 3:00", "2026-01-01", "Sat *-*-1..7 18:00:00", "hourly", "*-02-29", "Sun,Mon..Wed 0/2:30"),
)
#: cron's five fields, and the same for systemd.
CRON = {
    "0 3 * * *": "*-*-* 03:00:00",
    "*/5 * * * *": "*-*-* *:0/5:00",
    "30 8 * * 1-5": "Mon..Fri *-*-* 08:30:00",
    "0 0 1 1,7 *": "*-01,07-01 00:00:00",
    "5,35 */2 * * *": "*-*-* 0/2:05,35:00",
    # Both of day and weekday: cron means one of them. Names: not taken over.
    "0 4 1 * 1": "",
    "0 4 * * sun": "",
}


@pytest.mark.parametrize(
    ("command", "syntax"),
    [
        *(("a && b", "&&"), ("a | b", "|"), ("a; b", ";"), ("a > x", ">"), ("a 2>&1", ">"), ("a &", "&"), ("a < x", "<"), ("(a)", "(")),
        *(("echo $X", "$X"), ('echo "in ${X} double"', "${X}"), ("a `b`", "`"), ('a "`b`"', "`"), ("a $(b)", "$(")),
        *(("ls *.py", "*"), ("ls a?", "?"), ("ls [ab]", "["), ("A=1 b", "A="), ("a\nb", "a line break"), ("a # b", "#"), ("ls ~/x", "~")),
    ],
)
def test_a_shells_syntax_is_refused_by_name(command: str, syntax: str) -> None:
    """[F8] [A13] [A15] It would arrive as words: `a && b` ran a alone, and said nothing."""
    assert shell_syntax(command) == syntax
    fix = "env A=" if syntax == "A=" else "sh -c '…'"
    only(check(app_migrate_command=command), "app_migrate_command", repr(syntax), fix)
    only(check(app_processes={"worker": {"command": command}}), "app_processes", f"worker: {syntax!r}", fix)
    only(check(app_timers={"nightly": {"command": command, "schedule": "daily"}}), "app_timers", f"nightly: {syntax!r}", fix)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("flask db upgrade", ["flask", "db", "upgrade"]),
        ("sh -c 'a && b > \"$X\"'", ["sh", "-c", 'a && b > "$X"']),
        ("celery --hostname=%h -Q 'a b'", ["celery", "--hostname=%h", "-Q", "a b"]),
        ("env A=1 b", ["env", "A=1", "b"]),
        ("a \\$X \\* b#c d~e f$", ["a", "$X", "*", "b#c", "d~e", "f$"]),
        ('a "x & y; z*"', ["a", "x & y; z*"]),
        ("celery worker\n", ["celery", "worker"]),
    ],
)
def test_quotes_are_a_shells(command: str, expected: list[str]) -> None:
    """[A15] The same words that a shell would make of it."""
    assert shell_syntax(command) == "" and words(command) == expected
    assert check(app_migrate_command=command, app_processes={"w": {"command": command}}) == []
    said = subprocess.run(["/bin/sh", "-c", f"printf '%s\\n' {command.strip()}"], text=True, capture_output=True, check=True).stdout
    assert said.splitlines() == expected


def test_a_quote_that_is_not_closed_is_refused() -> None:
    """[F8]"""
    only(check(app_migrate_command="a 'b"), "app_migrate_command", 'a quote in "a \'b" is not closed', "close it")
    only(check(app_processes={"w": {"command": ["a"]}}), "app_processes", "the command is a list", "one text")


@pytest.mark.parametrize("bad", ["5; x", "soon", 0, -1, None])
def test_a_time_to_stop_is_a_number(bad: Any) -> None:
    """[F8] It stands in a unit."""
    only(check(app_processes={"w": {"command": "x", "stop_timeout": bad}}), "app_processes", "stop_timeout", "seconds")


@pytest.mark.parametrize("event", EVENTS)
def test_a_schedule_is_systemds(event: str) -> None:
    """[F6] What the host's systemd takes is not refused here."""
    assert is_calendar(event) and check(app_timers={"nightly": {"command": "x", "schedule": event}}) == []


@pytest.mark.parametrize("cron", CRON)
def test_crons_fields_are_refused_with_systemds(cron: str) -> None:
    """[F6] [F8] Five fields mean something else to systemd, or nothing."""
    assert is_cron(cron) and calendar_of(cron) == CRON[cron]
    fix = f"schedule: '{CRON[cron]}'" if CRON[cron] else "OnCalendar"
    only(check(app_timers={"nightly": {"command": "x", "schedule": cron}}), "app_timers", "cron's five fields", fix)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("event", [*EVENTS, *filter(None, CRON.values())])
def test_systemd_agrees(event: str) -> None:
    """[F6]"""
    done = subprocess.run(["systemd-analyze", "calendar", event], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("timers", "what", "fix"),
    [
        ({"nightly": {"command": "x"}}, "needs a command and a schedule", "schedule: "),
        ({"nightly": "x"}, "needs a command and a schedule", "schedule: "),
        ({"send-it": {"command": "x", "schedule": "daily"}}, "will not do in a unit name", "a-z"),
        ({"worker": {"command": "x", "schedule": "daily"}}, "'worker' is one of app_processes", "another name"),
        ({"backup": {"command": "x", "schedule": "daily"}}, "'backup' is a unit that every app has", "another name"),
        ({"nightly": {"command": "x", "schedule": "every night"}}, "'every night' is no schedule", "OnCalendar"),
        ({"nightly": {"command": "x", "schedule": "@daily"}}, "'@daily' is cron's", "schedule: daily"),
        # YAML reads 03:00 as 180.
        ({"nightly": {"command": "x", "schedule": 180}}, "the schedule is the int 180", "in quotes"),
        ({"nightly": {"command": "x", "schedule": "daily", "user": "root"}}, "unknown keys: user", "timeout"),
        ({"nightly": {"command": "x", "schedule": "daily", "timeout": "1h"}}, "timeout '1h'", "seconds"),
        ({"nightly": {"command": "x", "schedule": "daily", "catch_up": "maybe"}}, "catch_up 'maybe'", "true or false"),
    ],
)
def test_timers_that_will_not_do(timers: Any, what: str, fix: str) -> None:
    """[F6] [F8]"""
    only(check(app_timers=timers), "app_timers", what, fix)


def test_a_timer_has_all_of_its_settings() -> None:
    """[F6] A manifest keeps them, so a default that changes later is a change."""
    assert resolve_timer({"command": "x", "schedule": "daily "}) == {
        **{"command": "x", "schedule": "daily", "catch_up": False, "timeout": 3600},
    }


@pytest.mark.parametrize(
    ("paths", "what"),
    [
        *(([path], "must be a path within the release") for path in ("/etc", "../x", "a/../b", "", "/", "a//b", "./a")),
        *(([path], "is what every release has of its own") for path in (".venv/lib", ".units", "environment")),
        (["instance/", "instance/db"], "contain each other"),
        (["logs", "logs/"], "is listed twice"),
        (["blog/static/media/"], "overlaps 'blog/static' of app_static"),
        (["blog"], "overlaps 'blog/static' of app_static"),
    ],
)
def test_shared_paths_that_will_not_do(paths: list[str], what: str) -> None:
    """[F6] [F8] Each becomes a link in the release, and nothing outside of it."""
    found = check(app_shared_paths=paths)
    assert [problem.variable for problem in found] == ["app_shared_paths"] and what in found[0].what, found


def test_shared_paths_that_do() -> None:
    """[F6]"""
    assert check(app_shared_paths=["instance/", "logs", "celerybeat-schedule", "var/data/", "blog/statics"]) == []


@pytest.mark.parametrize(
    ("opening", "what"),
    [
        ("smtp", "'smtp' is no opening"),
        ("sendmail:/x", "is no opening"),
        ("device:video0", "names no device"),
        ("device:/etc/shadow", "names no device"),
        ("folder:photos", "names no folder"),
        ("folder:/mnt/a b", "names no folder"),
        ("folder:/srv/../etc", "names no folder"),
        *((f"folder:{path}", "what runs on the host") for path in ("/", "/etc", "/usr/local/bin", "/root/x")),
        ("folder:/home/ada", "that no service sees"),
    ],
)
def test_openings_that_will_not_do(opening: str, what: str) -> None:
    """[F6] [F8] Named one by one, and none that opens the host."""
    found = check(app_sandbox_allow=[opening])
    assert [problem.variable for problem in found] == ["app_sandbox_allow"] and what in found[0].what, found


def test_openings_that_do() -> None:
    """[F6] Each comes to what it must, and to no more."""
    allowed = ["netlink", "device:/dev/video0", "folder:/mnt/photos"]
    assert check(app_sandbox_allow=[*allowed, "sendmail", "jit"]) == []
    found = resolve_sandbox(allowed, "full", "any")
    assert (found.privileges, found.netlink, found.devices, found.folders) == (False, True, ["/dev/video0"], ["/mnt/photos"])
    assert (found.jit, found.level, found.network) == (False, "full", "any")
    assert resolve_sandbox([], "full", "any").folders == [] and resolve_sandbox(["sendmail"], "full", "any").privileges
    assert resolve_sandbox(["jit"], "basic", "local").jit
