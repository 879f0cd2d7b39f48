"""The smallest app: three paths, and a counter in its Redis."""

import os

import redis
from flask import Flask

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.get("/")
def front() -> str:
    return f"tiny, visitor {store.incr('visitors')}\n"


@app.get("/ready")
def ready() -> str:
    store.ping()
    return "ready\n"


@app.get("/live")
def live() -> str:
    return "live\n"
