"""`slipway <app> run` on the host: the command's words, input, output and exit status, and that it ends when nobody reads it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import ROOT
from .program_app import app, facts

#: Behind its options stands /bin/sh, with the command.
SYSTEMD_RUN = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
open("{folder}/asked", "a").write(" ".join(words) + chr(10))
unit = next((w.partition("=")[2] for w in words if w.startswith("--unit=")), "x")
started = subprocess.Popen([w.replace("$$", "$") for w in words[words.index("/bin/sh"):]], start_new_session=True)
open("{folder}/" + unit, "w").write(str(started.pid))
status = started.wait()
# As systemd: who dies by such a signal has done well.
sys.exit(status if status >= 0 else 0)
"""
SYSTEMCTL = """#!{python}
import os, signal, sys
open("{folder}/systemctl", "a").write(" ".join(sys.argv[1:]) + chr(10))
os.killpg(int(open("{folder}/" + sys.argv[2]).read()), signal.SIGTERM)
"""
#: As bin/slipway on the host, with its apps below another folder.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from slipway import cli
from slipway.app import App
App.load.__func__.__defaults__ = (__import__("pathlib").Path(sys.argv.pop(1)),)
sys.exit(cli.main())
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `slipway blog run -- …` with these words."""
    found = app(tmp_path)
    found.config_dir.mkdir(parents=True)
    (found.config_dir / "app.json").write_text(json.dumps(facts(tmp_path)))
    (found.releases / "1").mkdir(parents=True)
    found.current.symlink_to("releases/1")
    for name, text in {"systemd-run": SYSTEMD_RUN, "systemctl": SYSTEMCTL}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text.format(python=sys.executable, folder=tmp_path))
        program.chmod(0o755)
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str, **how: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        line = [sys.executable, "-c", PROGRAM, str(ROOT / "plugins/module_utils"), str(tmp_path / "etc"), "blog", "run", "--", *words]
        given = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        running.append(subprocess.Popen(line, env=environment, text=True, **given))  # type: ignore[call-overload]
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_input_output_and_exit_status_are_the_commands(start: Start) -> None:
    """[F10] Each word stays one word, options behind `--` are the command's own, whatever is in it."""
    odd = ["a b", "$HOME", "; id", "'q\"", "*", "--json", ""]
    process = start("sh", "-c", 'cat; printf "%s|" "$@"; echo bad >&2; exit 3', "x", *odd)
    said, errors = process.communicate("from here\n", timeout=20)
    assert (process.returncode, said, errors) == (3, "from here\n" + "|".join(odd) + "|", "bad\n")


def test_a_terminal_is_systemds(start: Start, tmp_path: Path) -> None:
    """[F10] flask shell: the terminal is passed on; without one, pipes are."""
    ours, theirs = pty.openpty()
    assert start("true", stdin=theirs, stdout=theirs, stderr=theirs).wait(20) == 0
    assert start("true").wait(20) == 0
    os.close(ours)
    os.close(theirs)
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert "--pty" in first and "--unit" not in first and "--pipe" in second and "--unit=blog-run-" in second


@pytest.mark.parametrize("how", ["nobody reads", "SIGINT", "SIGTERM", "SIGHUP"])
def test_a_command_ends_with_who_asked_for_it(start: Start, tmp_path: Path, how: str) -> None:
    """[F10] Ctrl-C over SSH without a terminal only closes the connection: systemd would go on with the command for ever."""
    process = start("sh", "-c", "echo $$; exec sleep 60")
    assert process.stdout
    number = int(process.stdout.readline())
    if how == "nobody reads":
        process.stdout.close()
    else:
        process.send_signal(getattr(signal, how))
    until(lambda: not Path(f"/proc/{number}").exists())
    assert process.wait(20) == 143
    # As often as needed: before systemd has the unit there is nothing to stop.
    assert {*(tmp_path / "systemctl").read_text().splitlines()} == {f"stop blog-run-{process.pid}.service"}
