# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Where in the inventory a change made by hand would be said, so that every run makes it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .observe import Difference

APP = "group_vars/app_servers/app.yml"
VAULT = "group_vars/app_servers/vault.yml"
#: Kinds and names of things (``<app>`` is the app's), the variables that decide about them, and their file. The first that fits counts.
PLACES: tuple[tuple[str, str, str, str], ...] = (
    ("file", r"/etc/<app>/secrets(\.cred)?", "app_secrets", VAULT),
    ("file", r"/etc/<app>/environment", "app_env", APP),
    ("file|names", r"/etc/<app>/files(/.*)?", "app_files", APP),
    ("file", r"/etc/<app>/(gunicorn.*|units/.*)|/etc/systemd/system/<app>[@.].*", "app_processes, app_timers, server_*", APP),
    ("file", r"/etc/<app>/backup\.json|/etc/cron\.d/<app>-backup", "backup_hour, backup_minute, backup_*", APP),
    ("file", r"/etc/<app>/tls\.json|/etc/systemd/system/<app>-tls\..*", "tls_*", APP),
    ("file", r"/etc/<app>/app\.json", "app_*", APP),
    ("file", r"/etc/nginx/.*", "nginx_extra, nginx_locations, nginx_*", APP),
    ("file", r"/etc/ssh/sshd_config.*", "ssh_root_login, ssh_password_login, ssh_*", APP),
    ("sshd", r"", "ssh_port", APP),
    ("file", r"/etc/sudoers\.d/.*|.*/authorized_keys", "ssh_admins", APP),
    ("firewall", r"", "firewall_rules_custom", APP),
    ("file", r"/etc/ufw/.*|/etc/default/ufw", "firewall_rules_custom", APP),
    ("file", r"/etc/fail2ban/.*", "fail2ban_*", APP),
    ("file", r"/etc/systemd/journald\.conf\.d/.*", "base_journal_max_use, base_journal_*", APP),
    ("kernel", r".*", "base_kernel_settings_custom", APP),
    ("file", r"/etc/sysctl\.d/.*", "base_kernel_settings_custom", APP),
    ("file|content", r"/etc/(localtime|timezone|default/locale)", "base_timezone, base_locale", APP),
    ("file", r".*/slipway_hba\.conf", "postgres_hba_custom", APP),
    ("file", r"/etc/postgresql/.*", "postgres_settings_custom", APP),
    ("settings", r".*", "postgres_settings_custom", APP),
    ("role", r".*", "postgres_limits_app, postgres_limits_*", APP),
    ("extension", r".*", "postgres_extensions", APP),
    ("file", r"/etc/redis/.*", "redis_maxmemory, redis_*", APP),
    ("file", r"/etc/logrotate\.d/<app>", "logs_keep_days, logs_max_size", APP),
    ("file", r"/etc/apt/.*|/etc/needrestart/.*", "updates_*", APP),
)


def place(found: Difference, app: str, tasks: Iterable[str]) -> str:
    """The variables and the file; empty where no variable says such a thing: of an owner, a mode, a unit that was stopped.

    :arg tasks: places of the tasks that manage it: a package is one of its role's.
    """
    thing = found.thing
    if found.what in ("owner", "mode", "type", "rights", "password", "member of") or found.what.startswith("ACL"):
        return ""
    for kinds, pattern, variables, file in PLACES:
        if re.fullmatch(kinds, thing.kind) and re.fullmatch(pattern.replace("<app>", re.escape(app)), thing.name):
            return f"{variables} in {file}"
    if thing.kind == "package":
        roles = sorted({task.split("/")[1] for task in tasks if task.startswith("roles/")})
        return f"{', '.join(f'{role}_packages' for role in roles)} in {APP}" if roles else ""
    return ""
