"""One truth: what an operator says in the app's environment is the contract's input, or is refused with the variable to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.resolve import DATABASE_NAMES
from ansible_collections.slipway.vps.plugins.module_utils.rules.inputs import distance
from render import model_of, render, secrets_of, specs

from .inventory import Inventory
from .test_contract import GOOD, ROLES, check, only

TLS = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
PASSWORD = "Yk3-c0-Bq8rT_vL5nW2s"
REMOTE = f"postgresql://blog_1:{PASSWORD}@db.example.com:6432/weblog?{TLS}"
PLACES = ("app_env", "app_secrets")


def said(place: str, **names: Any) -> list[Any]:
    return check(**{place: {**GOOD[place], **names}})


# --- The database -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATABASE_NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_a_url_of_the_environment_is_the_apps_database(place: str, name: str) -> None:
    """[F1] [D3] As everyone from Heroku or Kamal says it. App, migrations and backups get the same one (at a26d27e the app alone)."""
    assert said(place, **{name: REMOTE}) == []
    model, secret = model_of(**{place: {name: REMOTE}}), secrets_of(**{place: {name: REMOTE}})
    database = model["database"]
    assert (database["host"], database["port"], database["name"], database["user"]) == ("db.example.com", 6432, "weblog", "blog_1")
    assert (database["over_socket"], database["local"], database["serves"], database["has_password"]) == (False, False, False, True)
    assert secret.database_password == PASSWORD
    # What the app finds under either name, and what nobody may read.
    assert secret.environment["DATABASE_URL"] == secret.environment[name] == REMOTE and PASSWORD not in str(model)
    backup = render("backup", "etc/app/backup-database.service.j2", **{place: {name: REMOTE}})
    assert {"host=db.example.com", "port=6432", "user=blog_1", f"password={PASSWORD}"} <= set(backup.splitlines())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("url", ["mysql://u:p@db.example.com/blog", "mysql+pymysql://u:p@h/x", "mongodb://h/x"])
@pytest.mark.parametrize("name", DATABASE_NAMES)
def test_another_kind_of_database_asks_for_a_word(place: str, url: str, name: str) -> None:
    """[F1] [K10] Backups and restore points would leave it out: the message says what to write where that is meant."""
    only(said(place, **{name: url}), place, f"{name} will not do: it does not begin with postgresql://", "app_services: [redis]")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", DATABASE_NAMES)
def test_a_word_that_is_no_url_is_refused(place: str, name: str) -> None:
    """[F1] [K10] Whatever the app uses."""
    only(said(place, **{name: "blog"}), place, f"{name} will not do: it does not begin with postgresql://", "or give it another name")
    found = check(**{place: {**GOOD[place], name: "blog"}}, app_services=["redis"])
    only(found, place, f"{name} is no URL of a database", "mysql+pymysql://")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", ["DATABASE_URL", "SQLALCHEMY_DATABASE_URI"])
def test_two_databases_are_refused(place: str, other: str) -> None:
    """[F1] Whatever the two places are; the password is in no message."""
    found = check(**{place: {**GOOD[place], other: REMOTE.replace("weblog", "other")}}, app_database_url=REMOTE)
    only(found, place, f"{other} and app_database_url name two databases", "keep one of them")
    assert PASSWORD not in str(found)
    both = check(app_env={**GOOD["app_env"], "DATABASE_URL": REMOTE}, app_secrets={**GOOD["app_secrets"], other: REMOTE + "&x=1"})
    assert [problem.variable for problem in both] == ["app_secrets"] and "name two databases" in both[0].what


def test_one_database_may_be_said_twice() -> None:
    """[F1] In whatever spelling of the driver: an app may want its own name for it."""
    alchemy = REMOTE.replace("postgresql://", "postgresql+psycopg://")
    secrets = {**GOOD["app_secrets"], "DATABASE_URL": REMOTE, "SQLALCHEMY_DATABASE_URI": alchemy}
    assert check(app_secrets=secrets) == [] == check(app_secrets=secrets, app_database_url=REMOTE)
    found = secrets_of(app_secrets=secrets).environment
    assert (found["DATABASE_URL"], found["SQLALCHEMY_DATABASE_URI"]) == (REMOTE, alchemy)


@pytest.mark.parametrize("url", ["postgresql:///other?host=/run/postgresql", REMOTE, "postgresql://localhost/other"])
@pytest.mark.parametrize("place", ["app_database_url", *PLACES])
def test_a_name_beside_another_name_of_the_url_is_refused(url: str, place: str) -> None:
    """[F1] [D3] postgres made the one, backups dumped it, and the app used the other."""
    changes = {place: {**GOOD[place], "DATABASE_URL": url}} if place in PLACES else {place: url}
    only(check(app_database="blog", **changes), "app_database", "is blog, and", "remove app_database: the URL says it")
    same = {"app_database": "other" if "other" in url else "weblog"}
    assert check(**same, **changes) == []


def test_a_host_among_the_parameters_is_another_host_for_all() -> None:
    """[F1] [D1] It was remote to the role postgres and local to the role backup."""
    url = f"postgresql://u:{PASSWORD}@/blog?host=db.example.com&{TLS}"
    assert check(app_database_url=url) == []
    database = model_of(app_database_url=url)["database"]
    assert (database["host"], database["over_socket"], database["local"], database["serves"]) == ("db.example.com", False, False, False)
    assert "host=db.example.com" in render("backup", "etc/app/backup-database.service.j2", app_database_url=url).splitlines()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("postgresql:///blog?host=/run/postgresql&port=5433", 5433),
        ("postgresql:///blog?host=/run/postgresql", 5432),
        (f"postgresql://u:p@db.example.com:6432/blog?{TLS}", 6432),
        (f"postgresql://u:p@/blog?host=db.example.com&port=6432&{TLS}", 6432),
        (f"postgresql://u:p@db.example.com/blog?{TLS}", 5432),
    ],
)
def test_the_port_of_the_url_is_everybodys(url: str, port: int) -> None:
    """[F1] It was 5432 whatever the URL said."""
    assert check(app_database_url=url) == []
    model = model_of(app_database_url=url)
    assert model["database"]["port"] == port and (not model["database"]["over_socket"] or model["machine"]["database_port"] == port)
    if not model["database"]["over_socket"]:
        assert f"port={port}" in render("backup", "etc/app/backup-database.service.j2", app_database_url=url).splitlines()


@pytest.mark.parametrize("port", ["0", "99999", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """[F1] [F8] In the URL, and among its parameters."""
    for url in (f"postgresql://u:{PASSWORD}@db:{port}/blog?{TLS}", f"postgresql://u:{PASSWORD}@db/blog?port={port}&{TLS}"):
        found = check(app_database_url=url)
        assert [problem.variable for problem in found] == ["app_database_url"] and PASSWORD not in str(found), found


# --- Everything else that a layer derives ---------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("name", "value", "what", "fix"),
    [
        ("PROXY_HOPS", "2", "PROXY_HOPS is 2, and app_proxy_hops, by which nginx sets its headers, is 1", "app_proxy_hops: 2"),
        ("TRUSTED_HOSTS", "blog.example.com", "leaves out www.blog.example.com", "add the name"),
        ("TRUSTED_HOSTS", "", "leaves out blog.example.com, www.blog.example.com", "add the name"),
        ("REDIS_URL", "memcached://x", "REDIS_URL is no URL of a Redis", "redis://"),
        ("REDIS_URL", "/run/redis.sock", "REDIS_URL is no URL of a Redis", "unix://"),
        ("REDIS_URL", "redis://[::1/0", "REDIS_URL is no URL of a Redis", "remove it"),
        ("REDIS_CACHE_URL", "redis", "REDIS_CACHE_URL is no URL of a Redis", "remove it"),
        ("GUNICORN_CMD_ARGS", "--bind 0.0.0.0:80", "would overrule the socket", "server_workers"),
        ("WEB_CONCURRENCY", "many", "WEB_CONCURRENCY is 'many'", "server_workers"),
        ("GUNICORN_TIMEOUT", "1m", "GUNICORN_TIMEOUT is '1m'", "server_timeout"),
        *((name, "x", f"{name} would lead the app to another database", "app_database_url") for name in ("PGHOST", "PGHOSTADDR", "PGPORT")),
        *((name, "x", f"{name} would lead the app to another database", "app_database_url") for name in ("PGDATABASE", "PGUSER")),
        *((name, "x", f"{name} would lead the app to another database", "app_database_url") for name in ("PGPASSWORD", "PGSERVICE")),
        *((name, "x", f"{name} is set by each release for itself", "remove") for name in ("SLIPWAY_RELEASE", "SLIPWAY_WSGI")),
    ],
)
def test_a_name_that_a_layer_derives_is_refused(place: str, name: str, value: str, what: str, fix: str) -> None:
    """[F1] [A17] [E5] With the variable to use: it would win for the app alone."""
    only(said(place, **{name: value}), place, what, fix)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROXY_HOPS", 1),
        ("TRUSTED_HOSTS", "www.blog.example.com, blog.example.com,internal"),
        ("REDIS_URL", "rediss://:p@cache.example.com:6380/1"),
        ("REDIS_URL", "unix:///run/redis-blog/redis.sock?db=2"),
        ("REDIS_CACHE_URL", "redis://cache.example.com/1"),
        ("WEB_CONCURRENCY", 3),
        ("WEB_CONCURRENCY", ""),
        ("PGAPPNAME", "blog"),
        ("PGOPTIONS", "-c search_path=blog"),
    ],
)
def test_what_agrees_is_taken(place: str, name: str, value: Any) -> None:
    """[F1] And what no layer derives is the app's own."""
    assert said(place, **{name: value}) == []


