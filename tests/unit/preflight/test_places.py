"""Preflight asks for every file that a role names after an app: one that it did not know would be written over unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.nginx_sites import MARK
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs

from ..conftest import ROOT

#: `{{ app.name }}`, or what Redis's role calls its instances.
NAME = re.compile(r"\{\{ (?:app\.name|app\.redis\.name|item\.name|__redis_cache) \}\}")
#: Where the configuration of the machine is; folders of an app are paths of the model.
PLACES = ("/etc/", "/usr/", "/var/lib/")
#: Not asked for, and why.
LEFT_OUT = {
    "/etc/systemd/system/redis-server@@.service.d/slipway.conf": "a drop-in beside others, of an instance whose configuration is asked for",
    "/etc/systemd/system/redis-server@@.service.d": "the same",
    "/var/lib/redis/@": "the data of that instance",
    "/etc/systemd/system/sockets.target.wants/@.socket": "a link to a unit that is asked for",
    "/etc/systemd/system/multi-user.target.wants/@.service": "the same",
    "/etc/sudoers.d/slipway-@": "an admin's",
    "/etc/letsencrypt/renewal/@.conf": "certbot's, made for a certificate of ours",
}


def written(node: Any, key: str = "") -> Iterator[str]:
    """Every path that a task writes."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from written(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from written(value, key)
    elif isinstance(node, str) and key in ("dest", "path"):
        yield node


def places() -> dict[str, str]:
    """Path with @ for the app's name, to the file that writes it."""
    found: dict[str, str] = {}
    for file in sorted(ROOT.glob("roles/*/tasks/*.yml")) + sorted(ROOT.glob("roles/*/vars/*.yml")):
        if file.name in ("remove.yml", "left.yml"):
            continue
        for text in written(yaml.safe_load(file.read_text())):
            path = NAME.sub("@", text)
            # nginx's are relative to its folder.
            path = f"/etc/nginx/{path}" if re.match(r"(sites-|conf\.d|snippets)", path) else path
            if "@" in path and path.startswith(PLACES) and "{{" not in path:
                found[path] = str(file.relative_to(ROOT))
    return found


def test_the_scan_sees_what_the_roles_write() -> None:
    """A scan of nothing finds nothing."""
    assert {"/etc/logrotate.d/@", "/etc/cron.d/@-backup", "/etc/nginx/sites-available/@.conf", "/etc/redis/redis-@.conf"} <= set(places())
    assert set(LEFT_OUT) <= set(places()) | {"/etc/letsencrypt/renewal/@.conf"}


@pytest.mark.parametrize("path", sorted(places()))
def test_each_is_asked_for(path: str, needs: Needs) -> None:
    """[F3] As a file, or as a unit by its stem."""
    app = needs.apps[1]
    name = Path(path).name.replace("@", app.name, 1)
    known = path.replace("@", app.name) in app.files
    unit = path.startswith("/etc/systemd/system/") and re.split(r"@?\.", name)[0] in app.units
    assert known or unit or path in LEFT_OUT, (
        f"{places()[path]} writes {path}, and plugins/module_utils/preflight/needs.py does not know it"
    )


def test_folders_of_the_model_are_asked_for(needs: Needs, machine: dict[str, Any]) -> None:
    """[F3] All that an app has for itself; /etc/ssl/<app> once was somebody's /etc/ssl/private."""
    app = machine["apps"][1]
    folders = {
        app["root"],
        app["config_dir"],
        app["log_dir"],
        app["backup_dir"],
        app["runtime_dir"],
        app["tls"]["dir"],
        app["tls"]["webroot"],
    }
    assert set(needs.apps[1].folders) == folders


def test_what_one_app_alone_can_have_is_asked_for(needs: Needs, machine: dict[str, Any]) -> None:
    """[F3] The model says it once: a new unit of an app is asked for as soon as it is claimed."""
    units = {claim.partition(":")[2] for claim in machine["claims"]["blog"] if claim.startswith("unit:")}
    assert units == set(needs.apps[0].units) and {"blog", "blog-tls", "blog-backup", "blog-rehearsal", "blog-worker"} <= units


def test_what_the_roles_write_carries_our_mark() -> None:
    """[F3] By it the next run knows that a unit, a schedule or a site is ours: a template without it would refuse every host it was on."""
    folders = ("systemd", "cron.d", "logrotate.d", "nginx", "redis", "letsencrypt", "postgresql")
    templates = [path for folder in folders for path in ROOT.glob(f"roles/*/templates/etc/{folder}/**/*.j2")]
    # Part of others.
    whole = [path for path in templates if not path.name.startswith("_")]
    assert len(whole) > 20
    assert not [str(path.relative_to(ROOT)) for path in whole if not MARK.search(path.read_text())]
