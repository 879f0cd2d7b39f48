# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What the kernel's packet filter does with a new connection to one of our ports: rules as `iptables-save` and `nft list ruleset` say them.

Not a model of netfilter: a rule with a match that is not known here counts as one that does not fit.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

ACCEPT, REFUSE = "accept", "refuse"
_REFUSING = ("DROP", "REJECT")
#: Options that say nothing about who may come in; each has one value.
_NEUTRAL = ("-m", "--match", "--comment", "--reject-with", "--log-prefix", "--log-level", "--limit", "--limit-burst")
_SERVICES = {"http": 80, "https": 443, "ssh": 22}
#: Chains that call each other, at most.
_DEPTH = 6


@dataclass
class Table:
    """A table of `iptables-save`: chain to its rules, each in words, without `-A <chain>`."""

    rules: dict[str, list[list[str]]] = field(default_factory=dict)


def tables(saved: str) -> dict[str, Table]:
    """What `iptables-save` printed."""
    found: dict[str, Table] = {}
    current = Table()
    for line in saved.splitlines():
        if line.startswith("*"):
            current = found.setdefault(line[1:].strip(), Table())
        elif line.startswith("-A "):
            try:
                words = shlex.split(line)
            except ValueError:
                continue
            current.rules.setdefault(words[1], []).append(words[2:])
    return found


def refusing(saved: str, ports: Iterable[int]) -> list[list[str]]:
    """Rules of INPUT that refuse a new connection to one of these ports before ufw's chains are asked, as words after `-A INPUT`."""
    table = tables(saved).get("filter", Table())
    found: list[list[str]] = []
    for port in ports:
        for rule in table.rules.get("INPUT", []):
            if _target(rule).startswith("ufw"):
                break
            verdict = _verdict(rule, port, table, 0)
            if verdict == REFUSE and rule not in found:
                found.append(rule)
            if verdict == ACCEPT:
                break
    return found


def _target(rule: list[str]) -> str:
    return next((rule[at + 1] for at, word in enumerate(rule[:-1]) if word in ("-j", "-g")), "")


def _verdict(rule: list[str], port: int, table: Table, depth: int) -> str:
    """What a rule does with a new connection to a port; empty: nothing."""
    target = _target(rule)
    if not _fits(rule, port):
        return ""
    if target in _REFUSING:
        return REFUSE
    if target == "ACCEPT":
        return ACCEPT
    if depth < _DEPTH:
        for inner in table.rules.get(target, []):
            if _target(inner) == "RETURN" and _fits(inner, port):
                return ""
            if verdict := _verdict(inner, port, table, depth + 1):
                return verdict
    return ""


def _fits(rule: list[str], port: int) -> bool:
    """Whether a rule is about a new connection from anybody to a TCP port."""
    words = iter(rule)
    for word in words:
        if word == "!":
            return False
        value = next(words, "")
        if word in ("-j", "-g"):
            continue
        if word in ("-p", "--protocol"):
            fits = value in ("tcp", "all", "6")
        elif word in ("--dport", "--dports", "--destination-port"):
            fits = port_in(value, port)
        elif word in ("-i", "--in-interface"):
            fits = value != "lo"
        elif word in ("--state", "--ctstate"):
            fits = "NEW" in value.split(",")
        else:
            fits = word in _NEUTRAL
        if not fits:
            return False
    return True


def port_in(written: str, port: int) -> bool:
    """Whether a list of ports and ranges (`80,8000:8080`, `http`) has this one."""
    for part in re.split(r"[,\s{}]+", written):
        first, _, last = part.replace("-", ":").partition(":")
        low = _SERVICES.get(first, int(first) if first.isdigit() else -1)
        high = int(last) if last.isdigit() else low
        if low <= port <= high:
            return True
    return False


def published(saved: str) -> list[tuple[int, str]]:
    """TCP ports that Docker hands to a container, whoever asks: port and where it leads."""
    found = []
    for rule in tables(saved).get("nat", Table()).rules.get("DOCKER", []):
        values = {word: rule[at + 1] for at, word in enumerate(rule[:-1])}
        everybody = not values.get("-d", "").startswith("127.")
        if values.get("-j") == "DNAT" and values.get("-p") == "tcp" and values.get("--dport", "").isdigit() and everybody:
            found.append((int(values["--dport"]), values.get("--to-destination", "")))
    return found


# --- nftables -----------------------------------------------------------------------------------------


