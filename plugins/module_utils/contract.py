# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What makes an app's inputs acceptable: every rule of the contract, as plain functions.

The rules see resolved values only. They know nothing of Ansible, hosts or files, so that each of them
is tested without one; `plugins/action/contract.py` brings the values and reports the problems.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.slipway.vps.plugins.module_utils.certificates import misfits
from ansible_collections.slipway.vps.plugins.module_utils.database_url import DatabaseUrl, parse
from ansible_collections.slipway.vps.plugins.module_utils.postgres_settings import demand, misfit
from ansible_collections.slipway.vps.plugins.module_utils.rotation import keys

#: Longest path a Unix socket can be bound to: sizeof(sun_path) less the final NUL, unix(7).
SOCKET_PATH_MAX = 107
#: Fewest characters of a SECRET_KEY: 32 bytes is what Flask's documentation generates.
SECRET_KEY_MIN = 32
#: Fewest characters of a database password that other hosts may try.
PASSWORD_MIN = 16
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

#: Inputs that the rules look at, though other roles have them.
OTHERS = (
    *("tls_certificate_file", "tls_key_file", "tls_directory_url", "tls_eab_kid", "tls_eab_hmac_key", "tls_profile"),
    *("tls_dns_plugin", "tls_dns_credentials", "tls_resolvers", "tls_retry_seconds"),
    *("gunicorn_workers", "gunicorn_worker_class", "gunicorn_threads"),
    *("postgres_max_connections", "postgres_app_hosts", "postgres_connections_admin", "postgres_connections_backup"),
    *(
        "postgres_memory_share",
        "postgres_settings_custom",
        "postgres_allow",
        "postgres_tls_certificate_file",
        "postgres_tls_key_file",
        "postgres_shared_buffers",
    ),
    *("redis_use", "redis_maxmemory_policy", "redis_persistence", "redis_maxmemory", "redis_cache_maxmemory"),
)

_NAME = re.compile(r"[a-z][a-z0-9-]{1,30}")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_WSGI = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(.*\))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL_PATH = re.compile(r"/[\w./~%+-]*")
_URL_PREFIX = re.compile(r"/([\w.~+-]+/)+")
_FILE_NAME = re.compile(r"[\w][\w.-]*")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?\s*(===?\s*[\w.!+-]+|@\s*\S+)")
_PROCESS = re.compile(r"[a-z][a-z0-9]{0,30}")
_COUNT = re.compile(r"[1-9]\d{0,5}")
_POLICIES = (
    *("noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
)
#: Numbers of other roles that go into the sum of connections.
_COUNTS = (*("gunicorn_workers", "gunicorn_threads", "postgres_app_hosts", "postgres_connections_admin", "postgres_connections_backup"),)

#: What each kind of source needs and may have beside `type`.
_SOURCE_KEYS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "git": (frozenset({"repo", "version"}), frozenset({"deploy_key"})),
    "path": (frozenset({"path"}), frozenset()),
    "archive": (frozenset(), frozenset({"url", "file", "checksum"})),
    "package": (frozenset({"requirement"}), frozenset()),
}


class Problem(NamedTuple):
    """One reason to refuse the input: the variable, what is wrong with it, and what to write instead."""

    variable: str
    what: str
    fix: str


Values = Mapping[str, Any]


def stray_names(names: Sequence[str], known: Sequence[str]) -> Iterator[Problem]:
    """Variables that carry the contract's prefix but mean nothing: typos, or a name from another version."""
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        fix = f"did you mean {near[0]}?" if near else "remove it; docs/contract.md lists every name"
        yield Problem(name, "is not a variable of the contract", fix)


