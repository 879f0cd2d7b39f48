# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The page itself: one file, without a script, that asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import write_atomically
from ansible_collections.slipway.vps.plugins.plugin_utils.outcome import Outcome

from . import document, view
from .mask import Mask, secrets

HERE = Path(__file__).resolve().parent


def write(target: Path, outcome: Outcome, seen: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any]) -> None:
    """Write the page, readable for its owner alone: it tells much about a machine.

    :arg seen: by host what the run has seen of it: ``walk``, ``state``, ``machine``.
    :arg variables: by host its variables; what is secret in them is taken out of the page.
    """
    mask = Mask(text for known in variables.values() for text in secrets(known))
    run = mask(document.run_of(outcome, str(target)))
    hosts = [mask(_host(outcome, host, seen.get(host, {}))) for host in outcome.hosts if host in variables or host in seen]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render(run, hosts), 0o600 if not target.exists() else target.stat().st_mode & 0o777)


def _host(outcome: Outcome, host: str, seen: Mapping[str, Any]) -> dict[str, Any]:
    walk = seen.get("walk")
    return {
        **document.host_of(outcome, host),
        "machine": document.pick(seen.get("machine"), str) or "",
        "walk": document.pick(walk, document.WALK) if walk else None,
        "state": document.pick(seen.get("state"), document.STATE),
    }


def render(run: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML, from what `document` lets through."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = (HERE / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    now = datetime.fromtimestamp(int(run["ended"]), timezone.utc)
    # The style is ours; everything else is escaped.
    known = {"style": markupsafe.Markup(style), "style_digest": digest, "page": view.page(run, hosts, now)}
    return environment.get_template("page.html.j2").render(known)
