# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How an app comes by its secrets (`app_secrets_delivery`); they are variables of its environment either way.

- ``file``: systemd reads them in a file that only root reads (`EnvironmentFile=`).
- ``credentials``: systemd decrypts them for the unit alone (`LoadCredentialEncrypted=`, systemd.exec(5), "Credentials"). It sets its units'
  environment up before it has their credentials, so a shell reads them, which then becomes the command.

Which of the two holds is today's, never a release's: units are written and kept as ``file`` has them, and `unit` makes the other of it when
systemd gets them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import SlipwayError
from .files import write_atomically
from .run import attempt, execute, tail

FILE, CREDENTIALS = "file", "credentials"
#: The credential's name, which is sealed in with it.
NAME = "secrets"
#: systemd 250 and newer encrypt; older ones hand the file over as it is.
PROGRAM = Path("/usr/bin/systemd-creds")
#: In the form of an `EnvironmentFile=` (module_utils/environment.py), which a shell reads alike.
SCRIPT = 'set -a; . "$CREDENTIALS_DIRECTORY/secrets"; set +a; exec "$@"'


def sealed(path: Path) -> Path:
    """Where the secrets of ``path`` are encrypted."""
    return path.with_name(f"{path.name}.cred")


def property_of(path: Path, how: str, encrypted: bool) -> str:
    """The directive that gives a unit its secrets."""
    if how == FILE:
        return f"EnvironmentFile=-{path}"
    return f"LoadCredentialEncrypted={NAME}:{sealed(path)}" if encrypted else f"LoadCredential={NAME}:{path}"


def unit_text(text: str, path: str, how: str, encrypted: bool) -> str:
    """A unit that is written as ``file`` has it, as ``how`` has it. One that is given no secrets stays as it is."""
    line = f"\n{property_of(Path(path), FILE, False)}\n"
    if how == FILE or line not in text:
        return text
    # systemd.service(5), "Command lines": a dollar sign is doubled, a quote within quotes has a backslash.
    script = SCRIPT.replace('"', '\\"').replace("$", "$$")
    text = text.replace(line, f"\n{property_of(Path(path), how, encrypted)}\n")
    return re.sub(r"^ExecStart=(?=/)", lambda _: f'ExecStart=/bin/sh -c "{script}" sh ', text, flags=re.MULTILINE)


@dataclass(frozen=True)
class Delivery:
    """How one app on this host comes by its secrets. Whoever uses it is root."""

    path: Path
    how: str

    @property
    def encrypted(self) -> bool:
        """What systemd is given is encrypted."""
        return self.how == CREDENTIALS and PROGRAM.exists()

    @property
    def today(self) -> Path:
        """The file that holds them."""
        return sealed(self.path) if self.encrypted else self.path

    @property
    def other(self) -> Path:
        """Where they would be otherwise."""
        return self.path if self.encrypted else sealed(self.path)

    def kept(self) -> Delivery:
        """As they are kept on this host: otherwise than asked for where they are there in that way alone (the inventory is ahead)."""
        if self.today.exists() or not self.other.exists():
            return self
        return Delivery(self.path, CREDENTIALS if self.other == sealed(self.path) else FILE)

    def property(self) -> str:
        """For systemd-run."""
        return property_of(self.path, self.how, self.encrypted)

    def words(self, words: Sequence[str]) -> list[str]:
        """A command that finds them in its environment. Of systemd-run: a dollar sign in it is not doubled yet."""
        return [*words] if self.how == FILE else ["/bin/sh", "-c", SCRIPT, "sh", *words]

    def unit(self, text: str) -> str:
        """A unit as systemd is to have it."""
        return unit_text(text, str(self.path), self.how, self.encrypted)

    def read(self) -> str:
        """The secrets, as an `EnvironmentFile=` has them; empty where there are none. Also when they are still kept in the other way."""
        for path in (self.today, self.other):
            with contextlib.suppress(FileNotFoundError):
                # Not read_text(): it would change the line ends within values.
                return self._decrypted(path) if path == sealed(self.path) else path.read_bytes().decode()
        return ""

    def write(self, text: str, dry: bool = False) -> bool:
        """Keep the secrets, none too, as today; whether that is a change. What the other way has kept stays until `tidy`."""
        with contextlib.suppress(FileNotFoundError, SlipwayError):
            if (self._decrypted(self.today) if self.encrypted else self.today.read_bytes().decode()) == text:
                return False
        if not dry:
            self.require()
            write_atomically(self.today, self._encrypted(text) if self.encrypted else text, 0o600)
        return True

    def require(self) -> None:
        """An error unless systemd hands credentials to units here. In a container whose mounts are private they get lost, unsaid."""
        if self.how == FILE:
            return
        words = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--uid=nobody", "--property=ProtectSystem=strict"]
        words += ["--property=PrivateTmp=yes", "--property=LoadCredential=probe:/etc/passwd"]
        status, said = attempt([*words, "/bin/sh", "-c", 'test -s "$CREDENTIALS_DIRECTORY/probe"'.replace("$", "$$")])
        if status != 0:
            why = f": {tail(said, 2)}" if said.strip() else ""
            raise SlipwayError(
                f"systemd hands no credentials to units here{why} (a container with private mounts, mostly). Say app_secrets_delivery: file"
            )

    def tidy(self) -> bool:
        """Remove what the other way has kept, once nothing is started with it any more; whether there was some."""
        if not self.other.exists():
            return False
        self.other.unlink()
        return True

    def _encrypted(self, text: str) -> str:
        # With this host's own key. One in a TPM is bound to the firmware's state: after an update of it the app would not come up.
        return self._run("encrypt", "--with-key=host", f"--name={NAME}", "-", "-", given=text)

    def _decrypted(self, path: Path) -> str:
        if not path.exists():
            raise FileNotFoundError(path)
        return self._run("decrypt", f"--name={NAME}", str(path), "-")

    def _run(self, *words: str, given: str = "") -> str:
        result = execute([str(PROGRAM), *words], stdin=given.encode())
        if result.status != 0:
            why = " / ".join(result.errors.strip().splitlines()[-3:]) or f"exit status {result.status}"
            raise SlipwayError(f"systemd-creds {words[0]}: {why}. Say app_secrets_delivery: file, if this host cannot do it")
        return result.output
