"""What is no longer as the last run left it: what is shown of it, what is adopted, and what never is."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.filter.drift import drift_text
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli, drift
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import ETC
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.text import redacted
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals import content, observe, permanent, record
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.observe import Thing
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.record import Record, Task, read, take
from ansible_collections.slipway.vps.plugins.module_utils.slipway.seals.traces import Traces
from ansible_collections.slipway.vps.plugins.modules import drift as module

from .conftest import ROOT
from .module_call import call_module

CANARY = "hunter2-canary"
INPUTS = {"the model": "1"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose layer edge has been recorded: a public file, a secret one, a folder, and no trace of anybody."""
    # The folder of all tests is for root alone, and with it everything in it would be secret.
    public = tmp_path / "public"
    public.mkdir()
    monkeypatch.setattr(content, "_open_to_all", lambda folder: True)
    for name, text, mode in (("site.conf", "one\ntwo\n", 0o644), ("secrets", f"KEY={CANARY}\n", 0o640)):
        (public / name).write_text(text)
        (public / name).chmod(mode)
    monkeypatch.setattr(drift, "gather", lambda since, now: Traces([], [], []))
    for function in (drift.look, read, Record.write, Record.path, record.place_of):
        defaults = tuple(
            tmp_path / "seals" if one == record.FOLDER else tmp_path / "etc" if one == ETC else one for one in function.__defaults__ or ()
        )
        monkeypatch.setattr(function, "__defaults__", defaults)
    monkeypatch.setattr(drift, "FOLDER", tmp_path / "seals")
    monkeypatch.setattr(drift, "names", list)
    recorded(public)
    return public


def things(folder: Path) -> list[Thing]:
    return [Thing("file", str(folder / name)) for name in ("site.conf", "secrets")] + [Thing("place", str(folder))]


def recorded(folder: Path, layer: str = "edge", **changes: Any) -> Record:
    tasks = [Task("roles/nginx/tasks/site.yml:1", things(folder))]
    found = take(layer, "blog", changes.pop("inputs", INPUTS), tasks, [], read(layer, "blog"), **changes)
    found.write()
    return found


def lines(layers: list[drift.Layer]) -> list[str]:
    return [str(change.difference) for layer in layers for change in layer.changes]


# --- What is shown ----------------------------------------------------------------------------------


def test_nothing_differs(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] Exit status 0, for monitoring."""
    assert cli.main(["blog", "drift"]) == 0
    assert capsys.readouterr().out.startswith("blog, edge: as it was left since 20")


def test_what_differs_is_shown_with_its_lines(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] Kind, name, property, since when; of a public file the lines that went and came; exit status 1."""
    (host / "site.conf").write_text("one\n2\n")
    host.chmod(0o700)
    assert cli.main(["blog", "drift"]) == 1
    said = capsys.readouterr().out
    assert f"  file {host}/site.conf: content differs\n    20" in said and "; unknown\n" in said
    assert "    -two\n    +2\n" in said and f"place {host}: mode is 0700, was 0755" in said and "-e drift=mend" in said
    assert cli.main(["drift", "--json"]) == 1
    (layer,) = json.loads(capsys.readouterr().out)["apps"]["blog"]["layers"]
    change = next(one for one in layer["changes"] if one["what"] == "content")
    assert (change["kind"], change["name"], change["cause"]["kind"]) == ("file", f"{host}/site.conf", "unknown")
    assert abs(time.time() - time.mktime(time.strptime(change["since"], "%Y-%m-%dT%H:%M:%SZ")) + time.timezone) < 60
    assert change["diff"] == ["@@ -2 +2 @@", "-two", "+2"]


