"""Two servers that read one stream of bytes differently let a request pass that the first never saw. Here: none.

Whatever is sent, each request that arrives at the app is one that nginx logged, under the same id, with the same method,
address, host and length; and none carries a word of the client where only nginx may speak.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from helpers import App
from raw import Front, request_h2, status

#: SLIPWAY_MUTATIONS=1000: fewer, for a quick look.
MUTATIONS = int(os.environ.get("SLIPWAY_MUTATIONS", "10000"))
SEED = 20261120
Lines = Callable[[], list[dict[str, Any]]]

#: The request that a victim sends next on the same connection.
NEXT = b"GET /probe/hello?next HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
INNER = b"GET /probe/hello?inner HTTP/1.1\r\nHost: {host}\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", host: bytes = b"Host: {host}") -> bytes:
    return b"\r\n".join([b"POST /probe/body HTTP/1.1", host, *lines, b"", body])


def get(*lines: bytes, target: bytes = b"/probe/hello", version: bytes = b"HTTP/1.1", host: bytes = b"Host: {host}") -> bytes:
    return b"\r\n".join([b"GET " + target + b" " + version, host, *lines, b"", b""])


CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
SHAPES: dict[str, bytes] = {
    # --- Content-Length against Transfer-Encoding
    "CL.TE": post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG"),
    "TE.CL": post(b"Content-Length: 4", CHUNKED, body=b"2b\r\n" + INNER + b"\r\n0\r\n\r\n"),
    "TE.CL inner": post(CHUNKED, b"Content-Length: 3", body=CHUNKS + INNER),
    "CL.0": post(b"Content-Length: 0", body=INNER),
    "CL longer than the body": post(b"Content-Length: 60", body=INNER),
    "CL shorter than the body": post(b"Content-Length: 5", body=b"hello" + INNER),
    "GET with a body": get(b"Content-Length: 5") + b"hello",
    "GET with chunks": get(CHUNKED) + CHUNKS,
    # --- Content-Length
    "two CL, the same": post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "two CL, different": post(b"Content-Length: 5", b"Content-Length: 44", body=b"hello" + INNER),
    "CL list": post(b"Content-Length: 5, 5", body=b"hello"),
    "CL list, different": post(b"Content-Length: 5, 44", body=b"hello" + INNER),
    "CL with a plus": post(b"Content-Length: +5", body=b"hello"),
    "CL with a minus": post(b"Content-Length: -5", body=b"hello"),
    "CL hexadecimal": post(b"Content-Length: 0x5", body=b"hello"),
    "CL with a space inside": post(b"Content-Length: 4 4", body=b"hello" + INNER),
    "CL with leading zeros": post(b"Content-Length: 0000005", body=b"hello"),
    "CL with an underscore": post(b"Content-Length: 4_4", body=b"hello" + INNER),
    "CL too large for 64 bits": post(b"Content-Length: 18446744073709551621", body=b"hello"),
    "CL empty": post(b"Content-Length:", body=INNER),
    "CL with a letter": post(b"Content-Length: 5x", body=b"hello"),
    "CL with a vertical tab": post(b"Content-Length: \x0b5", body=b"hello"),
    "CL folded": post(b"Content-Length:\r\n 5", body=b"hello"),
    "Content_Length": post(b"Content_Length: 44", b"Content-Length: 5", body=b"hello" + INNER),
    # --- Transfer-Encoding
    "TE chunked": post(CHUNKED, body=CHUNKS),
    "TE twice": post(CHUNKED, CHUNKED, body=CHUNKS),
    "TE and identity": post(b"Transfer-Encoding: chunked, identity", body=CHUNKS),
    "TE identity first": post(b"Transfer-Encoding: identity, chunked", body=CHUNKS),
    "TE cow": post(CHUNKED, b"Transfer-Encoding: cow", body=CHUNKS),
    "TE xchunked": post(b"Transfer-Encoding: xchunked", b"Content-Length: 5", body=b"hello" + INNER),
    "TE with a space before the colon": post(b"Transfer-Encoding : chunked", b"Content-Length: 5", body=b"hello" + INNER),
    "TE with a tab": post(b"Transfer-Encoding:\tchunked", body=CHUNKS),
    "TE with a vertical tab": post(b"Transfer-Encoding: \x0bchunked", b"Content-Length: 5", body=b"hello" + INNER),
    "TE quoted": post(b'Transfer-Encoding: "chunked"', b"Content-Length: 5", body=b"hello" + INNER),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5", body=b"hello" + INNER),
    "TE in the line before": post(b"X: x\nTransfer-Encoding: chunked", body=CHUNKS),
    "TE with a NUL": post(b"Transfer-Encoding: chunked\x00", b"Content-Length: 5", body=b"hello"),
    "TE underscore": post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello" + INNER),
    "TE with HTTP/1.0": post(CHUNKED, body=CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "TE in capitals": post(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    # --- Chunks
    "chunk size with 0x": post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a sign": post(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size too large": post(CHUNKED, body=b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunk size that wraps": post(CHUNKED, body=b"100000000000000005\r\nhello\r\n0\r\n\r\n" + INNER),
    "chunk extension": post(CHUNKED, body=b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "chunk extension with a bare LF": post(CHUNKED, body=b"5;a\nhello\r\n0\r\n\r\n" + INNER),
    "chunk with a bare LF": post(CHUNKED, body=b"5\nhello\n0\n\n"),
    "chunk without its end": post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n" + INNER),
    "chunk with spaces": post(CHUNKED, body=b"5   \r\nhello\r\n0\r\n\r\n"),
    "chunk trailer": post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"),
    "chunk trailer with a length": post(CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 44\r\n\r\n" + INNER),
    "chunks that never end": post(CHUNKED, body=b"5\r\nhello\r\n"),
    # --- Request line
    "absolute form": get(target=b"http://{host}/probe/hello?absolute"),
    "absolute form, another host": get(target=b"http://evil.example/probe/hello"),
    "absolute form, host differs": get(target=b"http://{host}/probe/hello", host=b"Host: evil.example"),
    "authority form": b"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "HTTP/0.9": b"GET /probe/hello\r\n",
    "HTTP/1.0 without a host": b"GET /probe/hello HTTP/1.0\r\n\r\n",
    "HTTP/2 by name": get(version=b"HTTP/2.0"),
    "HTTP/1.2": get(version=b"HTTP/1.2"),
    "HTTP/01.1": get(version=b"HTTP/01.1"),
    "two spaces": get(target=b" /probe/hello"),
    "space in the target": get(target=b"/probe/hello x"),
    "tab in the target": get(target=b"/probe/hello\tHTTP/1.1\tx"),
    "CR in the target": get(target=b"/probe/hello\rX: y"),
    "NUL in the target": get(target=b"/probe/hello\x00"),
    "control characters in the target": get(target=b"/probe/hello?\x01\x7f"),
    "UTF-8 in the target": get(target="/probe/hello?é".encode()),
    "request in the target": get(target=b"/probe/hello?%0d%0aGET%20/inner%20HTTP/1.1%0d%0a"),
    "fragment": get(target=b"/probe/hello#/healthz/live"),
    "dots": get(target=b"/static/../probe/hello?dots"),
    "double slashes": get(target=b"//probe//hello"),
    "empty lines first": b"\r\n\r\n" + get(),
    "method in small letters": get().replace(b"GET", b"get"),
    "unknown method": get().replace(b"GET", b"PURGE"),
    "TRACE": get().replace(b"GET", b"TRACE"),
    # --- Header lines
    "bare LF": get(b"X: y").replace(b"\r\n", b"\n"),
    "bare CR": get(b"X: y\rContent-Length: 44") + INNER,
    "obs-fold": get(b"X: y\r\n z"),
    "obs-fold first": get(host=b" Host: {host}"),
    "two hosts": get(b"Host: evil.example"),
    "two hosts, evil first": get(b"Host: {host}", host=b"Host: evil.example"),
    "host with a port": get(host=b"Host: {host}:444"),
    "host with a path": get(host=b"Host: {host}/x"),
    "host with a user": get(host=b"Host: evil@{host}"),
    "host with a space before the colon": get(host=b"Host : {host}"),
    "host in capitals": get(host=b"HOST: {HOST}"),
    "host with a dot": get(host=b"Host: {host}."),
    "no host": b"GET /probe/hello HTTP/1.1\r\n\r\n",
    "empty host": get(host=b"Host:"),
    "colon first": get(b": x"),
    "no colon": get(b"nonsense"),
    "name with a space": get(b"X Y: z"),
    "name with a NUL": get(b"X\x00Y: z"),
    "value with a NUL": get(b"X: a\x00b"),
    "name with a bracket": get(b"X(: z"),
    "Connection hides a header": get(b"Connection: close, X-Forwarded-For, X-Request-ID"),
    "Connection hides the length": post(b"Connection: Content-Length", b"Content-Length: 5", body=b"hello"),
    "Expect": post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    "Expect, unknown": post(b"Expect: x", b"Content-Length: 5", body=b"hello" + INNER),
    "Upgrade to h2c": get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    "Upgrade to WebSocket elsewhere": get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: eA=="),
    "HTTP/2 in the clear": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "pipelined": get() + get(target=b"/probe/hello?second"),
    "header flood": get(*(b"X-%d: y" % number for number in range(500))),
}

H2 = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/probe/body"), (b":authority", b"{host}")]
GET_H2 = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/probe/hello?h2"), (b":authority", b"{host}")]
SHAPES_H2: dict[str, tuple[list[tuple[bytes, bytes]], bytes | None]] = {
    "plain": (GET_H2, None),
    "H2.CL shorter": ([*H2, (b"content-length", b"0")], INNER),
    "H2.CL longer": ([*H2, (b"content-length", b"500")], INNER),
    "H2.CL twice": ([*H2, (b"content-length", b"5"), (b"content-length", b"44")], b"hello"),
    "H2.TE": ([*H2, (b"transfer-encoding", b"chunked")], b"0\r\n\r\n" + INNER),
    "H2.TE by a value": ([*H2, (b"x", b"y\r\ntransfer-encoding: chunked")], b"0\r\n\r\n" + INNER),
    "H2.TE by a name": ([*H2, (b"x: y\r\ntransfer-encoding", b"chunked")], b"0\r\n\r\n" + INNER),
    "LF in a value": ([*GET_H2, (b"x", b"y\nhost: evil.example")], None),
    "CR in a value": ([*GET_H2, (b"x", b"y\rhost: evil.example")], None),
    "NUL in a value": ([*GET_H2, (b"x", b"y\x00z")], None),
    "request in the path": ([*GET_H2[:2], (b":path", b"/probe/hello HTTP/1.1\r\nHost: {host}\r\n\r\nGET /inner"), GET_H2[3]], None),
    "space in the path": ([*GET_H2[:2], (b":path", b"/probe/hello x"), GET_H2[3]], None),
    "absolute path": ([*GET_H2[:2], (b":path", b"https://evil.example/probe/hello"), GET_H2[3]], None),
    "no slash": ([*GET_H2[:2], (b":path", b"probe/hello"), GET_H2[3]], None),
    "request in the method": ([(b":method", b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\nGET"), *GET_H2[1:]], None),
    "request in the scheme": ([GET_H2[0], (b":scheme", b"https://{host}/inner?"), *GET_H2[2:]], None),
    "host beside the authority": ([*GET_H2, (b"host", b"evil.example")], None),
    "two authorities": ([*GET_H2, (b":authority", b"evil.example")], None),
    "authority after a field": ([*GET_H2[:3], (b"x", b"y"), GET_H2[3]], None),
    "no authority": (GET_H2[:3], None),
    "two paths": ([*GET_H2, (b":path", b"/inner")], None),
    "CONNECT": ([(b":method", b"CONNECT"), (b":authority", b"{host}:22")], None),
    "connection": ([*GET_H2, (b"connection", b"upgrade"), (b"upgrade", b"websocket")], None),
    "capitals": ([*GET_H2, (b"X-Forwarded-For", b"6.6.6.6")], None),
    "underscores": ([*GET_H2, (b"x_forwarded_for", b"6.6.6.6"), (b"script_name", b"/evil")], None),
    "colon in a name": ([*GET_H2, (b"x:y", b"z")], None),
    "unknown pseudo header": ([*GET_H2, (b":evil", b"z")], None),
    "empty name": ([*GET_H2, (b"", b"z")], None),
}


def filled(text: bytes, app: App) -> bytes:
    host = app.domain.encode()
    return text.replace(b"{host}", host).replace(b"{HOST}", host.upper())


def deliver(work: Sequence[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(piece) for piece in work]:
            done.result()


def compare(seen: list[dict[str, Any]], logged: list[dict[str, Any]], app: App, client: str) -> None:
    """Nothing arrived that nginx does not know, or knows otherwise."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for line in logged:
        by_id.setdefault(line["request_id"], []).append(line)
    twice = [name for name, lines in by_id.items() if len(lines) > 1]
    assert not twice, f"nginx gave two requests one id: {twice[:3]}"
    tries = Counter(entry["request_id"] for entry in seen)
    wrong: list[str] = []
    for entry in seen:
        line = by_id.get(entry["request_id"], [{}])[0]
        headers = entry["headers"]
        if not line:
            wrong.append(f"nginx does not know it: {entry}")
            continue
        # nginx logs a status for each time it asked the app; the app must not have been asked more often.
        if tries[entry["request_id"]] > len([status for status in line["upstream_status"].replace(":", ",").split(",") if status.strip()]):
            wrong.append(f"more often than nginx asked: {entry} {line}")
        # nginx logs the target as it came; of an absolute one it asks for the path.
        if (entry["method"], entry["uri"]) != (line["method"], line["path"]):
            wrong.append(f"another request: {entry} {line}")
        if headers.get("HTTP_HOST") != line["host"]:
            wrong.append(f"another host: {entry} {line}")
        if headers["HTTP_HOST"] not in (app.domain, app.alias):
            wrong.append(f"a host that is not ours: {entry}")
        trusted = (headers.get("HTTP_X_FORWARDED_FOR"), headers.get("HTTP_X_FORWARDED_PROTO"), headers.get("HTTP_X_FORWARDED_HOST"))
        if trusted != (client, "https", line["host"]) or headers.get("HTTP_X_REAL_IP") != client:
            wrong.append(f"nginx did not say this: {entry}")
        if entry["script"] or {"HTTP_SCRIPT_NAME", "HTTP_PATH_INFO", "HTTP_FORWARDED", "HTTP_X_FORWARDED_PREFIX"} & set(headers):
            wrong.append(f"a client's word: {entry}")
        if "HTTP_TRANSFER_ENCODING" in headers and entry["length"]:
            wrong.append(f"two lengths: {entry}")
        if "HTTP_UPGRADE" in headers and not entry["uri"].startswith("/probe/socket"):
            wrong.append(f"upgraded: {entry}")
    assert not wrong, f"{len(wrong)} of {len(seen)}:\n" + "\n".join(wrong[:5])


