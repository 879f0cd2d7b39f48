# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The smoke test: the requests of `app_smoke`, sent one after the other through the public endpoint, as one visitor with cookies.

Each is a step in the form of the contract (rules/smoke.py), with what is expected of its answer. What a step sends may be secret: the
evidence has nothing of that, nor of kept values and cookies.
"""

from __future__ import annotations

import base64
import html
import http.client
import json
import mimetypes
import re
import secrets
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import SlipwayError
from ..core.http import PublicConnection
from .findings import BrokenHopError

if TYPE_CHECKING:
    from ..app import App
    from ..hops import RequestPath

#: Seconds that all steps together may take, and bytes of an answer that are read.
SECONDS, MOST_BYTES = 10, 2**20
#: How much of an answer the evidence shows. A shorter text than HIDDEN is in too many words to be hidden.
SHOWN, HIDDEN = 200, 4
#: The value that is another one in each run.
UNIQUE = "unique"
#: The header that Flask-WTF, Django and their like read a token from where no form has it.
TOKEN_HEADER = "X-CSRFToken"

Step = Mapping[str, Any]

_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_MARKUP = re.compile(r"<(script|style|svg)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
#: Where a header or a text of no known form may hold a secret among other words.
_BETWEEN = re.compile(r"[\s&=,;:\"'<>{}\[\]]+")


class LimitedError(SlipwayError):
    """The site's own limit of requests stopped a step: that tells nothing of the app."""


class Reply(NamedTuple):
    """What a step got."""

    status: int
    text: str
    request_id: str
    location: str


