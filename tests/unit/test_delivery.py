"""How an app comes by its secrets: in a file or as systemd's credentials, and from one to the other."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.environment import environment_file
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import delivery
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import CREDENTIALS, FILE, SCRIPT, Delivery, unit_text
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError

from .conftest import ROOT

#: What an operator may keep in the vault.
VALUES = {
    **{"PLAIN": "abc", "EMPTY": "", "SPACES": " a  b ", "QUOTES": '"it\'s"', "DOLLAR": "$HOME ${X} $(id) $$", "TICKS": "`id`"},
    **{"BACKSLASH": "a\\b \\n \\\\", "LINES": "-----BEGIN KEY-----\nab\n\ncd=\n-----END KEY-----\n", "RETURN": "a\r\nb", "TAB": "a\tb"},
    **{"HASH": "#no comment", "BANG": "a!b!", "UNICODE": "grün ☂", "PERCENT": "50%", "SEMICOLON": "a;b&c|d>e<f*?[x]~"},
}
#: `systemd-creds` of the tests: what it encrypts begins with a mark and its name.
PROGRAM = """#!/bin/sh
verb=$1; shift
for word; do case $word in --name=*) name=${word#--name=};; --with-key=*) key=${word#--with-key=};; -) ;; *) path=$word;; esac; done
case $verb in
encrypt) printf 'sealed by %s for %s:' "$key" "$name"; od -An -v -tx1 | tr -d ' \\n';;
decrypt) text=$(cat "$path"); case $text in "sealed by host for $name:"*) ;; *) echo "not mine" >&2; exit 1;; esac
    python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))' "${text#*:}";;
