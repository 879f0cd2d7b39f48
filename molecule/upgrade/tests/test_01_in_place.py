"""Debian 12 to 13 as docs/upgrading.md says it, step by step: each test is a step, and goes on from the one before."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from deploys import playbook
from helpers import App, journal, must, through_socket

#: What apt is told, so that nobody is asked.
APT = "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -y -o Dpkg::Options::=--force-confold"
ROWS = 20_000
TABLE = "CREATE TABLE slipway_upgrade AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, {rows}) g"


def as_app(host: Any, app: App, sql: str) -> str:
    return must(host, f"runuser -u {app.name} -- psql -XAtq -h /run/postgresql -d {app.database} -c '{sql}'").strip()


def clusters(host: Any) -> dict[str, tuple[int, bool]]:
    """Version to port, and whether it runs."""
    found = json.loads(must(host, "pg_lsclusters -j"))
    return {str(one["version"]): (int(one["port"]), str(one["running"]) in ("1", "True", "true")) for one in found}


def ready(host: Any, app: App, seconds: float) -> float:
    """Wait until the app answers on its socket; after how many seconds it did."""
    started = time.monotonic()
    while through_socket(host, app, "/healthz/ready")[0] != 200:
        assert time.monotonic() - started < seconds, journal(host, f"{app.name}@*", f"{app.name}-rebuild.service", lines=60)
        time.sleep(1)
    return time.monotonic() - started


def test_the_system_is_upgraded_and_the_app_serves(host: Any, app: App) -> None:
    """[S1 D1] Its Python is gone; at the first boot it gets another, before it starts. PostgreSQL's data are where they were."""
    as_app(host, app, TABLE.format(rows=ROWS))
    assert clusters(host) == {"15": (5432, True)}
    must(host, "find /etc/apt -name '*.list' -o -name '*.sources' | xargs sed -i s/bookworm/trixie/g && apt-get update")
    must(host, f"{APT} upgrade --without-new-pkgs >/var/log/slipway-upgrade.log 2>&1")
    must(host, f"{APT} full-upgrade >>/var/log/slipway-upgrade.log 2>&1")
    # The hardest case: nothing of the old Python is left.
    must(host, f"{APT} autoremove --purge >>/var/log/slipway-upgrade.log 2>&1; ! test -e /usr/bin/python3.11")
    down = time.monotonic()
    subprocess.run(["docker", "restart", "--time", "60", host.backend.get_hostname()], check=True, capture_output=True, timeout=180)
    ready(host, app, 300)
    said = journal(host, f"{app.name}-rebuild.service")
    print(f"\nfrom the reboot to the first answer: {time.monotonic() - down:.0f} s; {said.splitlines()[-1] if said else ''}")
    assert must(host, "cat /etc/debian_version").startswith("13") and "has its packages for Python 3.13" in said
    assert clusters(host)["15"] == (5432, True) and as_app(host, app, "SELECT count(*) FROM slipway_upgrade") == str(ROWS)


def test_the_next_boot_has_nothing_to_mend(host: Any, app: App) -> None:
    """[S1] The unit ends at its condition."""
    must(host, f"systemctl start {app.name}-rebuild.service")
    assert "condition" in must(host, f"systemctl show --property=Result {app.name}-rebuild.service")


def test_the_host_is_brought_up_to_date(host: Any, app: App) -> None:
    """[S1] A release for the new Python, as every deploy brings one; going back to the mended one is possible."""
    before = must(host, f"readlink {app.current}").strip()
    site = playbook("site", host)
    assert site.status == 0, site
    manifest = json.loads(must(host, f"cat {app.current}/release.json"))
    assert manifest["python"].startswith("3.13") and must(host, f"readlink {app.current}").strip() != before
    again = playbook("site", host)
    assert again.status == 0 and "changed=0" in again.output, again


def test_looking_at_the_move_changes_nothing(host: Any, app: App) -> None:
    """[D1] Sizes, method, time, and what is in the way."""
    before = clusters(host)
    look = playbook("upgrade_database", host)
    assert look.status == 0 and "from      PostgreSQL 15/main" in look.output and "changed=0" in look.output, look
    assert clusters(host) == before


def test_the_data_move_and_no_row_is_lost(host: Any, app: App) -> None:
    """[D1 D3] With the maintenance page meanwhile, which is gone afterwards."""
    started = time.monotonic()
    move = playbook("upgrade_database", host, {"go": True})
    assert move.status == 0, move
    counted = next(line.strip() for line in move.output.splitlines() if "rows of" in line)
    print(f"\nthe playbook took {time.monotonic() - started:.0f} s; {counted}")
    assert clusters(host)["17"] == (5432, True) and not clusters(host)["15"][1]
    assert as_app(host, app, "SELECT count(*) FROM slipway_upgrade") == str(ROWS)
    assert must(host, "runuser -u postgres -- psql -XAtqc 'SHOW hba_file'").strip() == "/etc/postgresql/17/main/slipway_hba.conf"
    assert host.run(f"test -e {app.root}/maintenance/index.html").rc != 0
    ready(host, app, 60)


def test_there_is_a_way_back(host: Any, app: App) -> None:
    """[D3] To the cluster before, as it was; and then there again, once the newer one has been removed."""
    as_app(host, app, "INSERT INTO slipway_upgrade VALUES (0, $$since the move$$)")
    back = playbook("upgrade_database", host, {"back": True, "go": True})
    assert back.status == 0, back
    assert clusters(host)["15"] == (5432, True) and as_app(host, app, "SELECT count(*) FROM slipway_upgrade") == str(ROWS)
    ready(host, app, 60)
    must(host, "pg_dropcluster --stop 17 main")
    again = playbook("upgrade_database", host, {"go": True})
    assert again.status == 0 and clusters(host)["17"] == (5432, True), again


def test_the_cluster_before_goes_when_it_is_told_to(host: Any, app: App) -> None:
    """[D3] And the backups of tonight are of the new one."""
    drop = playbook("upgrade_database", host, {"drop": True, "go": True})
    assert drop.status == 0 and set(clusters(host)) == {"17"}, drop
    must(host, f"slipway {app.name} backup create")
    ready(host, app, 10)
