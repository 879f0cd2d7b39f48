# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The report: one page about a run and the hosts it was about. `document` takes what may be in it, `view` words it, `page` writes it."""