def steps_of(app: App) -> list[Step]:
    """The steps as the host has them, in a file for root alone."""
    path = Path(app.config_dir, "smoke.json")
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["steps"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SlipwayError(f"{path}: {type(error).__name__}; ansible-playbook slipway.vps.site --tags base writes it anew") from error


def smoke(path: RequestPath) -> str:
    """Each step is answered as it should be; after one that is not, no other is sent."""
    if path.releases.closed:
        return "closed for maintenance: nothing was sent"
    if path.patience < SECONDS:
        # Half of a visit would leave behind what its other half removes.
        raise BrokenHopError("not sent: what it needs is broken")
    visitor = Visitor(path.domain)
    try:
        for step in path.smoke:
            visitor.take(step)
    except LimitedError as error:
        return f"not known: {error}. It was asked too often within a minute (nginx_rate_limits)"
    return ", ".join(str(step["name"]) for step in path.smoke)


class Visitor:
    """Who sends the steps: with cookies, the inputs of the pages before, and what was kept of them."""

    def __init__(self, domain: str, seconds: float = SECONDS) -> None:
        self.domain, self.seconds = domain, seconds
        self.cookies = CookieJar()
        self.inputs: dict[str, str] = {}
        self.kept = {UNIQUE: secrets.token_hex(4)}
        #: What was sent, and must not be shown.
        self.hidden: set[str] = set()
        self.until = time.monotonic() + seconds

    def take(self, step: Step) -> None:
        """Send a step and judge its answer; BrokenHopError when that is not as expected."""
        sends = self.filled({key: step[key] for key in ("path", "headers", "form", "json", "body", "file") if key in step})
        method = str(step.get("method") or ("POST" if {"form", "json", "body", "file"} & set(step) else "GET"))
        # As it was written: what stands for a name may be secret, and so may a query.
        label = f"{method} {str(step['path']).partition('?')[0]}"
        for key in ("form", "json"):
            self.hide(sends.get(key))
        for value in (sends.get("headers"), sends.get("body"), sends.get("file", {}).get("content")):
            self.hide(value, words=True)
        body, headers = self.body(step, sends, method, label)
        try:
            reply = self.send(method, sends["path"], body, headers, float(step.get("timeout") or self.seconds))
        except TimeoutError as error:
            raise self.failure(step, f"{label}: {error}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            # A ValueError of http.client quotes what it will not send.
            why = type(error).__name__ if isinstance(error, (ValueError, http.client.InvalidURL)) else f"{type(error).__name__} {error}"
            raise self.failure(step, f"{label}: no answer, {self.clean(why)}") from error
        self.judge(step, label, reply)
        self.inputs.update(Inputs(reply.text).found)

    # --- What is sent -------------------------------------------------------------------------------

    def filled(self, value: Any) -> Any:
        """A value with what was kept in place of each ``{name}``; other braces stay."""
        if isinstance(value, str):
            return _NAME.sub(lambda found: self.kept.get(found[1], found[0]), value)
        if isinstance(value, Mapping):
            return {key: self.filled(item) for key, item in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value

    def body(self, step: Step, sends: Mapping[str, Any], method: str, label: str) -> tuple[bytes | None, dict[str, str]]:
        """The body, with the token where one is asked for, and the headers that belong to it."""
        headers = {str(name): _text(value) for name, value in (sends.get("headers") or {}).items()}
        fields = dict(sends["form"]) if "form" in sends else None
        if csrf := step.get("csrf"):
            field, token = self.token(str(csrf), step, label)
            self.hide(token)
            if field and ({"form", "file"} & set(sends) or (method == "POST" and not {"json", "body"} & set(sends))):
                fields = {**(fields or {}), str(csrf): token}
            else:
                headers.setdefault(TOKEN_HEADER, token)
        content: bytes | None = None
        kind = ""
        if "file" in sends:
            content, kind = multipart(fields or {}, sends["file"])
        elif fields is not None:
            content, kind = urllib.parse.urlencode(list(pairs(fields))).encode(), "application/x-www-form-urlencoded"
        elif "json" in sends:
            content, kind = json.dumps(sends["json"]).encode(), "application/json"
        elif "body" in sends:
            content, kind = str(sends["body"]).encode(), "text/plain; charset=utf-8"
        if kind and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = kind
        return content, headers

    def token(self, name: str, step: Step, label: str) -> tuple[bool, str]:
        """Whether a form has it, and the value: of the input of the last page that had it, otherwise of a cookie."""
        if name in self.inputs:
            return True, self.inputs[name]
        for cookie in self.cookies:
            if cookie.name == name and cookie.value:
                return False, cookie.value
        raise self.failure(step, f"{label} was not sent: no page before has an input {name}, and there is no such cookie")

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> Reply:
        """Send a request over a connection of its own, and read its answer; TimeoutError in words."""
        until = min(self.until, time.monotonic() + timeout)

        def left() -> float:
            if (seconds := until - time.monotonic()) > 0:
                return seconds
            raise TimeoutError(
                f"no answer within {timeout:g} s" if until < self.until else f"the {self.seconds:g} s for all steps are over"
            )

        target = urllib.parse.quote(path, safe="/?&=%:@,;+~!$'()*")
        url = f"https://{self.domain}{target}"
        asked = urllib.request.Request(url, method=method)
        self.cookies.add_cookie_header(asked)
        sent = {"Host": self.domain, "Accept": "text/html, application/json;q=0.9, */*;q=0.8", "User-Agent": "slipway-smoke"}
        if method not in ("GET", "HEAD", "OPTIONS"):
            # Django and Flask-WTF ask a form over HTTPS where it comes from. The log of nginx has it: no query.
            sent.update({"Origin": f"https://{self.domain}", "Referer": url.partition("?")[0]})
        if cookie := asked.get_header("Cookie"):
            sent["Cookie"] = cookie
        given = {name.lower() for name in headers}
        sent = {**{name: value for name, value in sent.items() if name.lower() not in given}, **headers, "Connection": "close"}
        connection = PublicConnection(self.domain, left())
        try:
            connection.connect()
            stream = connection.sock
            stream.settimeout(left())
            connection.request(method, target, body, {name: value.encode() for name, value in sent.items()})
            response = connection.getresponse()
            content, most = b"", MOST_BYTES if response.length is None else min(response.length, MOST_BYTES)
            while len(content) < most:
                stream.settimeout(left())
                if not (piece := response.read1(2**16)):
                    break
                content += piece
        except OSError as error:
            # Before Python 3.10 what a socket raises is no TimeoutError.
            if "timed out" in str(error):
                left()
                raise TimeoutError("no answer in time") from error
            raise
        finally:
            connection.close()
        self.cookies.extract_cookies(response, asked)
        for one in self.cookies:
            self.hide(one.value)
        request_id, location = (response.getheader(name) or "" for name in ("X-Request-ID", "Location"))
        return Reply(response.status, content.decode(errors="replace"), request_id, location)

    # --- What is expected ---------------------------------------------------------------------------

    def judge(self, step: Step, label: str, reply: Reply) -> None:
        """Status, then what has to be in the answer, what not, and what is kept of it."""
        due = step.get("status", 200)
        allowed = due if isinstance(due, list) else [due]
        to = f" to {urllib.parse.urlsplit(reply.location).path}" if reply.location else ""
        answered = f"{label} answered {reply.status}{self.clean(to)}"
        if reply.status == 429 and 429 not in [int(one) for one in allowed]:
            raise LimitedError(answered)
        if reply.status not in [int(one) for one in allowed]:
            raise self.failure(step, f"{answered}, and {' or '.join(map(str, allowed))} is due", reply)
        # As it was sent, and as a browser shows it.
        texts = (reply.text, html.unescape(reply.text))
        for written in _list(step.get("contains")):
            if not any(self.filled(written) in text for text in texts):
                raise self.failure(step, f"{answered} without {self.clean(written)!r}", reply)
        for written in _list(step.get("without")):
            if any(self.filled(written) in text for text in texts):
                raise self.failure(step, f"{answered} with {self.clean(written)!r}", reply)
        for name, pattern in (step.get("keep") or {}).items():
            found = re.search(pattern, reply.text)
            if not found:
                raise self.failure(step, f"{answered} with nothing that could be kept as {name}", reply)
            self.kept[name] = (found[1] if found.re.groups else found[0]) or ""
            self.hide(self.kept[name])

    def failure(self, step: Step, said: str, reply: Reply | None = None) -> BrokenHopError:
        """What is told of a step: its name, what came instead, and of the answer a piece."""
        name, request = str(step["name"]), (reply.request_id if reply else "") or "<id>"
        evidence = f"{name}: {said}"
        if reply and (piece := self.clean(visible(self.clean(reply.text)))):
            evidence += f": {piece[:SHOWN]}{'…' * (len(piece) > SHOWN)}"
        if reply and reply.request_id:
            evidence += f" (request id {reply.request_id})"
        return BrokenHopError(evidence, "smoke-failed", name=name, said=said, request=request)

    # --- What is not shown --------------------------------------------------------------------------

    def hide(self, value: Any, words: bool = False) -> None:
        """Remember what must not be shown, in each form that an answer may have it in.

        :arg words: each of its words, too: of a header, ``Bearer <token>``.
        """
        if isinstance(value, (Mapping, list)):
            for item in value.values() if isinstance(value, Mapping) else value:
                self.hide(item, words)
            return
        text = _text(value)
        for one in (text, " ".join(text.split()), *(_BETWEEN.split(text) if words else ())):
            forms = {one, visible(one), json.dumps(one)[1:-1], urllib.parse.quote(one), urllib.parse.quote_plus(one)}
            self.hidden |= {form for form in forms if len(form) >= HIDDEN}

    def clean(self, text: str) -> str:
        """A text without anything of that."""
        for value in sorted(self.hidden, key=len, reverse=True):
            text = text.replace(value, "***")
        return text


class Inputs(HTMLParser):
    """Values of a page's inputs by name; of several of one name the first."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name") and given.get("value"):
            self.found.setdefault(str(given["name"]), str(given["value"]))


def pairs(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of a form; one whose value is a list comes several times."""
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            yield str(name), _text(one)


def multipart(fields: Mapping[str, Any], file: Mapping[str, Any]) -> tuple[bytes, str]:
    """A form with a file, and its content type."""
    boundary = f"slipway-{secrets.token_hex(12)}"
    name = str(file["name"])
    kind = str(file.get("type") or mimetypes.guess_type(name)[0] or "application/octet-stream")
    content = base64.b64decode(file["base64"]) if "base64" in file else str(file["content"]).encode()
    parts = [(f'name="{_quoted(field)}"', value.encode()) for field, value in pairs(fields)]
    disposition = f'name="{_quoted(str(file.get("field") or "file"))}"; filename="{_quoted(name)}"\r\nContent-Type: {kind}'
    lines = [
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary.encode(), head.encode(), value)
        for head, value in [*parts, (disposition, content)]
    ]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def visible(text: str) -> str:
    """What a person would read of an answer, in one line."""
    return " ".join(html.unescape(_MARKUP.sub(" ", text)).split())


def _quoted(name: str) -> str:
    """As browsers write a name of a multipart form."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _list(value: Any) -> list[str]:
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]
