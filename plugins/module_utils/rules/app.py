# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the app itself (role app)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.resolve import names, truthy
from ansible_collections.slipway.vps.plugins.module_utils.rotation import keys
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import VARIABLE, Problem, Values, kind

#: Longest path a Unix socket can be bound to: sizeof(sun_path) less the final NUL, unix(7).
SOCKET_PATH_MAX = 107
#: Fewest characters of a SECRET_KEY: 32 bytes is what Flask's documentation generates.
SECRET_KEY_MIN = 32
#: Fewest that an operator may accept for an existing app: with fewer, trying them all is a matter of money.
SECRET_KEY_SHORT = 16
#: What the placeholders of tutorials and `.env` examples say; random text practically never does.
_PLACEHOLDER = re.compile(r"change.?(me|this|it)|replace.?(me|this)|secret.?key|password|placeholder|example", re.IGNORECASE)

#: Names whose unit, user or folder another service of the host already owns.
RESERVED_NAMES = frozenset(
    {
        "adm",
        "apt",
        "auth",
        "backup",
        "backups",
        "bin",
        "certbot",
        "cron",
        "daemon",
        "dbus",
        "default",
        "fail2ban",
        "ftp",
        "games",
        "getty",
        "git",
        "gunicorn",
        "irc",
        "kmod",
        "letsencrypt",
        "list",
        "log",
        "logrotate",
        "lp",
        "mail",
        "man",
        "messagebus",
        "network",
        "news",
        "nginx",
        "nobody",
        "ntp",
        "postgres",
        "postgresql",
        "proc",
        "proxy",
        "redis",
        "redis-server",
        "resolvconf",
        "root",
        "rsyslog",
        "run",
        "sasl",
        "ssh",
        "sshd",
        "ssl",
        "sudo",
        "sync",
        "sys",
        "syslog",
        "systemd",
        "tmp",
        "udev",
        "ufw",
        "user",
        "users",
        "uucp",
        "uuidd",
        "www-data",
    }
)

_NAME = re.compile(r"[a-z][a-z0-9-]{1,30}")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
#: A user or a group of the system, as useradd takes it.
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
#: What neither a unit, nor nginx, nor a shell would read as more than a path.
_PATH = re.compile(r"/[^\s\x00-\x1f\"'`\\;{}$%]*")
_PATHS = (
    *("app_root", "app_releases", "app_current", "app_shared", "app_config_dir", "app_environment_file", "app_secrets_file"),
    *("app_files_dir", "app_log_dir", "app_backup_dir", "app_socket", "app_tls_dir", "app_tls_certificate", "app_tls_key"),
    *("app_tls_status", "app_acme_webroot", "app_database_socket_dir", "app_redis_socket", "app_redis_cache_socket"),
)
_WSGI = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(.*\))?")
_URL_PATH = re.compile(r"/[\w./~%+-]*")
_URL_PREFIX = re.compile(r"/([\w.~+-]+/)+")
_FILE_NAME = re.compile(r"[\w][\w.-]*")
_COUNT = re.compile(r"[1-9]\d{0,5}")
_PROCESS = re.compile(r"[a-z][a-z0-9]{0,30}")


def bad_name(values: Values) -> Iterator[Problem]:
    """The name becomes a user, units, a database and paths; it must suit all of them."""
    name = values["app_name"]
    if not _NAME.fullmatch(name):
        yield Problem("app_name", f"{name!r} will not do as a user, unit and database name", "use 2 to 31 of a-z 0-9 -, a letter first")
    elif name in RESERVED_NAMES:
        yield Problem("app_name", f"{name!r} belongs to a service of the system", f"use another name, for example {name}-app")


def bad_domains(values: Values) -> Iterator[Problem]:
    """Each domain goes into a certificate and a server_name."""
    domains, aliases = values["app_domains"], values.get("app_aliases") or []
    for name, listed in (("app_domains", domains), ("app_aliases", aliases)):
        for domain in listed:
            if not isinstance(domain, str) or not is_domain(domain):
                fix = "write the bare host name in lower case, for example blog.example.com"
                yield Problem(name, f"{domain!r} is not a domain name", fix)
        for domain in sorted({d for d in listed if isinstance(d, str) and listed.count(d) > 1}):
            yield Problem(name, f"{domain!r} is listed twice", "list each name once")
    for domain in sorted({d for d in aliases if isinstance(d, str) and d in domains}):
        what = f"{domain!r} is in app_domains too"
        yield Problem("app_aliases", what, "leave it in one: app_domains redirects to the first, app_aliases serves it as it is")