def wrong_types(values: Values, spec: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Values whose YAML type is not the one the spec names.

    Ansible's own check would accept a string where a list is due (and later iterate over its letters).
    Text from `-e name=value` stands for a number or a boolean, so that is taken.
    """
    for name, option in spec.items():
        if name not in values or (values[name] is None and option.get("required")):
            continue
        kind, value = option.get("type", "str"), values[name]
        if value is None:
            # `app_env:` with nothing below it: no default takes its place.
            yield Problem(name, "is there and has no value", f"remove the line, or write {name}: {_EMPTY.get(kind, '…')}")
        elif kind == "list" and not isinstance(value, list):
            yield Problem(name, f"must be a list, and is {_kind(value)}", f"write {name}: [{value}]")
        elif kind == "list" and option.get("elements") == "str" and not all(isinstance(item, str) for item in value):
            yield Problem(name, "must hold text only", "put each item in quotes")
        elif kind == "dict" and not isinstance(value, Mapping):
            yield Problem(name, f"must be a dictionary, and is {_kind(value)}", f"write 'key: value' lines below {name}:")
        elif kind in ("str", "path") and not isinstance(value, str):
            yield Problem(name, f"must be text, and is {_kind(value)}", f'write {name}: "{value}"')
        elif kind == "int" and not re.fullmatch(r"-?\d+", str(value)):
            yield Problem(name, f"must be a whole number, and is {value!r}", f"write {name}: {option.get('default', 1)}")
        elif kind == "bool" and str(value).lower() not in {"true", "false", "yes", "no", "on", "off", "1", "0"}:
            yield Problem(name, f"must be true or false, and is {value!r}", f"write {name}: {str(option.get('default', False)).lower()}")


#: How "nothing" is written.
_EMPTY = {"list": "[]", "dict": "{}", "str": '""'}


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "text"
    return f"the {type(value).__name__} {value!r}"


def missing(values: Values, spec: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Required inputs that are absent or empty: an empty string would satisfy Ansible's `required`."""
    examples = {
        "app_name": "app_name: blog",
        "app_domains": "app_domains: [blog.example.com]",
        "app_wsgi": "app_wsgi: blog:create_app()",
        "app_source": "app_source: {type: git, repo: https://git.example.com/blog.git, version: v1.0.0}",
    }
    for name, option in spec.items():
        if option.get("required") and not values.get(name):
            yield Problem(name, "is required and not set", f"write, for example, {examples.get(name, name + ': …')}")


def bad_name(values: Values) -> Iterator[Problem]:
    """The name becomes a user, units, a database and paths; it must suit all of them."""
    name = values["app_name"]
    if not _NAME.fullmatch(name):
        yield Problem("app_name", f"{name!r} will not do as a user, unit and database name", "use 2 to 31 of a-z 0-9 -, a letter first")
    elif name in RESERVED_NAMES:
        yield Problem("app_name", f"{name!r} belongs to a service of the system", f"use another name, for example {name}-app")


def bad_domains(values: Values) -> Iterator[Problem]:
    """Each domain goes into a certificate and a server_name."""
    domains = values["app_domains"]
    for domain in domains:
        if not isinstance(domain, str) or not _is_domain(domain):
            fix = "write the bare host name in lower case, for example blog.example.com"
            yield Problem("app_domains", f"{domain!r} is not a domain name", fix)
    for domain in sorted({d for d in domains if isinstance(d, str) and domains.count(d) > 1}):
        yield Problem("app_domains", f"{domain!r} is listed twice", "list each name once")


def _is_domain(text: str) -> bool:
    labels = text.removeprefix("*.").split(".")
    return len(text) <= 253 and len(labels) >= 2 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def bad_wsgi(values: Values) -> Iterator[Problem]:
    if not _WSGI.fullmatch(values["app_wsgi"]):
        fix = "write module:callable or module:factory(), for example blog:create_app()"
        yield Problem("app_wsgi", f"{values['app_wsgi']!r} names no WSGI entry point", fix)


def bad_source(values: Values) -> Iterator[Problem]:
    """Each kind of source has its own keys; one that would be ignored is refused."""
    source = values["app_source"]
    wrong = [key for key, value in source.items() if not isinstance(key, str) or not isinstance(value, str)]
    for key in wrong:
        # YAML reads version: 1.10 as the number 1.1.
        yield Problem("app_source", f"{key} must be text, and is {_kind(source[key])}", f"put it in quotes, for example {key}: 'v1.10'")
    if wrong:
        return
    kind = source.get("type")
    if kind not in _SOURCE_KEYS:
        yield Problem("app_source", f"type {kind!r} is unknown", f"use one of {', '.join(_SOURCE_KEYS)}")
        return
    required, optional = _SOURCE_KEYS[kind]
    for key in sorted(set(source) - required - optional - {"type"}):
        allowed = ", ".join(sorted(required | optional))
        yield Problem("app_source", f"key {key!r} means nothing for type {kind}", f"type {kind} takes {allowed}")
    for key in sorted(k for k in required if not source.get(k)):
        yield Problem("app_source", f"type {kind} needs {key!r}", f"add {key}: …")
    if kind == "archive":
        yield from _bad_archive(source)
    if kind == "package" and source.get("requirement") and not _PINNED.fullmatch(source["requirement"]):
        fix = "pin it: name==version, or name @ url"
        yield Problem("app_source", f"requirement {source['requirement']!r} does not say which version goes live", fix)


def _bad_archive(source: Mapping[str, Any]) -> Iterator[Problem]:
    if bool(source.get("url")) == bool(source.get("file")):
        yield Problem("app_source", "type archive needs either url or file", "add one of them")
    if source.get("url") and not source.get("checksum"):
        yield Problem("app_source", "type archive with url needs checksum", "add checksum: sha256:<hex> (sha256sum FILE)")
    if source.get("checksum") and not _CHECKSUM.fullmatch(str(source["checksum"])):
        yield Problem("app_source", f"checksum {source['checksum']!r} is not sha256:<64 hex digits>", "write sha256:<hex> (sha256sum FILE)")


def bad_paths(values: Values) -> Iterator[Problem]:
    """Paths that end up in nginx's configuration, and the one the kernel limits."""
    socket = values.get("app_socket", "")
    if len(socket.encode()) > SOCKET_PATH_MAX:
        what = f"{socket!r} is {len(socket.encode())} bytes, and the kernel takes {SOCKET_PATH_MAX}"
        yield Problem("app_socket", what, "use a shorter app_name or app_socket")
    for name in ("app_health_ready", "app_health_live"):
        if not _URL_PATH.fullmatch(values.get(name, "/")):
            yield Problem(name, f"{values[name]!r} is not a path", "write, for example, /healthz/ready")
    for name in ("app_static", "app_uploads"):
        for prefix, folder in values.get(name, {}).items():
            if not _URL_PREFIX.fullmatch(str(prefix)):
                yield Problem(name, f"{prefix!r} is not a URL prefix", "begin and end it with a slash, for example /static/")
            if not isinstance(folder, str) or not folder.strip("/") or folder.startswith("/") or ".." in folder.split("/"):
                yield Problem(name, f"folder {folder!r} must be relative and stay inside", "write, for example, blog/static")


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
            if not _VARIABLE.fullmatch(str(key)):
                yield Problem(name, f"{key!r} is not a name for an environment variable", "use letters, digits and _")
            if isinstance(value, (Mapping, list)) or value is None:
                yield Problem(name, f"{key} is {'empty' if value is None else _kind(value)}", "give it a text, a number or a boolean")
            elif "\x00" in str(value):
                yield Problem(name, f"{key} holds a NUL character", "remove it")
            present[str(key)], origin[str(key)] = value, name
    for key in values.get("app_required_env", []):
        if str(present.get(key, "")) == "":
            yield Problem("app_required_env", f"{key} is required and not set", f"add {key} to app_env or, if secret, to app_secrets")
    if _truthy(present.get("FLASK_DEBUG")):
        yield Problem(origin["FLASK_DEBUG"], "FLASK_DEBUG is on: the debugger runs anyone's code", "remove it, or set it to 0")
    for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS"):
        if name in values.get("app_env", {}):
            yield Problem("app_env", f"{name} is a secret", "move it to app_secrets (group_vars/app_servers/vault.yml)")
    yield from _weak_secret(present)
    if str(present.get("DATABASE_URL", "")).startswith("sqlite"):
        what = "DATABASE_URL is SQLite, which a release would not share with the next"
        yield Problem(origin["DATABASE_URL"], what, "remove it, or use PostgreSQL")


def _weak_secret(present: Mapping[str, Any]) -> Iterator[Problem]:
    if "SECRET_KEY" in present and _is_weak(str(present["SECRET_KEY"])):
        fix = "generate one: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        yield Problem("app_secrets", f"SECRET_KEY is weak: {SECRET_KEY_MIN} random characters at least", fix)
    # A cookie that a former key signs is believed like any other.
    if any(map(_is_weak, keys(present.get("SECRET_KEY_FALLBACKS")))):
        fix = "remove it (whoever it was given to logs in anew); several are separated by commas"
        yield Problem("app_secrets", "SECRET_KEY_FALLBACKS holds a weak key: who guesses it is anybody", fix)


def _is_weak(key: str) -> bool:
    return len(key) < SECRET_KEY_MIN or len(set(key)) < 8 or bool(_PLACEHOLDER.search(key))


def _truthy(value: Any) -> bool:
    return str(value if value is not None else "").lower() not in {"", "0", "false", "no", "off"}


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
        elif name == "rehearsal":
            yield Problem("app_processes", "'rehearsal' is the unit that tries a new release", "use another name")
        if not isinstance(entry, Mapping) or not entry.get("command"):
            yield Problem("app_processes", f"{name} needs a command", f"write {name}: {{command: celery -A blog worker}}")
        elif set(entry) - {"command", "stop_timeout", "connections"}:
            unknown = ", ".join(sorted(map(str, set(entry) - {"command", "stop_timeout", "connections"})))
            yield Problem("app_processes", f"{name} has unknown keys: {unknown}", "use command, stop_timeout and connections")
        elif not _COUNT.fullmatch(str(entry.get("connections", 1))):
            what = f"{name} has connections {entry['connections']!r}, which is no number of 1 or more"
            yield Problem("app_processes", what, "write, for example, connections: 5")


def bad_wildcards(values: Values) -> Iterator[Problem]:
    """A wildcard is proven by DNS, or comes with your own certificate; and nothing can redirect to one."""
    wild = [domain for domain in values["app_domains"] if isinstance(domain, str) and domain.startswith("*.") and _is_domain(domain)]
    if not wild:
        return
    if wild[0] == values["app_domains"][0]:
        yield Problem("app_domains", f"the first domain is canonical, and {wild[0]!r} is no single name", "put a plain name first")
    if not values.get("tls_dns_plugin") and not values.get("tls_certificate_file"):
        fix = "set tls_dns_plugin (DNS-01), or list each name"
        yield Problem("app_domains", f"{wild[0]!r} needs a certificate that a CA gives only by DNS", fix)


def bad_acme(values: Values) -> Iterator[Problem]:
    """How the certificate authority is asked."""
    url = values.get("tls_directory_url")
    if url is not None and not re.fullmatch(r"https://[^\s/]+(/\S*)?", str(url)):
        fix = "write, for example, https://acme-v02.api.letsencrypt.org/directory"
        yield Problem("tls_directory_url", f"{url!r} is not the https:// address of an ACME directory", fix)
    kid, key = (str(values.get(name) or "") for name in ("tls_eab_kid", "tls_eab_hmac_key"))
    if bool(kid) != bool(key):
        absent, present = ("tls_eab_kid", "tls_eab_hmac_key") if key else ("tls_eab_hmac_key", "tls_eab_kid")
        yield Problem(absent, f"is not set, and {present} is", "set both, or neither")
    elif key and not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", key):
        yield Problem("tls_eab_hmac_key", "is not base64url (letters, digits, - and _)", "copy it again from your CA")
    for name in ("tls_profile", "tls_dns_plugin"):
        if values.get(name) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(values[name])):
            yield Problem(
                name, f"{values[name]!r} is not a plain name", "write, for example, " + ("tlsserver" if "profile" in name else "cloudflare")
            )
    if str(values.get("tls_dns_plugin") or "").startswith("dns-"):
        yield Problem("tls_dns_plugin", f"{values['tls_dns_plugin']!r} begins with dns-", f"write {str(values['tls_dns_plugin'])[4:]}")
    if values.get("tls_dns_credentials") and not values.get("tls_dns_plugin"):
        yield Problem("tls_dns_plugin", "is not set, and tls_dns_credentials is", "name the plugin, for example cloudflare")
    seconds = values.get("tls_retry_seconds", 300)
    if not re.fullmatch(r"[1-9]\d*", str(seconds)):
        yield Problem("tls_retry_seconds", f"{seconds!r} is not a number of seconds, 1 at least", "write, for example, 300")
    resolvers = values.get("tls_resolvers") or []
    for address in resolvers if isinstance(resolvers, list) else [resolvers]:
        if not _is_address(str(address)):
            yield Problem("tls_resolvers", f"{address!r} is not an IP address", "write, for example, [9.9.9.9, 1.1.1.1]")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def bad_own_certificate(values: Values) -> Iterator[Problem]:
    """Your own certificate: both files, and nothing in them that would stop nginx or a browser.

    `tls_certificate_text` and `tls_key_text` are the files' contents, or the reason why they cannot be read.
    """
    certificate, key = values.get("tls_certificate_file"), values.get("tls_key_file")
    if not certificate and not key:
        return
    for name, other in (("tls_certificate_file", "tls_key_file"), ("tls_key_file", "tls_certificate_file")):
        if not values.get(name):
            yield Problem(name, f"is not set, and {other} is", "set both, or neither for a certificate by ACME")
            return
    contents = {}
    for name, text in (("tls_certificate_file", "tls_certificate_text"), ("tls_key_file", "tls_key_text")):
        content = values.get(text)
        if isinstance(content, OSError):
            yield Problem(
                name, f"{values[name]!r} cannot be read: {content}", "a path on this machine, absolute or relative to the playbook's folder"
            )
        elif content is not None:
            contents[name] = str(content)
    if len(contents) == 2:
        for misfit in misfits(contents["tls_certificate_file"], contents["tls_key_file"], values["app_domains"]):
            yield Problem(f"tls_{misfit.part}_file", misfit.what, misfit.fix)


