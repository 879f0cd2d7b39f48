"""The apps of the scenario: where each comes from, the inventory that init writes for it, and what its owner adds."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from deploys import ROOT, Outcome, outcome_of
from helpers import FULL

MACHINE = "slipway-any"
VARIABLES = Path("group_vars/app_servers")
#: Of the machine, said once for all apps: the ACME server, and no wait after a switch.
SHARED = {"tls_directory_url": "https://acme:14000/dir", "deploy_burn_in": 0}


@dataclass(frozen=True)
class Brought:
    """An app, by the name it gets here."""

    name: str
    #: Folder in tests/apps. One without `source/` is a package, whose run.yml says all.
    folder: str

    @property
    def domain(self) -> str:
        return f"{self.name}.slipway.test"

    @property
    def front(self) -> str:
        return f"https://{self.domain}{FRONTS.get(self.name, '/')}"

    @property
    def run(self) -> dict[str, Any]:
        """What its owner says (run.yml): `adds` to app.yml, `answers` to questions of the vault; of a package `variables`."""
        path = ROOT / "tests/apps" / self.folder / "run.yml"
        return dict(yaml.safe_load(path.read_text())) if path.exists() else {}


#: Each by its folder in tests/apps. Those of `make test` show the most; `make proofs` deploys them all, and two that nobody here wrote.
SHORT = {"celery": "django-celery", "quart": "quart", "sqlite": "sqlite"}
LONG = {
    "django": "django-project",
    "fastapi": "asgi-fastapi",
    "letters": "mail",
    "plain": "plain-wsgi",
    "prefix": "prefix",
    "rq": "rq",
    "socketio": "socketio",
    # From PyPI.
    "ihatemoney": "ihatemoney",
    "isso": "isso",
}
APPS = tuple(Brought(name, folder) for name, folder in {**SHORT, **(LONG if FULL else {})}.items())
#: A page of each that answers 200 to everybody, where it is not `/`.
FRONTS = {"celery": "/groups/", "django": "/admin/login/", "fastapi": "/page", "isso": "/config", "prefix": "/blog/"}


def ansible(*words: str, folder: Path, timeout: float = 1500) -> Outcome:
    """Run ansible-playbook as its owner would, in ``folder``."""
    environment = {
        **os.environ,
        "PWD": str(folder),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_INVENTORY": "",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
    }
    return outcome_of(["ansible-playbook", *words], environment, folder, timeout)


def begin(app: Brought, folder: Path) -> Path:
    """The inventory of an app below ``folder``: what init writes, its questions answered, and what its owner adds."""
    inventory = folder / "inventories" / app.name
    variables = inventory / VARIABLES
    if "variables" in app.run:
        variables.mkdir(parents=True)
        written = {"app_name": app.name, "app_domains": [app.domain], "acme_email": "ada@slipway.test", **app.run["variables"]}
        (variables / "app.yml").write_text(yaml.safe_dump(written))
        return inventory
    source = ROOT / "tests/apps" / app.folder / "source"
    said = ansible(str(ROOT / "playbooks/init.yml"), "-e", json.dumps({"app": str(source), "app_name": app.name}), folder=folder)
    assert said.status == 0, str(said)
    text = (variables / "app.yml").read_text()
    text = text.replace("app_domains: [CHANGE-ME]", f"app_domains: [{app.domain}]")
    text = text.replace("acme_email: CHANGE-ME", "acme_email: ada@slipway.test")
    if app.run.get("adds"):
        text += "\n# What its owner adds.\n" + yaml.safe_dump(app.run["adds"])
    (variables / "app.yml").write_text(text)
    vault = variables / "vault.yml"
    for name, value in app.run.get("answers", {}).items():
        vault.write_text(vault.read_text().replace(f"{name}: CHANGE-ME", f"{name}: {value}"))
    return inventory


def join(apps: tuple[Brought, ...], folder: Path) -> Path:
    """One inventory of all apps on one machine, as docs/contract.md says: an entry each, its variables in host_vars."""
    joined = folder / "inventories/all"
    (joined / "group_vars").mkdir(parents=True)
    (joined / "group_vars/app_servers.yml").write_text(yaml.safe_dump(SHARED))
    machine = {"ansible_host": MACHINE, "ansible_connection": "docker"}
    (joined / "hosts.yml").write_text(yaml.safe_dump({"app_servers": {"hosts": {app.name: machine for app in apps}}}))
    (joined / "host_vars").mkdir()
    for app in apps:
        begin(app, folder)
        (folder / "inventories" / app.name / VARIABLES).rename(joined / "host_vars" / app.name)
    return joined
