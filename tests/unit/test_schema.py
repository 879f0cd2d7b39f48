"""The migrations of a release: where they are, whether they are the same, and whether they can be undone."""

from __future__ import annotations

import importlib.util
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.schema import REVISIONS, Step, digest, has_migrations, steps


def scripts(folder: Path, place: str = "migrations", **versions: str) -> Path:
    """Alembic's folder with these scripts."""
    (folder / place / "versions").mkdir(parents=True, exist_ok=True)
    (folder / place / "env.py").write_text("# env")
    for name, text in versions.items():
        (folder / place / "versions" / f"{name}.py").write_text(text)
    return folder


# --- Where they are, and whether they are the same ----------------------------------------------


@pytest.mark.parametrize("place", ["migrations", "blog/migrations", "src/blog/migrations"])
def test_migrations_are_found(tmp_path: Path, place: str) -> None:
    """[A13] At the top, in the package, and in a package below src/."""
    assert not has_migrations(tmp_path) and digest(tmp_path) is None
    scripts(tmp_path, place, one="1")
    assert has_migrations(tmp_path) and digest(tmp_path)


@pytest.mark.parametrize("place", ["a/b/migrations", ".venv/lib/python3.13/site-packages/other/migrations", "alembic"])
def test_other_folders_are_no_migrations(tmp_path: Path, place: str) -> None:
    """[A13] Those of a dependency are not the app's."""
    scripts(tmp_path, place, one="1")
    assert not has_migrations(tmp_path) and digest(tmp_path) is None


def test_the_digest_is_that_of_the_scripts_alone(tmp_path: Path) -> None:
    """[A13] Whatever else differs: other code, where the release lies, what Python left beside the scripts."""
    first, second = (scripts(tmp_path / name, one="1", two="2") for name in ("first", "second"))
    (second / "blog.py").write_text("other")
    (second / "migrations/README").write_text("other")
    (second / "migrations/versions/__pycache__").mkdir()
    (second / "migrations/versions/__pycache__/one.py").write_text("compiled")
    assert digest(first) == digest(second)


@pytest.mark.parametrize(
    ("name", "text"),
    [("versions/three.py", "3"), ("versions/two.py", "2 "), ("versions/two.py", None), ("versions/two.py", ""), ("env.py", "# other")],
)
def test_the_digest_sees_each_script(tmp_path: Path, name: str, text: str | None) -> None:
    """[A13] One that is new, edited, gone or empty."""
    scripts(tmp_path, one="1", two="2")
    before = digest(tmp_path)
    path = tmp_path / "migrations" / name
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    assert digest(tmp_path) not in (before, None)


def test_the_digest_sees_a_new_name(tmp_path: Path) -> None:
    """[A13] And stops at no character."""
    scripts(tmp_path, one="1", two="2")
    before = digest(tmp_path)
    (tmp_path / "migrations/versions/two.py").rename(tmp_path / "migrations/versions/zwei.py")
    renamed = digest(tmp_path)
    (tmp_path / "migrations/versions/one.py").write_bytes(b"\xff")
    assert len({before, renamed, digest(tmp_path)}) == 3


def test_no_content_passes_for_another_script(tmp_path: Path) -> None:
    """[A13] The same text in another file is another migration."""
    assert digest(scripts(tmp_path / "one", a="x", b="")) != digest(scripts(tmp_path / "other", a="", b="x"))


# --- Whether they can be undone -----------------------------------------------------------------


@pytest.fixture(scope="module")
def undone() -> Callable[[ModuleType], bool]:
    """The function as it runs within a release: the rest needs Alembic and the app."""
    text = REVISIONS[REVISIONS.index("def undone") : REVISIONS.index("app = ")]
    names: dict[str, Any] = {}
    exec("import ast, inspect, textwrap\n" + text, names)
    found: Callable[[ModuleType], bool] = names["undone"]
    return found


def migration(folder: Path, text: str) -> ModuleType:
    """A migration script, loaded from a file as Alembic does."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location("script", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "body",
    [
        "op.drop_table('x')",
        "# a comment\n    op.drop_table('x')",
        "'''Text.'''\n    op.drop_table('x')",
        "if op:\n        raise ValueError\n    op.drop_table('x')",
        "with op.batch_alter_table('x') as batch:\n        batch.drop_column('y')",
        "pass\n    op.drop_table('x')",
        "return op.drop_table('x')",
    ],
)
def test_a_downgrade_that_does_something(tmp_path: Path, undone: Callable[[ModuleType], bool], body: str) -> None:
    """[A13] Going back is possible."""
    assert undone(migration(tmp_path, f"op = None\n\ndef downgrade():\n    {body}\n")) is True


@pytest.mark.parametrize(
    "body",
    [
        *("pass", "...", "'''Not possible.'''", "raise NotImplementedError", "raise NotImplementedError('the data is gone')"),
        "'''Text.'''\n    pass\n    raise RuntimeError from None",
        "print('no')\n    raise NotImplementedError",
        *("return", "return None"),
    ],
)
def test_a_downgrade_that_does_nothing(tmp_path: Path, undone: Callable[[ModuleType], bool], body: str) -> None:
    """[A13] Empty, or refused by its author: Alembic would note the older revision all the same, and the schema would stay."""
    assert undone(migration(tmp_path, f"def downgrade():\n    {body}\n")) is False


def test_a_script_without_a_downgrade(tmp_path: Path, undone: Callable[[ModuleType], bool]) -> None:
    """[A13] Alembic does not insist on one."""
    assert undone(migration(tmp_path, "def upgrade():\n    pass\n")) is False


def test_a_downgrade_may_be_decorated_or_indented(tmp_path: Path, undone: Callable[[ModuleType], bool]) -> None:
    """[A13] As people write it."""
    text = """
    def once(function):
        return function

    if True:
        @once
        def downgrade() -> None:
            run = 1
    """
    assert undone(migration(tmp_path, text)) is True


def test_what_runs_in_the_release_is_python() -> None:
    """[A13] And asks for the app by the name that `flask` would; two arguments follow the text."""
    compile(REVISIONS, "revisions", "exec")
    assert 'os.environ["FLASK_APP"]' in REVISIONS and "sys.argv[1], sys.argv[2]" in REVISIONS


# --- What it prints -----------------------------------------------------------------------------


def test_the_steps_are_read_from_what_the_app_prints_too() -> None:
    """[A13] An app may print when it is loaded, before and after; a migration may have no text."""
    way = [{"revision": "0002", "doc": "add words", "undone": True}, {"revision": "0001", "doc": None, "undone": False}]
    printed = f"hello\nslipway:[]\nslipway:{json.dumps(way)}\nbye\n"
    assert steps(printed) == [Step("0002", "add words", True), Step("0001", "", False)]
    assert steps("slipway:[]\n") == []