def test_a_secret_is_nowhere(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] Neither in the record nor in any output, also where somebody opens the file to all, or closes a public one."""
    kept = record.place_of("edge", "blog").read_text()
    assert CANARY not in kept and "one\\ntwo" in kept
    (host / "secrets").write_text(f"KEY={CANARY}-2\n")
    (host / "secrets").chmod(0o644)
    (host / "site.conf").write_text(f"now secret {CANARY}\n")
    (host / "site.conf").chmod(0o600)
    for words in (["blog", "drift"], ["blog", "drift", "--json"]):
        assert cli.main(words) == 1
        said = capsys.readouterr()
        assert "secrets: content differs" in said.out and CANARY not in said.out + said.err
        # Nor a digest, which a short secret could be found by.
        assert not re.search(r"[0-9a-f]{64}", said.out)


def test_what_a_task_hides_is_not_kept(host: Path) -> None:
    """[K8] Whatever its mode is."""
    path = host / "site.conf"
    path.write_text(CANARY)
    states = observe.observe([Thing("file", str(path))])
    task = Task("roles/x.yml:1", [Thing("file", str(path))])
    assert record.public_texts([task], states) and not record.public_texts([Task(task.where, task.things, hidden=True)], states)


def test_a_file_in_a_closed_folder_is_secret(tmp_path: Path) -> None:
    """[K8] Nobody but root comes to it, whatever its own mode is; nor is a large one kept, nor what is no text."""
    path = tmp_path / "x"
    path.write_text("x")
    path.chmod(0o644)
    assert tmp_path.stat().st_mode & 0o001 == 0 and content.public_text(path) is None
    assert content.public_text(Path("/etc/os-release")) and content.public_text(Path("/etc/shadow")) is None
    assert content.public_text(Path("/bin/sh")) is None and content.public_text(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('proxy_set_header Authorization "Bearer abc";', "proxy_set_header Authorization ***"),
        ("requirepass hunter2", "requirepass ***"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=***"),
        ("ALTER ROLE blog PASSWORD 'hunter2'", "ALTER ROLE blog PASSWORD ***"),
        ("git clone https://ada:token@git.example.com/x", "git clone https://***@git.example.com/x"),
        ("PasswordAuthentication no", "PasswordAuthentication no"),
        ("auth_basic_user_file /etc/nginx/htpasswd;", "auth_basic_user_file /etc/nginx/htpasswd;"),
        ("proxy_set_header X-Token $http_x_token;", "proxy_set_header X-Token $http_x_token;"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str, shown: str) -> None:
    """[K8] Also in a file that everybody may read; yes and no, paths and variables are none."""
    assert redacted(line) == shown


def test_settings_that_may_hold_a_password_are_told_to_differ() -> None:
    """[K8] PostgreSQL shows them to its superuser."""
    thing = Thing("settings", "/run/postgresql:5432")
    before, now = {"primary_conninfo": "", "work_mem": "4096"}, {"primary_conninfo": f"password={CANARY}", "work_mem": "1024"}
    assert observe.differences(thing, before, now) == [f"{thing}: primary_conninfo differs", f"{thing}: work_mem is 1024, was 4096"]
    role = Thing("role", "/run/postgresql:5432/blog")
    assert CANARY not in str(observe.differences(role, {"settings": ""}, {"settings": f"app.jwt_secret={CANARY}"}))


def test_a_layer_without_a_record_is_no_layer_without_drift(host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] It is said, and is not well; a host of a database has no other layers."""
    (tmp_path / "etc/blog").mkdir(parents=True)
    (tmp_path / "etc/blog/app.json").write_text("{}")
    assert cli.main(["blog", "drift"]) == 1
    assert "blog, data: not recorded, so not compared" in capsys.readouterr().out
    assert cli.main(["shop", "drift"]) == 1
    assert "no layer of shop is recorded" in capsys.readouterr().err


