"""A host for the tests of the certificate: what certbot and nginx would do is written here."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import run, x509
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.status import Status
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import config as tls_config
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import keeper

NOW = 1_795_000_000.0
DAY = 86400
URL = "https://ca.example/directory"


def settings(tmp_path: Path = Path("/nowhere"), **changes: Any) -> dict[str, Any]:
    return {
        **{"app": "blog", "source": "acme", "names": ["blog.example.com", "www.blog.example.com"], "directory_url": URL},
        **{"email": "ops@example.com", "webroot": str(tmp_path / "webroot"), "profile": "", "dns_plugin": "", "dns_credentials": ""},
        **{"dns_propagation_seconds": 0, "preflight": True, "dry_run_first": False, "resolvers": []},
        **{"certificate": str(tmp_path / "fullchain.pem"), "key": str(tmp_path / "privkey.pem"), "status": str(tmp_path / "tls.json")},
        **{"certbot_config": "", "reload_unit": "nginx.service", "retry_seconds": 300},
        **changes,
    }


def config(tmp_path: Path = Path("/nowhere"), **changes: Any) -> Any:
    return tls_config.Config.parse(json.dumps(settings(tmp_path, **changes)))


def certificate(lifetime: float = 90, left: float = 60, names: tuple[str, ...] = ("blog.example.com", "www.blog.example.com")) -> Any:
    """A certificate of so many days, of which so many are left."""
    ends = NOW + left * DAY
    return x509.Certificate(tuple(sorted(names)), "CN=Some CA", ends - lifetime * DAY, ends, "f")


class Desk:
    """A host without certbot and nginx: what they would do is written here."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        self.config = config(tmp_path, **changes)
        self.live = tmp_path / "live"
        monkeypatch.setattr(tls_config.Config, "lineage", property(lambda _: self.live))
        monkeypatch.setattr(tls_config.Config, "renewal", property(lambda _: tmp_path / "renewal.conf"))
        monkeypatch.setattr(keeper.Keeper, "certbot", lambda keeper, option, dry_run: self.certbot(dry_run, keeper.asking))
        monkeypatch.setattr(
            keeper.Keeper, "compare", lambda keeper: "" if self.served == self.config.certificate.read_text() else "it differs"
        )
        for module in (keeper, run):
            monkeypatch.setattr(module, "attempt", self.run)
        monkeypatch.setattr(keeper, "preflight", lambda *_: self.findings)
        monkeypatch.setattr(keeper, "own_addresses", lambda: ["203.0.113.7"])
        monkeypatch.setattr(keeper, "SERVED_TIMEOUT", 0)
        self.clock = time.time()
        monkeypatch.setattr(time, "time", lambda: self.clock)
        self.findings: list[Any] = []
        self.failure: Any = None
        self.served: str = ""
        self.asked: list[str] = []
        self.reloads = 0
        self.nginx_works = True
        for part in ("fullchain", "privkey"):
            (tmp_path / f"placeholder-{part}.pem").write_text(pem(tmp_path, ["blog.example.com"], 3650))
            (tmp_path / f"{part}.pem").symlink_to(tmp_path / f"placeholder-{part}.pem")
        self.served = self.config.certificate.read_text()

    def run(self, argv: list[str], **words: Any) -> tuple[int, str]:
        if argv[:2] == ["systemctl", "reload"]:
            self.reloads += 1
            if self.nginx_works:
                self.served = self.config.certificate.read_text()
            return 0, ""
        if argv[0] in ("systemctl", "nginx"):
            return 0, "" if argv[0] == "systemctl" else 'nginx: [emerg] unknown directive "x"'
        return ORIGINAL_RUN(argv, **words)

    def certbot(self, dry_run: bool, names: tuple[str, ...]) -> Any:
        self.asked.append("dry run" if dry_run else "certificate")
        if self.failure is None and not dry_run:
            self.issue(names=names)
        return self.failure

    def issue(self, days: float = 90, names: tuple[str, ...] = ()) -> None:
        self.live.mkdir(exist_ok=True)
        for part in ("fullchain", "privkey"):
            (self.live / f"{part}.pem").write_text(pem(self.folder, list(names or self.config.names), int(days)))
        (self.folder / "renewal.conf").write_text(f"[renewalparams]\nserver = {self.config.directory_url}\n")

    def reconcile(self, asked: bool = False, force: bool = False) -> Status:
        return keeper.Keeper(self.config).reconcile(asked, force)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.config.status.read_text())
        return found


ORIGINAL_RUN = run.attempt


def pem(folder: Path, names: list[str], days: int) -> str:
    """A new certificate."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
    words += ["-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    return subprocess.run([*words, "-keyout", str(folder / "key")], check=True, capture_output=True, text=True).stdout
