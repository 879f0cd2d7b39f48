"""Drift through ansible-playbook: what is adopted stays, and only the layers that differ are done."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import place_of, read

from .conftest import ROOT, Tool

LAYERS = ("base", "edge", "data", "serve", "keep")
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: &vars
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    app: {name: blog}
    app_secret: {inputs: {the model: "{{ given | default('1') | hash('sha256') }}"}}
    layers_only: "{{ ['edge'] if only is defined else ['edge', 'keep'] }}"
  module_defaults: &defaults
    slipway.vps.seal: {folder: "FOLDER/seals"}
    slipway.vps.drift: {folder: "FOLDER/seals", app: blog, inputs: {the model: "{{ given | default('1') | hash('sha256') }}"}}
  tasks:
    - name: Look
      slipway.vps.drift:
        state: "{{ state | default('shown') }}"
      register: found
      ignore_errors: true
    - name: Say
      ansible.builtin.debug:
        msg: "{{ [['here', found]] | slipway.vps.drift_text((state is defined) | ternary('adopt', 'show')) }}"
      when: found.rows is defined

- hosts: localhost
  connection: local
  gather_facts: false
  vars: *vars
  module_defaults: *defaults
  pre_tasks:
    - import_tasks: ROOT/playbooks/tasks/begin.yml
      vars: {__layer: edge}
  tasks:
    - name: Do edge
      ansible.builtin.copy: {content: "public", dest: "FOLDER/site.conf", mode: "0644"}
    - name: Do a secret of edge
      ansible.builtin.copy: {content: "hunter2", dest: "FOLDER/secret.conf", mode: "0644"}
      no_log: true
  post_tasks:
    - import_tasks: ROOT/playbooks/tasks/end.yml
      vars: {__layer: edge}

- hosts: localhost
  connection: local
  gather_facts: false
  vars: *vars
  module_defaults: *defaults
  pre_tasks:
    - import_tasks: ROOT/playbooks/tasks/begin.yml
      vars: {__layer: keep}
  tasks:
    - name: Do keep
      ansible.builtin.copy: {content: "keep", dest: "FOLDER/keep.conf", mode: "0644"}
  post_tasks:
    - import_tasks: ROOT/playbooks/tasks/end.yml
      vars: {__layer: keep}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may look into: a test's own is for root alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_only_the_layers_that_differ_are_done(tool: Tool, folder: Path) -> None:
    """[F3 K8] Adopted, it stays until its layer is given something else, which is said before; of a task that hides, no text is kept."""
    (folder / "play.yml").write_text(PLAY.replace("FOLDER", str(folder)).replace("ROOT", str(ROOT)))

    def run(*words: str) -> tuple[list[str], str]:
        ran = tool("ansible-playbook", "-i", "localhost,", str(folder / "play.yml"), *(word for one in words for word in ("-e", one)))
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "hunter" not in ran.stdout + ran.stderr
        return [layer for layer in ("edge", "keep") if f"TASK [Do {layer}]" in ran.stdout], " ".join(ran.stdout.split())

    assert run()[0] == ["edge", "keep"]
    kept = read("edge", "blog", folder / "seals")
    assert kept and [task.hidden for task in kept.tasks][-2:] == [False, True]
    assert list(kept.texts.values()) == ["public"] and "hunter2" not in place_of("edge", "blog", folder / "seals").read_text()
    for name in ("site.conf", "secret.conf", "keep.conf"):
        (folder / name).write_text("by hand")
    done, said = run("only=true")
    assert done == ["edge"] and f"{folder}/site.conf: content differs" in said and "+by hand" in said
    assert (folder / "site.conf").read_text() == "public" and (folder / "keep.conf").read_text() == "by hand"
    done, said = run("state=adopted")
    assert done == [] and f"here: adopted: file {folder}/keep.conf: content differs" in said and "put back all the same" in said
    done, said = run("given=2")
    assert done == ["edge", "keep"] and f"file {folder}/keep.conf: content differs, as adopted on 20" in said
    assert (folder / "keep.conf").read_text() == "keep"
    assert "adopted" not in run("given=2")[1]


def test_drift_runs_the_layers_of_a_site_and_no_release() -> None:
    """[F3] In the same order, each told which layers it is about; nothing of the source is asked."""
    plays = yaml.safe_load((ROOT / "playbooks/drift.yml").read_text())
    site = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())

    def layers(found: list[dict[str, object]]) -> list[str]:
        names = [re.sub(r"\.yml$", "", str(play.get("ansible.builtin.import_playbook", ""))) for play in found]
        return [name for name in names if name in LAYERS]

    assert layers(plays) == layers(site) == ["base", "edge", "data", "serve", "keep"]
    told = {play["ansible.builtin.import_playbook"]: play["vars"] for play in plays if "vars" in play and "hosts" not in play}
    assert all("__drift.differing" in told[f"{layer}.yml"]["layers_only"] for layer in LAYERS)
    assert told["serve.yml"]["deploys"] is False
