"""Logs: each file that grows is bounded by some rule."""

from __future__ import annotations

import re
from typing import Any

from helpers import App, must

# Regular files below /var/log that no rule of logrotate has to name, each with the reason.
EXPLAINED = {
    r"/var/log/journal/.*": "journald's; SystemMaxUse and MaxRetentionSec bound it (role base)",
    r"/var/log/(lastlog|faillog)": "one fixed-size record for each user, written in place",
    r"/var/log/lastlog2\.db|/var/lib/lastlog/.*": "the same as a database",
    r"/var/log/apt/eipp\.log\.xz": "apt writes it anew each time",
    r"/var/log/(bootstrap\.log|installer/.*|cloud-init.*\.log)": "written once, when the system was installed",
}
ROTATED = re.compile(r".*(\.gz|\.xz|\.\d+|-\d{8}(-\d+)?)$")


def rules(host: Any) -> tuple[set[str], str]:
    """The files that logrotate's rules name on this host, and all that it said."""
    result = host.run("logrotate -d /etc/logrotate.conf 2>&1")
    return set(re.findall(r"^considering log (.+)$", result.stdout, re.MULTILINE)), str(result.stdout)


def test_every_log_on_the_host_is_bounded(host: Any, app: App) -> None:
    """[K2] Walks /var/log: what is written there is rotated, or is listed above with the reason why not."""
    covered, _ = rules(host)
    files = must(host, "find /var/log -type f").splitlines()
    loose = [
        path
        for path in files
        if path not in covered and not any(re.fullmatch(pattern, path) for pattern in EXPLAINED) and not ROTATED.fullmatch(path)
    ]
    assert not loose, f"no rule in /etc/logrotate.d bounds {loose}"


def test_the_packages_rules_cover_the_apps_file_names(host: Any, app: App) -> None:
    """[K2] PostgreSQL's cluster, the app's Redis and the backups write where a rule looks."""
    must(host, f"touch {app.logs}/backup.log")
    covered, _ = rules(host)
    postgres = must(host, "pg_lsclusters -h").split()[6]
    wanted = {postgres, f"/var/log/redis/redis-server-{app.name}.log", f"{app.logs}/backup.log"}
    assert wanted <= covered, f"not covered: {wanted - covered}"


def test_logrotate_finds_no_fault(host: Any) -> None:
    """[K2] One bad rule, or a folder that others may write to, and logrotate passes over files in silence."""
    _, said = rules(host)
    faults = [line for line in said.splitlines() if line.startswith("error:")]
    assert not faults, faults


def test_the_timer_looks_each_hour(host: Any) -> None:
    """[K2] Otherwise a size in a rule would bound nothing."""
    timer = host.service("logrotate.timer")
    assert timer.is_enabled and timer.is_running
    assert re.search(r"OnCalendar=(hourly|\*-\*-\* \*:00:00)", must(host, "systemctl show -p TimersCalendar logrotate.timer"))


def test_the_apps_rule_rotates_compresses_and_keeps_the_writer_going(host: Any, app: App) -> None:
    """[K2] For real, on a file of the app's own that stays open: its lines go on into the new file."""
    log, rule = f"{app.logs}/slipway_probe.log", "/tmp/slipway_probe.rule"
    must(host, f"runuser -u {app.name} -- sh -c 'echo first > {log}'")
    # The rule itself, for this file only: the others are not rotated by a test.
    must(host, f"sed 's|^{app.logs}/\\*.log|{log}|' /etc/logrotate.d/{app.name} > {rule} && chmod 644 {rule}")
    try:
        script = f"exec 3>>{log}; logrotate --force --state /tmp/slipway_probe.state {rule}; echo second >&3"
        result = host.run(f"sh -c '{script}'")
        assert result.rc == 0 and "error" not in result.stderr, result.stderr
        rotated = must(host, f"ls {log}-*").split()
        assert len(rotated) == 1 and rotated[0].endswith(".gz"), rotated
        assert must(host, f"zcat {rotated[0]}") == "first\n"
        assert must(host, f"cat {log}") == "second\n"
        text = must(host, f"cat /etc/logrotate.d/{app.name}")
        assert re.search(r"^\s+rotate 14$", text, re.MULTILINE) and re.search(r"^\s+maxsize 50M$", text, re.MULTILINE), text
    finally:
        host.run(f"rm -f {log} {log}-* {rule} /tmp/slipway_probe.state")


def test_the_app_cannot_touch_roots_log(host: Any, app: App) -> None:
    """[K2] It writes beside root's files, and can neither remove nor replace nor read them."""
    must(host, f"touch {app.logs}/backup.log")
    for attempt in (
        f"rm -f {app.logs}/backup.log",
        f"mv {app.logs}/backup.log {app.logs}/x.log",
        f"sh -c ': >> {app.logs}/backup.log'",
    ):
        result = host.run(f"runuser -u {app.name} -- {attempt}")
        assert result.rc != 0, f"the app's user could: {attempt}"
    assert host.file(f"{app.logs}/backup.log").user == "root"
