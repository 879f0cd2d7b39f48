"""Who answers for which name in nginx's configuration, read as nginx reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.nginx_sites import (
    Server,
    answers_for,
    defaults_of_others,
    in_the_way,
    parse,
    port_of,
    read,
)

MAIN = """events { worker_connections 768; }
http {
    include mime.types;
    include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*;
}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Path:
    """nginx's folder as Debian has it."""
    for name in ("conf.d", "sites-enabled", "sites-available"):
        (tmp_path / name).mkdir()
    (tmp_path / "nginx.conf").write_text(MAIN)
    (tmp_path / "mime.types").write_text("types { text/html html; }\n")
    return tmp_path


def server(*names: str, ports: tuple[int, ...] = (80,), default: tuple[int, ...] = (), ours: bool = False, file: str = "x") -> Server:
    return Server(f"/etc/nginx/sites-enabled/{file}", "", 1, [*names], [*ports], [*default], ours)


def test_servers_are_found_through_includes_and_links(nginx: Path) -> None:
    """[F3] Under the name that nginx reads, with the file that is behind it."""
    text = (
        "# blog\nserver {\n    listen 80;\n    listen [::]:443 ssl default_server;\n    server_name Blog.example.com www.example.com;\n}\n"
    )
    (nginx / "sites-available/blog").write_text(text)
    (nginx / "sites-enabled/a-blog").symlink_to(nginx / "sites-available/blog")
    (nginx / "conf.d/ours.conf").write_text("# slipway:nginx\nserver { server_name shop.example.com; }")
    (nginx / "conf.d/notes.txt").write_text("server {}")
    found = read(nginx)
    assert found.servers == [
        Server("/etc/nginx/conf.d/ours.conf", "", 2, ["shop.example.com"], [80], [], True),
        Server(
            "/etc/nginx/sites-enabled/a-blog",
            "/etc/nginx/sites-available/blog",
            2,
            ["blog.example.com", "www.example.com"],
            [80, 443],
            [443],
            False,
        ),
    ]
    assert "/etc/nginx/sites-enabled/*" in found.includes and found.unread == []


def test_what_cannot_be_read_hides_nothing_else(nginx: Path) -> None:
    """[F8] It is said, by file."""
    (nginx / "sites-enabled/a").write_text("server { listen 80;")
    (nginx / "sites-enabled/b").write_text("}")
    (nginx / "sites-enabled/c").write_text("server { server_name c.example.com; listen 80; }")
    found = read(nginx)
    assert [one.names for one in found.servers] == [["c.example.com"]]
    assert [one.split(":")[0] for one in found.unread] == ["/etc/nginx/sites-enabled/a", "/etc/nginx/sites-enabled/b"]


def test_files_that_include_each_other_end(nginx: Path) -> None:
    (nginx / "conf.d/a.conf").write_text("include conf.d/a.conf; server { server_name a.example.com; }")
    assert {one.names[0] for one in read(nginx).servers} == {"a.example.com"}


def test_without_nginx_there_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none").servers == []


def test_quotes_comments_and_variables() -> None:
    """Braces within them are no braces."""
    text = """server { # listen 81; }
      server_name "~^(?<x>.{2,3})\\.example\\.com$" 'b.example.com';
      set $y "}"; return 301 https://${host}/a;
      location ~ ^/x{0} { proxy_pass http://u; }
    }"""
    with pytest.raises(ValueError, match="closes nothing"):
        parse(text + "}")
    (found,) = parse(text.replace("^/x{0}", '"^/x{0}"'))
    assert found.block[0].words == ["server_name", "~^(?<x>.{2,3})\\.example\\.com$", "b.example.com"]
    assert [one.words[0] for one in found.block] == ["server_name", "set", "return", "location"]


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("80", 80),
        ("*:8080", 8080),
        ("[::]:443", 443),
        ("[::1]", 80),
        ("127.0.0.1", 80),
        ("192.0.2.1:81", 81),
        ("unix:/run/x.sock", 0),
        ("localhost:82", 82),
    ],
)
def test_ports(address: str, port: int) -> None:
    assert port_of(address) == port


@pytest.mark.parametrize(
    ("listen", "default"),
    [
        ("80 default_server", [80]),
        ("[::]:443 ssl default", [443]),
        ("127.0.0.1:80 default_server", []),
        ("localhost default_server", []),
        ("80", []),
    ],
)
def test_a_default_server_of_one_address_is_none_of_ours(nginx: Path, listen: str, default: list[int]) -> None:
    (nginx / "conf.d/a.conf").write_text(f"server {{ listen {listen}; }}")
    assert read(nginx).servers[0].default == default


@pytest.mark.parametrize(
    ("name", "said", "fits"),
    [
        ("blog.example.com", "blog.example.com", True),
        ("blog.example.com", ".blog.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", ".example.com", True),
        # nginx prefers our exact name.
        ("blog.example.com", "*.example.com", False),
        ("blog.example.com", ".example.com", False),
        ("blog.example.com", "~^blog", False),
        ("blog.example.com", "_", False),
    ],
)
def test_names_that_meet(name: str, said: str, fits: bool) -> None:
    """[F3]"""
    assert answers_for(server(said), name) is fits


def test_ours_are_not_in_the_way() -> None:
    """[F3] But a site of ours for an app that is gone is."""
    mine, former = server("a.example.com", ours=True, file="blog.conf"), server("a.example.com", ours=True, file="old.conf")
    elsewhere, other = server("a.example.com", ports=(8080,)), server("a.example.com", ports=(443,))
    assert in_the_way([mine, former, elsewhere, other], ["a.example.com"], ["blog.conf"]) == [former, other]
    catch = server("_", default=(80,))
    assert defaults_of_others([server("_", default=(80,), file="slipway-default.conf")]) == []
    assert defaults_of_others([catch, server("_", default=(80,), ours=True), server("_", default=(8080,))]) == [catch]
