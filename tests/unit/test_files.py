"""Folders and files in one round trip: what is written, what is left alone, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.vps.plugins.modules import files

from .module_call import call_module


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the module with its arguments; everything belongs to whoever runs the tests."""
    owned = {"owner": str(os.getuid()), "group": str(os.getgid())}
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(check: bool = False, **arguments: Any) -> dict[str, Any]:
        for kind in ("folders", "files"):
            arguments[kind] = [{**owned, **wanted} for wanted in arguments.get(kind, [])]
        monkeypatch.setattr(AnsibleModule, "tmpdir", str(scratch), raising=False)
        return call_module(files, monkeypatch, arguments, check)

    return call


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def test_what_is_wanted_is_made_once(run: Any, tmp_path: Path) -> None:
    """[A2 A9] Folders first, with their modes; a second run changes nothing."""
    folder, file = tmp_path / "a/b", tmp_path / "a/b/c.conf"
    wanted = {"folders": [{"path": str(folder), "mode": "0750"}], "files": [{"path": str(file), "content": "é\n", "mode": "0640"}]}
    said = run(**wanted)
    assert (said["changed"], said["changes"]) == (True, [str(folder), str(file)])
    assert (file.read_text(), mode(folder), mode(file)) == ("é\n", "0o750", "0o640")
    assert said["diff"] == [{"before_header": str(file), "after_header": str(file), "before": "", "after": "é\n"}]
    again = run(**wanted)
    assert (again["changed"], again["changes"], again["diff"]) == (False, [], [])


def test_a_mode_that_was_changed_by_hand_comes_back(run: Any, tmp_path: Path) -> None:
    """[A2 A9] The content is right, and yet it is a change."""
    file = tmp_path / "x"
    file.write_text("x")
    file.chmod(0o666)
    said = run(files=[{"path": str(file), "content": "x"}])
    assert (said["changes"], said["diff"], mode(file)) == ([str(file)], [], "0o644")


def test_check_mode_says_and_does_nothing(run: Any, tmp_path: Path) -> None:
    """[A2 A9] Also where nothing is there yet."""
    folder, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    (old / "stray").write_text("")
    said = run(
        check=True,
        folders=[{"path": str(folder)}],
        files=[{"path": str(folder / "f"), "content": "1"}],
        exclusive=[{"path": str(old), "keep": []}, {"path": str(folder), "keep": []}],
    )
    assert said["changes"] == [str(folder), str(folder / "f"), str(old / "stray")]
    assert not folder.exists() and (old / "stray").exists()


def test_what_is_not_right_is_not_written(run: Any, tmp_path: Path) -> None:
    """[A2 E10] The file that serves stays, and the check's own words are the reason; in check mode, too."""
    file = tmp_path / "settings.py"
    file.write_text("good = 1\n")
    for check in (False, True):
        said = run(check=check, files=[{"path": str(file), "content": "bad =\n", "validate": "python3 -m py_compile %s"}])
        assert said["failed"] and str(file) in said["msg"] and "SyntaxError" in said["msg"], said
        assert file.read_text() == "good = 1\n"
    said = run(files=[{"path": str(file), "content": "good = 2\n", "validate": "python3 -m py_compile %s"}])
    assert said["changed"] and file.read_text() == "good = 2\n"


def test_only_files_that_are_wanted_stay(run: Any, tmp_path: Path) -> None:
    """[A2] Others and dangling links go; folders are nobody's business here."""
    for name in ("keep", "go"):
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    said = run(exclusive=[{"path": str(tmp_path), "keep": ["keep"]}])
    assert said["changes"] == [str(tmp_path / "go"), str(tmp_path / "link")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "keep", "scratch"]


def test_what_is_no_longer_needed_goes(run: Any, tmp_path: Path) -> None:
    """[A2] A folder with all that is in it, a file, a dangling link; what a link leads to stays."""
    (tmp_path / "folder/below").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "file").write_text("")
    for name, target in (("link", "nowhere"), ("way", "kept")):
        (tmp_path / name).symlink_to(target)
    gone = [str(tmp_path / name) for name in ("folder", "file", "link", "way")]
    assert run(check=True, absent=gone)["changes"] == gone and (tmp_path / "folder/below").is_dir()
    assert run(absent=[*gone, str(tmp_path / "never")])["changes"] == gone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "scratch"]
    assert run(absent=gone)["changed"] is False


def test_a_path_that_cannot_be_written_is_named(run: Any, tmp_path: Path) -> None:
    """[A2] A file stands where a folder is wanted."""
    (tmp_path / "file").write_text("")
    said = run(folders=[{"path": str(tmp_path / "file/below")}])
    assert said["failed"] and str(tmp_path / "file") in said["msg"], said


def test_a_new_file_is_never_open_to_others(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[A2] Not even for the moment between its move and its mode: secrets are written like this."""
    file = tmp_path / "secrets"
    seen: list[str] = []
    move = AnsibleModule.atomic_move

    def watched(self: AnsibleModule, src: str, dest: str, **options: Any) -> None:
        move(self, src, dest, **options)
        seen.append(mode(Path(dest)))

    monkeypatch.setattr(AnsibleModule, "atomic_move", watched)
    run(files=[{"path": str(file), "content": "x", "mode": "0600"}])
    assert (seen, mode(file)) == (["0o600"], "0o600")


def test_links_are_made_and_corrected(run: Any, tmp_path: Path) -> None:
    """[A9] Also over a file, or a link that leads elsewhere; what they lead to need not be there."""
    wants, other = tmp_path / "wants/app.socket", tmp_path / "other"
    other.symlink_to("/nowhere")
    wanted = {"links": [{"path": str(wants), "to": "/etc/app.socket"}, {"path": str(other), "to": "/etc/x"}]}
    assert run(check=True, **wanted)["changes"] == [str(wants), str(other)]
    assert not wants.is_symlink()
    assert run(**wanted)["changes"] == [str(wants), str(other)]
    assert (str(wants.readlink()), str(other.readlink())) == ("/etc/app.socket", "/etc/x")
    assert run(**wanted)["changed"] is False
