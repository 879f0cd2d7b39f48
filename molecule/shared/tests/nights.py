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
