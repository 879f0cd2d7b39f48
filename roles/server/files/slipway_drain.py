# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""How a server ends without losing a request: its workers accept nothing more, answer what they have, and only then it is told to end.

A server that ends closes connections that it has accepted and not yet read, Granian and Hypercorn among them: a visitor gets 502. So the
main process of the unit has the server as its child: on SIGTERM it lets each worker drain, and passes the signal on after that.
It runs with the Python of the app's release: it needs Python 3.9 and the standard library.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import selectors
import signal
import socket
import stat
import sys
import time

# By their names, before the app is imported: gevent and eventlet put others in their place, which would never run here.
from _thread import start_new_thread
from collections.abc import Iterator
from pathlib import Path
from time import sleep

Socket = socket.socket
#: Seconds between two looks at what a worker still answers.
PAUSE = 0.02
#: Seconds that a server has for its own end, when its workers have drained or their time is over.
END = 5.0
#: What the main process says to a worker: that it may accept, that it is to drain.
SERVE, DRAIN = b"serve", b"drain"
#: The flag of a socket that listens, in /proc/net/unix.
LISTENS = 0x10000


def held(path: str) -> Iterator[tuple[int, bool]]:
    """The descriptors of this process that belong to the Unix socket ``path``; True: it listens, False: it is a connection."""
    sockets = {}
    for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == path:
            sockets[int(fields[6])] = bool(int(fields[3], 16) & LISTENS)
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found = descriptor.stat()
        except OSError:
            # It was closed meanwhile.
            continue
        if stat.S_ISSOCK(found.st_mode) and found.st_ino in sockets:
            yield int(descriptor.name), sockets[found.st_ino]


def stop_accepting(path: str) -> None:
    """In a worker: whoever accepts at ``path`` here finds nothing any more. Other processes that have the socket go on.

    No server has a way to say this. So its descriptor becomes that of a socket which nobody knows.
    """
    for number, listens in held(path):
        if listens:
            unwatch(number)
            with Socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobodys:
                # A name that the kernel chooses.
                nobodys.bind("")
                nobodys.listen(1)
                nobodys.setblocking(os.get_blocking(number))
                os.dup2(nobodys.fileno(), number, inheritable=os.get_inheritable(number))


def unwatch(number: int) -> None:
    """Take a descriptor out of each epoll of this process, which would go on waking for connections that are others'."""
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            watched = [line.split()[1] for line in info.read_text().splitlines() if line.startswith("tfd:")]
            if str(number) in watched:
                with select.epoll.fromfd(os.dup(int(info.name))) as one:
                    one.unregister(number)
        except OSError:
            continue


class Worker:
    """A worker's side: it says that it serves, and drains when the main process asks, or after so many requests."""

    def __init__(self, control: str, path: str, limit: int) -> None:
        """:arg control: the main process's socket. :arg path: the socket that visitors' connections come from.

        :arg limit: requests after which it ends, so that the server starts another; 0: never.
        """
        self.path, self.limit = path, limit
        self.answered = itertools.count(1)
        self.main = Socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.main.connect(control)
        self.main.sendall(SERVE)
        if said(self.main) == DRAIN:
            # The server ends while it starts this worker.
            stop_accepting(path)
            self.drained()
        else:
            start_new_thread(self.attend, ())

    def attend(self) -> None:
        """Wait for the main process to ask, or to be gone."""
        said(self.main)
        self.drain()
        self.drained()

    def drained(self) -> None:
        """Tell the main process so by the end of the connection, also where a process that the app has forked holds a copy."""
        with contextlib.suppress(OSError):
            self.main.shutdown(socket.SHUT_RDWR)

    def count(self) -> None:
        """A request was answered."""
        if next(self.answered) == self.limit:
            start_new_thread(self.end, ())

    def end(self) -> None:
        """Drain, then let the server end this worker as it does."""
        self.drain()
        os.kill(os.getpid(), signal.SIGTERM)

    def drain(self) -> None:
        """Until nothing is answered here any more."""
        quiet = 0
        # Twice: a connection may have been taken just before.
        while quiet < 2:
            # Each time: a worker that has just begun may open the socket only now.
            stop_accepting(self.path)
            sleep(PAUSE)
            quiet = 0 if list(held(self.path)) else quiet + 1


