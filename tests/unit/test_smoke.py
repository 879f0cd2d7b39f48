"""The smoke test of an app: what is sent, what is expected, and what is never shown. A server over TLS stands for nginx and the app."""

from __future__ import annotations

import base64
import http.server
import json
import re
import ssl
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.errors import SlipwayError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.http import PublicConnection
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor import smoke
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor.findings import BrokenHopError
from ansible_collections.slipway.vps.plugins.module_utils.slipway.hops import RequestPath
from ansible_collections.slipway.vps.plugins.module_utils.slipway.verify import CHECKS, Check, Walk, walk
from ansible_collections.slipway.vps.plugins.modules import verify as module

from .module_call import call_module
from .program_app import app, facts

DOMAIN = "blog.example.com"
CANARY = 'c4n4ry <&> "quoted" wörd'
LOGIN = {"user": "smoke", "password": CANARY}
CHECK = [check for check in CHECKS if check.hop == "smoke"]


class Asked(NamedTuple):
    """A request as the app gets it."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def parts(self) -> dict[str, tuple[str, bytes, str]]:
        """Of a multipart form: field to file name, content and type."""
        read = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + self.body)
        return {
            str(part.get_param("name", header="content-disposition")): (
                *(str(part.get_filename() or ""), bytes(part.get_payload(decode=True))),
                part.get_content_type(),
            )
            for part in read.iter_parts()
        }


class Said(NamedTuple):
    """What it answers."""

    status: int = 200
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    #: Seconds before it, and before each byte of it.
    wait: float = 0
    drip: float = 0


class Site:
    """An app behind TLS. ``answers``: path to what it answers, or a function that does; each request is noted."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Said | Callable[[Asked], Said]] = {}
        self.asked: list[Asked] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, self.headers, body)
                site.asked.append(asked)
                found = site.answers.get(self.path.partition("?")[0], Said(404, "not found"))
                said = found(asked) if callable(found) else found
                content = said.text.encode()
                time.sleep(said.wait)
                self.send_response(said.status)
                for name, value in (*said.headers, ("X-Request-ID", f"id-{len(site.asked)}"), ("Content-Length", str(len(content)))):
                    self.send_header(name, value)
                self.end_headers()
                for byte in content if said.drip else ():
                    time.sleep(said.drip)
                    self.wfile.write(bytes([byte]))
                self.wfile.write(b"" if said.drip or self.command == "HEAD" else content)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None: ...

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None: ...

        key, certificate = folder / "key.pem", folder / "site.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={DOMAIN}"]
        subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The app, at the port that the smoke test takes for nginx's."""
    found = Site(tmp_path)
    monkeypatch.setattr(smoke, "PublicConnection", lambda domain, timeout: PublicConnection(domain, timeout, found.port))
    yield found
    found.server.shutdown()
    found.server.server_close()


def run(*steps: dict[str, Any], seconds: float = 5) -> smoke.Visitor:
    """Send the steps; each is named after its place where it has no name."""
    visitor = smoke.Visitor(DOMAIN, seconds)
    for number, step in enumerate(steps, 1):
        visitor.take({"name": f"step {number}", "path": "/", **step})
    return visitor


def failure(*steps: dict[str, Any], **how: Any) -> str:
    """What is seen of the step that fails."""
    with pytest.raises(BrokenHopError) as error:
        run(*steps, **how)
    (seen,) = error.value.seen
    assert seen.problem == "smoke-failed" and set(seen.values) == {"name", "said", "request"}
    return seen.evidence


# --- What is sent ---------------------------------------------------------------------------------


