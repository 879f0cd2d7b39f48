"""The machine's settings and its run book."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from render import render, value

RUNBOOK = "etc/app/RUNBOOK.md.j2"


def kernel(**said: Any) -> dict[str, str]:
    """The settings of the kernel that are wanted."""
    return {one["name"]: str(one["value"]) for one in value("base", "__base_kernel_wanted", **said)}


def test_every_setting_of_the_kernel_has_its_reason() -> None:
    """[F8] Or stands below the one that has it."""
    settings = value("base", "__base_kernel_settings")
    assert settings[0]["why"] and len({one["name"] for one in settings}) == len(settings) > 25
    assert all(isinstance(one["value"], str) for one in settings)


def test_what_others_need_is_left_alone() -> None:
    """[F3] Docker and WireGuard forward, providers announce IPv6 routes, sandboxes need namespaces; the queue is the role nginx's."""
    found = set(kernel())
    assert not [
        name for name in found if re.search(r"forward|rp_filter|accept_ra|userns|disable_ipv6|somaxconn|modules_disabled|kexec", name)
    ]
    assert {"kernel.kptr_restrict", "net.ipv4.tcp_syncookies", "fs.suid_dumpable", "kernel.core_pattern"} <= found


def test_the_operators_word_counts() -> None:
    """[F7] Instead of ours, and besides; dumps by choice."""
    found = kernel(base_kernel_settings_custom={"vm.swappiness": 60, "vm.overcommit_memory": 1}, base_core_dumps=True)
    assert (found["vm.swappiness"], found["vm.overcommit_memory"]) == ("60", "1") and "kernel.core_pattern" not in found
    names = [one["name"] for one in value("base", "__base_kernel_wanted", base_kernel_settings_custom={"vm.swappiness": 60})]
    assert names.count("vm.swappiness") == 1
    assert "hard core" not in render("base", "etc/security/limits.d/60-slipway.conf.j2", base_core_dumps=True)
    assert "* hard core 0" in render("base", "etc/security/limits.d/60-slipway.conf.j2")


def test_a_module_that_is_in_use_stays() -> None:
    """[F3] A disk on USB would be gone after the next restart."""
    loaded = {"stdout_lines": ["usb_storage 81920 1 uas, Live 0x0", "ext4 1 2 - Live 0x0"]}
    text = render("base", "etc/modprobe.d/slipway.conf.j2", __base_modules=loaded)
    assert "usb" not in text and "install dccp /bin/false" in text and "install firewire_core /bin/false" in text
    assert "install usb_storage" in render("base", "etc/modprobe.d/slipway.conf.j2", __base_modules={"stdout_lines": []})


@pytest.mark.parametrize(("shell", "mask"), [("bash -i", "0027"), ("bash", "0022"), ("dash", "0022")])
def test_the_umask_is_for_people(shell: str, mask: str) -> None:
    """[A5] In their shells alone: packages, cron and Ansible count on the usual one."""
    script = render("base", "etc/profile.d/60-slipway.sh.j2") + "umask\n"
    words = [*shell.split(), "-c", f"umask 022\n{script}"]
    if shell != "dash":
        words[1:1] = ["--norc", "--noprofile"]
    said = subprocess.run(words, text=True, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
    assert said.strip() == mask


@pytest.mark.parametrize(
    ("shell", "environment", "minutes", "seconds"),
    [("bash -i", {}, 30, "1800"), ("bash -i", {}, 0, ""), ("bash -i", {"TMUX": "x"}, 30, ""), ("bash", {}, 30, "")],
)
def test_a_forgotten_prompt_ends(shell: str, environment: dict[str, str], minutes: int, seconds: str) -> None:
    """[K5] Nobody's who stays on purpose: tmux, and scripts."""
    script = render("base", "etc/profile.d/60-slipway.sh.j2", base_shell_timeout=minutes) + 'echo "<$TMOUT>"\n'
    words = ["bash", "--norc", "--noprofile", *shell.split()[1:], "-c", script]
    said = subprocess.run(words, env={"PATH": "/usr/bin:/bin", **environment}, text=True, capture_output=True, check=True)
    assert said.stdout.strip() == f"<{seconds}>", said


def test_no_dump_of_a_shells_children() -> None:
    """[A11] Also of those that PAM does not start; by choice they may."""
    script = "ulimit -S -c 1000; ulimit -H -c unlimited 2>/dev/null\n" + render("base", "etc/profile.d/60-slipway.sh.j2") + "ulimit -c\n"
    assert subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True).stdout.strip() == "0"
    assert "ulimit" not in render("base", "etc/profile.d/60-slipway.sh.j2", base_core_dumps=True)


# --- The run book -------------------------------------------------------------------------------------------------


def test_the_run_book_answers() -> None:
    """[K7] Where, which units, which commands: to deploy, go back, restore, and to see what is wrong."""
    text = render(
        "base", RUNBOOK, app_processes={"worker": {"command": "celery"}}, app_timers={"mail": {"command": "x", "schedule": "daily"}}
    )
    for wanted in (
        *("# demo on 192.0.2.1", "https://demo.slipway.test/ (also www.demo.slipway.test)", "entry `web1`", "`/etc/demo/secrets`"),
        *("`demo@<release>.service`", "| worker | `demo-worker@<release>.service` |", "| mail, daily | `demo-mail.timer` |"),
        *("`sudo -u demo psql demo`", "`redis-server@demo.service`", "`/srv/demo/current`", "`/var/backups/demo`, each night at 03:30"),
        *("slipway.vps.deploy --limit web1", "slipway.vps.rollback --limit web1", "slipway.vps.restore --limit web1 -e backup=<name>"),
        *(
            "sudo slipway demo status",
            "sudo slipway demo verify",
            "sudo slipway demo logs --follow",
            "sudo slipway demo tls",
            "sudo slipway guard",
        ),
    ):
        assert wanted in text, wanted
    # A table is one only where no line is empty in it.
    assert "|\n\n|" not in text and "\n\n\n" not in text


def test_the_run_book_says_nothing_that_is_not_there() -> None:
    """[K7] An app without services; below a path; beside others."""
    text = render("base", RUNBOOK, app_services=[], app_url_prefix="/blog", app_domains=["demo.slipway.test"])
    assert "PostgreSQL" not in text and "Redis" not in text and "https://demo.slipway.test/blog/\n" in text
    text = render("base", RUNBOOK, app_env={"DATABASE_URL": "sqlite:////srv/demo/shared/db.sqlite"})
    assert "| SQLite | `/srv/demo/shared/db.sqlite` |" in text


def test_the_run_book_holds_no_secret() -> None:
    """[A11] [K7] Neither of the app nor of its database."""
    said = {"app_secrets": {"SECRET_KEY": "canary" * 8}, "app_env": {"DATABASE_URL": "postgresql://demo:canary@db.example.com/demo"}}
    text = render("base", RUNBOOK, **said)
    assert "canary" not in text and "PostgreSQL on db.example.com, `demo` |" in text


def test_the_line_after_the_login() -> None:
    """[K7] Which apps, and where to look."""
    line = value("base", "base_motd")
    assert line.startswith("demo: kept by Slipway") and "slipway status" in line and "\n" not in line.strip()