esac
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemd that encrypts."""
    path = tmp_path / "systemd-creds"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    monkeypatch.setattr(delivery, "PROGRAM", path)
    return path


@pytest.fixture(autouse=True)
def handed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A systemd that hands credentials over, and what it was asked."""
    asked: list[list[str]] = []

    def attempt(words: list[str]) -> tuple[int, str]:
        asked.append(words)
        return 0, ""

    monkeypatch.setattr(delivery, "attempt", attempt)
    return asked


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Where they are."""
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc/secrets"


def test_a_shell_reads_what_systemd_would(tmp_path: Path) -> None:
    """[A11] Every value arrives as it is: no name is looked up, no command run."""
    (tmp_path / "secrets").write_bytes(environment_file(VALUES).encode())
    words = ["/bin/sh", "-c", SCRIPT, "sh", "env", "--null"]
    result = subprocess.run(
        words, env={"CREDENTIALS_DIRECTORY": str(tmp_path), "PATH": os.environ["PATH"], "PLAIN": "was"}, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    found = dict(entry.split("=", 1) for entry in result.stdout.decode().split("\0") if entry)
    assert {name: found[name] for name in VALUES} == VALUES


def test_a_shell_without_secrets_does_not_go_on(tmp_path: Path) -> None:
    """[A11] An app that starts without its keys would answer, and sign with nothing."""
    words = ["/bin/sh", "-c", SCRIPT, "sh", "echo", "started"]
    result = subprocess.run(words, env={"CREDENTIALS_DIRECTORY": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert result.returncode != 0 and "started" not in result.stdout and "secrets" in result.stderr


UNIT = """[Service]
EnvironmentFile=/srv/blog/releases/%i/environment
EnvironmentFile=-/etc/blog/secrets
ExecStart=/usr/bin/env -- "a" "$$X"
"""


@pytest.mark.parametrize(
    ("encrypted", "directive"),
    [(True, "LoadCredentialEncrypted=secrets:/etc/blog/secrets.cred"), (False, "LoadCredential=secrets:/etc/blog/secrets")],
)
def test_a_unit_with_credentials(encrypted: bool, directive: str) -> None:
    """[A11] Nothing in Environment=; the command is what it was, behind a shell that becomes it."""
    lines = unit_text(UNIT, "/etc/blog/secrets", CREDENTIALS, encrypted).splitlines()
    assert directive in lines and "EnvironmentFile=-/etc/blog/secrets" not in lines and lines[1].startswith("EnvironmentFile=/srv")
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    script = 'set -a; . \\"$$CREDENTIALS_DIRECTORY/secrets\\"; set +a; exec \\"$$@\\"'
    assert start == f'ExecStart=/bin/sh -c "{script}" sh /usr/bin/env -- "a" "$$X"'


def test_a_unit_that_needs_none_stays_as_it_is() -> None:
    """[A11] And every one where systemd reads the file."""
    timer = "[Timer]\nOnCalendar=daily\n"
    other = UNIT.replace("/etc/blog/secrets", "/etc/blog-shop/secrets")
    for text in (timer, other):
        assert unit_text(text, "/etc/blog/secrets", CREDENTIALS, True) == text
    assert unit_text(UNIT, "/etc/blog/secrets", FILE, False) == UNIT
    once = unit_text(UNIT, "/etc/blog/secrets", CREDENTIALS, True)
    assert unit_text(once, "/etc/blog/secrets", CREDENTIALS, True) == once


def test_there_and_back(program: Path, secrets: Path) -> None:
    """[A11] Nothing is lost on the way, and no copy stays behind."""
    text = environment_file(VALUES)
    plain, sealed = Delivery(secrets, FILE), Delivery(secrets, CREDENTIALS)
    assert plain.write(text) and not plain.write(text) and plain.read() == text
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    # The switch: both are there until nothing is started with the file any more.
    assert sealed.write(text) and not sealed.write(text)
    assert secrets.exists() and sealed.read() == text and "abc" not in sealed.today.read_text()
    assert stat.S_IMODE(sealed.today.stat().st_mode) == 0o600
    assert sealed.tidy() and not secrets.exists() and not sealed.tidy() and sealed.read() == text
    # Back: what is kept is found before it is written anew.
    assert plain.read() == text and plain.write(text) and plain.tidy()
    assert [path.name for path in secrets.parent.iterdir()] == ["secrets"] and plain.read() == text


def test_what_has_not_changed_is_not_encrypted_anew(program: Path, secrets: Path) -> None:
    """[A5] [F4] No two encryptions are alike, and a change asks for a new release."""
    sealed = Delivery(secrets, CREDENTIALS)
    assert sealed.write('A="1"\n') and not sealed.write('A="1"\n')
    before = sealed.today.read_text()
    assert sealed.write('A="2"\n', dry=True) and sealed.today.read_text() == before
    assert sealed.write('A="2"\n') and sealed.today.read_text() != before
    # Of another host, or with another name: written anew.
    sealed.today.write_text("sealed by host for other:00")
    assert sealed.write('A="2"\n') and sealed.read() == 'A="2"\n'


def test_an_older_systemd_hands_the_file_over(secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] [F3] Before systemd 250 there is no systemd-creds: the unit alone gets it, and it is not encrypted."""
    monkeypatch.setattr(delivery, "PROGRAM", tmp_path / "absent")
    given = Delivery(secrets, CREDENTIALS)
    assert given.write('A="1"\n') and given.today == secrets and given.property() == f"LoadCredential=secrets:{secrets}"
    # Without any the unit must find something all the same.
    assert given.write("") and secrets.read_text() == "" and not given.write("")


def test_a_systemd_that_cannot_says_why(program: Path, secrets: Path) -> None:
    """[A11] [K8] With the way out, and without a secret."""
    program.write_text("#!/bin/sh\necho 'no key' >&2\nexit 1\n")
    with pytest.raises(SlipwayError, match=r"systemd-creds encrypt: no key\. Say app_secrets_delivery: file"):
        Delivery(secrets, CREDENTIALS).write('A="s3cret"\n')
    assert not secrets.exists() and not Delivery(secrets, CREDENTIALS).today.exists()


