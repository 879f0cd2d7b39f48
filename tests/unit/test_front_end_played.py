"""run, logs, status and open in runs of their own: as playbooks, and through `slipway`, which prints their answer alone.

The host is this machine; a program that says what a test wants is its `slipway`, and another one its `sudo`.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.vps.plugins.filter.verbs import command_words

from .conftest import ROOT
from .inventory import SECRET, USUAL
from .output_play import read_terminal

BIN = Path(sys.executable).parent
CANARY = "c4n4ry-7f3e"
#: The host's `slipway`: `run` becomes the command, the others say what stands in FOLDER/<app>.<verb>, and note when they ran.
HOST = """#!{python}
import json, os, sys, time
app, verb, *rest = sys.argv[1:]
if verb == "run":
    os.execvp(rest[1], rest[1:])
began = time.time()
answer = json.load(open(f"{folder}/{{app}}.{{verb}}"))
open(f"{folder}/{{app}}.asked", "w").write(" ".join(rest))
time.sleep(answer.get("seconds", 0))
for line in answer.get("lines", []):
    print(line, flush=True)
    time.sleep(answer.get("pause", 0) if "--follow" in rest else 0)
while "--follow" in rest and answer.get("for ever"):
    time.sleep(0.1)
open(f"{folder}/{{app}}.time", "w").write(f"{{began}} {{time.time()}}")
print(answer.get("error", ""), file=sys.stderr, end="")
sys.exit(answer.get("status", 0))
"""
#: sudo -H -S -n -u nobody /bin/sh -c '…'; with -p it asks for the password first, unless it knows who comes.
SUDO = """#!{python}
import os, sys
words = sys.argv[1:]
if "-p" in words and "--known" not in words:
    sys.stderr.write(words[words.index("-p") + 1])
    sys.stderr.flush()
    said = b""
    while not said.endswith(b"\\n"):
        said += os.read(0, 1)
    if said != b"{canary}\\n":
        sys.exit("Sorry, try again.")
