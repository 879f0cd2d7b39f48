"""The state document: what can be seen of a machine and its apps, field by field, without a change and without a secret."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.slipway import app as apps_of_host
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli, state
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import rules
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import run, units
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.state import apps, hardening, machine
from ansible_collections.slipway.vps.plugins.module_utils.slipway.state.together import together
from ansible_collections.slipway.vps.plugins.modules import state as module
from ansible_collections.slipway.vps.plugins.plugin_utils.report import document

from .module_call import call_module
from .program_app import app, facts
from .tls_desk import pem, settings

OLD, LIVE = "20261120T072201-aaaaaaa", "20261121T072201-bbbbbbb"
BACKUP = "20261121T024100Z"
SECRET = "3f8a1c5e9b7d2046"
SINCE = "ActiveEnterTimestamp=Sat 2026-11-21 07:23:00 UTC"
SHOWN = {
    "blog.socket": f"Id=blog.socket\nActiveState=active\n{SINCE}\nMemoryCurrent=[not set]\nNRestarts=0",
    f"blog@{LIVE}.service": (
        f"Id=blog@{LIVE}.service\nActiveState=active\n{SINCE}\nMemoryCurrent=1048576\nCPUUsageNSec=2500000000\nTasksCurrent=9\nNRestarts=2"
    ),
    "slipway-blog.slice": "MemoryCurrent=2097152\nMemoryMax=infinity\nCPUUsageNSec=18446744073709551615\nTasksCurrent=11\nTasksMax=512",
}
ANSWERS = {
    "psql": "7340032\n",
    "timedatectl": "yes\n",
    "ss": (
        'udp UNCONN 0 0 127.0.0.54:53 0.0.0.0:* users:(("systemd-resolve",pid=1,fd=1))\n'
        "udp UNCONN 0 0 0.0.0.0:123 0.0.0.0:*\n"
        'tcp LISTEN 0 511 0.0.0.0:443 0.0.0.0:* users:(("nginx",pid=2,fd=3),("nginx",pid=3,fd=3))\n'
        'tcp LISTEN 0 511 [::]:443 [::]:* users:(("nginx",pid=2,fd=4))\n'
        'tcp LISTEN 0 128 [::1]:6379 [::]:* users:(("redis-server",pid=5,fd=4))\n'
        'tcp LISTEN 0 128 *:22 *:* users:(("sshd",pid=4,fd=4))\n'
    ),
    "systemd-analyze": (
        "UNIT                          EXPOSURE PREDICATE HAPPY\n"
        f"nginx.service                      2.4 OK        🙂\npostgresql@17-main.service  2.5 OK 🙂\nblog@{LIVE}.service    1.3 OK  🙂\n"
    ),
    "apt": (
        "\nWARNING: apt does not have a stable CLI interface. Use with caution in scripts.\n\nListing...\n"
        "libssl3/stable,stable-security 3.0.13-1 amd64 [upgradable from: 3.0.11-1]\n"
        "tzdata/stable-updates 2026b all [upgradable from: 2026a]\n"
    ),
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A host with a live release, an older one, a backup with its proof, and a certificate."""
    found = app(
        tmp_path, resources={"slice": "slipway-blog.slice"}, processes={}, sandbox={"level": "full", "network": "any", "allowed": ["mail"]}
    )
    found.config_dir.mkdir(parents=True)
    for name, changes in ((OLD, {"state": "retired"}), (LIVE, {"state": "live", "environment": {"SECRET_KEY": SECRET}})):
        folder = found.releases / name
        folder.mkdir(parents=True)
        manifest = {"id": name, "live_at": "2026-11-21T07:23:00+00:00", "source": {"commit": "b" * 40}, "asked": {"version": "v1.4.0"}}
        (folder / "release.json").write_text(json.dumps({**manifest, **changes, "created_by": "ada", "schema_after": "4e1f"}))
        (folder / "module.py").write_text("x" * 1000)
    found.current.symlink_to(f"releases/{LIVE}")
    (tmp_path / "fullchain.pem").write_text(pem(tmp_path, ["blog.example.com"], 60))
    (found.config_dir / "tls.json").write_text(json.dumps(settings(tmp_path, source="own")))
    _backups(found)
    (found.config_dir / "app.json").write_text(json.dumps(facts(tmp_path, processes={})))

    def answer(*words: str, **how: Any) -> str:
        if words[:2] == ("systemctl", "show"):
            return "\n\n".join(SHOWN[word] for word in words if word in SHOWN)
        if words[:2] == ("systemctl", "list-units"):
            return "postgresql@17-main.service loaded active running x\n" if words[-1].startswith("postgresql@") else ""
        if words[0] in ANSWERS:
            return ANSWERS[words[0]]
        raise CommandError(f"{words[0]} is not there")

    for place in (machine, hardening, apps, units):
        monkeypatch.setattr(place, "command", answer)
    for place in (machine, hardening):
        # It is no container.
        monkeypatch.setattr(place, "attempt", lambda argv, timeout: (0, ANSWERS[argv[0]]) if argv[0] in ANSWERS else (1, ""))
    monkeypatch.setattr(run.Account, "of", lambda user, group="": None)
    monkeypatch.setattr(hardening, "protocols", lambda domain: ["TLSv1.2", "TLSv1.3"])
    return found


