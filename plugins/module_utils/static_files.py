# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Static files of an installed package: where they are in a release, and that nginx may read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.run import CommandError


def installed(folder: Path, static: str) -> Path | None:
    """The folder ``static`` of a package that a release has installed; None when it is the release's own, or there is none.

    :arg folder: the release.
    :arg static: `blog/static`, or with `site-packages/` before it.
    """
    place = folder / static
    if place.is_dir():
        return place if ".venv" in place.relative_to(folder).parts else None
    named = f".venv/lib/python*/site-packages/{static.removeprefix('site-packages/')}"
    return next((found for found in sorted(folder.glob(named)) if found.is_dir()), None)


def open_packages(folder: Path, static: Mapping[str, str], as_builder: Callable[..., object]) -> None:
    """Link what lies in a package, and let nginx read it: the builder's virtual environment is nobody else's.

    The builder opens it, and not root: a link that the build left could lead root anywhere. Others may pass through the folders on
    the way, without seeing what else is there. A folder that is nowhere is a mistake: its files would all answer 404.
    """
    for prefix, said in sorted(static.items()):
        named = said.strip("/")
        place = installed(folder, named)
        if place is None:
            if not (folder / named).is_dir():
                raise CommandError(f"app_static: {prefix}: the folder {said} is neither in the release nor in a package that it installs")
            continue
        link = folder / ".static" / prefix.strip("/")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(place, link.parent))
        way = [parent for parent in place.parents if parent.is_relative_to(folder / ".venv")]
        as_builder(folder, "chmod", "o+x", *(str(parent.relative_to(folder)) for parent in reversed(way)))
        as_builder(folder, "chmod", "-R", "o+rX", str(place.relative_to(folder)))
