"""PostgreSQL's data move to a newer version: what is chosen and why, what is in the way, and what a failure leaves.

The programs were run for real (15 to 17, by copy, by link and by dump; a tool that fails, one that loses rows); here they are played.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.vps.plugins.module_utils.postgres_upgrade import (
    RESERVE,
    Cluster,
    Host,
    counts_differ,
    described,
    kept,
    missing_packages,
    parse_counts,
    plan,
)
from ansible_collections.slipway.vps.plugins.modules import postgres_upgrade as module

GIB = 2**30
OLD = Cluster("15", "main", 5432, True, "/var/lib/postgresql/15/main", "/etc/postgresql/15/main")
EMPTY = Cluster("17", "main", 5433, True, "/var/lib/postgresql/17/main", "/etc/postgresql/17/main")
HOST = Host([OLD, EMPTY], {"15", "17"}, size=3 * GIB, free=20 * GIB, collations={"demo": "C.UTF-8"}, in_the_way=[])


def said(host: Host, **asked: str) -> str:
    move = plan(host, 5432, **asked)
    assert move
    return "\n".join([*described(move, host.size, host.free), *(f"{one.what} / {one.fix}" for one in move.obstacles)])


def test_the_data_move_to_the_newest_version() -> None:
    """[D1] And the empty cluster that the package made makes way."""
    move = plan(HOST, 5432)
    assert move and (move.old, move.new, move.method, move.empty, list(move.obstacles)) == (OLD, "17", "copy", EMPTY, [])
    assert "15/main on port 5432, 3.0 GiB" in said(HOST) and "the empty cluster 17/main" in said(HOST)


@pytest.mark.parametrize(
    "host", [replace(HOST, installed={"15"}), replace(HOST, clusters=[EMPTY]), replace(HOST, clusters=[replace(OLD, version="17")])]
)
def test_nothing_to_move(host: Host) -> None:
    """[D1] Not even where a newer cluster stands beside it on another port."""
    assert plan(host, 5432) is None


def test_a_version_may_be_named() -> None:
    """[D1] postgres_version: older than the newest, or not there yet."""
    host = replace(HOST, installed={"15", "16", "17"}, clusters=[OLD])
    move = plan(host, 5432, version="16")
    assert move and move.new == "16" and not move.obstacles
    assert "PostgreSQL 18 is not installed" in said(host, version="18")


@pytest.mark.parametrize(
    ("change", "method", "words"),
    [
        ({}, "copy", "files are copied as they are"),
        ({"reflinks": True}, "clone", "without copying their blocks"),
        # A newer C library, or ICU, sorts differently: an index that is copied would be wrong, and nothing would say so.
        ({"reflinks": True, "collations": {"demo": "C.UTF-8", "shop": "de_DE.UTF-8"}}, "dump", r"shop (de_DE.UTF-8) differently"),
        ({"collations": {"demo": "ICU"}}, "dump", "demo (ICU)"),
    ],
)
def test_how_the_data_get_there(change: dict[str, Any], method: str, words: str) -> None:
    """[D1] By collation first, then by file system; never by link, which leaves no way back."""
    move = plan(replace(HOST, **change), 5432)
    assert move and move.method == method and words in move.why


def test_the_way_back_is_said() -> None:
    """[D3] For a link there is none."""
    assert "15/main stays as it is" in said(HOST) and "none but a backup" in said(HOST, method="link")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"free": 3 * GIB}, "are needed beside the data (copy)"),
        ({"in_the_way": ["shop", "blog"]}, "17/main is there and holds databases: shop, blog"),
        ({"in_the_way": None}, "17/main is there, stopped, and holds data"),
        ({"clusters": [replace(OLD, running=False), EMPTY]}, "15/main, where the data are, does not run"),
        ({"packages": {"postgresql-15", "postgresql-17", "postgresql-15-postgis-3"}}, "apt install postgresql-17-postgis-3"),
    ],
)
def test_what_is_in_the_way(change: dict[str, Any], words: str) -> None:
    """[D1] [F8] Each with what to do, before anything is closed."""
    assert words in said(replace(HOST, **change))


def test_space_is_asked_for_as_the_method_needs_it() -> None:
    """[D3] A link needs none."""
    needs = {method: plan(HOST, 5432, method=method) for method in ("copy", "dump", "clone", "link")}
    assert {method: move and move.needs - RESERVE for method, move in needs.items()} == {
        **{"copy": 3 * GIB, "dump": 15 * GIB // 4},
        **{"clone": 0, "link": 0},
    }


def test_packages_that_the_new_version_lacks() -> None:
    """[D1] Extensions above all: without their library the new server cannot read their data."""
    have = {"postgresql-15", "postgresql-client-15", "postgresql-15-cron", "postgresql-contrib-15", "postgresql-15-dbgsym", "postgresql-17"}
    assert missing_packages(have, "15", "17") == ["postgresql-17-cron", "postgresql-client-17"]
    assert missing_packages({"postgresql-15", "postgresql-17", "postgresql-common"}, "15", "17") == []


def test_what_an_earlier_move_left() -> None:
    """[D3] The newest of the older ones with the same name."""
    new = replace(EMPTY, port=5432)
    older = [
        replace(OLD, port=5433, running=False),
        replace(OLD, version="14", port=5434),
        replace(OLD, version="16", name="other", port=5435),
    ]
    assert kept(Host([new, *older], ()), 5432) == older[0] and kept(Host([new], ()), 5432) is None


def test_a_lost_row_is_seen() -> None:
    """[D3] And a table that is gone, or new."""
    before = parse_counts(["demo|public.a|5", "demo|public.b|7", "", 'demo|public."x|y"|1'])
    assert before == {"demo.public.a": 5, "demo.public.b": 7, 'demo.public."x|y"': 1}
    assert counts_differ(before, {**before, "demo.public.a": 4}) == ["demo.public.a: 5 before, 4 after"]
    assert counts_differ({"a": 1}, {"b": 1}) == ["a: 1 before, absent after", "b: absent before, 1 after"] and not counts_differ(
        before, before
    )


# --- The module ------------------------------------------------------------------------------------------------------

Run = Callable[..., dict[str, Any]]


class Programs:
    """Debian's programs, and psql, on a host with a 15 that has the data and an empty 17."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked, self.breaks, self.rows_after = root, list[str](), "", 3
        for version in ("15", "17"):
            (root / version / "base/1").mkdir(parents=True)
            (root / version / "start.conf").write_text("auto\n")
            (root / "lib" / version / "bin").mkdir(parents=True)
            (root / "lib" / version / "bin/postgres").touch()
        self.clusters = {"15": (5432, 1), "17": (5433, 1)}

    def run(self, line: list[str], **_: Any) -> tuple[int, str, str]:
        words = line[4:] if line[0] == "runuser" else line
        text = " ".join(words)
        self.asked.append(text)
        if self.breaks and self.breaks in text:
            return 1, "", "it broke"
        if words[0] == "pg_lsclusters":
            return 0, json.dumps([self.row(version) for version in sorted(self.clusters)]), ""
        if words[0] == "pg_dropcluster":
            del self.clusters[words[-2]]
        if words[0] == "pg_upgradecluster":
            self.clusters = {"15": (5433, 0), "17": (5432, 0)}
        if words[0] == "pg_conftool":
            self.clusters[words[1]] = (int(words[-1]), 0)
        return 0, self.answer(text), ""

    def row(self, version: str) -> dict[str, Any]:
        port, running = self.clusters[version]
        folder = str(self.root / version)
        return {"version": version, "cluster": "main", "port": port, "running": running, "pgdata": folder, "configdir": folder}

    def answer(self, text: str) -> str:
        if "query_to_xml" in text:
            return f"demo|public.a|{self.rows_after if self.clusters.get('17', (0,))[0] == 5432 else 3}\n"
        if "datcollate" in text:
            return "demo|C.UTF-8\n"
        return "demo\n" if "pg_database" in text else ""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path)
    monkeypatch.setattr(module, "PROGRAMS", tmp_path / "lib")
    monkeypatch.setattr(module, "UNITS", tmp_path / "units")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 20 * GIB}))
    monkeypatch.setattr(AnsibleModule, "run_command", lambda self, line, **how: programs.run(line, **how))
    return programs


