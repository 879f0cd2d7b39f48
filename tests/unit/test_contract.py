"""The contract: every rule refuses what it should, says which variable and what to write, and takes all else."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.action.contract import MODEL_INPUTS
from ansible_collections.slipway.vps.plugins.module_utils.rules import RULES, judge
from ansible_collections.slipway.vps.plugins.module_utils.rules.app import RESERVED_NAMES
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem
from render import said_of, specs

from .conftest import ROOT

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "roles/app/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
#: What the contract itself adds to an operator's variables: the texts of a certificate's files.
READ = frozenset({"tls_certificate_text", "tls_key_text"})
SECRET = "3f8a1c5e9b7d2046f1e8c3a5907b6d4e2f8a1c5e"
ABSENT = object()
GOOD: dict[str, Any] = {
    "app_name": "blog",
    "app_domains": ["blog.example.com", "www.blog.example.com"],
    "app_wsgi": "blog:create_app()",
    "app_source": {"type": "git", "repo": "https://git.example.com/blog.git", "version": "v1.4.0"},
    "acme_email": "ops@example.com",
    "app_env": {"MAIL_PORT": 25, "FLASK_DEBUG": "0", "FLASK_TESTING": False, "EMPTY": ""},
    "app_secrets": {"SECRET_KEY": SECRET},
    "app_required_env": ["MAIL_PORT", "SECRET_KEY"],
    "app_files": {"logging.ini": {"content": "[loggers]"}, "saml.xml": {"template": "saml.xml.j2"}},
    "app_processes": {"worker": {"command": "celery -A blog worker", "stop_timeout": 300}},
    "app_static": {"/static/": "blog/static"},
    "app_uploads": {"/uploads/": "uploads"},
    "app_health_ready": "/healthz/ready",
    "app_health_live": "/healthz/live",
    "app_proxy_hops": 1,
    "app_log_secrets": False,
    "app_socket": "/run/blog/gunicorn.sock",
    "tls_certificate_file": "",
}


#: The roles' defaults that the model is made of, resolved.
DEFAULTS = {name: value for name, value in said_of().items() if name in MODEL_INPUTS}


def check(*strays: str, **changes: Any) -> list[Problem]:
    """The problems of a good input with ``changes``; `ABSENT` leaves a variable out."""
    said = {name: value for name, value in {**GOOD, **changes}.items() if value is not ABSENT}
    return judge({**DEFAULTS, **said}, [*said.keys() - READ, *strays], said, specs().options, ROLES)


def only(found: list[Problem], variable: str, what: str, fix: str) -> None:
    """One problem was found, with this variable, reason and remedy."""
    assert [problem.variable for problem in found] == [variable], found
    assert what in found[0].what, found
    assert fix in found[0].fix, found


def test_a_good_input_is_taken() -> None:
    """[K10] Nothing is refused that is right."""
    assert check() == []


def test_every_rule_reads_what_it_declares() -> None:
    """A rule is left out when something it reads is broken, so what it reads has to be a variable of a role."""
    assert {name for _, reads in RULES for name in reads} <= set(specs().options)


def test_all_problems_are_reported_at_once() -> None:
    """[K10] An operator corrects everything in one go."""
    found = check("app_domain_name", app_wsgi=ABSENT, app_name="Blog", app_domains=["localhost"], app_secrets={"SECRET_KEY": "dev"})
    assert {problem.variable for problem in found} == {
        *("app_domain_name", "app_wsgi", "app_name", "app_domains", "app_secrets"),
    }


# --- Required, types, strays --------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, option in SPEC.items() if option.get("required")])
@pytest.mark.parametrize("absent", [ABSENT, None, "", [], {}])
def test_a_required_input_is_neither_absent_nor_empty(name: str, absent: Any) -> None:
    """[A12] An empty string would satisfy Ansible's own `required`."""
    found = check(**{name: absent})
    # An empty text where a list is due is of the wrong type, too.
    assert found[0].variable == name and found[0].what == "is required and not set", found
    assert found[0].fix.startswith(f"write, for example, {name}: ")
    assert {problem.variable for problem in found} == {name}


