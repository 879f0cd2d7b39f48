# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The machine before anything of it is changed: what is on it that is not ours, and what to do about that.

`gather/` asks the host (read-only, a file for each source) and `findings/` judges what it said (pure functions, a file for each subject).
Both can run again after a deploy, over the same `Needs`: whoever compares the two begins there.
"""
