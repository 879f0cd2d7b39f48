"""The report: what is on the page, in which state, and what never is: a secret, or markup that a host brings along."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import subprocess
import tarfile
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.plugin_utils.outcome import App, Change, Failure, Outcome, Warned
from ansible_collections.slipway.vps.plugins.plugin_utils.report import document, figures, page, view
from ansible_collections.slipway.vps.plugins.plugin_utils.report.mask import Mask, secrets

from . import report_documents as demo
from .conftest import ROOT, Tool

ATTACK = '"\'><script>alert(1)</script><img src=x onerror=alert(1)><a href="javascript:alert(1)">{{ 7 * 7 }}</style>{% raw %}'
#: Elements that a page has no use for, and that load or run something.
ACTIVE = {
    "script",
    "img",
    "iframe",
    "object",
    "embed",
    "form",
    "base",
    "audio",
    "video",
    "link",
    "image",
    "foreignobject",
    "animate",
    "set",
}
VOID = {"meta", "br", "hr", "input", "img", "link", "base"}


class Reader(HTMLParser):
    """What a browser would make of a page: elements, attributes, and text by the way to it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.faults.append(f"</{tag}> closes nothing, at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


def read(run: dict[str, Any], hosts: list[dict[str, Any]]) -> Reader:
    return Reader(page.render(run, hosts))


def every_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: every_text(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [every_text(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


def attack(kept: Collection[str], text: str) -> str:
    return text if text in kept else f"{text}{ATTACK}"


SITUATIONS = demo.situations()


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_page_is_whole(name: str) -> None:
    """[K8] Each element is closed, each id is there once, what points at one finds it, and nothing is loaded or run."""
    found = read(*SITUATIONS[name])
    assert not found.faults and not ACTIVE & set(found.tags)
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    points = [value[1:] for value in found.values("href") if value.startswith("#")]
    assert {*points, *(word for value in found.values("aria-labelledby") for word in value.split())} <= set(ids)
    assert not [
        name for _, name, _ in found.attributes if name.startswith("on") or name in ("src", "style", "action", "srcset", "background")
    ]
    assert "None" not in found.text and "{" not in found.text


def test_nothing_but_its_own_style_is_allowed() -> None:
    """[E4] The policy names the digest of exactly that style."""
    text = page.render(*SITUATIONS["healthy"])
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(style) == 1 and "url(" not in style[0] and "@import" not in style[0]
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'" in text


def test_all_is_well() -> None:
    """[K8] [E2] [D3] The path with its times, releases, certificate, backups with their proofs, use, hardening, and what changed."""
    found = read(*SITUATIONS["healthy"])
    for words in (
        *("All is well", "deploy · 1 host · 1 min 14 s · 5 changes made", "14 checks in 480 ms", "nginx ok 55 ms", "PostgreSQL ok 31 ms"),
        *("v1.6.1 live", "v1.6.0 failed", "rehearse: GET /healthz/ready answered 500", "61 days left", "Let's Encrypt", "1.2, 1.3"),
        *("14 of 14 days with a backup, 13 proven by a restore", "restored in 3.1 s, 18 203 rows", "copied elsewhere 4 h ago"),
        *("351 MB of 1.2 GB", "1.3 of 10, ok", "25 GB free of 40 GB", "none wait (apt looked 3 h ago)", "22 sshd, 80 nginx, 443 nginx"),
        *("release: Build the release 20261125T100610-9f2c817", "Debian GNU/Linux 13 (trixie)"),
    ):
        assert words in found.text, words
    assert "What needs you" not in found.text and "Overview" not in found.text


def test_what_is_broken_comes_first_with_its_fix() -> None:
    """[K8] Named once, though the walk and the failed task both tell it; the line is cut there; hops behind it say behind what."""
    found = read(*SITUATIONS["broken"])
    assert found.text.index("blog: postgres is broken") < found.text.index("What needs you") < found.text.index("Request path")
    assert found.text.count("ansible-playbook slipway.vps.site --tags data") == 1 and "App behind postgres" in found.text
    assert found.text.count("No such file or directory") == 2, "the evidence, in the card and among the checks"
    walk = document.pick({"checks": [{"hop": "nginx", "result": "BROKEN"}, {"hop": "app", "result": "behind nginx"}]}, document.WALK)
    (entry,) = view.page(demo.run(), [demo.host(walk=walk, state=None)], demo.NOW)["entries"]
    assert [(one["label"], one["state"], one["cut"]) for one in entry["path"]["trunk"]] == [
        ("nginx", "failed", True),
        ("App", "behind", True),
    ]


def test_several_hosts_have_an_overview_and_each_machine_once() -> None:
    """[K8] In the order of the run, with links; what a machine lacks is said of the machine."""
    run, hosts = SITUATIONS["two"]
    found = read(run, hosts)
    assert (
        "2 things need you: wiki, machine web2" in found.text and "blog well v1.6.1" in found.text and "shop degraded v1.6.1" in found.text
    )
    assert found.text.count("Machine web1") == 1 and found.text.count("Machine web2") == 1, "two apps share one"
    assert "Reboot: needed, for linux-image-amd64" in found.text and "static/app.css is missing" in found.text
    assert (
        "database no answer within 3 seconds" in found.text.replace("shop: ", "")
        and "offsite failed 4 h ago : connection refused" in found.text
    )
    # What doctor has said is not said again by the figures.
    told = copy.deepcopy(hosts)
    told[1]["walk"]["findings"] = [{**dict.fromkeys(document.FINDING, "x"), "id": "reboot-pending", "severity": "degraded"}]
    assert "Reboot: needed, for" not in read(run, told).text.partition("Overview")[0]


def test_doctors_findings_explain_a_check() -> None:
    """[K8] Cause and fix, in place of the check that they are about."""
    finding = {"id": "postgres-down", "hop": "postgres", "severity": "failed", "what": "PostgreSQL is down", "evidence": "inactive"}
    broken = demo.broken()
    walk = {**broken["walk"], "findings": [{**finding, "cause": "somebody stopped it", "fix": "systemctl start postgresql@17-main"}]}
    found = read(demo.run(), [{**broken, "walk": walk, "failures": []}])
    assert (
        "blog: PostgreSQL is down" in found.text and "Likely cause somebody stopped it Fix systemctl start postgresql@17-main" in found.text
    )
    assert "postgres is broken" not in found.text


def test_what_the_status_says_counts_unless_the_walk_has_said_it() -> None:
    """[K8] [D3] Degraded is a thing to look at, unknown is said apart; a broken hop is not told a second time by its subject."""
    known = demo.state()
    subject = {"evidence": "the newer one failed", "fix": "ansible-playbook slipway.vps.deploy", "since": None}
    subjects = [{**subject, "subject": "release", "state": "degraded"}, {**subject, "subject": "backups", "state": "unknown"}]
    known["apps"]["blog"]["status"]["subjects"] = subjects
    found = read(demo.run(), [demo.host(state=known)])
    assert "It works, with 1 thing to look at" in found.text and "release: degraded" in found.text
    assert "What is not known backups the newer one failed" in found.text
    known["apps"]["blog"]["status"]["subjects"] = [{**subject, "subject": "backups", "state": "failed"}]
    walk = {"checks": demo.checks(), "findings": []}
    assert "backups: failed" in read(demo.run(), [demo.host(state=known)]).text
    next(one for one in walk["checks"] if one["hop"] == "backup").update(result="BROKEN")
    found = read(demo.run(), [demo.host(state=known, walk=walk)])
    assert "backup is broken" in found.text and "backups: failed" not in found.text


def test_a_run_that_ended_early_has_its_page() -> None:
    """[K8] With why, its fix, and the command that looks at the host."""
    failure = {
        "play": "Data",
        "task": "postgres: Install",
        "unreachable": False,
        "message": "apt: no such package",
        "points": [["apt: no such package", ""]],
    }
    found = read(demo.run(next=["Then: again"]), [demo.host(walk=None, state=None, failures=[failure], changes=[])])
    assert (
        "blog: apt: no such package" in found.text and "task “postgres: Install”, play “Data”" in found.text and "Then: again" in found.text
    )
    assert "ended before this host was looked at" in found.text and "slipway.vps.verify -e report=report.html" in found.text
    assert "Nothing was looked at" in read(demo.run(), [demo.host(walk=None, state=None, changes=[])]).text


def test_a_rehearsal_says_what_would_change() -> None:
    """[F4] With --check."""
    changes = [{"play": "Edge", "task": "nginx: Write the site", "details": [], "would": True}]
    found = read(demo.run(check=True), [demo.host(changes=changes)])
    assert "1 change would be made" in found.text and "What would change" in found.text and "--check" in found.text


@pytest.mark.parametrize("name", SITUATIONS)
def test_markup_of_a_host_stays_text(name: str) -> None:
    """[A11] [E4] In each text of each field: a release's name, evidence, a unit, a file that was changed."""
    run, hosts = SITUATIONS[name]
    plain = read(run, hosts)
    # Words that decide how something is drawn have to stay, one time; all texts are replaced the other time.
    kept = {"ok", "BROKEN", "warning", "failed", "degraded", "live", "retired", "active", "acme", "full", "any", *plain.values("href")}
    for keep in (kept | set(demo.times(hosts)), set()):
        attacked = every_text(hosts, partial(attack, keep))
        found = read(every_text(run, partial(attack, set())), attacked)
        assert not found.faults and not ACTIVE & set(found.tags)
        assert set(found.tags) <= {*plain.tags, "article", "pre", "code", "details", "summary", "ul", "li", "b", "time"}
        assert not [one for one in found.attributes if one[1].startswith("on") or ("javascript" in one[2] and one[1] == "href")]
        assert "<script>alert(1)</script>" in found.text and "{{ 7 * 7 }}" in found.text and "49" not in found.text.split()


@pytest.mark.parametrize("drop", [*document.APP, *document.MACHINE])
def test_a_field_that_is_not_known_breaks_nothing(drop: str) -> None:
    """[K8] Whatever could not be seen."""
    known = copy.deepcopy(demo.state())
    known["apps"]["blog"].pop(drop, None)
    known["machine"].pop(drop, None)
    found = read(demo.run(), [demo.host(state=known)])
    assert not found.faults and "All is well" in found.text and "None" not in found.text


def test_an_app_without_anything_yet() -> None:
    """[K8] No release, no certificate, no backup."""
    known = demo.state()
    nothing: dict[str, Any] = {"live": None, "closed": False, "all": []}
    bare = {"all": [], "damaged": [], "failures": {}, "proves": True, "keep_days": 14, "offsite": True, "offsite_at": None}
    known["apps"]["blog"].update(releases=nothing, certificate=None, backups=bare, units=[], slice=None, database=None)
    found = read(demo.run(), [demo.host(state=known)])
    assert not found.faults and "none yet" in found.text and "never copied elsewhere" in found.text


def test_only_what_is_named_is_taken_and_only_of_its_kind() -> None:
    """[A11] A host that says more, or something else, is not listened to; nobody writes without an end."""
    shape = {"name": str, "count": int, "good": bool, "share": float, "all": [{"x": int}], "by": {"*": str}}
    given = {"name": 5, "count": True, "good": 1, "share": 2, "all": [{"x": 1, "y": 2}, "no"], "by": {"a": "1"}, "secret": "hunter2"}
    assert document.pick(given, shape) == {"name": None, "count": None, "good": None, "share": 2.0, "all": [{"x": 1}], "by": {"a": "1"}}
    assert document.pick("x", shape) is None and document.pick("x\x1b[31m\n" * 99, str).count("\n") == document.LINES
    assert len(document.pick(["x"] * 999, [str])) == document.ENTRIES and len(document.pick("x" * 9999, str)) == document.TEXT + 1


# --- Secrets ------------------------------------------------------------------------------------

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n-----END OPENSSH PRIVATE KEY-----\n"
CANARIES = {
    **{"env": "canary-env-3f8a1c5e", "database": "canary/db+9b7d", "token": "canary-token-1b2c", "build": "canary-build-77aa"},
    **{"file": "canary-file-90ef", "vault": "canary-vault-5544", "backup": "canary-backup-8811"},
}
VARIABLES: dict[str, Any] = {
    "app_secret": {
        "environment": {"SECRET_KEY": CANARIES["env"], "SHORT": "app"},
        **{"database_url": "postgresql://blog:canary%2Fdb%2B9b7d@db.example.com/blog", "database_password": CANARIES["database"]},
        "source": {"type": "git", "version": "v1.4.0", "repo": f"https://x:{CANARIES['token']}@git.example.com/blog.git", "key": KEY},
        **{"files": {"service.json": f'{{"key": "{CANARIES["file"]}"}}'}, "build": {"TOKEN": CANARIES["build"]}},
        "facts": {"base_packages": ["vim-nox"]},
    },
    "backup_offsite_password": CANARIES["backup"],
    "vault_mail": [{"password": CANARIES["vault"]}],
    "nginx_own_token": "{{ lookup('file', 'token') }}",
    "app_secrets_delivery": "credentials",
}


def test_no_secret_is_on_the_page(tmp_path: Path) -> None:
    """[A11] Not in a field that is not named, and not in a text that a program said: of vault, database, deploy key, build."""
    said = " ".join([*CANARIES.values(), VARIABLES["app_secret"]["database_url"], KEY.splitlines()[1]])
    outcome = Outcome(playbook="deploy")
    outcome.apps["blog"] = App("blog", "https://blog.example.com/")
    outcome.seconds["blog"] = {"Deploy": 3.0}
    outcome.changes.append(Change("blog", "Deploy", "Build", (said, "db.example.com stays")))
    outcome.failures.append(Failure("blog", "Deploy", "Migrate", f"no\n{KEY}\nfix: {said}"))
    outcome.warnings.append(Warned("blog", "Deploy", "Migrate", said))
    outcome.on_end()
    walk = {"checks": demo.checks(), "broken": said, "environment": VARIABLES["app_secret"]["environment"]}
    walk["checks"][0].update(result="BROKEN", evidence=f"failed with {said}", fix=said, password=said)
    known = demo.state()
    known["apps"]["blog"]["environment"] = {said: said}
    known["apps"]["blog"]["releases"]["all"][0].update(environment=said, failure={"step": "build", "reason": said, "output": said})
    known["gaps"] = {said: said}
    target = tmp_path / "new/report.html"
    page.write(target, outcome, {"blog": {"walk": walk, "state": known, "machine": "blog"}}, {"blog": VARIABLES})
    text = target.read_text()
    assert not [name for name, canary in CANARIES.items() if canary in text] and KEY.splitlines()[1] not in text and "canary" not in text
    assert target.stat().st_mode & 0o777 == 0o600
    for words in ("failed with *** ***", "db.example.com stays", "v1.4.0", "GET /healthz/ready 200"):
        assert words in Reader(text).text, words


def test_words_that_are_no_secret_stay() -> None:
    """[A11] A host, a scheme, a version, a short word, the name of a way to deliver; an expression is none itself."""
    hidden = Mask(secrets(VARIABLES))
    plain = "postgresql://db.example.com app blog git.example.com v1.4.0 vim-nox credentials {{ lookup('file', 'token') }} git"
    assert hidden(plain) == plain
    assert hidden({"a": ["https://u:p@x.example.com/?token=1"]}) == {"a": ["https://***@x.example.com/?***"]}
    assert Mask(())("x") == "x" and Mask(())(3) == 3


# --- Figures ------------------------------------------------------------------------------------


def test_the_time_line_of_releases() -> None:
    """[S1] A release is live until the next one is; one that never was is a mark; all of it within the line."""
    found = figures.timeline(demo.releases()["all"], demo.NOW)
    assert found and [bar["live"] for bar in found["bars"]] == [False] * 5 + [True] and len(found["marks"]) == 1
    assert found["bars"][0]["x"] == 0 and all(bar["x"] >= 0 and bar["x"] + bar["width"] <= 100.5 for bar in found["bars"])
    assert sum(bar["width"] for bar in found["bars"]) == pytest.approx(100, abs=1)
    assert "v1.6.1: live from 25 Nov 2026" in found["bars"][-1]["text"] and 91 < found["marks"][0]["x"] < 94
    assert figures.timeline([], demo.NOW) is None and figures.timeline([{"live_at": "soon"}], demo.NOW) is None


def test_the_nights_of_backups() -> None:
    """[D3] The best of each day; today's may be to come; a night without one, and one that is no good, are seen."""
    known = [one for one in demo.backups(9)["all"] if "20261128" not in one["name"] and "20261126" not in one["name"]]
    known[2]["proof"] = {"good": False, "reason": "bad page"}
    states = [night["state"] for night in figures.nights(known, ["20261126T024100Z"], demo.NOW)]
    assert states == ["proven", "proven", "proven", "taken", "bad", "proven", "bad", "proven", "due"]
    assert figures.nights([], [], demo.NOW) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0034, "3 ms"),
        (1, "1 s"),
        (8.24, "8.2 s"),
        (134, "2 min 14 s"),
        (700, "11 min"),
        (7300, "2 h"),
        (86400, "24 h"),
        (4 * 86400, "4 days"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert figures.duration(seconds) == said


def test_times_and_shares() -> None:
    """[K8] Before and after now; a share has a state from where it matters."""
    assert (figures.time(demo.ago(hours=3), demo.NOW) or {})["about"] == "3 h ago"
    assert (figures.time((demo.NOW + timedelta(days=25)).isoformat(), demo.NOW) or {})["about"] == "in 25 days"
    assert figures.time("never", demo.NOW) is None and figures.time(None, demo.NOW) is None
    states = [(figures.meter("Disk", used, 100, "") or {})["state"] for used in (10, 80, 92, 200)]
    assert states == ["ok", "degraded", "failed", "failed"] and figures.meter("Disk", None, 100, "") is None


def test_the_collection_brings_the_page_along(tool: Tool, tmp_path: Path) -> None:
    """[K8] Its template and its style are in what Ansible Galaxy ships."""
    source = tmp_path / "source"
    for name in subprocess.run(
        ["git", "ls-files", "-z", "plugins", "galaxy.yml", "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    done = tool("ansible-galaxy", "collection", "build", str(source), "--output-path", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as found:
        assert {f"plugins/plugin_utils/report/{name}" for name in ("page.html.j2", "page.css", "page.py")} <= set(found.getnames())
