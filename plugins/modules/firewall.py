# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The rules of ufw, as a whole, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall
short_description: The rules of ufw, as a whole, in one round trip
version_added: 0.1.0
description:
  - Compares the rules that ufw has with those that are wanted, and changes what differs. SSH is open at every moment of it.
  - A rule that it made carries C([slipway]) at the end of its comment. It removes such a rule when it is no longer wanted. A rule that was
    made by hand is reported and stays, unless the same packets are in O(rules), too.
  - Rules that refuse stand before those that let in; one that refuses everybody else a port stands after those that let some in.
  - Where the kernel has no IPv6, ufw is told so. Where another program has thrown ufw's rules out of the kernel, they are loaded again.
author:
  - The Slipway authors
options:
  rules:
    description: What is wanted besides SSH. Of two about the same packets the later one holds.
    type: list
    elements: dict
    default: []
    suboptions:
      port: {description: "Port, ports with commas, or a range C(from:to).", type: str, required: true}
      proto: {description: Protocol., type: str, required: true, choices: [tcp, udp]}
      rule: {description: What to do., type: str, default: allow, choices: [allow, limit, deny, reject]}
      from: {description: Address or network that the rule is about., type: str, default: any}
      comment: {description: "Why; without apostrophes, which ufw does not take.", type: str, required: true}
  ssh_ports:
    description: Ports that are open to everybody, whatever O(rules) say. A rule that would close one of them is refused.
    type: list
    elements: int
    default: []
  client:
    description: >-
      The address that this session comes from, as C(SSH_CONNECTION) has it; empty where it is unknown. A rule that would shut it out of SSH
      is refused.
    type: str
    default: ""
  logging:
    description: ufw's level of logging.
    type: str
    default: low
    choices: ["off", low, medium, high, full]
  published:
    description: Whether ports that Docker's containers publish are only reported, or closed as far as O(rules) do not open them.
    type: str
    default: warn
    choices: [warn, close]
attributes:
  check_mode:
    description: Reports what would change.
    support: full
  diff_mode:
    description: Shows the rules before and after.
    support: full
"""

EXAMPLES = r"""
- name: Open HTTPS, and the exporter's port for one host
  slipway.vps.firewall:
    ssh_ports: [22]
    rules:
      - {port: "443", proto: tcp, comment: HTTPS}
      - {port: "9100", proto: tcp, from: 192.0.2.10, comment: node exporter}
"""

RETURN = r"""
commands:
  description: What was done, or would be, in order.
  type: list
  elements: str
  returned: always
by_hand:
  description: Rules that somebody else made, as their commands; they were left alone.
  type: list
  elements: str
  returned: always
published:
  description: Ports that can be reached in spite of the firewall, each with what to do.
  type: list
  elements: str
  returned: always
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.module_utils.firewall import published as ports
from ansible_collections.slipway.vps.plugins.module_utils.firewall.plan import FirewallError, plan, refuse_harm, wanted
from ansible_collections.slipway.vps.plugins.module_utils.firewall.ufw import Rule, covers, parse, plain, settings, taken_down

DEFAULTS = Path("/etc/default/ufw")
FOLDER = Path("/etc/ufw")
#: What speaks for each version of IP.
PROGRAMS = {False: "iptables", True: "ip6tables"}
#: What ufw's chains hang from, as `iptables -S` shows it. Another program that loads its own rules leaves the chains, and not these.
HOOKS = ("-A INPUT -j ufw{}-before-input", "-A ufw{}-before-input -j ufw{}-user-input", "-P INPUT DROP")


class Section(NamedTuple):
    """Our part of one of ufw's files, empty where it should not be there, and what the kernel has of it."""

    path: Path
    program: str
    text: str
    dump: str


