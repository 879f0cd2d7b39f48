"""docs/settings.md is complete and fresh: it is generated from the specifications, and every switch and link in it leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from .conftest import ROOT

TEXT = (ROOT / "docs/settings.md").read_text()


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """tools/settings.py, which is a program and no package."""
    spec = importlib.util.spec_from_file_location("slipway_settings", ROOT / "tools/settings.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the page is made from, to be changed."""
    for name in ("docs", "roles", "playbooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_page_is_fresh(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """This is what turns CI red when a specification has changed and the page has not."""
    assert program.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_refused_with_the_command(program: ModuleType, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is right again once that has been run."""
    spec = copy / "roles/logs/meta/argument_specs.yml"
    spec.write_text(spec.read_text().replace("default: 14", "default: 15"))
    assert program.main(["--root", str(copy), "--check"]) == 1
    assert "docs/settings.md is stale: run python tools/settings.py" in capsys.readouterr().err
    assert program.main(["--root", str(copy)]) == 0
    assert program.main(["--root", str(copy), "--check"]) == 0
    assert "| `logs_keep_days` | int | `15` |" in (copy / "docs/settings.md").read_text()


def test_a_role_without_a_place_in_the_path_is_refused(program: ModuleType, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The order of the page is that of roles/README.md."""
    table = copy / "roles/README.md"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "[logs]" not in line))
    assert program.main(["--root", str(copy), "--check"]) == 2
    assert "roles/README.md has no row for the role logs" in capsys.readouterr().err


def test_every_variable_is_there() -> None:
    """Of every entry point of every role, in one row, with type, default, scope, meaning and page."""
    rows: dict[str, list[str]] = {}
    for line in TEXT.partition("## Switches")[0].splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert cells[0] not in rows, f"{cells[0]} has two rows"
            rows[cells[0]] = cells
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        points: dict[str, Any] = yaml.safe_load(path.read_text())["argument_specs"]
        for point, spec in points.items():
            for name in spec.get("options") or {}:
                assert f"`{name}`" in rows, f"{name} of {path.parents[1].name}, entry point {point}"
    for name, cells in rows.items():
        assert len(cells) == 7 and all(cell for index, cell in enumerate(cells) if index != 3), name


def test_every_switch_is_there() -> None:
    """Whatever the docs, playbooks and messages advise to write after -e is on the page; Ansible's own are in its manual."""
    files = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("plugins/**/*.py")]
    used = {name for path in files for name in re.findall(r"-e '?\"?(?!ansible_)([a-z_]+)=", path.read_text())} - {"name"}
    assert {"lock_wait", "release", "target", "backup"} <= used
    assert not [name for name in sorted(used) if f"| `{name}` |" not in TEXT]
    assert all(f"| `{name}` |" in TEXT for name in ("deploy_burn_in", "deploy_restore_point_max"))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "roles/README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_leads_somewhere(program: ModuleType, page: Path) -> None:
    """From every page to a file that is there, and to a heading in it."""
    for target, anchor in set(re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text())):
        to = (page.parent / target) if target else page
        assert to.exists(), f"{page.name}: {target}"
        headings = {program.slug(line.lstrip("# ")) for line in to.read_text().splitlines() if line.startswith("#")} if anchor else {""}
        assert anchor in headings, f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize(
    ("points", "scope"),
    [
        (["machine"], "machine"),
        (["machine", "app"], "machine, app"),
        (["app", "issue"], "app"),
        (["main", "issue"], "main"),
        (["create"], "create"),
    ],
)
def test_the_scope_is_the_entry_point(program: ModuleType, points: list[str], scope: str) -> None:
    assert program.scope("tls", points) == scope


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("/srv/{{ app_name }}", "`/srv/<app>`"),
        ("{{ app_root }}/shared", "`/srv/<app>/shared`"),
        ("{{ lock_wait | default(0) }}", "`0`"),
        ("{{ a | b(c) }}", "computed"),
        ({"A": "{{ b | c }}"}, "computed"),
        ("", '`""`'),
        ([], "`[]`"),
        (True, "`true`"),
        ("0", "`'0'`"),
        ("a|b", "`a\\|b`"),
        (["x" * 10, "y" * 10, "z" * 30], "`[xxxxxxxxxx, yyyyyyyyyy, …]` (3)"),
        ({"x" * 40: 1}, "`{…}` (1)"),
        ("x" * 50, f"`{'x' * 39}…`"),
    ],
)
def test_a_default_fits_its_cell(program: ModuleType, value: Any, cell: str) -> None:
    assert program.default(value, {"app_root": "/srv/{{ app_name }}"}) == cell


@pytest.mark.parametrize(
    ("kind", "text", "unit"),
    [
        ("int", "Seconds to wait.", "seconds"),
        ("float", "Share of the memory, 0 to 1.", "0 to 1"),
        ("int", "Backups older than this many days are removed.", "days"),
        ("str", "Largest request body (nginx size); larger ones get 413.", "`k`, `m`, `g`"),
        ("str", "Seconds are not the unit of a name.", ""),
        ("bool", "Wait for some seconds.", ""),
    ],
)
def test_the_unit_is_what_the_description_gives(program: ModuleType, kind: str, text: str, unit: str) -> None:
    assert program.unit({"type": kind, "description": text}) == unit


def test_a_cell_holds_markup_and_no_html(program: ModuleType) -> None:
    """A bar would end the cell, and GitHub would drop <app>."""
    assert (
        program.markdown("C(a|b) of C(f(x)) for <app>, see P(slipway.vps.release#role)") == "`a\\|b` of `f(x)` for &lt;app>, see `release`"
    )
