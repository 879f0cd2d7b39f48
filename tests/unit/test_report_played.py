"""The report through ansible-playbook: written at the end of any run that asks for it, and of no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT
from .test_contract import SECRET
from .test_report import Reader

PLAYBOOK = """\
- name: Resolve the machine and the app
  ansible.builtin.import_playbook: {root}/playbooks/contract.yml
- name: Look
  hosts: app_servers
  gather_facts: false
  tasks:
    - name: Change a file
      ansible.builtin.copy: {{content: "{secret}", dest: "{folder}/changed", mode: "0600"}}
    - name: Say a password in a failure that is no end
      ansible.builtin.command: echo {secret} postgresql://blog:hunter2hunter2@localhost/blog
      changed_when: false
    - ansible.builtin.import_tasks: {root}/playbooks/tasks/report.yml
      when: report is defined
    - name: Fail
      ansible.builtin.fail:
        msg: |-
          nginx: it said {secret} and {canary}.
            fix: nginx -t; look at {secret}
          Then: ansible-playbook again
      when: fails | default(false) | bool
"""
CANARY = "canary-from-the-vault-7d1f"
GROUP = f"""\
app_name: blog
app_domains: [blog.example.com]
app_wsgi: blog:create_app()
app_source:
  type: git
  repo: git@git.example.com:blog.git
  version: v1.4.0
  deploy_key: |
    -----BEGIN OPENSSH PRIVATE KEY-----
    b3BlbnNzaC1rZXktdjEcanaryAAAABG5vbmUAAAAE
    -----END OPENSSH PRIVATE KEY-----
app_env: {{GREETING: canary-of-the-environment}}
app_secrets: {{SECRET_KEY: {SECRET}, MAIL_PASSWORD: "{{{{ vault_mail_password }}}}"}}
vault_mail_password: {CANARY}
acme_email: ops@example.com
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    here = "{ansible_connection: local, ansible_become: false, ansible_python_interpreter: '{{ ansible_playbook_python }}'}"
    (tmp_path / "hosts.yml").write_text(f"app_servers: {{hosts: {{web: {here}}}}}\n")
    (tmp_path / "group_vars/app_servers.yml").write_text(GROUP)
    (tmp_path / "play.yml").write_text(PLAYBOOK.format(root=ROOT, folder=tmp_path, secret=SECRET, canary=CANARY))
    return tmp_path


def play(folder: Path, *words: str, callbacks: str = "slipway.vps.report") -> tuple[int, str]:
    """Run it in ``folder``; the exit status, and what was said, on one line."""
    settings = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        **{"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"},
        **{
            "ANSIBLE_HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "ANSIBLE_CALLBACKS_ENABLED": callbacks,
            "LC_ALL": "C.UTF-8",
        },
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml", *words]
    done = subprocess.run(command, cwd=folder, env=settings, text=True, capture_output=True, timeout=300, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_run_that_asks_for_it_has_its_page(folder: Path) -> None:
    """[K8] [A11] Where it was started; with what was seen and what changed, and without a secret."""
    status, said = play(folder, "-e", "report=report.html")
    assert status == 0, said
    target = folder / "report.html"
    assert f"Report: {target}" in said and target.stat().st_mode & 0o777 == 0o600
    text = target.read_text()
    found = Reader(text)
    assert not found.faults and "play · 1 host" in found.text and "Change a file" in found.text and "Resource use" in found.text
    assert "blog.example.com" in found.text and f"changed {folder}/changed" not in found.text
    for secret in (SECRET, "canary", "hunter2hunter2"):
        assert secret not in text, secret


def test_a_run_that_fails_has_its_page_too(folder: Path) -> None:
    """[K8] [A11] With the failure, its fix and the next command; secrets in its message are taken out."""
    status, said = play(folder, "-e", "report=pages/report.html", "-e", "fails=true")
    assert status == 2, said
    text = (folder / "pages/report.html").read_text()
    found = Reader(text)
    for words in ("blog: nginx: it said *** and ***.", "Fix nginx -t; look at ***", "Then: ansible-playbook again"):
        assert words in found.text, words
    assert SECRET not in text and "canary" not in text


def test_no_other_run_has_one(folder: Path) -> None:
    """[K8] Without `report` nothing is looked at; one that nothing will write is said; one that cannot be written fails no run."""
    status, said = play(folder)
    assert status == 0 and "Look at the app and its machine" not in said and not [*folder.glob("**/*.html")], said
    status, said = play(folder, "-e", "report=report.html", callbacks="slipway.vps.seal")
    assert (
        status == 0
        and "the report is not written: add slipway.vps.report to callbacks_enabled" in said
        and not (folder / "report.html").exists()
    )
    status, said = play(folder, "-e", "report=hosts.yml/report.html")
    assert status == 0 and "The report was not written" in said


def test_bad_input_has_a_page(folder: Path) -> None:
    """[K10] The contract refuses it before anything is looked at: the page says why."""
    (folder / "group_vars/app_servers.yml").write_text(GROUP.replace("acme_email: ops@example.com", ""))
    status, said = play(folder, "-e", "report=report.html")
    found = Reader((folder / "report.html").read_text())
    assert status == 2 and "acme_email is required" in found.text and "ended before this host was looked at" in found.text, said
