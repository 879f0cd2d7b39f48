"""One app runs wild; the others answer throughout, and so does what serves them all.

On hosts with cgroup v1 (the test hosts) systemd sees a signal where v2 tells it of the want of memory, and neither `MemoryLow` nor
`OOMPolicy` nor weights of IO do anything.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers import App, journal, must, through_socket, until
from machine import Visit, must_be_served

#: Takes memory until somebody stops it.
HUNGRY = "kept = []\nwhile True:\n    kept.append(bytearray(16 * 2**20))"
#: Makes processes until no more are to be had, and again.
BOMB = "import os, time\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.05)"
#: What everybody on the machine depends on.
SHARED = ("nginx.service", "postgresql@17-main.service", "ssh.service", "redis-server@blog.service")


def processes(host: Any) -> dict[str, str]:
    return {unit: must(host, f"systemctl show --value --property=MainPID {unit}").strip() for unit in SHARED}


def wild(host: Any, program: str) -> Any:
    """Run a program as shop's process would, for ten seconds at most."""
    properties = "-p Slice=slipway-shop.slice -p User=shop -p OOMScoreAdjust=300 -p RuntimeMaxSec=10 -p KillMode=control-group"
    return host.run(f"systemd-run --quiet --wait --collect --unit=slipway-wild {properties} python3 -c %s", program)


@pytest.mark.parametrize("program", [HUNGRY, BOMB], ids=["memory", "processes"])
def test_an_app_that_runs_wild_ends_in_its_slice(host: Any, visit: Visit, program: str) -> None:
    """[F2 A9] Nobody else notices; it serves itself again when that is over."""
    before = processes(host)
    with visit("blog") as visitors:
        assert wild(host, program).rc != 0
        until(lambda: visitors.counts().total() >= 50)
    must_be_served(visitors)
    assert processes(host) == before
    shop, deadline = App(name="shop", domain="shop.slipway.test", socket="/run/shop/gunicorn.sock"), time.monotonic() + 15
    while (answer := through_socket(host, shop, "/healthz/ready"))[0] != 200:
        assert time.monotonic() < deadline, f"{answer}\n{journal(host, 'shop@*')}"


def test_the_limits_are_those_that_were_asked_for(host: Any) -> None:
    """[A9] Of shop's host_vars; without that the bomb above would have the whole machine."""
    said = must(host, "systemctl show slipway-shop.slice -p MemoryMax -p TasksMax")
    assert f"MemoryMax={700 * 2**20}" in said and "TasksMax=400" in said, said


def test_a_full_disk_of_one_app(host: Any, visit: Visit) -> None:
    """[F2] Where an app's shared/ is a file system of its own, nobody else's is full. (On one disk for all, nothing but its owner's care
    bounds what an app writes: docs/base.md.)"""
    must(host, "mkdir -p /root/kept && cp -a /srv/shop/shared/. /root/kept/")
    must(host, "mount -t tmpfs -o size=8m,uid=$(id -u shop),gid=$(id -g shop),mode=0755 tmpfs /srv/shop/shared")
    try:
        with visit("blog") as visitors:
            filled = host.run("slipway shop run -- dd if=/dev/zero of=/srv/shop/shared/full bs=1M")
            assert filled.rc != 0 and "No space left" in filled.stdout + filled.stderr
            until(lambda: visitors.counts().total() >= 50)
        must_be_served(visitors)
        must(host, "setpriv --reuid postgres --regid postgres --init-groups psql -Xqc 'CREATE TEMPORARY TABLE x AS SELECT 1'")
    finally:
        must(host, "umount -l /srv/shop/shared")