@pytest.fixture
def run(programs: Programs, capsys: pytest.CaptureFixture[str]) -> Run:
    def play(action: str = "plan", check_mode: bool = False, **options: Any) -> dict[str, Any]:
        programs.asked.clear()
        with patch_module_args({"action": action, "_ansible_check_mode": check_mode, **options}), pytest.raises(SystemExit):
            module.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return play


def changing(programs: Programs) -> list[str]:
    return [line for line in programs.asked if line.startswith(("pg_ctl", "pg_drop", "pg_upgrade", "pg_conf", "systemctl"))]


@pytest.mark.parametrize("how", [{"action": "plan"}, {"action": "upgrade", "check_mode": True}])
def test_looking_changes_nothing(run: Run, programs: Programs, how: dict[str, Any]) -> None:
    """[D1] Nor does a dry run of the move."""
    answer = run(**how)
    assert answer["needed"] and not answer["changed"] and answer["plan"][0].startswith("from      PostgreSQL 15/main")
    assert changing(programs) == []


def test_the_move(run: Run, programs: Programs) -> None:
    """[D3] Nobody but the superuser connects from the first count to the second; the new cluster is left stopped, to be configured."""
    answer = run("upgrade")
    assert answer["changed"] and answer["rows"] == 3 and answer["kept"] == "15/main"
    steps = [line.partition(" -o -c hba_file=")[0] for line in changing(programs)]
    assert steps == [
        *("pg_dropcluster --stop 17 main", "pg_ctlcluster 15 main stop -m fast", "pg_ctlcluster --skip-systemctl-redirect 15 main start"),
        *(next(line for line in steps if line.startswith("pg_upgradecluster")), "pg_ctlcluster --skip-systemctl-redirect 17 main start"),
        "pg_ctlcluster 17 main stop",
    ]
    assert (programs.root / "15/start.conf").read_text().endswith("manual\n") and (programs.root / "17/start.conf").read_text().endswith(
        "auto\n"
    )


