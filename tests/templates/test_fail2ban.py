"""fail2ban's jails and filters, rendered: who guesses is hit, visitors are not.

The lines are what nginx 1.22 and OpenSSH 9.2 wrote; what fail2ban does with a filter is done here in the same way. `fail2ban-regex` of
1.0.2 and 1.1.0 came to the same hits, and molecule/default asks the host's own.
"""

from __future__ import annotations

import configparser
import json
import re
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.firewall.ufw import never_banned
from render import render, value

ATTACKER = "198.51.100.7"
#: What the role learns of a host.
HOST: dict[str, Any] = {
    "__fail2ban_sshd": {"stdout": "port 22\nport 2222\npermitrootlogin no\n"},
    "__fail2ban_session": {"stdout": "203.0.113.5 50000 192.0.2.1 2200"},
    "__fail2ban_tables": {"rc": 0},
    "__fail2ban_user": {"stdout": "997"},
    "fail2ban_unknown_log": "/var/log/nginx/access.log",
}
#: In fail2ban's notation, and as it reads it (server/failregex.py, shortened to what the lines have).
ADDRESS = r"(?P<ip>(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f:]+:[0-9a-f:]*)"


def settings(template: str, **said: Any) -> configparser.ConfigParser:
    """A file of fail2ban: `%%` is a percent sign, and a line that begins with blanks belongs to the one before."""
    found = configparser.ConfigParser(interpolation=configparser.BasicInterpolation(), strict=True, delimiters=("=",))
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string(render("fail2ban", f"etc/fail2ban/{template}.j2", **{**HOST, **said}))
    return found


def hit(template: str, line: str, **said: Any) -> str:
    """The address that a filter takes from a line; nothing where it takes none."""
    definition = settings(template, **said)["Definition"]
    date = definition.get("datepattern", "").replace("%ExY", r"\d{4}").replace("%b", "[A-Z][a-z]{2}").replace("%z", r"[+-]\d\d:?\d\d")
    date = re.sub(r"%[mdHMS]", r"\\d\\d", date)
    if date:
        # The date is cut out of the line before the filter sees it.
        line, count = re.subn(date, "", line, count=1)
        assert count == 1, f"{date} finds no date in {line}"
    if prefix := definition.get("prefregex"):
        found = re.search(prefix.replace("<F-CONTENT>", "(?P<content>").replace("</F-CONTENT>", ")"), line)
        if not found:
            return ""
        line = found["content"]
    for pattern in definition["failregex"].strip().splitlines():
        if found := re.search(re.sub("<(?:HOST|ADDR)>", lambda _: ADDRESS, pattern.strip()), line, re.MULTILINE):
            return found["ip"]
    return ""


def request(path: str, status: int, method: str = "GET", **fields: str) -> str:
    """A line of nginx's log, as `log_format slipway escape=json` writes it."""
    before = {
        "time": "2026-11-27T15:20:24+00:00",
        "request_id": "c485b616fa9ebda7df440b3149bc376b",
        "remote_addr": ATTACKER,
        "peer": "10.0.0.1",
    }
    before |= {
        "forwarded_for": fields.get("forwarded_for", ""),
        "scheme": "https",
        "host": "demo.slipway.test",
        "method": method,
        "path": path,
    }
    after = {"protocol": "HTTP/2.0", "tls": "TLSv1.3", "status": status, "bytes": 337, "duration": 0.0, "upstream_status": "404"}
    after |= {"referer": fields.get("referer", ""), "user_agent": fields.get("user_agent", "curl/7.88.1")}
    return json.dumps({**before, **after}, ensure_ascii=False, separators=(",", ":"))