def _backups(found: App) -> None:
    folder = found.backup_dir / BACKUP
    folder.mkdir(parents=True)
    manifest = {
        **{"format": 2, "name": BACKUP, "label": "", "kind": "whole", "taken_at": "2026-11-21T02:41:00+00:00", "duration_seconds": 3.5},
        **{"bytes": 5000, "files": {}, "tables": 2, "rows": {"note": 41}, "roles": [SECRET]},
    }
    (folder / "manifest.json").write_text(json.dumps(rules.sealed(manifest)))
    (folder / "proof.json").write_text(json.dumps({"good": True, "at": "2026-11-21T03:10:00+00:00", "restore_seconds": 1.2, "rows": 41}))
    (found.backup_dir / "20261120T024100Z").mkdir()
    noted = {"failures": {"offsite": {"at": "2026-11-21T03:20:00+00:00", "reason": "refused\nby the other end"}}}
    (found.backup_dir / "status.json").write_text(json.dumps(noted))
    config = {
        **{
            "app": "blog",
            "user": "blog",
            "proxy_group": "www-data",
            "database": "blog",
            "admin": "postgres",
            "socket_dir": "/run/postgresql",
        },
        **{
            "backup_dir": str(found.backup_dir),
            "log_file": "/nowhere",
            "shared": str(found.shared),
            "paths": [],
            "keep_days": 14,
            "reserve_mb": 1,
        },
    }
    (found.config_dir / "backup.json").write_text(json.dumps(config))


def seen(host: App) -> dict[str, Any]:
    return state.document([host], host.config_dir.parent, patience=30)


def test_an_app_is_described(host: App) -> None:
    """[K8] [E2] [D3] Releases, certificate, backups with their proofs, units, and what they use; what systemd does not know is null."""
    found = seen(host)["apps"]["blog"]
    assert (found["domain"], found["sandbox"]["allowed"], found["protocols"]) == ("blog.example.com", ["mail"], ["TLSv1.2", "TLSv1.3"])
    live, old = found["releases"]["all"]
    assert found["releases"]["live"] == live["id"] == LIVE and (live["live"], old["live"], old["state"]) == (True, False, "retired")
    assert (live["version"], live["commit"], live["schema"], live["created_by"]) == ("v1.4.0", "b" * 8, "4e1f", "ada") and live[
        "bytes"
    ] > 1000
    assert found["certificate"]["names"] == ["blog.example.com"] and 59 < found["certificate"]["left_days"] <= 60
    (backup,) = found["backups"]["all"]
    assert (backup["name"], backup["rows"], backup["proof"]["good"], backup["proof"]["rows"]) == (BACKUP, 41, True, 41)
    assert found["backups"]["damaged"] == ["20261120T024100Z"] and found["backups"]["failures"]["offsite"]["reason"] == "refused"
    sock, service = found["units"]
    assert (sock["memory"], sock["since"], sock["exposure"]) == (None, "2026-11-21T07:23:00Z", None)
    assert (service["memory"], service["cpu_seconds"], service["restarts"], service["exposure"]) == (1048576, 2.5, 2, 1.3)
    assert found["slice"] == {"memory": 2097152, "memory_max": None, "cpu_seconds": None, "tasks": 11, "tasks_max": 512}
    assert found["database"] == {"bytes": 7340032} and found["status"]["subjects"][0]["subject"] == "release"


