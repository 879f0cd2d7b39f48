# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What an operator may say of the certificate (role tls)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from ansible_collections.slipway.vps.plugins.module_utils.certificates import violations
from ansible_collections.slipway.vps.plugins.module_utils.rules.app import is_domain
from ansible_collections.slipway.vps.plugins.module_utils.rules.problem import Problem, Values


def bad_wildcards(values: Values) -> Iterator[Problem]:
    """A wildcard is proven by DNS, or comes with your own certificate; and nothing can redirect to one."""
    for variable in ("app_domains", "app_aliases"):
        listed = values.get(variable) or []
        wild = [domain for domain in listed if isinstance(domain, str) and domain.startswith("*.") and is_domain(domain)]
        if not wild:
            continue
        if variable == "app_domains" and wild[0] == listed[0]:
            yield Problem(variable, f"the first domain is canonical, and {wild[0]!r} is no single name", "put a plain name first")
        if not values.get("tls_dns_plugin") and not values.get("tls_certificate_file"):
            fix = "set tls_dns_plugin (DNS-01) or tls_certificate_file, or list each name"
            yield Problem(variable, f"{wild[0]!r} needs a certificate that a CA gives only by DNS", fix)


def bad_acme(values: Values) -> Iterator[Problem]:
    """How the certificate authority is asked."""
    url = values.get("tls_directory_url")
    if url is not None and not re.fullmatch(r"https://[^\s/]+(/\S*)?", str(url)):
        fix = "write, for example, https://acme-v02.api.letsencrypt.org/directory"
        yield Problem("tls_directory_url", f"{url!r} is not the https:// address of an ACME directory", fix)
    kid, key = (str(values.get(name) or "") for name in ("tls_eab_kid", "tls_eab_hmac_key"))
    if bool(kid) != bool(key):
        absent, present = ("tls_eab_kid", "tls_eab_hmac_key") if key else ("tls_eab_hmac_key", "tls_eab_kid")
        yield Problem(absent, f"is not set, and {present} is", "set both, or neither")
    elif key and not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", key):
        yield Problem("tls_eab_hmac_key", "is not base64url (letters, digits, - and _)", "copy it again from your CA")
    for name in ("tls_profile", "tls_dns_plugin"):
        if values.get(name) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(values[name])):
            yield Problem(
                name, f"{values[name]!r} is not a plain name", "write, for example, " + ("tlsserver" if "profile" in name else "cloudflare")
            )
    if str(values.get("tls_dns_plugin") or "").startswith("dns-"):
        yield Problem("tls_dns_plugin", f"{values['tls_dns_plugin']!r} begins with dns-", f"write {str(values['tls_dns_plugin'])[4:]}")
    if values.get("tls_dns_credentials") and not values.get("tls_dns_plugin"):
        yield Problem("tls_dns_plugin", "is not set, and tls_dns_credentials is", "name the plugin, for example cloudflare")
    seconds = values.get("tls_retry_seconds", 300)
    if not re.fullmatch(r"[1-9]\d*", str(seconds)):
        yield Problem("tls_retry_seconds", f"{seconds!r} is not a number of seconds, 1 at least", "write, for example, 300")
    resolvers = values.get("tls_resolvers") or []
    for address in resolvers if isinstance(resolvers, list) else [resolvers]:
        if not _is_address(str(address)):
            yield Problem("tls_resolvers", f"{address!r} is not an IP address", "write, for example, [9.9.9.9, 1.1.1.1]")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def bad_own_certificate(values: Values) -> Iterator[Problem]:
    """Your own certificate: both files, and nothing in them that would stop nginx or a browser.

    `tls_certificate_text` and `tls_key_text` are the files' contents, or the reason why they cannot be read.
    """
    certificate, key = values.get("tls_certificate_file"), values.get("tls_key_file")
    if not certificate and not key:
        return
    for name, other in (("tls_certificate_file", "tls_key_file"), ("tls_key_file", "tls_certificate_file")):
        if not values.get(name):
            yield Problem(name, f"is not set, and {other} is", "set both, or neither for a certificate by ACME")
            return
    contents = {}
    for name, text in (("tls_certificate_file", "tls_certificate_text"), ("tls_key_file", "tls_key_text")):
        content = values.get(text)
        if isinstance(content, OSError):
            yield Problem(
                name, f"{values[name]!r} cannot be read: {content}", "a path on this machine, absolute or relative to the playbook's folder"
            )
        elif content is not None:
            contents[name] = str(content)
    names = [*values["app_domains"], *(values.get("app_aliases") or [])]
    if len(contents) == 2:
        for violation in violations(contents["tls_certificate_file"], contents["tls_key_file"], names):
            yield Problem(f"tls_{violation.part}_file", violation.what, violation.fix)


def no_authority(values: Values) -> Iterator[Problem]:
    """A certificate has to come from somewhere."""
    if not values.get("acme_email") and not values.get("tls_certificate_file"):
        yield Problem("acme_email", "is required and not set", "write acme_email: you@example.com, or give tls_certificate_file")


RULES = (
    (no_authority, ("acme_email",)),
    (bad_wildcards, ("app_domains", "app_aliases")),
    (bad_acme, ()),
    (bad_own_certificate, ("app_domains", "app_aliases")),
)
