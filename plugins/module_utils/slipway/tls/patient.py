# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Certbot, but a nonce that the CA rejects is tried again more than the once that certbot does it (RFC 8555, 6.5).

A program of its own, run instead of `certbot` with the same words: nothing else is in its process.

Certbot has no option for it (asked at 4.0), and the need is measured: of 80 dry runs against a CA that rejects 5 nonces of
100, as Let's Encrypt's own test server does, 4 failed with plain certbot; against one that rejects 9 of 10 none came
through (molecule/tls, `test_nonces_rejected_nine_times_of_ten`). Each such failure is a renewal that waits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

#: Asked again when the CA rejects a nonce: nine of ten may be rejected, and a request still fails once in 30,000.
NONCE_TRIES = 100


def main(arguments: Sequence[str]) -> int:
    """Run certbot with ``arguments``; its exit status."""
    try:
        from acme import client, messages
        from certbot import main as certbot

        once = client.ClientNetwork._post_once
    except (ImportError, AttributeError):
        # Not the distribution's certbot, or one that is built otherwise: as it comes.
        os.execvp("certbot", ["certbot", *arguments])

    def post(self: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(NONCE_TRIES - 1):
            try:
                return once(self, *args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return once(self, *args, **kwargs)

    client.ClientNetwork.post = post
    result = certbot.main(list(arguments))
    if isinstance(result, str):
        print(result, file=sys.stderr)
        return 1
    return int(result or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