def test_a_record_of_a_former_version(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] It has no texts, and knows of nothing that is accepted: what differs is told, without its lines."""
    path = record.place_of("edge", "blog")
    data = json.loads(path.read_text())
    del data["texts"], data["accepted"]
    for task in data["tasks"]:
        del task["hidden"]
    path.write_text(json.dumps(data))
    (host / "site.conf").write_text("one\n2\n")
    assert cli.main(["blog", "drift"]) == 1
    said = capsys.readouterr().out
    assert "content differs" in said and "+2" not in said
    records = drift.adopt(drift.look("blog"), [], "ada").records
    assert records[0].accepted and list(records[0].texts.values()) == ["one\n2\n"]


def test_who_may_look(host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] Records are root's: nobody else is told that there is nothing."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cli.main(["blog", "drift"]) == 1 and "is for root alone: sudo slipway blog drift" in capsys.readouterr().err


# --- Adopt ------------------------------------------------------------------------------------------


def test_what_is_adopted_counts_as_it_is(host: Path) -> None:
    """[F3] The next run leaves it; a run that does the layer for another reason says that it goes."""
    (host / "site.conf").write_text("by hand\n")
    (found,) = drift.adopt(drift.look("blog"), [], "ada").records
    found.write()
    again = read("edge", "blog")
    assert again and again.differs(INPUTS) == [] and again.at == found.at
    said = again.differs({"the model": "2"})
    assert (
        said[0] == "the model changed"
        and "site.conf: content differs, as adopted on 20" in said[1]
        and said[1].endswith("unless the inventory says it")
    )
    # The run has put it back.
    (host / "site.conf").write_text("one\ntwo\n")
    assert recorded(host, inputs={"the model": "2"}).accepted == []


def test_some_of_it_is_adopted(host: Path) -> None:
    """[F3] By name, or kind and name; the rest stays a difference."""
    (host / "site.conf").write_text("by hand\n")
    (host / "secrets").write_text("x\n")
    for name in (f"file {host}/secrets", f"{host}/secrets"):
        adoption = drift.adopt(drift.look("blog"), [name], "ada")
        assert [str(one) for one in adoption.adopted] == [f"file {host}/secrets: content differs"]
    adoption.records[0].write()
    assert lines(drift.look("blog")) == [f"file {host}/site.conf: content differs"]


def test_adopted_twice_is_adopted_once(host: Path) -> None:
    """[F3] What the run had left stays known; back there, nothing is adopted any more, and that is said, too."""
    for text, accepted in (("a\n", 1), ("b\n", 1), ("one\ntwo\n", 0)):
        (host / "site.conf").write_text(text)
        adoption = drift.adopt(drift.look("blog"), [], "ada")
        assert len(adoption.adopted) == 1
        adoption.records[0].write()
        assert len(adoption.records[0].accepted) == accepted
    assert lines(drift.look("blog")) == []


def test_what_is_gone_can_be_adopted(host: Path) -> None:
    """[F3] And that it is there again is a difference then."""
    (host / "site.conf").unlink()
    drift.adopt(drift.look("blog"), [], "ada").records[0].write()
    assert lines(drift.look("blog")) == []
    (host / "site.conf").write_text("")
    assert lines(drift.look("blog")) == [f"file {host}/site.conf is there again"]


@pytest.mark.parametrize(("state", "adopted"), [("inactive", True), ("failed", False), ("activating", False), ("deactivating", False)])
def test_a_failure_is_not_adopted(host: Path, state: str, adopted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] Nobody wants a unit that has failed; one that was stopped may be meant so."""
    unit = Thing("unit", "redis-server@blog.service")
    before = Record(
        "data", "blog", INPUTS, [Task("roles/redis/tasks/run.yml:1", [unit])], [(unit, {"state": "active"})], "2026-11-28T10:00:00+00:00"
    )
    before.write()
    monkeypatch.setitem(observe.OBSERVERS, "unit", lambda names: {unit.name: {"state": state}})
    monkeypatch.setattr(drift, "jobs_of", lambda unit, at: ())
    adoption = drift.adopt(drift.look("blog"), [], "ada")
    assert bool(adoption.records) == adopted == (not adoption.refused)


def test_what_no_task_changed_back_stays_known(host: Path) -> None:
    """[F3] The run says it once; drift goes on saying it, while it is so and the layer is given the same."""
    (host / "site.conf").write_text("by hand\n")
    line = f"file {host}/site.conf: content differs"
    assert [str(one.difference) for one in recorded(host, found=[line]).accepted] == [line]
    assert [(str(one.difference), one.by) for one in recorded(host).accepted] == [(line, "")]
    assert recorded(host, inputs={"the model": "2"}).accepted == []


# --- The module, and what the playbook says ---------------------------------------------------------


def called(monkeypatch: pytest.MonkeyPatch, host: Path, check: bool = False, **words: Any) -> dict[str, Any]:
    given = {"app": "blog", "folder": str(host.parent / "seals"), "inputs": INPUTS, **words}
    return call_module(module, monkeypatch, given, check)


def test_the_module_adopts_nothing_in_check_mode(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] It says what it would; then it does, once."""
    monkeypatch.setattr(module, "facts", dict)
    (host / "site.conf").write_text("by hand\n")
    line = f"file {host}/site.conf: content differs"
    shown = called(monkeypatch, host)
    assert (shown["changed"], shown["differing"], shown["adopted"], shown["given_anew"]) == (False, ["edge"], [], {})
    assert [(row["layer"], row["what"], row["by"]) for row in shown["rows"]] == [("edge", line, "unknown")]
    for check, changed in ((True, True), (False, True), (False, False)):
        said = called(monkeypatch, host, check, state="adopted")
        assert (said["changed"], said["adopted"]) == (changed, [line] if changed else [])
    assert "no layer of shop is recorded" in called(monkeypatch, host, app="shop")["msg"]


def test_things_that_do_not_differ_are_not_named(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] The playbook refuses a name that no host knows, before anything is adopted."""
    (host / "site.conf").write_text("by hand\n")
    assert called(monkeypatch, host, things=[f"{host}/site.conf", "/etc/bogus"])["named"] == [f"{host}/site.conf"]


