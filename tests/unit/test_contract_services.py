"""Services are a choice: PostgreSQL, Redis, both or none, SQLite in shared/, and databases that Slipway does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.database_url import kind_of, libpq, sqlite_file, without_password
from ansible_collections.slipway.vps.plugins.module_utils.resolve import services
from ansible_collections.slipway.vps.plugins.module_utils.rules.services import notes
from render import machine_of, model_of, said_of, secrets_of

from .inventory import USUAL, Inventory
from .test_contract import GOOD, check, only

SHARED = "/srv/blog/shared"
BLOG = {"app_name": "blog", "app_domains": ["blog.example.com"]}
SQLITE = f"sqlite:///{SHARED}/blog.db"
MYSQL = "mysql+pymysql://blog:hunter2@db.example.com/blog"


@pytest.mark.parametrize("chosen", [["postgres", "redis"], ["redis", "postgres"], ["postgres"], ["redis"], []])
def test_each_service_is_a_choice(chosen: list[str]) -> None:
    """[F6] What is left out is nowhere: no URL, no database, no instance, nothing for the machine to run."""
    assert check(app_services=chosen) == []
    model = model_of(**BLOG, app_services=chosen)
    database, redis, machine = model["database"], model["redis"], model["machine"]
    postgres = "postgres" in chosen
    assert ("DATABASE_URL" in model["environment"]) is postgres is database["serves"] is database["over_socket"]
    assert (database["kind"], database["name"]) == (("postgresql", "blog") if postgres else ("none", ""))
    assert machine["serves_database"] is machine["uses_database"] is postgres
    assert ("REDIS_URL" in model["environment"]) is ("redis" in chosen) is redis["local"] is machine["serves_redis"] is bool(redis["url"])
    assert secrets_of(**BLOG, app_services=chosen).database_url == ("postgresql:///blog?host=/run/postgresql" if postgres else "")


def test_unsaid_is_both() -> None:
    """[F6] As before there was a choice: hosts of the version before keep what they have."""
    assert services(said_of(**BLOG)) == ["postgres", "redis"]
    assert model_of(**BLOG) == model_of(**BLOG, app_services=["postgres", "redis"])


def test_an_app_without_postgres_beside_one_that_has_it() -> None:
    """[F2] [F6] The machine runs what one of its apps uses."""
    apps = {name: {"app_name": name, "app_domains": [f"{name}.example.com"]} for name in ("blog", "shop")}
    machine = machine_of({**apps, "blog": {**apps["blog"], "app_services": []}})
    facts = machine.facts()
    assert facts["serves_database"] and facts["uses_database"] and facts["serves_redis"]
    assert [app.database.serves for app in machine.apps] == [False, True] == [app.redis.local for app in machine.apps]
    assert not any(claim.startswith(("database:", "redis:")) for claim in machine.apps[0].claims())


@pytest.mark.parametrize(
    ("changes", "variable", "what", "fix"),
    [
        ({"app_services": ["mysql"]}, "app_services", "'mysql' is no service", "postgres and redis"),
        ({"app_services": ["redis", "redis"]}, "app_services", "'redis' is listed twice", "once"),
        ({"app_services": ["redis"], "app_database": "other"}, "app_database", "leaves postgres out", "add postgres"),
        ({"app_services": ["redis"], "postgres_allow": ["192.0.2.1"]}, "postgres_allow", "leaves postgres out", "add postgres"),
        ({"app_services": ["redis"], "backup_engine": "pgbackrest"}, "backup_engine", "leaves postgres out", "add postgres"),
        ({"app_services": [], "app_database_url": "postgresql:///x"}, "app_database_url", "leaves postgres out", "add postgres"),
        ({"app_services": ["postgres"], "app_redis_cache": True}, "app_redis_cache", "leaves redis out", "add redis"),
        (
            {"app_services": [], "app_redis_url": "redis+socket:///run/redis-blog/redis.sock"},
            *("app_redis_url", "leaves redis out", "add redis"),
        ),
    ],
)
def test_settings_of_a_service_that_is_left_out_are_refused(changes: dict[str, Any], variable: str, what: str, fix: str) -> None:
    """[F1] [F6] [K10] They would be passed over in silence."""
    only(check(**changes), variable, what, fix)


def test_a_redis_elsewhere_needs_none_here() -> None:
    """[F6] Its URL is the operator's, and none of this host is waited for."""
    secrets = {**GOOD["app_secrets"], "REDIS_URL": "rediss://:hunter2@redis.example.com/0"}
    assert check(app_secrets=secrets, app_services=["postgres"]) == [] == check(app_secrets=secrets)
    for chosen in ({}, {"app_services": ["postgres"]}):
        model = model_of(**BLOG, app_secrets=secrets, **chosen)
        assert not model["redis"]["local"] and not model["machine"]["serves_redis"] and "hunter2" not in json.dumps(model)


