"""Which sources say exactly what their virtual environment has (how one is taken over: release/test_apps.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.dependencies import Chosen
from ansible_collections.slipway.vps.plugins.module_utils.project import Project
from ansible_collections.slipway.vps.plugins.module_utils.virtual_environment import left, locked

ROOT = Path(__file__).parents[2]


def of(folder: Path, file: str = "requirements.txt", kind: str = "") -> list[str]:
    return locked(Project(folder), Chosen(file, kind or file, ()))


def test_the_example_is_locked() -> None:
    """[S1] As uv writes it: markers, hashes, lines that go on, comments."""
    assert of(ROOT / "examples/flask-app")


@pytest.mark.parametrize(
    "text",
    [
        "flask==3.1.2\n",
        "flask[async]==3.1.2 ; python_version >= '3.10'  # why\n\n# a comment\n",
        "flask===3.1.2 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n",
        "--index-url https://pypi.example.com/simple\n-i https://pypi.example.com/simple\n--require-hashes\nflask == 3.1.2\n",
        "-r more/base.txt\n--constraint more/base.txt\n",
    ],
)
def test_what_names_one_version_of_each_is_locked(tmp_path: Path, text: str) -> None:
    """[S1] [F5] Whatever it says decides, and what it includes as well."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more/base.txt").write_text("-r ../more/base.txt\nwerkzeug==3.1.3\n")
    (tmp_path / "requirements.txt").write_text(text)
    before = of(tmp_path)
    assert before
    (tmp_path / "more/base.txt").write_text("werkzeug==3.1.4\n")
    assert (of(tmp_path) != before) == ("base.txt" in text)


@pytest.mark.parametrize(
    "line",
    [
        *("flask", "flask>=3", "flask~=3.1", "flask==3.*", "flask==3.1,!=3.1.1", "-e .", "--editable ./lib", "./lib", "lib @ file:///lib"),
        *("git+https://git.example.com/lib.git", "lib @ https://example.com/lib.zip", "-r absent.txt", "-r ../outside.txt", "-f wheels"),
        *("--pre", "--find-links=wheels"),
    ],
)
def test_what_may_be_another_tomorrow_is_not(tmp_path: Path, line: str) -> None:
    """[S1] [F5] A newer version, other code below the same name, or a file that is not there."""
    (tmp_path / "requirements.txt").write_text(f"werkzeug==3.1.3\n{line}\n")
    assert of(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "is_locked"),
    [
        ("uv.lock", '[[package]]\nname = "blog"\nsource = { editable = "." }\n', True),
        ("uv.lock", '[[package]]\nname = "blog"\nsource = { virtual = "." }\n', True),
        ("uv.lock", '[[package]]\nname = "lib"\nsource = { editable = "packages/lib" }\n', False),
        ("uv.lock", '[[package]]\nname = "lib"\nsource = { directory = "lib" }\n', False),
        ("uv.lock", '[[package]]\nname = "lib"\nsource = { path = "lib.whl" }\n', False),
        ("uv.lock", '[[package]]\nname = "x"\nsource = { registry = "https://pypi.example.com/simple" }\n', True),
        ("pylock.toml", '[[packages]]\nname = "lib"\ndirectory = { path = "lib" }\n', False),
        ("pylock.toml", '[[packages]]\nname = "x"\nwheels = [{ url = "https://example.com/x.whl" }]\n', True),
        ("poetry.lock", '[[package]]\nname = "lib"\n[package.source]\ntype = "directory"\nurl = "lib"\n', False),
        ("poetry.lock", '[[package]]\nname = "x"\nfiles = [\n    {file = "x.whl", hash = "sha256:00"},\n]\n', True),
        ("pdm.lock", '[[package]]\nname = "lib"\npath = "./lib"\n', False),
        ("Pipfile.lock", '{"default": {"lib": {"editable": true, "path": "./lib"}}}\n', False),
        ("Pipfile.lock", '{\n  "default": {\n    "lib": {\n      "path": "./lib"\n    }\n  }\n}\n', False),
        ("Pipfile.lock", '{\n  "default": {\n    "x": {\n      "hashes": ["sha256:00"],\n      "version": "==1"\n    }\n  }\n}\n', True),
        ("pyproject.toml", '[project]\nname = "blog"\ndependencies = ["flask==3.1.2"]\n', False),
        ("setup.py", "", False),
    ],
)
def test_locks_of_tools(tmp_path: Path, file: str, text: str, is_locked: bool) -> None:
    """[S1] [F5] All but those of which a part lies in the source, whose code changes without the lock."""
    (tmp_path / file).write_text(text)
    assert bool(of(tmp_path, file)) == is_locked


def test_how_the_app_is_installed_counts(tmp_path: Path) -> None:
    """[S1] A name or a build system that comes or goes is another environment; a new version of the app is not, with a lock beside it."""
    (tmp_path / "requirements.txt").write_text("flask==3.1.2\n")
    plain = of(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "blog"\nversion = "1"\n[build-system]\nrequires = []\n')
    package = of(tmp_path)
    assert plain != package
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "blog"\nversion = "2"\n[build-system]\nrequires = []\n')
    assert of(tmp_path) == package


def test_whatever_was_changed_since_is_seen(tmp_path: Path) -> None:
    """[S1] A file's content, a new one, one that went, a link that leads elsewhere; bytecode is none of it."""
    venv = tmp_path / ".venv"
    (venv / "lib/pkg").mkdir(parents=True)
    (venv / "lib/pkg/a.py").write_text("1")
    (venv / "lib64").symlink_to("lib")
    before = left(venv)
    (venv / "lib/pkg/__pycache__").mkdir()
    (venv / "lib/pkg/__pycache__/a.cpython-313.pyc").write_text("x")
    assert left(venv) == before
    (venv / "lib/pkg/b.py").write_text("")
    assert left(venv) != before
    (venv / "lib/pkg/b.py").unlink()
    assert left(venv) == before
    (venv / "lib64").unlink()
    (venv / "lib64").symlink_to("elsewhere")
    assert left(venv) != before
