"""How the edge tests speak to the host: real requests, made on the host itself, to its own public endpoint."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from helpers import must

# Runs on the host, with its Python and nothing else. The certificate is another test's matter (test_02_tls.py).
CLIENT = r"""
import base64, http.client, json, socket, ssl, sys
a = json.loads(base64.b64decode(sys.argv[1]))
connection = http.client.HTTPConnection("127.0.0.1", a["port"], timeout=10)
plain = socket.create_connection(("127.0.0.1", a["port"]), timeout=10)
if a["tls"]:
    plain = ssl._create_unverified_context().wrap_socket(plain, server_hostname=a["sni"])
connection.sock = plain
try:
    connection.putrequest(a["method"], a["path"], skip_host=True, skip_accept_encoding=True)
    for name, value in a["headers"]:
        connection.putheader(name, value)
    connection.endheaders()
    r = connection.getresponse()
    body = r.read()
    print(json.dumps({"status": r.status, "headers": r.getheaders(), "body": base64.b64encode(body).decode()}))
except (OSError, http.client.HTTPException) as error:
    print(json.dumps({"status": 0, "headers": [], "body": base64.b64encode(repr(error).encode()).decode()}))
"""


@dataclass(frozen=True)
class Answer:
    """What came back. Status 0: the connection ended without an answer, and the body says how."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name} must be there once, and is there {len(values)} times: {values}\n{self}"
        return values[0]

    def __str__(self) -> str:
        lines = [f"{key}: {value}" for key, value in self.headers]
        return "\n".join([f"status {self.status}", *lines, "", self.body[:500].decode(errors="replace")])


def ask(host: Any, url: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """Ask the host itself for ``url``. The path goes out as it is written, dots and all."""
    scheme, rest = url.split("://", 1)
    name, _, path = rest.partition("/")
    arguments = {
        "tls": scheme == "https",
        "port": 443 if scheme == "https" else 80,
        "sni": name,
        "method": method,
        "path": f"/{path}",
        "headers": [("Host", name), *(headers or {}).items()],
    }
    encoded = base64.b64encode(json.dumps(arguments).encode()).decode()
    script = base64.b64encode(CLIENT.encode()).decode()
    answer = json.loads(must(host, f"python3 -c \"import base64; exec(base64.b64decode('{script}'))\" {encoded}"))
    return Answer(answer["status"], [(k, v) for k, v in answer["headers"]], base64.b64decode(answer["body"]))


def is_ours(host: Any, path: str, role: str) -> None:
    """Every file Slipway writes says so, and says which role wrote it."""
    head = host.file(path).content_string[:400]
    assert "Ansible managed" in head and f"slipway:{role}" in head, f"{path} does not say who wrote it:\n{head}"
