"""The module `firewall`, as a task calls it: ufw and iptables are programs that say what they said on a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.vps.plugins.modules import firewall as module

Run = Callable[..., dict[str, Any]]
HTTPS = {"port": "443", "proto": "tcp", "comment": "HTTPS"}
STANDS = "-P INPUT DROP\n-N ufw-user-input\n-A INPUT -j ufw-before-input\n-A ufw-before-input -j ufw-user-input\n"
THROWN_OUT = "-P INPUT DROP\n-N ufw-before-input\n-N ufw-user-input\n"


class Host:
    """A host without IPv6, its files below ``root``; what its programs were asked, and what they say."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, list[str]()
        self.says = {"iptables -S": STANDS}
        (root / "ufw").mkdir()
        (root / "default").write_text('IPV6=no\nDEFAULT_INPUT_POLICY="DROP"\nDEFAULT_OUTPUT_POLICY="ACCEPT"\n')
        (root / "ufw/ufw.conf").write_text("ENABLED=yes\nLOGLEVEL=low\n")
        (root / "ufw/after.rules").write_text("*filter\nCOMMIT\n")
        self.rules("allow tcp 22 SSH", "allow tcp 443 HTTPS")

    def rules(self, *rules: str, mark: str = " [slipway]") -> None:
        lines = [
            f"### tuple ### {' '.join(words[:3])} 0.0.0.0/0 any 0.0.0.0/0 in comment={f'{words[3]}{mark}'.encode().hex()}\n"
            for words in map(str.split, rules)
        ]
        (self.root / "ufw/user.rules").write_text("".join(lines))

    def command(self, words: list[str], **_: Any) -> tuple[int, str, str]:
        line = " ".join(words)
        self.asked.append(line)
        return (0, self.says[line], "") if line in self.says else (1, "", "no") if words[0] != "ufw" else (0, "", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(module, "DEFAULTS", tmp_path / "default")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "ufw")
    monkeypatch.setattr(AnsibleModule, "run_command", lambda self, words, **how: host.command(words, **how))
    monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda self, name: f"/usr/sbin/{name}")
    return host


