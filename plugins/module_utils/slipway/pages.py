# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Read pages as a browser would: what it would refuse to run, to load or to show, and which files are not served.

All of it is advice: a page that is served is served. But a release whose every script is blocked is green in each other check.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from .core.http import PublicConnection
from .policy import Policy, features_refused, hash_source

#: Of what a page loads, so many are asked for, so many bytes of each are read, and all of it takes so many seconds at most.
MOST_FILES, MOST_BYTES, MOST_SECONDS = 60, 2**20, 60
#: Elements that load something: the attribute, and the directive that has to allow it.
LOADS = {
    "img": ("src", "img-src"),
    "source": ("src", "media-src"),
    "video": ("src", "media-src"),
    "audio": ("src", "media-src"),
    "iframe": ("src", "frame-src"),
    "embed": ("src", "object-src"),
    "object": ("data", "object-src"),
}
#: What `rel` of a link loads; `preload` says it in `as`.
LINKS = {"stylesheet": "style-src-elem", "icon": "img-src", "manifest": "manifest-src", "modulepreload": "script-src-elem"}
PRELOADS = {"style": "style-src-elem", "script": "script-src-elem", "font": "font-src", "image": "img-src"}
#: What a script says that needs a feature.
FEATURES = {
    "geolocation": re.compile(r"navigator\s*\.\s*geolocation"),
    "camera": re.compile(r"getUserMedia\s*\([^)]{0,80}video"),
    "microphone": re.compile(r"getUserMedia\s*\([^)]{0,80}audio"),
    "payment": re.compile(r"new\s+PaymentRequest\s*\("),
    "usb": re.compile(r"navigator\s*\.\s*usb\b"),
}
_SCRIPT = re.compile(r"(module|(text|application)/(x-)?(java|ecma)script\d?(\.\d)?)?", re.IGNORECASE)
_CSS_URL = re.compile(r"(@import\s+)?(?:url\(\s*)?[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
_FONT = re.compile(r"\.(woff2?|ttf|otf|eot)\b", re.IGNORECASE)


class Advice(NamedTuple):
    """Something that visitors would notice, and what mends it."""

    where: str
    what: str
    fix: str


class Reply(NamedTuple):
    """What a browser gets. Status 0: nothing, and the body is the reason."""

    url: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: str

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


class Content(NamedTuple):
    """One thing on a page that a policy judges."""

    kind: str
    #: The URL, or the text of what stands in the page itself.
    value: str
    nonce: str = ""
    inline: bool = False


class Page(HTMLParser):
    """What a page runs and loads."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = url
        self.found: list[Content] = []
        self.policies: list[str] = []
        self._open: tuple[str, str] | None = None
        self._text = ""
        self.feed(text)
        self.close()

    def load(self, kind: str, url: str | None, nonce: str = "") -> None:
        if url and not url.startswith(("#", "about:", "javascript:")):
            self.found.append(Content(kind, urllib.parse.urljoin(self.base, url.strip()), nonce))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        nonce = given.get("nonce", "")
        if tag == "base" and given.get("href"):
            self.base = urllib.parse.urljoin(self.base, given["href"])
        elif tag == "meta" and given.get("http-equiv", "").lower() == "content-security-policy":
            self.policies.append(given.get("content", ""))
        elif tag == "script" and "src" in given:
            self.load("script-src-elem", given["src"], nonce)
        elif tag == "script" and _SCRIPT.fullmatch(given.get("type", "").strip()):
            self._open, self._text = ("script", nonce), ""
        elif tag == "style":
            self._open, self._text = ("style", nonce), ""
        elif tag == "link":
            for rel in given.get("rel", "").lower().split():
                kind = PRELOADS.get(given.get("as", "")) if rel == "preload" else LINKS.get(rel)
                if kind:
                    self.load(kind, given.get("href"), nonce)
        elif tag == "form":
            self.load("form-action", given.get("action"))
        elif tag in LOADS:
            name, kind = LOADS[tag]
            self.load(kind, given.get(name))
            self.load("img-src", given.get("poster"))
        for name, value in given.items():
            if name == "style":
                self.found.append(Content("style-src-attr", value, inline=True))
            elif re.fullmatch(r"on[a-z]+", name) or (name == "href" and value.strip().lower().startswith("javascript:")):
                self.found.append(Content("script-src-attr", value, inline=True))

    def handle_data(self, data: str) -> None:
        if self._open:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[0] == tag:
            if self._text.strip():
                self.found.append(Content(f"{tag}-src-elem", self._text, self._open[1], inline=True))
            self._open = None


def fetch(domain: str, path: str, timeout: float = 35) -> Reply:
    """GET a path of this host's own public endpoint; redirects within it are followed."""
    url = f"https://{domain}{path}"
    for _ in range(5):
        parts = urllib.parse.urlsplit(url)
        connection = PublicConnection(domain, timeout)
        try:
            target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            connection.request("GET", target, headers={"Host": domain, "Accept": "text/html,*/*;q=0.8", "User-Agent": "slipway-verify"})
            response = connection.getresponse()
            body = response.read(MOST_BYTES).decode(errors="replace")
        except (OSError, ValueError, http.client.HTTPException) as error:
            return Reply(url, 0, (), f"{type(error).__name__}: {error}")
        finally:
            connection.close()
        reply = Reply(url, response.status, response.getheaders(), body)
        location = response.getheader("Location") or ""
        following = urllib.parse.urlsplit(urllib.parse.urljoin(url, location))
        if response.status not in (301, 302, 303, 307, 308) or not location or following.hostname != domain:
            return reply
        url = following.geturl()
    return reply


@dataclass
class Reader:
    """Reads the pages of one app. ``own``: the headers that its app sends itself for a path, in lower case."""

    domain: str
    own: Callable[[str], Sequence[str]] = lambda path: ()
    get: Callable[[str, str], Reply] = fetch
    asked: dict[str, Reply] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def ask(self, path: str) -> Reply | None:
        """Once for each path; None when it has been enough."""
        if path not in self.asked:
            if len(self.asked) >= MOST_FILES or time.monotonic() - self.began > MOST_SECONDS:
                return None
            self.asked[path] = self.get(self.domain, path)
        return self.asked[path]

    def read(self, path: str) -> Iterator[Advice]:
        """What a browser would refuse of a page, each kind of thing once."""
        reply = self.ask(path)
        if reply is None or "html" not in " ".join(reply.header("content-type")) or not reply.body:
            return
        page = Page(reply.url, reply.body)
        seen: set[tuple[str, str]] = set()
        for advice in self.judge(path, reply, page):
            if (advice.what, advice.fix) not in seen:
                seen.add((advice.what, advice.fix))
                yield advice

    def judge(self, path: str, reply: Reply, page: Page) -> Iterator[Advice]:
        policy = Policy([*reply.header("content-security-policy"), *page.policies])
        own = self.own(path)
        mend = "the app's own Content-Security-Policy" if "content-security-policy" in own else "nginx_content_security_policy"
        yield from self.inline(path, page, policy, mend)
        scripts = [content.value for content in page.found if content.inline and content.kind == "script-src-elem"]
        loaded = list(page.found)
        for content in page.found:
            if content.inline or not (file := self.file(content)):
                continue
            if file.status in (403, 404):
                fix = "app_static (its folder has to be in the release, for a package <package>/static), or the page"
                yield Advice(path, f"{short(content.value)} answers {file.status}", fix)
            elif content.kind == "style-src-elem":
                loaded += styles(file.body, content.value)
            elif content.kind == "script-src-elem":
                scripts.append(file.body)
        for content in page.found:
            if content.inline and content.kind == "style-src-elem":
                loaded += styles(content.value, reply.url)
        yield from self.origins(path, loaded, policy, mend)
        yield from self.features(path, scripts, ", ".join(reply.header("permissions-policy")), own)

    def file(self, content: Content) -> Reply | None:
        """What a page loads from its own site; a form is not sent."""
        parts = urllib.parse.urlsplit(content.value)
        if parts.hostname != self.domain or parts.scheme not in ("http", "https") or content.kind in ("form-action", "frame-src"):
            return None
        return self.ask(f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")

    def inline(self, path: str, page: Page, policy: Policy, mend: str) -> Iterator[Advice]:
        """Scripts and styles in the page itself."""
        refused = [c for c in page.found if c.inline and not policy.allows_inline(c.kind, c.value, c.nonce)]
        for kind, word in (("script", "script"), ("style", "style")):
            elements = [content for content in refused if content.kind == f"{kind}-src-elem"]
            attributes = [content for content in refused if content.kind == f"{kind}-src-attr"]
            if elements:
                what = f"{len(elements)} inline {word}{'s' * (len(elements) > 1)}, which browsers refuse: {short(elements[0].value)}"
                hashes = " ".join(dict.fromkeys(hash_source(content.value) for content in elements[:3]))
                yield Advice(path, what, f"{mend}: {kind}-src {hashes} (or 'unsafe-inline', a nonce of the app, a file of its own)")
            if attributes:
                words = "handlers (onclick=…)" if kind == "script" else "style attributes"
                what = f"{len(attributes)} {words}, which browsers refuse: {short(attributes[0].value)}"
                yield Advice(path, what, f"{mend}: {kind}-src 'unsafe-inline', or move them into a file")

    def origins(self, path: str, loaded: Sequence[Content], policy: Policy, mend: str) -> Iterator[Advice]:
        """What comes from elsewhere, or over plain HTTP."""
        for content in loaded:
            if content.inline:
                continue
            parts = urllib.parse.urlsplit(content.value)
            directive = content.kind.removesuffix("-elem")
            if parts.scheme == "http":
                sent = "sends a form to" if directive == "form-action" else "loads"
                behind = parts.hostname == self.domain
                fix = "trust X-Forwarded-Proto in the app (ProxyFix, SECURE_PROXY_SSL_HEADER)" if behind else "write https:// in the page"
                if not (behind and policy.upgrades):
                    yield Advice(path, f"it {sent} {short(content.value)} over plain HTTP, which browsers refuse", fix)
            # Asked for over HTTPS in any case: whether it may come from there at all is a second question.
            url = re.sub("^http:", "https:", content.value)
            if not policy.allows(content.kind, url, self.domain, content.nonce):
                origin = f"{parts.scheme}:" if parts.scheme in ("data", "blob") else f"https://{parts.netloc}"
                source = "'self'" if parts.hostname == self.domain else origin
                yield Advice(path, f"the policy refuses {short(content.value)}", f"{mend}: {directive} {source}")

    def features(self, path: str, scripts: Sequence[str], policy: str, own: Sequence[str]) -> Iterator[Advice]:
        """What scripts seem to use and the page may not."""
        mend = "the app's own Permissions-Policy" if "permissions-policy" in own else "nginx_permissions_policy"
        for feature in features_refused(policy):
            if feature in FEATURES and any(FEATURES[feature].search(script) for script in scripts):
                yield Advice(path, f"a script seems to use {feature}, which the page may not", f"{mend}: {feature}=(self)")

    def static(self, folder: Path, static: dict[str, str]) -> Iterator[Advice]:
        """Each folder of app_static is in this release, and nginx may read it."""
        for prefix, named in sorted(static.items()):
            path = f"/{prefix.strip('/')}/"
            place = folder / ".static" / prefix.strip("/")
            if not place.is_dir():
                what = f"{named} is not in the live release: what is below {path} answers 404, or comes from the two releases before"
                yield Advice(path, what, "app_static: a folder of the release or, of an installed package, <package>/static")
            elif (name := first_file(place)) and (reply := self.ask(f"{path}{urllib.parse.quote(name)}")) and reply.status in (403, 404):
                what = f"{name} of {named} is there, and answers {reply.status}: nginx may not read it"
                yield Advice(path, what, f"deploy again, or see who may read it: namei -l {place / name}")


def styles(text: str, url: str) -> Iterator[Content]:
    """What a stylesheet loads from elsewhere."""
    for match in _CSS_URL.finditer(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)):
        kind = "style-src-elem" if match[1] else "font-src" if _FONT.search(match[2]) else "img-src"
        # An address within a text is none: what CSS loads stands in url() or behind @import.
        if match[1] or "url(" in match[0].lower():
            yield Content(kind, urllib.parse.urljoin(url, match[2]))


def first_file(folder: Path) -> str:
    """A file below ``folder`` that a browser might ask for; empty when there is none."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith((".gz", ".br", ".py", ".pyc")):
                return str((Path(parent) / name).relative_to(folder))
    return ""


def short(text: str) -> str:
    """Enough of it to find it."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}…"
