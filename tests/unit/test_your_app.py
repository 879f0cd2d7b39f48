"""docs/your-app.md: every block there is an app.yml that the contract takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT
from .inventory import Inventory

PAGE = (ROOT / "docs/your-app.md").read_text()
#: Each block by its heading.
BLOCKS = [
    (heading, block)
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
]
#: What the issue names: a section each.
SITUATIONS = (
    *(
        "package",
        "repository",
        "C extensions",
        "SQLite",
        "Django",
        "ASGI",
        "health",
        "Inline scripts",
        "migrates itself",
        "by file",
        "prefix",
    ),
    *("Tenants", "Celery and RQ", "Timers", "private index", "project of your own", "smoke test"),
)


def options() -> dict[str, Any]:
    specs = [yaml.safe_load(path.read_text())["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    return {name: option for spec in specs for point in spec.values() for name, option in point.get("options", {}).items()}


@pytest.mark.parametrize(("heading", "block"), BLOCKS, ids=lambda value: value.partition("\n")[0][:30])
def test_the_contract_takes_each_block(heading: str, block: str, tmp_path: Path) -> None:
    """[F8] Beside the usual name, domain and source; each variable is one that the contract has, or will have."""
    said = yaml.safe_load(block)
    assert set(said) <= set(options()), f"{heading} names what the contract does not know"
    assert set(said.get("app_source", {})) <= set(options()["app_source"]["options"])
    secrets = {"app_secrets": {"SECRET_KEY": "3f8a1c5e9b7d2046f1e8c3a5907b6d4e2f8a1c5e"}}
    inventory = Inventory(tmp_path, {"blog": {"app_domains": ["blog.example.com"], **secrets, **said}})
    inventory.read()
    assert not inventory.refusal("blog", vault_index_password="x", vault_smoke_password="y")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_has_its_section(situation: str) -> None:
    """[F8] By the words in which somebody looks for it, with a block or the commands."""
    heading = next((line for line in re.findall(r"^## (.+)$", PAGE, re.M) if situation.lower() in line.lower()), "")
    assert heading, f"no section of docs/your-app.md names {situation}"
    assert f"](#{re.sub(r'[^a-z0-9 -]', '', heading.lower()).replace(' ', '-')})" in PAGE, f"{heading} is not in the list at the top"


def test_each_block_is_short() -> None:
    """[F8] Ten lines or so: somebody copies it."""
    assert len(BLOCKS) >= 18
    assert all(block.count("\n") <= 12 for _, block in BLOCKS)