def test_a_redis_elsewhere_is_the_apps_for_every_layer() -> None:
    """[F1] [D4] None is installed for it here; the password is not shown."""
    url = f"rediss://:{PASSWORD}@cache.example.com:6380/1"
    for place in PLACES:
        model, secret = model_of(**{place: {"REDIS_URL": url}}), secrets_of(**{place: {"REDIS_URL": url}})
        assert not model["redis"]["local"] and PASSWORD not in str(model) and secret.environment["REDIS_URL"] == url
    only(check(app_env={**GOOD["app_env"], "REDIS_URL": url}, app_redis_url="redis://x/0"), "app_env", "name two Redis", "keep one")
    only(check(app_redis_url="cache.example.com"), "app_redis_url", "is no URL of a Redis", "redis://")


def test_another_spelling_of_the_own_socket_is_the_own_redis() -> None:
    """[F1] [F6] Each library has its own: the instance stays."""
    for url in ("unix:///run/redis-demo/redis.sock?db=3", "redis+socket:///run/redis-demo/redis.sock?virtual_host=3"):
        assert model_of(app_env={"REDIS_URL": url})["redis"]["local"]


def test_expressions_of_the_environment_see_the_database_that_is_said(tmp_path: Path) -> None:
    """[F1] `{{ app_database_url }}` is the database, wherever it is said."""
    inventory = Inventory(tmp_path, {"blog": {"app_secrets": {"DATABASE_URL": REMOTE, "CELERY_RESULT": "db+{{ app_database_url }}"}}})
    assert inventory.secrets("blog")["environment"]["CELERY_RESULT"] == f"db+{REMOTE}"
    own = Inventory(tmp_path / "own", {"blog": {"app_env": {"CELERY_RESULT": "db+{{ app_database_url }}", "UP": "{{ app_shared }}/up"}}})
    assert own.app("blog")["environment"]["CELERY_RESULT"] == "db+postgresql:///blog?host=/run/postgresql"
    assert own.app("blog")["environment"]["UP"] == "/srv/blog/shared/up"


