"""Runs of the program that keeps the certificate, from the placeholder to a CA that is down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import x509
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.clock import HOUR
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls import attempts, keeper, preflight
from ansible_collections.slipway.vps.plugins.module_utils.slipway.tls.cli import exit_status

from .tls_desk import DAY, Desk, config, pem, settings


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


WRONG = preflight.Finding("blog.example.com", "192.0.2.99", "port 80 does not answer: timed out")


def test_from_placeholder_to_certificate(desk: Desk) -> None:
    """[E2] DNS is wrong first and right later: the CA is asked when it is right, and the certificate is served without anybody."""
    desk.findings = [WRONG]
    first = desk.reconcile(asked=True)
    assert (first.state, exit_status(first), desk.asked) == ("failed", 1, []), first
    assert "browsers refuse the placeholder" in first.evidence
    assert "blog.example.com resolves to 192.0.2.99, should be 203.0.113.7" in first.evidence
    desk.clock += 60
    desk.findings = []
    assert desk.reconcile().state == "failed" and desk.asked == [], "the waiting time is not over"
    desk.clock += 300
    last = desk.reconcile()
    assert (last.state, desk.asked, desk.reloads) == ("ok", ["certificate"], 1), last
    assert desk.served == (desk.live / "fullchain.pem").read_text() and desk.config.certificate.readlink() == desk.live / "fullchain.pem"
    status = desk.status()
    assert status["certificate"]["served"] and status["certificate"]["source"] == "acme" and status["attempt"]["failures"] == 0
    assert desk.reconcile(asked=True).state == "ok" and desk.asked == ["certificate"] and desk.reloads == 1, "the second run does nothing"


def test_a_ca_that_is_down_changes_nothing_that_is_served(desk: Desk) -> None:
    """[E2] The old certificate stays, attempts go on, and below a third it is an alarm."""
    desk.reconcile()
    served = desk.served
    desk.failure = attempts.Failure("unreachable", "Connection refused")
    desk.clock += 56 * DAY
    trying = desk.reconcile()
    assert (trying.state, exit_status(trying)) == ("degraded", 75) and "Connection refused" in trying.evidence, trying
    assert len(desk.asked) == 2
    desk.reconcile()
    assert len(desk.asked) == 2, "not again before its time"
    desk.clock += 5 * DAY
    alarm = desk.reconcile()
    assert (alarm.state, exit_status(alarm)) == ("failed", 1) and "less than a third" in alarm.evidence, alarm
    assert desk.served == served and len(desk.asked) == 3
    desk.failure = None
    desk.clock += 2 * HOUR
    desk.reconcile()
    assert desk.served != served and len(desk.asked) == 4


def test_a_clock_that_is_ahead_asks_once(desk: Desk) -> None:
    """[E2] 60 days ahead: one renewal, then none in every run, and the alarm names the clock."""
    desk.reconcile()
    desk.clock += 61 * DAY
    alarm = desk.reconcile()
    assert desk.asked == ["certificate"] * 2
    assert alarm.state == "failed" and "the clock of this host is wrong" in alarm.evidence and "timedatectl" in alarm.fix
    for _ in range(5):
        desk.clock += HOUR
        desk.reconcile()
    assert desk.asked == ["certificate"] * 2
    desk.clock -= 61 * DAY
    assert desk.reconcile().state == "ok" and desk.asked == ["certificate"] * 2


def test_the_dry_run_comes_first_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] `tls_dry_run_first`: where it fails, production is never asked."""
    desk = Desk(tmp_path, monkeypatch, dry_run_first=True)
    desk.failure = attempts.Failure("refused", "CAA record forbids it")
    assert "dry run: CAA record" in desk.reconcile().evidence
    assert desk.asked == ["dry run"]
    desk.failure = None
    desk.reconcile(asked=True)
    desk.reconcile(force=True)
    assert desk.asked == ["dry run", "dry run", "certificate", "certificate"]


def test_four_refusals_an_hour_and_no_more(desk: Desk) -> None:
    """[E2] Even for an operator who asks again and again."""
    desk.failure = attempts.Failure("refused", "www.blog.example.com: 403 (unauthorized)")
    for _ in range(9):
        desk.clock += 30
        status = desk.reconcile(asked=True)
    assert len(desk.asked) == 4
    assert "refused 4 times within the hour" in status.evidence


def test_nginx_that_does_not_take_it_is_an_alarm(desk: Desk) -> None:
    """[E2] The certificate served is compared with the one on the disk; nginx's own words say why it differs."""
    desk.nginx_works = False
    alarm = desk.reconcile()
    assert alarm.state == "failed" and "it differs" in alarm.evidence and "unknown directive" in alarm.evidence, alarm
    assert desk.status()["certificate"]["served"] is False


