# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of how the app is built (role app)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import VARIABLE, Problem, Values, kind
from ansible_collections.slipway.vps.plugins.module_utils.source import without_secrets

#: The oldest Python that uv still brings.
OLDEST = 8
_PYTHON = re.compile(r"3\.(\d{1,2})(\.\d+)?")
_NAME = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(=\S+)?")
_CREDENTIAL = re.compile(r"(UV_INDEX_\w+|TWINE|PIP|POETRY_HTTP_BASIC_\w+|\w*)_(PASSWORD|TOKEN)")


def bad_python(values: Values) -> Iterator[Problem]:
    python = str(values.get("app_python") or "")
    found = _PYTHON.fullmatch(python)
    if python and (not found or int(found[1]) < OLDEST):
        # YAML reads 3.10 as the number 3.1.
        yield Problem("app_python", f"{python!r} is no version of Python 3", "write it in quotes, for example '3.13'")


def bad_dependencies(values: Values) -> Iterator[Problem]:
    """A file of the source, and names of extras and groups in it."""
    lock = str(values.get("app_lock_file") or "")
    if lock and (lock.startswith("/") or ".." in PurePosixPath(lock).parts or lock.endswith("/")):
        yield Problem(
            "app_lock_file", f"{lock!r} is no file of the source", "write its path in the source, for example requirements/production.txt"
        )
    for name in ("app_extras", "app_groups"):
        for entry in values.get(name) or []:
            if not _NAME.fullmatch(str(entry)):
                yield Problem(name, f"{entry!r} is no name of an extra or a group", "write one name per entry, without brackets")
    source = values.get("app_source")
    if isinstance(source, Mapping) and source.get("type") == "package":
        for name in ("app_lock_file", "app_extras", "app_groups"):
            if values.get(name):
                fix = "remove it; extras stand in app_source.requirement: name[extra]==version"
                yield Problem(name, "means nothing for a source of type package, which has no files", fix)


def bad_commands(values: Values) -> Iterator[Problem]:
    for entry in values.get("app_build_commands") or []:
        if not isinstance(entry, str) or not entry.strip() or "\x00" in entry:
            yield Problem(
                "app_build_commands", f"{entry!r} is no command", "write one line of shell per entry, for example npm ci && npm run build"
            )


def bad_build_environment(values: Values) -> Iterator[Problem]:
    """Names a process can have, values that are text, each secret in the vault."""
    for variable in ("app_build_env", "app_build_secrets"):
        for name, value in (values.get(variable) or {}).items():
            if not VARIABLE.fullmatch(str(name)):
                yield Problem(variable, f"{name!r} is not a name for an environment variable", "use letters, digits and _")
            elif isinstance(value, (Mapping, list)) or value is None:
                yield Problem(variable, f"{name} is {'empty' if value is None else kind(value)}", "give it a text, a number or a boolean")
            elif "\x00" in str(value):
                yield Problem(variable, f"{name} holds a NUL character", "remove it")
    env, secrets = values.get("app_build_env") or {}, values.get("app_build_secrets") or {}
    for name in sorted(map(str, set(env) & set(secrets))):
        yield Problem("app_build_env", f"{name} is in app_build_secrets too", "remove one of the two")
    for name, value in env.items():
        if _CREDENTIAL.fullmatch(str(name)) or name == "netrc" or without_secrets(str(value)) != str(value):
            yield Problem("app_build_env", f"{name} is a secret", "move it to app_build_secrets (group_vars/app_servers/vault.yml)")


def bad_packages(values: Values) -> Iterator[Problem]:
    for entry in values.get("app_build_packages") or []:
        if not _PACKAGE.fullmatch(str(entry)):
            yield Problem("app_build_packages", f"{entry!r} is no name of a Debian package", "write one per entry, for example libpq-dev")


RULES = (
    (bad_python, ("app_python",)),
    (bad_dependencies, ("app_lock_file", "app_extras", "app_groups", "app_source")),
    (bad_commands, ("app_build_commands",)),
    (bad_build_environment, ("app_build_env", "app_build_secrets")),
    (bad_packages, ("app_build_packages",)),
)
