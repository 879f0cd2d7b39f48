"""What the tests of the lock share: two runs, and what stands in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.lock import Holder

ADA = Holder("ada-secret", "ada", "laptop", job_url="https://ci.example.com/7", commit="4f2a9c10" + "0" * 32)
BOB = Holder("bob-secret", "bob", "runner", purpose="rollback")


def stored(root: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((root / ".lease.json").read_text())
    return data