@pytest.fixture
def client(host: Any) -> str:
    """Our own address, as the host sees it."""
    return str(host.check_output("ip -4 route show dev eth0 default")).split()[2]


def test_there_are_enough_shapes() -> None:
    """[E5] The issue asks for 60."""
    assert len(SHAPES) + len(SHAPES_H2) >= 60 and len(set(SHAPES.values())) == len(SHAPES)


def test_shapes(front: Front, app: App, seen: Lines, logged: Lines, client: str) -> None:
    """[E5] [E11] Each alone, followed by a visitor's request on the same connection, whole and in pieces."""
    requests = [filled(shape + tail, app) for shape in SHAPES.values() for tail in (b"", NEXT)]
    deliver([partial(front.send, data, 1.0, pieces) for data in requests for pieces in (1, 7)])
    arrived = seen()
    compare(arrived, logged(), app, client)
    assert len(arrived) > 150, "hardly anything reached the app: this compares nothing"
    assert any(entry["uri"] == "/probe/hello?next" for entry in arrived)
    assert any(entry["length"] == "5" for entry in arrived)


def test_shapes_over_http2(front: Front, app: App, seen: Lines, logged: Lines, client: str) -> None:
    """[E5] nginx speaks HTTP/1.1 to the app: what HTTP/2 can carry in a field must not become lines."""
    work = []
    for pairs, body in SHAPES_H2.values():
        fields = [(filled(name, app), filled(text, app)) for name, text in pairs]
        frames = request_h2(fields, None if body is None else filled(body, app))
        work.append(partial(front.send_h2, frames, 1.0))
    deliver(work)
    arrived = seen()
    compare(arrived, logged(), app, client)
    assert {"/probe/hello?h2"} <= {entry["uri"] for entry in arrived}
    assert not any("inner" in entry["uri"] for entry in arrived), arrived


