"""Each kind of source becomes a release, and the switch to it loses no request."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deploys import ROOT, Traffic, playbook
from helpers import App, must, through_socket

EXAMPLE = ROOT / "examples/flask-app"
FIXTURES = "/opt/fixtures"


@pytest.fixture
def traffic(app: App, acme_root: Path) -> Iterator[Traffic]:
    yield Traffic(app, acme_root)


@pytest.fixture(scope="module")
def fixtures(host: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """On the host: a git repository, an archive behind HTTP, a wheel; on the controller: an archive."""
    here = tmp_path_factory.mktemp("sources")
    tree = here / "tree"
    shutil.copytree(EXAMPLE, tree, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "build", "dist", "*.egg-info"))
    git = ["git", "-c", "user.name=Tests", "-c", "user.email=tests@slipway.test", "-C", str(tree)]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "v1"], check=True, text=True, capture_output=True).stdout.strip()
    subprocess.run(["git", "clone", "-q", "--bare", str(tree), str(here / "logbook.git")], check=True)
    # As hosting services pack them: everything below one folder.
    subprocess.run([*git, "archive", "--format=tar.gz", "--prefix=logbook-1.0/", "-o", str(here / "logbook.tar.gz"), "v1"], check=True)
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([str(uv), "build", "--quiet", "--wheel", "--out-dir", str(here / "wheels"), str(tree)], check=True)
    wheel = next((here / "wheels").glob("*.whl"))
    must(host, f"rm -rf {FIXTURES} && mkdir -p {FIXTURES}")
    for path in (here / "logbook.git", here / "logbook.tar.gz", wheel):
        subprocess.run(
            ["docker", "cp", "--quiet", str(path), f"{host.backend.get_hostname()}:{FIXTURES}/"], check=True, capture_output=True
        )
    must(host, f"chown -R root:root {FIXTURES} && chmod -R a+rX {FIXTURES}")
    return {
        "commit": commit,
        "archive": str(here / "logbook.tar.gz"),
        "checksum": hashlib.sha256((here / "logbook.tar.gz").read_bytes()).hexdigest(),
        "wheel": wheel.name,
    }


def deploy(host: Any, app: App, traffic: Traffic, source: dict[str, str], **variables: Any) -> dict[str, Any]:
    """Deploy ``source`` while visitors ask, and return the manifest of what is live then."""
    before = must(host, f"readlink {app.current}")
    with traffic:
        outcome = playbook("deploy", host, {"app_source": source, **variables})
    assert outcome.status == 0, str(outcome)
    traffic.must_be_served()
    rows = "','".join(traffic.written)
    query = f"select count(*), count(distinct key) from ledger where key in ('{rows}')"
    counted = must(host, f'runuser -u {app.name} -- psql -XAtc "{query}" {app.database}').strip()
    assert counted == f"{len(traffic.written)}|{len(traffic.written)}", f"{counted} of {len(traffic.written)} rows written"
    manifest: dict[str, Any] = json.loads(must(host, f"cat {app.current}/release.json"))
    assert must(host, f"readlink {app.current}") != before, "no new release went live"
    version = json.loads(through_socket(host, app, "/version")[1])
    assert version["release"] == manifest["id"], version
    return manifest


@pytest.mark.on("trixie")
def test_git(host: Any, app: App, traffic: Traffic, fixtures: dict[str, str]) -> None:
    """[A10 S1 A13] A tag of a repository: the commit is what /version tells."""
    manifest = deploy(host, app, traffic, {"type": "git", "repo": f"file://{FIXTURES}/logbook.git", "version": "v1"})
    assert manifest["source"]["commit"] == fixtures["commit"]
    assert not host.file(f"{app.current}/.git").exists


@pytest.mark.on("bookworm")
def test_archive_from_a_url(host: Any, app: App, traffic: Traffic, fixtures: dict[str, str]) -> None:
    """[A10 S1] An archive that the host downloads, checked against its checksum."""
    must(host, f"systemd-run --quiet --unit=slipway-fixtures --working-directory={FIXTURES} python3 -m http.server --bind 127.0.0.1 8098")
    try:
        source = {"type": "archive", "url": "http://127.0.0.1:8098/logbook.tar.gz", "checksum": f"sha256:{fixtures['checksum']}"}
        manifest = deploy(host, app, traffic, source)
    finally:
        must(host, "systemctl stop slipway-fixtures")
    assert manifest["source"]["identity"] == fixtures["checksum"]


@pytest.mark.on("bookworm")
def test_package(host: Any, app: App, traffic: Traffic, fixtures: dict[str, str]) -> None:
    """[A10 A6 S1] A wheel, with the callable that the package brings; no source tree at all."""
    requirement = f"logbook @ file://{FIXTURES}/{fixtures['wheel']}"
    source = {"type": "package", "requirement": requirement}
    manifest = deploy(host, app, traffic, source, app_wsgi="logbook.wsgi:app", app_migrate_command="flask db upgrade")
    assert manifest["source"]["requirement"] == requirement
    assert not host.file(f"{app.current}/logbook").exists


@pytest.mark.on("trixie")
def test_archive_from_the_controller(host: Any, app: App, traffic: Traffic, fixtures: dict[str, str]) -> None:
    """[A10 A6 S1] An archive on the controller, with a factory as entry point."""
    source = {"type": "archive", "file": fixtures["archive"]}
    manifest = deploy(host, app, traffic, source, app_wsgi="logbook:create_app()")
    assert manifest["source"]["identity"] == fixtures["checksum"]
    assert host.file(f"{app.current}/logbook/__init__.py").exists


def test_a_change_of_configuration_is_a_release(host: Any, app: App, traffic: Traffic, fixtures: dict[str, str]) -> None:
    """[A11 S1] A new value in app_env reaches the app by a switch, like new code; and the same input changes nothing."""
    source = {"type": "archive", "file": fixtures["archive"]}
    env: dict[str, Any] = {"LOGBOOK_LEDGER": 1, "UPLOAD_FOLDER": f"{app.shared}/uploads", "SOMETHING_NEW": 'spaces "quotes" $HOME `x` \\'}
    deploy(host, app, traffic, source, app_env=env)
    pid = must(host, f"systemctl show --value -p MainPID '{app.name}@*.service'").split()[0]
    assert env["SOMETHING_NEW"] in must(host, f"cat /proc/{pid}/environ").split("SOMETHING_NEW=")[1].split("\0")[0]
    again = playbook("deploy", host, {"app_source": source, "app_env": env})
    assert again.status == 0 and "changed=0" in again.output, str(again)
