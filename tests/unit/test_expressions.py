"""Expressions in YAML that Ansible reads otherwise than they look."""

from __future__ import annotations

import re

import yaml

from .conftest import ROOT
from .test_coupling import expressions


def test_a_group_of_a_regular_expression_has_one_backslash() -> None:
    """Ansible doubles the backslashes of a text in an expression: with two of them the group stays as it is written."""
    places = ("roles/*/tasks/*.yml", "roles/*/vars/*.yml", "roles/*/defaults/*.yml", "playbooks/*.yml")
    files = [path for place in places for path in ROOT.glob(place)]
    texts = [(path, text) for path in files for text in expressions(yaml.safe_load(path.read_text()))]
    found = [f"{path.relative_to(ROOT)}: {text}" for path, text in texts if re.search(r"'[^']*\\\\[0-9][^']*'", text)]
    assert len(texts) > 500 and not found, "\n".join(found)
