# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The backups of one app: rules that are pure, and what touches the host, the database, and the places elsewhere."""
