"""Findings and answers put together: what stops a run, what is only said, and every word that the operator needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.preflight.findings import judge
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs
from ansible_collections.slipway.vps.plugins.module_utils.preflight.report import Report, as_data, notes, refusal, report

from .situations import CLEAN, SITUATIONS, Situation

BY_NAME = {situation.name: situation for situation in SITUATIONS}


def told(needs: Needs, *names: str, **answers: str) -> Report:
    there = CLEAN
    for name in names:
        there = replace(there, **BY_NAME[name].facts)
    return report(judge(there, needs), {one.replace("__", ":"): choice for one, choice in answers.items()})


@pytest.mark.parametrize("situation", SITUATIONS, ids=[situation.name for situation in SITUATIONS])
def test_each_way_out_lets_the_run_go_on(situation: Situation, needs: Needs) -> None:
    """[F8] The very lines that the message shows; any other answer cannot be carried out, and is refused."""
    findings = judge(situation.there, needs)
    open_ = report(findings, {})
    assert open_.refuses is situation.refuses
    shown = refusal(open_) if situation.refuses else "\n".join(notes(open_))
    lines = re.findall(r"preflight_answers: \{.*\}", shown)
    assert len(lines) == len(situation.choices)
    for line in lines:
        answers = yaml.safe_load(line)["preflight_answers"]
        assert not report(findings, answers).refuses and list(answers) == [situation.id]
    for choice in {"adopt", "replace", "leave"} - situation.choices:
        impossible = report(findings, {situation.id: choice})
        assert impossible.refuses and f"the answer {choice} cannot be carried out" in refusal(impossible)


def test_the_message_has_everything_at_once(needs: Needs) -> None:
    """[F3] [F8] All findings, their evidence, the lines to write, and that nothing was changed."""
    found = told(needs, "Apache serves sites, one of them ours", "Redis holds keys", "a person", "a restart is due")
    message = refusal(found, ["nft: not here"])
    assert message.startswith("Nothing was changed: 3 things on this machine need a decision.\n")
    assert [line.split(": ")[0] for line in message.splitlines() if line.startswith("- ")] == ["- port:80", "- port:6379", "- user:blog"]
    assert "    seen: redis-server.service: 12 keys, 0 clients connected now" in message
    assert '      write: preflight_answers: {"port:6379": leave}' in message
    assert "    fix: choose another name: app_user: blog-app, or another app_name" in message
    example = message[message.index("  preflight_answers:\n") : message.index("Not known")]
    assert yaml.safe_load(example) == {"preflight_answers": {"port:80": "replace", "port:6379": "leave"}}
    # What stops no run comes last, and is not counted.
    last = message[message.index("Not known: ") :].splitlines()
    assert last[0] == "Not known: nft: not here" and last[1].startswith("WARNING: system:reboot: ") and last[2].startswith("  fix: ")


def test_one_thing_needs_one_decision(needs: Needs) -> None:
    message = refusal(told(needs, "a person"))
    assert "1 thing on this machine needs a decision" in message and "preflight_answers" not in message


def test_what_was_answered_is_said_with_what_will_be_done(needs: Needs) -> None:
    """[F3] Nobody is surprised by what an answer does."""
    found = told(needs, "Redis holds keys", "no swap", port__6379="replace")
    assert not found.refuses
    assert notes(found) == [
        "port:6379: replace: redis-server.service is stopped and disabled; its data stay in /var/lib/redis "
        "(seen: redis-server.service: 12 keys, 0 clients connected now)",
        "WARNING: system:swap: memory is small and there is no swap: the build of a release may be killed (512 MiB, no swap)",
        "  fix: add swap, 1 GB for example",
        '  not to hear of it again: preflight_answers: {"system:swap": leave}',
    ]


def test_what_is_so_already_is_not_said_with_each_run(needs: Needs) -> None:
    """[F3] On a machine of ours; what is about to give way is."""
    left = told(needs, "Redis holds keys", port__6379="leave")
    assert notes(left) and notes(left, ours=True) == []
    assert notes(told(needs, "Redis holds keys", port__6379="replace"), ours=True)


def test_a_warning_that_was_answered_is_quiet(needs: Needs) -> None:
    found = told(needs, "no swap", system__swap="leave")
    assert not found.refuses and "WARNING" not in "\n".join(notes(found))


def test_an_answer_to_what_is_gone_is_right(needs: Needs) -> None:
    """[F8] It was carried out by an earlier run, and may stay in the inventory."""
    assert not told(needs, port__80="replace", site__default="leave").refuses


def test_a_finding_as_data(needs: Needs, answered: Callable[..., Needs]) -> None:
    (finding,) = judge(BY_NAME["Redis holds keys"].there, answered(port__6379="leave"))
    data = as_data(finding, "leave")
    assert data["lines"]["leave"] == 'preflight_answers: {"port:6379": leave}' and data["answer"] == "leave" and data["refuses"]
