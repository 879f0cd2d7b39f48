"""Versions of the example app that a test makes up, and what a host says of the releases they became."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from deploys import ROOT
from helpers import App, must

_REVISION = '''"""{doc}"""

from alembic import op

revision = "{name}"
down_revision = "{before}"


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


class Tree:
    """A copy of the example app."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "examples/flask-app", folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info"))
        self.versions = 0

    @property
    def source(self) -> dict[str, str]:
        """The value of `app_source`."""
        return {"type": "path", "path": str(self.folder)}

    def changed(self) -> dict[str, str]:
        """The source as a new version, with nothing else in it."""
        self.versions += 1
        (self.folder / "VERSION").write_text(f"{self.versions}\n")
        return self.source

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))

    def head(self) -> str:
        """The newest revision."""
        return max(path.stem for path in (self.folder / "logbook/migrations/versions").glob("[0-9]*.py"))

    def revision(self, doc: str, upgrade: str, downgrade: str = "pass") -> str:
        """Add a migration on top, in Python or in SQL, and return its name."""
        before = self.head()
        name = f"{int(before[:4]) + 1:04}_{doc}"
        up, down = (
            "\n".join(f"    {line}" for line in (text if text == "pass" else f"op.execute({text!r})").splitlines())
            for text in (upgrade, downgrade)
        )
        text = _REVISION.format(doc=doc, name=name, before=before, upgrade=up, downgrade=down)
        (self.folder / f"logbook/migrations/versions/{name}.py").write_text(text)
        return name


def manifests(host: Any, app: App) -> dict[str, dict[str, Any]]:
    """Id to manifest of every folder in releases/; an empty one where there is no manifest that can be read."""
    script = (
        "import json,pathlib\n"
        "def read(path):\n"
        " try: return json.loads((path / 'release.json').read_text())\n"
        " except (OSError, ValueError): return {}\n"
        f"print(json.dumps({{p.name: read(p) for p in sorted(pathlib.Path('{app.root}/releases').iterdir())}}))"
    )
    found: dict[str, dict[str, Any]] = json.loads(must(host, f'python3 -c "{script}"'))
    return found


def units(host: Any, app: App) -> list[str]:
    """All services of the app's releases and of their deploys that are loaded: unit and state, but not the app as a whole."""
    listed = must(host, f"systemctl list-units --all --plain --no-legend --full --type=service '{app.name}@*' '{app.name}-*'")
    found = [line.split()[:4] for line in listed.splitlines()]
    return [f"{unit} {active}" for unit, _, active, _ in found if "@" in unit or unit.endswith("-step.service")]


def written_once(host: Any, app: App, keys: list[str]) -> None:
    """Every row that a visitor was promised is in the ledger, once."""
    script = "select count(*), count(distinct key) from ledger where key in ('{}')"
    counted = [0, 0]
    for start in range(0, len(keys), 500):
        query = script.format("','".join(keys[start : start + 500]))
        said = must(host, f'runuser -u {app.name} -- psql -XAtc "{query}" {app.database}').strip().split("|")
        counted = [total + int(more) for total, more in zip(counted, said, strict=True)]
    assert counted == [len(keys)] * 2, f"{counted} of {len(keys)} rows written"
