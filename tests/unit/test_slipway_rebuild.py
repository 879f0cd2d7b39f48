"""`slipway <app> rebuild`: after an upgrade of the system the release gets a Python again.

Run for real in a root of Debian 13, over an environment that Debian 12's Python had: 1.4 s from the cache. Here commands are played.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import rebuild as module
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import Account, CommandError, command
from ansible_collections.slipway.vps.plugins.module_utils.slipway.rebuild import CARRY, COMMANDS, FREEZE, Rebuild, uv_of

from .program_app import app, facts

ID = "20261120T072201-aaaaaaa"
PACKAGES = ["flask==3.1.2", "gunicorn==27.0.1"]


class Host:
    """A release that was built for 3.11, on a host whose python3 is 3.13; what was run, and what fails."""

    def __init__(self, folder: Path) -> None:
        self.app: App = app(folder, user="root", group="root")
        self.home, self.system = folder / "opt", folder / "bin"
        self.release = self.app.releases / ID
        self.venv = self.release / ".venv"
        self.ran: list[str] = []
        self.offline: list[bool] = []
        self.fails: dict[str, str] = {}
        self.python = "3.13"
        (self.venv / "lib/python3.11/site-packages/pkg/static").mkdir(parents=True)
        (self.venv / "lib/python3.11/site-packages/old.py").touch()
        (self.release / ".static").mkdir()
        (self.release / ".static/pkg").symlink_to("../.venv/lib/python3.11/site-packages/pkg/static")
        (self.release / "release.json").write_text(json.dumps({"id": ID, "python": "3.11.2", "state": "live"}))
        self.app.config_dir.mkdir(parents=True)
        (self.app.config_dir / "app.json").write_text(
            json.dumps({**facts(folder), "build": {"env": {"UV_INDEX_URL": "https://index.example.com"}}})
        )
        (self.home / "uv-0.13.8/bin").mkdir(parents=True)
        (self.home / "uv-0.13.8/bin/uv").touch()
        self.system.mkdir()

    def command(
        self, *words: str, account: Account | None = None, environment: dict[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        line = " ".join(words).replace(str(self.release) + "/", "").replace(str(self.home) + "/", "").replace(str(self.system) + "/", "")
        if failure := next((said for part, said in self.fails.items() if part in line and not (environment or {}).get("UV_OFFLINE")), None):
            self.ran.append(f"failed: {line}")
            raise CommandError(failure)
        if FREEZE in words:
            return json.dumps(PACKAGES)
        if words[-1] == "--check-packages":
            if not (self.venv / f"lib/python{self.python}").is_dir():
                raise CommandError("No module named 'gunicorn'")
            return ""
        if words[-1] == "--version":
            return f"Python {self.python}.5\n"
        if (environment or {}).get("UV_OFFLINE") and "install" in words:
            raise CommandError("Network connectivity is disabled")
        self.ran.append(line.replace(CARRY, "CARRY"))
        if "venv" in words:
            self.python = "3.11" if "3.11" in words[-2] else "3.13"
            (self.venv / f"lib/python{self.python}/site-packages/pkg/static").mkdir(parents=True, exist_ok=True)
            assert environment and environment["UV_INDEX_URL"] == "https://index.example.com"
        if "python install" in line:
            (self.home / "python/cpython-3.11.18-linux/bin").mkdir(parents=True)
            (self.home / "python/cpython-3.11.18-linux/bin/python3.11").touch()
        return ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(module, "command", host.command)
    monkeypatch.setattr(module, "HOME", host.home)
    monkeypatch.setattr(module, "SYSTEM", host.system)
    monkeypatch.setattr(module, "NETWORK_WAIT", 0)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return host


@pytest.fixture
def mend(host: Host) -> Callable[[], str]:
    return Rebuild(host.app, ID, uv_of(host.home)).mend


def manifest(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((host.release / "release.json").read_text())
    return found


def test_the_old_version_is_still_here(host: Host, mend: Callable[[], str]) -> None:
    """[S1] `apt full-upgrade` leaves python3.11 until somebody removes it: nothing is installed, in a fifth of a second."""
    (host.system / "python3.11").touch()
    assert mend() == f"runs on {host.system}/python3.11"
    assert host.ran == ["uv-0.13.8/bin/uv venv --quiet --no-project --allow-existing --python python3.11 .venv"]
    assert (host.venv / "lib/python3.11/site-packages/old.py").exists() and manifest(host)["python"] == "3.11.5"


def test_one_that_uv_manages_does_as_well(host: Host, mend: Callable[[], str]) -> None:
    """[S1] What `--prepare` has brought before the upgrade."""
    rebuild = Rebuild(host.app, ID, uv_of(host.home))
    assert "stays when the system's Python 3.11 goes" in rebuild.prepare() == rebuild.prepare()
    assert sum("python install" in line for line in host.ran) == 1
    assert "cpython-3.11.18-linux" in mend() and manifest(host)["state"] == "live"


def test_the_packages_for_the_new_version(host: Host, mend: Callable[[], str]) -> None:
    """[S1] The same versions; the app itself, which is installed in place, is carried over; nginx finds a package's static files again."""
    assert mend() == "has its packages for Python 3.13.5"
    assert [line for line in host.ran if "install" in line or "CARRY" in line] == [
        f"uv-0.13.8/bin/uv pip install --quiet --python .venv/bin/python {' '.join(PACKAGES)}",
        "python3 -I -c CARRY .venv.before/lib/python3.11/site-packages .venv/lib/python3.13/site-packages",
    ]
    assert manifest(host)["python"] == "3.13.5" and not (host.release / ".venv.before").exists()
    assert (host.release / ".static/pkg").readlink() == Path("../.venv/lib/python3.13/site-packages/pkg/static")
    assert any(line.startswith("/bin/chmod -R o+rX") for line in host.ran)


