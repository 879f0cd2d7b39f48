# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
# slipway:server
"""The line of JSON that is logged for a request, the same from each server. It needs Python 3.9 and the standard library."""

from __future__ import annotations

import json
from typing import Any

encode = json.JSONEncoder(separators=(",", ":")).encode


def line(server: str, nginx: tuple[Any, Any], method: Any, path: str, status: int, sent: Any, duration_us: int) -> str:
    """One request.

    :arg nginx: the request's id and the client's address, as nginx says them.
    :arg sent: bytes of the body; None where the server does not know.
    """
    request_id, client = nginx
    entry = {"logger": f"{server}.access", "request_id": request_id, "client": client, "method": method, "path": path}
    return encode({**entry, "status": status, "bytes": sent, "duration_us": duration_us})
