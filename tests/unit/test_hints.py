"""What a message tells to run is there, in a checkout of this repository as in a project that installed the collection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT, Tool

#: A file's path is right in a checkout alone; the collection's name for a playbook is right in both.
PATHS = re.compile(r"playbooks/[a-z_]+\.yml|ansible-playbook (-\S+ )*site\.yml")
NAMES = re.compile(r"ansible-playbook[^\n]*? slipway\.vps\.([a-z_]+)")


def messages(path: Path) -> Iterator[str]:
    """Lines of code that an operator may read: neither comments nor documentation, and no file that is read or written."""
    documentation = False
    for line in path.read_text().splitlines():
        if path.suffix == ".py" and re.match(r'(DOCUMENTATION|EXAMPLES|RETURN) = r"""', line):
            documentation = True
        elif documentation and line.startswith('"""'):
            documentation = False
        if not documentation and not line.lstrip().startswith(("#", '"""')) and "import_" not in line and "ansible_managed" not in line:
            yield line


def files() -> list[Path]:
    return sorted([*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")])


def test_hints_name_playbooks_by_the_collection() -> None:
    """[F8] `playbooks/verify.yml` is not there in a project of one's own."""
    found = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in files() for line in messages(path) if PATHS.search(line)]
    assert not found, "\n".join(found)


def test_every_playbook_that_is_named_exists() -> None:
    """[F8]"""
    named = {name for path in files() for line in messages(path) for name in NAMES.findall(line)}
    assert len(named) > 5 and not [name for name in named if not (ROOT / f"playbooks/{name}.yml").exists()], named


@pytest.mark.parametrize("name", ["site", "verify"])
def test_a_checkout_knows_the_collections_name(tool: Tool, name: str) -> None:
    """[F8] ansible.cfg leads to this folder."""
    listed = tool("ansible-playbook", "-i", "inventories/example", f"slipway.vps.{name}", "--list-hosts")
    assert listed.returncode == 0 and f"playbooks/{name}.yml" in listed.stdout, listed.stdout + listed.stderr