@pytest.fixture
def run(host: Host, capsys: pytest.CaptureFixture[str]) -> Run:
    def play(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        host.asked.clear()
        arguments = {"ssh_ports": [22], "client": "203.0.113.5", "rules": [HTTPS], "_ansible_check_mode": check_mode, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return play


def changes(host: Host) -> list[str]:
    return [line for line in host.asked if line.startswith("ufw ") or "-restore" in line or " -F " in line]


def test_nothing_to_do(run: Run, host: Host) -> None:
    """[K5] No command of ufw, and no change."""
    answer = run()
    assert (answer["changed"], answer["commands"], answer["diff"], answer["by_hand"], answer["published"]) == (False, [], [], [], [])
    assert changes(host) == []


def test_rules_differ(run: Run, host: Host) -> None:
    """[K5] Check mode says what would be done, with the rules before and after, and does nothing."""
    host.rules("limit tcp 22 SSH", "allow tcp 8080 mine", mark="")
    would = run(check_mode=True)
    assert would["changed"] and changes(host) == []
    assert "limit proto tcp from any to any port 22 comment 'SSH'" in would["diff"][0]["before"]
    assert "allow proto tcp from any to any port 443 comment 'HTTPS [slipway]'" in would["diff"][0]["after"]
    answer = run()
    assert (
        answer["commands"]
        == would["commands"]
        == [
            "ufw allow proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 22 comment SSH [slipway]",
            "ufw allow proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 443 comment HTTPS [slipway]",
        ]
    )
    assert changes(host) == answer["commands"] and answer["by_hand"] == ["ufw allow proto tcp from any to any port 8080 comment 'mine'"]


def test_a_limit_on_ssh_by_hand_is_explained(run: Run, host: Host) -> None:
    """[K5] It stands before what we allow, and shuts out who tries again."""
    path = host.root / "ufw/user.rules"
    path.write_text(path.read_text() + "### tuple ### limit any any 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in\n")
    (said,) = run()["by_hand"]
    assert "app OpenSSH" in said and "shuts out who tries again" in said


def test_a_bare_host(run: Run, host: Host) -> None:
    """[K5] Rules first, then the policies, then the switch, then the log."""
    host.rules()
    host.says = {"iptables -S": "-P INPUT ACCEPT\n"}
    (host.root / "ufw/ufw.conf").write_text("ENABLED=no\nLOGLEVEL=full\n")
    (host.root / "default").write_text('IPV6=yes\nDEFAULT_INPUT_POLICY="ACCEPT"\n')
    assert run()["commands"] == [
        f"write {host.root}/default",
        "ufw allow proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 22 comment SSH [slipway]",
        "ufw allow proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 443 comment HTTPS [slipway]",
        *("ufw default deny incoming", "ufw default allow outgoing", "ufw --force enable", "ufw logging low"),
    ]
    # The kernel has no IPv6: with it ufw would not start.
    assert (host.root / "default").read_text().startswith("IPV6=no\n")


def test_rules_that_another_program_threw_out_are_loaded_again(run: Run, host: Host) -> None:
    """[K5] [F3] `iptables -F`, or a restore of saved rules: the files say one thing and the kernel does another."""
    host.says = {"iptables -S": THROWN_OUT, "iptables-restore --noflush": ""}
    assert run()["commands"] == ["ufw reload"]
    assert changes(host) == ["iptables-restore --noflush", "ufw reload"]


def test_a_rule_that_closes_ssh_changes_nothing(run: Run, host: Host) -> None:
    """[K5] [F8] Not even the rules beside it."""
    answer = run(rules=[{**HTTPS, "port": "8443"}, {**HTTPS, "port": "1:1000", "rule": "deny"}])
    assert answer["failed"] and "Nothing was changed" in answer["msg"] and changes(host) == []


def test_who_is_connected_is_known_as_sshd_names_them(run: Run, host: Host) -> None:
    """[K5] An address of IPv4 as one of IPv6."""
    answer = run(client="::ffff:203.0.113.5", rules=[{**HTTPS, "port": "22", "rule": "deny", "from": "203.0.113.0/24"}])
    assert answer["failed"] and "to 203.0.113.5, and that is you" in answer["msg"]


def test_ufw_fails(run: Run, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F8] Its words, and what was done before."""
    host.rules()
    monkeypatch.setattr(host, "command", lambda words, **_: (1, "", "ERROR: locked" if words[0] == "ufw" else ""))
    assert "port 22 comment SSH [slipway]` failed:\nERROR: locked\nDone before: nothing" in run()["msg"]


def test_published_ports_are_closed_and_opened(run: Run, host: Host) -> None:
    """[K5] In ufw's file, loaded by ufw; taken back, they leave the kernel, too."""
    host.says["iptables-restore --test --noflush"] = ""
    assert run(published="close")["commands"] == [f"write {host.root}/ufw/after.rules", "ufw reload"]
    text = (host.root / "ufw/after.rules").read_text()
    dump = "".join(line + "\n" for line in text.splitlines() if line.startswith("-A DOCKER-USER "))
    host.says["iptables -S DOCKER-USER"] = dump
    assert run(published="close")["commands"] == []
    host.says["iptables -S DOCKER-USER"] = "-A DOCKER-USER -j RETURN\n"
    assert run(published="close")["commands"] == ["ufw reload"], "somebody emptied the chain"
    host.says |= {"iptables -S DOCKER-USER": dump, "iptables -F DOCKER-USER": ""}
    assert run()["commands"] == [f"write {host.root}/ufw/after.rules", "iptables -F DOCKER-USER"]
    assert (host.root / "ufw/after.rules").read_text() == "*filter\nCOMMIT\n"


@pytest.mark.parametrize("others", [True, False])
def test_published_ports_that_cannot_be_closed(run: Run, host: Host, others: bool) -> None:
    """[K5] [F8] Rules by another hand would be lost; a kernel that cannot load ours would not start the firewall at the next boot."""
    if others:
        host.says |= {"iptables -S DOCKER-USER": "-A DOCKER-USER -s 1.2.3.4/32 -j DROP\n", "iptables-restore --test --noflush": ""}
    host.rules()
    answer = run(published="close")
    assert answer["failed"] and answer["msg"].startswith("Nothing was changed: ") and "firewall_docker_published: warn" in answer["msg"]
    assert not [line for line in changes(host) if line.startswith("ufw")]


def test_a_published_port_is_named(run: Run, host: Host) -> None:
    """[K5] With its container, where Docker says it."""
    host.says["iptables -t nat -S"] = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n"
    host.says["docker ps --format {{.Names}} {{.Ports}}"] = "web 0.0.0.0:8080->80/tcp\n"
    answer = run()
    assert not answer["changed"] and answer["published"][0].startswith("tcp 8080 of the container web (Docker) can be reached")
