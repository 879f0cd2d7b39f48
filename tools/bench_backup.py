#!/usr/bin/env python3
"""What `make bench-backup` runs: how long a backup, its proof and a restore take, and how large it is. Asserts nothing.

On the demo's host, which must be up and built (`make demo`), in a database of its own; --here measures a server of this machine instead
(as root, with --socket). Compared with what everybody starts with: `pg_dump -Fc` and `pg_restore`; the dumps take turns, and a figure is
the median of its rounds. What a dump gains depends on the data: pgbench's are one large table that any compressor takes for nothing, so
the dumps are also measured with a shop's (several tables, as random as ids and texts are). For the RPO the demo archives its WAL meanwhile
(backup_engine: pgbackrest); PostgreSQL is restarted for that, and again afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DATABASE = "slipway_bench"
USER = "postgres"
#: pgbench's scale of 100 is a database of 1.5 GB.
SCALE = 100
#: A shop's tables, 400 MB at that scale.
SHOP = """
CREATE TABLE customers AS SELECT g AS id, md5(g::text) || '@example.com' AS email, now() - random() * interval '900 days' AS created
  FROM generate_series(1, 1000 * :scale) g;
CREATE TABLE orders AS SELECT g AS id, 1 + floor(random() * 1000 * :scale)::int AS customer, round((random() * 500)::numeric, 2) AS total,
    (ARRAY['new', 'paid', 'shipped', 'returned'])[1 + floor(random() * 4)::int] AS status, now() - random() * interval '900 days' AS at
  FROM generate_series(1, 20000 * :scale) g;
CREATE TABLE events AS SELECT g AS id, now() - random() * interval '90 days' AS at, jsonb_build_object('path',
    '/item/' || floor(random() * 5000), 'ip', '192.0.2.' || floor(random() * 255), 'ms', floor(random() * 900),
    'request', md5(random()::text), 'agent', (ARRAY['Mozilla/5.0 (X11; Linux x86_64)', 'curl/8.14'])[1 + floor(random() * 2)::int]) AS body
  FROM generate_series(1, 7000 * :scale) g;
CREATE TABLE posts AS SELECT g AS id, body FROM generate_series(1, 1000 * :scale) g, LATERAL (SELECT string_agg(
    left(translate(md5(floor(power(random(), 2.5) * 3000 + 0 * (g + n))::text), '0123456789', 'aeioutnsrl'), 3 + (g + n) % 8), ' ') AS body
  FROM generate_series(1, 120) n) AS words;