# --- SQLite -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/blog/shared/x.db", "/srv/blog/shared/x.db"),
        ("sqlite+pysqlite:////srv/x.db?timeout=30", "/srv/x.db"),
        ("sqlite+aiosqlite:////srv/x.db", "/srv/x.db"),
        ("db+sqlite:////srv/x.db", "/srv/x.db"),
        ("sqlite3:////srv/x.db", "/srv/x.db"),
        ("sqlite:///file:/srv/x.db?mode=rwc&uri=true", "/srv/x.db"),
        ("sqlite:///app.db", "app.db"),
        ("sqlite://app.db", "app.db"),
        ("sqlite:///instance/app.db", "instance/app.db"),
        ("sqlite://", ""),
        ("sqlite:///:memory:", ""),
        ("postgresql:///x", ""),
    ],
)
def test_the_file_of_a_sqlite_url(url: str, path: str) -> None:
    """[F6] As SQLAlchemy, Django and Celery's results spell it; the URL stays as it is when it is shown."""
    assert sqlite_file(url) == path
    assert kind_of(url) == ("postgresql" if url.startswith("postgresql") else "sqlite")
    assert without_password(url) == url


@pytest.mark.parametrize("name", ["DATABASE_URL", "SQLALCHEMY_DATABASE_URI"])
@pytest.mark.parametrize("place", ["app_env", "app_secrets"])
def test_a_file_in_shared_is_the_apps_database(place: str, name: str) -> None:
    """[F6] [F1] No PostgreSQL then; migrations and backups know the same file."""
    changes = {place: {**GOOD[place], name: SQLITE}}
    assert check(**changes) == []
    model = model_of(**BLOG, **changes)
    assert model["database"]["kind"] == "sqlite" and model["sqlite"] == [f"{SHARED}/blog.db"]
    assert not model["machine"]["uses_database"] and model["redis"]["local"]
    assert {**model["environment"], **secrets_of(**BLOG, **changes).environment}["DATABASE_URL"] == SQLITE


def test_a_file_beside_a_postgres_that_is_asked_for() -> None:
    """[F6] The file is kept, too, and the rest of the environment is as ever."""
    changes: dict[str, Any] = {"app_env": {**GOOD["app_env"], "DATABASE_URL": SQLITE}, "app_services": ["postgres", "redis"]}
    assert check(**changes) == []
    model = model_of(**BLOG, **changes)
    assert (model["database"]["name"], model["sqlite"]) == ("blog", [f"{SHARED}/blog.db"])
    assert model["environment"]["DATABASE_URL"] == SQLITE
    assert secrets_of(**BLOG, **changes).database_url == "postgresql:///blog?host=/run/postgresql"


def test_files_that_no_url_names() -> None:
    """[F6] Below shared/, in either spelling, and those of other names of the environment."""
    said = {
        "app_sqlite": ["data/comments.db", f"{SHARED}/more.db"],
        "app_env": {**GOOD["app_env"], "RESULTS": f"db+sqlite:///{SHARED}/results.db"},
    }
    assert check(**said) == []
    assert model_of(**BLOG, **said)["sqlite"] == [f"{SHARED}/results.db", f"{SHARED}/data/comments.db", f"{SHARED}/more.db"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "OTHER"])
@pytest.mark.parametrize("place", ["app_env", "app_secrets"])
@pytest.mark.parametrize(
    "url",
    ["sqlite:///app.db", "sqlite:////srv/x.db", f"sqlite:///{SHARED}/../x.db", f"sqlite:///{SHARED}/", "sqlite:////srv/blog/shared2/x.db"],
)
def test_a_file_that_a_release_would_not_share_is_refused(place: str, name: str, url: str) -> None:
    """[F6] [K10] With the path to write."""
    only(check(**{place: {**GOOD[place], name: url}}), place, f"not below {SHARED}", f"write sqlite:///{SHARED}/")


def test_a_database_in_memory_is_refused() -> None:
    """[F6] [K10] As the database; what an app keeps in memory besides is its own matter."""
    only(check(app_env={**GOOD["app_env"], "DATABASE_URL": "sqlite://"}), "app_env", "in memory", SQLITE)
    assert check(app_env={**GOOD["app_env"], "SCRATCH": "sqlite:///:memory:"}) == []


@pytest.mark.parametrize("path", ["/srv/x.db", "../x.db", "a/../../x.db", "", ".", "folder/"])
def test_a_listed_file_is_below_shared(path: str) -> None:
    """[F6] [K10]"""
    only(check(app_sqlite=[path]), "app_sqlite", f"no file below {SHARED}", "data/comments.db")


def test_postgres_beside_sqlite_has_to_be_asked_for() -> None:
    """[F6] [F1] Which of two is the app's is nothing to guess."""
    found = check(app_env={**GOOD["app_env"], "DATABASE_URL": SQLITE, "POSTGRES_URL": "postgresql:///blog?host=/run/postgresql"})
    only(found, "app_env", "POSTGRES_URL is PostgreSQL", "app_services: [postgres, redis]")