os.environ["SUDO"] = " ".join(words[: words.index("/bin/sh")])
os.execv("/bin/sh", words[words.index("/bin/sh"):])
"""
#: It hands the command to a shell, as sshd does.
SSH = """#!/bin/sh
echo "$*" >> "{folder}/ssh.log"
for command; do :; done
exec /bin/sh -c "$command"
"""
ODD = ["a b", "$HOME", "; id", "'q\"", "*", "{{ 7*7 }}", "--limit", "", "%s"]


class Bench:
    """A folder with an inventory, a host that is this machine, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "inventories/blog"
        self.inventory.mkdir(parents=True)
        for name, text in {"host": HOST, "sudo": SUDO, "ssh": SSH}.items():
            (folder / name).write_text(text.format(python=sys.executable, folder=folder, canary=CANARY))
            (folder / name).chmod(0o755)
        (folder / "ansible.cfg").write_text((ROOT / "ansible.cfg").read_text())
        self.hosts("blog")

    def hosts(self, *entries: str, **more: Any) -> None:
        """The inventory's entries; each is an app of its own."""
        of_all: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_become_user": "nobody",
            "ansible_become_exe": str(self.folder / "sudo"),
        }
        of_all |= {"ansible_python_interpreter": sys.executable, **USUAL, "app_env": {"SAID": CANARY}, **more}
        of_each = {
            entry: {"app_name": entry, "app_domains": [f"{entry}.example.com"], "ansible_host": f"host-{entry}"} for entry in entries
        }
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump({"app_servers": {"hosts": of_each, "vars": of_all}}, sort_keys=False))

    def says(self, app: str, verb: str, **what: Any) -> None:
        (self.folder / f"{app}.{verb}").write_text(json.dumps(what))

    def asked(self, app: str) -> str:
        return (self.folder / f"{app}.asked").read_text()

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Start `slipway …`, or `ansible-playbook …` with a playbook of the collection."""
        settings = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "SLIPWAY_"))}
        settings |= {"ANSIBLE_HOME": str(self.folder / "home"), "ANSIBLE_NOCOLOR": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}
        settings |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "PYTHONUNBUFFERED": "1", **how.pop("settings", {})}
        told = [part for verb in ("run", "logs", "status") for part in ("-e", f"__{verb}_program={self.folder}/host")]
        line = [str(ROOT / "slipway"), words[0], *told, *words[1:]]
        if words[0] == "ansible-playbook":
            line = [str(BIN / words[0]), "-i", str(self.inventory), *told, *words[1:]]
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
        return subprocess.Popen(line, cwd=self.folder, env=settings, **given)

    def run(self, *words: str, given: str | None = None, **how: Any) -> tuple[int, str, str]:
        """Exit status, output and errors, in which there is no secret."""
        process = self.start(*words, **({"stdin": subprocess.PIPE} if given is not None else {}), **how)
        said, errors = process.communicate(given, timeout=180)
        assert CANARY not in said + errors and SECRET not in said + errors
        return process.returncode, said, errors

    def play(self, name: str, *words: str, **how: Any) -> tuple[int, str]:
        """A playbook by itself: exit status, and all that Ansible said."""
        status, said, errors = self.run("ansible-playbook", f"slipway.vps.{name}", *words, **how)
        return status, said + errors


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def untouched(said: str) -> bool:
    """Nothing was changed, and nothing failed, on any host."""
    recap = said.partition("PLAY RECAP")[2]
    return bool(recap) and set(re.findall(r"(?:changed|failed|unreachable)=(\d+)", recap)) == {"0"}


# --- run ----------------------------------------------------------------------------------------------


def test_the_commands_words_input_output_and_status(bench: Bench) -> None:
    """[F10] Its output alone on standard output, its exit status, each word as it was typed; through sudo, and a shell or two."""
    script = 'cat; printf "%s|" "$@"; echo err >&2; exit 7'
    (scratch := bench.folder / "tmp").mkdir()
    settings = {"TMPDIR": str(scratch)}
    status, said, errors = bench.run("run", "--", "sh", "-c", script, "x", *ODD, given="from here\n", settings=settings)
    assert (status, said) == (7, "from here\n" + "|".join(ODD) + "|"), errors
    line, *rest = errors.splitlines()
    assert line.startswith("$ ") and "ansible-playbook -i inventories/blog" in line and rest == ["err"]
    assert not [*scratch.iterdir()], "the words of the command are left there"


@pytest.mark.parametrize("strategy", ["linear", "slipway.vps.mitogen"])
def test_over_ssh(bench: Bench, strategy: str) -> None:
    """[F10] The words are those of Ansible's own connection: address, user, port, key, arguments, and its way to become root."""
    ssh = {"ansible_connection": "ssh", "ansible_ssh_executable": str(bench.folder / "ssh"), "ansible_user": "ada", "ansible_port": 2222}
    bench.hosts("blog", **ssh, ansible_ssh_private_key_file="/keys/a b", ansible_ssh_common_args="-J jump", ansible_pipelining=True)
    script = 'printf "%s|" "$SUDO" "$@"; exit 3'
    settings = {"ANSIBLE_STRATEGY": strategy}
    status, said, errors = bench.run("run", "--", "sh", "-c", script, "x", *ODD, settings=settings)
    assert (status, said) == (3, "-H -S -n -u nobody|" + "|".join(ODD) + "|"), errors
    words = (bench.folder / "ssh.log").read_text()
    for word in ('User="ada"', "Port=2222", 'IdentityFile="/keys/a b"', "-J jump", "ControlPersist", " host-blog "):
        assert word in words, words
    assert "-tt" not in words
    status, said = bench.play("run", "-e", json.dumps({"command": ["sh", "-c", "echo here; exit 3"]}), settings=settings)
    assert status == 2 and "\nhere\n" in said and "sh exited 3." in said