# --- Typos, of every role -------------------------------------------------------------------------


def typos() -> list[tuple[str, str]]:
    """For each role a variable of it with one letter doubled, and the variable."""
    found = []
    for role in ROLES:
        name = max((name for name in specs().options if name.startswith(f"{role}_")), key=len)
        found.append((f"{name[:-1]}{name[-1] * 2}", name))
    return found


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("nginx_client_max_bodysize", "nginx_client_max_body_size"),
        ("backup_keep_dayz", "backup_keep_days"),
        ("postgres_max_conections", "postgres_max_connections"),
        ("server_worker", "server_workers"),
        *typos(),
    ],
)
def test_a_typo_of_any_roles_prefix_is_refused(typo: str, meant: str) -> None:
    """[F1] [K10] They passed in silence: only app_* was looked at."""
    only(check(typo), typo, "is not a variable of the", f"did you mean {meant}?")


@pytest.mark.parametrize(
    "name",
    [
        *("app_colour", "app_node", "nginx_colour", "redis_x", "backup_root_dir", "tls_subdirectory", "postgres_shop"),
        # It begins with none, and more than one has the word.
        *("nginx_timeout", "release_timeout"),
    ],
)
def test_a_name_without_a_likeness_gets_no_silly_advice(name: str) -> None:
    """[F8] The prefix alone is no likeness."""
    only(check(name), name, "is not a variable of the", "docs/settings.md lists every name")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        # A key of app_source; its other name elsewhere; a word of it; a slip.
        *(("app_subdirectory", "app_source: {subdirectory: …}"), ("app_deploy_key", "app_source: {deploy_key: …}")),
        *(("app_cron", "app_timers"), ("app_schedule", "app_timers"), ("app_environment", "app_env")),
        *(
            ("postgres_hosts", "postgres_app_hosts"),
            ("app_sorce", "app_source"),
            ("app_wsig", "app_wsgi"),
            ("nginx_locatoin", "nginx_locations"),
        ),
        *(("app_env_vars", "app_env"), ("app_static_url", "app_static")),
    ],
)
def test_a_near_name_is_named(name: str, meant: str) -> None:
    """[F8] Where one is meant, and there is one."""
    if meant == "app_timers" and meant not in specs().options:
        meant = ""
    only(check(name), name, "is not a variable of the", f"did you mean {meant}?" if meant else "docs/settings.md lists every name")


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [("", "", 0), ("a", "", 1), ("wsig", "wsgi", 1), ("cron", "root", 3), ("sourc", "source", 1)],
)
def test_slips_are_counted(one: str, other: str, slips: int) -> None:
    assert distance(one, other) == distance(other, one) == slips


def test_names_of_others_are_left_alone() -> None:
    """[K10] What carries no role's prefix belongs to the operator."""
    assert check("blog_secret", "vault_app_secret", "nginxish", "my_app_name", "ansible_host", "slipway_x") == []


@pytest.mark.parametrize("name", ["postgres_limits_app", "postgres_limits_readonly", "postgres_limits_migrate"])
def test_an_unknown_setting_of_a_role_is_refused(name: str) -> None:
    """[F1] [F8] With the one that was meant."""
    only(check(**{name: {"statement_timout": "5s"}}), name, "has no key 'statement_timout'", "did you mean statement_timeout?")
    assert check(**{name: {"statement_timeout": "5s"}}) == []
