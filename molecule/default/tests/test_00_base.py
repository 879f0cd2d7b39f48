"""A host that can be trusted: the app's user, time, language, and a journal with limits."""

from __future__ import annotations

import re
from typing import Any

import pytest
from edge import is_ours
from helpers import App, must


def test_the_app_has_a_user_nobody_can_log_in_as(host: Any, app: App) -> None:
    """[A5] Own system user, not root, no shell, no password, no group of others."""
    name, _, uid, _, _, home, shell = must(host, f"getent passwd {app.name}").strip().split(":")
    assert 0 < int(uid) < 1000, f"{name} is not a system user: uid {uid}"
    assert shell == "/usr/sbin/nologin", f"{name} has the shell {shell}"
    assert home == app.root, f"{name} lives in {home}"
    password = must(host, f"getent shadow {app.name}").split(":")[1]
    assert password.startswith("!"), f"{name} has a password: {password[:3]}…"
    groups = must(host, f"id -nG {app.name}").split()
    assert groups == [app.name], f"{name} is in {groups}"


def test_a_login_as_the_app_is_refused(host: Any, app: App) -> None:
    """[A5] The account says no when tried, rather than on paper."""
    tried = host.run(f"su - {app.name} -c id")
    assert tried.rc != 0 and "uid=" not in tried.stdout, f"su gave a shell:\n{tried.stdout}"


def test_the_journal_is_on_disk_and_bounded(host: Any) -> None:
    """[K2] The limits are the ones journald runs with, not only the ones in the file."""
    is_ours(host, "/etc/systemd/journald.conf.d/slipway.conf", "base")
    settings = must(host, "systemd-analyze cat-config systemd/journald.conf")
    for line in ("Storage=persistent", "SystemMaxUse=500M", "SystemKeepFree=1G", "MaxRetentionSec=30day"):
        assert re.search(f"^{line}$", settings, re.MULTILINE), f"{line} is missing:\n{settings}"
    said = must(host, "journalctl --no-pager -o cat _SYSTEMD_UNIT=systemd-journald.service | grep '^System Journal'").splitlines()
    assert "max 500" in said[-1] and "/var/log/journal/" in said[-1], f"journald runs with other limits: {said[-1]}"


def test_logs_are_rotated_and_jobs_run(host: Any) -> None:
    """[K2] The timers behind the limits are active."""
    for unit in ("logrotate.timer", "cron.service"):
        assert must(host, f"systemctl is-active {unit}").strip() == "active"
        assert must(host, f"systemctl is-enabled {unit}").strip() == "enabled"


def test_time_is_utc_and_kept(host: Any) -> None:
    """[K1] Log lines of all layers agree on the time."""
    assert must(host, "readlink -f /etc/localtime").strip().endswith("/Etc/UTC")
    keepers = ("systemd-timesyncd", "chrony", "ntpsec", "openntpd")
    enabled = [name for name in keepers if host.run(f"systemctl is-enabled {name}").stdout.strip() == "enabled"]
    assert len(enabled) == 1, f"one service keeps the clock, not {enabled}"
    state = dict(line.split("=", 1) for line in must(host, f"systemctl show {enabled[0]} -p ActiveState -p ConditionResult").splitlines())
    # A container has no clock of its own: there the unit's own condition skips it.
    in_container = host.run("systemd-detect-virt --container").rc == 0
    assert state["ActiveState"] == "active" or (in_container and state["ConditionResult"] == "no"), f"{enabled[0]}: {state}"


@pytest.mark.parametrize("login", ["su - -c", "systemd-run --quiet --pipe --wait -p PAMName=login sh -c"])
def test_text_is_utf8(host: Any, login: str) -> None:
    """[K1] Names with accents survive, in a login and in a session that systemd opens."""
    assert must(host, f"{login} 'echo $LANG'").strip() == "C.UTF-8"