def test_a_whole_visit(site: Site) -> None:
    """[K6] Log in by a form with its token, write JSON, upload, read back, remove: cookies are kept, as a browser keeps them."""
    session = ("Set-Cookie", "session=s3cret; Path=/; Secure; HttpOnly")
    site.answers = {
        "/login": lambda asked: (
            Said(200, '<form><input type="hidden" name="csrf_token" value="t&amp;k"><input name="user"></form>', (session,))
            if asked.method == "GET"
            else Said(302, "", (("Location", "/"), ("Set-Cookie", "seen=1; Path=/other")))
            if asked.form["csrf_token"] == "t&k"
            else Said(400)
        ),
        "/notes": lambda asked: Said(201, '{"id": 42}'),
        "/upload": Said(200),
        "/notes/42": Said(204),
    }
    run(
        {"path": "/login"},
        {"path": "/login", "form": {**LOGIN, "remember": True, "tag": ["a", "b"]}, "csrf": "csrf_token", "status": 302},
        {"path": "/notes", "json": {"text": "hello {unique}", "n": 1}, "status": 201, "keep": {"id": r'"id": (\d+)'}},
        {"path": "/upload", "form": {"about": "{id}"}, "file": {"field": "doc", "name": 'a "b".txt', "content": "hi"}},
        {"path": "/notes/{id}", "method": "DELETE", "status": [200, 204]},
    )
    read, login, write, upload, remove = site.asked
    assert [asked.method for asked in site.asked] == ["GET", "POST", "POST", "POST", "DELETE"]
    assert read.headers["Host"] == DOMAIN and "Cookie" not in read.headers and "Referer" not in read.headers
    assert login.form == {**LOGIN, "remember": "true", "tag": "b", "csrf_token": "t&k"}
    assert b"tag=a&tag=b" in login.body and login.headers["Content-Type"] == "application/x-www-form-urlencoded"
    # What Django and Flask-WTF ask a form over HTTPS.
    assert (login.headers["Referer"], login.headers["Origin"]) == (f"https://{DOMAIN}/login", f"https://{DOMAIN}")
    # The second cookie is for another path.
    assert login.headers["Cookie"] == write.headers["Cookie"] == "session=s3cret"
    assert re.fullmatch(r"hello [0-9a-f]{8}", json.loads(write.body)["text"]) and write.headers["Content-Type"] == "application/json"
    assert upload.parts == {"about": ("", b"42", "text/plain"), "doc": ("a %22b%22.txt", b"hi", "text/plain")}
    assert remove.path == "/notes/42"


def test_a_file_of_bytes(site: Site) -> None:
    """[K6] A picture: apps look at its first bytes."""
    site.answers["/"] = Said()
    png = bytes(range(256))
    run({"file": {"name": "ship.png", "base64": base64.b64encode(png).decode()}}, {"file": {"name": "x", "content": "y", "type": "a/b"}})
    assert site.asked[0].parts == {"file": ("ship.png", png, "image/png")} and site.asked[1].parts["file"][2] == "a/b"


def test_a_text_as_it_stands(site: Site) -> None:
    """[K6] With a type of the operator's; his headers come before ours."""
    site.answers["/"] = Said()
    run({"body": "<a>é</a>", "headers": {"content-type": "text/xml", "Referer": "https://x/"}}, {"body": "x"})
    first, second = site.asked
    assert first.body == "<a>é</a>".encode() and first.headers.get_all("Content-Type") == ["text/xml"]
    assert first.headers["Referer"] == "https://x/" and second.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("page", "name", "step", "field", "header"),
    [
        # Flask-WTF, and Django's form.
        ('<INPUT value="t0ken" NAME=csrf_token type=hidden>', "csrf_token", {"form": {"a": "b"}}, "t0ken", None),
        ('<input name="csrf_token" value="t0ken"/>', "csrf_token", {"method": "POST"}, "t0ken", None),
        ('<input name="csrf_token" value="t0ken"><input name="csrf_token" value="other">', "csrf_token", {"form": {}}, "t0ken", None),
        # No form takes it in JSON.
        ('<input name="csrf_token" value="t0ken">', "csrf_token", {"json": {}}, None, "t0ken"),
        ('<input name="csrf_token" value="t0ken">', "csrf_token", {"method": "DELETE"}, None, "t0ken"),
        # Django's cookie, with whatever body.
        ("", "csrftoken", {"form": {"a": "b"}}, None, "t0ken"),
        ("", "csrftoken", {"json": {}}, None, "t0ken"),
        ("", "csrftoken", {"method": "DELETE"}, None, "t0ken"),
    ],
)
def test_the_token_of_a_form(site: Site, page: str, name: str, step: dict[str, Any], field: str | None, header: str | None) -> None:
    """[K6] From a hidden input as a field of its name, from a cookie as the header that frameworks read."""
    site.answers["/"] = Said(200, page, (("Set-Cookie", "csrftoken=t0ken; Path=/; Secure; SameSite=Lax"),))
    run({}, {**step, "csrf": name})
    asked = site.asked[1]
    assert asked.form.get(name) == field if field else name.encode() not in asked.body
    assert asked.headers.get("X-CSRFToken") == header


