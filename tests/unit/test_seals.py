"""Sealed layers: what tasks manage is told by their arguments, kept on the host, and compared by the next run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import relink
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals import machine, observe, record
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.observe import OBSERVERS, Thing, differences
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import COLLECTION, Task, read, take
from ansible_collections.slipway.vps.plugins.plugin_utils import inputs
from ansible_collections.slipway.vps.plugins.plugin_utils.recorded import RECORDERS, STATELESS, things

from .conftest import ROOT, Tool
from .test_contract_played import GOOD

LAYERS = ("base", "edge", "data", "serve", "keep")


# --- What tasks manage ----------------------------------------------------------------------------


def tasks(path: Path) -> Iterator[dict[str, Any]]:
    """Every task of a file, those in blocks too."""

    def within(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for task in found:
            parts = [part for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks") for part in task.get(key) or []]
            yield from within(parts) if parts else [task]

    return within(yaml.safe_load(path.read_text()) or [])


def actions(path: Path) -> Iterator[str]:
    for task in tasks(path):
        yield from (key for key in task if key.count(".") >= 2 and not key.rpartition(".")[2].startswith(("import_", "include_")))


def roles_of_layers() -> set[str]:
    text = "".join((ROOT / f"playbooks/{layer}.yml").read_text() for layer in LAYERS)
    return {line.rpartition(".")[2].strip() for line in text.splitlines() if "name: slipway.vps." in line}


#: In a role of a layer, and in no layer: verbs (restore, rollback, remove ...) and what brings a release to life.
VERBS = ("app/", "backup/tasks/restore", "backup/tasks/create", "nginx/tasks/maintenance", "release/tasks/")
PREPARES = ("install", "configure", "secrets", "prepare")


def test_every_action_of_a_layer_is_known() -> None:
    """[F8] One that nobody has described would leave its layer without a record."""
    assert {
        "base",
        "ssh",
        "updates",
        "nginx",
        "tls",
        "firewall",
        "fail2ban",
        "postgres",
        "redis",
        "server",
        "release",
        "backup",
        "logs",
    } == (roles_of_layers())
    unknown = {}
    for role in roles_of_layers():
        for path in sorted((ROOT / "roles" / role).glob("tasks/*.yml")) + sorted((ROOT / "roles" / role).glob("handlers/*.yml")):
            name = str(path.relative_to(ROOT / "roles"))
            if name.startswith(VERBS) and path.stem not in PREPARES:
                continue
            unknown.update({f"{name}: {action}": action for action in actions(path) if action not in RECORDERS.keys() | STATELESS})
    assert not unknown


@pytest.mark.parametrize(
    ("action", "args", "expected"),
    [
        ("ansible.builtin.template", {"src": "x.j2", "dest": "/etc/x"}, [("file", "/etc/x")]),
        ("ansible.builtin.copy", {"content": "", "dest": "/var/log/x", "force": False}, [("place", "/var/log/x")]),
        ("ansible.builtin.template", {"src": "x.j2", "dest": "/etc/default/locale", "follow": True}, [("content", "/etc/default/locale")]),
        ("ansible.builtin.file", {"path": "/srv/x", "state": "directory"}, [("place", "/srv/x")]),
        ("ansible.builtin.file", {"path": "/var/log/x", "state": "touch"}, [("place", "/var/log/x")]),
        ("ansible.builtin.file", {"dest": "/etc/x", "src": "/etc/y", "state": "link"}, [("link", "/etc/x")]),
        ("ansible.builtin.file", {"path": "/etc/x", "state": "absent"}, [("file", "/etc/x")]),
        ("ansible.builtin.command", {"argv": ["nginx", "-t"]}, []),
        ("ansible.builtin.command", {"_raw_params": "pg_lsclusters -j"}, [("clusters", "")]),
        ("ansible.builtin.shell", {"cmd": "make x", "creates": "/opt/x"}, [("place", "/opt/x")]),
        ("ansible.builtin.systemd_service", {"daemon_reload": True}, []),
        ("ansible.builtin.systemd_service", {"name": "nginx", "state": "started"}, [("unit", "nginx.service")]),
        ("ansible.builtin.systemd_service", {"name": "redis-server@blog.service"}, [("unit", "redis-server@blog.service")]),
        ("slipway.vps.packages", {"name": ["ufw", "nginx=1.26"]}, [("package", "ufw"), ("package", "nginx")]),
        ("ansible.builtin.user", {"name": "blog"}, [("user", "blog")]),
        ("ansible.builtin.assert", {"that": True}, []),
        (
            "slipway.vps.files",
            {
                **{"folders": [{"path": "/etc/a"}], "files": [{"path": "/etc/a/b"}], "links": [{"path": "/etc/l"}]},
                **{"exclusive": [{"path": "/etc/a", "keep": ["b"]}], "absent": ["/etc/old"]},
            },
            [("place", "/etc/a"), ("file", "/etc/a/b"), ("link", "/etc/l"), ("names", "/etc/a"), ("file", "/etc/old")],
        ),
        (
            "slipway.vps.nginx_config",
            {
                "files": [{"dest": "sites-available/blog.conf"}],
                "links": [{"path": "sites-enabled/blog.conf"}],
                "absent": ["sites-enabled/default"],
            },
            [
                ("file", "/etc/nginx/sites-available/blog.conf"),
                *(("link", "/etc/nginx/sites-enabled/blog.conf"), ("file", "/etc/nginx/sites-enabled/default")),
            ],
        ),
        (
            "community.postgresql.postgresql_ext",
            {"login_db": "blog", "login_unix_socket": "/run/postgresql", "login_port": 5433, "name": "hstore"},
            [("extension", "/run/postgresql:5433//blog/hstore")],
        ),
        (
            "community.postgresql.postgresql_membership",
            {"groups": ["blog"], "target_roles": ["blog_migrate"], "login_unix_socket": "/run/postgresql", "login_port": "5432"},
            [("role", "/run/postgresql:5432/blog_migrate")],
        ),
    ],
)
def test_what_a_task_manages(action: str, args: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """[F8] By the task's own words; a log's content, or a folder's, is none of it."""
    found = things(action, args, {})
    assert found == expected
    assert {kind for kind, _ in found} <= OBSERVERS.keys()


