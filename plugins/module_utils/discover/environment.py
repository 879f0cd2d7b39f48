# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Names that the app reads from its environment: what it needs, and where each value comes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.slipway.vps.plugins.module_utils.discover import code, django
from ansible_collections.slipway.vps.plugins.module_utils.discover.findings import Finding, Note, Value, generated, question
from ansible_collections.slipway.vps.plugins.module_utils.discover.project import Project

SAMPLES = (".env.example", ".env.sample", ".env.template", ".env.dist", "env.example", "example.env", "sample.env")
#: What the contract or the system sets, or what only another platform knows.
DERIVED = re.compile(
    r"DATABASE_URL|SQLALCHEMY_DATABASE_URI|(FLASK_)?SQLALCHEMY_DATABASE_URI|DATABASE_URI|POSTGRES_URL|REDIS_(CACHE_)?URL|FLASK_APP|FLASK_RUN_\w+|PROXY_HOPS"
    r"|TRUSTED_HOSTS|SLIPWAY_\w+|DJANGO_SETTINGS_MODULE|PORT|HOST|HOME|PATH|PWD|USER|LOGNAME|SHELL|TZ|LANG|LC_\w+|HOSTNAME|TMPDIR|TEMP"
    r"|PYTHON\w+|VIRTUAL_ENV|GUNICORN_\w+|WEB_CONCURRENCY|DYNO|HEROKU_\w+|CI|GITHUB_\w+|RENDER\w*|RAILWAY_\w+|FLY_\w+|SERVER_SOFTWARE|WERKZEUG_\w+"
    r"|INVOCATION_ID|NOTIFY_SOCKET|PYTEST_\w+|NO_COLOR"
)
#: Names under which libraries look for a Redis, each with the spelling of a socket that it takes.
CELERY = re.compile(r"(\w+_)?(BROKER_URL|RESULT_BACKEND)|CELERY_BROKER|CELERY_BACKEND")
LIMITER = re.compile(r"(\w+_)?RATELIMIT_STORAGE_UR[IL]|LIMITER_STORAGE_UR[IL]")
REDIS = re.compile(
    r"(\w+_)?(REDIS_URL|REDIS_URI|REDIS_TLS_URL|REDISCLOUD_URL)|RQ_REDIS_URL|CACHE_REDIS_URL|CACHE_URL"
    r"|(SOCKETIO_)?MESSAGE_QUEUE|QUEUE_URL"
)
#: Random text of the app's own, that nobody else has to know.
OWN_SECRET = re.compile(
    r"(FLASK_|DJANGO_|APP_|JWT_|SESSION_|WTF_CSRF_|CSRF_|AUTH_|ENCRYPTION_|SIGNING_|HASH_)*SECRET(_KEY)?|\w*JWT_SECRET\w*|\w*PASSWORD_SALT|SALT"
)
SECRET = re.compile(r"\w*(SECRET|PASSWORD|PASSWD|_PASS|TOKEN|API_?KEY|PRIVATE_KEY|ACCESS_KEY|CREDENTIALS|_DSN|AUTH_KEY|LICENSE_KEY)\w*")
#: Parts of the database's URL, for apps that put it together themselves.
PARTS = re.compile(
    r"(?:\w+_)?(?:POSTGRES|POSTGRESQL|PG|DB|DATABASE|SQL)_?(HOST|HOSTNAME|PORT|NAME|DB|DATABASE|USER|USERNAME|PASSWORD|PASS)"
)
LIBPQ = re.compile(r"PG(HOST|HOSTADDR|PORT|DATABASE|USER|PASSWORD|SERVICE)")
_PART_VALUES = {
    **dict.fromkeys(("HOST", "HOSTNAME"), "{{ app_database_socket_dir }}"),
    "PORT": "5432",
    **dict.fromkeys(("NAME", "DB", "DATABASE"), "{{ app_database }}"),
    **dict.fromkeys(("USER", "USERNAME"), "{{ app_user }}"),
    **dict.fromkeys(("PASSWORD", "PASS"), ""),
}
#: Names whose value follows from the domains.
DOMAINS = (
    (re.compile(r"(\w+_)?ALLOWED_HOSTS?"), "{{ app_domains | join(',') }}"),
    (re.compile(r"(\w+_)?CSRF_TRUSTED_ORIGINS"), "{{ app_domains | map('regex_replace', '^', 'https://') | join(',') }}"),
    (re.compile(r"(\w+_)?(SITE|BASE|PUBLIC|APP|EXTERNAL|ROOT|FRONTEND|SERVER|WEBSITE)_UR[LI]"), "https://{{ app_domains | first }}"),
    (re.compile(r"(\w+_)?(SERVER_NAME|DOMAIN|DOMAIN_NAME|SITE_DOMAIN|HOST_NAME|SITE_HOST)"), "{{ app_domains | first }}"),
)
FOLDERS = re.compile(r"(\w+_)?(UPLOAD|UPLOADS|MEDIA)(ED)?_?(FOLDER|DIR|DIRECTORY|PATH|ROOT|DEST)?")
DATA = re.compile(r"(\w+_)?(DATA|STORAGE|FILES)_(FOLDER|DIR|DIRECTORY|PATH|ROOT)")
LOGS = re.compile(r"(\w+_)?LOGS?_(FOLDER|DIR|DIRECTORY|PATH)")
DEBUG = re.compile(r"(\w+_)?DEBUG")
MODE = re.compile(r"(\w+_)?(ENV|ENVIRONMENT|CONFIG|CONFIG_NAME|CONFIG_MODE|CONFIGURATION|SETTINGS|MODE|STAGE)")
CELERY_URL = "redis+socket://{{ app_redis_socket }}?virtual_host=0"
_READERS = frozenset({"get", "getenv", "pop"})
_TYPED = frozenset(
    {"str", "bool", "int", "float", "list", "dict", "json", "url", "db", "cache", "email_url", "path", "decimal", "tuple", "uuid", "enum"}
)
_ENVS = ("environs.Env", "environ.Env", "environ.FileAwareEnv", "decouple.config", "starlette.config.Config", "decouple.AutoConfig")