def test_the_last_page_that_had_the_token_counts(site: Site) -> None:
    """[K6] A login answers with a redirect, and an API with JSON: what comes after them has the token of a page before."""
    site.answers["/"] = Said(302)
    site.answers.update({f"/{name}": Said(200, f'<input name="csrf_token" value="{name}">') for name in ("first", "second")})
    steps = [{"path": path} for path in ("/first", "/second")]
    run(*steps, *[{"method": "POST", "status": 302, "csrf": "csrf_token"}] * 2)
    assert [asked.form for asked in site.asked[2:]] == [{"csrf_token": "second"}] * 2


def test_a_token_with_a_file(site: Site) -> None:
    """[K6]"""
    site.answers["/"] = Said(200, '<input type="hidden" name="csrf_token" value="t0ken">')
    run({}, {"file": {"name": "a.txt", "content": "x"}, "csrf": "csrf_token"})
    assert site.asked[1].parts["csrf_token"][1] == b"t0ken"


def test_each_run_has_a_text_of_its_own(site: Site) -> None:
    """[K6] The same in all of its steps: what was written is what is read back. Other braces stay as they are."""
    site.answers["/"] = lambda asked: Said(200, asked.body.decode())
    visitors = [run({"body": "{unique} {other} {}"}, {"body": "<{unique}>", "contains": "<{unique}>"}) for _ in range(2)]
    first, _, third, _ = (asked.body.decode() for asked in site.asked)
    assert first == f"{visitors[0].kept['unique']} {{other}} {{}}" and first != third


# --- What is expected -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "said", "seen"),
    [
        ({}, Said(500, "<title>Oops</title><style>p {}</style> <p>It &amp; broke"), "GET / answered 500, and 200 is due: Oops It & broke"),
        ({"status": [200, 302]}, Said(401), "GET / answered 401, and 200 or 302 is due"),
        ({}, Said(303, "", (("Location", "https://x/login?next=s3cret"),)), "GET / answered 303 to /login, and 200 is due"),
        ({"contains": "Welcome"}, Said(200, "Hello"), "GET / answered 200 without 'Welcome': Hello"),
        ({"contains": ["Hello", "you"]}, Said(200, "Hello"), "GET / answered 200 without 'you': Hello"),
        ({"without": "Trace"}, Said(200, "A Traceback"), "GET / answered 200 with 'Trace': A Traceback"),
        ({"keep": {"id": r"\d+"}}, Said(200, "none"), "GET / answered 200 with nothing that could be kept as id: none"),
        ({"path": "/x?token=s3cret"}, Said(), "GET /x answered 404, and 200 is due: not found"),
        ({"method": "PUT", "json": {}}, Said(405), "PUT / answered 405, and 200 is due"),
    ],
)
def test_what_is_told_of_a_step_that_fails(site: Site, step: dict[str, Any], said: Said, seen: str) -> None:
    """[K6] [K8] Its name, what came, what was due, and the words of the answer; the id finds it in the logs."""
    site.answers["/"] = said
    assert failure(step) == f"step 1: {seen} (request id id-1)"


def test_a_text_is_found_as_a_browser_shows_it(site: Site) -> None:
    """[K6] Templates escape quotes."""
    site.answers["/"] = Said(200, "It&#39;s <b>R&amp;D</b>")
    run({"contains": ["It's", "R&amp;D", "R&D</b>"]})
    assert "with" in failure({"without": "It's"})


def test_a_long_answer_is_cut(site: Site) -> None:
    """[K8]"""
    site.answers["/"] = Said(500, "word " * 1000)
    assert len(failure({})) < 300 and "…" in failure({})


def test_no_page_with_the_token(site: Site) -> None:
    """[K6] Nothing is sent then."""
    site.answers["/"] = Said(200, '<input name="csrf" value="">')
    seen = failure({}, {"path": "/login", "form": {}, "csrf": "csrf_token"})
    assert seen == "step 2: POST /login was not sent: no page before has an input csrf_token, and there is no such cookie"
    assert len(site.asked) == 1


def test_after_a_step_that_fails_no_other_is_sent(site: Site) -> None:
    """[K6]"""
    failure({"path": "/gone"}, {"path": "/"})
    assert [asked.path for asked in site.asked] == ["/gone"]


def test_nobody_answers(site: Site) -> None:
    """[K6]"""
    site.server.shutdown()
    site.server.server_close()
    seen = failure({"path": "/login", "form": {"password": CANARY}})
    assert seen.startswith("step 1: POST /login: no answer, ConnectionRefusedError") and CANARY not in seen