def mutants(app: App) -> Iterator[bytes]:
    """Shapes with bytes changed, lines doubled, moved or taken from another shape; the same ones in every run."""
    chance = random.Random(SEED)
    shapes = [filled(shape, app) for shape in SHAPES.values() if len(shape) < 2000]
    bits = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b" ",
        b"\t",
        b"\x0b",
        b":",
        b",",
        b";",
        b"0",
        b"\xff",
        b"\r\n ",
        b"chunked",
        b"Content-Length: 3\r\n",
    ]
    while True:
        data = bytearray(chance.choice(shapes))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            place = chance.randrange(len(data) + 1)
            kind = chance.randrange(6)
            if kind == 0:
                data[place:place] = chance.choice(bits)
            elif kind == 1:
                del data[place : place + chance.randint(1, 4)]
            elif kind == 2 and place < len(data):
                data[place] = chance.randrange(256)
            elif kind == 3:
                lines = bytes(data).split(b"\r\n")
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
                data = bytearray(b"\r\n".join(lines))
            elif kind == 4:
                lines = bytes(data).split(b"\r\n")
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(chance.choice(shapes).split(b"\r\n")))
                data = bytearray(b"\r\n".join(lines))
            else:
                data[place:place] = bytes(data[place : place + chance.randint(1, 12)]).swapcase()
        yield bytes(data) + filled(NEXT, app)