@dataclass(frozen=True)
class Read:
    """One name that the code reads."""

    name: str
    source: str
    #: Without it the app ends: there is no default, and an error instead of None.
    required: bool
    #: The default as it stands there; None where there is none or it is no constant.
    default: object = None
    has_default: bool = False


def look(project: Project, settings: django.Settings) -> Iterator[Finding]:
    """A value, a generated secret or a question for each name that needs one."""
    found = names(project)
    sample = samples(project)
    yield from _mode(project, found)
    if "REDIS_URL" in found and project.needs("celery") and not any("from_url" in project.tree.text(path) for path in project.python):
        yield Value("app_env", CELERY_URL, f"{found['REDIS_URL'].source}, for Celery alone", key="REDIS_URL")
    for _, read in sorted(found.items()):
        yield from _one(project, read, sample)
    if any("from_envvar" in project.tree.text(path) for path in project.python):
        yield Note(
            "the app reads a configuration file (from_envvar): app_files holds it, app_env names it ({{ app_files_dir }}/<name>)",
            stops=True,
        )


def _one(project: Project, read: Read, sample: dict[str, tuple[str, str]]) -> Iterator[Finding]:
    name, source = read.name, read.source
    if LIBPQ.fullmatch(name):
        if read.required:
            yield Note(f"{source} reads {name}, which is refused beside DATABASE_URL: read DATABASE_URL there", stops=True)
    elif DERIVED.fullmatch(name) or (MODE.fullmatch(name) and not read.required):
        return
    elif CELERY.fullmatch(name):
        yield Value("app_env", CELERY_URL, source, key=name)
    elif LIMITER.fullmatch(name):
        yield Value("app_env", "redis+unix://{{ app_redis_socket }}?db=0", source, key=name)
    elif REDIS.fullmatch(name):
        yield Value("app_env", "{{ app_redis_url }}", source, key=name)
    elif (part := PARTS.fullmatch(name)) and _uses_postgres(project):
        yield from _part(project, read, part[1])
    elif name in ("REDIS_HOST", "REDIS_PORT") and (read.required or name == "REDIS_HOST"):
        yield Note(f"{source} reads {name}: this Redis listens on a socket; read REDIS_URL there (redis.Redis.from_url)", stops=True)
    elif OWN_SECRET.fullmatch(name) or name.lower().removesuffix("_secret_key") in project.own_names:
        yield generated(name, source)
        yield Value("app_required_env", name, source)
    elif value := next((value for pattern, value in DOMAINS if pattern.fullmatch(name)), ""):
        if read.required or not name.endswith(("NAME", "DOMAIN", "URL", "URI")) or read.has_default:
            yield Value("app_env", value, source, key=name)
    elif FOLDERS.fullmatch(name) or DATA.fullmatch(name):
        folder = "uploads" if FOLDERS.fullmatch(name) else "data"
        yield Value("app_env", f"{{{{ app_shared }}}}/{folder}", source, key=name)
        yield from [Value("app_required_env", name, source)] if read.required else []
    elif LOGS.fullmatch(name):
        yield Value("app_env", "{{ app_log_dir }}", source, key=name)
    elif DEBUG.fullmatch(name) or name == "FLASK_ENV":
        # The contract sets FLASK_DEBUG.
        if name not in ("FLASK_DEBUG", "FLASK_ENV") and (read.required or str(read.default).lower() in ("1", "true", "on", "yes")):
            yield Value("app_env", "0", source, key=name)
    elif read.required or (name in sample and not read.has_default and SECRET.fullmatch(name) and not name.endswith("_DSN")):
        yield from _needed(read, sample)
    elif not read.has_default:
        yield Note(f"{source} reads {name} and goes on without it: app_env (or app_secrets) may set it")


