# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What is broken, by its cause: the problems that are known (`problems`, `clues`), and the looks that find them."""
