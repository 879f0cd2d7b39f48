"""The model: every name, path, URL, unit and number that follows from an app's inputs, derived once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.resolve import names
from render import machine_of, model_of, render, secrets_of, specs, value

CANARY = "hunter2-hunter2-hunter2"
#: The app's Redis for libraries: tests/unit/test_redis_url.py.
LIBRARIES = {"CACHE_REDIS_URL", "RATELIMIT_STORAGE_URI", "RQ_REDIS_URL", "SOCKETIO_MESSAGE_QUEUE"}
BLOG: dict[str, Any] = {"app_name": "blog", "app_domains": ["blog.example.com", "www.blog.example.com"]}
#: What nginx's role finds out on the host.
NGINX: dict[str, Any] = {
    "__nginx_build": {"stderr": "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.5 27 Jan 2026"},
    "__nginx_ipv6": {"stat": {"exists": True}},
    "__nginx_brotli_module": {"stat": {"exists": True}},
}
TLS = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"


def path_of(model: dict[str, Any], path: str) -> Any:
    """``tls.certificate`` of a model."""
    for part in path.split("."):
        model = model[part]
    return model


#: What DESIGN.md and docs/contract.md promise for an app called blog.
DERIVED: dict[str, Any] = {
    **{"name": "blog", "domain": "blog.example.com", "domains": BLOG["app_domains"], "user": "blog", "group": "blog"},
    **{"proxy_group": "www-data", "root": "/srv/blog", "releases": "/srv/blog/releases", "current": "/srv/blog/current"},
    **{"shared": "/srv/blog/shared", "config_dir": "/etc/blog", "environment_file": "/etc/blog/environment"},
    **{"secrets_file": "/etc/blog/secrets", "files_dir": "/etc/blog/files", "log_dir": "/var/log/blog"},
    **{"backup_dir": "/var/backups/blog", "socket": "/run/blog/gunicorn.sock"},
    **{"health.ready": "", "health.live": ""},
    **{"tls.dir": "/etc/ssl/blog", "tls.certificate": "/etc/ssl/blog/fullchain.pem", "tls.key": "/etc/ssl/blog/privkey.pem"},
    **{"tls.status": "/var/lib/slipway/blog-tls.json", "tls.webroot": "/var/lib/blog-acme"},
    **{"database.name": "blog", "database.user": "blog", "database.port": 5432, "database.host": ""},
    **{"database.socket_dir": "/run/postgresql", "database.url": "postgresql:///blog?host=/run/postgresql"},
    **{"database.readonly": "blog_readonly", "database.migrate": "blog_migrate", "database.serves": True, "database.hosts": 1},
    **{"redis.name": "blog", "redis.socket": "/run/redis-blog/redis.sock", "redis.url": "unix:///run/redis-blog/redis.sock?db=0"},
    **{"runtime_dir": "/run/blog", "rehearsal_socket": "/run/blog-rehearsal/gunicorn.sock", "redis.cache_name": "blog-cache"},
    **{"redis.local": True, "redis.cache": None, "backup.engine": "dump", "backup.hour": 3, "backup.minute": 30},
    **{"server.workers": "auto", "server.threads": 4, "server.memory_share": 0.5, "server.timeout": 30},
    **{"proxy_hops": 1, "migrate_command": "auto", "processes": {}, "static": {}, "uploads": {}},
}


@pytest.mark.parametrize("path", DERIVED)
def test_a_name_follows_from_the_apps(path: str) -> None:
    """[F1] Each of them is a promise: hosts that are up have them."""
    assert path_of(model_of(**BLOG), path) == DERIVED[path]


@pytest.mark.parametrize(
    ("said", "path", "value"),
    [
        ({"app_user": "www"}, "user", "www"),
        ({"app_root": "/home/blog"}, "releases", "/home/blog/releases"),
        ({"app_root": "/home/blog", "app_shared": "/data"}, "shared", "/data"),
        ({"app_root": "/home/blog", "app_shared": "/data"}, "current", "/home/blog/current"),
        ({"app_config_dir": "/etc/x"}, "secrets_file", "/etc/x/secrets"),
        ({"app_tls_dir": "/etc/x"}, "tls.key", "/etc/x/privkey.pem"),
        ({"app_tls_key": "/k"}, "tls.certificate", "/etc/ssl/blog/fullchain.pem"),
        ({"app_socket": "/run/b.sock"}, "socket", "/run/b.sock"),
        ({"app_database": "weblog"}, "database.url", "postgresql:///weblog?host=/run/postgresql"),
        ({"app_database_socket_dir": "/tmp/pg"}, "database.url", "postgresql:///blog?host=/tmp/pg"),
        ({"app_database_url": "postgresql:///blog?host=/tmp/pg"}, "database.socket_dir", "/tmp/pg"),
        ({"app_user": "www"}, "database.user", "www"),
        ({"app_user": "www"}, "database.migrate", "www_migrate"),
        ({"app_redis_socket": "/run/r.sock"}, "redis.url", "unix:///run/r.sock?db=0"),
        ({"app_redis_socket": "/run/r.sock"}, "redis.local", True),
        ({"app_redis_url": "redis://cache.example.com/0"}, "redis.local", False),
        ({"app_redis_cache": True}, "redis.cache.url", "unix:///run/redis-blog-cache/redis.sock?db=0"),
        ({"app_redis_cache": "yes"}, "redis.cache.name", "blog-cache"),
        ({"server_workers": 3}, "server.workers", "3"),
        ({"server_threads": "8"}, "server.threads", 8),
        ({"app_domain": "www.blog.example.com"}, "domain", "www.blog.example.com"),
        ({"postgres_allow": ["192.0.2.1", "192.0.2.2"]}, "database.hosts", 2),
        ({"postgres_app_hosts": 5}, "database.hosts", 5),
    ],
)
def test_what_the_operator_says_wins_with_all_that_follows(said: dict[str, Any], path: str, value: Any) -> None:
    """[F1] [A2] And nothing else changes by it."""
    assert path_of(model_of(**BLOG, **said), path) == value


def test_a_shortened_socket_reaches_every_layer() -> None:
    """[F1] [A5] As our own message advises: units, nginx and the release module are given the same path (at a26d27e one built its own)."""
    short = {**BLOG, "app_socket": "/run/b.sock"}
    unit = render("server", "etc/systemd/system/app.socket.j2", **short)
    site = render("nginx", "etc/nginx/sites-available/site.conf.j2", **short, **NGINX)
    assert "ListenStream=/run/b.sock" in unit.splitlines() and "unix:/run/b.sock" in site
    assert "/run/blog/gunicorn.sock" not in site + unit
    told = value("release", "__release_common.socket", **short, __release_source={})
    assert told == model_of(**short)["socket"] == "/run/b.sock"


def test_the_environment_says_what_the_layers_have() -> None:
    """[F1] [A11] What is derived, and the operator's own beside it."""
    found = model_of(**BLOG, app_env={"MAIL_PORT": 25, "FLASK_DEBUG": "0"}, app_redis_cache=True, app_proxy_hops="2")["environment"]
    assert {name: value for name, value in found.items() if name not in LIBRARIES} == {
        **{"DATABASE_URL": "postgresql:///blog?host=/run/postgresql", "REDIS_URL": "unix:///run/redis-blog/redis.sock?db=0"},
        **{"REDIS_CACHE_URL": "unix:///run/redis-blog-cache/redis.sock?db=0", "TRUSTED_HOSTS": "blog.example.com,www.blog.example.com"},
        **{"FLASK_APP": "logbook:create_app()", "FLASK_DEBUG": "0", "PROXY_HOPS": "2", "MAIL_PORT": 25},
    }