@pytest.mark.parametrize(
    ("name", "value", "what", "fix"),
    [
        # Ansible's own check takes a text for a list, and a loop then goes over its letters.
        ("app_domains", "blog.example.com", "must be a list, and is text", "app_domains: [blog.example.com]"),
        ("app_required_env", "MAIL_PORT", "must be a list, and is text", "app_required_env: [MAIL_PORT]"),
        ("app_required_env", [{"MAIL_PORT": 1}], "must hold text only", "quotes"),
        ("app_domains", {"a": "b"}, "must be a list, and is a dictionary", "app_domains: ["),
        ("app_source", "https://git.example.com/blog.git", "must be a dictionary, and is text", "below app_source:"),
        ("app_env", ["A=b"], "must be a dictionary, and is a list", "below app_env:"),
        ("app_name", 42, "must be text, and is the int 42", 'app_name: "42"'),
        ("app_health_ready", True, "must be text, and is the bool True", "app_health_ready:"),
        ("app_socket", ["/run/x"], "must be text, and is a list", "app_socket:"),
        ("app_proxy_hops", "two", "must be a whole number, and is 'two'", "app_proxy_hops: 1"),
        ("app_proxy_hops", "1.5", "must be a whole number", "app_proxy_hops: 1"),
        ("app_proxy_hops", True, "must be a whole number", "app_proxy_hops: 1"),
        ("app_log_secrets", "maybe", "must be true or false, and is 'maybe'", "app_log_secrets: false"),
        # `app_env:` with nothing below it reaches the roles as null.
        ("app_env", None, "has no value", "app_env: {}"),
        ("app_required_env", None, "has no value", "app_required_env: []"),
        ("app_migrate_command", None, "has no value", 'app_migrate_command: ""'),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: Any, what: str, fix: str) -> None:
    """[K10] With the type it has, and how to write it."""
    only(check(**{name: value}), name, what, fix)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("app_proxy_hops", value) for value in (2, "2", "0")),
        *(("app_log_secrets", value) for value in (True, "true", "no", "yes", "False", "1", 0)),
    ],
)
def test_text_from_the_command_line_stands_for_numbers_and_booleans(name: str, value: Any) -> None:
    """`-e app_proxy_hops=2` arrives as text."""
    assert check(**{name: value}, nginx_trusted_proxies=["192.0.2.10"]) == []


@pytest.mark.parametrize(
    ("stray", "fix"),
    [
        ("app_domian", "did you mean app_domain?"),
        ("app_secret", "did you mean app_secrets?"),
        ("app_enviroment", "did you mean app_env?"),
        ("app_colour_of_the_bikeshed", "docs/settings.md lists every name"),
    ],
)
def test_a_name_that_means_nothing_is_refused(stray: str, fix: str) -> None:
    """[K10] A typo would otherwise be ignored without a word."""
    only(check(stray), stray, "is not a variable of the contract", fix)


# --- Names, domains, entry point ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["ab", "blog", "a1", "my-blog-2", "a" * 31])
def test_names_that_will_do(name: str) -> None:
    assert check(app_name=name) == []


@pytest.mark.parametrize("name", ["a", "a" * 32, "Blog", "1blog", "-blog", "my_blog", "blog.app", "my blog", "blog\n", "blög", "../etc"])
def test_names_that_will_not_do(name: str) -> None:
    """[A5] The name becomes a user, units, a database and paths."""
    only(check(app_name=name), "app_name", "will not do as a user", "2 to 31 of a-z 0-9 -")


def test_names_of_the_system_are_reserved() -> None:
    """[A5] An app called nginx would own nginx's folders."""
    for name in ("nginx", "postgres", "redis", "root", "www-data", "systemd", "backup"):
        only(check(app_name=name), "app_name", "belongs to a service of the system", f"{name}-app")
    # A reserved name that the pattern refuses anyhow would be a dead line.
    assert not [name for name in RESERVED_NAMES if not re.fullmatch(r"[a-z][a-z0-9-]{1,30}", name)]


