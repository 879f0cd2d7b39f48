"""A configuration that nginx refuses never reaches its folder; nginx is a script here that refuses a certain word."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.staging import RefusedError, Wanted, apply, differences, edited, judge, of_others

NGINX = """#!/bin/sh
# As nginx: follows the includes of the file it is given, and nothing else.
conf="$3"
for file in "$conf" $(sed -n 's/^include \\(.*\\);$/\\1/p' "$conf"); do
    line=$(grep -n bogus "$file" | head -1 | cut -d: -f1)
    if [ -n "$line" ]; then
        echo "[emerg] 1#1: unknown directive \\"bogus\\" in $file:$line" >&2
        echo "nginx: configuration file $conf test failed" >&2
        exit 1
    fi
    grep -q odd "$file" && echo "[warn] 1#1: odd in $file:1" >&2
done
exit 0
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "nginx"
    (folder / "sites-enabled").mkdir(parents=True)
    (folder / "nginx.conf").write_text(
        f"worker_cpu_affinity auto;\nevents {{\n\tworker_connections 768;\n}}\ninclude {folder}/sites-enabled/*;\n"
    )
    (folder / "sites-enabled/default").write_text("welcome\n")
    return folder


@pytest.fixture
def nginx(tmp_path: Path) -> str:
    program = tmp_path / "nginx-program"
    program.write_text(NGINX)
    program.chmod(0o755)
    return str(program)


PATTERN = r"^[ \t]*worker_connections[ \t]+\d+;"


def wanted(text: str) -> Wanted:
    return Wanted(
        files={"sites-available/blog.conf": text},
        links={"sites-enabled/blog.conf": "sites-available/blog.conf"},
        absent=["sites-enabled/default"],
        lines=[("nginx.conf", "nginx.conf.distrib", PATTERN, "\tworker_connections 8192;", r"^[ \t]*worker_cpu_affinity")],
    )


def test_what_nginx_takes_is_made(root: Path, nginx: str) -> None:
    """[E10] Files, links, lines and what must go; a second time there is nothing to do."""
    changes = differences(root, wanted("listen 80;\n"))
    assert set(changes) == {"sites-available/blog.conf", "sites-enabled/blog.conf", "sites-enabled/default", "nginx.conf"}
    assert judge(root, wanted("listen 80;\n"), changes, nginx) == []
    apply(root, wanted("listen 80;\n"), changes)
    assert (root / "sites-enabled/blog.conf").readlink() == root / "sites-available/blog.conf"
    assert (root / "sites-enabled/blog.conf").read_text() == "listen 80;\n" and not (root / "sites-enabled/default").exists()
    assert (root / "nginx.conf").read_text().startswith("events {\n\tworker_connections 8192;\n}\n")
    assert (root / "sites-available/blog.conf").stat().st_mode & 0o777 == 0o644
    assert differences(root, wanted("listen 80;\n")) == {}


