"""What the layers data and keep write, line by line where a line matters."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup.config import Config
from render import ROOT, model_of, render, value

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
    [("redis", REDIS_UNIT), ("backup", CRON), ("logs", ROTATE), ("logs", TIMER)],
)
def test_each_file_says_whose_it_is(role: str, template: str) -> None:
    text = render(role, template, item={"name": "demo"})
    assert "Ansible managed" in text and f"\n# slipway:{role}\n" in text
    assert "True" not in text and "False" not in text


def redis(**scenario: Any) -> list[dict[str, str]]:
    """The configuration of each instance."""
    instances = value("redis", "__redis_instances", **scenario)
    texts = [render("redis", REDIS, **scenario, item=instance) for instance in instances]
    assert all("Ansible managed" in text and "\n# slipway:redis\n" in text for text in texts)
    return [dict(settings(text)) for text in texts]


def test_redis_is_named_after_the_app_throughout() -> None:
    (found,) = redis(app_name="my-app", redis_maxmemory="64mb")
    assert found["port"] == "0" and found["unixsocket"] == "/run/redis-my-app/redis.sock" and found["unixsocketperm"] == "660"
    assert found["dir"] == "/var/lib/redis/my-app" and found["logfile"] == "/var/log/redis/redis-server-my-app.log"
    assert found["maxmemory"] == "64mb"
    # The runtime folder is the unit's, redis-%i: the socket has to be in it.
    assert ("Group", "my-app") in settings(render("redis", REDIS_UNIT, app_name="my-app", item={"name": "my-app"}), "=")


@pytest.mark.parametrize(
    ("scenario", "policy", "log"),
    [
        ({}, "noeviction", "yes"),
        ({"redis_use": ["queue"]}, "noeviction", "yes"),
        ({"redis_use": ["cache"]}, "allkeys-lru", "no"),
        ({"redis_maxmemory_policy": "volatile-lru"}, "volatile-lru", "yes"),
        ({"redis_use": ["cache"], "redis_persistence": "aof"}, "allkeys-lru", "yes"),
    ],
)
def test_redis_forgets_only_what_it_may(scenario: dict[str, Any], policy: str, log: str) -> None:
    """[D4] Policy and persistence by use; both can be said otherwise. Snapshots are never taken."""
    (found,) = redis(**scenario)
    assert (found["maxmemory-policy"], found["appendonly"], found["save"]) == (policy, log, '""')
    assert (found.get("appendfsync") == "everysec") is (log == "yes")


def test_a_cache_is_a_redis_of_its_own() -> None:
    """[D4] Beside sessions and jobs: another socket, which reaches the app as REDIS_CACHE_URL."""
    main, cache = redis(app_redis_cache=True, redis_cache_maxmemory="32mb")
    assert (main["maxmemory-policy"], main["appendonly"]) == ("noeviction", "yes")
    assert (cache["maxmemory-policy"], cache["appendonly"], cache["maxmemory"]) == ("allkeys-lru", "no", "32mb")
    assert cache["unixsocket"] == "/run/redis-demo-cache/redis.sock" and cache["dir"] == "/var/lib/redis/demo-cache"
    assert not {main[name] for name in ("unixsocket", "dir", "logfile", "pidfile")} & set(cache.values())
    environment = model_of(app_redis_cache=True)["environment"]
    assert environment["REDIS_CACHE_URL"] == "unix:///run/redis-demo-cache/redis.sock?db=0"
    assert "REDIS_CACHE_URL" not in model_of(app_redis_cache="false")["environment"]


def test_cron_gets_one_line_at_the_time_that_was_asked_for() -> None:
    lines = [line for line in render("backup", CRON, app_name="my-app", backup_hour=0, backup_minute=5).splitlines() if " root " in line]
    assert len(lines) == 1 and lines[0] == "5 0 * * * root systemctl start my-app-backup.service"
    unit = render("backup", "etc/systemd/system/app-backup.service.j2", app_name="my-app").splitlines()
    assert "ExecStart=/usr/local/bin/slipway my-app backup nightly" in unit and "Type=oneshot" in unit


def test_the_backup_program_understands_its_configuration() -> None:
    # Numbers as `-e` gives them: text.
    text = render("backup", "etc/app/backup.json.j2", app_name="my-app", backup_keep_days="3", backup_paths_custom=["/opt/é x"])
    config = Config.parse(text)
    assert config.keep_days == 3 and config.database == "my-app" and str(config.backup_dir) == "/var/backups/my-app"
    assert config.paths[0] == "/srv/my-app/shared" and config.paths[-1] == "/opt/é x"
    assert set(json.loads(text)) - {"_comment"} == set(Config.__dataclass_fields__)
    assert "slipway:backup" in text


def test_logs_are_bounded_by_the_variables() -> None:
    text = render("logs", ROTATE, app_name="my-app", logs_keep_days=3, logs_max_size="1M")
    assert re.search(r"^/var/log/my-app/\*\.log \{$", text, re.MULTILINE)
    rule = dict(settings(text))
    assert (rule["rotate"], rule["maxage"], rule["maxsize"], rule["su"]) == ("3", "3", "1M", "root my-app")


def test_a_restore_ends_with_commands_that_can_be_pasted() -> None:
    """[D3] Here and on the host: each line is a whole command."""
    (task,) = [task for task in yaml.safe_load((ROOT / "roles/backup/tasks/restore.yml").read_text()) if task["name"].endswith("was done")]
    result = {"report": ["Restored x."], "kept_as": "demo_before_1", "kept_in": "20261120T033000Z-before-restore"}
    said = value(
        "backup",
        task["ansible.builtin.debug"]["msg"].strip().removeprefix("{{").removesuffix("}}"),
        **{
            **{
                name: trust_as_template(text) if isinstance(text, str) else [trust_as_template(one) for one in text]
                for name, text in task["vars"].items()
            },
            "__backup_restore": {"stdout": json.dumps(result)},
            "inventory_dir": "/inventory",
        },
    )
    play = "  ansible-playbook -i /inventory slipway.vps.restore -e "
    assert said[:4] == ["Restored x.", "To go back, from here:", f"{play}undo=demo_before_1", f"{play}backup={result['kept_in']}"]


def left(role: str, said: dict[str, object], **scenario: object) -> list[str]:
    """What the role says is left of a service."""
    tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/left.yml").read_text())
    task = tasks[-1]
    known = {name: trust_as_template(text) for name, text in task["vars"].items()}
    lines = [trust_as_template(line) for line in task["ansible.builtin.debug"]["msg"]]
    found: list[str] = value(role, "__said", **{**scenario, **known, **said, "__said": lines})
    return found


def test_what_is_left_of_a_service_can_be_removed_by_what_is_said() -> None:
    """[F6] Nothing is dropped when a service is taken away; the run names what stays, and the commands."""
    lines = left("postgres", {"__postgres_left": {"stdout_lines": ["demo"]}}, app_services=["redis"])
    assert "keeps demo, which demo does not use" in lines[0] and lines[-1].startswith(
        "sudo -u postgres dropdb demo; sudo -u postgres dropuser"
    )
    assert lines[-1].endswith("dropuser --if-exists demo")
    lines = left("redis", {}, app_services=["postgres"])
    assert lines[-1].startswith("sudo systemctl disable --now redis-server@demo; sudo rm -rf /etc/redis/redis-demo.conf ")
    assert "/var/lib/redis/demo /var" in lines[-1] and lines[-1].count("  ") == 0


def test_another_apps_redis_is_never_taken_for_what_is_left() -> None:
    """[F2] [F6] An app may be called as another's cache is."""
    assert value("redis", "__redis_of_all", app_services=["postgres"]) == []
    assert value("redis", "__redis_of_all", app_redis_cache=True) == ["demo", "demo-cache"]
