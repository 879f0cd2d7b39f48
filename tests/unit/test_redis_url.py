"""The app's Redis in the spelling of each client library: the table, and the libraries themselves where they are installed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.redis_url import KOMBU, LIMITS, PLAIN, spelled
from render import model_of, secrets_of

from .test_contract import GOOD, check

BLOG = {"app_name": "blog", "app_domains": ["blog.example.com"]}
SOCKET = "/run/redis-blog/redis.sock"
#: What each library takes; every other spelling of these three it refuses (tried, see the module).
TABLE = {
    "SOCKETIO_MESSAGE_QUEUE": f"redis+socket://{SOCKET}?virtual_host=0",
    "RATELIMIT_STORAGE_URI": f"redis+unix://{SOCKET}?db=0",
    "CACHE_REDIS_URL": f"unix://{SOCKET}?db=0",
    "RQ_REDIS_URL": f"unix://{SOCKET}?db=0",
    "REDIS_URL": f"unix://{SOCKET}?db=0",
}


def environment(**said: Any) -> dict[str, Any]:
    """What the app finds, secrets included; a secret is in no public part."""
    assert "hunter2" not in json.dumps(model_of(**BLOG, **said))
    return {**model_of(**BLOG, **said)["environment"], **secrets_of(**BLOG, **said).environment}


def test_each_library_finds_its_spelling() -> None:
    """[F6] Field case 27: unix:// fits neither Celery, Flask-Limiter nor Flask-SocketIO."""
    found = environment()
    assert {name: found[name] for name in TABLE} == TABLE
    # It would overrule what the app's code says of results.
    # Celery lets these win over the app's code, which may have its broker elsewhere.
    assert not {"CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"} & set(found)
    assert not set(TABLE) & set(environment(app_services=["postgres"]))


@pytest.mark.parametrize("place", ["app_env", "app_secrets"])
@pytest.mark.parametrize("name", list(TABLE)[:-1])
def test_what_the_operator_says_wins(place: str, name: str) -> None:
    """[F1] [F6] Under each name; empty switches one off."""
    for value in ("redis://other/0", ""):
        said = {place: {**GOOD[place], name: value}}
        assert check(**said) == [] and environment(**said)[name] == value


def test_a_cache_of_its_own() -> None:
    """[F6] What may be forgotten goes there."""
    assert environment(app_redis_cache=True)["CACHE_REDIS_URL"] == "unix:///run/redis-blog-cache/redis.sock?db=0"


def test_a_redis_elsewhere() -> None:
    """[F6] [A11] All spell it alike; its password is in the secrets. Kombu is told to check the certificate, or it would trust anybody."""
    url = "rediss://:hunter2@redis.example.com:6380/2"
    found = environment(app_secrets={**GOOD["app_secrets"], "REDIS_URL": url})
    assert found["RATELIMIT_STORAGE_URI"] == found["CACHE_REDIS_URL"] == found["RQ_REDIS_URL"] == url
    assert found["SOCKETIO_MESSAGE_QUEUE"] == f"{url}?ssl_cert_reqs=required"


@pytest.mark.parametrize(
    "url",
    [
        "unix:///run/r.sock?db=3",
        "redis+socket:///run/r.sock?virtual_host=3",
        "redis+socket:///run/r.sock?db=3",
        "unix://:pw@/run/r.sock?db=3",
    ],
)
def test_every_spelling_becomes_every_other(url: str) -> None:
    """[F6] The number of the database goes with it, and so does a password."""
    login = ":pw@" if "pw" in url else ""
    assert spelled(url, KOMBU) == f"redis+socket://{login}/run/r.sock?virtual_host=3"
    assert spelled(url, LIMITS) == f"redis+unix://{login}/run/r.sock?db=3"
    assert spelled(url, PLAIN) == f"unix://{login}/run/r.sock?db=3"


def test_what_is_no_url_is_refused_in_words() -> None:
    """[F8] The names that follow from it do not fall over it."""
    for place in ("app_redis_url", "app_redis_cache_url"):
        assert [problem.variable for problem in check(**{place: "redis://[::1/0"})] == [place]


# --- The libraries themselves, without a server -------------------------------------------------------


def _redis(url: str) -> tuple[str, int]:
    arguments = importlib.import_module("redis").from_url(url).connection_pool.connection_kwargs
    return arguments["path"], int(arguments["db"])


def _celery(url: str) -> tuple[str, int]:
    backend = importlib.import_module("celery").Celery("x", backend=url).backend
    return backend.connparams["path"], int(backend.connparams["db"])


def _limits(url: str) -> tuple[str, int]:
    storage = importlib.import_module("limits.storage").storage_from_string(url)
    arguments = storage.storage.connection_pool.connection_kwargs
    return arguments["path"], int(arguments["db"])


@pytest.mark.parametrize(("library", "ask", "scheme"), [("redis", _redis, PLAIN), ("celery", _celery, KOMBU), ("limits", _limits, LIMITS)])
def test_the_library_itself_takes_it(library: str, ask: Callable[[str], tuple[str, int]], scheme: str) -> None:
    """[F6] Each gets to the socket and to the database's number."""
    pytest.importorskip(library, reason=f"{library} is not installed here")
    assert ask(spelled("unix:///run/redis-blog/redis.sock?db=3", scheme)) == (SOCKET, 3)