def test_what_nginx_refuses_is_not(root: Path, nginx: str) -> None:
    """[E10] The folder stays as it was; the message has nginx's words, the live path, and the line."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    changes = differences(root, wanted("listen 80;\nbogus on;\n"))
    with pytest.raises(RefusedError) as refused:
        judge(root, wanted("listen 80;\nbogus on;\n"), changes, nginx)
    said = str(refused.value)
    assert f'unknown directive "bogus" in {root}/sites-enabled/blog.conf:2' in said, said
    assert said.endswith("line 2: bogus on;") and "slipway-nginx-" not in said and "test failed" not in said, said
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_it_is_the_copy_that_is_tested(root: Path, nginx: str) -> None:
    """[E10] A live file that nginx would refuse, and that the change replaces, does not refuse the change."""
    apply(root, wanted("bogus\n"), differences(root, wanted("bogus\n")))
    changes = differences(root, wanted("odd\n"))
    assert judge(root, wanted("odd\n"), changes, nginx) == [f"[warn] 1#1: odd in {root}/sites-enabled/blog.conf:1"]
    assert (root / "sites-available/blog.conf").read_text() == "bogus\n"


def test_drift_is_seen(root: Path, nginx: str) -> None:
    """[E10] A file made writable for others, a link that leads elsewhere, a file in place of a link."""
    now = wanted("listen 80;\n")
    apply(root, now, differences(root, now))
    (root / "sites-available/blog.conf").chmod(0o666)
    assert set(differences(root, now)) == {"sites-available/blog.conf"}
    apply(root, now, differences(root, now))
    (root / "sites-enabled/blog.conf").unlink()
    (root / "sites-enabled/blog.conf").write_text("other")
    assert set(differences(root, now)) == {"sites-enabled/blog.conf"}
    apply(root, now, differences(root, now))
    assert differences(root, now) == {}


def test_the_package_s_file_is_followed(root: Path) -> None:
    """[E10] What an upgrade brings beside ours is taken over, with our line in it."""
    now = wanted("listen 80;\n")
    apply(root, now, differences(root, now))
    (root / "nginx.conf.distrib").write_text("user www-data;\nevents {\n\tworker_connections 1024;\n}\n")
    apply(root, now, differences(root, now))
    assert (root / "nginx.conf").read_text() == "user www-data;\nevents {\n\tworker_connections 8192;\n}\n"
    assert differences(root, now) == {}


def test_a_line_that_is_not_there() -> None:
    """[E10] Somebody rewrote the package's file: said, not guessed."""
    with pytest.raises(RefusedError, match="has no line like"):
        edited("events {}\n", r"^worker_connections", "x", "nginx.conf")


# --- Sites of others ------------------------------------------------------------------------------------


@pytest.fixture
def shared(root: Path) -> Path:
    """Debian's layout, with sites of somebody else."""
    (root / "nginx.conf").write_text("http { include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*; }")
    for name in ("conf.d", "sites-available"):
        (root / name).mkdir()
    (root / "sites-available/old").write_text("server { listen 80; server_name blog.example.com; }")
    (root / "sites-enabled/a-old").symlink_to(root / "sites-available/old")
    (root / "conf.d/wiki.conf").write_text("server { listen 80 default_server; server_name wiki.example.com; }")
    (root / "sites-enabled/blog.conf").write_text("# slipway:nginx\nserver { listen 80; server_name blog.example.com; }")
    (root / "sites-enabled/slipway-default.conf").write_text("# slipway:nginx\nserver { listen 80 default_server; }")
    (root / "sites-enabled/default").write_text("server { listen 80; server_name mine.example.com; }")
    return root


def test_sites_of_others_are_found_by_what_they_answer_for(shared: Path) -> None:
    """[F3] And not by a name that we would guess; ours are left alone."""
    assert of_others(shared, ["blog.example.com"], False, ["blog.conf"]) == ["sites-enabled/a-old"]
    assert of_others(shared, ["wiki.example.com"], False, ["blog.conf"]) == ["conf.d/wiki.conf"]
    assert of_others(shared, [], True, ["blog.conf"]) == ["conf.d/wiki.conf", "sites-enabled/default"]
    assert of_others(shared, ["shop.example.com"], False, ["blog.conf"]) == []


def test_a_link_is_removed_and_a_file_moves_aside(shared: Path, nginx: str) -> None:
    """[F3] What it says stays on the disk; a second time there is nothing to do."""
    aside = of_others(shared, ["blog.example.com", "wiki.example.com"], False, ["blog.conf"])
    changes = differences(shared, Wanted(aside=aside))
    assert judge(shared, Wanted(aside=aside), changes, nginx) == []
    apply(shared, Wanted(aside=aside), changes)
    assert not (shared / "sites-enabled/a-old").is_symlink() and (shared / "sites-available/old").exists()
    assert not (shared / "conf.d/wiki.conf").exists() and "wiki" in (shared / "replaced/conf.d/wiki.conf").read_text()
    assert of_others(shared, ["blog.example.com", "wiki.example.com"], False, ["blog.conf"]) == []


def test_a_server_that_no_file_of_its_own_has_is_left(shared: Path) -> None:
    """[F8] nginx.conf is everybody's."""
    (shared / "nginx.conf").write_text("http { server { listen 80; server_name blog.example.com; } }")
    with pytest.raises(RefusedError, match=r"/etc/nginx/nginx\.conf holds a server"):
        of_others(shared, ["blog.example.com"], False, ["blog.conf"])