def test_your_own_certificate_is_watched_and_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] The alarm says what to do with it."""
    desk = Desk(tmp_path, monkeypatch, source="own")
    (tmp_path / "own.pem").write_text(pem(tmp_path, ["*.example.com", "*.blog.example.com"], 90))
    assert desk.reconcile().state == "ok" and desk.reloads == 1
    assert desk.config.certificate.readlink() == desk.config.key.readlink() == tmp_path / "own.pem"
    desk.clock += 61 * DAY
    alarm = desk.reconcile(asked=True)
    assert alarm.state == "failed" and "tls_certificate_file" in alarm.fix and desk.asked == []


def test_a_refused_new_name_leaves_the_old_certificate(desk: Desk) -> None:
    """[E2] A domain is added and does not point here: the others are served as before."""
    desk.reconcile()
    served = desk.served
    desk.config = config(desk.folder, names=["blog.example.com", "www.blog.example.com", "new.example.com"])
    desk.findings = [preflight.Finding("new.example.com", problem="has no address in DNS")]
    trying = desk.reconcile()
    assert trying.state == "degraded" and "new.example.com" in trying.evidence and desk.served == served
    desk.findings = []
    assert desk.reconcile(asked=True).state == "ok" and desk.served != served


def test_news_in_the_journal_have_priorities_and_are_not_repeated(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """[E2] An alarm is an error to the journal, once in six hours."""
    desk.findings = [WRONG]

    def lines() -> str:
        keeper.Keeper(desk.config, journal=True).reconcile(False, False)
        return capsys.readouterr().out

    assert "<3>failed: no certificate yet" in lines()
    desk.clock += 60
    assert lines() == ""
    desk.clock += 7 * HOUR
    assert "<3>failed" in lines()
    desk.findings = []
    desk.clock += HOUR
    assert "<5>ok: " in lines()


def test_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot work says so, in one line."""
    words = ["blog", "tls", "--config", str(tmp_path / "tls.json"), "check"]
    assert cli.main(words) == 2 and "there is no " in capfd.readouterr().err
    (tmp_path / "tls.json").write_text("{}")
    assert cli.main(words) == 2
    said = capfd.readouterr()
    assert said.out == "" and "not usable: KeyError: 'app'" in said.err
    (tmp_path / "tls.json").write_text(json.dumps(settings(tmp_path)))
    assert cli.main(words) == 0


# --- Names that do not pass -----------------------------------------------------------------------

THREE = ["blog.example.com", "www.blog.example.com", "new.example.com"]


def wrong(*names: str) -> list[preflight.Finding]:
    return [preflight.Finding(name, problem="has no address in DNS") for name in names]


def held(desk: Desk) -> list[str]:
    found = x509.read_certificate(desk.live / "fullchain.pem")
    return list(found.names) if found else []


def test_the_names_that_pass_get_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] field case 43: one name of several has no address; the others are served, and it joins when its DNS is right."""
    desk = Desk(tmp_path, monkeypatch, names=THREE)
    desk.findings = wrong("new.example.com")
    first = desk.reconcile()
    assert (first.state, desk.asked, held(desk)) == ("degraded", ["certificate"], THREE[:2]), first
    assert "new.example.com not in the certificate yet. preflight: new.example.com has no address in DNS" in first.evidence
    assert desk.config.certificate.readlink() == desk.live / "fullchain.pem" and desk.status()["attempt"]["next_try"]
    desk.clock += 400
    assert desk.reconcile().state == "degraded" and len(desk.asked) == 1, "the CA is not asked for what is there already"
    desk.findings = []
    desk.clock += HOUR
    assert desk.reconcile().state == "ok" and held(desk) == sorted(THREE) and len(desk.asked) == 2


def test_without_the_canonical_name_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] field case 43: all others lead to it."""
    desk = Desk(tmp_path, monkeypatch, names=THREE)
    desk.findings = wrong("blog.example.com")
    assert desk.reconcile().state == "failed" and desk.asked == []


def test_a_name_that_is_held_and_fails_once_is_not_dropped(desk: Desk) -> None:
    """[E2] field case 43: neither for another one nor by a renewal; after a day of failures the others need not wait for it."""
    desk.reconcile()
    desk.config = config(desk.folder, names=THREE)
    desk.findings = wrong("www.blog.example.com")
    assert desk.reconcile().state == "degraded" and held(desk) == THREE[:2] and len(desk.asked) == 1
    for _ in range(25):
        desk.clock += HOUR
        desk.reconcile()
    assert held(desk) == sorted(["blog.example.com", "new.example.com"]) and len(desk.asked) == 2
    desk.findings = []
    desk.clock += HOUR
    assert desk.reconcile().state == "ok" and held(desk) == sorted(THREE)


def test_a_renewal_waits_a_day_for_a_name(desk: Desk) -> None:
    """[E2] And not for ever: the other names would expire with it."""
    desk.reconcile()
    desk.clock += 55 * DAY
    desk.findings = wrong("www.blog.example.com")
    desk.reconcile()
    assert held(desk) == THREE[:2] and len(desk.asked) == 1
    for _ in range(25):
        desk.clock += HOUR
        status = desk.reconcile()
    assert held(desk) == ["blog.example.com"] and status.state == "degraded" and len(desk.asked) == 2


def test_nothing_is_dropped_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[E2] Two that fail, one of them held: a smaller certificate helps nobody."""
    desk = Desk(tmp_path, monkeypatch)
    desk.reconcile()
    desk.config = config(desk.folder, names=THREE)
    desk.findings = wrong("www.blog.example.com", "new.example.com")
    for _ in range(30):
        desk.reconcile()
        desk.clock += HOUR
    assert held(desk) == THREE[:2] and len(desk.asked) == 1
    desk.config = config(desk.folder, names=["blog.example.com"])
    desk.findings = []
    desk.reconcile()
    assert held(desk) == ["blog.example.com"], "a name that is no longer wanted goes"


def test_beside_a_wildcard() -> None:
    """[E2] Let's Encrypt refuses a name that a wildcard of the same certificate stands for."""
    found = config(names=["blog.example.com", "*.example.com", "example.com", "a.b.example.com", "x.example.org"])
    assert found.certified == ("*.example.com", "example.com", "a.b.example.com", "x.example.org")
    assert found.names[0] == "blog.example.com"