def test_settings_that_the_kernel_does_not_take_are_not_managed() -> None:
    """[F8] In a container a part of them is refused: they stay as they are."""
    settings = [{"name": f"net.{name}"} for name in ("set", "absent", "refused", "theirs")]
    said = {"absent": ["net.absent"], "refused": {"net.refused": "container"}, "theirs": {"net.theirs": "/etc/sysctl.conf"}}
    assert things("slipway.vps.sysctl", {"path": "/etc/x", "settings": settings}, said) == [("file", "/etc/x"), ("kernel", "net.set")]


def test_an_action_that_nobody_has_described() -> None:
    """[F8] It is told, so that nothing is recorded without it."""
    with pytest.raises(KeyError):
        things("community.docker.docker_container", {}, {})


# --- How things are -------------------------------------------------------------------------------


def changed(thing: Thing, change: Any) -> list[str]:
    before = observe.observe([thing])[thing]
    change()
    return differences(thing, before, observe.observe([thing])[thing])


def test_changes_of_a_file(tmp_path: Path) -> None:
    """[F3] Content, mode, a link in its place, and that it is gone; the content is not shown."""
    path = tmp_path / "x"
    path.write_text("secret")
    path.chmod(0o644)
    thing = Thing("file", str(path))
    assert changed(thing, lambda: path.write_text("other")) == [f"file {path}: content differs"]
    assert changed(thing, lambda: path.chmod(0o600)) == [f"file {path}: mode is 0600, was 0644"]
    assert changed(thing, lambda: os.utime(path, (0, 0))) == []
    assert changed(thing, path.unlink) == [f"file {path} is gone"]
    assert changed(thing, lambda: path.symlink_to("y")) == [f"file {path} is there again"]
    assert changed(thing, lambda: relink(path, Path("z"))) == [f"file {path}: leads to is z, was y"]


def test_changes_behind_a_link(tmp_path: Path) -> None:
    """[F3] /etc/default/locale may be one, and what the task wrote lies behind it."""
    path, target = tmp_path / "locale", tmp_path / "locale.conf"
    path.write_text("LANG=C.UTF-8")
    thing = Thing("content", str(path))
    assert changed(thing, lambda: (path.rename(target), relink(path, target))) == []
    assert changed(thing, lambda: target.write_text("LANG=C")) == [f"content {path}: content differs"]
    assert changed(thing, target.unlink) == [f"content {path} is gone"]