def _needed(read: Read, sample: dict[str, tuple[str, str]]) -> Iterator[Finding]:
    """A name that the app cannot do without: the sample's value where that can be meant, else a question."""
    value, file = sample.get(read.name, ("", ""))
    if read.required:
        yield Value("app_required_env", read.name, read.source)
    if SECRET.fullmatch(read.name):
        yield question("app_secrets", f"{read.name} of the app (secret)", read.source, key=read.name)
    elif value and not _is_sample(value):
        yield Value("app_env", value, f"{file}, read in {read.source}", key=read.name)
    else:
        yield question("app_env", f"{read.name} of the app", read.source, key=read.name)


def _part(project: Project, read: Read, part: str) -> Iterator[Finding]:
    """Host, name and user of the database one by one: PostgreSQL's socket, unless the app makes a URL of them."""
    if any(re.search(r"postgres\w*(\+\w+)?://\{|postgres\w*(\+\w+)?://%s", project.tree.text(path)) for path in project.python):
        yield Note(f"{read.source} makes the database's URL of parts ({read.name}): read DATABASE_URL there", stops=True)
        return
    value = _PART_VALUES[part]
    yield Value("app_env", value, read.source, key=read.name)


def _uses_postgres(project: Project) -> bool:
    return bool(project.needs("psycopg", "psycopg2", "psycopg2-binary", "psycopg-binary", "asyncpg", "pg8000", "aiopg"))


def _is_sample(value: str) -> bool:
    """Whether a value of a sample only shows the form, or is a developer's."""
    return bool(re.search(r"example|localhost|127\.0|your|change|replace|xxx|todo|<.*>|\.\.\.|insert|dummy|^test$", value, re.IGNORECASE))


def _mode(project: Project, found: dict[str, Read]) -> Iterator[Finding]:
    """A name that chooses one of several configurations: `production`, where the app has one of that name."""
    keys = {key for path in project.python for key in code.dictionary_keys(project.tree.module(path))}
    wanted = next((key for key in ("production", "prod") if key in keys), "")
    for name, read in sorted(found.items()):
        if not MODE.fullmatch(name) or read.default in ("production", "prod"):
            continue
        if wanted and (read.required or read.has_default):
            yield Value("app_env", wanted, f"{read.source}, which has a configuration of that name", key=name)
        elif read.default is not None and (chosen := _class(project, str(read.default))):
            yield Value("app_env", chosen, f"{read.source}, which has a class of that name", key=name)


