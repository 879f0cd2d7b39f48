# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""How many workers Gunicorn runs when nobody says a number.

The role server installs this file beside Gunicorn's configuration, which imports it; PostgreSQL's connections are counted with it on
the controller. So it imports the standard library only, and runs on Python 3.9.
"""

from __future__ import annotations

import os


def automatic_workers(cores: int, memory: float, *, share: float, worker_memory: float) -> int:
    """2 x cores + 1, Gunicorn's own advice, but never more than the memory holds; at least 1.

    :arg memory: of the host, in bytes.
    :arg share: of the memory that workers may fill, 0 to 1.
    :arg worker_memory: what one worker may need, in MiB.
    """
    fitting = int(memory / 2**20 * share / worker_memory)
    return max(1, min(2 * cores + 1, fitting))


def automatic_workers_here(*, share: float, worker_memory: float) -> int:
    """`automatic_workers` of the host that this runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return automatic_workers(os.cpu_count() or 1, memory, share=share, worker_memory=worker_memory)
