"""Before any import of `ansible_collections`: Ansible's own importer cannot take the name over later."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(Path(__file__).parents[2] / "collections")])
