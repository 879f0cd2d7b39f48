# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The certificate of one app: obtain it, keep it fresh, and see that it is what nginx serves."""
