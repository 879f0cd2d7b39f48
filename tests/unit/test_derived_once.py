"""What the model has is derived in the model: no URL is parsed, no socket's path and no app's folder is built anywhere else.

The scan reads every role, play, plugin and program as what it is: Python by its syntax tree, YAML by its values, templates without
their comments. What it looks for is in `FINDINGS`; what may do it all the same is in `EXCEPTIONS`, with the reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT

#: The model, with the one reader of URLs.
MODEL = {
    "plugins/module_utils/model.py",
    "plugins/module_utils/resolve.py",
    "plugins/module_utils/database_url.py",
    "plugins/module_utils/redis_url.py",
}
PARSERS = {"urlsplit", "urlparse", "urldefrag", "parse_qs", "parse_qsl"}
#: A value that is put in: of an f-string, of Jinja, or of a percent format.
_HOLE = "\x01"
_FOLDERS = "srv|etc|etc/ssl|run|var/log|var/backups"
#: What is found, and how a text shows it.
FINDINGS = {
    "a socket's path": re.compile(rf"/run/\S*\.sock\b|/run/(redis-|postgresql){_HOLE}|\.s\.PGSQL\."),
    # /etc/<app> is the app's folder; /etc/cron.d/<app>-backup is the role's own.
    "an app's folder": re.compile(
        rf"(?<![\w{_HOLE}])/({_FOLDERS})/{_HOLE}(?![\w.])|/run/redis-{_HOLE}|/var/lib/{_HOLE}-acme|/var/lib/slipway/{_HOLE}-tls\.json"
    ),
    "a database's role": re.compile(rf"{_HOLE}_(readonly|migrate)\b"),
    "a URL": re.compile(rf"(postgresql|postgres|redis|rediss|unix)://\S*{_HOLE}"),
}

#: File to what it may do, and why. A file that does not need its line any more is refused.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "plugins/module_utils/git_ssh.py": {"parses": "the server of a repository, to know whether its key is known"},
    "plugins/module_utils/discover/build.py": {"parses": "what somebody's files say of a package index, before there is a model"},
    "plugins/module_utils/discover/environment.py": {"parses": "whether somebody's code puts a URL together"},
    "plugins/module_utils/discover/findings.py": {"parses": "which expressions are the findings' own"},
    "plugins/module_utils/discover/services.py": {"parses": "the place of a SQLite file in somebody's code"},
    "plugins/modules/init.py": {"parses": "whether an app is named by an address, and that without its token"},
    "plugins/module_utils/preflight/findings/postgres.py": {"a URL": "what an operator may write to use another port"},
    "plugins/module_utils/preflight/gather/packages.py": {"parses": "the servers of apt's sources, to see whether their names resolve"},
    "plugins/module_utils/slipway/backup/offsite.py": {"parses": "the address of a restic repository, which no other layer knows"},
    "plugins/module_utils/slipway/doctor/smoke.py": {"parses": "where an answer of the app leads"},
    "plugins/module_utils/slipway/pages.py": {"parses": "addresses in the app's pages"},
    "plugins/module_utils/slipway/policy.py": {"parses": "the same, and sources in the headers of its answers"},
    "plugins/module_utils/slipway/tls/certbot.py": {"parses": "the address of the certificate authority"},
    "plugins/module_utils/slipway/tls/preflight.py": {"parses": "addresses in the answers of other hosts"},
    "plugins/module_utils/slipway/core/text.py": {"parses": "masks what any URL may hold, and takes nothing out of it"},
    "plugins/module_utils/slipway/doctor/client.py": {"parses": "the CA behind the address of its directory"},
    "plugins/module_utils/slipway/doctor/findings.py": {"parses": "masks a password in what a log quotes"},
    "plugins/module_utils/slipway/hops.py": {"parses": "where an answer of the app leads"},
    "plugins/plugin_utils/report/mask.py": {"parses": "the password in a URL that this run knows, to hide it"},
    "plugins/plugin_utils/report/view.py": {"parses": "an address in the page's texts"},
    "plugins/module_utils/rules/tls.py": {"parses": "whether the address of the authority is one of HTTPS"},
    "roles/postgres/tasks/app.yml": {"a socket's path": "PostgreSQL names its socket's file after the port"},
    "roles/postgres/tasks/left.yml": {"a socket's path": "the same"},
    "roles/redis/templates/etc/redis/redis-app.conf.j2": {
        "a socket's path": "its process id lies in the folder that Debian's unit names after the instance",
        "an app's folder": "the same",
    },
}


# --- Reading --------------------------------------------------------------------------------------


def python_findings(text: str) -> Iterator[str]:
    """What a Python file does of what only the model may."""
    tree = ast.parse(text)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    documentation |= {
        id(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and next(getattr(target, "id", "") for target in node.targets) in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Call) and _parses(node):
            yield "parses"
        yield from (kind for one in _texts_of(node) for kind in text_findings(one))


def _parses(call: ast.Call) -> bool:
    """A call takes a URL apart: by a parser's name, by a regular expression, or by hand."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    words = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    by_hand = name in (
        "partition",
        "rpartition",
        "split",
        "rsplit",
        "compile",
        "match",
        "fullmatch",
        "search",
        "sub",
        "findall",
        "finditer",
    )
    return name in PARSERS or (by_hand and any("://" in word for word in words))


