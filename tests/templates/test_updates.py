"""Upgrades by night: which archives, which hours, and what is never restarted by day."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from render import render, value

SYSTEM = "etc/systemd/system"


def unit(name: str, **said: Any) -> configparser.ConfigParser:
    """A unit, of keys that stand twice the last."""
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.read_string(render("updates", f"{SYSTEM}/{name}.j2", **said))
    return found


@pytest.mark.parametrize(
    ("said", "upgrades", "download"),
    [
        ({}, "05:00", "04:00"),
        ({"backup_hour": 23}, "01:00", "00:00"),
        ({"updates_hour": 0}, "00:00", "23:00"),
        ({"updates_hour": "7", "backup_hour": 3}, "07:00", "06:00"),
    ],
)
def test_two_hours_after_the_backup(said: dict[str, Any], upgrades: str, download: str) -> None:
    """[D3] There is a backup from before the upgrade; lists and packages come an hour earlier."""
    assert unit("apt-daily-upgrade.timer.d/slipway.conf", **said)["Timer"]["OnCalendar"] == f"*-*-* {upgrades}"
    assert unit("apt-daily.timer.d/slipway.conf", **said)["Timer"]["OnCalendar"] == f"*-*-* {download}"


def test_the_packages_own_times_go() -> None:
    """An OnCalendar more would be one time more."""
    for name in ("apt-daily", "apt-daily-upgrade"):
        text = render("updates", f"{SYSTEM}/{name}.timer.d/slipway.conf.j2", updates_spread_minutes=10)
        assert "\nOnCalendar=\nOnCalendar=*-*-* " in text and "RandomizedDelaySec=10min" in text


#: What needrestart does with its configuration: it runs it, and asks each unit's name of each pattern. The hour is given.
ASK = r"""
use strict; our (%nrconf, $hour); $hour = shift; my $file = shift;
BEGIN { *CORE::GLOBAL::localtime = sub { (0, 0, $main::hour) } }
do $file or die "$@ $!";
for my $unit (@ARGV) {
  my $said = "default";
  for my $pattern (keys %{$nrconf{override_rc}}) { $said = $nrconf{override_rc}{$pattern} if $unit =~ /$pattern/ }
  print "$unit $said\n";
}
print "restart $nrconf{restart}\n";
"""


def restarts(tmp_path: Path, hour: int, *units: str, **said: Any) -> dict[str, str]:
    """Unit to what needrestart may do with it at that hour; `restart` is its mode."""
    (tmp_path / "slipway.conf").write_text(render("updates", "etc/needrestart/conf.d/slipway.conf.j2", **said))
    (tmp_path / "ask.pl").write_text(ASK)
    words = ["perl", str(tmp_path / "ask.pl"), str(hour), str(tmp_path / "slipway.conf"), *units]
    lines = subprocess.run(words, text=True, capture_output=True, check=True).stdout.splitlines()
    return dict(line.split() for line in lines)


NOTICED = (
    *("nginx.service", "postgresql@17-main.service", "redis-server@demo.service", "demo.service", "demo@20261121T072201-bbbbbbb.service"),
    *("demo-worker@20261121T072201-bbbbbbb.service", "valkey-server@demo.service", "pgbouncer.service"),
)


@pytest.mark.parametrize(("hour", "allowed"), [(4, "0"), (5, "1"), (6, "1"), (7, "0"), (14, "0")])
def test_what_visitors_notice_is_restarted_by_night(hour: int, allowed: str, tmp_path: Path) -> None:
    """[K8] Database, nginx, Redis and the app in the window only; whatever else at once, without a question."""
    found = restarts(tmp_path, hour, *NOTICED, "ssh.service", "demonstration.service")
    assert {found[name] for name in NOTICED} == {allowed} and found["restart"] == "a"
    assert found["ssh.service"] == found["demonstration.service"] == "default"


def test_a_window_over_midnight(tmp_path: Path) -> None:
    """Hours, not a span of them."""
    found = {hour: restarts(tmp_path, hour, "nginx.service", updates_hour=23)["nginx.service"] for hour in (22, 23, 0, 1)}
    assert found == {22: "0", 23: "1", 0: "1", 1: "0"}


def test_what_was_upgraded_by_day_is_restarted_that_night() -> None:
    """[K8] Also in a night without an upgrade; a failure of it is no failure of the upgrade."""
    said = unit("apt-daily-upgrade.service.d/slipway.conf")["Service"]["ExecStartPost"]
    assert said.startswith("-") and said.endswith("needrestart -q -l -r a")


def test_where_upgrades_come_from() -> None:
    """[F3] The security archives of both distributions, each by its own name, and yours; the package's own list is emptied first."""
    text = render(
        "updates", "etc/apt/apt.conf.d/52slipway-upgrades.j2", updates_origins_custom=["site=apt.postgresql.org"], updates_exclude=["x"]
    )
    patterns = re.search(r"Origins-Pattern \{(.*?)\};", text, re.DOTALL)
    assert patterns and re.findall(r'"(\w+)=([^,"]+)', patterns[1]) == [
        *(("origin", "Debian"), ("origin", "Ubuntu"), ("origin", "UbuntuESM"), ("origin", "UbuntuESMApps"), ("site", "apt.postgresql.org")),
    ]
    for emptied in ("Allowed-Origins", "Origins-Pattern", "Package-Blacklist"):
        assert f"#clear Unattended-Upgrade::{emptied};" in text
    assert 'APT::Periodic::Unattended-Upgrade "1"' in text and 'Automatic-Reboot "false"' in text
    assert 'Unattended-Upgrade "0"' in render("updates", "etc/apt/apt.conf.d/52slipway-upgrades.j2", updates_automatic=False)
    # apt's own comments and directives both begin like Ansible's marker would: they are told apart.
    assert all(line.startswith(("//", "#clear")) for line in text.splitlines() if line.startswith(("//", "#")))


def test_a_restart_drains_first() -> None:
    """[S1] nginx answers what it has begun, the apps stop after it; only where an upgrade asks for it, at the hour that is said."""
    text = render("updates", f"{SYSTEM}/slipway-reboot.service.j2")
    steps = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert ["nginx -s quit" in steps[0], "is-active nginx" in steps[1], steps[2]] == [True, True, "/usr/bin/systemctl reboot"]
    assert steps[0][0] == steps[1][0] == "-" and "ConditionPathExists=/run/reboot-required" in text
    assert unit("slipway-reboot.timer", updates_reboot="04:30")["Timer"]["OnCalendar"] == "*-*-* 04:30:00"


def test_every_app_of_the_machine_is_spared() -> None:
    """[F2] By its name, as units have it."""
    assert value("updates", "__updates_noticed")[-1] == "demo"
