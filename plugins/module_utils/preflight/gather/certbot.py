# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Certificates of our domains that certbot, or whoever uses its folder, renews for somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..facts import Certificate
from ..needs import Needs
from .host import Host

_FOLDER = "/etc/letsencrypt"


def certificates(host: Host, needs: Needs) -> Iterator[Certificate]:
    """Each once, by the first of our domains in it. Ours have the app's name, and a hook of ours."""
    for file in host.names(f"{_FOLDER}/renewal"):
        name = file.removesuffix(".conf")
        ours = name in [app.name for app in needs.apps] or host.exists(f"{_FOLDER}/renewal-hooks/deploy/slipway-{name}")
        if ours or not file.endswith(".conf"):
            continue
        settings = dict(re.findall(r"^(\w+)\s*=\s*(.*)$", host.text(f"{_FOLDER}/renewal/{file}"), re.MULTILINE))
        said = host.output("openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", f"{_FOLDER}/live/{name}/fullchain.pem")
        domains = {name.lower(), *(one.lower() for one in re.findall(r"DNS:([^,\s]+)", said))}
        mine = [domain for domain in needs.domains if domain in domains]
        if mine:
            yield Certificate(name, mine[0], f"{_FOLDER}/renewal/{file}", settings.get("authenticator", ""))