class Firewall:
    """ufw on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.p = module, module.params
        self.commands: list[str] = []
        self.before: list[str] = []
        self.after: list[str] = []

    # --- What is there ---------------------------------------------------------------------------

    def ask(self, *words: str) -> str:
        """What a program says; nothing when it is not there or fails."""
        status, out, _ = (
            self.module.run_command(list(words), handle_exceptions=False) if self.module.get_bin_path(words[0]) else (1, "", "")
        )
        return str(out) if status == 0 else ""

    def rules(self, v6: bool) -> list[Rule]:
        path = FOLDER / ("user6.rules" if v6 else "user.rules")
        return parse(path.read_text(errors="replace"), v6) if path.exists() else []

    def stands(self, v6: bool) -> bool:
        """Whether the kernel has ufw's rules, and asks them."""
        lines = self.ask(PROGRAMS[v6], "-S").splitlines()
        return all(hook.replace("{}", "6" if v6 else "") in lines for hook in HOOKS)

    # --- What is done ----------------------------------------------------------------------------

    def ufw(self, *words: str) -> None:
        self.commands.append(" ".join(["ufw", *words]))
        if self.module.check_mode:
            return
        status, out, error = self.module.run_command(["ufw", *words], environ_update={"LC_ALL": "C"})
        if status != 0:
            done = "\n".join(self.commands[:-1]) or "nothing"
            self.module.fail_json(msg=f"`{self.commands[-1]}` failed:\n{out}{error}\nDone before: {done}\nSSH is open as it was.")

    def setting(self, path: Path, name: str, value: str) -> bool:
        """One line of a file of ufw's settings."""
        text = path.read_text()
        now = settings(text).get(name, "")
        if now.lower() == value:
            return False
        self.before.append(f"{name}={now}")
        self.after.append(f"{name}={value}")
        line = f"{name}={value}"
        new, count = re.subn(rf"^{name}=.*$", line, text, flags=re.MULTILINE)
        self.write(path, new if count else f"{text}{line}\n")
        return True

    def write(self, path: Path, text: str) -> None:
        self.commands.append(f"write {path}")
        if not self.module.check_mode:
            new = Path(self.module.tmpdir, path.name)
            new.write_text(text)
            self.module.atomic_move(str(new), str(path))

    def apply(self) -> dict[str, Any]:
        p = self.p
        # ufw itself asks for the folder, and its loader for the table.
        ipv6 = Path("/proc/sys/net/ipv6").exists() and bool(self.ask("ip6tables", "-S", "INPUT"))
        rules = wanted(p["rules"], p["ssh_ports"], ipv6)
        refuse_harm(rules, p["ssh_ports"], plain(p["client"]))
        versions = (False, True) if ipv6 else (False,)
        sections = [self.section(rules, v6) for v6 in versions]
        enabled = settings((FOLDER / "ufw.conf").read_text()).get("ENABLED", "").lower() == "yes"
        if self.setting(DEFAULTS, "IPV6", "yes" if ipv6 else "no") and enabled:
            # Before any rule: ufw adds none to a chain that is not there.
            self.ufw("reload")
        found = plan([rule for v6 in versions for rule in self.rules(v6)], rules, p["ssh_ports"])
        self.before += found.before
        self.after += found.after
        for words in found.commands:
            self.ufw(*words)
        self.policies()
        reload = [self.keep(section) for section in sections]
        if not enabled:
            self.ufw("--force", "enable")
        elif any(reload) or not all(map(self.stands, versions)):
            self.load(versions)
        if settings((FOLDER / "ufw.conf").read_text()).get("LOGLEVEL", "").lower() != p["logging"]:
            self.ufw("logging", p["logging"])
        return {"by_hand": [self.words(rule) for rule in found.foreign], "published": self.passing_by(rules, versions)}

    def words(self, rule: Rule) -> str:
        limits = rule.action == "limit" and any(covers(rule, port) or "SSH" in rule.apps[0] for port in self.p["ssh_ports"])
        return f"{rule}" + (" (it counts every connection to SSH, and shuts out who tries again within 30 s)" if limits else "")

    def load(self, versions: Sequence[bool]) -> None:
        """Load all rules again.

        ufw hangs its chains up only when it makes them. After `iptables -F` they are there, and nothing leads to them: it has to make
        them anew.
        """
        for v6 in versions:
            if not self.module.check_mode and not self.stands(v6):
                lines = taken_down(self.ask(PROGRAMS[v6], "-S"))
                self.module.run_command([f"{PROGRAMS[v6]}-restore", "--noflush"], data=lines, check_rc=True)
        self.ufw("reload")

    def policies(self) -> None:
        """What no rule is about: closed for what comes in, open for what goes out."""
        now = settings(DEFAULTS.read_text())
        for way, name, due, word in (("incoming", "INPUT", "DROP", "deny"), ("outgoing", "OUTPUT", "ACCEPT", "allow")):
            if now.get(f"DEFAULT_{name}_POLICY") != due:
                self.ufw("default", word, way)

    # --- Published ports -------------------------------------------------------------------------

    def section(self, rules: list[Rule], v6: bool) -> Section:
        """Our part of after.rules as it should be. Refuses what would lose others' rules, and what this kernel cannot load."""
        program = PROGRAMS[v6]
        text = ports.section(rules, v6, self.p["published"] == "close")
        dump = self.ask(program, "-S", ports.CHAIN)
        if text and (others := ports.by_hand(dump)):
            raise FirewallError(
                f"Nothing was changed: {ports.CHAIN} ({program}) has rules by another hand, and ufw would empty it:\n  "
                + "\n  ".join(others)
                + "\n  fix: remove them, or leave firewall_docker_published: warn"
            )
        if text:
            status, _, error = self.module.run_command([f"{program}-restore", "--test", "--noflush"], data=text)
            if status != 0:
                raise FirewallError(
                    f"Nothing was changed: this kernel does not take the rules for published ports: {error.strip()}\n"
                    "  fix: leave firewall_docker_published: warn, and publish on 127.0.0.1"
                )
        return Section(FOLDER / ("after6.rules" if v6 else "after.rules"), program, text, dump)

    def keep(self, section: Section) -> bool:
        """Keep our part of after.rules; whether ufw has to load it again."""
        now = section.path.read_text()
        due = ports.placed(now, section.text)
        if due != now:
            said = f"{section.path}: published ports are closed"
            (self.after if section.text else self.before).append(said)
            self.write(section.path, due)
        if section.text:
            return due != now or ports.loaded(section.dump) != section.text.count(f"-A {ports.CHAIN} ")
        if ports.loaded(section.dump):
            # ufw only loads: what is no longer said has to leave the kernel, too.
            self.commands.append(f"{section.program} -F {ports.CHAIN}")
            if not self.module.check_mode:
                self.module.run_command([section.program, "-F", ports.CHAIN], check_rc=True)
        return False

    def passing_by(self, rules: list[Rule], versions: Sequence[bool]) -> list[str]:
        """Ports that are reached in spite of the rules."""
        found = [one for v6 in versions for one in ports.published(self.ask(PROGRAMS[v6], "-t", "nat", "-S"), v6)]
        containers = (
            ports.names(self.ask("docker", "ps", "--format", "{{.Names}} {{.Ports}}")) if any(one.closable for one in found) else {}
        )
        closed = self.p["published"] == "close"
        said = [ports.advice(one, containers.get((one.proto, one.port), ""), rules, closed) for one in found]
        return [text for text in said if text]