def too_few_connections(values: Values) -> Iterator[Problem]:
    """The app can ask for more connections than PostgreSQL gives.

    Where the number of workers follows from the host's size the role postgres does this sum, before it changes anything.
    """
    custom = values.get("postgres_settings_custom")
    limit = (custom.get("max_connections") if isinstance(custom, Mapping) else None) or values.get("postgres_max_connections", "auto")
    numbers = {
        **{name: limit for name in ("postgres_max_connections",) if str(limit) != "auto"},
        **{name: values[name] for name in _COUNTS if name in values and str(values[name]) != "auto"},
    }
    environment = values.get("app_env", {})
    # Gunicorn takes an empty one for none.
    said = {name: environment.get(name) for name in ("WEB_CONCURRENCY", "GUNICORN_THREADS")}
    numbers |= {f"app_env {name}": value for name, value in said.items() if value not in (None, "")}
    # Nothing need be kept for others.
    wrong = [
        name for name, value in numbers.items() if not _COUNT.fullmatch(str(value)) and not ("_connections_" in name and str(value) == "0")
    ]
    for name in wrong:
        variable, _, part = name.partition(" ")
        yield Problem(variable, f"{part} is {numbers[name]!r}, and must be a whole number, 1 at least".strip(), "write a number")
    share = str(values.get("postgres_memory_share", 0.25))
    if not re.fullmatch(r"0?\.\d*[1-9]\d*|1(\.0*)?", share):
        yield Problem("postgres_memory_share", f"is {share!r}, and must be more than 0 and 1 at most", "write, for example, 0.25")
    if int(values.get("app_database_pool", 0)) < 0:
        yield Problem("app_database_pool", "is less than 0", "write the pool's size, or 0 for as many as there are threads")
        return
    processes = values.get("app_processes", {})
    if wrong or str(limit) == "auto" or any(bad_processes(values)):
        return
    server = {name: values.get(f"gunicorn_{name}") for name in ("workers", "worker_class", "threads")}
    shares = demand(
        server,
        None,
        hosts=int(values.get("postgres_app_hosts", 1)),
        pool=int(values.get("app_database_pool", 0)),
        processes=processes,
        environment=environment,
        administration=int(values.get("postgres_connections_admin", 5)),
        backup=int(values.get("postgres_connections_backup", 5)),
    )
    if shares and (reason := misfit(shares, int(limit))):
        yield Problem(*reason)