def test_a_terminal(bench: Bench) -> None:
    """[F10] Whoever sits at one gets it: flask shell, a pager, Ctrl-C. ssh is told so, and sudo may ask there."""
    bench.hosts("blog", ansible_connection="ssh", ansible_ssh_executable=str(bench.folder / "ssh"), ansible_become_password=CANARY)
    ours, theirs = pty.openpty()
    script = 'test -t 0 && test -t 1 && echo "at a terminal: $SUDO"; read x; echo "got $x"; exit 4'
    with bench.start("run", "--", "sh", "-c", script, stdin=theirs, stdout=theirs) as process:
        said, deadline = b"", time.monotonic() + 60
        while b"at a terminal" not in said and (read := read_terminal(ours, deadline)):
            said += read
        os.write(ours, b"typed\n")
        assert process.wait(60) == 4
    said += read_terminal(ours, time.monotonic() + 10)
    os.close(ours)
    os.close(theirs)
    assert b"at a terminal: -H -u nobody" in said and b"got typed" in said
    assert "-tt host-blog" in (bench.folder / "ssh.log").read_text()


def test_the_playbook_streams(bench: Bench) -> None:
    """[F10] Lines come while the command runs, of both channels; it fails with the command's status in the message."""
    command = ["sh", "-c", "echo one; echo bad >&2; sleep 3; echo two; exit 3"]
    with bench.start("ansible-playbook", "slipway.vps.run", "-e", json.dumps({"command": command})) as process:
        assert process.stdout and process.stderr
        times = {line.strip(): time.monotonic() for line in process.stdout}
        errors = process.stderr.read().splitlines()
    assert process.returncode == 2 and times["two"] - times["one"] > 2 and "bad" in errors
    assert any("sh exited 3." in line for line in [*times, *errors])


@pytest.mark.parametrize("asks", ["sudo's password", "the wrong one", "nothing"])
def test_where_sudo_asks(bench: Bench, asks: str) -> None:
    """[F10] Ansible answers, and the command gets nothing of it; without a terminal `slipway` lets the playbook run it."""
    flags = "-H -S --known" if asks == "nothing" else "-H -S -n"
    bench.hosts("blog", ansible_become_password="wrong" if asks == "the wrong one" else CANARY, ansible_become_flags=flags)
    status, said, errors = bench.run("run", "--", "sh", "-c", "echo one; cat; exit 5")
    if asks == "the wrong one":
        assert status == 2 and said == "" and "Incorrect sudo password" in errors
    else:
        assert (status, said) == (5, "one\n") and "sh exited 5." in errors


def test_run_is_refused_where_it_is_not_clear(bench: Bench) -> None:
    """[F8] [F10] A command runs on one entry, whole, and not in check mode."""
    ran = bench.folder / "ran"
    bench.hosts("blog", "shop")
    status, said, errors = bench.run("run", "--", "touch", str(ran))
    assert status == 2 and said == "" and "there are 2 entries" in errors and "--limit blog or --limit shop" in errors
    status, output = bench.play("run", "--limit", "blog", "-e", f"command=touch {ran}")
    assert status == 2 and f'"{ran}" belongs to no variable' in output
    assert bench.run("run", "shop", "--check", "--", "touch", str(ran))[0] == 0 and not ran.exists()
    status, output = bench.play("run", "--limit", "shop", "-e", f"command='touch \"{ran}\"'")
    assert status == 0 and ran.exists(), output


def test_a_text_as_a_command() -> None:
    """[F8] [F10] Taken apart as the commands of the inventory are; a list stays as it is; what only a shell understands is refused."""
    assert command_words('flask shout "a b"') == ["flask", "shout", "a b"] and command_words(["a b", 1]) == ["a b", "1"]
    for text, told in (("a && b", "'&&' is for a shell"), ("a $HOME", "sh -c"), ("a 'b", "No closing quotation")):
        with pytest.raises(AnsibleFilterError, match=re.escape(told)):
            command_words(text)


# --- logs ---------------------------------------------------------------------------------------------


def stamped(second: int, text: str) -> str:
    return f"2026-11-20T07:22:{second:02}.000000+0000 {text}"