@pytest.mark.parametrize("domain", ["example.com", "a.b.c.example.org", "xn--mnchen-3ya.de", "1.example.com", f"{'a' * 63}.example"])
def test_domains_that_will_do(domain: str) -> None:
    assert check(app_domains=[domain]) == []


@pytest.mark.parametrize(
    "domain",
    [
        *("localhost", "Example.com", "https://example.com", "example.com/", "example.com:443", "*.com", "a.*.example.com", "münchen.de"),
        *("-a.example.com", "a-.example.com", "a..example.com", ".example.com", "example.com.", "192.0.2.7", "exa mple.com", ""),
        *(f"{'a' * 64}.example", ".".join(["a" * 60] * 5)),
    ],
)
def test_domains_that_will_not_do(domain: str) -> None:
    """[E1] Each goes into a certificate and a server_name."""
    only(check(app_domains=["good.example", domain]), "app_domains", f"{domain!r} is not a domain name", "bare host name in lower case")


def test_a_domain_listed_twice() -> None:
    """[E1] A canonical domain that is also among the others would redirect to itself."""
    only(check(app_domains=["a.example", "b.example", "a.example"]), "app_domains", "'a.example' is listed twice", "once")


@pytest.mark.parametrize("wsgi", ["blog:app", "blog:create_app()", "blog.web.wsgi:application", "blog:create_app('production')"])
def test_entry_points_that_will_do(wsgi: str) -> None:
    """[A6] `module:callable` and `module:factory()`."""
    assert check(app_wsgi=wsgi) == []


@pytest.mark.parametrize("wsgi", ["blog", "blog.py", "blog:", ":app", "blog/app:app", "blog:app --reload", "blog:create_app(", "1blog:app"])
def test_entry_points_that_will_not_do(wsgi: str) -> None:
    """[A6] The message shows how one is written."""
    only(check(app_wsgi=wsgi), "app_wsgi", f"{wsgi!r} names no WSGI entry point", "module:factory()")


# --- Source -------------------------------------------------------------------------------------

#: How `ssh-keygen` begins a key, with a passphrase and without.
LOCKED = "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0"
OPEN = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAAB"
DIGEST = "sha256:" + "0" * 63 + "f"


