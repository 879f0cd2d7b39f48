"""Secrets from a file to systemd's credentials and back, by a deploy: units, commands, and what goes at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.releases import LIVE, RETIRED, Release
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import delivery
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core.delivery import CREDENTIALS, FILE, Delivery

from .fakes import NEW, OLD, Existing, Host, Make

UNIT = "# slipway:app blog\n[Service]\nEnvironmentFile=-{0}\nExecStart=/usr/bin/env -- celery\n"


@pytest.fixture
def secrets(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """They are kept both ways, as in a switch; systemd encrypts nothing here."""
    monkeypatch.setattr(delivery, "PROGRAM", tmp_path)
    monkeypatch.setattr(Delivery, "_decrypted", lambda self, path: path.read_text())
    path = root / "etc/secrets"
    path.write_text('DATABASE_URL="postgresql:///blog"\n')
    delivery.sealed(path).write_text('DATABASE_URL="postgresql:///blog"\n')
    return path


def how(way: str) -> dict[str, Any]:
    return {"confinement": {"secrets_delivery": way}}


def test_a_release_of_before_gets_its_secrets_as_today(deploy: Make, existing: Existing, root: Path, host: Host, secrets: Path) -> None:
    """[A15] [A11] A rollback across the switch: its units are kept as they were built, and systemd gets them as today."""
    existing(OLD, RETIRED)
    units = root / "srv/releases" / OLD / ".units"
    units.mkdir(exist_ok=True)
    (units / "blog-worker@.service").write_text(UNIT.format(secrets))
    release = deploy().store.load(OLD)
    assert isinstance(release, Release)
    (text,) = deploy(**how(CREDENTIALS)).switcher.units.of(release).values()
    assert f"LoadCredentialEncrypted=secrets:{secrets}.cred\n" in text and "EnvironmentFile" not in text and text.count("/bin/sh -c ") == 1
    (text,) = deploy(**how(FILE)).switcher.units.of(release).values()
    assert text == UNIT.format(secrets)


def test_a_command_of_a_deploy_finds_them(deploy: Make, waiting: None, host: Host, secrets: Path) -> None:
    """[A13] [A11] By a shell that becomes the command; nothing of them in an argument."""
    host.revision, host.upgrades_to = "0001", "0002"
    deploy(release=NEW, migrate_command="flask db upgrade", **how(CREDENTIALS)).do("migrate")
    words = next(words for words in host.transients if "--unit=blog-migrate-step.service" in words)
    assert f"--property=LoadCredentialEncrypted=secrets:{secrets}.cred" in words and words[-4] == "sh"
    assert 'set -a; . "$$CREDENTIALS_DIRECTORY/secrets"; set +a; exec "$$@"' in words and words[-3:] == ("flask", "db", "upgrade")
    assert not [word for word in words if "postgresql" in word or "EnvironmentFile=-" in word]


def test_the_database_is_found_either_way(deploy: Make, existing: Existing, secrets: Path) -> None:
    """[A13]"""
    release = existing(NEW, LIVE, current=True)
    for way, gone in ((CREDENTIALS, secrets), (FILE, delivery.sealed(secrets))):
        content = gone.read_text()
        gone.unlink()
        assert deploy(**how(way)).migrator.environment(release)["DATABASE_URL"] == "postgresql:///blog"
        gone.write_text(content)


def test_no_copy_stays_behind(deploy: Make, existing: Existing, root: Path, host: Host, secrets: Path) -> None:
    """[A11] [S1] Gone when the release that was built for it serves; not while a unit may still be started with it."""
    existing(NEW, LIVE, current=True, running=True)
    existing(OLD, RETIRED, processes={"worker": {"command": "celery"}})
    late = root / "system" / f"blog-worker@{OLD}.service"
    late.write_text(UNIT.format(secrets))
    host.active.add(late.name)
    moved = deploy(**how(CREDENTIALS))
    assert not moved.switcher.units.secrets_left()
    moved.do("prune")
    assert secrets.exists() and delivery.sealed(secrets).exists()
    late.unlink()
    live = moved.store.live()
    assert live and moved.switcher.left_over(live), "the next run finishes it"
    moved.do("prune")
    assert not secrets.exists() and delivery.sealed(secrets).exists() and not moved.switcher.units.secrets_left()


def test_a_unit_with_credentials_keeps_those(deploy: Make, existing: Existing, root: Path, host: Host, secrets: Path) -> None:
    """[A11] The way back: /etc/blog/secrets is the beginning of the other's name."""
    existing(NEW, LIVE, current=True, running=True)
    unit = root / "system/blog@.service"
    unit.write_text(f"LoadCredentialEncrypted=secrets:{secrets}.cred\n")
    back = deploy(**how(FILE))
    assert not back.switcher.units.secrets_left()
    unit.write_text(UNIT.format(secrets))
    assert back.switcher.units.secrets_left() and not deploy(**how(CREDENTIALS)).switcher.units.secrets_left()


def test_another_apps_units_are_not_asked(deploy: Make, existing: Existing, root: Path, secrets: Path) -> None:
    """[F2]"""
    existing(NEW, LIVE, current=True, running=True)
    (root / "system/shop-worker@1.service").write_text(UNIT.format(secrets))
    assert deploy(**how(CREDENTIALS)).switcher.units.secrets_left()


def test_the_form_of_today_is_part_of_a_release(deploy: Make, secrets: Path, root: Path) -> None:
    """[A5] A changed secret asks for a new release, also where it is encrypted; what waits to be removed does not."""
    files = [str(secrets)]
    moved = deploy(runtime_files=files, **how(CREDENTIALS))
    wanted = moved.builder.fingerprint()
    secrets.unlink()
    assert deploy(runtime_files=files, **how(CREDENTIALS)).builder.fingerprint() == wanted
    delivery.sealed(secrets).write_text("other")
    assert deploy(runtime_files=files, **how(CREDENTIALS)).builder.fingerprint() != wanted
