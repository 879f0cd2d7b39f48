"""What `init` left open is refused, with the file that it stands in."""

from __future__ import annotations

from pathlib import Path

import yaml

from .inventory import SECRET, Inventory


def test_each_placeholder_is_refused_with_its_file_and_once(tmp_path: Path) -> None:
    """[F8] A domain, an e-mail address, a host and a secret: nothing else is said of them, and each names its file."""
    said = {
        "app_domains": ["CHANGE-ME"],
        "acme_email": "CHANGE-ME",
        "app_secrets": {"SECRET_KEY": SECRET, "MAIL_PASSWORD": "CHANGE-ME"},
    }
    message = Inventory(tmp_path, {"blog": said}, blog={"ansible_host": "CHANGE-ME"}).refusal("blog")
    for variable, file, what in (
        ("app_domains", "host_vars/blog.yml", "is still to be filled in"),
        ("acme_email", "host_vars/blog.yml", "is still to be filled in"),
        ("app_secrets", "host_vars/blog.yml", "MAIL_PASSWORD is still to be filled in"),
        ("ansible_host", "hosts.yml", "is still to be filled in"),
    ):
        lines = message.splitlines()
        place = next(number for number, line in enumerate(lines) if line.startswith(f"- {variable} {what}"))
        assert file in lines[place + 1], message
        assert message.count(f"- {variable} ") == 1, message


def test_what_is_filled_in_is_taken(tmp_path: Path) -> None:
    """[F8] The word counts only where it is the whole value."""
    said = yaml.safe_dump({"app_name": "blog", "app_domains": ["blog.example.com"], "app_env": {"HINT": "CHANGE-ME later"}})
    assert not Inventory(tmp_path, {"blog": said}).refusal("blog")