def bad_database(values: Values) -> Iterator[Problem]:
    """Where the database is, and that nobody in between can pose as it."""
    url, name = str(values.get("app_database_url", "")), "app_database_url"
    if not url:
        return
    try:
        parts = parse(url)
    except ValueError as error:
        yield Problem(
            name, f"will not do: {error}", "write postgresql://<role>:<password>@<host>/<database>?sslmode=verify-full&sslrootcert=…"
        )
        return
    if not parts.database:
        yield Problem(name, "names no database", "write it after the host: postgresql://…/blog")
    if not parts.local and not parts.verified:
        what = f"sends data and password to whoever answers as {parts.host}: sslmode is {parts.query.get('sslmode') or 'not set'}"
        yield Problem(name, what, "add ?sslmode=verify-full&sslrootcert=… (see docs/data.md, Another host)")
    elif not parts.local and not parts.query.get("sslrootcert"):
        fix = "add &sslrootcert=/etc/ssl/certs/ca-certificates.crt, or your own CA's file (app_files)"
        yield Problem(name, "asks for a checked certificate, and does not say which CAs are trusted", fix)
    yield from _bad_server(values, parts)


def _bad_server(values: Values, parts: DatabaseUrl) -> Iterator[Problem]:
    """A PostgreSQL that other hosts may use."""
    allow = values.get("postgres_allow") or []
    if isinstance(allow, str):
        yield Problem("postgres_allow", f"must be a list, and is {allow!r}", f"write postgres_allow: [{allow}]")
        return
    for address in allow:
        if not _is_network(str(address)):
            fix = "write, for example, [192.0.2.10, 198.51.100.0/24]"
            yield Problem("postgres_allow", f"{address!r} is no address and no network", fix)
    if not allow:
        return
    if parts.local:
        fix = "write into the vault postgresql://<app>_1:<password>@<this host>/<database>?sslmode=verify-full&sslrootcert=…"
        yield Problem("app_database_url", "leads to the app's own host, and postgres_allow lets other hosts in", fix)
    elif not parts.user or len(parts.password) < PASSWORD_MIN:
        fix = "generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
        yield Problem("app_database_url", f"needs a role and a password of {PASSWORD_MIN} characters at least", fix)
    elif parts.user in (values.get("app_name"), "postgres"):
        fix = f"use {values.get('app_name')}_1 (and {values.get('app_name')}_2 for the next password: docs/data.md)"
        yield Problem("app_database_url", f"logs in as {parts.user}, which owns the data and has no password", fix)
    for name in ("postgres_tls_certificate_file", "postgres_tls_key_file"):
        if not values.get(name):
            yield Problem(
                name, "is not set, and other hosts may connect: over TLS only", "a path on this machine; docs/data.md shows how to make one"
            )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def bad_redis(values: Values) -> Iterator[Problem]:
    """One Redis has one policy: what must not be forgotten and what may be do not go together."""
    use = values.get("redis_use", ["sessions", "queue"])
    if not isinstance(use, list) or not use or set(map(str, use)) - {"sessions", "queue", "cache"}:
        yield Problem("redis_use", f"{use!r} is not a list of sessions, queue, cache", "write, for example, redis_use: [sessions, queue]")
    elif "cache" in use and len(set(use)) > 1:
        fix = "write redis_use: [sessions, queue] and app_redis_cache: true (a second Redis, REDIS_CACHE_URL)"
        yield Problem("redis_use", "mixes a cache with what must not be forgotten, and one Redis has one policy for all it holds", fix)
    if (policy := values.get("redis_maxmemory_policy", _POLICIES[0])) not in _POLICIES:
        yield Problem("redis_maxmemory_policy", f"{policy!r} is none of Redis's policies", f"use one of {', '.join(_POLICIES)}")
    if (persistence := values.get("redis_persistence", "aof")) not in ("aof", "none"):
        yield Problem("redis_persistence", f"{persistence!r} is unknown", "use aof or none")
    for name in ("redis_maxmemory", "redis_cache_maxmemory"):
        # Redis takes 0 for "no limit", and a number without a unit for bytes: 128 would be full at once.
        if not re.fullmatch(r"[1-9]\d*(kb?|mb?|gb?)", str(values.get(name, "1mb")).lower()):
            yield Problem(name, f"{values[name]!r} is no size with its unit", f"write, for example, {name}: 128mb")