def test_the_environment_overrules_gunicorns_settings() -> None:
    """[F1] [A2] As it does for the running process; an empty one is none. The sum of connections reads the same numbers."""
    environment = {"app_env": {"WEB_CONCURRENCY": 7, "GUNICORN_THREADS": ""}, "app_secrets": {"GUNICORN_TIMEOUT": "9"}}
    server = model_of(**BLOG, server_workers=2, **environment)["server"]
    assert (server["workers"], server["threads"], server["timeout"]) == ("7", 4, 9)


def test_the_model_is_plain_facts() -> None:
    """[F1] It goes through Ansible's results and into /etc/<app>/app.json as it is."""
    model = model_of(**BLOG, app_processes={"worker": {"command": "celery"}}, app_static={"/static/": "s"})
    assert json.loads(json.dumps(model)) == model


def test_no_secret_is_in_the_model() -> None:
    """[A11] It is shown, and lies readable on the host; `app_secret` has what it leaves out."""
    database = f"postgresql://blog_1:{CANARY}@db.example.com/blog?{TLS}"
    redis = f"rediss://:{CANARY}@cache.example.com/0"
    source = {"type": "git", "repo": f"https://token:{CANARY}@git.example.com/blog.git", "version": "v1", "deploy_key": CANARY}
    said = {
        "app_source": source,
        "app_secrets": {"SECRET_KEY": CANARY, "TOKEN": CANARY},
        "app_files": {"saml.xml": {"content": CANARY}},
    }
    for place in ({"app_database_url": database, "app_redis_url": redis}, {"app_env": {"DATABASE_URL": database, "REDIS_URL": redis}}):
        given = {**BLOG, **said, **place}
        assert CANARY not in json.dumps(model_of(**given)), place
        secret = secrets_of(**given)
        found = {name: value for name, value in secret.environment.items() if name not in LIBRARIES}
        assert found == {"DATABASE_URL": database, "REDIS_URL": redis, "SECRET_KEY": CANARY, "TOKEN": CANARY}, place
        assert (secret.database_password, secret.source) == (CANARY, source)
        assert secret.files == {"saml.xml": {"content": CANARY}}
        # Readable: where it is, and not with what.
        assert model_of(**given)["environment"]["DATABASE_URL"] == f"postgresql://blog_1@db.example.com/blog?{TLS}"