def test_what_cannot_be_sent_is_not_quoted(site: Site) -> None:
    """[A11] http.client quotes a header that it refuses."""
    assert failure({"headers": {"Authorization": "Bearer s3cret\nx"}}) == "step 1: GET /: no answer, ValueError"


# --- Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "seconds", "words"),
    [
        ({"timeout": 0.3}, 5, "step 1: GET /: no answer within 0.3 s"),
        ({}, 0.3, "step 1: GET /: the 0.3 s for all steps are over"),
        ({"timeout": 4}, 0.3, "step 1: GET /: the 0.3 s for all steps are over"),
    ],
)
@pytest.mark.parametrize("drip", [False, True])
def test_no_step_waits_for_ever(site: Site, step: dict[str, Any], seconds: float, words: str, drip: bool) -> None:
    """[K6] [K8] Neither for an answer, nor for the end of one that comes in drips."""
    site.answers["/"] = Said(200, "x" * 100, drip=0.1) if drip else Said(wait=2)
    begun = time.monotonic()
    assert failure(step, seconds=seconds) == words
    assert time.monotonic() - begun < 1.5


def test_all_steps_have_their_time_together(site: Site) -> None:
    """[K6] One that comes too late is not sent."""
    site.answers["/"] = Said(wait=0.2)
    assert failure(*[{}] * 20, seconds=0.7).endswith("the 0.7 s for all steps are over")
    assert len(site.asked) < 6


def test_an_answer_without_end_is_read_to_a_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """[K8]"""
    monkeypatch.setattr(smoke, "MOST_BYTES", 2**17)
    site.answers["/"] = Said(200, "x" * 2**20)
    run({"without": "x" * 2**18})


# --- What is never shown --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "echo",
    [
        lambda asked: asked.body.decode(),
        lambda asked: urllib.parse.unquote_plus(asked.body.decode()),
        lambda asked: json.dumps({"password": asked.form["password"]}),
        lambda asked: f"<p>Wrong: {asked.form['password'].replace('&', '&amp;').replace('<', '&lt;').replace(chr(34), '&#34;')}</p>",
        lambda asked: f"Wrong:\n {asked.form['password'].replace(' ', '   ')}",
        lambda asked: f"{asked.headers['X-Key'].split()[1]} {asked.headers['Cookie']} {asked.form['csrf_token']}",
    ],
)
def test_nothing_of_what_was_sent_is_shown(site: Site, echo: Callable[[Asked], str]) -> None:
    """[A11] Whatever form the app repeats it in; nor cookies, tokens and what was kept."""
    cookie = ("Set-Cookie", "session=c4n4ry-cookie; Path=/; Secure")
    site.answers["/"] = Said(200, '<input name="csrf_token" value="c4n4ry-token"> c4n4ry-kept', (cookie,))
    site.answers["/login"] = lambda asked: Said(401, f"<h1>No</h1> {echo(asked)} c4n4ry-kept")
    steps = (
        {"keep": {"kept": "c4n4ry-kept"}},
        {
            **{"path": "/login", "form": {"password": CANARY}, "csrf": "csrf_token"},
            "headers": {"X-Key": "Bearer c4n4ry-key"},
        },
    )
    seen = failure(*steps)
    assert "c4n4ry" not in seen and "wörd" not in seen and seen.startswith("step 2: POST /login answered 401, and 200 is due: No "), seen


def test_a_secret_in_json_or_a_file(site: Site) -> None:
    """[A11] However deep."""
    site.answers["/"] = lambda asked: Said(500, asked.body.decode())
    assert "c4n4ry" not in failure({"json": {"a": [{"b": CANARY}], "n": 1234567}}) + failure({"json": {"n": "c4n4ry-in-json"}})
    assert "c4n4ry" not in failure({"file": {"name": "a", "content": "c4n4ry-x y"}})
    site.answers["/"] = Said(500, "no user has c4n4ry-body")
    assert "no *** has ***" in failure({"body": "user=a&password=c4n4ry-body"})


# --- The check ------------------------------------------------------------------------------------


def walked(folder: Path, *steps: dict[str, Any]) -> Walk:
    return walk(RequestPath(app(folder), None, smoke=steps), CHECK)


