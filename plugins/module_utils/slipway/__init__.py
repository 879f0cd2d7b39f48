# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The program on the host, `slipway`, and what Ansible's modules share with it.

The folder is installed as it is (`slipway.vps.program`) and imported as it is: relative imports, the standard library and
Debian's python3 packages only, Python 3.10 or newer. `core` knows the host, each other part one subject.
"""
