"""Variables that `init` and docs/your-app.md write already, and that the contract does not have yet. Empty when all are built."""

from __future__ import annotations

from typing import Any

PENDING = frozenset(
    {
        *("app_python", "app_lock_file", "app_extras", "app_groups", "app_build_commands", "app_build_env", "app_build_secrets"),
        *("app_build_packages", "app_shared_paths", "app_timers", "app_services", "app_sqlite", "app_url_prefix", "app_aliases"),
        *("app_verify_paths", "app_sandbox_allow"),
    }
)
#: Keys of `app_source` of which the same holds.
PENDING_KEYS = frozenset({"subdirectory"})


def known(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables without those that are pending."""
    found = {name: value for name, value in variables.items() if name not in PENDING}
    if str(dict(found.get("app_env") or {}).get("DATABASE_URL", "")).startswith("sqlite"):
        # As a database of its own SQLite comes with app_sqlite.
        found["app_env"] = {key: value for key, value in found["app_env"].items() if key != "DATABASE_URL"}
    if isinstance(found.get("app_source"), dict):
        found["app_source"] = {key: value for key, value in found["app_source"].items() if key not in PENDING_KEYS}
    return found
