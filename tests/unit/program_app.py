"""An app for the tests of the program, in folders of a test's own."""

from __future__ import annotations

import grp
import os
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.slipway.app import App


def facts(folder: Path, **changes: Any) -> dict[str, Any]:
    """What /etc/blog/app.json says, in the model's form."""
    root, config = folder / "srv", folder / "etc/blog"
    return {
        **{"name": "blog", "user": "blog", "group": "blog", "proxy_group": grp.getgrgid(os.getgid()).gr_name},
        **{"domain": "blog.example.com", "domains": ["blog.example.com", "www.blog.example.com"]},
        **{"root": str(root), "releases": str(root / "releases"), "current": str(root / "current"), "shared": str(root / "shared")},
        **{"config_dir": str(config), "environment_file": str(config / "environment"), "secrets_file": str(config / "secrets")},
        **{"log_dir": str(folder / "log"), "backup_dir": str(folder / "backups"), "socket": str(folder / "gunicorn.sock")},
        "health": {"ready": "/healthz/ready", "live": "/healthz/live"},
        "tls": {"certificate": str(folder / "fullchain.pem"), "status": str(folder / "tls.json")},
        "database": {"name": "blog", "over_socket": True, "socket_dir": "/run/postgresql", "port": 5432, "user": "blog", "host": ""},
        "redis": {"socket": "/run/redis-blog/redis.sock", "local": True},
        "processes": {"worker": {"command": "celery"}},
        **changes,
    }


def app(folder: Path, **changes: Any) -> App:
    """The same as the program reads it."""
    return App.of(facts(folder, **changes))
