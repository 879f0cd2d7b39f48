"""Whose our names are on a host: ours by the marks that the roles leave, others by what packages and files say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import Group
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather import (
    names,
)
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs

from .conftest import Fake

PASSWD = "root:x:0:0:root:/root:/bin/bash\nblog:x:1000:1000:Ada:/home/blog:/bin/bash\n"


def test_a_person_of_our_name(fake: Fake, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    """[F3] Keys, a password, and that this run logs in as it; from whichever directory getent asks."""
    monkeypatch.setenv("SUDO_USER", "blog")
    host = fake(
        {
            "/etc/passwd": PASSWD,
            "/etc/shadow": "root:*:1::::::\nblog:$y$j9T$x:1::::::\n",
            "/home/blog/.ssh/authorized_keys": "# mine\nssh-ed25519 AAAA ada\n\nssh-rsa BBBB ada\n",
        },
        {"getent passwd": (2, PASSWD.splitlines()[1] + "\n"), "getent group": "blog:x:1000:ada,bob\n"},
    )
    found = names.gather(host, needs)
    (account,) = found.accounts
    assert (account.name, account.uid, account.keys, account.password, account.connected, account.ours) == (
        "blog",
        1000,
        2,
        True,
        True,
        False,
    )
    assert found.groups == [Group("blog", 1000, ["ada", "bob"], ["blog"])]


def test_nothing_of_our_names(fake: Fake, needs: Needs) -> None:
    """[F3] A clean machine, and empty folders."""
    found = names.gather(fake({"/srv/blog": None, "/etc/passwd": PASSWD}, {"getent": (2, "")}), needs)
    assert found == names.Names([], [], [], [], [], [])
    assert not names.machine_is_ours(fake())


def test_what_the_roles_write_is_ours(fake: Fake, needs: Needs) -> None:
    """[F3] By the user's comment, app.json, and the mark in each file."""
    app = {"name": "blog", "root": "/srv/blog", "log_dir": "/var/log/blog", "tls": {"dir": "/etc/ssl/blog"}}
    host = fake(
        {
            "/etc/blog/app.json": json.dumps(app),
            "/etc/blog/files/x": "",
            "/srv/blog/shared/x": "",
            "/var/log/blog/backup.log": "",
            "/var/backups/blog/20261120/manifest.json": "{}",
            "/etc/ssl/blog/privkey.pem": "",
            "/etc/systemd/system/blog.service": "# slipway:server\n[Unit]\n",
            "/etc/systemd/system/blog-worker@.service": "# slipway:server\n",
            "/etc/logrotate.d/blog": "# slipway:logs\n",
            "/etc/nginx/sites-available/blog.conf": "# slipway:nginx\n",
            "/etc/nginx/sites-enabled/blog.conf": "-> ../sites-available/blog.conf",
            "/usr/local/lib/slipway/current": "-> 0.1.0",
        },
        {"getent passwd": "blog:x:997:997:blog (Slipway):/srv/blog:/usr/sbin/nologin\n", "getent group": "blog:x:997:\n"},
    )
    found = names.gather(host, needs)
    assert len(found.units) == 2 and len(found.files) == 3 and len(found.folders) == 5
    assert all(one.ours for one in found.accounts) and all(one.ours for one in found.groups)
    assert all(folder.ours for folder in found.folders) and all(file.ours for file in [*found.units, *found.files])
    assert names.machine_is_ours(host)


def test_an_operators_own_template_is_ours(fake: Fake, needs: Needs) -> None:
    """[F3] templates/nginx of the inventory need not carry our mark; on a machine where the app was never, the same file is somebody's."""
    files = {"/etc/nginx/sites-available/blog.conf": "server { server_name blog.example.com; }\n"}
    assert [file.ours for file in names.gather(fake(files, {"getent": (2, "")}), needs).files] == [False]
    here = {"getent passwd": "blog:x:997:997:blog (Slipway):/srv/blog:/usr/sbin/nologin\n"}
    found = names.gather(fake(commands=here), needs)
    assert [file.ours for file in found.files] == [True] and found.apps == ["blog"]


def test_what_an_older_slipway_left_is_ours(fake: Fake, needs: Needs) -> None:
    """[F3] Without app.json; a user without the comment, beside files with the mark."""
    host = fake(
        {
            "/etc/blog/gunicorn.conf.py": "# slipway:server\n",
            "/srv/blog/releases/20261120T072201-abc/release.json": "{}",
            "/var/log/blog/x.log": "",
        },
        {"getent passwd": "blog:x:997:997::/srv/blog:/usr/sbin/nologin\n", "getent group": "blog:x:997:\n"},
    )
    found = names.gather(host, needs)
    assert [folder.path for folder in found.folders] == ["/srv/blog", "/etc/blog", "/var/log/blog"]
    assert [one.ours for one in found.accounts] == [one.ours for one in found.groups] == [True]
    assert all(folder.ours for folder in found.folders)


def test_what_a_removed_app_left_is_ours(fake: Fake, needs: Needs) -> None:
    """[F2] Its backups stay when it goes."""
    host = fake({"/var/backups/blog/20261120/manifest.json": "{}", "/var/backups/shop/mine.sql": ""}, {"getent": (2, "")})
    assert [(folder.path, folder.ours) for folder in names.gather(host, needs).folders] == [
        ("/var/backups/blog", True),
        ("/var/backups/shop", False),
    ]


