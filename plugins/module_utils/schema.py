# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Migrations of a release: where they are, what they are, and whether they can be undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.releases import fingerprint

#: Where Alembic's env.py may stand, seen from the top of a source tree.
PLACES = ("migrations/env.py", "*/migrations/env.py", "src/*/migrations/env.py")

#: Run by the release's own Python, as `flask` would: the revisions between two points, newest first, each with whether its
#: downgrade() does anything. One that only raises, or is empty, cannot be undone.
REVISIONS = r"""
import ast, inspect, json, os, sys, textwrap
from alembic.script import ScriptDirectory
from flask.cli import ScriptInfo

def undone(module):
    function = getattr(module, "downgrade", None)
    if function is None:
        return False
    body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body
    def idle(n):
        constant = isinstance(getattr(n, "value", None), (ast.Constant, type(None)))
        return isinstance(n, (ast.Pass, ast.Raise)) or isinstance(n, (ast.Expr, ast.Return)) and constant
    real = [n for n in body if not idle(n)]
    return bool(real) and not isinstance(body[-1], ast.Raise)

app = ScriptInfo(app_import_path=os.environ["FLASK_APP"]).load_app()
with app.app_context():
    script = ScriptDirectory.from_config(app.extensions["migrate"].migrate.get_config())
    steps = [{"revision": r.revision, "doc": r.doc, "undone": undone(r.module)} for r in script.iterate_revisions(sys.argv[1], sys.argv[2])]
print("slipway:" + json.dumps(steps))
"""


class Step(NamedTuple):
    """One migration on the way back."""

    revision: str
    doc: str
    undone: bool


def has_migrations(folder: Path) -> bool:
    return any(any(folder.glob(place)) for place in PLACES)


def digest(folder: Path) -> str | None:
    """A digest of all migration scripts of a release; None where it has none."""
    scripts = sorted(
        script for place in PLACES for env in folder.glob(place) for script in env.parent.rglob("*.py") if "__pycache__" not in script.parts
    )
    if not scripts:
        return None
    return fingerprint([str(script.relative_to(folder)) + script.read_text(errors="replace") for script in scripts], [])[:16]


def steps(output: str) -> list[Step]:
    """What `REVISIONS` printed."""
    line = next(line for line in reversed(output.splitlines()) if line.startswith("slipway:"))
    return [Step(step["revision"], step["doc"] or "", bool(step["undone"])) for step in json.loads(line.removeprefix("slipway:"))]
