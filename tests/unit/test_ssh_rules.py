"""Who logs in and how: what the controller refuses, before a run depends on it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.ssh_keys import wrong

from .inventory import Inventory, RefusedError
from .test_contract import check, only


def key(kind: str, *parts: bytes, comment: str = " ada@laptop") -> str:
    """A line of authorized_keys, made of the strings that the format wants."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), *parts))
    return f"{kind} {base64.b64encode(blob).decode()}{comment}"


ED25519 = key("ssh-ed25519", b"\x01" * 32)
RSA_2048 = key("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 256)
ADA: dict[str, Any] = {"name": "ada", "keys": [ED25519]}


@pytest.mark.parametrize(
    "line",
    [
        *(ED25519, RSA_2048, key("ecdsa-sha2-nistp256", b"nistp256", b"\x04" * 65), key("ssh-ed25519", b"\x01" * 32, comment="")),
        f'from="192.0.2.0/24",no-agent-forwarding {ED25519}',
        key("sk-ssh-ed25519@openssh.com", b"\x01" * 32, b"ssh:"),
        f"  {ED25519}\n",
    ],
)
def test_keys_are_taken(line: str) -> None:
    """[F8] Of a laptop, a token, a provider; with options before it."""
    assert wrong(line) == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----", "private key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "private key"),
        *(("", "names no type"), ("ada@laptop", "names no type"), (ED25519.split()[1], "names no type")),
        *((ED25519[:40], "cut off"), (ED25519.replace("AAAA", "AAA", 1), "cut off"), (f"ssh-ed25519 {'A' * 40}é", "cut off")),
        (key("ssh-ed25519", b"\x01" * 31), "cut off"),
        ("ssh-rsa " + ED25519.split()[1], "another type"),
        (key("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 128), "less than 2048"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "DSA"),
        (f"{ED25519}\n{ED25519}", "several lines"),
    ],
)
def test_what_is_no_key_is_said(line: str, why: str) -> None:
    """[F8] In words that name what went wrong."""
    assert why in wrong(line)


def test_good_admins_are_taken() -> None:
    """[K10] One line each; a hash of a password where sudo asks for one."""
    hashed = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
    assert check(ssh_admins=[ADA, {"name": "bob-2", "keys": [RSA_2048, ED25519], "sudo": "password", "password_hash": hashed}]) == []
    assert check(ssh_admins=[], ssh_port=2222) == []


@pytest.mark.parametrize(
    ("admin", "what", "fix"),
    [
        ({"name": "ada", "keys": []}, "ada has no key", "ssh-ed25519"),
        ({"name": "ada"}, "ada has no key", "ssh-ed25519"),
        ({"name": "ada", "keys": ["ssh-ed25519 AAAA"]}, "ada: key 1 is cut off", "id_*.pub"),
        ({"name": "blog", "keys": [ED25519]}, "the app's own user", "blog-admin"),
        ({"name": "root", "keys": [ED25519]}, "names root", "login of their own"),
        ({"name": "www-data", "keys": [ED25519]}, "belongs to a service", "another name"),
        ({"name": "Ada", "keys": [ED25519]}, "will not do as a login", "a-z"),
        ({"name": "a.b", "keys": [ED25519]}, "will not do as a login", "a-z"),
        ({**ADA, "key": ED25519}, "'key' means nothing", "keys"),
        ({**ADA, "sudo": "yes"}, "sudo is 'yes'", "nopasswd"),
        ({**ADA, "sudo": "password"}, "there is none", "mkpasswd"),
        ({**ADA, "password_hash": "hunter2"}, "is no hash", "mkpasswd"),
        ("ada", "text without a name", "name: ada"),
    ],
)
def test_an_admin_who_could_not_come_in_is_refused(admin: Any, what: str, fix: str) -> None:
    """[K10] [F8] Before anything changes: the next run may depend on that login."""
    only(check(ssh_admins=[admin]), "ssh_admins", what, fix)


def test_a_secret_is_never_repeated() -> None:
    """[F8] Neither a private key nor a password that stands where its hash belongs."""
    found = check(ssh_admins=[{**ADA, "keys": ["-----BEGIN RSA PRIVATE KEY-----\nMIIcanary"], "password_hash": "canary"}])
    assert len(found) == 2 and "canary" not in str(found)


def test_two_entries_of_one_person_are_refused() -> None:
    """[K10] The second would replace the keys of the first."""
    only(check(ssh_admins=[ADA, ADA]), "ssh_admins", "names ada twice", "one entry")


@pytest.mark.parametrize(
    ("said", "variable", "what"),
    [
        *(
            ({"ssh_port": 443}, "ssh_port", "nginx's"),
            ({"ssh_port": 5432}, "ssh_port", "PostgreSQL's"),
            ({"ssh_port": 70000}, "ssh_port", "no port"),
        ),
        (
            {"ssh_port": 9100, "firewall_rules_custom": [{"port": "9100", "proto": "tcp", "comment": "node exporter"}]},
            "ssh_port",
            "opens 9100 for 'node exporter'",
        ),
        ({"ssh_host_keys": ["dsa"]}, "ssh_host_keys", "not a list"),
        ({"ssh_host_keys": []}, "ssh_host_keys", "not a list"),
        ({"ssh_host_key_rsa_bits": 1024}, "ssh_host_key_rsa_bits", "no size"),
        ({"ssh_max_auth_tries": 0}, "ssh_max_auth_tries", "nobody would come in"),
        ({"ssh_login_grace_seconds": 1}, "ssh_login_grace_seconds", "nobody would come in"),
        ({"ssh_max_startups": "0"}, "ssh_max_startups", "start:percent:full"),
        ({"ssh_forwarding": "some"}, "ssh_forwarding", "is 'some'"),
    ],
)
def test_settings_that_shut_everybody_out_are_refused(said: dict[str, Any], variable: str, what: str) -> None:
    """[K10] [F8] A port that another program has, and numbers with which nobody comes in."""
    found = check(**said)
    assert [problem.variable for problem in found] == [variable] and what in found[0].what, found


def test_an_admin_is_no_other_app_of_the_machine(tmp_path: Path) -> None:
    """[F2] [K10] Said by the one, it would take the other's user."""
    inventory = Inventory(tmp_path, {"blog": {"ssh_admins": [{"name": "shop", "keys": [ED25519]}]}, "shop": {}})
    with pytest.raises(RefusedError, match="ssh_admins names shop, who is the user of shop"):
        inventory.app("blog")
    inventory = Inventory(tmp_path / "good", {"blog": {"ssh_admins": [ADA]}, "shop": {}})
    assert inventory.app("shop")["machine"]["entries"] == ["blog", "shop"]