# --- Databases that Slipway does not know ---------------------------------------------------------


@pytest.mark.parametrize("url", [MYSQL, "mssql+pyodbc:///?odbc_connect=UID%3Dblog%3BPWD%3Dhunter2", "mongodb+srv://u:hunter2@h/x"])
def test_another_database_by_its_url(url: str) -> None:
    """[F6] With app_services as the operator's word; the run says what that means, and never the password."""
    said = {"app_secrets": {**GOOD["app_secrets"], "DATABASE_URL": url}, "app_services": ["redis"]}
    assert check(**said) == []
    model = model_of(**BLOG, **said)
    assert (model["database"]["kind"], model["database"]["name"], model["machine"]["uses_database"]) == ("other", "", False)
    assert "hunter2" not in json.dumps(model) and secrets_of(**BLOG, **said).environment["DATABASE_URL"] == url
    (note,) = notes({**GOOD, **said})
    assert "nobody backs it up" in note and "hunter2" not in note
    assert not [*notes({**GOOD})] and not [*notes({**GOOD, "app_env": {"DATABASE_URL": SQLITE}})]


def test_another_database_by_the_contracts_variable() -> None:
    """[F6] [A11] It reaches the app as DATABASE_URL, in its secrets."""
    said = {"app_database_url": MYSQL, "app_services": []}
    assert check(**said) == []
    assert "hunter2" not in json.dumps(model_of(**BLOG, **said))
    assert secrets_of(**BLOG, **said).environment["DATABASE_URL"] == MYSQL


def test_a_run_says_what_it_does_not_keep(tmp_path: Path) -> None:
    """[F6] Once: with the model, and not again with its secrets."""
    inventory = Inventory(tmp_path, {"blog": {"app_services": ["redis"], "app_secrets": {**USUAL["app_secrets"], "DATABASE_URL": MYSQL}}})
    (warning,) = inventory.result("blog")["warnings"]
    assert "mysql+pymysql on db.example.com" in warning and "hunter2" not in warning
    assert "warnings" not in inventory.result("blog", part="secrets")
    assert "warnings" not in Inventory(tmp_path / "usual", {"blog": {}}).result("blog")


# --- A key that an existing app has ----------------------------------------------------------------

SHORT = "Yk3c0Bq8rTvL5nW2sXz9Qa"


def test_a_short_key_is_kept_at_the_operators_word(tmp_path: Path) -> None:
    """[K10] Field case 36: an existing app keeps its sessions; each run says what that risks, and never the key."""
    only(
        check(app_secrets={"SECRET_KEY": SHORT}, app_required_env=[]),
        "app_secrets",
        "SECRET_KEY is weak",
        "app_accept_short_secret_key: true",
    )
    said = {"app_secrets": {"SECRET_KEY": SHORT}, "app_accept_short_secret_key": True}
    assert check(**said, app_required_env=[]) == []
    (warning,) = Inventory(tmp_path, {"blog": said}).result("blog")["warnings"]
    assert "SECRET_KEY has 22 characters" in warning and "slipway.vps.rotate" in warning and SHORT not in warning


@pytest.mark.parametrize("key", ["dev", "Yk3c0Bq8rTvL5nW", "change-me-please-now", "aaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_key_that_can_be_guessed_is_never_accepted(key: str) -> None:
    """[K10] [A11] Too few characters to hold out, a placeholder, or no random text."""
    found = check(app_secrets={"SECRET_KEY": key}, app_accept_short_secret_key=True, app_required_env=[])
    only(found, "app_secrets", "SECRET_KEY is weak", "token_hex")
    assert "app_accept_short_secret_key" not in found[0].fix


# --- The driver -----------------------------------------------------------------------------------


def test_the_driver_that_the_url_names() -> None:
    """[F6] Field case 26: for the app alone; psql and pg_dump go on as ever."""
    assert check(app_database_driver="psycopg") == []
    model = model_of(**BLOG, app_database_driver="psycopg")
    assert model["environment"]["DATABASE_URL"] == model["database"]["url"] == "postgresql+psycopg:///blog?host=/run/postgresql"
    assert libpq(model["database"]["url"]) == libpq("postgresql:///blog?host=/run/postgresql")
    assert model_of(**BLOG)["environment"]["DATABASE_URL"] == "postgresql:///blog?host=/run/postgresql"


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"app_database_driver": "psycopg 3"}, "no name of a driver", "psycopg2"),
        ({"app_database_driver": "psycopg", "app_services": []}, "uses no PostgreSQL", "remove it"),
        (
            {"app_database_driver": "psycopg", "app_database_url": "postgresql:///blog?host=/run/postgresql"},
            *("app_database_url is a URL", "postgresql+psycopg://"),
        ),
    ],
)
def test_a_driver_that_nobody_would_use_is_refused(changes: dict[str, Any], what: str, fix: str) -> None:
    """[F1] [K10] Beside a URL that is said it would do nothing."""
    only(check(**changes), "app_database_driver", what, fix)