def test_a_layer_that_is_given_something_else(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] The next run does it, and puts back what is adopted."""
    monkeypatch.setattr(module, "facts", dict)
    (host / "site.conf").write_text("by hand\n")
    said = called(monkeypatch, host, state="adopted", inputs={"the model": "2"})
    assert said["given_anew"] == {"edge": ["the model"]}
    assert "WARNING: the next run does edge anyway (the model changed)" in drift_text([("blog", said)], "adopt")


def test_one_table_for_all_hosts(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8] Then lines, the inventory's variables, and the commands."""
    (host / "site.conf").write_text("one\n2\n")
    said = called(monkeypatch, host)
    text = drift_text([("web1", said), ("web2", said)], "show", "inventories/blog")
    assert [line.split()[0] for line in text.splitlines()[:3]] == ["host", "web1", "web2"]
    assert "  +2" in text and "ansible-playbook -i inventories/blog slipway.vps.drift -e drift=mend" in text
    assert drift_text([("web1", {**said, "rows": [], "layers": []})]) == "Nothing differs from what the last runs have left."
    assert drift_text([]) == "No host could be looked at."
    begun, done = (drift_text([("web1", said)], mode) for mode in ("mend", "mended"))
    assert "-e drift=" not in begun + done and "Not put back: ansible-playbook" in done and "Not put back" not in begun


def test_adoption_is_never_silent(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] Each thing by name, and what puts it back all the same."""
    (host / "site.conf").write_text("by hand\n")
    (host / "secrets").write_text("x\n")
    text = drift_text([("web1", called(monkeypatch, host, state="adopted"))], "adopt")
    for name in ("site.conf", "secrets"):
        assert f"web1: adopted: file {host}/{name}: content differs" in text
    assert "put back all the same by -e full=true" in text and CANARY not in text
    (host / "site.conf").write_text("again\n")
    assert "web1: would be adopted: " in drift_text([("web1", called(monkeypatch, host, True, state="adopted"))], "dry")


# --- The inventory ----------------------------------------------------------------------------------


def test_variables_that_are_named_are_there() -> None:
    """[F3] Each is one of the roles', or the beginning of some."""
    known = {
        name
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for point in yaml.safe_load(path.read_text())["argument_specs"].values()
        for name in point.get("options") or {}
    }
    for _, _, variables, _ in permanent.PLACES:
        for name in variables.split(", "):
            assert name in known or (name.endswith("_*") and any(one.startswith(name[:-1]) for one in known)), name
    assert all(set(kinds.split("|")) <= observe.OBSERVERS.keys() for kinds, *_ in permanent.PLACES)


@pytest.mark.parametrize(
    ("thing", "what", "variables"),
    [
        (("file", "/etc/blog/environment"), "content", "app_env in group_vars/app_servers/app.yml"),
        (("file", "/etc/blog/environment"), "mode", ""),
        (("file", "/etc/blog/secrets.cred"), "content", "app_secrets in group_vars/app_servers/vault.yml"),
        (("file", "/etc/blogs/secrets"), "content", ""),
        (("package", "debsums"), "", "base_packages in group_vars/app_servers/app.yml"),
        (("unit", "redis-server@blog.service"), "state", ""),
        (("role", "/run/postgresql:5432/blog"), "rights", ""),
        (("firewall", ""), "ufw: 443/tcp", "firewall_rules_custom in group_vars/app_servers/app.yml"),
    ],
)
def test_where_the_inventory_would_say_it(thing: tuple[str, str], what: str, variables: str) -> None:
    """[F3] By kind and name; a package is its role's; of an owner, or of a stopped unit, nothing says so."""
    found = observe.Difference(Thing(*thing), what, "a", "b")
    assert permanent.place(found, "blog", ["roles/base/tasks/install.yml:3"]) == variables


def test_lines_of_one_thing_are_one_row(host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """[K8] A port that was closed is a line of ufw, and several of the kernel's: all are shown on the host, and ufw's in the table."""
    wall = Thing("firewall", "")
    before = dict.fromkeys(("iptables: -A ufw-user-input -p tcp -m tcp --dport 443 -j ACCEPT", "ufw: 443/tcp ALLOW IN Anywhere"), "listed")
    Record(
        "edge", "blog", INPUTS, [Task("roles/firewall/tasks/guarded.yml:1", [wall])], [(wall, before)], "2026-11-28T10:00:00+00:00"
    ).write()
    monkeypatch.setitem(observe.OBSERVERS, "firewall", lambda names: {"": {}})
    assert cli.main(["blog", "drift"]) == 1
    assert capsys.readouterr().out.count(" is gone\n") == 2
    (row,) = called(monkeypatch, host)["rows"]
    assert row["what"] == "firewall: ufw: 443/tcp ALLOW IN Anywhere is gone (and 1 more)"


def test_only_who_is_named_by_the_record(host: Path) -> None:
    """A host without any record at all says what to do."""
    with pytest.raises(SlipwayError, match=r"callbacks_enabled = slipway\.vps\.seal"):
        drift.look("shop")
