"""A machine that two apps want, and a folder that stands for the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather.host import Host
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs

from ..inventory import Inventory

Fake = Callable[..., Host]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model's machine: blog and shop."""
    blog = {
        "app_processes": {"worker": {"command": "celery"}},
        "app_aliases": ["*.example.net"],
        "app_domains": ["blog.example.com", "b.example.com"],
    }
    inventory = Inventory(tmp_path_factory.mktemp("inventory"), {"blog": blog, "shop": {}}, {"tls_dns_plugin": "cloudflare"})
    found: dict[str, Any] = inventory.app("blog")["machine"]
    return found


@pytest.fixture(scope="session")
def needs(machine: dict[str, Any]) -> Needs:
    return Needs.of(machine)


@pytest.fixture
def answered(needs: Needs) -> Callable[..., Needs]:
    """The same with answers."""
    return lambda **answers: replace(needs, answers={one.replace("__", ":"): choice for one, choice in answers.items()})


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A host in a folder: path to text (a link: `-> where`; a folder: None), and commands to what they print.

    A command fits by its first words; one that is not there exits 127.
    """

    def make(
        files: Mapping[str, str | bytes | None] | None = None,
        commands: Mapping[str, str | tuple[int, str]] | None = None,
        resolve: Callable[[str], bool | None] = lambda name: True,
    ) -> Host:
        for name, content in (files or {}).items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            elif content.startswith("-> "):
                path.symlink_to(content[3:])
            else:
                path.write_text(content)

        def run(words: Sequence[str]) -> tuple[int, str]:
            line = " ".join(words)
            said = next((said for begin, said in (commands or {}).items() if line.startswith(begin)), (127, "not here"))
            return said if isinstance(said, tuple) else (0, said)

        return Host(tmp_path, run, resolve)

    return make