def test_as_the_build_did_it(host: Host, mend: Callable[[], str]) -> None:
    """[F5] From the release's own lock, with its hashes; what a lock was exported to is taken along."""
    noted = [
        ["sync", "--frozen", "--python", ".venv/bin/python"],
        ["pip", "install", "gunicorn"],
        ["pip", "install", "--no-deps", "--editable", "."],
    ]
    (host.release / COMMANDS).write_text(json.dumps(noted))
    (host.venv / "requirements.txt").touch()
    mend()
    assert [line.removeprefix("uv-0.13.8/bin/uv ") for line in host.ran if "sync" in line or "install" in line] == [
        *("sync --frozen --python .venv/bin/python", "pip install gunicorn")
    ]
    assert any(line.startswith("/bin/cp") for line in host.ran)


def test_a_file_that_is_gone_cannot_be_installed_from(host: Host, mend: Callable[[], str]) -> None:
    """[S1] `type: package`: its address may have held a token, and lay in memory. Then the versions that are there."""
    (host.release / COMMANDS).write_text(json.dumps([["pip", "install", "--requirement", "/run/blog-build/requirement"]]))
    mend()
    assert any(line.endswith(" ".join(PACKAGES)) for line in host.ran)


def test_nothing_can_be_installed(host: Host, mend: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Then the old version is brought, and the packages are the old ones again. Nothing is waited for that will not come."""
    monkeypatch.setattr(module, "NETWORK_WAIT", 300)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits for a network that answers"))
    host.fails = {"pip install": "no wheel for cp313"}
    assert "cpython-3.11.18-linux" in mend()
    assert (host.venv / "lib/python3.11/site-packages/old.py").exists() and not (host.venv / "lib/python3.13").exists()


def test_nothing_helps(host: Host, mend: Callable[[], str]) -> None:
    """[F8] Every reason is said, and the release is as it was."""
    host.fails = {"pip install": "no wheel for cp313", "python install": "github.com does not answer"}
    with pytest.raises(SlipwayError) as failure:
        mend()
    said = str(failure.value)
    assert (
        "built for Python 3.11" in said
        and "no wheel for cp313" in said
        and "github.com does not answer" in said
        and "slipway.vps.deploy" in said
    )
    assert (host.venv / "lib/python3.11/site-packages/old.py").exists() and manifest(host)["python"] == "3.11.2"


def test_the_network_of_a_host_that_boots(host: Host, mend: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] It comes later than this unit: it is waited for, and anything else is not."""
    monkeypatch.setattr(module, "NETWORK_WAIT", 300)
    host.fails = {"pip install": "error sending request for url (https://index.example.com/flask/)\ndns error"}
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            host.fails = {}

    monkeypatch.setattr("time.sleep", sleep)
    assert mend() == "has its packages for Python 3.13.5" and len(waits) == 3


def test_uv_survives_the_upgrade(tmp_path: Path) -> None:
    """[S1] It is a program of its own; the newest one that Ansible has put there."""
    for version in ("0.9.12", "0.13.8", "0.13.10"):
        (tmp_path / f"uv-{version}/bin").mkdir(parents=True)
        (tmp_path / f"uv-{version}/bin/uv").touch()
    assert uv_of(tmp_path) == tmp_path / "uv-0.13.10/bin/uv"
    with pytest.raises(SlipwayError, match="there is no uv"):
        uv_of(tmp_path / "nowhere")


# --- What is read and copied, by the system's Python ------------------------------------------------------------------


def installed(site: Path, name: str, version: str, origin: dict[str, Any] | None = None, files: str = "") -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text(f"{name}-{version}.dist-info/METADATA,,\n{files}")
    if origin:
        (folder / "direct_url.json").write_text(json.dumps(origin))


def test_what_is_installed_is_read(tmp_path: Path) -> None:
    """[F5] Versions, addresses, and commits; the app itself is none of them."""
    installed(tmp_path, "flask", "3.1.2")
    installed(tmp_path, "lib", "1", {"url": "https://git.example.com/lib.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}})
    installed(tmp_path, "wheel", "2", {"url": "https://example.com/wheel-2.whl", "archive_info": {}})
    installed(tmp_path, "blog", "1", {"url": "file:///srv/blog", "dir_info": {"editable": True}})
    said = json.loads(command(sys.executable, "-I", "-c", FREEZE, str(tmp_path)))
    assert said == ["flask==3.1.2", "lib @ git+https://git.example.com/lib.git@abc", "wheel @ https://example.com/wheel-2.whl"]


def test_the_app_itself_is_carried_over(tmp_path: Path) -> None:
    """[F5] Its links into the release and its commands, and no bytecode of another Python."""
    old, new = tmp_path / ".venv.before/lib/python3.11/site-packages", tmp_path / ".venv/lib/python3.13/site-packages"
    new.mkdir(parents=True)
    record = "__editable__.blog.pth,,\n__pycache__/blog.cpython-311.pyc,,\n../../../bin/blog,,\n"
    installed(old, "blog", "1", {"url": "file:///srv/blog", "dir_info": {"editable": True}}, record)
    installed(old, "flask", "3.1.2")
    (old / "__editable__.blog.pth").write_text("/srv/blog\n")
    (old / "__pycache__").mkdir()
    (old / "__pycache__/blog.cpython-311.pyc").touch()
    (tmp_path / ".venv.before/bin").mkdir()
    (tmp_path / ".venv.before/bin/blog").write_text("#!\n")
    (old / "slipway_source.pth").write_text("/srv/blog/src\n")
    command(sys.executable, "-I", "-c", CARRY, str(old), str(new))
    assert sorted(path.name for path in new.iterdir()) == ["__editable__.blog.pth", "blog-1.dist-info", "slipway_source.pth"]
    assert (tmp_path / ".venv/bin/blog").read_text() == "#!\n"
