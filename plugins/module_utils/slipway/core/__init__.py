# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What all subjects need of a host: commands, files, locks, the log, units, HTTP, certificates, time. One implementation of each."""