@pytest.mark.parametrize(
    "source",
    [
        {"type": "git", "repo": "git@git.example.com:blog.git", "version": "main", "deploy_key": "KEY"},
        {"type": "git", "repo": "x", "version": "y", "deploy_key": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{OPEN}\n-----END"},
        {"type": "path", "path": "../blog"},
        {
            "type": "path",
            "path": "../blog",
            "subdirectory": "services/web",
            "deploy_key": "KEY",
            "known_hosts": "git.example.com ssh-rsa x",
        },
        {"type": "archive", "url": "https://example.com/blog.tar.gz", "checksum": DIGEST},
        {"type": "archive", "file": "blog.tar.gz"},
        {"type": "archive", "file": "blog.tar.gz", "checksum": DIGEST},
        {"type": "package", "requirement": "blog==1.4.0"},
        {"type": "package", "requirement": "blog[web,redis]==1.4.0"},
        {"type": "package", "requirement": "blog @ https://example.com/blog-1.4.0.whl"},
    ],
)
def test_sources_that_will_do(source: dict[str, str]) -> None:
    """[A10] Each says exactly what goes live."""
    assert check(app_source=source) == []


@pytest.mark.parametrize(
    ("source", "what", "fix"),
    [
        ({"type": "svn", "repo": "x"}, "type 'svn' is unknown", "git, path, archive, package"),
        ({"repo": "x"}, "type None is unknown", "git, path, archive, package"),
        ({"type": "git", "repo": "x"}, "type git needs 'version'", "add version"),
        ({"type": "git", "version": "x"}, "type git needs 'repo'", "add repo"),
        (
            {"type": "git", "repo": "x", "version": "y", "branch": "z"},
            "key 'branch' means nothing for type git",
            "takes deploy_key, known_hosts, repo, subdirectory, version",
        ),
        ({"type": "path"}, "type path needs 'path'", "add path"),
        ({"type": "path", "path": ""}, "type path needs 'path'", "add path"),
        ({"type": "path", "path": "x", "version": "y"}, "key 'version' means nothing for type path", "known_hosts, path, subdirectory"),
        ({"type": "archive"}, "either url or file", "add one"),
        ({"type": "archive", "url": "x", "file": "y", "checksum": DIGEST}, "either url or file", "add one"),
        ({"type": "archive", "url": "https://x"}, "with url needs checksum", "sha256sum"),
        ({"type": "archive", "file": "x", "checksum": "md5:0"}, "is not sha256:", "sha256sum"),
        ({"type": "archive", "file": "x", "checksum": DIGEST.removeprefix("sha256:")}, "is not sha256:", "sha256sum"),
        ({"type": "archive", "file": "x", "path": "y"}, "key 'path' means nothing for type archive", "checksum, deploy_key, file"),
        ({"type": "package"}, "type package needs 'requirement'", "add requirement"),
        *(
            ({"type": "package", "requirement": text}, f"{text!r} does not say which version goes live", "name==version")
            for text in ("blog", "blog>=1.0", "blog~=1.0", "blog==1.*", "blog==1.0,<2")
        ),
        *(
            ({"type": "path", "path": "x", "subdirectory": text}, f"{text!r} is no folder inside the source", "services/blog")
            for text in ("/web", "../web", "web/../..", "web/", "./web", ".", "")
        ),
        ({"type": "package", "requirement": "x==1", "subdirectory": "y"}, "means nothing for type package", "deploy_key, known_hosts"),
        *(
            ({"type": "git", "repo": "x", "version": "y", "deploy_key": key}, what, fix)
            for key, what, fix in (
                ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada@laptop", "is a public key", "-----BEGIN"),
                (f"-----BEGIN OPENSSH PRIVATE KEY-----\n{LOCKED}\n-----END", "has a passphrase", "ssh-keygen"),
                ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "has a passphrase", "ssh-keygen"),
            )
        ),
        # 1.10 without quotes is the number 1.1.
        ({"type": "git", "repo": "x", "version": 1.1}, "version must be text, and is the float 1.1", "quotes"),
        ({"type": ["git"]}, "type must be text, and is a list", "quotes"),
    ],
)
def test_sources_that_will_not_do(source: dict[str, Any], what: str, fix: str) -> None:
    """[A10] A key that would be ignored, one that is missing, or a version that is not fixed."""
    only(check(app_source=source), "app_source", what, fix)


# --- Paths --------------------------------------------------------------------------------------


def test_a_socket_path_longer_than_the_kernel_takes() -> None:
    """[A5] sizeof(sun_path) is 108 with the final NUL; bytes count, not characters."""
    assert check(app_socket="/" + "s" * 106) == []
    only(check(app_socket="/" + "s" * 107), "app_socket", "is 108 bytes, and the kernel takes 107", "shorter")
    only(check(app_socket="/" + "ä" * 54), "app_socket", "is 109 bytes", "shorter")


@pytest.mark.parametrize("name", ["app_health_ready", "app_health_live"])
def test_health_paths(name: str) -> None:
    """[A14] They go into nginx's configuration and into a request."""
    assert check(**{name: "/healthz/ready"}) == check(**{name: "/"}) == check(**{name: ""}) == []
    for path in ("healthz", "/healthz ready", "https://x/healthz", "/a;b", "/a{b"):
        only(check(**{name: path}), name, f"{path!r} is not a path", "/healthz/ready")


