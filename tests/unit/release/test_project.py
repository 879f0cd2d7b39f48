"""What the files of a source say of the app, read without running any of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.dependencies import choose, project_of, project_of_folder
from ansible_collections.slipway.vps.plugins.module_utils.exporters import EXPORTERS
from ansible_collections.slipway.vps.plugins.module_utils.project import Project
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError


def source(folder: Path, **files: str) -> Project:
    """A source; in names of files ``_`` stands for a dot."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return Project(folder)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        *(("^3.11", ">=3.11,<4"), ("~3.11", ">=3.11,<3.12"), ("^3.11.2", ">=3.11.2,<4"), (">=3.11,<3.14", ">=3.11,<3.14")),
        *(("3.11.*", "==3.11.*"), ("~=3.11", "~=3.11"), ("^3.11 || ^3.13", ">=3.11,<4"), ("~3", ">=3,<4"), (">=3.10", ">=3.10")),
    ],
)
def test_poetrys_versions_in_the_words_of_pep_440(tmp_path: Path, said: str, read: str) -> None:
    """[F5] uv, which looks for the interpreter, knows neither ^ nor ~."""
    found = source(tmp_path, pyproject_toml=f'[tool.poetry.dependencies]\npython = "{said}"\n')
    assert found.requires_python == (read, "python in pyproject.toml")


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        *(("3.12\n", "3.12"), ("3.12.4\n", "3.12"), ("# ours\n\n3.12\n3.11\n", "3.12"), ("cpython-3.12.1-linux-x86_64-gnu", "3.12")),
        *(("cpython@3.12", "3.12"), ("blog-venv\n", ""), ("pypy3.10\n", ""), ("system\n", ""), ("3\n", ""), ("", "")),
    ],
)
def test_the_pin_of_the_developers(tmp_path: Path, text: str, pin: str) -> None:
    """[F5] A minor version; what pyenv calls an environment of somebody's laptop is none."""
    assert source(tmp_path, **{"_python-version": text}).pinned_python[0] == pin


def test_the_pin_of_heroku(tmp_path: Path) -> None:
    """[F5] runtime.txt says it too."""
    assert source(tmp_path, runtime_txt="python-3.11.9\n").pinned_python == ("3.11", "runtime.txt")


@pytest.mark.parametrize(
    ("text", "package", "needs"),
    [
        ('[project]\nname = "blog"\n', False, False),
        ('[project]\nname = "blog"\n[build-system]\nrequires = []\n', True, False),
        ('[project]\nname = "blog"\n[build-system]\nrequires = []\n[tool.uv]\npackage = false\n', False, False),
        ('[project]\nname = "blog"\n[tool.uv]\npackage = true\n', True, True),
        ('[project]\nname = "blog"\n[project.scripts]\nblog = "blog:main"\n', True, True),
        ("[tool.poetry]\npackage-mode = false\n[build-system]\nrequires = []\n", False, False),
        ("[tool.pdm]\ndistribution = false\n[build-system]\nrequires = []\n", False, False),
        ('[tool.poetry.scripts]\nblog = "blog:main"\n[build-system]\nrequires = []\n', True, True),
        ("[tool.ruff]\nline-length = 100\n", False, False),
    ],
)
def test_whether_the_app_is_a_package(tmp_path: Path, text: str, package: bool, needs: bool) -> None:
    """[F5] As the tool says that the project is made with; commands exist only where the package is installed."""
    found = source(tmp_path, pyproject_toml=text)
    assert (found.is_package, found.needs_installation) == (package, needs)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("requirements/absent.txt", "which the source does not have. It has requirements.txt"),
        ("../requirements.txt", "which the source does not have"),
        ("setup.cfg", "of no known format"),
        ("backend/uv.lock", "app_source.subdirectory"),
    ],
)
def test_a_lock_file_that_will_not_do(tmp_path: Path, wanted: str, reason: str) -> None:
    """[F5] [F8] Refused with the variable."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend/uv.lock").write_text("")
    found = source(tmp_path, requirements_txt="", setup_cfg="")
    with pytest.raises(CommandError, match="app_lock_file") as failure:
        choose(found, wanted)
    assert reason in str(failure.value)


def test_the_lock_that_is_named_counts(tmp_path: Path) -> None:
    """[F5] Also where the source has locks of several tools; nothing is said of the others."""
    found = source(tmp_path, uv_lock="", poetry_lock="", requirements_txt="", pylock_prod_toml="")
    assert choose(found, "poetry.lock") == ("poetry.lock", "poetry.lock", ())
    assert choose(found, "pylock.prod.toml").kind == "pylock.toml"
    assert choose(found, "requirements.txt").kind == "requirements.txt"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """[F8] With the line; not a traceback."""
    with pytest.raises(CommandError, match=r"pyproject\.toml cannot be read: .*line 1"):
        choose(source(tmp_path, pyproject_toml="[project\n"), "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("gunicorn==27.0.1", "gunicorn"), ("Flask[async]>=3", "flask"), ("a ; x", "a"), ("a!=1", "a"), ("h11<1", "h11")),
        *(("zope.interface @ https://x/y-1.0.whl", "zope-interface"), ("typing_extensions~=4.0", "typing-extensions")),
    ],
)
def test_the_project_of_a_requirement(text: str, name: str) -> None:
    """[A10] A requirement and the folder of what is installed have to meet, however each spells the name."""
    assert project_of(text) == name


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *(("gunicorn-27.0.1.dist-info", "gunicorn"), ("zope_interface-7.0.dist-info", "zope-interface"), ("h11-0.1.dist-info", "h11")),
        *(("Flask_SQLAlchemy-3.1.1.dist-info", "flask-sqlalchemy"), ("uvicorn_worker-0.3.0.dist-info", "uvicorn-worker")),
    ],
)
def test_the_project_of_what_is_installed(folder: str, name: str) -> None:
    """[A10] As the folder in site-packages spells it."""
    assert project_of_folder(Path("site-packages") / folder) == name


@pytest.mark.parametrize(
    ("lock", "extras", "groups", "words"),
    [
        ("poetry.lock", [], [], "export --no-interaction --only=main"),
        ("poetry.lock", ["a", "b"], ["mail"], "export --no-interaction --only=main,mail --extras=a --extras=b"),
        ("pdm.lock", [], [], "export --format=requirements --prod"),
        ("pdm.lock", ["a"], [], "export --format=requirements --prod --group=a"),
        ("pdm.lock", ["a"], ["mail"], "export --format=requirements --group=a --group=mail"),
        ("Pipfile.lock", [], ["mail"], "requirements --hash --categories=packages,mail"),
    ],
)
def test_the_words_for_each_tool(lock: str, extras: list[str], groups: list[str], words: str) -> None:
    """[F5] As each of them takes extras and groups; PDM refuses --prod beside a group for development."""
    assert " ".join(EXPORTERS[lock].command(extras, groups)) == words


@pytest.mark.parametrize("lock", sorted(EXPORTERS))
def test_all_of_a_tools_environment_is_pinned(lock: str) -> None:
    """[F5] A new release of any of its dependencies cannot break a build."""
    pins = EXPORTERS[lock].pins.split()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+(;python_full_version<'3\.\d+')?", pin) for pin in pins), pins
    assert any(pin.startswith(f"{EXPORTERS[lock].tool}==") for pin in pins)