def nft_tables(ruleset: str) -> Iterator[tuple[str, str]]:
    """Name (`inet filter`) and body of each table of a ruleset."""
    for match in re.finditer(r"^\s*table\s+(?:(\w+)\s+)?([\w-]+)\s*\{", ruleset, re.MULTILINE):
        yield f"{match[1] or 'ip'} {match[2]}", _body(ruleset, match.end())


def _body(text: str, start: int) -> str:
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start:at]
    return text[start:]


def nft_refusing(ruleset: str, ports: Iterable[int]) -> list[str]:
    """Chains beside ufw's that refuse a new connection to one of these ports: in nftables each of them has a veto."""
    found: list[str] = []
    for name, body in nft_tables(ruleset):
        chains = {match[1]: _body(body, match.end()) for match in re.finditer(r"chain\s+([\w-]+)\s*\{", body)}
        for chain, text in chains.items():
            # Those of iptables are seen by iptables-save.
            if chain == "INPUT" or not re.search(r"hook\s+input\b", text):
                continue
            otherwise = REFUSE if re.search(r"policy\s+drop", text) else ACCEPT
            refused = [port for port in ports if (_nft_verdict(text, port, chains, 0) or otherwise) == REFUSE]
            if refused:
                found.append(f"table {name}, chain {chain}: {', '.join(map(str, refused))}")
    return found


def _nft_verdict(chain: str, port: int, chains: Mapping[str, str], depth: int) -> str:
    """What the rules of a chain do with a new connection to a port; empty: nothing."""
    for line in re.sub(r"\{\s*([^{}]*?)\s*\}", lambda found: "{" + re.sub(r"\s+", " ", found[1]) + "}", chain).splitlines():
        verdict = re.search(r"\b(accept|drop|reject|return|(?:jump|goto)\s+([\w-]+))", line)
        if not verdict or "hook" in line or not _nft_fits(line[: verdict.start()], port):
            continue
        if verdict[1] == "return":
            return ""
        if not verdict[2]:
            return ACCEPT if verdict[1] == "accept" else REFUSE
        inner = _nft_verdict(chains.get(verdict[2], ""), port, chains, depth + 1) if depth < _DEPTH else ""
        if inner or verdict[1].startswith("goto"):
            return inner
    return ""


def _nft_fits(matches: str, port: int) -> bool:
    """The same for the words before a verdict."""
    text = re.sub(r"\b(counter( packets \d+ bytes \d+)?|log( prefix \"[^\"]*\")?|limit rate \S+)", "", matches)
    # Visitors come in by any interface but lo.
    text = re.sub(r'\biif(?:name)? (?:!= "?lo"?(?!\w)|(?!"?lo"?(?!\w))"?[\w.*-]+"?)', "", text)
    text = re.sub(r"\bct state (\{[^}]*\}|[\w,]+)", lambda found: "" if "new" in found[1] else "other", text)
    text = re.sub(r"\bmeta l4proto (\{[^}]*\}|\w+)", lambda found: "" if "tcp" in found[1] else "other", text)
    ports = re.search(r"\b(?:tcp|th) dport (\{[^}]*\}|[\w-]+)", text)
    if ports:
        text = text.replace(ports[0], "")
    return not text.strip() and (ports is None or port_in(ports[1], port))


def nft_filters(text: str) -> list[str]:
    """Tables of a ruleset that do anything, without the empty chains that the package brings."""
    plain = re.sub(r"#[^\n]*", "", text)
    return [name for name, body in nft_tables(plain) if re.search(r"\b(accept|drop|reject|dnat|snat|masquerade|redirect|policy)\b", body)]


# --- ufw ----------------------------------------------------------------------------------------------


def ufw_rules(text: str) -> list[dict[str, str]]:
    """Rules of ufw's file: action, protocol, port, source."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if line.startswith("### tuple ###") and len(words) >= 10 and words[9].startswith("in"):
            found.append({"action": words[3].partition("_")[0], "proto": words[4], "port": words[5], "from": words[8]})
    return found


def ufw_refusing(rules: Iterable[Mapping[str, str]], ports: Iterable[int]) -> list[dict[str, str]]:
    """Rules that refuse everybody one of these ports, before another allows it."""
    every, found = list(rules), []
    for port in ports:
        for rule in every:
            if (
                rule["proto"] in ("tcp", "any")
                and rule["from"] in ("0.0.0.0/0", "::/0")
                and (rule["port"] == "any" or port_in(rule["port"], port))
            ):
                if rule["action"] in ("deny", "reject") and dict(rule) not in found:
                    found.append(dict(rule))
                break
    return found
