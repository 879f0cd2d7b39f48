"""What the layers data and keep write, line by line where a line matters."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import pytest
from render import ROOT, render

REDIS = "etc/redis/redis-app.conf.j2"
REDIS_UNIT = "etc/systemd/system/redis-server@app.service.d/slipway.conf.j2"
CRON = "etc/cron.d/app-backup.j2"
ROTATE = "etc/logrotate.d/app.j2"
TIMER = "etc/systemd/system/logrotate.timer.d/slipway.conf.j2"


def settings(text: str, separator: str = " ") -> list[tuple[str, str]]:
    """Name and value of each line that is neither empty nor a comment."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(separator) for line in lines if line and not line.startswith("#"))
    return [(name.strip(), value.strip()) for name, _, value in pairs]


@pytest.mark.parametrize(
    ("role", "template"),
    [("redis", REDIS), ("redis", REDIS_UNIT), ("backup", CRON), ("logs", ROTATE), ("logs", TIMER)],
)
def test_each_file_says_whose_it_is(role: str, template: str) -> None:
    text = render(role, template)
    assert "Ansible managed" in text and f"\n# slipway:{role}\n" in text
    assert "True" not in text and "False" not in text


def test_redis_is_named_after_the_app_throughout() -> None:
    found = dict(settings(render("redis", REDIS, app_name="my-app", redis_maxmemory="64mb")))
    assert found["port"] == "0" and found["unixsocket"] == "/run/redis-my-app/redis.sock"
    assert found["dir"] == "/var/lib/redis/my-app" and found["logfile"] == "/var/log/redis/redis-server-my-app.log"
    assert found["maxmemory"] == "64mb"
    # The runtime folder is the unit's, redis-%i: the socket has to be in it.
    assert ("Group", "my-app") in settings(render("redis", REDIS_UNIT, app_name="my-app"), "=")


def test_cron_gets_one_line_at_the_time_that_was_asked_for() -> None:
    lines = [line for line in render("backup", CRON, app_name="my-app", backup_hour=0, backup_minute=5).splitlines() if " root " in line]
    assert len(lines) == 1 and lines[0].startswith("5 0 * * * root nice ")
    # Cron reads an unescaped % as the end of the command.
    assert lines[0].endswith(" --config /etc/my-app/backup.json create") and "%" not in lines[0]


def test_the_backup_program_understands_its_configuration() -> None:
    spec = importlib.util.spec_from_file_location("slipway_backup_config", ROOT / "roles/backup/files/backup.py")
    assert spec and spec.loader
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program
    spec.loader.exec_module(program)
    # Numbers as `-e` gives them: text.
    text = render("backup", "etc/app/backup.json.j2", app_name="my-app", backup_keep_days="3", backup_paths_custom=["/opt/é x"])
    config = program.Config.parse(text)
    assert config.keep_days == 3 and config.database == "my-app" and str(config.backup_dir) == "/var/backups/my-app"
    assert config.paths[0] == "/srv/my-app/shared" and config.paths[-1] == "/opt/é x"
    assert set(json.loads(text)) - {"_comment"} == set(program.Config.__dataclass_fields__)
    assert "slipway:backup" in text


def test_logs_are_bounded_by_the_variables() -> None:
    text = render("logs", ROTATE, app_name="my-app", logs_keep_days=3, logs_max_size="1M")
    assert re.search(r"^/var/log/my-app/\*\.log \{$", text, re.MULTILINE)
    rule = dict(settings(text))
    assert (rule["rotate"], rule["maxage"], rule["maxsize"], rule["su"]) == ("3", "3", "1M", "root my-app")