def _texts_of(node: ast.AST) -> Iterator[str]:
    """A text as it will be, with `_HOLE` for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub(r"\{\w*\}|%\(?\w*\)?s", _HOLE, node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else _HOLE for part in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        # Path("/etc") / name, "/etc/" + name
        left = node.left.args[0] if isinstance(node.left, ast.Call) and node.left.args else node.left
        if isinstance(left, ast.Constant) and isinstance(left.value, str) and not isinstance(node.right, ast.Constant):
            yield left.value.rstrip("/") + "/" + _HOLE


def yaml_findings(text: str) -> Iterator[str]:
    """What a YAML file of a role or a play does of what only the model may."""
    yield from (kind for one in _strings(yaml.safe_load(text)) for kind in jinja_findings(one))


def _strings(node: Any, key: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _strings(value, str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value, key)
    elif isinstance(node, str) and key not in ("description", "short_description", "name", "fail_msg", "msg"):
        yield node


def jinja_findings(text: str) -> Iterator[str]:
    if re.search(r"\|\s*(urlsplit|(ansible\.\w+\.)?urlsplit)|regex_\w+\([^)]*://|\.(split|partition)\([^)]*://", text):
        yield "parses"
    # /etc/{{ name }}, '/etc/' ~ name and name ~ '_migrate'
    yield from text_findings(re.sub(r"\{\{.*?\}\}", _HOLE, text, flags=re.DOTALL))
    for before, after in re.findall(r"['\"]([^'\"]*)['\"]\s*~|~\s*['\"]([^'\"]*)['\"]", text):
        yield from text_findings(f"{before}{_HOLE}" if before else f"{_HOLE}{after}")


def text_findings(text: str) -> Iterator[str]:
    yield from (kind for kind, pattern in FINDINGS.items() if pattern.search(text))


def findings(path: Path) -> set[str]:
    """What a file does of what only the model may."""
    text = path.read_text()
    if path.suffix == ".py" or text.startswith("#!/usr/bin/python3"):
        return set(python_findings(text))
    if path.suffix in (".yml", ".yaml"):
        return set(yaml_findings(text))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    return {kind for line in lines for kind in jinja_findings(line)}


def files() -> list[Path]:
    """Every file of the product that is read as code, a template or state."""
    python = [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/files/**/*.py")]
    state = [path for folder in ("defaults", "handlers", "tasks", "vars") for path in ROOT.glob(f"roles/*/{folder}/**/*.yml")]
    return sorted([*python, *state, *ROOT.glob("roles/*/templates/**/*.j2"), *ROOT.glob("playbooks/*.yml")])


def allowed(path: Path) -> set[str]:
    return set(EXCEPTIONS.get(str(path.relative_to(ROOT)), {}))


# --- The product ----------------------------------------------------------------------------------


def test_nothing_is_derived_a_second_time() -> None:
    """[F1] [F2] Five places parsed the database's URL, and the release module built the socket's path itself."""
    found = {str(path.relative_to(ROOT)): findings(path) - allowed(path) for path in files() if str(path.relative_to(ROOT)) not in MODEL}
    found = {name: kinds for name, kinds in found.items() if kinds}
    assert not found, "these derive what the model has:\n" + "\n".join(
        f"{name}: {', '.join(sorted(kinds))}" for name, kinds in found.items()
    )


def test_everything_is_looked_at() -> None:
    """A scan of nothing finds nothing."""
    names = {str(path.relative_to(ROOT)) for path in files()}
    assert len(names) > 150 and names >= {
        *("plugins/modules/release.py", "plugins/action/contract.py", "playbooks/site.yml", "roles/nginx/tasks/site.yml"),
        "roles/server/templates/etc/systemd/system/app.socket.j2",
    }


def test_the_model_is_where_it_is_done() -> None:
    """The scan sees what it looks for, where that is meant to be."""
    done = {kind for name in MODEL for kind in findings(ROOT / name)}
    assert done == {"parses", *FINDINGS}


def test_every_exception_is_needed() -> None:
    """One that nobody uses any more is a hole."""
    for name, kinds in EXCEPTIONS.items():
        assert findings(ROOT / name) >= set(kinds), f"{name} does not need its exception"
        assert all(len(reason) > 5 for reason in kinds.values())


# --- The scan itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("from urllib.parse import urlsplit\nx = urlsplit(u)", "parses"), ("x = urllib.parse.urlparse(u).hostname", "parses")),
        *(("scheme = u.partition('://')[0]", "parses"), ("x = re.compile(r'postgres://(.*)@')", "parses"), ("u.split('://', 1)", "parses")),
        *(("s = f'/run/{name}/gunicorn.sock'", "a socket's path"), ("s = '/run/blog/gunicorn.sock'", "a socket's path")),
        *(("p = f'/etc/{name}'", "an app's folder"), ("p = f'/srv/{app.name}/releases'", "an app's folder")),
        *(
            ("p = Path('/srv') / name", "an app's folder"),
            ("p = '/var/log/' + name", "an app's folder"),
            ("p = '/etc/%s' % n", "an app's folder"),
        ),
        *(("p = '/var/backups/{}'.format(n)", "an app's folder"), ("p = f'/run/redis-{name}/x'", "an app's folder")),
        *(
            ("r = f'{user}_readonly'", "a database's role"),
            ("u = f'postgresql:///{name}'", "a URL"),
            ("u = f'unix://{socket}?db=0'", "a URL"),
        ),
    ],
)
def test_the_scan_sees_python(text: str, kind: str) -> None:
    assert kind in set(python_findings(text))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("{{ url | urlsplit('hostname') }}", "parses"), ("{{ url | ansible.builtin.urlsplit }}", "parses")),
        *(("{{ url | regex_replace('^.*://', '') }}", "parses"), ("{{ url.split('://')[1] }}", "parses")),
        *(("/run/{{ app.name }}/gunicorn.sock", "a socket's path"), ("unix:/run/x/y.sock", "a socket's path")),
        *(("/etc/{{ app.name }}", "an app's folder"), ("/etc/{{ app.name }}/gunicorn.conf.py", "an app's folder")),
        *(("{{ '/srv/' ~ app.name ~ '/shared' }}", "an app's folder"), ("/var/lib/{{ app.name }}-acme", "an app's folder")),
        *(("{{ app.user }}_readonly", "a database's role"), ("{{ app.user ~ '_migrate' }}", "a database's role")),
        *(("postgresql:///{{ app.name }}", "a URL"),),
    ],
)
def test_the_scan_sees_templates_and_values(text: str, kind: str, tmp_path: Path) -> None:
    """In a task's value, in a template, and in a play."""
    assert kind in set(jinja_findings(text))
    (tmp_path / "x.j2").write_text(f"key = value\nthis = {text}\n")
    (tmp_path / "x.yml").write_text(yaml.safe_dump([{"ansible.builtin.file": {"path": text}}]))
    assert kind in findings(tmp_path / "x.j2") and kind in findings(tmp_path / "x.yml")


