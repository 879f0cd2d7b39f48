"""Ask this host's front door as a visitor would: name and port 443 as from outside, the address 127.0.0.1.

Arguments: the domain, then the networks that are let in during maintenance. Prints JSON: the status (0 and the reason
when there was no answer), Retry-After, and whether 127.0.0.1 is itself let in.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import sys
from collections.abc import Sequence

ADDRESS = "127.0.0.1"


def let_in(networks: Sequence[str]) -> bool:
    """Whether maintenance does not apply to the address that this script asks from."""
    address = ipaddress.ip_address(ADDRESS)
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def ask(domain: str, port: int = 443) -> dict[str, object]:
    """GET / and what came back. Whether the certificate is good is another check's matter."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPConnection(domain, timeout=10)
    try:
        plain = socket.create_connection((ADDRESS, port), timeout=10)
        connection.sock = context.wrap_socket(plain, server_hostname=domain)
        connection.request("GET", "/")
        response = connection.getresponse()
        return {"status": response.status, "retry_after": response.getheader("Retry-After", ""), "reason": response.reason}
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "retry_after": "", "reason": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()


if __name__ == "__main__":
    print(json.dumps({**ask(sys.argv[1]), "let_in": let_in(sys.argv[2:])}))
