"""The database's URL, its passwords, and how they are replaced."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.filter.data import FilterModule
from ansible_collections.slipway.vps.plugins.module_utils.database_url import libpq, parse, without_password
from ansible_collections.slipway.vps.plugins.module_utils.rotation import keys, rotation, successor
from ansible_collections.slipway.vps.plugins.module_utils.scram import matches, verifier

SOCKET = "postgresql:///blog?host=/run/postgresql"
REMOTE = "postgresql://blog_1:s%40:f%2Ft@db.example.com:6432/blog?sslmode=verify-full&sslrootcert=/etc/blog/files/ca.pem&application_name=x"
OLD, NEW, OLDER = "a1" * 32, "b2" * 32, "c3" * 32

# --- The URL ------------------------------------------------------------------------------------


def test_a_socket_is_local_and_has_no_secret() -> None:
    """[D1]"""
    parts = parse(SOCKET)
    assert (parts.host, parts.database, parts.user, parts.password) == ("/run/postgresql", "blog", "", "")
    assert parts.over_socket and parts.local
    assert libpq(SOCKET) == {"PGDATABASE": "blog", "PGHOST": "/run/postgresql", "PGCONNECT_TIMEOUT": "5"}


def test_another_host_is_told_to_libpq_with_its_checks() -> None:
    """[D1] [D5] Without PGSSLMODE and PGSSLROOTCERT psql would talk to whoever answers."""
    assert libpq(REMOTE) == {
        **{"PGDATABASE": "blog", "PGHOST": "db.example.com", "PGPORT": "6432", "PGUSER": "blog_1", "PGPASSWORD": "s@:f/t"},
        **{"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/blog/files/ca.pem", "PGCONNECT_TIMEOUT": "5"},
    }
    assert not parse(REMOTE).local and parse(REMOTE).verified


@pytest.mark.parametrize(
    ("url", "verified"),
    [("sslmode=require", False), ("sslmode=verify-ca", True), ("sslmode=verify-full", True), ("sslmode=disable", False), ("", False)],
)
def test_only_a_checked_certificate_is_verified(url: str, verified: bool) -> None:
    """`require` encrypts, and asks nobody who they are."""
    assert parse(f"postgresql://u@db.example.com/blog?{url}").verified is verified


def test_parts_may_stand_in_the_query() -> None:
    """libpq reads both."""
    parts = parse("postgres:///?host=db.example.com&port=5433&dbname=blog&user=u&password=p")
    assert parts[:5] == ("u", "p", "db.example.com", "5433", "blog")
    assert parse("postgresql+psycopg://localhost/blog").local and not parse("postgresql+psycopg://localhost/blog").over_socket


@pytest.mark.parametrize(
    "url", ["", "blog", "sqlite:///x", "mysql://u:secret@h/x", "postgresql:/secret", "postgresql://u:se/cret@h:x/y", "http://h/x"]
)
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"it (does not begin|cannot be read)") as refusal:
        parse(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (SOCKET, SOCKET),
        (REMOTE, REMOTE.replace(":s%40:f%2Ft@", "@")),
        ("postgresql://db/blog", "postgresql://db/blog"),
        ("postgres://u:p@db", "postgres://u@db"),
        ("postgresql:///blog?user=u&password=p&host=db", "postgresql:///blog?user=u&host=db"),
        ("postgresql://:p@db/blog", "postgresql://@db/blog"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """[A11] What is in the readable environment file."""
    assert without_password(url) == shown
    assert parse(shown).password == "" and parse(shown)._replace(password=parse(url).password) == parse(url)


def test_the_filters_never_fail_on_a_bad_url() -> None:
    """The contract reports it; a filter in a default would only hide that."""
    filters = FilterModule().filters()
    assert filters["database_url"]("sqlite:///x")["secret"] is False
    found = filters["database_url"](REMOTE)
    assert found["secret"] and not found["over_socket"] and found["user"] == "blog_1"
    assert filters["database_url"](SOCKET)["over_socket"]


# --- Passwords ----------------------------------------------------------------------------------


def test_a_verifier_is_the_one_of_the_standard() -> None:
    """RFC 7677, section 3: user "user", password "pencil". The two proofs there follow from these keys."""
    import base64
    import hashlib
    import hmac

    found = verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    stored, server = (base64.b64decode(part) for part in found.split("$")[2].split(":"))
    said = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    assert base64.b64encode(hmac.digest(server, said, "sha256")) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    key = bytes(a ^ b for a, b in zip(proof, hmac.digest(stored, said, "sha256"), strict=True))
    assert hashlib.sha256(key).digest() == stored


@pytest.mark.parametrize("password", ["pencil", "s@:f/t", "I\u00adX", "\u2168", "a\u00a0b", "\u0007", "пароль", "\u0221"])
def test_a_verifier_is_recognised(password: str) -> None:
    """And another password, another verifier or none is not."""
    found = verifier(password)
    assert matches(found, password) and not matches(found, password + "x") and not matches("md5" + "0" * 32, password)
    assert not matches("", password) and found != verifier(password), "the salt is always the same"


def test_the_filter_keeps_a_verifier_that_is_right() -> None:
    """A second run changes nothing."""
    scram = FilterModule().filters()["scram"]
    kept = verifier("pencil")
    assert scram("pencil", kept) == kept
    assert scram("another", kept) != kept and matches(scram("another", kept), "another")


# --- Rotation -----------------------------------------------------------------------------------


def accepted(secrets: dict[str, Any]) -> set[str]:
    return {secrets["SECRET_KEY"], *keys(secrets.get("SECRET_KEY_FALLBACKS"))}


@pytest.mark.parametrize("fallbacks", [OLD, f"{OLD},{OLDER}", f"{OLDER}, {OLD}"])
@pytest.mark.parametrize("before", ["", OLDER])
def test_every_release_accepts_what_any_other_signs(fallbacks: str, before: str) -> None:
    """[A11] On the whole way: those that serve at once are neighbours in this list."""
    current = {"SECRET_KEY": OLD, "SECRET_KEY_FALLBACKS": before}
    wanted = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": fallbacks, "MAIL": "x"}
    found = rotation(current, wanted)
    assert found.problems == [] and len(found.changes) == 1
    way: list[dict[str, Any]] = [current, found.first, found.last]
    for left, right in itertools.pairwise(way):
        assert left["SECRET_KEY"] in accepted(right) and right["SECRET_KEY"] in accepted(left), (left, right)
    assert found.first["SECRET_KEY"] == OLD and found.last == wanted and found.first["MAIL"] == "x"


def test_an_interrupted_rotation_goes_on() -> None:
    """[A11] After the first deploy, and after the last, a second run finds what is left to do."""
    wanted = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD}
    found = rotation({"SECRET_KEY": OLD}, wanted)
    again = rotation(found.first, wanted)
    assert (again.first, again.problems) == (found.first, [])
    done = rotation(found.last, wanted)
    assert done.first == done.last == wanted and done.changes == [] == done.problems


def test_a_key_that_would_be_forgotten_is_refused() -> None:
    """[A11] Without the old key among the fallbacks everybody would be logged out; nothing says a value."""
    for fallbacks in ("", OLDER, OLD[:-1]):
        found = rotation({"SECRET_KEY": OLD}, {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": fallbacks})
        (problem,) = found.problems
        assert "SECRET_KEY_FALLBACKS: <the old key>" in problem and OLD not in problem and NEW not in problem
    (problem,) = rotation({"SECRET_KEY": OLD}, {}).problems
    assert "is gone from app_secrets" in problem


def test_a_first_deploy_has_nothing_to_overlap() -> None:
    wanted = {"SECRET_KEY": NEW}
    assert rotation({}, wanted) == (wanted, wanted, [], [])


def url(user: str, password: str, host: str = "db") -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql://{user}:{password}@{host}/blog?sslmode=verify-full"}


def test_a_password_is_replaced_with_its_role() -> None:
    """[A11] One role has one password: another role may log in beside it."""
    found = rotation(url("blog_1", "old"), url("blog_2", "new"))
    assert found.problems == [] and found.changes == ["DATABASE_URL: blog_1 gives way to blog_2; both may log in meanwhile"]
    assert found.first["DATABASE_URL"] == found.last["DATABASE_URL"] == url("blog_2", "new")["DATABASE_URL"]
    assert rotation(url("blog_2", "new"), url("blog_2", "new")).changes == []


@pytest.mark.parametrize(("user", "other"), [("blog_1", "blog_2"), ("blog_2", "blog_1"), ("blog", "blog_2")])
def test_a_new_password_for_the_same_role_is_refused(user: str, other: str) -> None:
    """[A11] From its change until the switch every new connection of the live release would fail."""
    found = rotation(url(user, "old-pass"), url(user, "new-pass"))
    (problem,) = found.problems
    assert f"for example {other}," in problem and "old-pass" not in problem and "new-pass" not in problem
    assert successor(user) == other


def test_without_a_password_there_is_none_to_replace() -> None:
    """The socket: neither now nor before."""
    assert rotation({}, url("blog_1", "x")).problems == []
    assert rotation(url("blog_1", "x"), {}).problems == []


def test_the_filter_reads_what_the_release_role_wrote() -> None:
    filters = FilterModule().filters()
    found = filters["rotate"]({"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD}, f'MAIL="a b"\nSECRET_KEY="{OLD}"\n')
    assert found["first"]["SECRET_KEY"] == OLD and found["problems"] == []