class Main:
    """The main process of the unit: it tells systemd what workers say, and ends the server when they have drained."""

    def __init__(self, control: str, timeout: float, systemd: str) -> None:
        """:arg control: path of the socket for workers. :arg timeout: seconds that requests may take which are being answered.

        :arg systemd: where it listens (sd_notify), or nothing.
        """
        Path(control).unlink(missing_ok=True)
        self.listener = Socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.listener.bind(control)
        self.listener.listen(1024)
        self.timeout, self.systemd = timeout, systemd
        self.workers: set[socket.socket] = set()
        #: When workers that have not drained are waited for no longer; None while the server serves.
        self.until: float | None = None
        #: When the server is killed; None until it is told to end.
        self.last: float | None = None

    def fork(self) -> int:
        """Fork; 0 in the child, which is to become the server."""
        heard = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, heard)
        child = os.fork()
        if child:
            self.awake, awaken = os.pipe()
            os.set_blocking(awaken, False)
            signal.set_wakeup_fd(awaken)
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
            signal.signal(signal.SIGTERM, self.end)
            signal.signal(signal.SIGINT, self.end)
        else:
            self.listener.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
        return child

    def end(self, number: int, frame: object) -> None:
        """Ask the workers to drain. A second signal waits for nobody."""
        self.until = time.monotonic() + (self.timeout if self.until is None else 0)
        for worker in self.workers:
            say(worker, DRAIN)

    def watch(self, child: int) -> int:
        """Until the child has ended; its exit code."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            selector.register(self.awake, selectors.EVENT_READ)
            while True:
                due = self.until if self.last is None else self.last
                for key, _ in selector.select(None if due is None else max(0.0, due - time.monotonic())):
                    if key.fileobj is self.listener:
                        worker = self.listener.accept()[0]
                        self.workers.add(worker)
                        selector.register(worker, selectors.EVENT_READ, worker)
                    elif key.data is None:
                        os.read(self.awake, 64)
                    elif said(key.data):
                        tell(self.systemd, b"READY=1")
                        say(key.data, SERVE if self.until is None else DRAIN)
                    else:
                        # It has drained, or died.
                        selector.unregister(key.data)
                        self.workers.discard(key.data)
                        key.data.close()
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return self.code(os.waitstatus_to_exitcode(status))
                self.proceed(child)

    def code(self, code: int) -> int:
        """The exit code of a server that has ended with ``code``; a negative one is a signal, ours where it was told to end."""
        if code >= 0:
            return code
        return 0 if self.last else 128 - code

    def proceed(self, child: int) -> None:
        """Tell the server to end when its workers have drained, or their time is over; kill it when that is over, too."""
        now = time.monotonic()
        if self.last is not None:
            if now >= self.last:
                print(f"The server did not end in {END:.0f} s: it is killed.", file=sys.stderr, flush=True)
                os.kill(child, signal.SIGKILL)
                self.last = now + END
        elif self.until is not None and (not self.workers or now >= self.until):
            os.kill(child, signal.SIGTERM)
            self.last = now + END


def say(worker: socket.socket, word: bytes) -> None:
    """Say a word to a worker, unless it has died."""
    with contextlib.suppress(OSError):
        worker.send(word)


def said(other: socket.socket) -> bytes:
    """What the other side says; nothing when it is gone."""
    try:
        return other.recv(len(SERVE))
    except OSError:
        return b""


def tell(systemd: str, words: bytes) -> None:
    """Send ``words`` to systemd, which listens at a path or @name (sd_notify). While it is executed anew it does not listen."""
    if systemd:
        with Socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as server, contextlib.suppress(OSError):
            # A worker waits for the main process before it accepts.
            server.settimeout(1)
            server.sendto(words, f"\0{systemd[1:]}" if systemd.startswith("@") else systemd)
