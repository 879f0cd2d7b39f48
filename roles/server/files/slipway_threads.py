# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""A worker of Gunicorn whose threads take connections themselves: whichever worker is free takes the next request.

Gunicorn's own (gthread) accepts connections for threads that are busy: quick requests wait behind slow ones while other workers idle
(benoitc/gunicorn#3433). Here the thread that takes a connection answers it, and a connection is one request. While one thread of a worker
computes, the others leave connections to other workers; when its request takes long as it waits for something, they help.

It has one socket to listen at. It runs with the Python of the app's release: it needs Python 3.9, and Gunicorn 26 or 27
(slipway_gunicorn.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from typing import Any

from gunicorn import http
from gunicorn.workers.sync import SyncWorker

#: Seconds after which a request of the worker is long, and free threads help. With shorter ones it costs more than it brings: on one core
#: with five workers and PostgreSQL, 64 visitors of a page of twenty rows got 338 answers a second after 10 ms, 392 after 30 ms (452 without
#: help), of a view that waits 50 ms 341 and 330 (94 without); medians of turns, 2026-11-28.
LONG = 0.03
#: Seconds after which a free thread looks again whether it should help, at first and at most.
PAUSE, MOST = 0.001, 0.004
#: By so many seconds it is late where another thread computes: Python runs one of them at a time.
LATE = 0.0006
#: After so many seconds in which no request of the worker began or ended it helps in any case.
PATIENCE = 0.05
#: Seconds that the rest of a request may take which the app has not read.
REST = 5.0


class Turns:
    """Which thread of a worker takes the next connection: one waits for it, one more looks whether it should, the others are parked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bell = threading.Semaphore(0)
        self.open = True
        self.accepting = False
        self.scouting = False
        self.parked = 0
        #: Threads that answer a request, and since when: the oldest first.
        self.busy: dict[int, float] = {}
        #: When a request began or ended last.
        self.moved = time.monotonic()

    def left(self) -> float:
        """Seconds until the oldest request is long; 0 or less when it is. With the lock."""
        return next(iter(self.busy.values()), 0.0) + LONG - time.monotonic()

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
            with self.lock:
                nap = max(pause, self.left())
            due = time.monotonic() + nap
            time.sleep(nap)
            now = time.monotonic()
            with self.lock:
                computes = now - due > LATE and now - self.moved < PATIENCE
                if not self.accepting and (not self.busy or (self.left() <= 0 and not computes)):
                    self.scouting, self.accepting = False, True
                    return
                park = self.accepting and pause >= MOST
                if park:
                    self.scouting = False
                    self.parked += 1
            pause = min(pause * 2, MOST)

    def took(self) -> None:
        """This thread has a connection, and answers it; another may look whether it should help."""
        with self.lock:
            self.accepting = False
            self.moved = self.busy[threading.get_ident()] = time.monotonic()
            wake = self.parked > 0 and not self.scouting
            if wake:
                self.parked -= 1
                self.scouting = True
        if wake:
            self.bell.release()

    def done(self) -> None:
        """This thread has answered."""
        with self.lock:
            del self.busy[threading.get_ident()]
            self.moved = time.monotonic()

    def end(self) -> None:
        """Nobody waits any more."""
        with self.lock:
            self.open = False
            parked, self.parked = self.parked, 0
        for _ in range(parked + 1):
            self.bell.release()


class ThreadWorker(SyncWorker):  # type: ignore[misc, unused-ignore]
    """Threads that each take a connection, answer its one request, and take the next."""

    alive: bool
    wsgi: Any

    def run(self) -> None:
        """Gunicorn's main loop of a worker. The master hears of it while a thread is free or requests come and go.

        A worker whose threads have all been at one request for `timeout` seconds is replaced, as a sync worker is.
        """
        app = self.wsgi

        def threaded(environ: dict[str, Any], start_response: Any) -> Any:
            environ["wsgi.multithread"] = True
            return app(environ, start_response)

        self.wsgi = threaded
        self.listener = self.sockets[0]
        self.listener.setblocking(False)
        self.turns = Turns()
        ended, ending = os.pipe()
        self.poll = select.epoll()
        # One worker wakes for a connection, not all.
        self.poll.register(self.listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self.poll.register(ended, select.EPOLLIN)
        threads = [threading.Thread(target=self.serve, daemon=True) for _ in range(self.cfg.threads)]
        for thread in threads:
            thread.start()
        seen = 0.0
        while self.alive and self.is_parent_alive():
            if len(self.turns.busy) < len(threads) or self.turns.moved != seen:
                self.notify()
            seen = self.turns.moved
            # Signals write to it, and threads that end the worker.
            if select.select([self.PIPE[0]], [], [], 1.0)[0]:
                os.read(self.PIPE[0], 64)
        self.alive = False
        os.write(ending, b"x")
        self.turns.end()
        until = time.monotonic() + self.cfg.graceful_timeout
        for thread in threads:
            while thread.is_alive() and time.monotonic() < until:
                self.notify()
                thread.join(0.5)

    def serve(self) -> None:
        """What a thread does. A worker that loses one ends."""
        try:
            while self.alive:
                self.turns.wait()
                taken = self.take()
                if taken:
                    self.turns.took()
                    self.answer(*taken)
                    self.turns.done()
        except BaseException:
            self.log.exception("A thread of the worker ended.")
        self.alive = False
        self.wakeup()

    def take(self) -> tuple[Any, Any] | None:
        """The next connection; None when the worker ends."""
        while self.alive:
            try:
                taken: tuple[Any, Any] = self.listener.accept()
                return taken
            except BlockingIOError:
                # Another worker was quicker, or there is none.
                self.poll.poll()
            except OSError as error:
                if error.errno not in (errno.ECONNABORTED, errno.EINTR):
                    raise
        return None

    def answer(self, client: Any, address: Any) -> None:
        """Its request, as Gunicorn's sync worker answers it."""
        request = None
        try:
            client.setblocking(True)
            parser = http.get_parser(self.cfg, client, address)
            request = next(parser)
            self.handle_request(self.listener, request, client, address)
            # What the app has not read: nginx would take an early end for a failure.
            parser.finish_body(deadline=time.monotonic() + REST, max_bytes=1 << 40)
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

    def wakeup(self) -> None:
        """Let the main loop look whether the worker ends."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.PIPE[1], b"x")
