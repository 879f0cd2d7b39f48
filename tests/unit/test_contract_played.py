"""The contract through ansible-playbook: a bad inventory stops the run with each place and fix, before anything changes."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import Tool
from .test_contract import SECRET

PLAYBOOK = """\
- hosts: app_servers
  gather_facts: false
  pre_tasks:
    - ansible.builtin.import_role: {name: slipway.vps.app, tasks_from: contract}
  tasks:
    - ansible.builtin.debug: {msg: "LATER TASK, {{ app_socket | default('') }}"}
"""
#: Five lines that the contract takes: what a test adds begins on the sixth.
GOOD = """\
app_name: blog
app_domains: [blog.example.com]
app_wsgi: blog:create_app()
app_source: {type: path, path: /tmp}
acme_email: ops@example.com
"""


def play(tool: Tool, folder: Path, variables: str, *words: str) -> tuple[int, str]:
    """Run the contract over an inventory with these variables, and return the exit status and the output."""
    group = folder / "group_vars/app_servers"
    group.mkdir(parents=True)
    (folder / "hosts.yml").write_text("app_servers: {hosts: {here: {ansible_connection: local}}}\n")
    (folder / "play.yml").write_text(PLAYBOOK)
    (group / "app.yml").write_text(variables)
    result = tool("ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), *words)
    return result.returncode, result.stdout + result.stderr


def test_a_bad_inventory_stops_with_every_place_and_fix(tool: Tool, tmp_path: Path) -> None:
    """[K10] [A12] All mistakes at once, each with file, line and fix; nothing runs after."""
    variables = """\
        ---
        app_name: blog
        app_domains: blog.example.com
        app_source:
          type: package
          requirement: blog
        app_enviroment: {}
        app_secrets: {SECRET_KEY: hunter2}
        app_static: "{{ no_such_variable }}"
        """.replace(" " * 8, "")
    status, output = play(tool, tmp_path, variables, "--extra-vars", "acme_email=")
    file = tmp_path / "group_vars/app_servers/app.yml"
    assert status == 2, output
    assert "LATER TASK" not in output
    assert "Nothing was changed" in output
    assert "hunter2" not in output
    for variable, place, fix in (
        ("app_wsgi is required", str(file), "app_wsgi: blog:create_app()"),
        ("app_domains must be a list", f"{file}:3", "app_domains: [blog.example.com]"),
        ("app_source requirement 'blog'", f"{file}:4", "name==version"),
        ("app_enviroment is not a variable", f"{file}:7", "did you mean app_env?"),
        ("app_secrets SECRET_KEY is weak", f"{file}:8", "token_hex"),
        ("acme_email is required", str(file), "you@example.com"),
    ):
        reported = re.search(rf"- {re.escape(variable)}.*\n\s*file: (\S+)\n\s*fix: +(.*)", output)
        assert reported, f"{variable!r} is not reported:\n{output}"
        assert (reported[1], fix in reported[2]) == (place, True), reported[0]


def test_a_good_inventory_passes(tool: Tool, tmp_path: Path) -> None:
    """[K10] Templated values count as what they become, and text from -e as a number; the derived names are there."""
    variables = """\
        app_name: blog
        app_domains: ["{{ app_name }}.example.com"]
        app_wsgi: blog:create_app()
        app_source: {type: path, path: "{{ playbook_dir }}"}
        app_secrets: {SECRET_KEY: "{{ 'KEY' }}"}
        acme_email: ops@example.com
        nginx_trusted_proxies: [192.0.2.10]
        """.replace(" " * 8, "").replace("KEY'", f"{SECRET}'")
    status, output = play(tool, tmp_path, variables, "--extra-vars", "app_proxy_hops=2")
    assert status == 0, output
    assert "LATER TASK" in output and "changed=0" in output


def test_an_expression_that_cannot_be_resolved_is_reported(tool: Tool, tmp_path: Path) -> None:
    """[K10] With the name that is not defined; without this check the first role to use it would fail half-way."""
    status, output = play(tool, tmp_path, GOOD + 'app_env: {MAIL: "{{ no_such_variable }}"}\n')
    assert status == 2 and "LATER TASK" not in output, output
    assert re.search(r"- app_env cannot be resolved: .*no_such_variable", output), output
    assert f"{tmp_path}/group_vars/app_servers/app.yml:6" in output


def test_what_is_said_of_nginx_is_checked_too(tool: Tool, tmp_path: Path) -> None:
    """[A7] [E5] [E8] Before anything changes, in whatever play; what needs another role's default is left to that role."""
    more = """\
        app_proxy_hops: 2
        nginx_rate_limits: [{path: /login, rate: 5/m}]
        nginx_content_security_policy: "{{ nginx_frame_options }}"
        """.replace(" " * 8, "")
    status, output = play(tool, tmp_path, GOOD + more)
    assert status != 0 and "app_proxy_hops says that 1 more stand before nginx" in output, output
    assert "nginx_rate_limits rate '5/m' of /login is no rate" in output and "app.yml:7" in output, output
    assert "nginx_content_security_policy" not in output and "LATER TASK" not in output, output
