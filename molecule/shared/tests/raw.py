"""Bytes to the public endpoint, as no client library would send them, and what came back."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, DATA, SETTINGS, RST, PING, GOAWAY = 0x1, 0x0, 0x4, 0x3, 0x6, 0x7


@dataclass(frozen=True)
class Front:
    """Where the public endpoint is. The certificate is another test's matter."""

    address: str
    domain: str

    def connect(self, alpn: str = "http/1.1", timeout: float = 5, name: str | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address, 443), timeout=timeout)
        try:
            return believing(alpn).wrap_socket(plain, server_hostname=name or self.domain)
        except BaseException:
            plain.close()
            raise

    def send(self, data: bytes, timeout: float = 0.5, pieces: int = 1) -> bytes:
        """Everything that comes back, until the other side closes or is silent for ``timeout`` seconds."""
        found = b""
        with contextlib.suppress(OSError), self.connect() as connection:
            step = max(1, len(data) // pieces)
            for start in range(0, len(data), step):
                connection.sendall(data[start : start + step])
            connection.settimeout(timeout)
            while piece := connection.recv(65536):
                found += piece
        return found

    def send_h2(self, frames: bytes, timeout: float = 0.5) -> bytes:
        """The same over HTTP/2: preface and settings, then ``frames``."""
        found = b""
        with contextlib.suppress(OSError), self.connect("h2") as connection:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + frames)
            connection.settimeout(timeout)
            while piece := connection.recv(65536):
                found += piece
        return found


@functools.cache
def believing(alpn: str) -> ssl.SSLContext:
    """Made once: reading the system's certificates takes longer than a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


def status(answer: bytes) -> int:
    """The status of the first answer; 0 for none."""
    words = answer.split(b"\r\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() else 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def fields(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """HPACK, each field spelled out: neither an index nor Huffman would let every byte through."""
    return b"".join(b"\x00" + integer(len(name)) + name + integer(len(value)) + value for name, value in pairs)


def integer(number: int) -> bytes:
    """An HPACK length with a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    number -= 127
    found = [127]
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


def request_h2(pairs: Iterable[tuple[bytes, bytes]], body: bytes | None = None, stream: int = 1) -> bytes:
    """HEADERS, and DATA where there is a body."""
    end_headers, end_stream = 0x4, 0x1
    head = frame(HEADERS, end_headers | (0 if body is not None else end_stream), stream, fields(pairs))
    return head + (frame(DATA, end_stream, stream, body) if body is not None else b"")
