# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Move PostgreSQL's data to the newest version that is installed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_upgrade
short_description: Move PostgreSQL's data to the newest version that is installed
version_added: 0.1.0
description:
  - C(pg_upgradecluster) of Debian does the work. The old cluster stays, stopped, on another port, until O(action=drop).
  - Every row is counted before and after, while nobody but the superuser can connect. Where a count differs, the old cluster takes over
    again.
  - A connection of Ansible that breaks does not end it.
author:
  - The Slipway authors
options:
  action:
    description:
      - V(plan) looks, and says what would happen.
      - V(upgrade) moves the data; the new cluster is left stopped, on the port of the old one, for its configuration to be written.
      - V(back) lets the old cluster take over again. What was written since is in the other one only.
      - V(drop) removes the old cluster.
    type: str
    default: plan
    choices: [plan, upgrade, back, drop]
  port:
    description: Port of the cluster that the apps reach.
    type: int
    default: 5432
  version:
    description: Major version to move to; empty means the newest that is installed.
    type: str
    default: ""
  method:
    description: How the data get there; V(auto) chooses by file system and collations, and never takes V(link).
    type: str
    default: auto
    choices: [auto, copy, clone, link, dump]
attributes:
  check_mode:
    description: Does what O(action=plan) does.
    support: full
"""

EXAMPLES = r"""
- name: See what moving the data would take
  slipway.vps.postgres_upgrade:
  register: blog_move
"""

RETURN = r"""
needed:
  description: Whether there is something to do.
  type: bool
  returned: always
plan:
  description: What would happen, in lines of text.
  type: list
  elements: str
  returned: always
obstacles:
  description: What keeps it from happening, C(what) and C(fix).
  type: list
  elements: dict
  returned: always
kept:
  description: The old cluster of an earlier move, C(15/main); empty where there is none.
  type: str
  returned: always
rows:
  description: Rows of all tables, counted before and after.
  type: int
  returned: action is upgrade
seconds:
  description: Seconds from the moment when nobody could connect to the old cluster to the end.
  type: float
  returned: action is upgrade
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.postgres_upgrade import (
    METHODS,
    Cluster,
    Host,
    Move,
    counts_differ,
    current,
    described,
    kept,
    newest,
    parse_counts,
    plan,
    twin,
)

PROGRAMS = Path("/usr/lib/postgresql")
UNITS = Path("/etc/systemd/system")
#: Two files share their blocks: FICLONE, ioctl_ficlone(2).
FICLONE = 0x40049409
#: pg_upgrade --link takes the old cluster's control file away, so that nobody starts it on files that are another's.
SPENT = "global/pg_control.old"
DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
USERS = f"{DATABASES} AND datname <> 'postgres'"
#: A newer ICU sorts differently, too; PostgreSQL's own provider never does.
COLLATIONS = (
    "SELECT datname || '|' || CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')"
    " WHEN 'b' THEN 'C' WHEN 'i' THEN 'ICU' ELSE datcollate END FROM pg_database d"
    " WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres'"
)
#: The first number of a database that somebody made (FirstNormalObjectId).
FIRST_OID = 16384
#: Each row of the answer is one table: its name, and how many rows it has.
ROWS = (
    "SELECT current_database() || '|' || format('%I.%I', n.nspname, c.relname) || '|' || (xpath('/row/n/text()', query_to_xml("
    "format('SELECT count(*) AS n FROM ONLY %I.%I', n.nspname, c.relname), false, true, '')))[1]"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
)


class UpgradeError(Exception):
    """It did not work; the text says what is there now, and what to do."""