@pytest.mark.parametrize("url", [f"postgresql://u:{CANARY}@db/blog?{TLS}", f"postgresql:///blog?host=db&user=u&password={CANARY}&{TLS}"])
def test_a_password_is_found_wherever_the_url_has_it(url: str) -> None:
    """[A11] Before the host, or among the parameters."""
    assert CANARY not in json.dumps(model_of(**BLOG, app_database_url=url))
    assert secrets_of(**BLOG, app_database_url=url).database_password == CANARY


def test_the_limits_of_a_role_are_merged_by_key() -> None:
    """[F1] At a26d27e one that was said dropped the other two in silence."""
    limits = model_of(**BLOG, postgres_limits_app={"statement_timeout": "10s"})["database"]["limits"]
    assert limits["app"] == {"lock_timeout": "10s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "5min"}
    assert limits["migrate"]["statement_timeout"] == "0"
    assert model_of(**BLOG, postgres_limits_readonly={"default_transaction_read_only": False})["database"]["limits"]["readonly"] == {
        **{"default_transaction_read_only": "off", "lock_timeout": "1s"},
        **{"statement_timeout": "5min", "idle_in_transaction_session_timeout": "5min"},
    }


def test_every_documented_name_that_is_derived_is_in_the_model() -> None:
    """[F1] An input without a default is derived, or asked for: a variable that only its description knows would do nothing."""
    derived = names(BLOG)
    # Of app_services the model has what follows from it.
    asked = {"app_name", "app_domains", "app_wsgi", "app_source", "app_machine", "app_services"}
    without = {name for name, option in specs().options.items() if name.startswith("app_") and "default" not in option}
    assert without - asked <= set(derived) and set(derived) <= set(specs().options)


# --- Several apps on one machine ----------------------------------------------------------------


def shared(**more: dict[str, Any]) -> Any:
    return machine_of({name: {"app_name": name, "app_domains": [f"{name}.example.com"], **said} for name, said in more.items()})


def test_apps_share_the_memory_of_their_machine() -> None:
    """[F2] [A3] The operator's share is the machine's; each app has its part of it."""
    assert [app.server.memory_share for app in shared(blog={}, shop={}).apps] == [0.25, 0.25]
    assert [app.server.memory_share for app in shared(blog={}, shop={"server_memory_share": 0.3}, wiki={}).apps] == [0.1667, 0.1, 0.1667]
    assert shared(blog={}).apps[0].server.memory_share == 0.5


@pytest.mark.parametrize(
    ("said", "times"),
    [
        (({}, {}, {}), [(3, 30), (4, 0), (4, 30)]),
        # Said for all in one place: they would all begin at once.
        (({"backup_hour": 1}, {"backup_hour": 1}, {"backup_hour": 1}), [(1, 30), (2, 0), (2, 30)]),
        (({"backup_hour": 23, "backup_minute": 45},) * 3, [(23, 45), (0, 15), (0, 45)]),
        # Said for one: it is as said, and the others keep away from it.
        (({"backup_hour": 5, "backup_minute": "0"}, {}, {}), [(5, 0), (3, 30), (4, 0)]),
    ],
)
def test_backups_of_a_machine_are_spread(said: tuple[dict[str, Any], ...], times: list[tuple[int, int]]) -> None:
    """[F2] [D3] No two begin at the same minute."""
    apps = shared(**dict(zip(("blog", "shop", "wiki"), said, strict=True))).apps
    assert [(app.backup.hour, app.backup.minute) for app in apps] == times


def test_a_night_has_room_for_many_apps() -> None:
    """[F2] Forty-eight half hours; then two may begin together, and nothing fails."""
    apps = shared(**{f"a{number}": {} for number in range(49)}).apps
    assert len({(app.backup.hour, app.backup.minute) for app in apps}) == 48


def test_lists_of_the_machine_are_joined() -> None:
    """[F2] What one app needs is installed, whichever of them the run is for; each thing once, in order."""
    joined = shared(blog={"postgres_packages_custom": ["postgis", "x"]}, shop={"postgres_packages_custom": ["x", "y"]}, wiki={}).joined
    assert joined["postgres_packages_custom"] == ["postgis", "x", "y"]
    assert shared(blog={}, shop={}).joined["base_packages"] == shared(blog={}).joined["base_packages"]


def test_the_machine_knows_all_its_apps() -> None:
    """[F2] Each in full, so that the machine's part of a layer reads one thing."""
    facts = shared(blog={"app_database_url": f"postgresql://u:p@db.example.com/blog?{TLS}"}, shop={"backup_engine": "pgbackrest"}).facts()
    assert facts["entries"] == ["blog", "shop"] == [app["entry"] for app in facts["apps"]]
    assert facts["archives"] and facts["serves_database"] and not shared(blog={}).archives
    assert not shared(blog={"app_database_url": f"postgresql://u:p@db/blog?{TLS}"}).facts()["serves_database"]
    # pgbackrest for a database elsewhere archives nothing here.
    assert not shared(blog={"app_database_url": f"postgresql://u:p@db/blog?{TLS}", "backup_engine": "pgbackrest"}).archives
    assert json.loads(json.dumps(facts)) == facts


RUNS = {"app_processes": {"worker": {"command": "x"}}, "app_timers": {"nightly": {"command": "x", "schedule": "daily"}}}


def test_what_an_app_claims_is_its_own() -> None:
    """[F2] [A5] Two apps with different names and domains claim nothing in common; every unit is claimed."""
    blog, shop = shared(blog={**RUNS, "app_redis_cache": True}, shop={"app_redis_cache": True}).apps
    assert not set(blog.claims()) & set(shop.claims())
    assert "unit:blog-nightly" in blog.claims()
    assert {"unit:blog", "unit:blog-worker", "unit:blog-rehearsal", "unit:blog-tls", "unit:blog-backup"} <= set(blog.claims())
    assert {"user:blog", "path:/srv/blog", "path:/etc/blog", "database:blog", "redis:blog", "redis:blog-cache"} <= set(blog.claims())