def test_a_folder_that_an_app_of_ours_takes_anew(fake: Fake, needs: Needs) -> None:
    """[F3] app_root was changed to one that holds something of others."""
    moved = replace(needs, apps=[replace(needs.apps[0], folders=["/opt/data", "/srv/blog"])])
    files = {"/etc/blog/app.json": json.dumps({"name": "blog", "root": "/srv/blog"}), "/opt/data/x": "", "/srv/blog/shared/x": ""}
    host = fake(files, {"getent passwd": "blog:x:997:997:blog (Slipway):/srv/blog:/usr/sbin/nologin\n"})
    assert [(folder.path, folder.ours) for folder in names.gather(host, moved).folders] == [("/opt/data", False), ("/srv/blog", True)]


def test_units_and_files_of_others(fake: Fake, needs: Needs) -> None:
    """[F3] By hand, of a package, masked, of init.d; and whether it runs."""
    host = fake(
        {
            "/etc/systemd/system/blog.service": "[Service]\n",
            "/etc/systemd/system/shop.service": "-> /dev/null",
            "/usr/lib/systemd/system/blog-backup.timer": "[Timer]\n",
            "/etc/init.d/shop": "#!/bin/sh\n",
            "/etc/cron.d/blog-backup": "0 3 * * * root x\n",
            "/etc/redis/redis-shop.conf": "port 6380\n",
            "/proc/44/cgroup": "0::/system.slice/blog.service\n",
        },
        {"getent": (2, ""), "dpkg-query --search": (1, "blog-tools: /lib/systemd/system/blog-backup.timer\n")},
    )
    found = names.gather(host, needs)
    assert {(unit.path, unit.stem, unit.package, unit.active) for unit in found.units} == {
        ("/etc/systemd/system/blog.service", "blog", "", True),
        ("/etc/systemd/system/shop.service", "shop", "", False),
        ("/usr/lib/systemd/system/blog-backup.timer", "blog-backup", "blog-tools", False),
        ("/etc/init.d/shop", "shop", "", False),
    }
    assert [file.path for file in found.files] == ["/etc/cron.d/blog-backup", "/etc/redis/redis-shop.conf"]
    assert not any(one.ours for one in (*found.units, *found.files))


def test_what_waits_for_a_user_of_our_name(fake: Fake, needs: Needs) -> None:
    """[K2] Rules of sudo and a crontab, of one who is there and of one who is gone; and the groups of the first."""
    host = fake(
        {
            "/etc/sudoers": "root ALL=(ALL) ALL\n# blog ALL=(ALL) ALL\n",
            "/etc/sudoers.d/old": "Defaults x\nblog ALL=(ALL) NOPASSWD: ALL\n",
            "/var/spool/cron/crontabs/shop": "* * * * * true\n",
            "/etc/group": "docker:x:990:ada,blog\nblog:x:997:\n",
        },
        {"getent passwd": "blog:x:997:997::/srv/blog:/usr/sbin/nologin\n", "getent group": "blog:x:997:\n"},
    )
    blog, shop = names.gather(host, needs).accounts
    assert (blog.uid, blog.groups, blog.rights) == (997, ["docker"], ["/etc/sudoers.d/old"])
    assert (shop.uid, shop.rights) == (-1, ["/var/spool/cron/crontabs/shop"])


def test_folders_that_are_links_or_files_or_somebodys(fake: Fake, needs: Needs, tmp_path: Path) -> None:
    """[K2] A link leads somewhere else, a file cannot be a folder, and an empty folder may have an owner who means to write there."""
    uid = tmp_path.stat().st_uid
    host = fake(
        {
            "/home/ada/site": None,
            "/srv/blog": f"-> {tmp_path}/home/ada/site",
            "/etc/blog": "a file\n",
            "/srv/shop": "-> /nowhere/at/all",
            "/var/log/shop": None,
            "/etc/passwd": f"ada:x:{uid}:1000::/home/ada:/bin/bash\n",
        },
        {"getent": (2, "")},
    )
    found = {folder.path: folder for folder in names.gather(host, needs).folders}
    assert set(found) == {"/srv/blog", "/etc/blog", "/srv/shop", "/var/log/shop"} and not any(one.ours for one in found.values())
    assert (found["/srv/blog"].target, found["/srv/blog"].is_folder) == ("/home/ada/site", True)
    assert not found["/etc/blog"].is_folder and not found["/srv/shop"].is_folder
    assert (found["/var/log/shop"].owner, found["/var/log/shop"].entries) == ("ada", 0)


def test_a_folder_above_is_a_link(fake: Fake, needs: Needs, tmp_path: Path) -> None:
    """[K2] /srv leads to /home: nothing is there yet, and no app could look into it. To another disk it may lead."""
    host = fake({"/home/www": None, "/srv": f"-> {tmp_path}/home/www", "/data": None}, {"getent": (2, "")})
    assert [(folder.path, folder.target) for folder in names.gather(host, needs).folders] == [
        ("/srv/blog", "/home/www/blog"),
        ("/srv/shop", "/home/www/shop"),
    ]
    (tmp_path / "srv").unlink()
    (tmp_path / "srv").symlink_to(tmp_path / "data")
    assert names.gather(host, needs).folders == [] and host.real("/srv/blog") == "/data/blog"


def test_drop_ins_of_others(fake: Fake, needs: Needs) -> None:
    """[K2] They would change a unit of ours; beside one of ours they are the operator's own."""
    files = {"/etc/systemd/system/blog.service.d/user.conf": "[Service]\nUser=root\n"}
    assert [unit.path for unit in names.gather(fake(files, {"getent": (2, "")}), needs).units] == ["/etc/systemd/system/blog.service.d"]
    host = fake({"/etc/systemd/system/blog.service": "# slipway:server\n"}, {"getent": (2, "")})
    assert [unit.ours for unit in names.gather(host, needs).units] == [True]