def is_domain(text: str) -> bool:
    labels = text.removeprefix("*.").split(".")
    return len(text) <= 253 and len(labels) >= 2 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def bad_wsgi(values: Values) -> Iterator[Problem]:
    if not _WSGI.fullmatch(values["app_wsgi"]):
        fix = "write module:callable or module:factory(), for example blog:create_app()"
        yield Problem("app_wsgi", f"{values['app_wsgi']!r} names no WSGI entry point", fix)


def bad_derived(values: Values) -> Iterator[Problem]:
    """Names and paths that follow from the app's name unless the operator says otherwise: then they have to suit the same places."""
    for name in ("app_user", "app_group", "app_proxy_group"):
        if values.get(name) and not _ACCOUNT.fullmatch(values[name]):
            yield Problem(name, f"{values[name]!r} will not do as a user or a group", "use 1 to 31 of a-z 0-9 - _, a letter first")
    if values.get("app_database") and not _DATABASE.fullmatch(values["app_database"]):
        yield Problem(
            "app_database", f"{values['app_database']!r} will not do as a database", "use at most 63 of a-z 0-9 - _, a letter first"
        )
    if values.get("app_domain") and not is_domain(values["app_domain"]):
        yield Problem("app_domain", f"{values['app_domain']!r} is not a domain name", "remove it: it is the first of app_domains")
    for name in _PATHS:
        if values.get(name) and (not _PATH.fullmatch(values[name]) or ".." in values[name].split("/")):
            yield Problem(
                name, f"{values[name]!r} is no absolute path, or has characters that a unit or nginx would read otherwise", _PATH_FIX
            )


_PATH_FIX = "begin it with a slash; use no blanks, quotes, backslashes, ; { } $ %"


def bad_paths(values: Values) -> Iterator[Problem]:
    """Paths that end up in nginx's configuration, and the one the kernel limits."""
    socket = names(values)["app_socket"]
    if len(socket.encode()) > SOCKET_PATH_MAX:
        what = f"{socket!r} is {len(socket.encode())} bytes, and the kernel takes {SOCKET_PATH_MAX}"
        yield Problem("app_socket", what, "use a shorter app_name or app_socket")
    for name in ("app_health_ready", "app_health_live"):
        if not _URL_PATH.fullmatch(values.get(name) or "/"):
            yield Problem(name, f"{values[name]!r} is not a path", "write, for example, /healthz/ready, or remove it: then it is found")
    for name in ("app_static", "app_uploads"):
        for prefix, folder in values.get(name, {}).items():
            if not _URL_PREFIX.fullmatch(str(prefix)):
                yield Problem(name, f"{prefix!r} is not a URL prefix", "begin and end it with a slash, for example /static/")
            if not isinstance(folder, str) or not folder.strip("/") or folder.startswith("/") or ".." in folder.split("/"):
                yield Problem(name, f"folder {folder!r} must be relative and stay inside", "write, for example, blog/static")


def bad_hops(values: Values) -> Iterator[Problem]:
    if int(values.get("app_proxy_hops", 1)) < 0:
        yield Problem("app_proxy_hops", f"is {values['app_proxy_hops']}", "write 1: nginx; 2: a load balancer before it")


def bad_static(values: Values) -> Iterator[Problem]:
    """Prefixes of one level: a prefix inside another would be a folder inside a link."""
    prefixes = sorted(str(prefix).strip("/") + "/" for prefix in values.get("app_static", {}))
    for outer in prefixes:
        for inner in prefixes:
            if inner != outer and inner.startswith(outer):
                yield Problem("app_static", f"/{inner} lies inside /{outer}", "use prefixes that do not contain each other")


def bad_environment(values: Values) -> Iterator[Problem]:
    """The environment: names a process can have, values that fit one line, nothing missing, no weak key, no debug mode."""
    present: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name in ("app_env", "app_secrets"):
        for key, value in values.get(name, {}).items():
            if not VARIABLE.fullmatch(str(key)):
                yield Problem(name, f"{key!r} is not a name for an environment variable", "use letters, digits and _")
            if isinstance(value, (Mapping, list)) or value is None:
                yield Problem(name, f"{key} is {'empty' if value is None else kind(value)}", "give it a text, a number or a boolean")
            elif "\x00" in str(value):
                yield Problem(name, f"{key} holds a NUL character", "remove it")
            present[str(key)], origin[str(key)] = value, name
    for key in values.get("app_required_env", []):
        if str(present.get(key, "")) == "":
            yield Problem("app_required_env", f"{key} is required and not set", f"add {key} to app_env or, if secret, to app_secrets")
    if truthy(present.get("FLASK_DEBUG")):
        yield Problem(origin["FLASK_DEBUG"], "FLASK_DEBUG is on: the debugger runs anyone's code", "remove it, or set it to 0")
    for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS"):
        if name in values.get("app_env", {}):
            yield Problem("app_env", f"{name} is a secret", "move it to app_secrets (group_vars/app_servers/vault.yml)")
    yield from _weak_secret(present, truthy(values.get("app_accept_short_secret_key")))


