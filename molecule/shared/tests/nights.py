"""The backups of the host under test, and the ledger that is written to meanwhile."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from helpers import App, must

PROGRAM = "/usr/local/bin/slipway demo backup"
LEDGER = "CREATE TABLE IF NOT EXISTS ledger (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp())"
#: One row after the other, each committed: its number and its time.
WRITER = "while :; do echo 'INSERT INTO ledger DEFAULT VALUES;'; sleep 0.002; done | psql -Xq -h /run/postgresql -d demo >/dev/null 2>&1"
#: What must not go on when the program is killed. The archive's own `pgbackrest archive-push` is the live server's.
LEFT = "[/]var/lib/demo-proof|[p]g_dump|[p]g_amcheck|[p]gbackrest .*(backup --type|restore)|[r]estic "

NIGHT = "slipway-test-night"
#: Kills process `pid` as soon as a command line matches, and answers once it has ended: 1 when it did so by itself.
#: One process reads all the lines: with a pgrep for each look, what is quick was missed.
KILL = """
import os, pathlib, re, sys
pid, wanted, killed = int(sys.argv[1]), re.compile(sys.argv[2].encode()), False
while pathlib.Path(f"/proc/{pid}").exists():
    for path in () if killed else pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(bytes(1), b" ")
        except OSError:
            continue
        if wanted.search(line):
            os.kill(pid, 9)
            killed = True
            break
sys.exit(not killed)
"""


@dataclass
class Keep:
    """The host's backups and its ledger."""

    host: Any
    app: App
    config: str = "/etc/demo/backup.json"

    def cli(self, *words: str, config: str = "") -> Any:
        return self.host.run(f"{PROGRAM} --config {config or self.config} {' '.join(words)}")

    def must_cli(self, *words: str, config: str = "") -> str:
        result = self.cli(*words, config=config)
        log = self.host.run(f"tail -n 20 {self.app.logs}/backup.log").stdout
        assert result.rc == 0, f"{words}: exit {result.rc}\n{result.stdout}{result.stderr}\n{log}"
        return str(result.stdout)

    def listed(self) -> dict[str, Any]:
        return dict(json.loads(self.must_cli("--json", "list")))

    def proven(self) -> list[str]:
        return sorted(name for name, proof in self.listed()["proofs"].items() if proof["good"])

    def night(self) -> str:
        """A night without the copy of the cluster: its backup."""
        name = str(json.loads(self.must_cli("--json", "create"))["name"])
        self.must_cli("verify", name)
        return name

    def killed_night(self, at_work: str) -> None:
        """A night that is killed while `at_work` (a regular expression) runs: the program alone, as the kernel does when memory is short.

        What is at work for a moment only can be missed on a busy machine: then the next night is tried.
        """
        start = f"systemd-run --quiet --unit={NIGHT} --property=KillMode=process {PROGRAM} --config {self.config} nightly"
        # "[p]g_dump" matches pg_dump, not the command line that asks for it.
        wanted = shlex.quote(f"[{at_work[0]}]{at_work[1:]}")
        kill = f"timeout 300 python3 -c {shlex.quote(KILL)} $(systemctl show -P MainPID {NIGHT}) {wanted}"
        result, tries = "success", 3
        while result == "success" and tries:
            killed, tries = self.host.run(f"{start} && {kill}"), tries - 1
            result = must(self.host, f"systemctl show -P Result {NIGHT}").strip()
        said = f"{killed.stdout}{killed.stderr}{self.host.run(f'journalctl --no-pager -n 30 -u {NIGHT}').stdout}"
        assert (killed.rc, result) == (0, "signal"), f"{at_work}: {result}\n{said}"
        must(self.host, f"systemctl reset-failed {NIGHT}")

    def status(self) -> dict[str, Any]:
        return dict(json.loads(must(self.host, f"cat {self.app.backups}/status.json")))

    def partial(self) -> str:
        return must(self.host, f"ls -A {self.app.backups} | grep partial || true").strip()

    def sql(self, query: str, database: str = "demo") -> str:
        command = f"psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -d {database} -c {shlex.quote(query)}"
        return must(self.host, f"runuser -u postgres -- {command}").strip()

    def aside(self) -> list[str]:
        """The databases that restores have put aside."""
        return self.sql("SELECT datname FROM pg_database WHERE datname ~ '^demo_before_'").split()

    def ledger(self, database: str = "demo", until: int = 2**31) -> str:
        """A checksum over the rows up to a number: order, numbers and times."""
        query = f"SELECT count(*), md5(string_agg(id || '@' || at, ',' ORDER BY id)) FROM ledger WHERE id <= {until}"
        return self.sql(query, database)

    def flip(self, path: str) -> None:
        """One bit of one byte, in the middle of a file."""
        script = f"p='{path}'; b=bytearray(open(p,'rb').read()); b[len(b)//2] ^= 1; open(p,'wb').write(b)"
        must(self.host, f'chmod u+w "{path}"; python3 -c "{script}"')

    def errors(self) -> str:
        return must(self.host, f"journalctl --sync; journalctl --no-pager -p err -n 20 -t {self.app.name}-backup")