@pytest.mark.parametrize("name", ["app_static", "app_uploads"])
@pytest.mark.parametrize("prefix", ["static", "/static", "static/", "/", "/sta tic/", "//", "/a{/", '/a"/'])
def test_url_prefixes_that_will_not_do(name: str, prefix: str) -> None:
    """[E6] nginx maps prefixes to folders; without the last slash a prefix would reach the neighbour's files."""
    only(check(**{name: {prefix: "static"}}), name, f"{prefix!r} is not a URL prefix", "slash")


@pytest.mark.parametrize("name", ["app_static", "app_uploads"])
@pytest.mark.parametrize("folder", ["/srv/x", "../x", "a/../../x", "..", "", "/", 5, None, ["a"]])
def test_folders_that_leave_the_release(name: str, folder: Any) -> None:
    """[E6] nginx must not serve what lies outside."""
    only(check(**{name: {"/static/": folder}}), name, "must be relative and stay inside", "blog/static")


def test_a_folder_may_have_dots_in_its_name() -> None:
    assert check(app_static={"/static/v1.2/": "a..b/static"}) == []


# --- Environment --------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", [1, "1", True, "true", "True", "yes", "on", "2"])
def test_debug_mode_is_refused(debug: Any) -> None:
    """[A1] The debugger runs anyone's code."""
    only(check(app_env={"FLASK_DEBUG": debug, "MAIL_PORT": 1}), "app_env", "FLASK_DEBUG is on", "set it to 0")
    assert "FLASK_DEBUG is on" in check(app_secrets={"SECRET_KEY": SECRET, "FLASK_DEBUG": debug}, app_env={"MAIL_PORT": 1})[0].what


@pytest.mark.parametrize("debug", [0, "0", False, "false", "no", "off", ""])
def test_debug_mode_may_be_named_when_it_is_off(debug: Any) -> None:
    """[A1] Off is what it should be."""
    assert check(app_env={"FLASK_DEBUG": debug, "MAIL_PORT": 1}) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "dev", "secret", SECRET[:31], "a" * 64, "abababababababababababababababababab", 12345),
        *("change-me-change-me-change-me-change-me", "your-SECRET_KEY-goes-here-0123456789", "please-replace-this-0123456789-abcdef"),
    ],
)
def test_a_weak_secret_key_is_refused(key: Any) -> None:
    """[A11] Too short, too plain, or a placeholder."""
    only(check(app_secrets={"SECRET_KEY": key}, app_required_env=[]), "app_secrets", "SECRET_KEY is weak", "secrets.token_hex(32)")


def test_a_secret_key_of_32_characters_will_do() -> None:
    """[A11] And an app that needs none may go without."""
    assert check(app_secrets={"SECRET_KEY": SECRET[:32]}) == []
    assert check(app_secrets={}, app_required_env=[]) == []


def test_a_secret_key_outside_the_secrets_is_refused() -> None:
    """[A11] app_env is shown and logged; a weak one there is two problems."""
    only(check(app_env={"SECRET_KEY": SECRET, "MAIL_PORT": 1}, app_secrets={}), "app_env", "SECRET_KEY is a secret", "vault.yml")
    weak = check(app_env={"SECRET_KEY": "dev"}, app_secrets={}, app_required_env=[])
    assert [problem.variable for problem in weak] == ["app_env", "app_secrets"]


def test_no_message_shows_a_secret() -> None:
    """[A11] Messages end in logs of CI."""
    key = "hunter2-hunter2"
    attempts: list[dict[str, Any]] = [
        {"app_secrets": {"SECRET_KEY": key}},
        {"app_secrets": {"SECRET_KEY": [key]}},
        {"app_secrets": {"SECRET_KEY": key + "\x00"}},
        {"app_secrets": key},
        {"app_secrets": {"TOKEN": {"a": key}}},
        {"app_env": {"SECRET_KEY": key}},
        {"app_files": {"x": {"contents": key}}},
        {"app_source": {"type": "git", "repo": "x", "version": "y", "deploy_key": [key]}},
    ]
    for attempt in attempts:
        found = check(**attempt)
        assert found and not any(key in problem.what + problem.fix for problem in found), attempt


