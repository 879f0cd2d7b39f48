"""The module nginx_config as a whole; what it judges and writes: test_staging.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.lock import locked
from ansible_collections.slipway.vps.plugins.modules import nginx_config


def test_the_lock_is_given_back_where_the_process_lives_on(tmp_path: Path) -> None:
    """[F2] Mitogen runs the modules of each host in one process: the next app of the machine would wait for ever."""
    lock = tmp_path / "lock"
    words = {"files": [], "root": str(tmp_path), "pending": str(tmp_path / "pending"), "lock": str(lock)}
    with patch_module_args(words), pytest.raises(SystemExit) as end:
        nginx_config.main()
    # As there, what the module left behind is not collected yet.
    with locked(lock, "test"):
        assert end.value.code == 0
