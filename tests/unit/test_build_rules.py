"""What an operator may say of a build, and what is refused on the controller, before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.rules import build

from .inventory import Inventory

GOOD: dict[str, Any] = {
    "app_python": "3.13",
    "app_lock_file": "requirements/production.txt",
    "app_extras": ["prod", "prod_2"],
    "app_groups": ["mail"],
    "app_build_commands": ["npm ci && npm run build", "python manage.py collectstatic --noinput"],
    "app_build_env": {"NODE_ENV": "production", "WORKERS": 2, "SECRET_KEY": "only-for-collectstatic"},
    "app_build_secrets": {"UV_INDEX_COMPANY_PASSWORD": "s3cret", "netrc": "machine x login y password z"},
    "app_build_packages": ["libpq-dev", "g++", "nodejs=18.19*"],
}


def found(values: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [tuple(problem) for rule, _ in build.RULES for problem in rule(values)]  # type: ignore[misc]


def test_good_input_passes() -> None:
    """[F5] All of them at once."""
    assert found(GOOD) == []


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("app_python", "3.1", "no version of Python 3"),
        ("app_python", "python3.12", "no version of Python 3"),
        ("app_python", "2.7", "no version of Python 3"),
        ("app_lock_file", "/etc/requirements.txt", "no file of the source"),
        ("app_lock_file", "../requirements.txt", "no file of the source"),
        ("app_extras", ["[prod]"], "no name of an extra"),
        ("app_groups", ["a, b"], "no name of an extra or a group"),
        ("app_build_commands", [""], "no command"),
        ("app_build_commands", [{"command": "npm ci"}], "no command"),
        ("app_build_env", {"NODE ENV": "x"}, "not a name for an environment variable"),
        ("app_build_env", {"NODE_ENV": None}, "is empty"),
        ("app_build_env", {"UV_INDEX_OTHER_PASSWORD": "s3cret"}, "is a secret"),
        ("app_build_env", {"NPM_TOKEN": "s3cret"}, "is a secret"),
        ("app_build_env", {"UV_INDEX_URL": "https://ada:s3cret@pypi.example.com/simple"}, "is a secret"),
        ("app_build_secrets", {"X": ["a"]}, "is a list"),
        ("app_build_packages", ["libpq-dev; reboot"], "no name of a Debian package"),
    ],
)
def test_what_will_not_do_is_refused_with_its_variable(variable: str, value: Any, what: str) -> None:
    """[F5] [F8] And with what to write instead; a secret is never in the message."""
    (problem,) = found({**GOOD, variable: value})
    assert problem[0] == variable and what in problem[1] and problem[2]
    assert "s3cret" not in str(problem)


def test_a_package_has_no_files() -> None:
    """[F5] Extras and lock files of a source of type package would be passed over."""
    values = {**GOOD, "app_source": {"type": "package", "requirement": "blog==1.0"}}
    assert [problem[0] for problem in found(values)] == ["app_lock_file", "app_extras", "app_groups"]


def test_the_same_name_twice() -> None:
    """[F5] One of the two would win in silence."""
    assert [problem[0] for problem in found({**GOOD, "app_build_secrets": {"NODE_ENV": "x"}})] == ["app_build_env"]


def test_a_build_is_part_of_the_model_and_its_secrets_are_not(tmp_path: Path) -> None:
    """[F5] [F4] What is shown, and written to the host, has none of them."""
    inventory = Inventory(tmp_path, {"blog": GOOD})
    model = inventory.app("blog")
    assert model["build"] == {
        **{"python": "3.13", "lock_file": "requirements/production.txt", "extras": ["prod", "prod_2"], "groups": ["mail"]},
        **{"commands": GOOD["app_build_commands"], "env": GOOD["app_build_env"], "packages": GOOD["app_build_packages"]},
    }
    assert "s3cret" not in str(model)
    assert inventory.secrets("blog")["build"] == GOOD["app_build_secrets"]


def test_a_version_that_yaml_reads_as_a_number_is_refused(tmp_path: Path) -> None:
    """[F8] 3.10 is 3.1 by then."""
    said = Inventory(tmp_path, {"blog": "app_name: blog\napp_domains: [blog.example.com]\napp_python: 3.10\n"}).refusal("blog")
    assert "app_python" in said
