"""An inventory on disk, and the contract's action plugin run over it as a task would, without a play around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader as plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.slipway.vps.plugins.action.contract import ActionModule

SECRET = "3f8a1c5e9b7d2046f1e8c3a5907b6d4e2f8a1c5e"
#: What each entry says where a test says nothing else; ``app_name`` is the entry's.
USUAL: dict[str, Any] = {
    "app_wsgi": "blog:create_app()",
    "app_source": {"type": "git", "repo": "https://git.example.com/blog.git", "version": "v1.4.0"},
    "app_secrets": {"SECRET_KEY": SECRET},
    "acme_email": "ops@example.com",
}
ADDRESS = "203.0.113.10"


class RefusedError(Exception):
    """The contract's message."""


class Inventory:
    """Entries below the group app_servers, each with a file of its own in host_vars."""

    def __init__(
        self, folder: Path, entries: Mapping[str, Mapping[str, Any] | str], group: Mapping[str, Any] | str | None = None, **hosts: Any
    ) -> None:
        """
        :arg entries: entry to its variables, or to the text of its file.
        :arg group: the variables of app_servers; a text as it stands, a mapping over `USUAL`.
        :arg hosts: entry to what hosts.yml says of it; its address by default.
        """
        self.folder = folder
        for place in ("host_vars", "group_vars"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / "group_vars/app_servers.yml").write_text(group if isinstance(group, str) else yaml.safe_dump({**USUAL, **(group or {})}))
        for entry, variables in entries.items():
            usual = {"app_name": entry, "app_domains": [f"{entry}.example.com"]}
            text = variables if isinstance(variables, str) else yaml.safe_dump({**usual, **variables}, allow_unicode=True)
            (folder / f"host_vars/{entry}.yml").write_text(text)
        where = {entry: hosts.get(entry, {"ansible_host": ADDRESS}) for entry in entries}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"app_servers": {"hosts": where}}))
        self.read()

    def read(self) -> None:
        """As Ansible reads it when it starts."""
        self.loader = DataLoader()
        self.inventory = InventoryManager(self.loader, sources=[str(self.folder / "hosts.yml")])
        self.variables = VariableManager(self.loader, self.inventory)

    def result(self, entry: str, part: str = "model", running: Sequence[str] | None = None, **extra: Any) -> dict[str, Any]:
        """What the task of ``entry`` returns.

        :arg running: the entries of this run; all of them by default.
        :arg extra: what -e says.
        """
        self.variables._extra_vars = extra
        host = self.inventory.get_host(entry)
        known = self.variables.get_vars(host=host)
        hosts = list(running) if running is not None else [one.name for one in self.inventory.get_hosts()]
        known.update(hostvars=HostVars(self.inventory, self.variables, self.loader))
        known.update(ansible_play_hosts_all=hosts, ansible_play_hosts=hosts, ansible_play_batch=hosts)
        task = Task()
        task.args = {"part": part}
        templar = Templar(loader=self.loader, variables=known)
        connection = plugin_loader.connection_loader.get("ansible.builtin.local", PlayContext())
        action = ActionModule(task, connection, PlayContext(), self.loader, templar, plugin_loader)
        found: dict[str, Any] = action.run(task_vars=known)
        return found

    def app(self, entry: str, **how: Any) -> dict[str, Any]:
        """The model of ``entry``; `RefusedError` with the message where the contract says no."""
        found = self.result(entry, **how)
        if found.get("failed"):
            raise RefusedError(found["msg"])
        return found

    def secrets(self, entry: str, **how: Any) -> dict[str, Any]:
        return self.app(entry, part="secrets", **how)

    def refusal(self, entry: str, **how: Any) -> str:
        """Why the contract says no; empty where it does not."""
        found = self.result(entry, **how)
        return str(found["msg"]) if found.get("failed") else ""