def test_lines_of_several_hosts_have_one_order(bench: Bench) -> None:
    """[K1] [F10] By time, each with its host; a line without a time belongs to the one before; read only, in check mode too."""
    bench.hosts("blog", "shop")
    bench.says("blog", "logs", lines=[stamped(1, "a"), "  more of a", stamped(4, "d")])
    bench.says("shop", "logs", lines=[stamped(2, "b"), stamped(3, "c")])
    status, said, errors = bench.run("logs", "--since", "1 hour ago", "--lines=7", "--check")
    assert status == 0, errors
    assert said.splitlines() == [
        *(f"blog: {stamped(1, 'a')}", "blog:   more of a"),
        *(f"shop: {stamped(2, 'b')}", f"shop: {stamped(3, 'c')}", f"blog: {stamped(4, 'd')}"),
    ]
    assert bench.asked("blog") == "--lines=7 --since=1 hour ago"
    status, said, errors = bench.run("logs", "shop")
    assert said.splitlines() == [stamped(2, "b"), stamped(3, "c")]


def test_a_request_is_on_one_of_several_hosts(bench: Bench) -> None:
    """[K1] [F10] Where the others do not know it, nobody complains; where none does, or one does not answer, somebody has to."""
    bench.hosts("blog", "shop")
    bench.says("blog", "logs", status=1, error="slipway: no log of blog has the request 5f1c\n")
    bench.says("shop", "logs", lines=[stamped(2, "b")])
    assert bench.run("logs", "--request", "5f1c")[:2] == (0, f"shop: {stamped(2, 'b')}\n")
    assert bench.asked("shop") == "--lines=100 --request=5f1c"
    bench.says("shop", "logs", status=1, error="slipway: no log of shop has the request 5f1c\n")
    status, said, errors = bench.run("logs", "--request", "5f1c")
    assert (status, said) == (2, "") and "no log of blog has" in errors and "no log of shop has" in errors


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_following_until_ctrl_c(bench: Bench, how: str) -> None:
    """[F10] Lines of all hosts as they come, each with its host; Ctrl-C, or the end of a CI job, ends it here and on the hosts."""
    bench.hosts("blog", "shop")
    for app in ("blog", "shop"):
        bench.says(app, "logs", lines=[f"{app} 1", f"{app} 2"], pause=2, **{"for ever": True})
    with bench.start("logs", "--follow", start_new_session=True) as process:
        assert process.stdout
        times = {process.stdout.readline().strip(): time.monotonic() for _ in range(4)}
        os.killpg(process.pid, getattr(signal, how))
        assert process.wait(30) != 0
    assert {*times} == {"blog: blog 1", "blog: blog 2", "shop: shop 1", "shop: shop 2"}
    assert times["blog: blog 2"] - times["blog: blog 1"] > 1
    end = time.monotonic() + 20
    while left := subprocess.run(["pgrep", "-f", f"{bench.folder}/host"], capture_output=True, text=True, check=False).stdout:
        assert time.monotonic() < end, left
        time.sleep(0.1)
    assert "--follow" in bench.asked("blog")


# --- status -------------------------------------------------------------------------------------------


def standing(app: str, state: str = "ok", **more: Any) -> dict[str, Any]:
    """What the host says of an app."""
    subject = {"subject": "services", "state": state, "evidence": f"3 units of {app}", "fix": "systemctl start it", "since": None}
    brief = {
        "release": "20261120T072201-aaaaaaa",
        "version": "v1",
        "live_at": "2026-11-20T07:22:01+00:00",
        "proof_at": "2026-11-20T04:00:00+00:00",
    }
    found = {"state": state, "subjects": [subject], "brief": {**brief, "certificate_ends": "2226-11-20T00:00:00Z"}}
    return {"lines": [json.dumps({"apps": {app: found}})], "status": state != "ok", **more}


def test_all_is_well(bench: Bench) -> None:
    """[K8] [F10] One table, exit status 0; hosts are asked at once; read only, in check mode too."""
    bench.hosts("blog", "shop")
    for app in ("blog", "shop"):
        bench.says(app, "status", **standing(app, seconds=2))
    status, said, errors = bench.run("status")
    assert status == 0, errors
    head, *rows = said.splitlines()
    assert head.split() == ["app", "machine", "release", "since", "services", "certificate", "backup", "proof", "state"]
    assert [re.sub(r"\d+[dhms]", "AGE", row).split() for row in rows] == [
        [app, "localhost", "20261120T072201-aaaaaaa", "AGE", "ok", "AGE", "AGE", "ok"] for app in ("blog", "shop")
    ]
    spans = [[float(at) for at in (bench.folder / f"{app}.time").read_text().split()] for app in ("blog", "shop")]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans), "one after the other"
    status, output = bench.play("status", "--check")
    assert status == 0 and untouched(output)


