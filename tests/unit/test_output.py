"""What a run prints: the callback plugin slipway.vps.progress, in runs of small playbooks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT
from .inventory import Inventory
from .output_play import ANSIBLE_PLAYBOOK, COLUMNS, Stage

RECAP = r"{host} +: ok={ok} +changed={changed} +unreachable=0 +failed={failed} "
CANARY = "canary-3f8a1c5e"


def write(path: Path | str, content: str = "x", **task: Any) -> dict[str, Any]:
    """A task that writes a file."""
    return {"name": "Write a file", "ansible.builtin.copy": {"content": content, "dest": str(path), "mode": "0600"}, **task}


def say(message: Any, **task: Any) -> dict[str, Any]:
    return {"name": "Say something", "ansible.builtin.debug": {"msg": message}, **task}


def command(words: str, **task: Any) -> dict[str, Any]:
    return {"name": f"Run {words.split()[0]}", "ansible.builtin.command": words, **task}


# --- What changes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["linear", "slipway.vps.mitogen"])
def test_what_changes_is_said_and_nothing_else(tmp_path: Path, strategy: str) -> None:
    """[F10] A line with the file, once; a run that changes nothing has headings and hosts only, and no control characters."""
    stage = Stage(tmp_path)
    stage.write(
        [
            {"name": "Base", "tasks": [command("true", changed_when=False), write(tmp_path / "file")]},
            {"name": "Edge", "tasks": [write(tmp_path / "file")]},
        ]
    )
    first = stage.run(ANSIBLE_STRATEGY=strategy)
    assert first.status == 0 and first.out.startswith(
        f"Base\n  changed: [blog] Write a file ({tmp_path}/file)\nEdge\n\nblog: ok, 1 change, "
    ), first
    assert re.search(RECAP.format(host="blog", ok=3, changed=1, failed=0), first.out), first
    second = stage.run(ANSIBLE_STRATEGY=strategy)
    assert second.out.startswith("Base\nEdge\n\nblog: ok, nothing changed, ") and "TASK" not in second.out, second
    assert not re.search(r"[\x1b\r\b]", first.out + second.out)


def test_a_loop_is_one_line(tmp_path: Path) -> None:
    """With the items that changed, and how many more there are; items that say no file by their name."""
    stage = Stage(tmp_path)
    (tmp_path / "b").write_text("x")
    (tmp_path / "b").chmod(0o600)
    stage.write(
        [
            {
                "name": "Base",
                "tasks": [write(f"{tmp_path}/{{{{ item }}}}", loop=list("abcdef")), command("echo {{ item }}", loop=["one", "two"])],
            }
        ]
    )
    said = stage.run()
    assert f"  changed: [blog] Write a file ({tmp_path}/a, {tmp_path}/c, {tmp_path}/d, {tmp_path}/e and 1 more)\n" in said.out, said
    assert "  changed: [blog] Run echo (one, two)\n" in said.out, said


def test_check_mode_says_what_would_change(tmp_path: Path) -> None:
    """Nothing is changed, --diff shows the difference after the line of its task, and the next command does it."""
    stage = Stage(tmp_path)
    (tmp_path / "file").write_text("before\n")
    stage.write([{"name": "Base", "tasks": [write(tmp_path / "file", "after\n")]}])
    said = stage.run("--check", "--diff", "--tags", "all")
    assert said.out.startswith("Check mode: what would change is said, and nothing is changed.\nBase\n"), said
    change, diff = said.out.index(f"  would change: [blog] Write a file ({tmp_path}/file)\n"), said.out.index("-before\n+after\n")
    assert change < diff and "blog: ok, 1 change to make, " in said.out and (tmp_path / "file").read_text() == "before\n", said
    assert said.out.endswith("\nThen, to do it: ansible-playbook -i hosts.yml play.yml\n"), said


def test_a_handler_says_which_unit(tmp_path: Path) -> None:
    """A handler is a task like others; one that was delegated says where it ran."""
    stage = Stage(tmp_path, "blog", "shop")
    handlers = [{**write(tmp_path / "handled"), "name": "Reload"}]
    tasks = [
        write(tmp_path / "{{ inventory_hostname }}", notify="Reload"),
        command("true", delegate_to="shop", when="inventory_hostname == 'blog'"),
    ]
    stage.write([{"name": "Base", "hosts": "blog", "tasks": tasks, "handlers": handlers}])
    said = stage.run()
    assert f"  changed: [blog] Reload ({tmp_path}/handled)\n" in said.out and "  changed: [blog -> shop] Run true\n" in said.out, said


def test_two_hosts_at_once(tmp_path: Path) -> None:
    """Each has its lines and its sum; what takes long is named with both, at intervals."""
    stage = Stage(tmp_path, "blog", "shop")
    tasks = [
        write(f"{tmp_path}/{{{{ inventory_hostname }}}}"),
        command("sleep 3", changed_when=False),
        command("true", when="inventory_hostname == 'shop'"),
    ]
    stage.write([{"name": "Base", "tasks": tasks}])
    said = stage.run(SLIPWAY_OUTPUT_HEARTBEAT="1")
    assert all(f"  changed: [{host}] Write a file ({tmp_path}/{host})\n" in said.out for host in ("blog", "shop")), said
    assert re.search(r"^  still: \[(blog, shop|shop, blog)\] Run sleep, [12] s$", said.out, re.MULTILINE), said
    assert re.search(r"^blog: ok, 1 change, \d+ s\nshop: ok, 2 changes, \d+ s$", said.out, re.MULTILINE), said


def test_what_tasks_print_on_purpose_is_shown_as_it_is(tmp_path: Path) -> None:
    """Tables, lists and values, with the name of the task once; no YAML around them, and nothing of an assertion that holds."""
    stage = Stage(tmp_path)
    table = "hop    check\nnginx  active   \n  deeper"
    tasks = [say(table), say(["one", "WARNING: two"]), say("{{ item }}", loop=["first", "second"])]
    tasks += [{"name": "Show", "ansible.builtin.debug": {"var": "shown"}, "vars": {"shown": {"a": [1]}}}, say([], name="Say nothing")]
    tasks += [{"name": "Assert", "ansible.builtin.assert": {"that": "true", **more}} for more in ({}, {"success_msg": "it holds"})]
    stage.write([{"name": "Base", "tasks": tasks}])
    said = stage.run()
    expected = [
        *("  [blog] Say something:", "    hop    check", "    nginx  active   ", "      deeper"),
        *("  [blog] Say something:", "    one", "    WARNING: two"),
        *("  [blog] Say something:", "    first", "    second"),
        *("  [blog] Show:", "    shown:", "        a:", "        - 1"),
        *("  [blog] Assert:", "    it holds", ""),
    ]
    assert said.out.startswith("Base\n" + "\n".join(expected)), said


# --- What fails -----------------------------------------------------------------------------------

FAILURE = {
    "name": "Stop when a hop is broken",
    "ansible.builtin.assert": {
        "that": "inventory_hostname == 'shop'",
        "quiet": True,
        "fail_msg": "postgres: login failed.\n  saw: nothing\n  fix: write app_database_url\nredis: no answer.\n  fix: start it\n"
        "Then: ansible-playbook -i x slipway.vps.verify",
    },
}


def test_a_failure_comes_with_its_fix_and_the_next_command(tmp_path: Path) -> None:
    """[K8] In full where it happens; at the end before the hosts, with what mends it; the command is the last line."""
    stage = Stage(tmp_path, "blog", "shop")
    stage.write([{"name": "Base", "any_errors_fatal": True, "tasks": [write(f"{tmp_path}/{{{{ inventory_hostname }}}}"), FAILURE]}])
    said = stage.run()
    assert said.status == 2 and not said.err, said
    happened, summary, hosts = (
        said.out.index("  FAILED: [blog] Stop when a hop is broken\n"),
        said.out.index("\nFailed\n"),
        said.out.index("\nblog: "),
    )
    assert happened < summary < hosts < said.out.index("PLAY RECAP")
    assert (
        "    postgres: login failed.\n      saw: nothing\n      fix: write app_database_url\n    redis: no answer.\n"
        in said.out[happened:summary]
    )
    assert said.out[summary:hosts] == (
        "\nFailed\n  [blog] Base: Stop when a hop is broken\n    postgres: login failed.\n      fix: write app_database_url\n"
        "    redis: no answer.\n      fix: start it\n"
    )
    assert "\nblog: failed in Base, 1 change, " in said.out and "\nshop: stopped, since another host failed, 1 change, " in said.out
    assert re.search(RECAP.format(host="blog", ok=1, changed=1, failed=1), said.out), said
    assert said.out.endswith("\nThen: ansible-playbook -i x slipway.vps.verify\n"), said


def test_a_failure_without_words_of_its_own(tmp_path: Path) -> None:
    """[K8] The end of what the command printed is the reason; the next command is the run itself, without what -e says."""
    stage = Stage(tmp_path)
    stage.write([{"name": "Base", "tasks": [command("ls /nowhere")]}])
    said = stage.run("-e", f"secret={CANARY}", "--limit", "blog")
    assert said.status == 2 and "    ls: cannot access '/nowhere': No such file or directory (exit status 2)\n" in said.out, said
    assert re.search(r"    task path: .*play\.yml:\d+\n", said.out) and "rc:" not in said.out
    assert said.out.endswith("with -v you see more: ansible-playbook -i hosts.yml play.yml --limit blog -v -e …\n"), said
    assert CANARY not in said.out


def test_items_that_fail_are_named(tmp_path: Path) -> None:
    """[K8] Those that changed something before, too."""
    stage = Stage(tmp_path)
    stage.write(
        [{"name": "Base", "tasks": [{"name": "Walk", "ansible.builtin.command": "{{ item }}", "loop": ["true", "false", "ls /nowhere"]}]}]
    )
    said = stage.run()
    assert (
        "  changed: [blog] Walk (true)\n  FAILED: [blog] Walk\n    false: It printed nothing (exit status 1)\n    ls /nowhere: ls: cannot"
        in said.out
    ), said


def test_what_is_ignored_or_rescued_is_no_failure(tmp_path: Path) -> None:
    """Neither where it happens nor at the end; a rescue that fails is one."""
    stage = Stage(tmp_path)
    rescued = {"block": [command("ls /rescued")], "rescue": [say("saved"), {"block": [command("ls /again")], "rescue": [say("again")]}]}
    ignored = [command("ls /ignored", ignore_errors=True), command("ls /allowed", failed_when=False)]
    retried = command("ls /retried", register="said", until="false", retries=1, delay=0, ignore_errors=True)
    play = {"name": "Base", "tasks": [rescued, *ignored, retried]}
    stage.write([play])
    said = stage.run()
    assert said.status == 0 and not re.search("fail|fatal|cannot access|RETRYING", said.out.partition("PLAY RECAP")[0], re.IGNORECASE), said
    assert "saved" in said.out and "rescued=2" in said.out and "ignored=2" in said.out
    fails = {"block": [command("ls /rescued")], "rescue": [{"name": "Give up", "ansible.builtin.fail": {"msg": "no way"}}]}
    stage.write([{"name": "Base", "tasks": [fails]}])
    said = stage.run()
    assert said.status == 2 and "FAILED: [blog] Give up\n    no way\n" in said.out and "/rescued" not in said.out, said


def test_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    """[K8] Why, and how to find out; the others go on. Hosts that fail alike are told once."""
    stage = Stage(tmp_path, "blog", "shop")
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    inventory["all"]["hosts"]["gone"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    refused = {"name": "Refuse", "ansible.builtin.fail": {"msg": "bad input\nThen run the same command again."}}
    stage.write([{"name": "Base", "tasks": [{"name": "Knock", "ansible.builtin.ping": None}]}, {"name": "Edge", "tasks": [refused]}])
    said = stage.run("--forks", "1")
    assert said.status in (2, 4) and re.search(r"  UNREACHABLE: \[gone\] Knock\n    .*Connection refused", said.out), said
    assert (
        said.out.count("bad input") == 2
        and "  FAILED: [shop] Refuse\n    as above\n" in said.out
        and "\n  [blog, shop] Edge: Refuse\n" in said.out
    ), said
    assert (
        "\nThen: ansible -i hosts.yml gone -m ansible.builtin.ping; when it answers, ansible-playbook -i hosts.yml play.yml\n" in said.out
    ), said
    assert said.out.endswith("\nThen run the same command again: ansible-playbook -i hosts.yml play.yml\n"), said


def test_a_heading_for_each_play(tmp_path: Path) -> None:
    """Also for one without hosts; one for all batches of a play."""
    stage = Stage(tmp_path, "blog", "shop")
    stage.write([{"name": "Nobody", "hosts": "nobody", "tasks": [say("x")]}, {"name": "Base", "serial": 1, "tasks": [say("x")]}])
    said = stage.run()
    head = "  [{}] Say something:\n    x\n"
    assert said.out.startswith(f"Nobody\n  no host of the inventory\nBase\n{head.format('blog')}{head.format('shop')}\nblog: ok"), said


def test_warnings_are_shown(tmp_path: Path) -> None:
    """A module's, where Ansible prints them."""
    stage = Stage(tmp_path)
    (tmp_path / "library").mkdir()
    module = "from ansible.module_utils.basic import AnsibleModule\nm = AnsibleModule({})\nm.warn('it is late')\nm.exit_json()\n"
    (tmp_path / "library/late.py").write_text(module)
    stage.write([{"name": "Base", "tasks": [{"name": "Warn", "late": None}]}])
    assert "[WARNING]: it is late" in stage.run().err