@pytest.mark.parametrize("name", ["app_env", "app_secrets"])
def test_a_database_elsewhere_may_stand_in_the_environment(name: str) -> None:
    """[K10] As on other platforms."""
    url = "postgresql://db.example/blog?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
    assert check(**{name: {**GOOD[name], "DATABASE_URL": url}}) == []


def test_required_variables_of_the_environment() -> None:
    """[A12] Found in either dictionary; empty counts as missing; each missing one is named."""
    assert check(app_required_env=["MAIL_PORT", "SECRET_KEY"]) == []
    found = check(app_required_env=["MAIL_PORT", "STRIPE_KEY", "EMPTY", "SENTRY_DSN"])
    assert [(p.variable, p.what.split()[0]) for p in found] == [
        ("app_required_env", name) for name in ("STRIPE_KEY", "EMPTY", "SENTRY_DSN")
    ]
    assert "app_env or, if secret, to app_secrets" in found[0].fix


@pytest.mark.parametrize("name", ["app_env", "app_secrets"])
@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        *((key, "x", "is not a name for an environment variable") for key in ("MAIL-PORT", "1ST", "A B", "", "A=B", "Ä", "A\n")),
        ("HOSTS", ["a"], "HOSTS is a list"),
        ("HOSTS", {"a": 1}, "HOSTS is a dictionary"),
        ("HOSTS", None, "HOSTS is empty"),
        ("HOSTS", "a\x00b", "HOSTS holds a NUL"),
    ],
)
def test_environment_entries_that_will_not_do(name: str, key: str, value: Any, what: str) -> None:
    """[A11] What no process can have in its environment."""
    found = check(**{name: {**GOOD[name], key: value}})
    assert [problem.variable for problem in found] == [name] and what in found[0].what, found


# --- Files, processes, certificate --------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"a/b.ini": {"content": "x"}}, "'a/b.ini' is not a plain file name"),
        ({"..": {"content": "x"}}, "'..' is not a plain file name"),
        ({".env": {"content": "x"}}, "'.env' is not a plain file name"),
        ({"a.ini": "x"}, "either content or template"),
        ({"a.ini": {}}, "either content or template"),
        ({"a.ini": {"content": "x", "template": "y"}}, "either content or template"),
        ({"a.ini": {"src": "y"}}, "either content or template"),
    ],
)
def test_files_that_will_not_do(files: dict[str, Any], what: str) -> None:
    """[A11] Files stay in their folder, and have one source."""
    found = check(app_files=files)
    assert [problem.variable for problem in found] == ["app_files"] and what in found[0].what, found


@pytest.mark.parametrize(
    ("processes", "what"),
    [
        *(({name: {"command": "x"}}, "will not do in a unit name") for name in ("Worker", "my-worker", "1", "a b", "a@b", "a" * 32)),
        ({"worker": {}}, "worker needs a command"),
        ({"worker": "celery"}, "worker needs a command"),
        ({"worker": {"command": ""}}, "worker needs a command"),
        ({"worker": {"command": "x", "restart": "no", 1: 2}}, "worker has unknown keys: 1, restart"),
        # <app>-rehearsal@.service tries each new release.
        ({"rehearsal": {"command": "x"}}, "'rehearsal' is a unit of Slipway's own"),
    ],
)
def test_processes_that_will_not_do(processes: dict[str, Any], what: str) -> None:
    """[A15] Each becomes a unit."""
    found = check(app_processes=processes)
    assert [problem.variable for problem in found] == ["app_processes"] and what in found[0].what, found


def test_a_certificate_comes_from_somewhere() -> None:
    """[E2] An account at a CA, or files of one's own."""
    only(check(acme_email=ABSENT), "acme_email", "is required and not set", "tls_certificate_file")
    only(check(acme_email=""), "acme_email", "is required and not set", "acme_email: you@example.com")
    assert check(acme_email=ABSENT, tls_certificate_file="blog.pem", tls_key_file="blog.key") == []