def test_a_place_is_its_attributes_alone(tmp_path: Path) -> None:
    """[F3] A log grows, a folder gets files."""
    thing = Thing("place", str(tmp_path))
    assert changed(thing, lambda: (tmp_path / "new").write_text("")) == []
    assert changed(thing, lambda: tmp_path.chmod(0o750)) == [f"place {tmp_path}: mode is 0750, was 0700"]


def test_files_beside_those_that_stay(tmp_path: Path) -> None:
    """[F3] In a folder where only some may be."""
    (tmp_path / "ours").write_text("")
    thing = Thing("names", str(tmp_path))
    assert changed(thing, lambda: (tmp_path / "by-hand").write_text("")) == [f"names {tmp_path}: by-hand is new"]
    assert changed(thing, (tmp_path / "ours").unlink) == [f"names {tmp_path}: ours is gone"]
    assert changed(thing, (tmp_path / "by-hand").unlink) == [f"names {tmp_path}: by-hand is gone"], "also the last one"


def test_an_account_and_a_package() -> None:
    """[F3] root and bash are there; of a password a digest."""
    found = observe.observe([Thing("user", "root"), Thing("user", "nobody-knows"), Thing("group", "root"), Thing("package", "bash")])
    assert found[Thing("user", "root")]["home"] == "/root" and found[Thing("user", "nobody-knows")] == {}
    assert found[Thing("group", "root")]["number"] == "0"
    assert found[Thing("package", "bash")] == ({"installed": "yes"} if Path("/usr/bin/dpkg-query").exists() else {})


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What commands say, by their first two words."""
    answers: dict[str, str] = {}
    monkeypatch.setattr(observe, "_said", lambda *words, **_: answers.get(" ".join(words[:2]), ""))
    return answers


def test_units_in_their_order(said: dict[str, str]) -> None:
    """[F3] One question for all; a drop-in by hand is a difference, too."""
    said["systemctl show"] = (
        "ActiveState=active\nUnitFileState=enabled\nFragmentPath=/lib/a.service\nDropInPaths=/etc/a.conf\n\nActiveState=inactive\n"
    )
    found = observe.units(["a.service", "b.timer"])
    assert found["b.timer"] == {"state": "inactive"}
    assert found["a.service"] == {"state": "active", "at boot": "enabled", "unit file": "/lib/a.service", "drop-ins": "/etc/a.conf"}
    assert differences(Thing("unit", "a.service"), found["a.service"], {**found["a.service"], "state": "failed"}) == [
        "unit a.service: state is failed, was active"
    ]


def test_rules_of_others_are_not_the_firewalls(said: dict[str, str]) -> None:
    """[F3] Bans of fail2ban come and go, Docker's chains are Docker's; a flushed chain of ufw is a difference."""
    said["ufw status"] = "Status: active\n\nTo   Action   From\n22/tcp   LIMIT   Anywhere\n"
    said["iptables -S"] = (
        "-P INPUT DROP\n-P FORWARD ACCEPT\n-N f2b-sshd\n-A INPUT -j ufw-before-input\n-A f2b-sshd -s 192.0.2.1/32 -j REJECT\n"
    )
    before = observe.firewall([""])[""]
    assert not any("f2b" in line or "FORWARD" in line for line in before)
    said["iptables -S"] = "-P INPUT ACCEPT\n"
    assert differences(Thing("firewall", ""), before, observe.firewall([""])[""]) == [
        "firewall: iptables: -A INPUT -j ufw-before-input is gone",
        "firewall: iptables: -P INPUT ACCEPT is new",
        "firewall: iptables: -P INPUT DROP is gone",
    ]


def test_where_sshd_listens_and_which_clusters_there_are(said: dict[str, str]) -> None:
    """[K5] [D1] Others change both: the firewall leaves sshd's ports open, an upgrade moves the data."""
    said["sshd -T"] = "port 22\nport 2222\npermitrootlogin no\nlistenaddress [::]:22\n"
    said["pg_lsclusters --no-header"] = "15 main 5432 online postgres /var/lib/postgresql/15/main /var/log/x.log\n"
    found = observe.observe([Thing("sshd", ""), Thing("clusters", "")])
    assert sorted(found[Thing("sshd", "")]) == ["listenaddress [::]:22", "port 22", "port 2222"]
    assert differences(Thing("sshd", ""), {"port 22": "listed"}, {"port 22": "listed", "port 2222": "listed"}) == ["sshd: port 2222 is new"]
    assert list(found[Thing("clusters", "")]) == ["15/main on port 5432"]