def test_the_check_names_the_step(site: Site, tmp_path: Path) -> None:
    """[K6] [K8] A hop of its own, behind those that it needs; the doctor says what failed, and how it is found in the logs."""
    site.answers["/"] = Said(200, "Welcome")
    good, bad = {"name": "the front page", "path": "/", "contains": "Welcome"}, {"name": "log in", "path": "/login", "form": {"p": CANARY}}
    (row,) = walked(tmp_path, good).rows
    assert (row["hop"], row["result"], row["evidence"]) == ("smoke", "ok", "the front page")
    found = walked(tmp_path, good, bad)
    (row,), (finding,) = found.rows, found.findings
    assert row["result"] == "BROKEN" and row["evidence"].startswith("log in: POST /login answered 404, and 200 is due: not found")
    assert finding.id == "smoke-failed" and finding.what == "log in failed: POST /login answered 404, and 200 is due"
    assert finding.fix.endswith("slipway blog logs --request id-3") and CANARY not in json.dumps(found.data())


def test_an_app_without_a_smoke_test_has_no_such_hop(tmp_path: Path) -> None:
    """[K6]"""
    assert len(CHECK) == 1 and walked(tmp_path).rows == []


def test_behind_a_broken_hop_nothing_is_sent(site: Site, tmp_path: Path) -> None:
    """[K8] What is broken is known already, and half of a visit would leave behind what its other half removes."""

    def broken(path: RequestPath) -> str:
        raise BrokenHopError("no socket", "socket-missing")

    path = RequestPath(app(tmp_path), None, smoke=[{"name": "a", "path": "/"}])
    found = walk(path, [Check("socket", "there", broken, "-"), *CHECK])
    assert [row["result"] for row in found.rows] == ["BROKEN", "behind socket"] and not site.asked
    assert [finding.id for finding in found.findings] == ["socket-missing"]


def test_nothing_is_sent_during_maintenance(site: Site, tmp_path: Path) -> None:
    """[K6] The app is closed: it may be half restored."""
    page = tmp_path / "srv/maintenance/index.html"
    page.parent.mkdir(parents=True)
    page.touch()
    (row,) = walked(tmp_path, {"name": "write", "path": "/", "form": {}}).rows
    assert row["result"] == "ok" and row["evidence"].startswith("closed for maintenance") and not site.asked


def test_the_steps_that_the_host_has(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """[K6] Of root's file, for `slipway blog verify` and `doctor`; without it there are none. A broken one is said, not passed over."""
    known = app(tmp_path)
    assert smoke.steps_of(known) == []
    known.config_dir.mkdir(parents=True)
    file = known.config_dir / "smoke.json"
    file.write_text(json.dumps({"_comment": "x", "steps": [{"name": "a", "path": "/"}]}))
    assert smoke.steps_of(known) == [{"name": "a", "path": "/"}]
    monkeypatch.setattr(App, "load", classmethod(lambda cls, name: known))
    monkeypatch.setattr(walk, "__defaults__", (CHECK, True))
    assert [cli.main(["blog", word]) for word in ("verify", "doctor")] == [1, 1]
    said = capsys.readouterr().out
    assert said.count("a: GET / answered 404") == 3 and [asked.path for asked in site.asked] == ["/", "/"], said
    file.write_text(f'["{CANARY}')
    with pytest.raises(SlipwayError) as error:
        smoke.steps_of(known)
    assert "site --tags base" in str(error.value) and "c4n4ry" not in str(error.value)


@pytest.mark.parametrize("check", [False, True])
def test_the_module(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    """[K6] [A11] It is given the steps in an argument that is hidden; in check mode nothing is sent."""
    monkeypatch.setattr(module, "walk", lambda path, thorough: walk(path, CHECK, thorough))
    site.answers["/"] = Said()
    steps = base64.b64encode(json.dumps([{"name": "write", "path": "/", "form": {"password": CANARY}}]).encode()).decode()
    said = call_module(module, monkeypatch, {"app": facts(tmp_path), "database_url": "", "smoke_encoded": steps}, check)
    assert len(site.asked) == (0 if check else 1) and CANARY not in json.dumps(said)


def test_the_sites_own_limit_tells_nothing_of_the_app() -> None:
    """[K6 E8] Whoever asks the doctor again and again is stopped by nginx: that is no failure of the app."""
    with pytest.raises(smoke.LimitedError, match="429"):
        smoke.Visitor("blog.example.com").judge({"name": "log in", "path": "/login"}, "log in", smoke.Reply(429, "", "", ""))
