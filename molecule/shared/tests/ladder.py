"""What the tests of the ladder do to the host, to DNS and to the CA, and what they look at."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from helpers import acme_certificate, journal, must

DOMAIN, ALIAS = "tls.slipway.test", "www.tls.slipway.test"
CONFIG, STATUS, FULLCHAIN = "/etc/demo/tls.json", "/var/lib/slipway/demo-tls.json", "/etc/ssl/demo/fullchain.pem"
PROGRAM = "/usr/local/bin/slipway demo tls"
HOST, OTHER = "10.213.91.10", "10.213.91.2"
#: Longer than any waiting time here (tls_retry_seconds is 5), as long as a certificate takes.
PATIENCE = 90


@dataclass
class Ladder:
    """The host under test, and the machine of the CA and the name server."""

    host: Any
    neighbour: Any

    # --- the host ---

    def program(self, words: str, before: str = "", config: str = CONFIG) -> Any:
        return self.host.run(f"{before} {PROGRAM} --config {config} {words}")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(must(self.host, f"cat {STATUS}"))
        return found

    def standing(self) -> str:
        """Evidence for a failure."""
        return f"{must(self.host, f'cat {STATUS}')}\n{journal(self.host, 'demo-tls.service')}"

    def wait(self, what: str, ready: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE) -> float:
        """Wait until the status says so, as the timer writes it; how long that took."""
        begun = time.monotonic()
        while not ready(self.status()):
            assert time.monotonic() - begun < seconds, f"{what} did not happen within {seconds:.0f} s\n{self.standing()}"
            time.sleep(0.5)
        return time.monotonic() - begun

    def served(self) -> str:
        """Fingerprint of the certificate that a visitor gets."""
        return self._fingerprint(f"openssl s_client -connect 127.0.0.1:443 -servername {DOMAIN} </dev/null 2>/dev/null")

    def stored(self) -> str:
        return self._fingerprint(f"cat {FULLCHAIN}")

    def _fingerprint(self, source: str) -> str:
        return must(self.host, f"{source} | openssl x509 -noout -fingerprint -sha256").strip()

    def names(self, path: str = FULLCHAIN) -> set[str]:
        text = must(self.host, f"openssl x509 -in {path} -noout -ext subjectAltName")
        return {part.strip().removeprefix("DNS:") for part in text.splitlines()[-1].split(",")}

    def configure(self, path: str = CONFIG, **changes: Any) -> None:
        """Write the configuration with other values."""
        data = {**json.loads(must(self.host, f"cat {CONFIG}")), **changes}
        self.write(path, json.dumps(data))

    def write(self, path: str, text: str) -> None:
        encoded = base64.b64encode(text.encode()).decode()
        must(self.host, f"echo {encoded} | base64 -d > {path} && chmod 600 {path}")

    def timer(self, verb: str) -> None:
        """Stop the timer, and a look it may be at; or start it."""
        must(self.host, f"systemctl {verb} demo-tls.timer")
        if verb == "stop":
            must(self.host, "systemctl stop demo-tls.service; systemctl reset-failed demo-tls.service || true")

    # --- DNS ---

    def dns(self, *updates: str) -> None:
        lines = "\n".join([f"server {OTHER}", "zone tls.slipway.test", *(f"update {update}" for update in updates), "send", ""])
        must(self.neighbour, f"printf %s '{lines}' | nsupdate -k /etc/bind/tls.key")

    # --- the CA ---

    def orders(self) -> int:
        """How many certificates the CA was asked for; a request with a rejected nonce is none."""
        found = re.findall(r"There are now (\d+) orders in the db", must(self.neighbour, "cat /run/pebble.log"))
        return int(found[-1]) if found else 0

    def stop_ca(self) -> None:
        must(self.neighbour, "kill $(cat /run/pebble.pid); rm /run/pebble.pid; sleep 0.5")

    def start_ca(self, **environment: str) -> None:
        """Start it anew. It remembers nothing, not even the host's account."""
        words = " ".join(f"{key}={value}" for key, value in environment.items())
        must(self.neighbour, f"{words} /ca/pebble")
        must(self.neighbour, "for i in $(seq 300); do grep -q 'ACME directory' /run/pebble.log && exit 0; sleep 0.1; done; exit 1")

    def root(self) -> str:
        return acme_certificate(self.neighbour)
