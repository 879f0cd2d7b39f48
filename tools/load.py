"""Visitors by the thousand: wrk for the mass of them, and a client of our own that counts every answer and keeps its time.

The client is an open loop: a request is due at its time whether or not those before it were answered, and its latency counts from
then. So a pause of the site shows in full, where a client that waits for each answer would only ask less.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

#: Seconds after which a request counts as lost; nginx gives up on the app before.
TIMEOUT = 60.0
#: A connection that idled for so many seconds is not used again: nginx may be closing it (keepalive_timeout).
IDLE = 10.0
WRK = """
function delay() return {pause} end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('slipway:{{"requests":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p99_ms":%.1f}}\\n',
    summary.requests, e.connect, e.read, e.write, e.status, e.timeout, latency:percentile(99) / 1000))
end
"""


class Answer(NamedTuple):
    """One request of the open loop. ``said`` is the status, or the name of the error."""

    due: float
    seconds: float
    method: str
    said: str


@dataclass
class OpenLoop:
    """``rate`` requests a second over TLS, every ``post_every``-th a row in the ledger with a key of its own. A context manager."""

    address: str
    domain: str
    certificate: Path
    prefix: str
    rate: float = 10.0
    post_every: int = 1
    path: str = "/"
    #: Ask again on a new connection when a kept one ended before the first byte of the answer, as browsers do (RFC 9112, 9.3.1): nginx
    #: closes idle connections when it is reloaded, and a request may be under way.
    resend: bool = False
    resent: int = 0
    answers: list[Answer] = field(default_factory=list)
    #: Keys that were answered 201, and all that were sent.
    written: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _idle: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=deque)

    def __enter__(self) -> OpenLoop:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=TIMEOUT + 5)

    async def _run(self) -> None:
        context = ssl.create_default_context(cafile=str(self.certificate))
        pending: set[asyncio.Task[None]] = set()
        begun = time.monotonic()
        number = 0
        while not self._stop.is_set():
            due = begun + number / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._request(due, number, context))
            pending.add(task)
            task.add_done_callback(pending.discard)
            number += 1
        if pending:
            await asyncio.wait(pending, timeout=TIMEOUT)
        for _, _, writer in self._idle:
            writer.close()

    async def _request(self, due: float, number: int, context: ssl.SSLContext) -> None:
        post = self.post_every > 0 and number % self.post_every == 0
        key = f"{self.prefix}-{number}"
        if post:
            self.sent.append(key)
        try:
            said = str(await asyncio.wait_for(self._ask(key if post else "", context), TIMEOUT))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            said = f"{type(error).__name__} {error}".strip()
        self.answers.append(Answer(due, time.monotonic() - due, "POST" if post else "GET", said))
        if post and said == "201":
            self.written.append(key)

    async def _ask(self, key: str, context: ssl.SSLContext) -> int:
        """One request on a connection that is kept alive; the status."""
        reader, writer, kept = await self._connection(context)
        try:
            body = json.dumps({"key": key}).encode() if key else b""
            head = f"{'POST /ledger' if key else f'GET {self.path}'} HTTP/1.1\r\nHost: {self.domain}\r\nUser-Agent: slipway-load\r\n"
            if key:
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"\r\n" + body)
            await writer.drain()
            status, keep = await response(reader)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            writer.close()
            begun = isinstance(error, asyncio.IncompleteReadError) and error.partial
            if begun or not (self.resend and kept):
                raise
            self.resent += 1
            for _, _, idle in self._idle:
                idle.close()
            self._idle.clear()
            return await self._ask(key, context)
        except BaseException:
            writer.close()
            raise
        if keep:
            self._idle.append((time.monotonic(), reader, writer))
        else:
            writer.close()
        return status

    async def _connection(self, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bool]:
        """A connection, and whether it was used before."""
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < IDLE and not reader.at_eof():
                return reader, writer, True
            writer.close()
        return *await asyncio.open_connection(self.address, 443, ssl=context, server_hostname=self.domain), False

    # --- What came of it ----------------------------------------------------------------------------------------------

    def counts(self) -> Counter[str]:
        return Counter(f"{answer.method} {answer.said}" for answer in list(self.answers))

    def lost(self) -> Counter[str]:
        """Whatever was not answered as it should be."""
        return Counter({said: number for said, number in self.counts().items() if said not in ("GET 200", "POST 201")})

    def p(self, share: float, since: float = 0.0, until: float = float("inf")) -> float:
        """A percentile of the latencies, in seconds, of requests due in this span of `time.monotonic`."""
        return percentile((answer.seconds for answer in list(self.answers) if since <= answer.due < until), share)


async def response(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer to its end: its status, and whether the connection stays open."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split()[1]), headers.get("connection", "").lower() != "close"


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of the ``values`` do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Summary(NamedTuple):
    """What wrk says at its end."""

    requests: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int
    p99_ms: float

    @property
    def lost(self) -> int:
        """Socket errors of any kind, and answers that were errors."""
        return self.connect + self.read + self.write + self.status + self.timeout


@dataclass
class Wrk:
    """wrk in a container: ``connections`` that each pause ``pause`` ms between two GETs. A context manager that leaves ``summary``."""

    container: str
    url: str
    connections: int = 8
    pause: int = 80
    #: It ends by itself after so many seconds, whatever becomes of us.
    seconds: int = 3600
    summary: Summary | None = None
    output: str = ""
    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Wrk:
        self._inside("cat >/tmp/load.lua", WRK.format(pause=self.pause))
        options = f"--threads 1 --connections {self.connections} --duration {self.seconds}s --timeout {TIMEOUT:.0f}s --script /tmp/load.lua"
        self._process = subprocess.Popen(
            ["docker", "exec", self.container, "sh", "-c", f"echo $$ >/tmp/load.pid; exec wrk {options} {self.url}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        if self._process.poll() is None:
            # It finishes with its summary.
            self._inside("kill -INT $(cat /tmp/load.pid)")
        self.output = self._process.communicate(timeout=TIMEOUT)[0]
        said = [line.removeprefix("slipway:") for line in self.output.splitlines() if line.startswith("slipway:")]
        assert said, f"wrk left no summary:\n{self.output}"
        self.summary = Summary(**json.loads(said[-1]))

    def _inside(self, script: str, words: str = "") -> None:
        subprocess.run(["docker", "exec", "-i", self.container, "sh", "-c", script], input=words, text=True, check=True)
