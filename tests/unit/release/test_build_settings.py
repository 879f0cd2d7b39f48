"""What the operator says of a build: in which order it happens, what it can see, and what asks for a new release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import interpreter
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError

from .fakes import NEW, Host, Make, refused

COMMANDS = ["npm ci && npm run build", "python manage.py collectstatic"]


def test_build_commands_run_between_dependencies_and_bytecode(deploy: Make, root: Path, host: Host) -> None:
    """[F5] One after the other, in a shell, before the release becomes root's, which nobody changes any more."""
    deploy(build_commands=COMMANDS).do("prepare")
    order = [line for line in host.did if any(part in line for part in ("requirements.txt", "/bin/sh", "compileall", "give"))]
    assert order[0] == f"give {NEW} to 4242:4343" and "requirements.txt" in order[1]
    assert order[2:4] == [f"/bin/sh -e -c {line}" for line in COMMANDS]
    assert "compileall" in order[4] and order[-1] == f"give {NEW} to 0:0"


def test_build_commands_see_the_environment_and_no_secret_of_the_app(deploy: Make, root: Path, host: Host) -> None:
    """[F5] [F4] The release's own programs come first; DATABASE_URL is there, SECRET_KEY is not."""
    deploy(build_commands=COMMANDS[:1]).do("prepare")
    (words,) = [words for words in host.transients if "/bin/sh" in words]
    folder = root / "srv/releases" / NEW
    assert f"--property=EnvironmentFile={root}/etc/environment" in words and f"--working-directory={folder}" in words
    assert any(word.startswith(f"--property=Environment=PATH={folder}/.venv/bin:/") for word in words)
    assert f"{root}/etc/secrets" not in " ".join(words)
    assert {"--uid=blog", "--property=ProtectSystem=strict", "--property=NoNewPrivileges=yes", "--property=Nice=10"} <= set(words)


def test_what_a_build_makes_can_be_read(deploy: Make, host: Host) -> None:
    """[F5] Its files are root's in the end: without this neither the app nor nginx could read them. The last of two settings counts."""
    deploy(build_commands=COMMANDS).do("prepare")
    for words in host.transients:
        assert [word for word in words if "UMask=" in word][-1] == "--property=UMask=0022"


def test_a_build_command_that_fails_is_named(deploy: Make, root: Path, host: Host) -> None:
    """[F5] [F8] With its words and the packages that it lacks."""
    host.fails = {"npm ci": "/bin/sh: 1: npm: not found"}
    with pytest.raises(StepError, match=r"app_build_packages: \[nodejs, npm\]"):
        deploy(build_commands=COMMANDS).do("prepare")
    refused(root, NEW, "build commands", "app_build_commands: npm ci && npm run build")


def test_a_file_that_does_not_compile_is_a_warning(deploy: Make, host: Host) -> None:
    """[F5] Nobody may import it, a template named .py for example; the rehearsal shows whether somebody does."""
    host.fails = {r"-x /(\.venv|node_modules)/ --": "*** Error compiling './templates/model.py'..."}
    done = deploy().do("prepare")
    assert done["changed"] and "templates/model.py" in done["warnings"][0]


@pytest.mark.parametrize(
    "change",
    [
        *({"app_python": "3.12"}, {"lock_file": "requirements/prod.txt"}, {"extras": ["prod"]}, {"groups": ["mail"]}),
        *({"build_commands": ["make"]}, {"build_env": {"NODE_ENV": "production"}}, {"build_packages": ["nodejs"]}),
    ],
)
def test_another_way_to_build_asks_for_another_release(deploy: Make, change: dict[str, Any]) -> None:
    """[F5] Each of them decides what is in a release."""
    assert deploy(**change).builder.fingerprint() != deploy().builder.fingerprint()


def test_secrets_of_a_build_ask_for_no_other_release(deploy: Make) -> None:
    """[F5] A password of the index that is rotated changes nothing in what is built; nor does an order that means nothing."""
    assert deploy(build_secrets={"UV_INDEX_X_PASSWORD": "s3cret"}).builder.fingerprint() == deploy().builder.fingerprint()
    one, other = deploy(extras=["a", "b"], build_packages=["x", "y"]), deploy(extras=["b", "a"], build_packages=["y", "x"])
    assert one.builder.fingerprint() == other.builder.fingerprint()
    assert deploy(build_commands=["a", "b"]).builder.fingerprint() != deploy(build_commands=["b", "a"]).builder.fingerprint()


def test_uv_brings_a_python_as_root_once_for_all(deploy: Make, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F5] Outside the app's folder, where neither the app can change it nor the end of a release remove it; from a mirror, if said."""
    installed: list[tuple[tuple[str, ...], dict[str, str]]] = []

    def install(*words: str, environment: dict[str, str], cwd: Path) -> str:
        installed.append((words, environment))
        return ""

    monkeypatch.setattr(interpreter, "command", install)
    host.fails = {"--no-managed-python": "error: No interpreter found"}
    plain = host.command

    def command(*words: str, **how: Any) -> str:
        if "--managed-python" in words and not installed:
            raise CommandError("error: No interpreter found")
        return f"{root}/python/cpython-3.14/bin/python3.14\n" if "--managed-python" in words else plain(*words, **how)

    monkeypatch.setattr("ansible_collections.slipway.vps.plugins.module_utils.deploy_steps.command", command)
    deploy(app_python="3.14", python_mirror="https://mirror.example.com/python").do("prepare")
    ((words, environment),) = installed
    assert words[1:3] == ("python", "install") and words[-1] == "3.14"
    assert environment["UV_PYTHON_INSTALL_DIR"] == f"{root}/python" and (root / "python").stat().st_mode & 0o777 == 0o755
    assert environment["UV_PYTHON_INSTALL_MIRROR"] == "https://mirror.example.com/python"
    assert f"uv venv --no-project --python {root}/python/cpython-3.14/bin/python3.14 .venv" in host.did


def test_a_python_that_cannot_be_had_is_refused_before_anything_is_built(deploy: Make, root: Path, host: Host) -> None:
    """[F5] [F8] With the variable, and what this host has."""
    host.fails = {"python find": "error: No interpreter found", "python install": "dns error"}
    with pytest.raises(StepError, match=r"app_python asks for Python 3\.14: this host has none that fits"):
        deploy(app_python="3.14").do("prepare")
    refused(root, NEW, "project", "release_python_mirror")
    assert not [line for line in host.did if line.startswith(("uv venv", "uv pip"))]


def test_a_project_of_setup_py_is_installed_in_place(deploy: Make, root: Path, host: Host) -> None:
    """[F5] Its dependencies first, then the app itself without them."""
    (root / "tree/requirements.txt").rename(root / "tree/setup.py")
    deploy(requirements=[]).do("prepare")
    pip = "uv pip install --python .venv/bin/python"
    assert [line for line in host.did if line.startswith(pip)] == [f"{pip} --requirement setup.py", f"{pip} --no-deps --editable ."]


def test_an_interpreter_that_the_operator_names_is_used(deploy: Make, root: Path, host: Host) -> None:
    """[S1] As ever, whatever the project says: hosts that rely on it do not get another one by an update."""
    (root / "tree/.python-version").write_text("3.99\n")
    deploy(python="/opt/python/bin/python3.12").do("prepare")
    assert "uv venv --no-project --python /opt/python/bin/python3.12 .venv" in host.did
