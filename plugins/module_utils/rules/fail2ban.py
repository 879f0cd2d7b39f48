# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of bans (role fail2ban)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ansible_collections.slipway.vps.plugins.module_utils.resolve import truthy
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values

_PATHS, _PATTERN, _SCAN = "fail2ban_login_paths", "fail2ban_login_pattern", "fail2ban_scan_paths"
_PATH = re.compile(r"/[\w./~+@:-]*")
#: In fail2ban's notation: where the address is.
_ADDRESS = re.compile(r"<(?:HOST|ADDR)>")
_POSITIVE = (
    *("fail2ban_ban_time", "fail2ban_ban_time_max", "fail2ban_web_ban_time_max", "fail2ban_find_time"),
    *("fail2ban_ssh_max_retry", "fail2ban_ssh_flood_max_retry", "fail2ban_scan_max_retry", "fail2ban_unknown_max_retry"),
    *("fail2ban_limit_max_retry", "fail2ban_login_max_retry"),
)


def bad_numbers(values: Values) -> Iterator[Problem]:
    """Counts and times, 1 at least; fail2ban reads a negative time as for ever."""
    for name in _POSITIVE:
        if name in values and not (str(values[name]).isdigit() and int(values[name]) > 0):
            yield Problem(name, f"is {values[name]!r}, and must be a whole number, 1 at least", "leave it out for the default")


def bad_login_paths(values: Values) -> Iterator[Problem]:
    """Paths of nginx's log, and status codes."""
    paths = values.get(_PATHS) or {}
    example = "write, for example, {/login: [401, 403]}"
    if not isinstance(paths, Mapping):
        yield Problem(_PATHS, "must be a dictionary", example)
        return
    for path, statuses in paths.items():
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            yield Problem(_PATHS, f"{path!r} is not the path of a page", example)
        elif not isinstance(statuses, list) or not statuses or not all(re.fullmatch(r"[2-4]\d\d", str(code)) for code in statuses):
            yield Problem(_PATHS, f"{path} must have a list of status codes from 200 to 499, and has {statuses!r}", example)


def bad_patterns(values: Values) -> Iterator[Problem]:
    """Regular expressions that fail2ban would not start with, or that say nothing."""
    pattern = str(values.get(_PATTERN) or "")
    if pattern and not _ADDRESS.search(pattern):
        what = "does not say where the address is"
        yield Problem(_PATTERN, what, r"put <HOST> in its place, for example '^login failed for user \d+ from <HOST>$'")
    if pattern and (wrong := _wrong(_ADDRESS.sub("(?:1)", pattern))):
        yield Problem(_PATTERN, f"is no regular expression of one line: {wrong}", "put it in single quotes, and escape . ( ) [ ] with \\")
    for part in values.get(_SCAN) or []:
        if wrong := _wrong(str(part)):
            yield Problem(_SCAN, f"{part!r} is no regular expression of one line: {wrong}", "write, for example, wp-login or '\\.env\\b'")


def _wrong(pattern: str) -> str:
    if "\n" in pattern or "\r" in pattern:
        return "it has a line break"
    try:
        found = re.compile(pattern)
    except re.error as error:
        return str(error)
    return "it fits everything" if found.fullmatch("") else ""


def behind_a_balancer(values: Values) -> Iterator[Problem]:
    """Where the firewall sees the load balancer's address alone, a ban would do nothing, or shut everybody out."""
    hops = str(values.get("app_proxy_hops", 1))
    if not hops.isdigit() or int(hops) < 2:
        return
    for name in (_PATHS, _PATTERN):
        if values.get(name) and truthy(values.get("fail2ban_web", True)):
            what = f"cannot be held: app_proxy_hops is {hops}, and the firewall sees the load balancer's address, not the visitor's"
            yield Problem(name, what, "leave it out, and limit logins with nginx_rate_limits, or let the balancer ban")


RULES = (
    (bad_numbers, ()),
    (bad_login_paths, (_PATHS,)),
    (bad_patterns, (_PATTERN, _SCAN)),
    (behind_a_balancer, (_PATHS, _PATTERN, "app_proxy_hops")),
)
