"""One app goes; the others serve."""

from __future__ import annotations

from typing import Any

from helpers import must
from machine import Play, Visit, must_be_served, owned


def test_an_app_goes_and_the_others_serve(host: Any, play: Play, visit: Visit) -> None:
    """[F2] Its last backup stays, and nothing of the others changes."""
    before = {name: owned(host, name) for name in ("blog", "tiny")}
    # A night's backup that failed: systemd would remember its unit for ever.
    must(host, "systemctl start --no-block shop-backup.service && sleep 0.5 && systemctl kill --signal=KILL shop-backup.service")
    must(host, "sleep 2; systemctl is-failed shop-backup.service")
    with visit("blog") as visitors:
        outcome = play("playbooks/remove.yml", entry="shop")
    assert outcome.status == 0, str(outcome)
    must_be_served(visitors)
    assert {name: owned(host, name) for name in before} == before
    assert must(host, "ls -d /var/backups/shop/*removed*").strip()
    assert "Left:" in outcome.output, str(outcome)


def test_nothing_of_it_is_left_but_its_backups(host: Any) -> None:
    """[F2] Files, units, user, database, Redis, certificate."""
    elsewhere = "-path /proc -o -path /sys -o -path /var/backups -o -path /var/lib/apt"
    left = must(host, f"find / -xdev \\( {elsewhere} \\) -prune -o -name '*shop*' -print 2>/dev/null || true")
    assert not [line for line in left.splitlines() if "/var/log/" not in line], left
    # systemd keeps the empty slices of template units until the next boot.
    assert not must(host, "systemctl list-units --all --plain --no-legend --type=service,socket,timer,mount '*shop*'").strip()
    assert host.run("id shop").rc != 0
    databases = must(host, "setpriv --reuid postgres --regid postgres --init-groups psql -XAtqc 'SELECT datname FROM pg_database'")
    assert "shop" not in databases and "blog" in databases
    roles = must(host, "setpriv --reuid postgres --regid postgres --init-groups psql -XAtqc 'SELECT rolname FROM pg_roles'")
    assert "shop" not in roles and "blog" in roles


def test_without_a_name_nothing_is_removed(play: Play) -> None:
    """[F2 K10] The message says how."""
    outcome = play("playbooks/remove.yml")
    assert outcome.status != 0 and "-e entry=<name>" in outcome.output, str(outcome)