def test_a_move_that_fails(run: Run, programs: Programs) -> None:
    """[D3] The old cluster serves again, with its own rules."""
    programs.breaks = "pg_upgradecluster"
    answer = run("upgrade")
    assert answer["failed"] and "it broke" in answer["msg"] and "Nothing was moved: 15/main serves again" in answer["msg"]
    assert changing(programs)[-2:] == ["pg_ctlcluster 15 main stop", "pg_ctlcluster 15 main start"]


def test_a_move_that_loses_rows(run: Run, programs: Programs) -> None:
    """[D3] The old cluster takes its port back, and the message names the table."""
    programs.rows_after = 2
    answer = run("upgrade")
    assert answer["failed"] and "demo.public.a: 3 before, 2 after" in answer["msg"]
    assert programs.clusters["15"][0] == 5432 and changing(programs)[-1] == "pg_ctlcluster 15 main start"


def test_something_in_the_way(run: Run, programs: Programs) -> None:
    """[F8] The module refuses it, whoever calls it."""
    (programs.root / "17/base/16385").mkdir()
    answer = run("upgrade")
    assert answer["failed"] and "17/main is there and holds databases: demo" in answer["msg"] and changing(programs) == []


def test_back(run: Run, programs: Programs) -> None:
    """[D3] The ports change places; the newer one is kept, and does not start at boot."""
    run("upgrade")
    assert run("back")["plan"] == ["15/main serves on port 5432 again; 17/main is stopped, on port 5433"]
    assert {version: port for version, (port, _) in programs.clusters.items()} == {"15": 5432, "17": 5433}
    assert (programs.root / "17/start.conf").read_text().endswith("manual\n")


def test_no_way_back_from_a_link(run: Run, programs: Programs) -> None:
    """[D3] Two servers on the same files would destroy them."""
    run("upgrade", method="link")
    (programs.root / "15/global").mkdir()
    (programs.root / "15/global/pg_control.old").touch()
    answer = run("back")
    assert answer["failed"] and "shares its files with 17/main" in answer["msg"] and changing(programs) == []


def test_the_old_cluster_goes_when_it_is_told_to(run: Run, programs: Programs) -> None:
    """[D3] Not while it runs, and only once."""
    run("upgrade")
    programs.clusters["15"] = (5433, 1)
    assert "15/main runs" in run("drop")["msg"]
    programs.clusters["15"] = (5433, 0)
    assert run("drop")["changed"] and "15" not in programs.clusters
    again = run("drop")
    assert not again["changed"] and again["plan"] == ["no older cluster is kept"]
