# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The firewall: which rules ufw should have, which it has, and what passes by it."""
