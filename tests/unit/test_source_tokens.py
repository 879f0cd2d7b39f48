"""A token in an address, and the deploy key, reach nothing that an operator or the journal sees. One canary for each way out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.releases import Store
from ansible_collections.slipway.vps.plugins.module_utils.source import asked_for, uncovered, without_secrets
from ansible_collections.slipway.vps.plugins.modules.release import PARAMETERS
from render import value

from .conftest import ROOT, Tool
from .inventory import SECRET, Inventory
from .release.conftest import deploy, host, root  # noqa: F401  its fixtures
from .release.fakes import NEW, Host, Make

CANARY = "c4n4ry-t0ken"
REQUIREMENT = f"blog @ git+https://{CANARY}@git.example.com/blog.git@v1.4.0"
SOURCES: list[dict[str, str]] = [
    {"type": "git", "repo": f"https://{CANARY}@git.example.com/blog.git", "version": "v1", "deploy_key": CANARY},
    {"type": "git", "repo": f"https://ada:{CANARY}@git.example.com/blog.git", "version": "v1"},
    {"type": "archive", "url": f"https://example.com/blog.tar.gz?token={CANARY}", "checksum": "sha256:" + "0" * 64},
    {"type": "package", "requirement": REQUIREMENT},
]
#: Inputs that may hold a secret.
SECRET_INPUTS = re.compile(r"app_secret\.source\.(repo|url|requirement|deploy_key)\b")


def tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task of the release role that is not a block, with the file it stands in."""
    for path in sorted((ROOT / "roles/release/tasks").glob("*.yml")):
        waiting = list(yaml.safe_load(path.read_text()) or [])
        while waiting:
            task = waiting.pop()
            inner = [one for part in ("block", "rescue", "always") for one in task.get(part, [])]
            waiting += inner
            if not inner:
                yield path.name, task


def test_an_argument_with_a_secret_is_hidden_or_encoded() -> None:
    """[A11] -v prints facts and results, -vvv prints every argument: a task that is given an address hides all, or has it in Base64 in an
    argument that its module hides."""
    found = 0
    for file, task in tasks():
        for text in re.findall(r"\{\{.*?\}\}", json.dumps(task)):
            if not SECRET_INPUTS.search(text):
                continue
            found += 1
            encoded = (
                "b64encode" in text or "hash('sha256')" in text or re.fullmatch(r"\{\{ *app_secret\.source\.\w+ is defined *\}\}", text)
            )
            assert encoded or "no_log" in task, f"{file}: {text}"
    assert found >= 4, "the scan sees nothing"
    assert PARAMETERS["requirement_encoded"]["no_log"] is True


@pytest.mark.parametrize("source", SOURCES)
def test_what_the_release_module_is_told(source: dict[str, str]) -> None:
    """[A11] Its arguments go into the host's journal."""
    told = value("release", "__release_common | to_json", app_source=source)
    assert CANARY not in str(told)


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_noted_of_a_source(source: dict[str, str]) -> None:
    """[A11] The manifest, and with it the list of releases and the plan of a rollback."""
    assert CANARY not in str(asked_for(source))


def test_an_encoded_argument_is_the_whole_text() -> None:
    """[A11] What is shown is masked, what is used is not."""
    encoded = base64.b64encode(REQUIREMENT.encode()).decode()
    assert uncovered(without_secrets(REQUIREMENT), encoded) == REQUIREMENT
    assert uncovered("blog==1.4.0", "") == "blog==1.4.0" and CANARY not in encoded


def test_what_an_installer_says_when_it_fails(deploy: Make, host: Host, root: Path) -> None:  # noqa: F811
    """[A11] pip and git print the address; the failure goes to the operator and into the manifest."""
    host.fails["uv pip install --python .venv/bin/python --requirement"] = (
        f"error: Failed to fetch {REQUIREMENT.partition('@')[2].strip()}?private_token={CANARY}"
    )
    with pytest.raises(StepError) as failure:
        deploy(identity="x", commit="", tree=None, requirement=REQUIREMENT, asked={"requirement": REQUIREMENT}).do("prepare")
    assert "Failed to fetch git+https://***@git.example.com" in failure.value.evidence
    kept = Store(root / "srv").load(NEW) or next(iter(Store(root / "srv").all()))
    assert kept.failure and CANARY not in failure.value.evidence + json.dumps(kept.failure) + json.dumps(kept.asked)


def test_what_a_run_prints(tool: Tool, tmp_path: Path) -> None:
    """[A11] The contract, and what it notes of a repository that does not answer, at the most talkative."""
    source = {"type": "git", "repo": f"https://{CANARY}@127.0.0.1:1/blog.git", "version": "v1", "deploy_key": CANARY}
    where = {"ansible_host": "203.0.113.10", "ansible_connection": "local", "app_machine": "m"}
    Inventory(tmp_path, {"blog": {"app_source": source}}, {"app_secrets": {"SECRET_KEY": SECRET}}, blog=where)
    (tmp_path / "contract.yml").write_text((ROOT / "playbooks/contract.yml").read_text())
    (tmp_path / "play.yml").write_text("- import_playbook: contract.yml\n  vars: {deploys: true}\n")
    said = tool("ansible-playbook", "-vvv", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    assert said.returncode == 0 and "https://***@127.0.0.1:1/blog.git" in said.stdout + said.stderr, said.stdout + said.stderr
    assert CANARY not in said.stdout + said.stderr
