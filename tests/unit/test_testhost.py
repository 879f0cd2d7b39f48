"""The test hosts: what is read from this machine, and when an image is built anew."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from .conftest import ROOT

Machine = Callable[..., None]


@pytest.fixture
def testhost(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/testhost.py, which runs no command here."""
    spec = importlib.util.spec_from_file_location("slipway_testhost", ROOT / "tools/testhost.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "run", lambda *words, **options: "")
    return module


@pytest.fixture
def machine(testhost: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """This machine, as far as its files say: each keyword is a file of /etc/apt."""
    monkeypatch.setattr(testhost, "Path", lambda name: tmp_path / name.lstrip("/"))
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "usr/local/share/ca-certificates").mkdir(parents=True)

    def make(distribution: str = "debian", codename: str = "bookworm", **sources: str) -> None:
        (tmp_path / "etc/os-release").write_text(f'NAME="Some Linux"\nID={distribution}\nVERSION_CODENAME={codename}\n')
        for name, text in sources.items():
            (tmp_path / "etc/apt" / {"list": "sources.list"}.get(name, f"sources.list.d/{name.replace('_', '.')}")).write_text(text)

    return make


MIRROR = "http://mirror.example/debian"
ONE_LINE = f"""\
# deb http://old.example/debian bookworm main
deb {MIRROR} bookworm main contrib
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] {MIRROR} bookworm-updates contrib main
deb-src {MIRROR} bookworm main
deb http://other.example/docker bookworm stable
deb http://other.example/tools stable main
"""
DEB822 = f"""\
# our mirror
Types: deb deb-src
URIs: {MIRROR} http://second.example/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {MIRROR}-security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://other.example/docker
Suites: bookworm
Components: stable
"""


def test_one_line_sources(testhost: ModuleType, machine: Machine) -> None:
    """Of the suite asked for; neither comments, sources, nor other people's repositories."""
    machine(list=ONE_LINE, extra_list="deb http://third.example/debian bookworm-backports main\n")
    assert testhost.apt_sources("trixie") == [
        f"deb {MIRROR} trixie main",
        f"deb {MIRROR} trixie-updates main",
        "deb http://third.example/debian trixie-backports main",
    ]
    assert f"deb {MIRROR} bookworm-updates main" in testhost.apt_sources("bookworm")


def test_deb822_sources(testhost: ModuleType, machine: Machine) -> None:
    """Every address with every suite of a stanza."""
    machine(debian_sources=DEB822)
    assert testhost.apt_sources("trixie") == sorted(
        [
            *(f"deb {uri} trixie{part} main" for uri in (MIRROR, "http://second.example/debian") for part in ("", "-updates")),
            f"deb {MIRROR}-security trixie-security main",
        ]
    )


def test_a_source_named_twice_is_used_once(testhost: ModuleType, machine: Machine) -> None:
    """apt warns, mmdebstrap fails."""
    machine(list=f"deb {MIRROR} bookworm main\n", debian_sources=f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main\n")
    assert testhost.apt_sources("bookworm") == [f"deb {MIRROR} bookworm main"]


@pytest.mark.parametrize(("distribution", "codename"), [("ubuntu", "noble"), ("debian", ""), ("fedora", "")])
def test_elsewhere_mmdebstrap_knows_the_mirror(testhost: ModuleType, machine: Machine, distribution: str, codename: str) -> None:
    """Ubuntu's mirrors have no Debian; Debian sid has no code name."""
    machine(distribution, codename, list=f"deb http://archive.example/ubuntu {codename or 'sid'} main\n")
    assert testhost.apt_sources("trixie") == []


def test_a_machine_without_sources(testhost: ModuleType, machine: Machine) -> None:
    machine()
    assert testhost.apt_sources("trixie") == []


def test_proxies_are_handed_on(testhost: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of apt, and nothing else of its settings."""
    dump = (
        'APT::Architecture "amd64";\nAcquire::http::Proxy "http://p:3128";\nAcquire::https::Proxy::x "DIRECT";\nAcquire::http::Proxy "";\n'
    )
    monkeypatch.setattr(testhost, "run", lambda *words, **options: dump)
    assert testhost.apt_proxies() == ['Acquire::http::Proxy "http://p:3128";', 'Acquire::https::Proxy::x "DIRECT";']


def test_the_images_hold_the_packages_of_every_role(testhost: ModuleType) -> None:
    """A list `<role>_packages` in a role's defaults is found by itself."""
    packages = testhost.role_packages()
    assert packages == sorted(set(packages))
    for defaults in ROOT.glob("roles/*/defaults/main.yml"):
        wanted = (yaml.safe_load(defaults.read_text()) or {}).get(f"{defaults.parents[1].name}_packages", [])
        assert set(wanted) <= set(packages), defaults
    assert {"nginx", "ufw", "certbot", "postgresql", "brotli"} <= set(packages)


def test_role_packages_reads_the_defaults(testhost: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role, text in {
        "a": "a_packages: [zip, nginx]\nb_packages: [not-mine]\na_more_packages: [brotli]\na_dns_packages: '{{ [] }}'",
        "b": "# nothing",
        "c": "c_packages: [nginx]",
    }.items():
        (tmp_path / f"roles/{role}/defaults").mkdir(parents=True)
        (tmp_path / f"roles/{role}/defaults/main.yml").write_text(text)
    monkeypatch.setattr(testhost, "ROOT", tmp_path)
    assert testhost.role_packages() == ["brotli", "nginx", "zip"]


def test_an_image_is_built_anew_when_what_it_is_made_of_changes(
    testhost: ModuleType, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages, sources, proxies, index, authorities, recipe, suite; and each week, for updates."""
    machine(list=ONE_LINE)
    clock = 1_800_000_000.0
    monkeypatch.setattr(testhost.time, "time", lambda: clock)
    keys = {"first": testhost.image_key("trixie"), "other suite": testhost.image_key("bookworm"), "bare": testhost.image_key("bare")}
    clock += 3600
    assert testhost.image_key("trixie") == keys["first"], "it is built anew for nothing"

    changes: dict[str, Callable[[], object]] = {
        "packages": lambda: monkeypatch.setattr(testhost, "role_packages", lambda: ["nginx"]),
        "proxies": lambda: monkeypatch.setattr(testhost, "apt_proxies", lambda: ["x"]),
        "index": lambda: monkeypatch.setattr(testhost, "pip_index", lambda: "https://index.example/simple"),
        "base": lambda: monkeypatch.setattr(testhost, "BASE_PACKAGES", ["systemd"]),
        "tests": lambda: monkeypatch.setattr(testhost, "TEST_PACKAGES", []),
        "recipe": lambda: monkeypatch.setattr(testhost, "build_image", testhost.image),
        "settings": lambda: monkeypatch.setattr(testhost, "settings_hooks", testhost.image),
        "sources": lambda: machine(list=ONE_LINE.replace("mirror", "mirror2")),
        "authority": lambda: (tmp_path / "usr/local/share/ca-certificates/corp.crt").write_text("A"),
    }
    for what, change in changes.items():
        change()
        keys[what] = testhost.image_key("trixie")
    (tmp_path / "usr/local/share/ca-certificates/corp.crt").write_text("B")
    keys["authority renewed"] = testhost.image_key("trixie")
    clock += 7 * 86400
    keys["a week later"] = testhost.image_key("trixie")
    assert len(set(keys.values())) == len(keys), keys


def test_the_demo_runs_as_the_scenarios_do(testhost: ModuleType) -> None:
    """One file says how: molecule reads it as it is, `docker run` gets each of its keys as an option."""
    shared = yaml.safe_load(testhost.PLATFORMS.read_text())
    known = {*testhost.FLAGS, "cgroupns_mode", "env", "command", "pre_build_image"}
    assert known >= {*shared["molecule_host"], *shared["molecule_neighbour"]}
    options, command = testhost.platform("host")
    assert command == ["/lib/systemd/systemd"]
    assert {"--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--cgroupns=host", "--tmpfs=/run"} <= set(options)
    assert "--env=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1" in options
    options, command = testhost.platform("neighbour")
    assert command[:2] == ["sh", "-c"] and f"--volume={testhost.ACME}:/acme:ro" in options
