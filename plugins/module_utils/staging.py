# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""nginx's configuration as a whole: what would change, whether nginx takes it, and only then the change.

nginx is asked about a copy of its folder with the change in it, so the live folder never holds what nginx refuses.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.nginx_sites import FOLDER, Server, defaults_of_others, in_the_way, read
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import free_name, write_atomically

#: Where nginx names a place in its complaint.
_PLACE = re.compile(r" in (?P<file>/\S+):(?P<line>\d+)$", re.MULTILINE)
#: Where files of others go, which nginx is to read no more.
ASIDE = "replaced"
#: What others may have that is ours to switch off.
_SWITCHED = ("sites-enabled/", "conf.d/")
#: Files larger than this are no configuration, and name no path that would have to be changed.
_LARGEST = 1_000_000


class RefusedError(Exception):
    """nginx does not take the configuration; the message is what it said, with the line it means."""


@dataclass
class Wanted:
    """How parts of nginx's folder should be; every path is relative to it."""

    files: Mapping[str, str] = field(default_factory=dict)
    #: Link to target, which is relative to the folder as well.
    links: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()
    #: File, the file it is made of, pattern of the one line that is to be replaced, the line, and pattern of lines that are left out.
    lines: Sequence[tuple[str, str, str, str, str]] = ()
    #: Files of others that nginx is to read no more: a link is removed, a file moves into the folder `ASIDE`.
    aside: Sequence[str] = ()


def edited(text: str, pattern: str, line: str, where: str, without: str = "") -> str:
    """``text`` with ``line`` in place of the line that fits ``pattern``, and without those that fit ``without``; there need be none."""
    text = re.sub(rf"{without}.*\n", "", text, flags=re.MULTILINE) if without else text
    changed, count = re.subn(pattern, lambda _: line, text, count=1, flags=re.MULTILINE)
    if not count:
        raise RefusedError(f"{where} has no line like {pattern}: is it still the package's? (dpkg --verify nginx-common nginx)")
    return changed


def differences(root: Path, wanted: Wanted) -> dict[str, str | None]:
    """Path to new content of each file that differs; None for what is to be a link or to be gone."""
    found: dict[str, str | None] = {}
    for name, text in wanted.files.items():
        path = root / name
        if path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode() or path.stat().st_mode & 0o777 != 0o644:
            found[name] = text
    for name, source, pattern, line, without in wanted.lines:
        origin = root / (source if (root / source).exists() else name)
        if (new := edited(origin.read_text(), pattern, line, str(origin), without)) != (root / name).read_text():
            found[name] = new
    for name, target in wanted.links.items():
        path = root / name
        if not path.is_symlink() or path.readlink() != root / target:
            found[name] = None
    gone = (*wanted.absent, *wanted.aside)
    found.update(dict.fromkeys(name for name in gone if (root / name).exists() or (root / name).is_symlink()))
    return found


def apply(root: Path, wanted: Wanted, changes: Mapping[str, str | None], live: Path | None = None) -> None:
    """Make ``changes`` below ``root``, each file at once. Links name the folder as it is in the end, ``live``."""
    for name, text in changes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            write_atomically(path, text, 0o644)
        elif name in wanted.links:
            path.unlink(missing_ok=True)
            path.symlink_to((live or root) / wanted.links[name])
        elif name in wanted.aside and not path.is_symlink():
            target = root / ASIDE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(free_name(target))
        else:
            path.unlink(missing_ok=True)


def of_others(root: Path, names: Sequence[str], default: bool, own: Sequence[str]) -> list[str]:
    """Files of others that answer for one of these names, or, with ``default``, for every name that no other site has.

    :arg own: what our sites are called, `blog.conf`.
    """
    servers = read(root).servers
    found: list[Server] = in_the_way(servers, names, own)
    if default:
        # The packaged site, too, once somebody has edited it.
        edited = [server for server in servers if server.file == f"{FOLDER}/sites-enabled/default" and not server.ours]
        found = [*found, *defaults_of_others(servers), *edited]
    files = dict.fromkeys(server.file.removeprefix(f"{FOLDER}/") for server in found)
    if kept := [name for name in files if not name.startswith(_SWITCHED)]:
        raise RefusedError(
            f"{', '.join(f'{FOLDER}/{name}' for name in kept)} holds a server that answers in our place: take it out by hand"
        )
    return list(files)


def staged(root: Path, stage: Path, wanted: Wanted, changes: Mapping[str, str | None]) -> None:
    """A copy of ``root`` in ``stage`` with the changes in it, and with every path to ``root`` leading into the copy."""
    shutil.copytree(root, stage, symlinks=True)
    apply(stage, wanted, changes)
    for path in stage.rglob("*"):
        if path.is_symlink():
            target = path.readlink()
            if target.is_relative_to(root):
                path.unlink()
                path.symlink_to(stage / target.relative_to(root))
        elif path.is_file() and path.stat().st_size <= _LARGEST:
            text = path.read_bytes()
            if f"{root}/".encode() in text:
                path.write_bytes(text.replace(f"{root}/".encode(), f"{stage}/".encode()))


def complaint(said: str, stage: Path, root: Path) -> str:
    """nginx's words with the live paths, and the line it means."""
    lines = [line for line in said.strip().splitlines() if not line.endswith("test failed")]
    found = _PLACE.search(said)
    if found:
        path = Path(found["file"])
        text = path.read_text(errors="replace").splitlines() if path.is_file() else []
        if int(found["line"]) <= len(text):
            lines.append(f"line {found['line']}: {text[int(found['line']) - 1].strip()}")
    return "\n".join(lines).replace(str(stage), str(root))


def judge(root: Path, wanted: Wanted, changes: Mapping[str, str | None], nginx: str = "nginx") -> list[str]:
    """Ask nginx about a staged copy. Returns its warnings; RefusedError with its words otherwise."""
    with tempfile.TemporaryDirectory(prefix="slipway-nginx-") as scratch:
        stage = Path(scratch, "nginx")
        staged(root, stage, wanted, changes)
        result = subprocess.run(
            [nginx, "-t", "-c", str(stage / "nginx.conf")], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise RefusedError(complaint(result.stderr, stage, root))
        return [line.replace(str(stage), str(root)) for line in result.stderr.splitlines() if "[warn]" in line]
