# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Files and folders of a release that outlive it (`app_shared_paths`): they live in `shared`, and each release has a link to them.

The app may write to `shared`, so what is made there is made as the app's user: a link that it left there leads root nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import PARTIAL, remove
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError


def share(folder: Path, shared: Path, paths: Iterable[str], run: Callable[..., str]) -> None:
    """Put a link to each of ``paths`` into the release in ``folder``; what ``shared`` has not yet is made of what the release brings.

    :arg run: runs a command as the app's user.
    """
    for path in paths:
        place, kept = folder / path.rstrip("/"), shared / path.rstrip("/")
        if any(part.is_symlink() for part in (place, *place.parents) if part != folder and part.is_relative_to(folder)):
            raise CommandError(f"app_shared_paths: {path} is, or lies behind, a link of the source: name what it leads to")
        is_folder = path.endswith("/") or place.is_dir()
        if kept.exists() and kept.is_dir() != is_folder and (place.exists() or is_folder):
            there = "folder" if kept.is_dir() else "file"
            raise CommandError(f"app_shared_paths: {path} is a {'folder' if is_folder else 'file'} in the release, and {kept} is a {there}")
        if not os.path.lexists(kept):
            make(kept, place, is_folder, run)
        remove(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(kept, place.parent))


def make(kept: Path, place: Path, is_folder: bool, run: Callable[..., str]) -> None:
    """The first time. A file that the release does not bring is the app's to write: it does so through the link."""
    run("mkdir", "-p", "--", str(kept.parent))
    if place.exists():
        # Under its name when it is whole: a run that is cut off leaves nothing that would pass for it.
        partial = kept.with_name(f"{PARTIAL}{kept.name}")
        run("rm", "-rf", "--", str(partial))
        run("cp", "--recursive", "--no-dereference", "--preserve=mode,timestamps", "--", str(place), str(partial))
        run("mv", "-T", "--", str(partial), str(kept))
    elif is_folder:
        run("mkdir", "--", str(kept))
