# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""HTTP to this host: through the app's socket as nginx asks, and through port 443 as a visitor does."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: Where this host asks its own public endpoint: the name and the port as from outside.
ADDRESS = "127.0.0.1"


class Answer(NamedTuple):
    """What came back. Status 0: nothing answered, and the body is the reason."""

    status: int
    body: str
    request_id: str = ""
    retry_after: str = ""
    reason: str = ""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self.path))


def unverified() -> ssl.SSLContext:
    """TLS with whatever certificate is served: which one that is, is another check's matter (x509)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(domain: str, timeout: float, port: int = 443) -> ssl.SSLSocket:
    """A TLS connection to this host's own nginx, with the SNI of a visitor; OSError when there is none."""
    plain = socket.create_connection((ADDRESS, port), timeout)
    try:
        return unverified().wrap_socket(plain, server_hostname=domain)
    except BaseException:
        plain.close()
        raise


def served_certificate(domain: str, timeout: float = 5) -> bytes:
    """The certificate that a visitor of ``domain`` gets from this host, in DER; OSError when there is no handshake."""
    with handshake(domain, timeout) as tls:
        return tls.getpeercert(binary_form=True) or b""


class PublicConnection(http.client.HTTPConnection):
    """HTTPS to this host's own public endpoint."""

    def __init__(self, domain: str, timeout: float, port: int = 443) -> None:
        super().__init__(domain, port, timeout=timeout)
        self.seconds = timeout

    def connect(self) -> None:
        self.sock = handshake(self.host, self.seconds, self.port)


def ask(connection: http.client.HTTPConnection, url: str, headers: Mapping[str, str]) -> Answer:
    """GET ``url``; never an error."""
    try:
        connection.request("GET", url, headers=dict(headers))
        response = connection.getresponse()
        request_id, retry_after = (response.getheader(name) or "" for name in ("X-Request-ID", "Retry-After"))
        return Answer(response.status, response.read(2000).decode(errors="replace"), request_id, retry_after, response.reason)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def get(path: Path, url: str, host: str, timeout: float = 5) -> Answer:
    """GET ``url`` through the socket at ``path``, as nginx would ask."""
    headers = {"Host": host, "X-Forwarded-For": ADDRESS, "X-Forwarded-Proto": "https", "X-Forwarded-Host": host}
    return ask(UnixConnection(path, timeout), url, headers)


def visit(domain: str, url: str, timeout: float = 35, port: int = 443) -> Answer:
    """GET ``url`` as a visitor does, through nginx."""
    return ask(PublicConnection(domain, timeout, port), url, {"Host": domain})