SCAN, LOGIN, AUTH = (f"filter.d/slipway-app-{name}.conf" for name in ("scan", "login", "auth"))
FORGED = '","method":"POST","path":"/login","protocol":"x","tls":"","status":401,"x":"'


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(
            ("/.env", 404),
            ("/.git/config", 404),
            ("/blog/wp-login.php", 404),
            ("/wp-admin/setup.php?x=1", 404),
            ("/PHPMyAdmin/index.php", 404),
        ),
        *(
            ("/xmlrpc.php", 405),
            ("/cgi-bin/luci", 403),
            ("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", 404),
            ("/caf\u00e9/.env", 400),
        ),
        *(("//.aws/credentials", 404), ("/HNAP1/", 404), ("/actuator/health", 404)),
    ],
)
def test_who_looks_for_holes_is_hit(path: str, status: int) -> None:
    """[K5] By the visitor's own address, not the other end of the connection."""
    assert hit(SCAN, request(path, status)) == ATTACKER


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(
            ("/", 200),
            ("/missing.png", 404),
            ("/search?q=/.env", 404),
            ("/environment", 404),
            ("/about.environment", 404),
            ("/old/index.php", 404),
        ),
        *(
            ("/.well-known/security.txt", 404),
            ("/apple-touch-icon.png", 404),
            ("/favicon.ico", 404),
            ("/pmachine", 404),
            ("/wp-content/a.jpg", 404),
        ),
        # An app that has such a page answers, or sends to the login.
        *(("/wp-login.php", 200), ("/actuator/health", 302), ("/.env", 503), ("/gitea.git/info", 404)),
    ],
)
def test_visitors_are_not(path: str, status: int) -> None:
    """[K5] A broken image, an old address, a word that looks alike, the site closed for maintenance."""
    assert hit(SCAN, request(path, status)) == ""


def test_failed_logins_as_nginx_sees_them() -> None:
    """[K5] The paths and codes that the operator names, below the app's prefix; a form that is only looked at counts nothing."""
    paths = {"fail2ban_login_paths": {"/login": [401, 403], "/a.b/100%": [200]}}
    for path, status in (("/login", 401), ("/login?next=/", 403), ("/a.b/100%", 200)):
        assert hit(LOGIN, request(path, status, "POST"), **paths) == ATTACKER, path
    for path, status, method in (
        ("/login", 401, "GET"),
        ("/login", 302, "POST"),
        ("/login/help", 401, "POST"),
        ("/axb/100%", 200, "POST"),
        ("/x/login", 401, "POST"),
    ):
        assert hit(LOGIN, request(path, status, method), **paths) == "", path
    assert hit(LOGIN, request("/blog/login", 401, "POST"), **paths, app_url_prefix="/blog") == ATTACKER


@pytest.mark.parametrize("field", ["forwarded_for", "referer", "user_agent"])
def test_what_a_client_sends_does_not_look_like_a_field(field: str) -> None:
    """[K5] Otherwise anybody could have anybody banned."""
    paths = {"fail2ban_login_paths": {"/login": [401]}}
    line = request("/", 200, **{field: '198.51.100.66","remote_addr":"198.51.100.66' + FORGED})
    assert "198.51.100.66" in line and hit(LOGIN, line, **paths) == hit(SCAN, line) == ""
    assert hit(LOGIN, request("/login" + FORGED, 200, "POST"), **paths) == ""


def test_failed_logins_as_the_app_logs_them() -> None:
    """[K5] In the app's journal, which says who and what before; a pattern with a percent sign is one."""
    pattern = {"fail2ban_login_pattern": r"^login of \d+ failed \(100%\) from <HOST>$"}
    assert hit(AUTH, f"web1 gunicorn[42]: login of 7 failed (100%) from {ATTACKER}", **pattern) == ATTACKER
    assert hit(AUTH, f"web1 gunicorn[42]: /x login of 7 failed (100%) from {ATTACKER}", **pattern) == ""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('198.51.100.7 - - [27/Nov/2026:15:20:25 +0000] "GET /.env HTTP/1.1" 444 0 "-" "curl/7.88.1"', True),
        ('198.51.100.7 - - [27/Nov/2026:15:20:25 +0000] "\\x16\\x03\\x01" 400 157 "-" "-"', False),
        ('198.51.100.7 - - [27/Nov/2026:15:20:25 +0000] "GET /\\x22 444 HTTP/1.1" 200 0 "-" "\\x22 444 0"', False),
    ],
)
def test_requests_for_no_name(line: str, found: bool) -> None:
    """[K5] nginx closes the connection, and writes 444 into its own log."""
    assert hit("filter.d/slipway-unknown.conf", line) == (ATTACKER if found else "")


# --- SSH -------------------------------------------------------------------------------------------------------------


