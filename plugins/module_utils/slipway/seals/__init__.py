# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a layer left on this host, and whether it is still so."""