"""
#: Dumps of each kind.
ROUNDS = 3
#: Seconds for which it is watched how much would be lost: two turns of the archive's timeout, and some.
WATCH = 150
PROGRAM = ["/usr/local/bin/slipway", "demo", "backup"]


class Bench:
    """One server that is reached through a socket."""

    def __init__(self, socket: str, program: Sequence[str], jobs: int) -> None:
        self.socket, self.program, self.jobs = socket, list(program), jobs
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir="/var/tmp"))

    def as_postgres(self, *words: str, given: str = "", stdout: Any = subprocess.PIPE) -> str:
        account = pwd.getpwnam(USER)
        identity: dict[str, Any] = (
            {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() != account.pw_uid else {}
        )
        done = subprocess.run(words, input=given.encode(), stdout=stdout, stderr=subprocess.PIPE, cwd="/", check=False, **identity)
        if done.returncode != 0:
            sys.exit(f"bench: {words[0]} exited {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout.decode() if done.stdout else ""

    def backup(self, *words: str) -> dict[str, Any]:
        command = [*self.program, "--config", str(self.folder / "backup.json"), "--json", *words]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            sys.exit(f"bench: {' '.join(words)} exited {done.returncode}: {done.stderr[-500:]}")
        return dict(json.loads(done.stdout))

    def configure(self) -> None:
        (self.folder / "backups").mkdir()
        settings = {
            "admin": USER,
            "app": DATABASE,
            "backup_dir": str(self.folder / "backups"),
            "compression": "auto",
            "database": DATABASE,
            "engine": "dump",
            "full_days": 7,
            "jobs": self.jobs,
            "keep_count": 1,
            "keep_days": 1,
            "log_file": str(self.folder / "log"),
            "paths": [],
            "proof": True,
            "proof_dir": f"/var/tmp/{DATABASE}-proof",
            "proxy_group": "www-data",
            "reserve_mb": 0,
            "role": USER,
            "service": "",
            "shared": "/nowhere",
            "socket_dir": self.socket,
            "user": USER,
        }
        (self.folder / "backup.json").write_text(json.dumps(settings))

    def empty(self) -> None:
        self.as_postgres("dropdb", "--if-exists", "--host", self.socket, DATABASE)
        self.as_postgres("createdb", "--host", self.socket, DATABASE)

    def pgbench(self, scale: int) -> None:
        self.empty()
        program = shutil.which("pgbench") or str(max(Path("/usr/lib/postgresql").glob("*/bin/pgbench")))
        self.as_postgres(program, "--initialize", "--quiet", f"--scale={scale}", "--host", self.socket, DATABASE)

    def shop(self, scale: int) -> None:
        self.empty()
        self.as_postgres("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-v", f"scale={scale}", "--host", self.socket, DATABASE, given=SHOP)

    def dumps(self, rounds: int) -> dict[str, Any]:
        """Each kind of dump in turn."""
        plain, ours, bare = [], [], []
        for _ in range(rounds):
            plain.append(self.plain_dump())
            ours.append(self.our_dump())
            bare.append(self.bare_dump(ours[-1]["compression"]))
        return {
            **{key: ours[-1][key] for key in ("name", "database_bytes", "postgres", "compression")},
            "jobs": self.jobs,
            "plain": {"seconds": middle(plain), "bytes": plain[-1]["bytes"]},
            "ours": {"seconds": middle(ours), "bytes": ours[-1]["bytes"]},
            "bare": {"seconds": middle(bare)},
        }

    def plain_dump(self) -> dict[str, float]:
        target = self.folder / "plain.dump"
        with target.open("wb") as handle:
            seconds = took(lambda: self.as_postgres("pg_dump", "-Fc", "--host", self.socket, DATABASE, stdout=handle))
        return {"seconds": seconds, "bytes": target.stat().st_size}

    def bare_dump(self, compression: str) -> dict[str, float]:
        """The dump of ours and nothing around it: no rows counted, nothing read back, no checksums."""
        with tempfile.TemporaryDirectory(prefix=f"{DATABASE}-", dir="/var/tmp") as parent:
            shutil.chown(parent, USER)
            command = ["pg_dump", "-Fd", f"--jobs={self.jobs}", f"--compress={compression}", "--host", self.socket, f"--file={parent}/dump"]
            return {"seconds": took(lambda: self.as_postgres(*command, DATABASE))}

    def our_dump(self) -> dict[str, Any]:
        begun = time.monotonic()
        manifest = self.backup("create", "--database-only")
        return {**manifest, "seconds": time.monotonic() - begun}

    def plain_restore(self) -> dict[str, float]:
        (self.folder / "plain.dump").rename(moved := Path(f"/var/tmp/{DATABASE}.dump"))
        moved.chmod(0o644)
        self.as_postgres("createdb", "--host", self.socket, f"{DATABASE}_plain")
        try:
            command = ["pg_restore", "--host", self.socket, "--dbname", f"{DATABASE}_plain", str(moved)]
            return {"seconds": took(lambda: self.as_postgres(*command))}
        finally:
            moved.unlink()
            self.as_postgres("dropdb", "--host", self.socket, f"{DATABASE}_plain")

    def exposure(self, seconds: float) -> float | None:
        """Seconds of writing that a disk's end would have cost at the worst moment; None where WAL is not archived.

        A row each second; one is safe when the segment that holds its commit is in the archive.
        """
        ask = ["psql", "-XAtq", "--host", self.socket, DATABASE, "-c"]
        if self.as_postgres(*ask, "SHOW archive_mode").strip() != "on":
            return None
        self.as_postgres(*ask, "CREATE TABLE ticks (at timestamptz DEFAULT clock_timestamp())")
        # Two transactions: the first is committed when the second looks.
        step = [
            *ask,
            "INSERT INTO ticks DEFAULT VALUES",
            "-c",
            "SELECT pg_walfile_name(pg_current_wal_lsn()), last_archived_wal FROM pg_stat_archiver",
        ]
        worst, waiting = 0.0, dict[float, str]()
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            written, archived = self.as_postgres(*step).strip().split("|")
            waiting = {at: segment for at, segment in {**waiting, now: written}.items() if segment > archived}
            worst = max([worst, *(time.monotonic() - at for at in waiting)])
            time.sleep(max(0.0, now + 1 - time.monotonic()))
        return worst

    def clean(self) -> None:
        names = self.as_postgres(
            "psql", "-XAtq", "--host", self.socket, "-c", f"SELECT datname FROM pg_database WHERE datname ~ '^{DATABASE}'"
        )
        for name in names.split():
            self.as_postgres("dropdb", "--host", self.socket, name)
        shutil.rmtree(self.folder)


def took(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def middle(rounds: Sequence[dict[str, Any]]) -> float:
    return float(statistics.median(one["seconds"] for one in rounds))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """On the host: the dumps of both kinds of data, and with pgbench's the proof and the restore."""
    bench = Bench(asked.socket, asked.program, asked.jobs)
    try:
        bench.configure()
        bench.shop(asked.scale)
        shop = bench.dumps(asked.rounds)
        bench.pgbench(asked.scale)
        pgbench = bench.dumps(asked.rounds)
        return {
            "dumps": {"pgbench": pgbench, "a shop": shop},
            "proof": bench.backup("verify", pgbench["name"])["duration_seconds"],
            "restore": took(lambda: bench.backup("restore", pgbench["name"])),
            "plain_restore": bench.plain_restore(),
        }
    finally:
        bench.clean()