def counts(message: str) -> bool:
    """Whether our part of the filter counts a message of sshd as a failed login; the package's part is its own."""
    ours = settings("filter.d/slipway-sshd.conf")["Definition"]["mdre-login-other"].splitlines()
    for pattern in ours:
        plain = re.sub("<F-USER>(.*?)</F-USER>", lambda user: f"(?:{user[1]})", pattern.strip())
        plain = re.sub("</?F-(?:MLFFORGET|NOFAIL)>", "", plain).replace("<HOST>", ADDRESS.replace("?P<ip>", "?:"))
        if re.search(plain, message):
            return "F-NOFAIL" not in pattern
    return False


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        ("Connection closed by authenticating user ada 198.51.100.7 port 42066 [preauth]", True),
        ("Disconnected from authenticating user root 198.51.100.7 port 42066 [preauth]", True),
        ("Connection reset by authenticating user a b 2001:db8::7 port 42066 [preauth]", True),
        # The package's part counts "Invalid user eve from …" before.
        ("Connection closed by invalid user eve 198.51.100.7 port 42084 [preauth]", False),
        # ssh-keyscan, a monitor that looks whether the port is open, the end of a session.
        ("Connection closed by 198.51.100.7 port 42122 [preauth]", False),
        ("Connection closed by 198.51.100.7 port 53848", False),
        ("Disconnected from user ada 198.51.100.7 port 34558", False),
    ],
)
def test_a_login_that_was_tried_counts(message: str, counted: bool) -> None:
    """[K5] Also of an existing user without a right key, which the package's normal mode never counts."""
    assert counts(message) == counted


# --- Jails ------------------------------------------------------------------------------------------------------------


def test_who_is_never_banned() -> None:
    """[K5] Loopback, the operator's networks, and the address this run comes from, unless one of them has it."""
    said = settings("jail.d/slipway.local")["DEFAULT"]
    assert said["ignoreip"] == "127.0.0.0/8 ::1 203.0.113.5" and said["ignoreself"] == "true"
    assert settings("jail.d/slipway.local", firewall_trusted=["203.0.113.0/24"])["DEFAULT"]["ignoreip"] == "127.0.0.0/8 ::1 203.0.113.0/24"
    assert never_banned([], "") == ["127.0.0.0/8", "::1"]
    assert never_banned(["2001:db8::/32"], "::ffff:203.0.113.5")[-1] == "203.0.113.5"
    assert never_banned(["2001:db8::/32"], "2001:db8::1%eth0") == never_banned(["2001:db8::/32"], "")


def test_bans_grow_and_end() -> None:
    """[K5] From ten minutes to a day, for the web to an hour."""
    jails = settings("jail.d/slipway.local")
    assert (jails["DEFAULT"]["bantime"], jails["DEFAULT"]["bantime.increment"], jails["DEFAULT"]["bantime.maxtime"]) == (
        "600",
        "true",
        "86400",
    )
    app = settings("jail.d/slipway-app.local", fail2ban_login_paths={"/login": [401]}, fail2ban_login_pattern="^x <HOST>$")
    assert [jails["slipway-unknown"]["bantime.maxtime"], *(app[name]["bantime.maxtime"] for name in app.sections())] == ["3600"] * 5


def test_the_ports_of_ssh_are_sshds_own() -> None:
    """[K5] What sshd says and what this session came in at; where neither is known, the one that everybody knows."""
    assert settings("jail.d/slipway.local")["sshd"]["port"] == "22,2200,2222"
    unknown = {"__fail2ban_sshd": {"skipped": True}, "__fail2ban_session": {"stdout": "", "rc": 1}}
    assert settings("jail.d/slipway.local", **unknown)["sshd-flood"]["port"] == "ssh"


def test_nobody_can_speak_for_sshd() -> None:
    """[K5] Another user's program may call itself sshd."""
    for name in ("sshd", "sshd-flood"):
        assert settings("jail.d/slipway.local")[name]["journalmatch"] == "_COMM=sshd _UID=0 + _COMM=sshd-session _UID=0"


def test_a_kernel_without_nftables() -> None:
    """[K5] Then each address is a rule of iptables."""
    assert settings("jail.d/slipway.local")["DEFAULT"]["banaction"] == "nftables"
    assert settings("jail.d/slipway.local", __fail2ban_tables={"rc": 1})["DEFAULT"]["banaction"] == "iptables-multiport"
    unit = "etc/systemd/system/fail2ban.service.d/slipway.conf.j2"
    assert "xtables.lock" not in render("fail2ban", unit, **HOST)
    assert "ReadWritePaths=/var/lib/fail2ban -/run/xtables.lock" in render("fail2ban", unit, **{**HOST, "__fail2ban_tables": {"rc": 1}})