def test_a_host_that_hands_no_credentials_over(program: Path, secrets: Path, handed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """[A11] [F3] In a container whose mounts are private a unit starts without the file. Nothing is written then, and no unit changed."""
    Delivery(secrets, FILE).write('A="1"\n')
    assert not handed
    Delivery(secrets, CREDENTIALS).write('A="1"\n')
    assert handed[-1][0] == "systemd-run" and handed[-1][-1] == 'test -s "$$CREDENTIALS_DIRECTORY/probe"'
    monkeypatch.setattr(delivery, "attempt", lambda words: (1, ""))
    Delivery(secrets, CREDENTIALS).today.unlink()
    with pytest.raises(SlipwayError, match=r"hands no credentials to units here .*app_secrets_delivery: file"):
        Delivery(secrets, CREDENTIALS).write('A="1"\n')
    assert [path.name for path in secrets.parent.iterdir()] == ["secrets"]


def test_a_command_by_hand(program: Path, secrets: Path) -> None:
    """[A7] [A11] `slipway <app> run`, and what a deploy runs."""
    assert Delivery(secrets, FILE).words(["a", "b"]) == ["a", "b"]
    assert Delivery(secrets, FILE).property() == f"EnvironmentFile=-{secrets}"
    given = Delivery(secrets, CREDENTIALS)
    assert given.words(["a", "b"])[:2] == ["/bin/sh", "-c"] and given.words(["a", "b"])[-2:] == ["a", "b"]
    assert given.property() == f"LoadCredentialEncrypted=secrets:{secrets}.cred"


def test_an_inventory_that_is_ahead_of_the_host(program: Path, secrets: Path) -> None:
    """[A11] A rollback before the next deploy: what is started is given what there is, and the only copy is none to tidy."""
    assert Delivery(secrets, CREDENTIALS).kept().how == CREDENTIALS, "none yet"
    Delivery(secrets, FILE).write('A="1"\n')
    kept = Delivery(secrets, CREDENTIALS).kept()
    assert kept.how == FILE and kept.property() == f"EnvironmentFile=-{secrets}" and not kept.other.exists()
    Delivery(secrets, CREDENTIALS).write('A="1"\n')
    assert Delivery(secrets, CREDENTIALS).kept().how == CREDENTIALS and Delivery(secrets, FILE).kept().how == FILE
    secrets.unlink()
    assert Delivery(secrets, FILE).kept().how == CREDENTIALS


def test_the_last_secret_goes_with_all_of_its_copies(program: Path, secrets: Path) -> None:
    """[A11] An old copy does not come back for one that is wanted no more."""
    Delivery(secrets, CREDENTIALS).write('A="1"\n')
    plain = Delivery(secrets, FILE)
    assert plain.write("") and plain.read() == "" and plain.kept().how == FILE and plain.tidy()
    assert not plain.write("") and [path.name for path in secrets.parent.iterdir()] == ["secrets"]


# --- The one switch -----------------------------------------------------------------------------


def hidden(node: Any) -> list[Any]:
    """Every no_log of tasks."""
    if isinstance(node, dict):
        return [*([node["no_log"]] if "no_log" in node else []), *(found for value in node.values() for found in hidden(value))]
    return [found for item in node for found in hidden(item)] if isinstance(node, list) else []


def test_there_is_one_switch_that_shows_secrets() -> None:
    """[A11] [F8] app_log_secrets, by way of the model: every task that hides something shows it then, and none without it."""
    paths = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml"), *ROOT.glob("playbooks/*.yml")]
    found = {str(path.relative_to(ROOT)): hidden(yaml.safe_load(path.read_text())) for path in paths}
    assert {one for said in found.values() for one in said} == {"{{ not app.log_secrets }}"}, found
    assert sum(map(len, found.values())) >= 15


def test_no_unit_has_a_secret_in_its_environment() -> None:
    """[A11] `systemctl show` prints Environment= to everybody."""
    templates = [*ROOT.glob("roles/*/templates/etc/systemd/system/**/*.j2"), *ROOT.glob("roles/server/templates/etc/app/units/*.j2")]
    assert len(templates) > 10
    for template in templates:
        for line in template.read_text().splitlines():
            assert not re.match(r"Environment=.*(app_secret|password|key)", line), f"{template.name}: {line}"