def test_databases_by_server_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] Each server and database is asked once, for all names."""
    asked = []

    def ask(server: str, database: str, query: str) -> list[dict[str, object]]:
        asked.append((server, database))
        rows: dict[str, list[dict[str, object]]] = {
            "blog": [{"name": "hstore", "installed": "yes"}],
            "postgres": [{"name": "blog", "rights": "login", "password": None}, {"name": "other", "rights": "superuser"}],
        }
        return rows[database]

    monkeypatch.setattr(observe, "ask", ask)
    role, gone = Thing("role", "/run/postgresql:5432/blog"), Thing("role", "/run/postgresql:5432/gone")
    extension = Thing("extension", "/run/postgresql:5432//blog/hstore")
    assert observe.observe([role, gone, extension]) == {role: {"rights": "login"}, gone: {}, extension: {"installed": "yes"}}
    assert asked == [("/run/postgresql:5432", "postgres"), ("/run/postgresql:5432", "blog")]


# --- The record -----------------------------------------------------------------------------------


def test_a_record_says_what_differs(tmp_path: Path) -> None:
    """[F3] Inputs and things; as they were left there is nothing to say."""
    path = tmp_path / "x"
    path.write_text("x")
    given = {"the model": "1", "variables of nginx": "2"}
    take("edge", "blog", given, [Task("roles/x.yml:1", [Thing("file", str(path))])], [], None).write(tmp_path / "seals")
    found = read("edge", "blog", tmp_path / "seals")
    assert found and found.differs(given) == []
    assert oct((tmp_path / "seals").stat().st_mode & 0o777) == "0o700"
    assert oct(found.path(tmp_path / "seals").stat().st_mode & 0o777) == "0o600"
    path.write_text("y")
    assert found.differs({"the model": "1", "variables of nginx": "3", "variables of tls": "4"}) == [
        *("variables of nginx changed", "variables of tls changed", f"file {path}: content differs"),
    ]


def test_what_a_link_leads_to_is_not_its_own(tmp_path: Path) -> None:
    """[E2] A certificate is renewed behind it."""
    path, target = tmp_path / "fullchain.pem", tmp_path / "live.pem"
    target.write_text("1")
    path.symlink_to(target)
    assert changed(Thing("link", str(path)), lambda: target.write_text("2")) == []
    assert changed(Thing("link", str(path)), target.unlink) == [f"link {path}: something there is no, was yes"]


@pytest.mark.parametrize("text", ["", "{}", '{"form": 0}', '{"form": 1, "states": [[["other", "x"], {}]]}'])
def test_a_record_of_another_form_is_none(tmp_path: Path, text: str) -> None:
    """[F8] Of another version, or half of one: then the layer runs."""
    record.place_of("edge", "blog", tmp_path).write_text(text)
    assert read("edge", "blog", tmp_path) is None


def test_a_task_that_had_nothing_to_do_keeps_what_it_did_before(tmp_path: Path) -> None:
    """[F3] A password is set once: what was recorded then still counts, while the collection is the same."""
    given = {COLLECTION: "1"}
    first = take("data", "blog", given, [Task("a.yml:1", [Thing("file", "/a")]), Task("b.yml:1", [Thing("file", "/b")])], [], None)
    again = take("data", "blog", given, [Task("a.yml:1", [Thing("file", "/a")])], ["b.yml:1", "c.yml:1"], first)
    assert [task.where for task in again.tasks] == ["a.yml:1", "b.yml:1"] and (Thing("file", "/b"), {}) in again.states
    other = take("data", "blog", {COLLECTION: "2"}, [], ["b.yml:1"], first)
    assert other.tasks == []


def test_the_login_of_the_run(tmp_path: Path) -> None:
    """[K5] root's login is closed once an admin carries the run, so who comes in is an input. sudo drops it: a process before has it."""
    shell = b"USER=ada\0LOGNAME=ada\0SSH_CONNECTION=192.0.2.7 50000 192.0.2.1 2222\0"
    for number, parent, environment in ((30, 20, b"PATH=/bin\0USER=root\0"), (20, 10, shell), (10, 1, b"")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "environ").write_bytes(environment)
        (tmp_path / str(number) / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
    assert machine.session(30, tmp_path) == "ada from 192.0.2.7 at port 2222"
    assert machine.session(10, tmp_path) == ""


# --- Inputs ---------------------------------------------------------------------------------------

MODEL = {
    **{"name": "blog", "environment": {"LANG": "C"}, "source": {"type": "git", "version": "1"}},
    "machine": {"apps": [{"name": "blog", "source": {"version": "1"}}, {"name": "shop", "environment": {"A": "1"}}]},
}


def test_inputs_by_whose_they_are() -> None:
    """[F3] A variable of nginx is no matter of PostgreSQL's; which version is wanted is no layer's."""
    roles = ("app", "nginx", "postgres", "tls")
    before = inputs.digests(MODEL, {}, {"nginx_http3": True, "postgres_version": 17, "app_name": "blog"}, roles)
    assert sorted(before) == ["the model", "the secrets", "variables of nginx", "variables of postgres"]
    after = inputs.digests(MODEL, {}, {"nginx_http3": False, "postgres_version": 17}, roles)
    assert [name for name in before if before[name] != after[name]] == ["variables of nginx"]
    apps = [{"name": "blog", "source": {"version": "2"}}, {"name": "shop", "environment": {"A": "2"}}]
    newer = {**MODEL, "source": {"type": "git", "version": "2"}, "machine": {"apps": apps}}
    assert inputs.digests(newer, {}, {}, roles)["the model"] == before["the model"]
    for change in ({"domain": "example.com"}, {"environment": {"LANG": "de"}}, {"machine": {"apps": apps[:1]}}):
        assert inputs.digests({**MODEL, **change}, {}, {}, roles)["the model"] != before["the model"]
    assert inputs.digests(MODEL, {"environment": {"SECRET_KEY": "x"}}, {}, roles)["the secrets"] != before["the secrets"]
    assert inputs.digests(MODEL, {"source": {"deploy_key": "x"}}, {}, roles)["the secrets"] != before["the secrets"]


# --- Through ansible-playbook ---------------------------------------------------------------------

CONTRACT = """
- hosts: app_servers
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: slipway.vps.app, tasks_from: contract}
    - ansible.builtin.debug: {var: app_secret.inputs}
"""


def test_inputs_of_an_inventory(tool: Tool, tmp_path: Path) -> None:
    """[F1 F3] What a template of the app's files makes, what a named file holds; an input that needs facts is another one in each run."""
    group, template = tmp_path / "group_vars/app_servers", tmp_path / "templates/saml.xml.j2"
    group.mkdir(parents=True)
    template.parent.mkdir()
    (tmp_path / "hosts.yml").write_text("app_servers: {hosts: {here: {ansible_connection: local}}}\n")
    (tmp_path / "play.yml").write_text(CONTRACT)
    authority = tmp_path / "ca.pem"

    def inputs_of(said: str, holds: str = "1", makes: str = "{{ motto }}") -> dict[str, str]:
        authority.write_text(holds)
        template.write_text(makes)
        (group / "app.yml").write_text(GOOD + said)
        done = tool("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(re.findall(r"^ +(the \w+|variables of \w+): (\w{64})$", done.stdout, re.MULTILINE))

    said = f"app_files: {{saml.xml: {{template: saml.xml.j2}}}}\nmotto: a\npostgres_ca_file: {authority}\n"
    first = inputs_of(said)
    assert set(first) == {"the model", "the secrets", "variables of postgres"}
    assert inputs_of(said) == first

    def other(**changes: str) -> set[str]:
        now = inputs_of(changes.pop("said", said), **changes)
        return {name for name in now if now[name] != first.get(name)}

    assert other(said=said.replace("motto: a", "motto: b")) == {"the secrets"}
    assert other(makes="{{ motto }}!") == {"the secrets"}
    assert other(holds="2") == {"variables of postgres"}
    by_facts = said + "nginx_worker_connections: \"{{ ansible_facts['memtotal_mb'] }}\"\n"
    assert inputs_of(by_facts)["variables of nginx"] != inputs_of(by_facts)["variables of nginx"]
