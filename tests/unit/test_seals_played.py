"""Sealed layers in runs of their own: what is recorded, when a layer has nothing to do, and how often a host is asked."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import read

from .conftest import Tool

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    slipway.vps.seal:
      folder: "%(folder)s/seals"
      layer: edge
      app: blog
      inputs: {the model: "{{ given | default('1') | hash('sha256') }}"}
  tasks:
    - name: Ask
      slipway.vps.seal:
        full: "{{ full | default(false) | bool }}"
      register: sealed
    - name: Say
      ansible.builtin.debug: {var: sealed.differences}
    - name: Do nothing
      ansible.builtin.meta: end_host
      when: sealed.intact
    - name: Write a secret
      ansible.builtin.copy: {content: hunter2, dest: "%(folder)s/{{ item }}", mode: "0600"}
      loop: [one, two]
      no_log: true
    - name: Skip one
      ansible.builtin.copy: {content: x, dest: "%(folder)s/three", mode: "0600"}
      when: three | default(false) | bool
    - name: Elsewhere
      ansible.builtin.file: {path: "%(folder)s/elsewhere", state: touch, mode: "0600"}
      delegate_to: localhost
      changed_when: false
    - name: Leave something for the next run
      slipway.vps.seal:
        state: unfinished
      when: refused | default(false) | bool
    - name: Keep
      slipway.vps.seal:
        state: recorded
      register: kept
    - name: Say what stays
      ansible.builtin.debug: {var: kept.unmended}
      when: kept.unmended | default([]) | length > 0
"""


def test_a_layer_is_sealed_and_opened(tool: Tool, tmp_path: Path) -> None:
    """[F3] Recorded from tasks that hide their output, too; the next run has nothing to do until something differs, which it names."""
    (tmp_path / "play.yml").write_text(PLAY % {"folder": tmp_path})

    def run(*words: str) -> str:
        done = tool("ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml"), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "hunter2" not in done.stdout
        # Long lines are folded.
        return " ".join(done.stdout.split())

    def worked(said: str) -> bool:
        return "TASK [Write a secret]" in said

    # Not the whole layer: nothing is kept.
    assert worked(run("--check")) and worked(run("-e", "refused=true")) and not (tmp_path / "seals").exists()
    assert worked(run())
    kept = read("edge", "blog", tmp_path / "seals")
    assert kept and [(thing.kind, Path(thing.name).name) for thing, _ in kept.states] == [("file", "one"), ("file", "two")]
    assert "hunter2" not in kept.path(tmp_path / "seals").read_text()
    assert not worked(run()), "nothing has changed"
    assert worked(run("-e", "full=true"))
    (tmp_path / "two").write_text("by hand")
    said = run()
    assert worked(said) and f"file {tmp_path}/two: content differs" in said and (tmp_path / "two").read_text() == "hunter2"
    assert "the model changed" in run("-e", "given=2")
    # What this run does is kept when the next one skips it.
    assert worked(run("-e", "given=2", "-e", "three=true", "-e", "full=true")) and worked(run("-e", "given=2", "-e", "full=true"))
    (tmp_path / "three").unlink()
    line = f"file {tmp_path}/three is gone"
    assert run("-e", "given=2").count(line) == 2, "found, and not changed back"
    assert not worked(run("-e", "given=2")), "from now on it counts as it is"
    (tmp_path / "three").write_text("by hand")
    assert run("-e", "given=3").count(f"file {tmp_path}/three is there again") == 1, "given something else, it may be what is wanted"


TWO = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: &vars
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults: &defaults
    slipway.vps.seal:
      folder: "FOLDER/seals"
      app: blog
  tasks:
    - slipway.vps.seal: {layer: edge, others: [keep], inputs: {the model: "1"}}
      register: sealed
    - meta: end_host
      when: sealed.intact
    - name: Do edge
      ansible.builtin.copy: {content: edge, dest: "FOLDER/edge", mode: "0600"}
    - slipway.vps.seal: {layer: edge, inputs: {the model: "1"}, state: recorded}

- hosts: localhost
  connection: local
  gather_facts: false
  vars: *vars
  tasks:
    - ansible.builtin.copy: {content: "by hand", dest: "FOLDER/keep", mode: "0600"}
      when: hand | default(false) | bool

- hosts: localhost
  connection: local
  gather_facts: false
  vars: *vars
  module_defaults: *defaults
  tasks:
    - slipway.vps.seal: &keep {layer: keep, inputs: {the model: "{{ later | default('1') }}"}}
      register: sealed
    - meta: end_host
      when: sealed.intact
    - name: Do keep
      ansible.builtin.copy: {content: keep, dest: "FOLDER/keep", mode: "0600"}
    - slipway.vps.seal: {<<: *keep, state: recorded}
"""


def test_a_host_is_asked_once_for_all_layers(tool: Tool, tmp_path: Path) -> None:
    """[F3] While none of them has anything to do; once one had, the next is asked again."""
    (tmp_path / "play.yml").write_text(TWO.replace("FOLDER", str(tmp_path)))

    def done(*words: str) -> list[str]:
        ran = tool("ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml"), *words)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [layer for layer in ("edge", "keep") if f"TASK [Do {layer}]" in ran.stdout]

    assert done() == ["edge", "keep"] and done() == []
    assert done("-e", "hand=true") == [], "it was asked again"
    assert done() == ["keep"] and done() == []
    assert done("-e", "later=2") == ["keep"], "it is given something else than what was asked about"
    assert done() == ["keep"] and done() == []
    (tmp_path / "edge").write_text("by hand")
    assert done("-e", "hand=true") == ["edge", "keep"], "what it answered before another layer was done counted"