def watch(asked: argparse.Namespace) -> dict[str, Any]:
    """On the host: how much would be lost at the worst moment."""
    bench = Bench(asked.socket, asked.program, asked.jobs)
    try:
        bench.pgbench(1)
        return {"exposure": bench.exposure(WATCH)}
    finally:
        bench.clean()


def on_demo(asked: argparse.Namespace) -> dict[str, Any]:
    # Not above: the host gets this file alone.
    import demo

    program = Path(__file__).read_text()
    words = ["--here", "--json", f"--scale={asked.scale}", f"--jobs={asked.jobs}", f"--rounds={asked.rounds}"]
    result = demo.on_host(program, *words)
    demo.playbook("keep", {"backup_engine": "pgbackrest"})
    try:
        return {**result, **demo.on_host(program, *words, "--watch")}
    finally:
        demo.playbook("keep", {})


def show(result: dict[str, Any]) -> None:
    mib = 2**20
    for kind, data in result["dumps"].items():
        plain, ours, bare = data["plain"], data["ours"], data["bare"]
        print(f"\nThe data of {kind}: {data['database_bytes'] / mib:.0f} MiB in PostgreSQL {data['postgres']}")
        print(f"  pg_dump -Fc             {plain['seconds']:7.1f} s  {plain['bytes'] / mib:7.1f} MiB")
        print(
            f"  slipway … create        {ours['seconds']:7.1f} s  {ours['bytes'] / mib:7.1f} MiB"
            f"   {ours['seconds'] / plain['seconds']:.2f} x the time (goal 0.5), {ours['bytes'] / plain['bytes']:.2f} x the size"
            " (goal 0.7); rows counted, read back, checksums, on the disk"
        )
        print(
            f"    its dump alone        {bare['seconds']:7.1f} s"
            f"                {bare['seconds'] / plain['seconds']:.2f} x the time: {data['jobs']} tables at a time, {data['compression']}"
        )
    print("\nBack again, with pgbench's:")
    print(f"  pg_restore              {result['plain_restore']['seconds']:7.1f} s")
    print(
        f"  RTO: slipway … restore  {result['restore']:7.1f} s                (at most 60, goal 30); beside the live one, compared, swapped"
    )
    print(f"  slipway … verify        {result['proof']:7.1f} s                into a throw-away cluster, pg_amcheck")
    if result.get("exposure") is None:
        print("  RPO                     up to a day: a dump is a moment of each night, and WAL is not archived there")
    else:
        print(f"  RPO, WAL archived       {result['exposure']:7.1f} s                (at most 60), the worst of {WATCH} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=SCALE, help="pgbench's; 100 is 1.5 GB")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="dumps of each kind, in turn")
    parser.add_argument("--here", action="store_true", help="measure a server of this machine")
    parser.add_argument("--watch", action="store_true", help="with --here: only how much would be lost at the worst moment")
    parser.add_argument("--socket", default="/run/postgresql")
    parser.add_argument("--program", type=shlex.split, default=PROGRAM, help="the program, with the words before its options")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    result = {**({} if asked.watch else measure(asked)), **watch(asked)} if asked.here else on_demo(asked)
    if asked.json or asked.watch:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