def test_a_run_that_is_cut_off_says_where(tmp_path: Path) -> None:
    """With the command that goes on; no half line is left."""
    stage = Stage(tmp_path)
    stage.write([{"name": "Base", "tasks": [say("begun"), command("sleep 60")]}])
    words = [ANSIBLE_PLAYBOOK, "-i", "hosts.yml", "play.yml"]
    settings = stage.settings(SLIPWAY_OUTPUT_HEARTBEAT="0.5")
    with subprocess.Popen(words, cwd=tmp_path, env=settings, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert any("still: [blog] Run sleep" in line for line in process.stdout), "the run ended by itself"
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert "It was cut off in Base: Run sleep. Then: ansible-playbook -i hosts.yml play.yml\n" in rest, rest


# --- Secrets --------------------------------------------------------------------------------------


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """[A11] Of tasks with no_log only the name: changed or failed, items, differences, messages, and what is kept for the estimate."""
    stage = Stage(tmp_path)
    hidden = {"no_log": True, "ignore_errors": True}
    tasks = [
        write(tmp_path / CANARY, CANARY, **hidden),
        write(f"{tmp_path}/{{{{ item }}}}", CANARY, loop=[CANARY, f"{CANARY}-two"], **hidden),
        write(f"{tmp_path}/file", CANARY, no_log="{{ true }}"),
        say(CANARY, **hidden),
        say([CANARY], loop=[CANARY], **hidden),
        command(f"ls /{CANARY}", **hidden),
        {"name": "Fail", "ansible.builtin.fail": {"msg": "{{ item }}"}, "loop": [CANARY], "no_log": True},
    ]
    stage.write([{"name": "Base", "tasks": tasks}])
    said = stage.run("--diff")
    assert said.status == 2 and said.out.count("  changed: [blog] Write a file\n") == 3, said
    assert "What it says is hidden, for it handles secrets (no_log)." in said.out, said
    tasks.pop()
    stage.write([{"name": "Base", "tasks": tasks}])
    drawn = stage.on_terminal("--diff")
    kept = "".join(path.read_text() for path in (tmp_path / "cache").rglob("*.json"))
    assert kept and drawn.status == 0 and CANARY not in said.out + said.err + drawn.out + kept


# --- On a terminal --------------------------------------------------------------------------------


def test_the_last_line_of_a_terminal_says_how_far_it_is(tmp_path: Path) -> None:
    """[F10] Seconds the first time, percent and time left the second; of that nothing stays, and it fits the terminal."""
    stage = Stage(tmp_path, "blog", "shop")
    long = {**command("sleep 2", changed_when=False), "name": f"Wait {'for a while ' * 10}é"}
    stage.write([{"name": "Base", "tasks": [say("first"), long, say("last")]}])
    first = stage.on_terminal()
    assert first.status == 0 and any(re.match(r"\d s \| Base \| Wait for a while", line) for line in first.drawn), first
    assert not [line for line in first.drawn if "%" in line]
    assert all(len(line) < COLUMNS for line in first.drawn)
    assert first.screen.startswith("Base\n  [blog] Say something:\n    first\n") and "| Base |" not in first.screen, first.screen
    second = stage.on_terminal()
    progress = [int(found[1]) for line in second.drawn if (found := re.match(r"(\d+) %, about \d+ s left \| Base \| ", line))]
    assert len(set(progress)) > 2 and progress == sorted(progress) and progress[-1] > 50, second.drawn
    assert "\x1b[" not in stage.run().out


@pytest.mark.parametrize(("term", "job"), [("dumb", ""), ("xterm", "true")])
def test_a_terminal_that_keeps_everything_has_no_live_line(tmp_path: Path, term: str, job: str) -> None:
    """A CI job may have a terminal: whatever is drawn stays in its log."""
    stage = Stage(tmp_path)
    stage.write([{"name": "Base", "tasks": [command("sleep 1", changed_when=False)]}])
    said = stage.on_terminal(ANSIBLE_NOCOLOR="1", TERM=term, CI=job)
    assert said.status == 0 and not said.drawn and "\x1b" not in said.out, said


def test_a_prompt_waits_undisturbed(tmp_path: Path) -> None:
    """Nothing is drawn between a question and its answer, of a play or of a task."""
    stage = Stage(tmp_path)
    ask = {"name": "Ask", "ansible.builtin.pause": {"prompt": "Really"}, "register": "answer"}
    prompt = {"name": "who", "prompt": "Who", "private": False}
    tasks = [command("true"), ask, say("{{ who }}: {{ answer.user_input }}")]
    stage.write([{"name": "Base", "tasks": [command("true")]}, {"name": "Edge", "vars_prompt": [prompt], "tasks": tasks}])
    asked: dict[str, int] = {}

    def answer(read: str, terminal: int) -> str:
        for question, typed, mode in (("Who: ", "Ada\n", termios.ICANON), ("Really:", "yes\r", 0)):
            if question in read and question not in asked:
                asked[question] = len(read)
                # Once the task has made the terminal its own: what was typed before is thrown away.
                while termios.tcgetattr(terminal)[3] & termios.ICANON != mode:
                    time.sleep(0.05)
                # After a while, in which a line could be drawn.
                subprocess.run(["sleep", "1.5"], check=True)
                return typed
        return ""

    said = stage.on_terminal(answer=answer)
    assert said.status == 0 and "    Ada: yes" in said.screen, said
    for question, typed in (("Who: ", "Ada"), ("Really:", "y")):
        between = said.out.partition(question)[2]
        assert "|" not in between[: between.index(typed)], said


# --- As Ansible does ------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("-v",)])
def test_full_is_what_ansible_prints(tmp_path: Path, words: tuple[str, ...]) -> None:
    """To the letter; with -v also without being asked."""
    stage = Stage(tmp_path)
    tasks = [write(tmp_path / "file"), say("x"), command("true", changed_when=False), command("ls /nowhere", ignore_errors=True), FAILURE]
    stage.write([{"name": "Base", "tasks": tasks}])
    stage.run()

    def without_times(text: str) -> str:
        return re.sub(r"(delta|end|start): .*", r"\1", text)

    ours = stage.run(*words, SLIPWAY_OUTPUT="plain" if words else "full")
    theirs = stage.run(*words, ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default")
    assert ours.status == theirs.status == 2 and "TASK [Say something]" in ours.out
    assert without_times(ours.out) == without_times(theirs.out)


def test_a_setting_that_is_none_names_those_that_are(tmp_path: Path) -> None:
    """[F8] And `output` of ansible.cfg is read, too."""
    stage = Stage(tmp_path)
    stage.write([{"name": "Base", "tasks": [say("x")]}])
    said = stage.run(SLIPWAY_OUTPUT="quiet")
    assert said.status != 0 and "quiet" in said.err and "plain, full" in said.err, said
    text = (ROOT / "ansible.cfg").read_text().replace("collections_path = ", f"collections_path = {ROOT}/")
    (tmp_path / "ansible.cfg").write_text(f"{text}\n[callback_progress]\noutput = full\n")
    assert "TASK [Say something]" in stage.run(ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg")).out


def test_a_defect_of_its_own_ends_no_run(tmp_path: Path) -> None:
    """[F8] Ansible's output takes over where it was, with a warning; on a terminal too."""
    stage = Stage(tmp_path)
    stage.write([{"name": "Base", "tasks": [say("one"), write(tmp_path / "file"), say("three")]}])
    (tmp_path / "broken.py").write_text(
        "import sys\n"
        "from ansible.plugins.loader import init_plugin_loader\n"
        f"init_plugin_loader([{str(ROOT / 'collections')!r}])\n"
        "from ansible_collections.slipway.vps.plugins.plugin_utils import outcome\n"
        "def broken(*_): raise AssertionError('a defect')\n"
        "outcome.details = broken\n"
        "from ansible.cli.playbook import main\n"
        "main(['ansible-playbook', *sys.argv[1:]])\n"
    )
    said = stage.run(program=(sys.executable, "broken.py"))
    assert said.status == 0 and "  [blog] Say something:\n    one\n" in said.out, said
    assert "changed: [blog]\n" in said.out and "TASK [Say something]" in said.out and "ok=3 " in said.out, said
    assert "The plain output has failed (AssertionError('a defect'))" in said.err and "Traceback" not in said.out + said.err, said


# --- What comes next ------------------------------------------------------------------------------


def test_after_a_deploy_it_says_where_the_app_is(tmp_path: Path) -> None:
    """[F10] The address of each app and how to verify it; an entry that is not called as its app is shown with both names."""
    stage = Stage(tmp_path)
    Inventory(tmp_path, {"web1": {"app_name": "blog", "app_domains": ["blog.example.com"], "app_url_prefix": "/news"}})
    resolve = {"name": "Resolve", "ansible.builtin.include_role": {"name": "slipway.vps.app", "tasks_from": "contract"}}
    stage.write([{"name": "Contract", "hosts": "app_servers", "tasks": [resolve]}], "site.yml")
    said = stage.run(name="site.yml")
    assert said.status == 0 and "\nweb1 (blog): ok, nothing changed, " in said.out, said
    assert said.out.endswith(
        "\nOpen https://blog.example.com/news/\nWhenever you like: ansible-playbook -i hosts.yml slipway.vps.verify\n"
    ), said