def test_what_is_not_well_is_a_row(bench: Bench) -> None:
    """[K8] [F10] One that does not answer, one without the program, one that has failed: all of them are told, with the fix."""
    bench.hosts("blog", "shop", "gone", "new")
    hosts = yaml.safe_load((bench.inventory / "hosts.yml").read_text())
    hosts["app_servers"]["hosts"]["gone"] |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts["app_servers"]["hosts"]["new"]["ansible_become_exe"] = "/bin/false"
    (bench.inventory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    bench.says("blog", "status", **standing("blog"))
    bench.says("shop", "status", **standing("shop", "failed"))
    status, said, errors = bench.run("status")
    assert status == 2 and "Not well: shop, gone, new." in errors and "slipway.vps.doctor" in errors
    table, *rest = said.split("\n\n")
    assert [(line.split()[0], line.split()[-1]) for line in table.splitlines()[1:]] == [
        *(("blog", "ok"), ("shop", "failed"), ("gone", "answer"), ("new", "answer")),
    ]
    assert rest[0] == "shop:\n  services: failed: 3 units of shop\n    fix: systemctl start it"
    assert "port 1: Connection refused\n    fix: ssh to it" in rest[1]
    status, said, _ = bench.run("status", "--json")
    apps = {app["app"]: app for app in json.loads(said)["apps"]}
    assert status == 2 and {name: app["state"] for name, app in apps.items()} == {
        **{"blog": "ok", "shop": "failed", "gone": "no answer", "new": "no answer"}
    }
    assert apps["blog"]["certificate_ends"] == "2226-11-20T00:00:00Z" and apps["gone"]["subjects"][0]["subject"] == "machine"


def test_one_without_the_program_and_one_that_hangs(bench: Bench) -> None:
    """[K8] [F10] Rows like the others; whoever hangs is waited for half a minute at most."""
    bench.hosts("blog")
    status, said, _ = bench.run("status", "-e", "__status_program=/nowhere/slipway")
    assert status == 2 and "Slipway's program is not on this machine yet\n    fix: ansible-playbook slipway.vps.site" in said
    bench.says("blog", "status", seconds=100)
    status, said, _ = bench.run("status", "-e", "__status_seconds=2")
    assert status == 2 and "Timed out" in said and "fix: ssh to it" in said


# --- open, and where the collection is installed ------------------------------------------------------


def test_open(bench: Bench) -> None:
    """[F10] URLs with aliases and prefix, and the curl line with the machine's address; no host is asked."""
    bench.hosts("blog", app_aliases=["alt.example.com"], app_url_prefix="/blog", ansible_connection="ssh")
    status, said, errors = bench.run("open", "-e", "ansible_host=2001:db8::7")
    assert status == 0, errors
    assert said.splitlines()[:2] == ["https://blog.example.com/blog/", "https://alt.example.com/blog/"]
    assert "  curl --resolve 'blog.example.com:443:[2001:db8::7]' https://blog.example.com/blog/" in said
    status, output = bench.play("open", "--check")
    assert status == 0 and untouched(output) and not (bench.folder / "ssh.log").exists()


def test_from_a_collection_that_was_installed(bench: Bench, tmp_path: Path) -> None:
    """[F10] Built and installed as from Galaxy: it is executable, and finds its playbooks by their names."""
    galaxy = str(BIN / "ansible-galaxy")
    folder = tmp_path / "installed"
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "timeout": 180}
    subprocess.run([galaxy, "collection", "build", str(ROOT), "--output-path", str(tmp_path)], cwd=tmp_path, **quiet)
    (archive,) = tmp_path.glob("slipway-vps-*.tar.gz")
    subprocess.run([galaxy, "collection", "install", str(archive), "--no-deps", "-p", str(folder)], cwd=tmp_path, **quiet)
    program = folder / "ansible_collections/slipway/vps/slipway"
    settings = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run([program, "open"], cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "$ ansible-playbook -i inventories/blog slipway.vps.open"
    assert done.stdout.startswith("https://blog.example.com/\n")