def _class(project: Project, default: str) -> str:
    """`config.ProductionConfig` for `config.DevelopmentConfig`, where that class is there."""
    module, _, name = default.rpartition(".")
    path = project.tree.first(f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py") if module else ""
    wanted = re.sub(r"Development|Dev|Local|Default|Base", "Production", name)
    classes = {node.name for node in project.tree.module(path).body if isinstance(node, ast.ClassDef)} if path else set()
    return f"{module}.{wanted}" if wanted != name and wanted in classes else ""


# --- What the code reads --------------------------------------------------------------------------


def names(project: Project) -> dict[str, Read]:
    """Each name once; a place that needs it counts more than one that has a default."""
    found: dict[str, Read] = {}
    for path in project.python:
        for read in _reads(project, path):
            before = found.get(read.name)
            if before is None or (read.required and not before.required):
                found[read.name] = read
    return found


def _reads(project: Project, path: str) -> Iterator[Read]:
    module = project.tree.module(path)
    imports = code.imported(module)
    envs = _envs(module, imports)
    optional = _with_alternative(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environ(code.dotted(node.value), imports):
            if name := code.text(node.slice):
                yield Read(name, path, required=id(node) not in optional)
        elif isinstance(node, ast.Call) and node.args and (name := code.text(node.args[0])):
            whole = code.dotted(node.func)
            owner = whole.rpartition(".")[0]
            default = code.argument(node, 1, "default")
            literal = code.literal(default)
            if (code.last(node.func) in _READERS and _is_environ(owner, imports)) or imports.get(whole, whole) == "os.getenv":
                alternative = optional.get(id(node))
                yield Read(
                    name,
                    path,
                    False,
                    literal if default is not None else code.literal(alternative),
                    default is not None or alternative is not None,
                )
            elif whole in envs or (owner in envs and code.last(node.func) in _TYPED):
                stated = code.keyword(node, "default") if owner in envs or len(node.args) < 2 else default
                declared = envs.get(whole.partition(".")[0] if whole not in envs else whole, {}).get(name)
                missing = stated is None and declared is None and code.keyword(node, "default") is None and not _has_second(whole, node)
                yield Read(name, path, missing, code.literal(stated if stated is not None else declared), not missing)
        elif isinstance(node, ast.ClassDef) and any(code.last(base) == "BaseSettings" for base in node.bases):
            yield from _pydantic(node, path)


def _has_second(whole: str, call: ast.Call) -> bool:
    """environs takes the default as second argument too; django-environ's second is the type."""
    return "." in whole and len(call.args) > 1


def _is_environ(owner: str, imports: dict[str, str]) -> bool:
    head, _, rest = owner.partition(".")
    whole = imports.get(head, head) + (f".{rest}" if rest else "")
    return whole == "os.environ"


def _envs(module: ast.Module, imports: dict[str, str]) -> dict[str, dict[str, ast.expr]]:
    """Readers of libraries, by the name they are bound to, with the defaults that are declared when they are made."""
    found: dict[str, dict[str, ast.expr]] = {name: {} for name, whole in imports.items() if whole == "decouple.config"}
    # A settings file often takes `env` or `config` from its neighbour.
    found.update({name: {} for name, whole in imports.items() if name == "env" and whole.startswith(".")})
    for name, value in code.bindings(module.body):
        if isinstance(value, ast.Call):
            head, _, rest = code.dotted(value.func).partition(".")
            whole = imports.get(head, head) + (f".{rest}" if rest else "")
            if whole in _ENVS:
                found[name] = {word.arg: word.value for word in value.keywords if word.arg and isinstance(word.value, ast.Tuple)}
    return found


def _with_alternative(module: ast.Module) -> dict[int, ast.expr]:
    """Reads that have `or something` behind them, or a test before."""
    found: dict[int, ast.expr] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            found.update({id(one): node.values[-1] for one in node.values[:-1]})
        elif isinstance(node, (ast.If, ast.IfExp)) and "environ" in ast.dump(node.test):
            bodies = node.body if isinstance(node.body, list) else [node.body]
            found.update({id(one): node.test for body in bodies for one in ast.walk(body) if isinstance(one, ast.Subscript)})
        elif isinstance(node, ast.Try) and any("KeyError" in ast.dump(handler) for handler in node.handlers):
            found.update({id(one): ast.Constant(None) for body in node.body for one in ast.walk(body) if isinstance(one, ast.Subscript)})
    return found


def _pydantic(node: ast.ClassDef, path: str) -> Iterator[Read]:
    """Fields of a BaseSettings class; the environment's names are theirs in capitals, with the prefix."""
    config = [call for call in code.calls(node) if code.last(call.func) == "SettingsConfigDict"]
    prefix = code.text(code.keyword(config[0], "env_prefix")) if config else ""
    for inner in node.body:
        if isinstance(inner, ast.ClassDef) and inner.name == "Config":
            prefix = next((code.text(value) for name, value in code.bindings(inner.body) if name == "env_prefix"), prefix)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.target.id != "model_config":
            value = statement.value
            if isinstance(value, ast.Call) and code.last(value.func) == "Field":
                first = code.argument(value, 0, "default")
                made = code.keyword(value, "default_factory")
                value = made if first is None or code.literal(first) is ... else first
            yield Read(f"{prefix}{statement.target.id}".upper(), path, value is None, code.literal(value), value is not None)


def samples(project: Project) -> dict[str, tuple[str, str]]:
    """Names and values of a sample environment."""
    found: dict[str, tuple[str, str]] = {}
    for path in project.tree.files:
        if path.rpartition("/")[2] in SAMPLES:
            for line in project.tree.lines(path):
                name, equals, value = line.removeprefix("export ").partition("=")
                if equals and re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
                    found.setdefault(name.strip(), (re.sub(r"\s+#.*$", "", value).strip().strip("\"'"), path))
    return found