@pytest.mark.parametrize("answer", ["firewall:firewalld", "firewall:nftables", "firewall:netfilter-persistent"])
def test_another_firewall_stays_as_it_is(answer: str) -> None:
    """[K2 K5] Where ufw is not ours (preflight_answers) bans go on, in a table of their own or in no firewall at all."""
    left = {"preflight_answers": {answer: "leave"}}
    for tables, found in ((0, "nftables"), (1, "route")):
        said = settings("jail.d/slipway.local", **left, __fail2ban_tables={"rc": tables})["DEFAULT"]
        assert (said["banaction"], said["banaction_allports"].partition("[")[0]) == (found, found)
    assert settings("jail.d/slipway.local", preflight_answers={answer: "replace"}, __fail2ban_tables={"rc": 1})["DEFAULT"]["banaction"] == (
        "iptables-multiport"
    )


def test_jails_of_an_app() -> None:
    """[K5] [F2] One for each thing, named after the app; what is not asked for is not there."""
    assert settings("jail.d/slipway-app.local").sections() == ["demo-scan", "demo-limit"]
    assert settings("jail.d/slipway-app.local", fail2ban_scan_paths=[]).sections() == ["demo-limit"]
    asked = {"fail2ban_login_paths": {"/login": [401]}, "fail2ban_login_pattern": "^x <HOST>$"}
    app = settings("jail.d/slipway-app.local", **asked)
    assert app.sections() == ["demo-scan", "demo-limit", "demo-login", "demo-auth"]
    # A run that was cut off before the reload is finished by the next, which asks for these.
    assert sorted(value("fail2ban", "__fail2ban_jails", **HOST, **asked)) == sorted(app.sections())
    assert value("fail2ban", "__fail2ban_jails", **HOST, fail2ban_web=False) == []
    assert app["demo-auth"]["journalmatch"] == "_UID=997" and "logpath" not in app["demo-auth"]
    assert {app[name].get("logpath") for name in app.sections()} == {
        "/var/log/nginx/demo.access.log",
        "/var/log/nginx/demo.error.log",
        None,
    }


def test_what_is_not_asked_for_any_more_goes() -> None:
    """[F2] By its own name; nothing where everything is asked for."""
    asked = {"fail2ban_login_paths": {"/login": [401]}, "fail2ban_login_pattern": "^x <HOST>$"}
    assert value("fail2ban", "__fail2ban_absent", **HOST, **asked) == []
    filters = [f"/etc/fail2ban/filter.d/slipway-demo-{name}.conf" for name in ("login", "auth")]
    assert value("fail2ban", "__fail2ban_absent", **HOST) == filters
    everything = ["/etc/fail2ban/jail.d/slipway-demo.local", filters[0].replace("login", "scan"), *filters]
    assert value("fail2ban", "__fail2ban_absent", **HOST, fail2ban_web=False) == everything


@pytest.mark.parametrize("name", ["demo", "a" * 18, "a" * 31, "a" * 30 + "b"])
def test_a_chain_has_room_for_the_name(name: str) -> None:
    """[K2] iptables takes 28 characters."""
    assert len(f"f2b-{value('fail2ban', '__fail2ban_jail', **HOST, app_name=name)}-login") <= 28


def test_long_names_stay_apart() -> None:
    """[F2] Two apps with one beginning."""
    jails = {value("fail2ban", "__fail2ban_jail", **HOST, app_name="customer-portal-of-the-" + end) for end in ("north", "south")}
    assert len(jails) == 2


def test_behind_a_load_balancer_nobody_is_banned() -> None:
    """[K5] The firewall would shut out the balancer, and with it everybody."""
    balanced = {"app_proxy_hops": 2, "nginx_trusted_proxies": ["10.0.0.1"], "fail2ban_login_paths": {"/login": [401]}}
    assert value("fail2ban", "__fail2ban_filters", **HOST, **balanced) == {"scan": False, "login": False, "auth": False}
    assert not value("fail2ban", "__fail2ban_unknown", **HOST, **balanced) and value("fail2ban", "__fail2ban_unknown", **HOST)
    assert "slipway-unknown" not in settings("jail.d/slipway.local", **balanced)