class Upgrade:
    """PostgreSQL's clusters on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.port = module, int(module.params["port"])

    # --- What is there ---------------------------------------------------------------------------

    def run(self, *words: str, user: str = "") -> str:
        line = ["runuser", "-u", user, "--", *words] if user else list(words)
        status, out, error = self.module.run_command(line, cwd="/", environ_update={"LC_ALL": "C.UTF-8"})
        if status != 0:
            raise UpgradeError(f"`{' '.join(words[:6])}` failed:\n{(out + error).strip()}")
        return str(out)

    def sql(self, cluster: Cluster, query: str, database: str = "postgres") -> list[str]:
        words = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1", f"--port={cluster.port}")
        return self.run(*words, f"--dbname={database}", f"--command={query}", user="postgres").splitlines()

    def clusters(self) -> list[Cluster]:
        return [Cluster.of(line) for line in json.loads(self.run("pg_lsclusters", "-j"))]

    def look(self) -> Host:
        """Everything that decides; nothing changes."""
        clusters = self.clusters()
        found = Host(clusters, {path.parent.parent.name for path in PROGRAMS.glob("*/bin/postgres")})
        old = current(found, self.port)
        if old is None:
            return found
        there = twin(clusters, old, self.module.params["version"] or newest(found))
        return replace(
            found,
            packages=set(self.run("dpkg-query", "--show", "--showformat=${Package}\\n", "postgresql*-[0-9]*").split()),
            size=sum(path.lstat().st_size for path in Path(old.data).rglob("*") if path.is_file()),
            free=shutil.disk_usage(old.data).free,
            reflinks=shares_blocks(Path(old.data).parent),
            collations=dict(line.rsplit("|", 1) for line in self.sql(old, COLLATIONS)) if old.running else {},
            in_the_way=self.held(there) if there else (),
        )

    def held(self, cluster: Cluster) -> list[str] | None:
        """Databases of a cluster that may be in the way; None where there are some and it does not say which."""
        made = [path.name for path in Path(cluster.data, "base").glob("[0-9]*") if int(path.name) >= FIRST_OID]
        return (self.sql(cluster, USERS) if cluster.running else None) if made else []

    # --- Moving ----------------------------------------------------------------------------------

    def upgrade(self, move: Move) -> dict[str, Any]:
        old = move.old
        if move.empty:
            self.run("pg_dropcluster", "--stop", move.empty.version, move.empty.name)
        started = time.monotonic()
        with self.alone() as rules:
            try:
                self.start(old, rules, restart=True)
                before = self.rows(old)
                jobs = [] if move.method == "dump" else ["--jobs", str(os.cpu_count() or 1)]
                # It puts the old cluster back itself when it fails.
                self.run("pg_upgradecluster", "-v", move.new, "-m", METHODS[move.method], "--no-start", *jobs, old.version, old.name)
            except UpgradeError as error:
                self.open_again(old)
                raise UpgradeError(f"{error}\nNothing was moved: {old.label} serves again.") from None
            new = self.cluster(move.new, old.name)
            self.start(new, rules)
            after = self.rows(new)
            self.run("pg_ctlcluster", new.version, new.name, "stop")
        if differing := counts_differ(before, after):
            self.back()
            lines = "\n  ".join(differing[:20])
            raise UpgradeError(f"The new cluster does not have the rows of the old one, which serves again:\n  {lines}")
        self.at_boot(old, False)
        self.at_boot(new, True)
        return {"rows": sum(after.values()), "tables": len(after), "seconds": round(time.monotonic() - started, 1)}

    @contextlib.contextmanager
    def alone(self) -> Iterator[str]:
        """A pg_hba.conf that lets the superuser in and nobody else."""
        with tempfile.NamedTemporaryFile("w", prefix="slipway-hba-", suffix=".conf", dir="/var/tmp") as rules:
            rules.write("local all postgres peer\n")
            rules.flush()
            Path(rules.name).chmod(0o644)
            yield rules.name

    def start(self, cluster: Cluster, rules: str, restart: bool = False) -> None:
        """Past systemd, which would start it with its own rules."""
        if restart:
            self.run("pg_ctlcluster", cluster.version, cluster.name, "stop", "-m", "fast")
        options = f"-c hba_file={rules} -c archive_mode=off"
        self.run("pg_ctlcluster", "--skip-systemctl-redirect", cluster.version, cluster.name, "start", "-o", options)

    def open_again(self, cluster: Cluster) -> None:
        for verb in ("stop", "start"):
            # It may be down already, or up.
            with contextlib.suppress(UpgradeError):
                self.run("pg_ctlcluster", cluster.version, cluster.name, verb)

    def rows(self, cluster: Cluster) -> dict[str, int]:
        return parse_counts(line for database in self.sql(cluster, DATABASES) for line in self.sql(cluster, ROWS, database))

    def cluster(self, version: str, name: str) -> Cluster:
        return next(one for one in self.clusters() if (one.version, one.name) == (version, name))

    def at_boot(self, cluster: Cluster, wanted: bool) -> None:
        word = "auto" if wanted else "manual"
        Path(cluster.config, "start.conf").write_text(f"# Written by slipway.vps.postgres_upgrade.\n{word}\n")
        if Path("/run/systemd/system").is_dir():
            self.run("systemctl", "daemon-reload")
            self.run("systemctl", "enable" if wanted else "disable", "--quiet", cluster.unit)

    def back(self) -> dict[str, Any]:
        """The old cluster takes over its port again."""
        host = Host(self.clusters(), ())
        new, old = current(host, self.port), kept(host, self.port)
        if new is None or old is None:
            raise UpgradeError(
                "No older cluster is kept on this host, so there is nothing to go back to. Restore a backup: slipway.vps.restore."
            )
        if Path(old.data, SPENT).exists():
            raise UpgradeError(
                f"{old.label} shares its files with {new.label} (method link) and must not start. Restore a backup: slipway.vps.restore."
            )
        for one in (new, old):
            if one.running:
                self.run("pg_ctlcluster", one.version, one.name, "stop", "-m", "fast")
        self.run("pg_conftool", new.version, new.name, "set", "port", str(old.port))
        self.run("pg_conftool", old.version, old.name, "set", "port", str(self.port))
        self.at_boot(new, False)
        self.at_boot(old, True)
        self.run("pg_ctlcluster", old.version, old.name, "start")
        return {"plan": [f"{old.label} serves on port {self.port} again; {new.label} is stopped, on port {old.port}"]}

    def drop(self) -> dict[str, Any]:
        """Remove the old cluster, for good."""
        old = kept(Host(self.clusters(), ()), self.port)
        if old is None:
            return {"plan": ["no older cluster is kept"]}
        if old.running:
            raise UpgradeError(f"{old.label} runs: somebody may use it. Stop it first: pg_ctlcluster {old.version} {old.name} stop")
        self.run("pg_dropcluster", old.version, old.name)
        shutil.rmtree(UNITS / f"{old.unit}.d", ignore_errors=True)
        if Path("/run/systemd/system").is_dir():
            self.run("systemctl", "daemon-reload")
        return {"plan": [f"{old.label} is gone; its packages stay: apt purge postgresql-{old.version}"]}


def shares_blocks(folder: Path) -> bool:
    """Whether the file system copies a file without copying its blocks."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as other:
        one.write(b"x" * 4096)
        one.flush()
        fcntl.ioctl(other.fileno(), FICLONE, one.fileno())
        return True
    return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "default": "plan", "choices": ["plan", "upgrade", "back", "drop"]},
            "port": {"type": "int", "default": 5432},
            "version": {"type": "str", "default": ""},
            "method": {"type": "str", "default": "auto", "choices": ["auto", *METHODS]},
        },
        supports_check_mode=True,
    )
    upgrade, action = Upgrade(module), module.params["action"]
    # A connection that breaks ends what it has started, in the middle of the move.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        host = upgrade.look()
        move = plan(host, upgrade.port, module.params["method"], module.params["version"])
        old = kept(host, upgrade.port)
        result: dict[str, Any] = {
            "needed": move is not None,
            "plan": described(move, host.size, host.free) if move else ["the data are in the newest version that is installed"],
            "obstacles": [obstacle._asdict() for obstacle in move.obstacles] if move else [],
            "kept": old.label if old else "",
            "changed": False,
        }
        if action == "plan" or module.check_mode or (action == "upgrade" and not move):
            module.exit_json(**result)
        if move and move.obstacles and action == "upgrade":
            raise UpgradeError("Nothing was moved: " + "; ".join(f"{one.what} (fix: {one.fix})" for one in move.obstacles))
        done = upgrade.upgrade(move) if action == "upgrade" and move else upgrade.back() if action == "back" else upgrade.drop()
    except UpgradeError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or ''}: {error.strerror}")
    left = kept(Host(upgrade.clusters(), ()), upgrade.port)
    module.exit_json(**{**result, "changed": action != "drop" or bool(old), "kept": left.label if left else "", **done})


if __name__ == "__main__":
    main()
