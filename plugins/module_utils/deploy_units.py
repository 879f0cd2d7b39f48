# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a release runs besides Gunicorn: background processes and timers, as they were when it was built.

The role server writes their units into `/etc/<app>/units`; a build keeps a copy in the release (`.units`), and a switch gives systemd
that copy. So going back to a release brings back what it had, whatever the inventory says today:

- `<app>-<process>@.service` becomes `<app>-<process>@<release>.service`, a unit of this release alone;
- `<app>-<timer>.timer` and `.service` have one name in all releases: systemd runs one at a time, and remembers when and how.

Releases built before there was such a copy have the templates that were in systemd's folder then; those stay as long as such a release
does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import HostedApp
from ansible_collections.slipway.vps.plugins.module_utils.releases import FAILED, Release
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.files import relink, remove, write_atomically
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.units import is_active, reload_units, start_unit, stop_units

#: Where systemd looks for units, and what it starts at boot.
SYSTEM = Path("/etc/systemd/system")
AT_BOOT = "timers.target.wants"
#: The copy in a release.
COPY = ".units"


class Units:
    """The units of an app's processes and timers."""

    def __init__(self, app: HostedApp) -> None:
        self.settings = app.settings
        self.store = app.store
        self.app = app
        #: A line that each of them has, and no unit of another app.
        self.mark = f"# slipway:app {app.settings.name}\n"

    # --- what a release is built with -----------------------------------------------------------------------------------

    def definitions(self) -> dict[str, Any]:
        """What is wanted, as a manifest keeps it."""
        return {
            "processes": {name: dict(self.settings.processes[name]) for name in sorted(self.settings.processes)},
            "timers": {name: dict(self.settings.timers[name]) for name in sorted(self.settings.timers)},
            "migrate_command": self.settings.migrate_command,
        }

    def described(self) -> str:
        """The same as a part of a fingerprint."""
        return json.dumps(self.definitions(), sort_keys=True)

    def keep(self, folder: Path) -> None:
        """Put a copy into the release."""
        with self.app.step("units"):
            # The source may bring something of that name.
            remove(folder / COPY)
            (folder / COPY).mkdir(mode=0o755)
            for name, text in self.read(self.settings.config_dir / "units").items():
                write_atomically(folder / COPY / name, text, 0o644)

    @staticmethod
    def read(folder: Path) -> dict[str, str]:
        """Name to text of the units in a folder; nothing where there is none."""
        return {path.name: path.read_text() for path in sorted(folder.glob("*.*"))} if folder.is_dir() else {}

    # --- what systemd has -----------------------------------------------------------------------------------------------

    def of(self, release: Release) -> dict[str, str]:
        """The units of a release by the names that systemd is to know them by."""
        copy = self.read(self.store.folder(release.id) / COPY)
        # How secrets are delivered is today's, whenever the release was built.
        return {name.replace("@.", f"@{release.id}."): self.app.delivery.unit(text) for name, text in copy.items()}

    def placed(self) -> dict[str, str]:
        """The units of any release that systemd has."""
        found = {path.name: path.read_text() for path in SYSTEM.glob(f"{self.settings.name}-*.*") if path.is_file()}
        return {name: text for name, text in found.items() if self.mark in text}

    def place(self, release: Release) -> None:
        """Give systemd the release's processes, which it can start then."""
        self.write({name: text for name, text in self.of(release).items() if "@" in name}, {})

    def write(self, wanted: dict[str, str], gone: dict[str, str]) -> list[str]:
        """Write what differs and remove what is gone; returns the names of what was changed."""
        placed = self.placed()
        changed = [name for name, text in wanted.items() if placed.get(name) != text]
        for name in changed:
            write_atomically(SYSTEM / name, wanted[name], 0o644)
        for name in gone:
            (SYSTEM / AT_BOOT / name).unlink(missing_ok=True)
            (SYSTEM / name).unlink(missing_ok=True)
        if changed or gone:
            reload_units()
        return changed

    # --- timers ---------------------------------------------------------------------------------------------------------

    def timers_of(self, release: Release) -> dict[str, str]:
        return {name: text for name, text in self.of(release).items() if "@" not in name}

    def timers_gone(self, release: Release) -> dict[str, str]:
        """Timers of other releases, which this one does not have."""
        wanted = self.timers_of(release)
        return {name: text for name, text in self.placed().items() if "@" not in name and name not in wanted}

    def timers_differ(self, release: Release) -> bool:
        """Whether the timers are others than the release's, or one of them does not run."""
        wanted, placed = self.timers_of(release), self.placed()
        off = [name for name in wanted if name.endswith(".timer") and not is_active(name)]
        return bool(off or self.timers_gone(release) or any(placed.get(name) != text for name, text in wanted.items()))

    def switch_timers(self, release: Release) -> None:
        """Let the timers be those of the live release. A job that runs goes on to its end."""
        with self.app.step("timers", outcome=f"release {release.id} serves"):
            gone, wanted = self.timers_gone(release), self.timers_of(release)
            stop_units(*(name for name in gone if name.endswith(".timer")))
            changed = self.write(wanted, gone)
            for name in (name for name in wanted if name.endswith(".timer")):
                (SYSTEM / AT_BOOT).mkdir(exist_ok=True)
                relink(SYSTEM / AT_BOOT / name, SYSTEM / name)
                if name in changed:
                    stop_units(name)
                if not is_active(name):
                    start_unit(name)

    # --- secrets ----------------------------------------------------------------------------------------------------------

    def secrets_left(self) -> bool:
        """Whether secrets are kept in the way that is not today's, and no unit would miss them: one that ends late may start once more."""
        other = self.app.delivery.other
        named = re.compile(rf"[-:]{re.escape(str(other))}$", re.MULTILINE)
        units = (path for path in SYSTEM.glob(f"{self.settings.name}[-@]*.service") if path.is_file())
        return other.exists() and not any(named.search(path.read_text()) for path in units)

    # --- what nobody needs any more -------------------------------------------------------------------------------------

    def tidy(self, needed: set[str]) -> None:
        """Remove the units of releases that neither serve nor end; ``needed``: the ids of those that do."""
        ended = {name: text for name, text in self.placed().items() if "@" in name and name.split("@")[1].rpartition(".")[0] not in needed}
        if unneeded := {**ended, **dict.fromkeys(self.templates_left(), "")}:
            self.write({}, unneeded)

    def templates_left(self) -> Iterator[str]:
        """Templates that only releases without a copy of their units have, where none of those is left."""
        olden = [r for r in self.store.all() if r.state != FAILED and not (self.store.folder(r.id) / COPY).is_dir()]
        needed = {process for release in olden for process in release.processes}
        for path in SYSTEM.glob(f"{self.settings.name}-*@.service"):
            described = re.search(rf"^Description={re.escape(self.settings.name)} (\w+) of release %i$", path.read_text(), re.MULTILINE)
            if described and path.name == f"{self.settings.name}-{described[1]}@.service" and described[1] not in needed:
                yield path.name