def gone(values: Values) -> Iterator[Problem]:
    """Variables that have been replaced."""
    if "postgres_shared_buffers" in values:
        fix = f"write postgres_settings_custom: {{shared_buffers: {values['postgres_shared_buffers']}}}, or nothing"
        yield Problem("postgres_shared_buffers", "is no variable any more: the host's memory decides", fix)


def no_authority(values: Values) -> Iterator[Problem]:
    """A certificate has to come from somewhere."""
    if not values.get("acme_email") and not values.get("tls_certificate_file"):
        yield Problem("acme_email", "is required and not set", "write acme_email: you@example.com, or give tls_certificate_file")


#: Rules that look at one aspect each, and the variables they read. A rule is left out when one of those is already
#: known to be absent or of the wrong type: it could only repeat that.
RULES: tuple[tuple[Callable[[Values], Iterator[Problem]], tuple[str, ...]], ...] = (
    (bad_name, ("app_name",)),
    (bad_domains, ("app_domains",)),
    (bad_wsgi, ("app_wsgi",)),
    (bad_source, ("app_source",)),
    (bad_paths, ("app_name", "app_socket", "app_static", "app_uploads", "app_health_ready", "app_health_live")),
    (bad_static, ("app_static",)),
    (bad_environment, ("app_env", "app_secrets", "app_required_env")),
    (bad_files, ("app_files",)),
    (bad_processes, ("app_processes",)),
    (bad_database, ("app_name", "app_database_url")),
    (bad_redis, ()),
    (gone, ()),
    (too_few_connections, ("app_processes", "app_env", "app_database_pool")),
    (no_authority, ("acme_email",)),
    (bad_wildcards, ("app_domains",)),
    (bad_acme, ()),
    (bad_own_certificate, ("app_domains",)),
)


def problems(values: Values, names: Sequence[str], spec: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Every reason to refuse the input, most basic first.

    :arg values: resolved values of the contract's variables, and of `OTHERS`.
    :arg names: every variable name of the host that carries the prefix `app_`.
    :arg spec: `options` of the role's argument specification.
    """
    known = [name for name in spec if name.startswith("app_")]
    found = [*stray_names(names, known), *missing(values, spec), *wrong_types(values, spec)]
    broken = {problem.variable for problem in found}
    for rule, reads in RULES:
        if not broken.intersection(reads):
            found.extend(rule(values))
    return found