def test_mutations(front: Front, app: App, seen: Lines, logged: Lines, client: str) -> None:
    """[E5] [E11] Ten thousand of them, seeded, each followed by a visitor's request."""
    work = [partial(front.send, data, 0.3) for data in itertools.islice(mutants(app), MUTATIONS)]
    deliver(work)
    arrived = seen()
    compare(arrived, logged(), app, client)
    assert len(arrived) > MUTATIONS / 8, f"only {len(arrived)} reached the app"
    print(f"{MUTATIONS} mutations: nginx logged {len(logged())}, the app saw {len(arrived)}, 0 differently")


SPOOFED = {
    **{"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"},
    **{"X-Forwarded-Port": "1", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Protocol": "ssl", "X-Forwarded-Ssl": "off"},
    **{"Forwarded": "for=6.6.6.6;host=evil.example", "X-Request-ID": "forged", "Script-Name": "/evil", "Path-Info": "/evil"},
    **{
        "SCRIPT_NAME": "/evil",
        "PATH_INFO": "/evil",
        "X_FORWARDED_FOR": "6.6.6.6",
        "Proxy": "http://evil.example",
        "Remote-Addr": "6.6.6.6",
    },
}


def test_spoofed_headers(front: Front, app: App, seen: Lines, logged: Lines, client: str) -> None:
    """[E5] Each alone and twice, and all of them; in capitals and small letters: none is believed."""
    lines = [f"{name}: {text}".encode() for name, text in SPOOFED.items()]
    cases = (
        [[line] for line in lines]
        + [[line, line] for line in lines]
        + [lines, [line.lower() for line in lines], [line.upper() for line in lines]]
    )
    for case in cases:
        assert status(front.send(filled(get(*case, b"Connection: close"), app), 30)) == 200, case
    arrived = seen()
    assert len(arrived) == len(cases)
    compare(arrived, logged(), app, client)
    own = {"HTTP_X_REQUEST_ID", "HTTP_REMOTE_ADDR"}
    for entry in arrived:
        words = " ".join(text for name, text in entry["headers"].items() if name not in own)
        assert "6.6.6.6" not in words and "evil" not in words and entry["headers"]["HTTP_X_REQUEST_ID"] != "forged", entry
        assert "HTTP_PROXY" not in entry["headers"], entry
