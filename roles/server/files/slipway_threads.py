# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""A worker of Gunicorn whose threads take connections themselves: whichever worker is free takes the next request.

Gunicorn's own (gthread) accepts connections for threads that are busy, and a kept one stays with its worker: quick requests wait behind
slow ones while other workers idle (benoitc/gunicorn#3433). Here a connection is taken by the thread that answers it, and is one request.
While one thread of a worker computes, the others leave connections to other workers; while it waits, they help.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from typing import Any

from gunicorn import http
from gunicorn.workers.sync import SyncWorker

#: Seconds after which another thread looks whether it should help, at first and at most, and by how much it may be late.
PAUSE, MOST, LATE = 0.001, 0.004, 0.0006


class Turns:
    """Which thread of a worker waits for the next connection: one at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bell = threading.Semaphore(0)
        self.open = True
        self.accepting = False
        self.scouting = False
        self.busy = 0
        self.parked = 0

    def wait(self) -> None:
        """Until this thread may take a connection."""
        with self.lock:
            if not self.accepting and not self.busy:
                self.accepting = True
                return
            park = self.accepting or self.scouting
            self.parked += park
            self.scouting = self.scouting or not park
        pause = PAUSE
        while self.open:
            if park:
                self.bell.acquire()
                pause = PAUSE
            due = time.monotonic() + pause
            time.sleep(pause)
            late = time.monotonic() - due > LATE
            with self.lock:
                if not self.accepting and not (self.busy and late):
                    self.scouting, self.accepting = False, True
                    return
                park = self.accepting and pause >= MOST
                if park:
                    self.scouting = False
                    self.parked += 1
            pause = min(pause * 2, MOST)

    def took(self) -> None:
        """It has one, and answers it; another may look whether it should help."""
        with self.lock:
            self.accepting = False
            self.busy += 1
            wake = self.parked > 0 and not self.scouting
            if wake:
                self.parked -= 1
                self.scouting = True
        if wake:
            self.bell.release()

    def done(self) -> None:
        """It has answered."""
        with self.lock:
            self.busy -= 1

    def end(self, threads: int) -> None:
        """Nobody waits any more."""
        self.open = False
        for _ in range(threads):
            self.bell.release()


class ThreadWorker(SyncWorker):  # type: ignore[misc, unused-ignore]
    """Threads that each take a connection, answer its one request, and take the next."""

    alive: bool

    def run(self) -> None:
        """Gunicorn's main loop of a worker: the master hears of it while a thread is free, or has not been at a request for too long."""
        self.listener = self.sockets[0]
        self.listener.setblocking(False)
        self.turns = Turns()
        self.since: list[float | None] = [None] * self.cfg.threads
        self.stop, stopping = os.pipe()
        threads = [threading.Thread(target=self.serve, args=(number,), daemon=True) for number in range(self.cfg.threads)]
        for thread in threads:
            thread.start()
        while self.alive and self.is_parent_alive():
            now = time.monotonic()
            if any(since is None or now - since < self.timeout for since in self.since):
                self.notify()
            if select.select([self.PIPE[0]], [], [], 1.0)[0]:
                os.read(self.PIPE[0], 64)
        self.alive = False
        os.write(stopping, b"x")
        self.turns.end(len(threads))
        until = time.monotonic() + self.cfg.graceful_timeout
        for thread in threads:
            while thread.is_alive() and time.monotonic() < until:
                self.notify()
                thread.join(0.5)

    def serve(self, number: int) -> None:
        """What a thread does."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(self.stop, select.POLLIN)
        while self.alive:
            self.turns.wait()
            taken = None
            while self.alive and not taken:
                taken = self.take(poll)
            if not taken:
                return
            self.turns.took()
            self.since[number] = time.monotonic()
            self.answer(*taken)
            self.since[number] = None
            self.turns.done()

    def take(self, poll: Any) -> tuple[Any, Any] | None:
        """A connection, unless another worker was quicker."""
        try:
            taken: tuple[Any, Any] = self.listener.accept()
            return taken
        except BlockingIOError:
            poll.poll()
        except OSError as error:
            if error.errno not in (errno.ECONNABORTED, errno.EINTR):
                raise
        return None

    def answer(self, client: Any, address: Any) -> None:
        """Its request, as Gunicorn's sync worker does it."""
        request = None
        try:
            client.setblocking(True)
            request = next(http.get_parser(self.cfg, client, address))
            self.handle_request(self.listener, request, client, address)
        except (http.errors.NoMoreData, StopIteration) as error:
            self.log.debug("closed: %s", error)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                self.log.exception("Socket error processing request.")
        except BaseException as error:
            self.handle_error(request, client, address, error)
        finally:
            # The request was read whole, and nginx is told that the connection ends: nobody has to be waited for.
            client.close()
