"""The layer data looks at the host before it changes it: what it shows, and what it refuses."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Tool

APP: dict[str, Any] = {
    "app_name": "blog",
    "app_domains": ["blog.example.com"],
    "app_wsgi": "blog:create_app()",
    "app_source": {"type": "path", "path": "/tmp"},
    "acme_email": "ops@example.com",
}


def look(tool: Tool, folder: Path, *words: str, **variables: Any) -> tuple[int, str]:
    """Run the first part of the role as playbooks/data.yml does, on this machine; it changes nothing."""
    contract, plan = (
        {"name": name, "ansible.builtin.import_role": {"name": f"slipway.vps.{role}", "tasks_from": part}}
        for name, role, part in (("Check", "app", "contract"), ("Look", "postgres", "plan"))
    )
    book = [{"hosts": "app_servers", "gather_facts": False, "tasks": [contract, plan]}]
    (folder / "play.yml").write_text(yaml.safe_dump(book))
    hosts = {
        "app_servers": {
            "hosts": {"here": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}},
            "vars": {**APP, **variables},
        }
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    result = tool("ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), *words)
    return result.returncode, result.stdout + result.stderr


def test_what_is_computed_is_shown(tool: Tool, tmp_path: Path) -> None:
    """[D1] [D2] The arithmetic, the size of the host, and each setting with its reason; Gunicorn's numbers arrive."""
    status, output = look(tool, tmp_path, server_workers=3, server_threads=2, postgres_settings_custom={"work_mem": "7MB"})
    assert status == 0 and "changed=0" in output, output
    assert re.search(r"web +18 += 3 workers x 3 connections \(2 threads \+ 1 for health checks\) x 2 releases", output), output
    assert re.search(r"max_connections +200 ", output) and re.search(r"work_mem +7MB +yours", output), output
    assert f"{os.cpu_count()} cores" in output and "25 % of the memory" in output
    assert "database_servers" not in output, "an inventory without such hosts is warned about them"


def test_without_any_wish_the_host_decides(tool: Tool, tmp_path: Path) -> None:
    """[D2] [A3] Also in check mode, which is how one looks before a first run."""
    status, output = look(tool, tmp_path, "--check")
    workers = min(2 * (os.cpu_count() or 1) + 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 // 256)
    assert status == 0 and f"{workers} workers x 5 connections" in output, output


@pytest.mark.parametrize("workers", ["auto", 4])
def test_too_few_connections_stop_the_run(tool: Tool, tmp_path: Path, workers: Any) -> None:
    """[D2] By the contract where the number is known, and by the role where only the host can tell it."""
    status, output = look(tool, tmp_path, server_workers=workers, postgres_max_connections=20)
    assert status != 0 and "20 is less than the " in output and "x 2 releases" in output, output
    assert "Nothing" in output and "fewer server_workers" in output and "Traceback" not in output, output
    assert ("postgres_plan" in output or "plan |" in output) is (workers == "auto"), output