def test_the_machine_is_described(host: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K3] [K5] Disks once each, what listens for others, what waits to be updated, and the units that face visitors."""
    found = seen(host)["machine"]
    assert found["name"] and found["system"] and found["cpus"] >= 1 and len(found["load"]) == 3
    assert found["memory"]["total"] > found["memory"]["available"] > 0 and found["processes"] > 0
    assert found["ports"] == [
        {"protocol": "tcp", "port": 22, "process": "sshd"},
        {"protocol": "tcp", "port": 443, "process": "nginx"},
        {"protocol": "udp", "port": 123, "process": ""},
    ]
    assert (found["updates"]["pending"], found["updates"]["security"], found["updates"]["names"]) == (2, 1, ["libssl3"])
    assert found["clock_synchronized"] is True and found["exposure"] == {"nginx.service": 2.4, "postgresql@17-main.service": 2.5}
    monkeypatch.setitem(ANSWERS, "systemd-detect-virt", "")
    assert seen(host)["machine"]["clock_synchronized"] is None, "a container has no clock of its own"
    assert found["disks"][0]["holds"][0] == "/" and found["disks"][0]["total"] > found["disks"][0]["free"] > 0


def test_it_changes_nothing_and_holds_no_secret(host: App, tmp_path: Path) -> None:
    """[A11] [K8] Not a file is touched; what else a manifest holds, an environment for one, stays where it is."""

    def files() -> dict[str, Any]:
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in sorted(tmp_path.rglob("*"))}

    before = files()
    said = json.dumps(seen(host))
    assert files() == before and SECRET not in said and LIVE in said


def test_every_field_is_documented_and_may_be_in_the_report(host: App) -> None:
    """[K8] The module's documentation names each field; and each that the report may show is one of the document."""
    found = seen(host)
    documented = set(re.findall(r"C\((\w+)\)", module.RETURN)) | set(yaml.safe_load(module.RETURN)["state"]["contains"])

    def names(value: Any, free: bool = False) -> Iterator[str]:
        if isinstance(value, dict):
            for name, one in value.items():
                if not free:
                    yield name
                yield from names(one, free=name in ("apps", "gaps", "failures", "exposure"))
        elif isinstance(value, list):
            for one in value:
                yield from names(one)

    assert set(names(found)) <= documented, sorted(set(names(found)) - documented)

    def asked(shape: Any, value: Any, where: str = "") -> Iterator[str]:
        if isinstance(shape, dict) and isinstance(value, dict):
            for name, one in shape.items():
                for key in value if name == "*" else [name]:
                    yield from asked(one, value[key], f"{where}.{key}") if key in value else [f"{where}.{key}"]
        elif isinstance(shape, list) and isinstance(value, list):
            for one in value:
                yield from asked(shape[0], one, where)

    assert not [*asked(document.STATE, found)]
    assert document.pick(found, document.STATE)["apps"]["blog"]["backups"]["all"][0]["proof"]["restore_seconds"] == 1.2


def test_what_cannot_be_seen_is_named_and_keeps_nothing_else_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8] On a host where nothing is yet, too."""
    monkeypatch.setattr(machine, "attempt", lambda argv, timeout: (124, "apt timed out"))
    found = state.document([app(tmp_path)], tmp_path / "etc", patience=30)
    assert found["apps"]["blog"]["backups"] is None and "backup.json" in found["gaps"]["blog.backups"]
    assert found["machine"]["updates"] is None and found["gaps"]["updates"] == "apt timed out"
    assert found["apps"]["blog"]["releases"] == {"live": None, "closed": False, "all": []} and found["machine"]["memory"]["total"]
    assert json.loads(json.dumps(found)) == found


def test_nobody_waits_for_one_that_is_late() -> None:
    """[K8] The rest is there when the time is over, and the gap says so."""
    going = threading.Event()
    began = time.monotonic()
    found, gaps = together({"good": lambda: 1, "late": lambda: going.wait(10), "wrong": lambda: int("x"), "none": lambda: None}, 0.3)
    going.set()
    assert time.monotonic() - began < 3
    assert found == {"good": 1, "late": None, "wrong": None, "none": None}
    assert gaps == {"late": "no answer within 0.3 seconds", "wrong": "invalid literal for int() with base 10: 'x'"}


def test_which_tls_is_spoken(tmp_path: Path) -> None:
    """[E3] Asked of the server itself; nothing that answers is no answer, and not no version."""
    (tmp_path / "server.pem").write_text(pem(tmp_path, ["blog.example.com"], 2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "key")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(len(hardening.VERSIONS)):
                plain, _address = listening.accept()
                try:
                    context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        assert hardening.protocols("blog.example.com", port, timeout=10) == ["TLSv1.2", "TLSv1.3"]
        thread.join()
    assert hardening.protocols("blog.example.com", port) is None


def test_the_verbs(host: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] Of one app and of all; one whose facts cannot be read is a gap."""
    for function in (apps_of_host.names, vars(App)["load"].__func__, state.document):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "etc", *(function.__defaults__ or ())[1:]))
    assert cli.main(["blog", "state", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["apps"]) == ["blog"]
    (tmp_path / "etc/shop").mkdir()
    (tmp_path / "etc/shop/app.json").write_text("{")
    assert cli.main(["state"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["apps"]) == ["blog"] and "is no JSON" in said["gaps"]["shop"]


def test_the_module(host: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8] The same document; nothing changes, and what is no app is refused."""
    monkeypatch.setattr(state.document, "__defaults__", (tmp_path / "etc", 30))
    said = call_module(module, monkeypatch, {"app": facts(tmp_path, processes={})}, check=True)
    assert said["changed"] is False and said["state"]["apps"]["blog"]["releases"]["live"] == LIVE
    assert "KeyError" in call_module(module, monkeypatch, {"app": {"name": "blog"}})["msg"]


def test_the_program_runs_on_pythons_own_library() -> None:
    """[K8] Without Ansible on the path, as on a host."""
    source = Path(state.__file__).resolve().parents[2]
    script = "import sys; sys.path.insert(0, sys.argv[1]); from slipway import state; print(state.FORMAT)"
    said = subprocess.run(["python3", "-I", "-S", "-c", script, str(source)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.strip()) == (0, "1"), said.stderr
