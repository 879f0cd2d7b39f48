# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a run prints: for people, or as Ansible does."""

from __future__ import annotations

from functools import partial
from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.slipway.vps.plugins.plugin_utils.plain import Plain

DOCUMENTATION = r"""
---
name: progress
type: stdout
short_description: What changes, what fails and what mends it, and how far the run is
version_added: 0.2.0
description:
  - Prints a heading for each layer, what changes, what tasks print on purpose, warnings and failures; at the end the failures with what
    mends them, each host, and the next command.
  - On a terminal the last line says what is being done, how far the run is, and how much longer it takes, told from the last run of the
    same playbook and inventory.
  - "It is switched on in C(ansible.cfg): C(stdout_callback = slipway.vps.progress). With C(-v) everything is printed as Ansible does."
author:
  - The Slipway authors
requirements:
  - C(stdout_callback) in C(ansible.cfg)
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  output:
    description: V(plain) for people; V(full) is what Ansible's own C(ansible.builtin.default) prints.
    type: str
    choices: [plain, full]
    default: plain
    env:
      - name: SLIPWAY_OUTPUT
    ini:
      - section: callback_progress
        key: output
  heartbeat:
    description: Without a terminal, a step that takes longer is said to go on, each time after so many seconds.
    type: float
    default: 30
    env:
      - name: SLIPWAY_OUTPUT_HEARTBEAT
    ini:
      - section: callback_progress
        key: heartbeat
"""


class CallbackModule(Default):  # type: ignore[misc]  # ansible-core ships no types
    """Ansible's own output, in whose place `Plain` steps where it is asked for."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "slipway.vps.progress"

    _plain: Plain | None = None

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        if self.get_option("output") == "plain" and not self._display.verbosity and not self._plain:
            self._plain = Plain(self, self.get_option("heartbeat"))
            for event in _EVENTS:
                setattr(self, event, partial(self._tell, event))

    def _tell(self, event: str, *args: Any, **kwargs: Any) -> None:
        if event == "v2_playbook_on_play_start":
            self._play = args[0]
        try:
            if method := getattr(self._plain, event, None):
                method(*args, **kwargs)
        except Exception as error:
            # A run never fails for how it is shown.
            self._step_back(error)
            getattr(self, event)(*args, **kwargs)

    def _step_back(self, error: Exception) -> None:
        """From here on as Ansible does."""
        plain, self._plain = self._plain, None
        for event in _EVENTS:
            delattr(self, event)
        if plain:
            plain.close()
        self._display.warning(
            f"The plain output has failed ({error!r}), and Ansible's own goes on. Please report it, with SLIPWAY_OUTPUT=full."
        )


_EVENTS = [name for name in vars(Default) if name.startswith("v2_")]