@pytest.mark.parametrize(
    "text",
    [
        *('"""/etc/<app>/app.json, /run/blog/gunicorn.sock"""', "x = 1  # f'/srv/{name}'", "DOCUMENTATION = '/run/blog/gunicorn.sock'"),
        *("p = f'/etc/cron.d/{name}-backup'", "p = f'/etc/systemd/system/{name}@.service'", "p = Path('/etc/slipway') / name"),
        *("f'GET https://{host}{path} answered'", "x = f'{root}/etc/{name}'", "p = '/etc/' + 'hosts'"),
    ],
)
def test_the_scan_leaves_the_rest_alone(text: str) -> None:
    assert set(python_findings(text)) == set()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "/etc/logrotate.d/{{ app.name }}",
            "{{ app.config_dir }}/x",
            "/etc/ssl/certs/ca-certificates.crt",
            "/var/log/nginx/{{ app.name }}.log",
        ),
        *(
            "https://{{ app.domain }}/",
            "/etc/nginx/{{ item }}",
            "{{ app.root ~ '/incoming' }}",
            "sslmode_readonly",
            "/etc/letsencrypt/{{ x }}",
        ),
    ],
)
def test_the_scan_leaves_other_paths_alone(text: str) -> None:
    assert set(jinja_findings(text)) == set()


def test_comments_and_descriptions_may_explain(tmp_path: Path) -> None:
    (tmp_path / "x.j2").write_text("# /etc/{{ app.name }}\n; /run/x.sock\n")
    (tmp_path / "x.yml").write_text("# /etc/{{ app.name }}\n- {name: '/srv/{{ app.name }}', description: /run/x.sock}\n")
    assert findings(tmp_path / "x.j2") == findings(tmp_path / "x.yml") == set()
