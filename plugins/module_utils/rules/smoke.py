# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the smoke test (app_smoke). What a step sends may be secret: a message names keys, and no values of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.resolve import plain
from ansible_collections.slipway.vps.plugins.module_utils.rules.inputs import nearest
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values, kind
from ansible_collections.slipway.vps.plugins.module_utils.slipway.doctor.smoke import SECONDS, UNIQUE

KEYS = ("name", "path", "method", "headers", "form", "json", "body", "file", "status", "contains", "without", "csrf", "keep", "timeout")
FILE_KEYS = ("field", "name", "content", "base64", "type")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BODIES = ("form", "json", "body", "file")
#: Headers that the test itself writes.
OWN_HEADERS = ("host", "cookie", "content-length", "transfer-encoding", "connection")

_PATH = re.compile(r"/[^\s#\\\x00-\x1f]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_KEPT = re.compile(r"[a-z][a-z0-9_]*")
_NAMED = re.compile(r"\{([^{}]*)\}")

Found = Iterator[tuple[str, str]]


def bad_smoke(values: Values) -> Iterator[Problem]:
    """Each step by itself, and what it takes from those before."""
    names: list[str] = []
    kept = {UNIQUE}
    for number, step in enumerate(plain(values.get("app_smoke") or []), start=1):
        if not isinstance(step, Mapping):
            yield Problem("app_smoke", f"step {number} is {kind(step)}", "write - {name: the front page, path: /}")
            continue
        name = step.get("name")
        whose = f"{name!r}" if isinstance(name, str) and name.strip() else f"step {number}"
        if whose.startswith("step "):
            yield Problem("app_smoke", f"{whose} has no name", "write name: and in a few words what it does: it is how a failure is told")
        elif name in names:
            yield Problem("app_smoke", f"{whose} is the name of two steps", "give each a name of its own")
        names.append(str(name))
        for what, fix in _bad_step(step, kept, first=number == 1):
            yield Problem("app_smoke", f"{whose}: {what}", fix)
        kept |= set(map(str, step["keep"])) if isinstance(step.get("keep"), Mapping) else set()


def _bad_step(step: Mapping[str, Any], kept: set[str], first: bool) -> Found:
    for key in sorted(set(map(str, step)) - set(KEYS)):
        near = nearest(key, KEYS, "")
        yield f"there is no key {key!r}", f"did you mean {near}?" if near else f"use {', '.join(KEYS)}"
    yield from _bad_path(step.get("path"), kept)
    yield from _bad_body(step)
    yield from _bad_expectations(step)
    csrf = step.get("csrf")
    if "csrf" in step and not (isinstance(csrf, str) and csrf.strip()):
        yield f"csrf is {kind(csrf)}", "name the input, or the cookie, that holds the token: csrf_token, csrfmiddlewaretoken"
    elif csrf and first:
        yield "csrf takes the token from a page before, and this is the first step", "read the page with the form in a step before it"
    timeout = step.get("timeout", 1)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= SECONDS:
        yield f"timeout is {timeout!r}", f"write seconds, at most {SECONDS}: all steps together have no more"


def _bad_path(path: Any, kept: set[str]) -> Found:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        shown = "missing" if path is None else repr(path)
        yield f"path is {shown}", "write the path of the app with a slash first, for example /login"
        return
    for name in _NAMED.findall(path):
        if name not in kept:
            fix = f"keep it in a step before: keep: {{{name}: 'a regular expression'}}" if _KEPT.fullmatch(name) else "use a-z, 0-9 and _"
            yield f"no step before keeps {{{name}}}, which path names", fix


def _bad_body(step: Mapping[str, Any]) -> Found:
    sent = [key for key in BODIES if key in step]
    method = step.get("method", "POST" if sent else "GET")
    if method not in METHODS:
        yield f"method is {method!r}", f"use one of {', '.join(METHODS)}"
    elif sent and method in ("GET", "HEAD", "OPTIONS"):
        yield f"{method} has no {sent[0]}", "write a query into path: /search?q=hello; or use another method"
    if len(sent) > 1 and sent != ["form", "file"]:
        yield f"{' and '.join(sent)} are two bodies", "keep one of them; only form and file go together"
    headers = step.get("headers", {})
    if not _is_flat(headers):
        yield "headers is no dictionary of texts", "write headers: {Accept-Language: de}"
    else:
        for name, value in headers.items():
            if not _HEADER.fullmatch(str(name)) or re.search(r"[\r\n\x00]", str(value)):
                yield f"the header {str(name)!r} cannot be sent", "use a name without blanks, and a value of one line"
            elif str(name).lower() in OWN_HEADERS:
                yield f"the header {name} is the test's own", "leave it out: cookies are kept from step to step"
    form = step.get("form", {})
    if not isinstance(form, Mapping) or not all(_is_flat({"": one}) for value in form.values() for one in _several(value)):
        yield "form is no dictionary of texts", "write form: {user: smoke, password: …}; json: takes what is nested"
    if not isinstance(step.get("body", ""), str):
        yield f"body is {kind(step['body'])}", "write one text, or use json:"
    if "file" in step:
        yield from _bad_file(step["file"])


def _bad_file(file: Any) -> Found:
    example = "write file: {field: picture, name: a.txt, content: hello}"
    if not isinstance(file, Mapping):
        yield f"file is {kind(file)}", example
        return
    if unknown := sorted(set(map(str, file)) - set(FILE_KEYS)):
        yield f"file has unknown keys: {', '.join(unknown)}", f"use {', '.join(FILE_KEYS)}"
    elif any(not isinstance(file.get(key, ""), str) for key in FILE_KEYS):
        yield "file has a value that is no text", "put it in quotes"
    elif not file.get("name") or ("content" in file) == ("base64" in file):
        yield "file needs a name, and either content or base64", example
    elif "base64" in file:
        try:
            base64.b64decode(file["base64"], validate=True)
        except ValueError:
            yield "base64 of file is not base64", "write what this prints: base64 --wrap=0 <file>"


def _bad_expectations(step: Mapping[str, Any]) -> Found:
    status = step.get("status", 200)
    listed = status if isinstance(status, list) else [status]
    if not listed or not all(isinstance(one, int) and not isinstance(one, bool) and 100 <= one <= 599 for one in listed):
        yield f"status is {status!r}", "write the status of a right answer: 200, or several: [200, 302]"
    for key in ("contains", "without"):
        if not all(isinstance(one, str) and one for one in _several(step.get(key, "x"))):
            yield f"{key} is no text, nor a list of texts", "put each text in quotes"
    keep = step.get("keep", {})
    if not isinstance(keep, Mapping):
        yield f"keep is {kind(keep)}", "write keep: {id: '/notes/(\\d+)'}"
        return
    for name, pattern in keep.items():
        if not _KEPT.fullmatch(str(name)) or name == UNIQUE:
            yield f"{str(name)!r} cannot be the name of what is kept", f"use a-z, 0-9 and _, a letter first, and not {UNIQUE}"
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            yield f"keep: {name} is no regular expression ({error})", "write one, with what is to be kept in parentheses: '/notes/(\\d+)'"


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_flat(value: Any) -> bool:
    return isinstance(value, Mapping) and all(one is None or isinstance(one, (str, int, float)) for one in value.values())


RULES = ((bad_smoke, ("app_smoke",)),)
