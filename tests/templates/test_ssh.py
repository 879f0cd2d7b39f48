"""sshd's drop-in and the admins' rights: what ssh-audit's policies ask, what this sshd knows, and what was decided."""

from __future__ import annotations

import re
from typing import Any

import pytest
from render import render, value

#: `ssh -Q` of Debian 12 (OpenSSH 9.2) and 13 (10.0).
KEX_12 = [
    *("diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512"),
    *("diffie-hellman-group18-sha512", "diffie-hellman-group-exchange-sha1", "diffie-hellman-group-exchange-sha256", "ecdh-sha2-nistp256"),
    *("curve25519-sha256", "curve25519-sha256@libssh.org", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"),
]
CIPHERS = [
    *("3des-cbc", "aes128-cbc", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
    "chacha20-poly1305@openssh.com",
]
MACS = [
    "hmac-sha1",
    "hmac-md5",
    "umac-64@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "umac-128-etm@openssh.com",
]
SIGNATURES = [
    *("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "ssh-rsa", "rsa-sha2-256"),
    *("rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-512", "rsa-sha2-512-cert-v01@openssh.com"),
]
#: ssh-audit 3.9.0, builtin_policies.py: without what sshd adds by itself (kex-strict-s-v00@openssh.com, ext-info-s).
POLICIES: dict[str, dict[str, Any]] = {
    "12": {
        "KexAlgorithms": [
            *("sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org"),
            *("diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group-exchange-sha256"),
        ],
        "MACs": ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "umac-128-etm@openssh.com"],
    },
    "13": {
        "KexAlgorithms": ["mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"],
        "MACs": ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"],
    },
}
CIPHER_POLICY = [
    *("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-gcm@openssh.com", "aes128-ctr"),
]
DROP_IN = "etc/ssh/sshd_config.d/10-slipway.conf.j2"


def plan(release: str = "13", **changes: Any) -> dict[str, Any]:
    """What sshd_plan returns on a host of this release."""
    kex = [*KEX_12, "mlkem768x25519-sha256"] if release == "13" else KEX_12
    return {
        "supports": {"kex": kex, "cipher": CIPHERS, "mac": MACS, "key-sig": SIGNATURES},
        "unknown": [] if release == "13" else ["persourcepenaltyexemptlist"],
        **{"ports": [], "root": "", "no_passwords": False, "exempt": ["192.0.2.7"], "socket": False, "user": "root", "notes": []},
        **changes,
    }


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            keyword, _, said = line.partition(" ")
            found.setdefault(keyword, []).append(said)
    return found


def drop_in(release: str = "13", said: dict[str, Any] | None = None, **changes: Any) -> dict[str, list[str]]:
    return settings(render("ssh", DROP_IN, __ssh_plan=plan(release, **changes), **(said or {})))


@pytest.mark.parametrize("release", ["12", "13"])
def test_the_policies_of_ssh_audit(release: str) -> None:
    """[K5] Hardened Debian 12 (version 3) and 13 (version 1), each in its order, for the sshd that can."""
    found = drop_in(release)
    assert {name: found[name][0].split(",") for name in POLICIES[release]} == POLICIES[release]
    assert found["Ciphers"][0].split(",") == CIPHER_POLICY
    # Without those with a certificate or a token, which the policies take or leave.
    signatures = [name for name in found["HostKeyAlgorithms"][0].split(",") if not re.search(r"cert|^sk-", name)]
    assert signatures == ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]
    assert found["HostKey"] == ["/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key"]
    # Group exchange alone reads groups from a file.
    assert found.get("ModuliFile") == (["/etc/ssh/moduli.slipway"] if release == "12" else None)


def test_older_clients_by_choice() -> None:
    """[F8] curve25519 behind what is post-quantum; where it is there already nothing is added."""
    assert drop_in(said={"ssh_algorithms": "compatible"})["KexAlgorithms"][0].split(",")[3:] == [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
    ]
    assert drop_in("12", said={"ssh_algorithms": "compatible"})["KexAlgorithms"] == drop_in("12")["KexAlgorithms"]


def test_only_what_this_sshd_knows() -> None:
    """[F3] An algorithm or a keyword that it lacks would stop it."""
    few = {"kex": ["curve25519-sha256"], "cipher": ["aes256-ctr"], "mac": ["umac-128-etm@openssh.com"], "key-sig": ["ssh-ed25519"]}
    unknown = ["debianbanner", "kbdinteractiveauthentication", "modulifile", "persourcepenaltyexemptlist", "requiredrsasize"]
    found = drop_in(supports=few, unknown=unknown, no_passwords=True)
    assert (found["KexAlgorithms"], found["Ciphers"], found["MACs"]) == (
        ["curve25519-sha256"],
        ["aes256-ctr"],
        ["umac-128-etm@openssh.com"],
    )
    assert found["HostKeyAlgorithms"] == ["ssh-ed25519"] and found["PasswordAuthentication"] == ["no"]
    assert not {keyword.lower() for keyword in found} & set(unknown)
    assert {"DebianBanner", "RequiredRSASize", "PerSourcePenaltyExemptList"} <= set(drop_in())


def test_logins_as_decided() -> None:
    """[K5] What was not proven is not in it."""
    found = drop_in()
    assert not {"Port", "PermitRootLogin", "PasswordAuthentication", "KbdInteractiveAuthentication", "AllowUsers"} & set(found)
    found = drop_in(ports=[22, 2222], root="no", no_passwords=True, exempt=["192.0.2.0/24", "2001:db8::7"])
    assert (found["Port"], found["PermitRootLogin"]) == (["22", "2222"], ["no"])
    assert found["PasswordAuthentication"] == found["KbdInteractiveAuthentication"] == ["no"]
    assert found["PerSourcePenaltyExemptList"] == ["192.0.2.0/24,2001:db8::7"]
    assert "PerSourcePenaltyExemptList" not in drop_in(exempt=[])


@pytest.mark.parametrize(("choice", "means"), [("none", "no"), ("local", "local"), ("all", "yes")])
def test_forwarding(choice: str, means: str) -> None:
    """[K5] A tunnel to the database by default; agents and windows never."""
    found = drop_in(said={"ssh_forwarding": choice})
    assert found["AllowTcpForwarding"] == found["AllowStreamLocalForwarding"] == [means]
    assert found["AllowAgentForwarding"] == found["X11Forwarding"] == found["PermitTunnel"] == ["no"]


def test_no_keyword_stands_twice() -> None:
    """Of each sshd takes the first."""
    found = drop_in("12", ports=[22], root="no", no_passwords=True)
    assert [keyword for keyword, said in found.items() if len(said) > 1] == ["HostKey"]


@pytest.mark.parametrize(
    ("admin", "line"),
    [
        ({"name": "ada"}, "ada ALL=(ALL:ALL) NOPASSWD: ALL"),
        ({"name": "ada", "sudo": "nopasswd"}, "ada ALL=(ALL:ALL) NOPASSWD: ALL"),
        ({"name": "ada", "sudo": "password"}, "ada ALL=(ALL:ALL) ALL"),
    ],
)
def test_an_admin_becomes_root(admin: dict[str, str], line: str) -> None:
    """[K5] With or without a password."""
    text = render("ssh", "etc/sudoers.d/slipway-admin.j2", item=admin)
    assert "# slipway:ssh" in text and text.splitlines()[-1] == line


def test_how_sshd_reads_it() -> None:
    """[K5] Where systemd listens for it, that as well: its ports are generated from the configuration."""
    assert value("ssh", "__ssh_reload", __ssh_plan=plan()) == "systemctl try-reload-or-restart ssh.service"
    socket = value("ssh", "__ssh_reload", __ssh_plan=plan(socket=True))
    assert socket == "systemctl daemon-reload && systemctl try-restart ssh.socket && systemctl try-reload-or-restart ssh.service"


def test_who_is_parted_with() -> None:
    """[K5] Those with a right of this role who are listed no more; never the one who carries the run."""
    said: dict[str, Any] = {
        "ssh_admins": [{"name": "ada", "keys": []}],
        "__ssh_rights": {"files": [{"path": f"/etc/sudoers.d/slipway-{name}"} for name in ("ada", "bob", "slipway-x", "eve")]},
    }
    assert value("ssh", "__ssh_unlisted", **said, __ssh_plan=plan()) == ["bob", "slipway-x", "eve"]
    assert value("ssh", "__ssh_former", **said, __ssh_plan=plan(user="bob")) == ["slipway-x", "eve"]
    assert value("ssh", "__ssh_former", **said, __ssh_plan={"installed": False}) == ["bob", "slipway-x", "eve"]


def test_what_is_said() -> None:
    """[F8] Of a change, of a key, of a run that died; nothing where nothing is to be known."""
    seen = {"paths": ["/etc/ssh/ssh_host_rsa_key"]}
    assert value("ssh", "__ssh_news", __ssh_plan=plan(), __ssh_seen={"paths": []}, __ssh_proof={"skipped": True}) == []
    news = value("ssh", "__ssh_news", __ssh_plan=plan(notes=["x"]), __ssh_seen=seen, __ssh_proof={"proof": "a new SSH connection"})
    assert news[0] == "x" and "ssh_host_rsa_key. It was proven with a new SSH connection." in news[1] and "RSA host key is new" in news[2]
    news = value("ssh", "__ssh_news", __ssh_plan=plan(), __ssh_seen={"paths": []}, __ssh_proof={"proof": "a new SSH connection"})
    assert news == ["What a run that died had changed is kept. It was proven with a new SSH connection."]
