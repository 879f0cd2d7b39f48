"""The app of `make bench-http`: a path for each workload."""

from __future__ import annotations

import os
import time
from functools import cache

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, jsonify, request
from psycopg_pool import ConnectionPool

app = Flask(__name__)
#: For servers that speak ASGI alone.
asgi = WSGIMiddleware(app, workers=int(os.environ.get("BENCH_THREADS", "4")))


@cache
def pool() -> ConnectionPool:
    """Connections of this process, opened with its first request."""
    return ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=4, open=True)


@app.get("/hello")
def hello() -> str:
    """One word, which asks nobody."""
    return "Hello"


@app.get("/cpu")
def cpu() -> str:
    """5 ms of this thread's own time."""
    until = time.thread_time() + 0.005
    while time.thread_time() < until:
        sum(range(200))
    return "done"


@app.get("/wait")
def wait() -> str:
    """50 ms of somebody else's: a call to another service."""
    time.sleep(0.05)
    return "done"


@app.get("/sleep")
def sleep() -> str:
    """A second, to keep threads busy."""
    time.sleep(1)
    return "done"


@app.get("/read")
def read() -> Response:
    """Twenty rows as JSON."""
    with pool().connection() as connection:
        rows = connection.execute(
            "SELECT id, title, body FROM post WHERE id > %s ORDER BY id LIMIT 20", (int(time.time()) % 900,)
        ).fetchall()
    return jsonify([{"id": number, "title": title, "body": body} for number, title, body in rows])


@app.post("/write")
def write() -> tuple[str, int]:
    """One row, committed."""
    with pool().connection() as connection:
        connection.execute("INSERT INTO visit (body) VALUES (%s)", (request.get_data(as_text=True),))
    return "written", 201


@app.post("/upload")
def upload() -> dict[str, int]:
    """The length of what was sent."""
    size = 0
    while chunk := request.stream.read(65536):
        size += len(chunk)
    return {"bytes": size}


def migrate() -> None:
    """The tables: a thousand posts to read, and visits to write."""
    with pool().connection() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS post (id int PRIMARY KEY, title text, body text)")
        connection.execute("CREATE TABLE IF NOT EXISTS visit (id bigserial PRIMARY KEY, body text)")
        connection.execute(
            "INSERT INTO post SELECT g, 'Post ' || g, repeat(md5(g::text), 8) FROM generate_series(1, 1000) g ON CONFLICT DO NOTHING"
        )


if __name__ == "__main__":
    migrate()