def _weak_secret(present: Mapping[str, Any], accepted: bool) -> Iterator[Problem]:
    key = str(present.get("SECRET_KEY", ""))
    if "SECRET_KEY" in present and _is_weak(key) and not (accepted and is_short(key)):
        fix = "generate one: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        if is_short(key):
            fix += "; to keep an existing app's sessions, write app_accept_short_secret_key: true"
        yield Problem("app_secrets", f"SECRET_KEY is weak: {SECRET_KEY_MIN} random characters at least", fix, "SECRET_KEY")
    # A cookie that a former key signs is believed like any other.
    if any(map(_is_weak, keys(present.get("SECRET_KEY_FALLBACKS")))):
        fix = "remove it (whoever it was given to logs in anew); several are separated by commas"
        yield Problem("app_secrets", "SECRET_KEY_FALLBACKS holds a weak key: who guesses it is anybody", fix, "SECRET_KEY_FALLBACKS")


def is_short(key: str) -> bool:
    """Whether a key is too short, and otherwise as it should be."""
    return SECRET_KEY_SHORT <= len(key) < SECRET_KEY_MIN and len(set(key)) >= 8 and not _PLACEHOLDER.search(key)


def notes(values: Values) -> Iterator[str]:
    """What a run says of an input that is accepted at the operator's word."""
    key = str((values.get("app_secrets") or {}).get("SECRET_KEY", ""))
    if truthy(values.get("app_accept_short_secret_key")) and is_short(key):
        yield (
            f"SECRET_KEY has {len(key)} characters and is accepted (app_accept_short_secret_key): whoever guesses it can"
            " sign in as anybody, and one that is not random can be guessed. Replace it when you can, without ending a session:"
            " slipway.vps.rotate."
        )


def _is_weak(key: str) -> bool:
    return len(key) < SECRET_KEY_MIN or len(set(key)) < 8 or bool(_PLACEHOLDER.search(key))


def bad_files(values: Values) -> Iterator[Problem]:
    for name, entry in values.get("app_files", {}).items():
        if not _FILE_NAME.fullmatch(str(name)):
            yield Problem("app_files", f"{name!r} is not a plain file name", "leave out slashes")
        if not isinstance(entry, Mapping) or set(entry) not in ({"content"}, {"template"}):
            yield Problem("app_files", f"{name} must have either content or template", f"write {name}: {{content: …}}")


def bad_processes(values: Values) -> Iterator[Problem]:
    for name, entry in values.get("app_processes", {}).items():
        if not _PROCESS.fullmatch(str(name)):
            yield Problem("app_processes", f"{name!r} will not do in a unit name", "use a-z and 0-9, a letter first")
        elif name in ("rehearsal", "rebuild"):
            yield Problem("app_processes", f"{name!r} is a unit of Slipway's own", "use another name")
        if not isinstance(entry, Mapping) or not entry.get("command"):
            yield Problem("app_processes", f"{name} needs a command", f"write {name}: {{command: celery -A blog worker}}")
        elif set(entry) - {"command", "stop_timeout", "connections"}:
            unknown = ", ".join(sorted(map(str, set(entry) - {"command", "stop_timeout", "connections"})))
            yield Problem("app_processes", f"{name} has unknown keys: {unknown}", "use command, stop_timeout and connections")
        elif not _COUNT.fullmatch(str(entry.get("connections", 1))):
            what = f"{name} has connections {entry['connections']!r}, which is no number of 1 or more"
            yield Problem("app_processes", what, "write, for example, connections: 5")


RULES = (
    (bad_name, ("app_name",)),
    (bad_domains, ("app_domains", "app_aliases")),
    (bad_wsgi, ("app_wsgi",)),
    (bad_derived, ()),
    (bad_hops, ()),
    (bad_paths, ("app_name", "app_domains", "app_socket", "app_static", "app_uploads", "app_health_ready", "app_health_live")),
    (bad_static, ("app_static",)),
    (bad_environment, ("app_env", "app_secrets", "app_required_env")),
    (bad_files, ("app_files",)),
    (bad_processes, ("app_processes",)),
)
