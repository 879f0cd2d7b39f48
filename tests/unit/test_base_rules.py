"""Settings of the machine: what the controller refuses."""

from __future__ import annotations

from typing import Any

import pytest

from .test_contract import check


@pytest.mark.parametrize(
    "said",
    [
        *({"base_swap": wanted} for wanted in ("auto", "none", "2G", "512M")),
        {"base_kernel_settings_custom": {"vm.swappiness": 60, "net/ipv4/conf/eth0.100/forwarding": "1", "kernel.core_pattern": "|/x %p"}},
        {"base_kernel_modules_off": ["usb-storage", "nf_conntrack_sip"], "base_umask": "077", "base_password_length": 20},
    ],
)
def test_what_is_right_is_taken(said: dict[str, Any]) -> None:
    """[K10] Nothing is refused that is right."""
    assert check(**said) == []


@pytest.mark.parametrize(
    ("said", "what", "fix"),
    [
        ({"base_swap": "2"}, "is no size", "2G"),
        ({"base_swap": 2048}, "is no size", "2G"),
        ({"base_kernel_settings_custom": {"swappiness": 1}}, "no setting of a kernel", "vm.swappiness"),
        ({"base_kernel_settings_custom": {"kernel.sysrq": True}}, "kernel.sysrq is the bool True", "kernel.sysrq: 1"),
        ({"base_kernel_settings_custom": {"a.b": "1\nc.d = 1"}}, "a.b is text", "a.b: 1"),
        ({"base_kernel_modules_off": ["x /bin/true"]}, "no module", "lsmod"),
        # YAML reads 027 without quotes as 23.
        ({"base_umask": 23}, "23 is no umask", '"027"'),
        ({"base_umask": "999"}, "'999' is no umask", '"027"'),
        ({"base_password_length": 4}, "is 4", "8 to 64"),
        ({"base_shell_timeout": -1}, "is -1", "0 lets"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(said: dict[str, Any], what: str, fix: str) -> None:
    """[K10] [F8] With the variable and what to write."""
    (problem,) = check(**said)
    assert problem.variable == next(iter(said)) and what in problem.what and fix in problem.fix, problem
