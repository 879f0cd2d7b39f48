"""What an operator may switch on: HTTP/3, and load balancers before nginx. One run switches both on, another off again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from deploys import playbook
from helpers import App, must

CLIENT = r"""
import asyncio, json, ssl, sys
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

class Client(QuicConnectionProtocol):
    def __init__(self, *words, **named):
        super().__init__(*words, **named)
        self.http, self.over, self.head, self.body = H3Connection(self._quic), asyncio.get_event_loop().create_future(), {}, b""
    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            if isinstance(found, HeadersReceived):
                self.head.update((name.decode(), text.decode()) for name, text in found.headers)
            if isinstance(found, DataReceived):
                self.body += found.data
            if getattr(found, "stream_ended", False) and not self.over.done():
                self.over.set_result(None)

async def main(address, name):
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, verify_mode=ssl.CERT_NONE, server_name=name)
    async with connect(address, 443, configuration=settings, create_protocol=Client) as client:
        stream = client._quic.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": name, ":path": "/probe/hello"}
        client.http.send_headers(stream, [(key.encode(), text.encode()) for key, text in fields.items()], end_stream=True)
        client.transmit()
        await asyncio.wait_for(client.over, 10)
        print(json.dumps({**client.head, "body": client.body.decode()}))
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def switched_on(host: Any, app: App, address: str) -> Iterator[None]:
    """With the neighbours' network as the load balancer's."""
    network = f"{address.rsplit('.', 1)[0]}.0/24"
    run = playbook("edge", host, {"nginx_http3": True, "nginx_trusted_proxies": [network]})
    try:
        assert run.status == 0, str(run)
        yield
    finally:
        run = playbook("edge", host)
    assert run.status == 0 and "443 quic" not in must(host, "nginx -T 2>/dev/null"), str(run)


def http3(address: str, name: str) -> subprocess.CompletedProcess[str]:
    command = ["uv", "run", "--quiet", "--no-project", "--with", "aioquic", "python", "-c", CLIENT, address, name]
    return subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)


@pytest.mark.usefixtures("switched_on")
def test_http3(host: Any, app: App, address: str) -> None:
    """[E3] The same site over QUIC, announced, with its hole in the firewall; and no other name."""
    said = http3(address, app.domain)
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    assert (answer[":status"], answer["body"]) == ("200", "hello\n") and answer["alt-svc"].startswith('h3=":443"'), answer
    assert answer["x-content-type-options"] == "nosniff"
    assert "443/udp" in must(host, "ufw status")
    assert http3(address, "stranger.example").returncode != 0


@pytest.mark.usefixtures("switched_on")
def test_a_balancer_is_believed_and_no_further(neighbour: Any, host: Any, app: App) -> None:
    """[E5] From the last hop backwards the first address that is not the balancer's; what stands before it is only claimed."""
    script = (
        f"import http.client,ssl;c=http.client.HTTPSConnection('{app.domain}',context=ssl._create_unverified_context());"
        "c.request('GET','/whoami',headers={'X-Forwarded-For':'1.2.3.4, 203.0.113.9'});print(c.getresponse().read().decode())"
    )
    assert json.loads(must(neighbour, f'python3 -c "{script}"'))["remote_addr"] == "203.0.113.9"
    line = json.loads(must(host, f"grep '\"/whoami\"' /var/log/nginx/{app.name}.access.log | tail -1"))
    own = must(neighbour, "hostname -i").split()[0]
    assert (line["remote_addr"], line["peer"]) == ("203.0.113.9", own), line
