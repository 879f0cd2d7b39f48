"""The page of requirements is what the tests say, and every requirement of wave 1 has one."""

from __future__ import annotations

from pathlib import Path

import requirements

TABLE = """\
| id | requirement | wave | tests |
| --- | --- | --- | --- |
| A1 | never the development server | 1 | none yet |
| D2 | workers × pool | 1, PgBouncer 2 | none yet |
| K3 | monitoring | 2 | none yet |
"""


def tree(root: Path, text: str) -> dict[str, list[Path]]:
    for name in ("tests/unit/test_a.py", "molecule/edge/tests/test_01_pages.py"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    return requirements.carriers(root)


def test_the_page_is_up_to_date() -> None:
    """`make requirements` writes it."""
    assert requirements.faults(requirements.PAGE.read_text(), requirements.carriers()) == []


def test_ids_are_read_from_the_docstrings_of_tests(tmp_path: Path) -> None:
    """Several in one pair of brackets or in several; neither a helper's, nor a comment's, nor brackets with other words."""
    text = (
        'def test_a():\n    """[A1 D2] [K3] Yes."""\n\nasync def test_b():\n    """Also here [K3]."""\n'
        '\ndef helper():\n    """[A9] No."""\n\ndef test_c():\n    """[A5 and more] No."""\n    # [A7]\n'
    )
    assert set(tree(tmp_path, text)) == {"A1", "D2", "K3"}


def test_the_last_column_is_filled_in(tmp_path: Path) -> None:
    tests = tree(tmp_path, 'def test_a():\n    """[A1] Yes."""\n')
    page = requirements.rendered(TABLE, tests)
    links = "[edge/01_pages](../molecule/edge/tests/test_01_pages.py), [unit/a](../tests/unit/test_a.py)"
    assert f"| A1 | never the development server | 1 | {links} |\n" in page
    assert "| K3 | monitoring | 2 | none yet |\n" in page
    assert requirements.rendered(page, tests) == page


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    """A requirement of wave 1 without a test, an id that is no requirement, a stale page."""
    tests = tree(tmp_path, 'def test_a():\n    """[A1 X9] Yes."""\n')
    faults = requirements.faults(TABLE, tests)
    assert faults == [
        "no test names D2, which is of wave 1",
        "X9, which molecule/edge/tests/test_01_pages.py, tests/unit/test_a.py names, is in no table",
        "it is stale: run tools/requirements.py",
    ]
    assert requirements.faults(requirements.rendered(TABLE, tests), tests) == faults[:2]