def main() -> None:
    text = {"type": "str"}
    rule = {
        "port": {**text, "required": True},
        "proto": {**text, "required": True, "choices": ["tcp", "udp"]},
        "rule": {**text, "default": "allow", "choices": ["allow", "limit", "deny", "reject"]},
        "from": {**text, "default": "any"},
        "comment": {**text, "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "rules": {"type": "list", "elements": "dict", "default": [], "options": rule},
            "ssh_ports": {"type": "list", "elements": "int", "default": []},
            "client": {**text, "default": ""},
            "logging": {**text, "default": "low", "choices": ["off", "low", "medium", "high", "full"]},
            "published": {**text, "default": "warn", "choices": ["warn", "close"]},
        },
        supports_check_mode=True,
    )
    firewall = Firewall(module)
    try:
        found = firewall.apply()
    except FirewallError as error:
        module.fail_json(msg=str(error), commands=firewall.commands)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or ''}: {error.strerror}", commands=firewall.commands)
    diff = {
        "before": "\n".join(firewall.before) + "\n",
        "after": "\n".join(firewall.after) + "\n",
        "before_header": "ufw",
        "after_header": "ufw",
    }
    module.exit_json(changed=bool(firewall.commands), commands=firewall.commands, diff=[diff] if firewall.commands else [], **found)


if __name__ == "__main__":
    main()
