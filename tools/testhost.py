#!/usr/bin/env python3
"""Test hosts: real Debian machines with systemd, and a real ACME server, as containers on this machine.

    testhost.py engine              see to it that a Docker engine answers
    testhost.py images [NAME...]    build the images that are missing or a week old: bookworm, trixie (the default), bare

The images hold what a VPS provider's image holds, and in apt's cache the packages that the roles install:
a converge really installs them, but does not wait for the network. This machine's own apt sources, proxies,
extra CA certificates and pip index are handed to the images (corporate networks need that), and never written
into the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
#: Files of the ACME server, shared by the demo and the scenarios: its CA, its certificate, its configuration.
ACME = CACHE / "acme"
SUITES = ("bookworm", "trixie")
#: How a test host runs in its container, for molecule and for the demo.
PLATFORMS = ROOT / "molecule/shared/group_vars/all.yml"
#: Of molecule's docker driver, the keys that are lists, as `docker run` calls them.
FLAGS = {"capabilities": "cap-add", "security_opts": "security-opt", "volumes": "volume", "tmpfs": "tmpfs"}
#: What a provider's image has, and systemd as PID 1.
BASE_PACKAGES = [
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "sudo", "iproute2"),
    *("ca-certificates", "procps", "openssh-server", "apt-utils"),
]
#: What tools/fresh.py begins with.
BARE_PACKAGES = ["ca-certificates", "git", "make", "python3"]
#: Only for tests, installed from the image's cache: the ACME server, what sends requests and looks for open ports, a clock that can be
#: wrong, and a name server that takes records from certbot.
TEST_PACKAGES = ["pebble", "wrk", "nghttp2-client", "nmap", "faketime", "bind9", "python3-certbot-dns-rfc2136"]


class HostError(Exception):
    """Something this script needs is missing; the message says what to do."""


def say(text: str) -> None:
    print(f"testhost: {text}", flush=True)


def run(*command: str, quiet: bool = False, **options: object) -> str:
    """Run ``command`` and return its output; its own words are shown when it fails."""
    result = subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    if result.returncode != 0:
        if quiet:
            return ""
        raise HostError(f"`{' '.join(command[:6])} …` exited {result.returncode}:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
    return str(result.stdout)


def wait(what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
    """Poll ``ready`` until it is true."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise HostError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.2)


# --- Engine -----------------------------------------------------------------------------------------------------------


def install(*packages: str, where_known: tuple[str, ...] = ()) -> None:
    """Install packages on this machine (Debian or Ubuntu, as root), and those of ``where_known`` that this release has."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise HostError(f"please install {' '.join(packages)} (on Debian or Ubuntu: sudo apt-get install {' '.join(packages)})")
    say(f"installing {' '.join(packages)} on this machine")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", env=environment)
    known = [name for name in where_known if run("apt-cache", "show", name, quiet=True)]
    run("apt-get", "install", "-y", "--no-install-recommends", *packages, *known, env=environment)


def need(program: str, *packages: str) -> None:
    """Install ``packages`` unless ``program`` is on the path."""
    if not shutil.which(program):
        install(*packages)


def engine_answers() -> bool:
    return bool(shutil.which("docker")) and bool(run("docker", "info", "--format={{.ServerVersion}}", quiet=True).strip())


def engine() -> None:
    """See to it that a Docker engine answers: the running one, or one that this script installs and starts."""
    if engine_answers():
        return
    if os.geteuid() != 0:
        raise HostError("no Docker engine answers: start one, or run this as root on Debian or Ubuntu")
    if not shutil.which("dockerd"):
        # The client is a package of its own from Debian 13 on.
        install("docker.io", "iptables", where_known=("docker-cli",))
    say("starting the Docker engine")
    if Path("/run/systemd/system").is_dir():
        run("systemctl", "start", "docker")
    else:
        forget_dead_engine()
        CACHE.mkdir(exist_ok=True)
        log = (CACHE / "dockerd.log").open("w")
        subprocess.Popen(["dockerd"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    wait("the Docker engine's first answer (log: .cache/dockerd.log)", engine_answers)


def forget_dead_engine() -> None:
    """Remove the pid files of an engine that was killed: another process may have its number by now, and dockerd would not start."""
    for path in (Path("/run/docker.pid"), Path("/run/docker/containerd/containerd.pid")):
        if path.exists():
            command = Path("/proc") / path.read_text().strip() / "comm"
            if not command.exists() or command.read_text().strip() not in ("dockerd", "containerd"):
                path.unlink()


# --- Containers -------------------------------------------------------------------------------------------------------


def platform(kind: str) -> tuple[list[str], list[str]]:
    """Options and command of `docker run` for a `host` or a `neighbour` of the scenarios."""
    text = PLATFORMS.read_text().replace("{{ molecule_acme }}", str(ACME))
    wanted = yaml.safe_load(text)[f"molecule_{kind}"]
    options = [f"--{FLAGS[key]}={value}" for key, values in wanted.items() if key in FLAGS for value in values]
    options += [f"--cgroupns={wanted['cgroupns_mode']}"] if "cgroupns_mode" in wanted else []
    options += [f"--env={name}={value}" for name, value in wanted["env"].items()]
    return options, shlex.split(wanted["command"])


# --- Images -----------------------------------------------------------------------------------------------------------


def role_packages() -> list[str]:
    """Every package that a role installs: the lists `<role>_packages` and `<role>_…_packages` of each role's defaults."""
    names: set[str] = set()
    for defaults in sorted(ROOT.glob("roles/*/defaults/main.yml")):
        role = defaults.parents[1].name
        for variable, value in (yaml.safe_load(defaults.read_text()) or {}).items():
            if variable.startswith(f"{role}_") and variable.endswith("_packages") and isinstance(value, list):
                names.update(value)
    return sorted(names)


def apt_sources(suite: str) -> list[str]:
    """This machine's Debian sources, for ``suite``; nothing on another distribution, where mmdebstrap knows the mirror."""
    host = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), flags=re.MULTILINE))
    codename = host.get("VERSION_CODENAME", "")
    if host.get("ID") != "debian" or not codename:
        return []
    return sorted({f"deb {uri} {name.replace(codename, suite, 1)} main" for uri, name in _host_sources() if name.startswith(codename)})


def _host_sources() -> Iterator[tuple[str, str]]:
    folder = Path("/etc/apt")
    for path in [folder / "sources.list", *folder.glob("sources.list.d/*.list")]:
        if path.exists():
            pattern = r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b"
            yield from re.findall(pattern, path.read_text(), flags=re.MULTILINE)
    for path in folder.glob("sources.list.d/*.sources"):
        for stanza in re.split(r"\n\s*\n", re.sub(r"\n[ \t]+", " ", path.read_text())):
            fields = dict(re.findall(r"^(\w[\w-]*):\s*(.*)$", stanza, flags=re.MULTILINE))
            if fields.get("Enabled", "yes") == "no":
                continue
            if "deb" in fields.get("Types", "").split() and "main" in fields.get("Components", "").split():
                yield from ((uri, name) for uri in fields["URIs"].split() for name in fields["Suites"].split())


def apt_proxies() -> list[str]:
    dump = run("apt-config", "dump", quiet=True)
    return [line for line in dump.splitlines() if re.match(r'Acquire::https?::Proxy\S* ".+"', line)]


def extra_authorities() -> list[Path]:
    """CA certificates that this machine trusts beyond the distribution's."""
    return sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt"))


def pip_index() -> str:
    """The package index that pip is told to use on this machine, if any."""
    return run(sys.executable, "-m", "pip", "config", "get", "global.index-url", quiet=True).strip()


def packages(name: str) -> tuple[list[str], list[str]]:
    """Those that an image has, and those that wait in its apt's cache."""
    return (BARE_PACKAGES, []) if name == "bare" else (BASE_PACKAGES, [*role_packages(), *TEST_PACKAGES])


def image_key(name: str) -> str:
    """Changes with everything an image is made of, and weekly, for the distribution's updates."""
    parts = [inspect.getsource(build_image), inspect.getsource(settings_hooks), name, *packages(name)[0], *packages(name)[1]]
    parts += [*apt_sources(suite_of(name)), *apt_proxies(), pip_index()]
    parts += [path.read_text() for path in extra_authorities()] + [str(int(time.time() // (7 * 86400)))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def suite_of(name: str) -> str:
    return "bookworm" if name == "bare" else name


def image(name: str) -> None:
    """Build `slipway-test:<name>` unless it is there and fresh."""
    tag, keyed = f"slipway-test:{name}", f"slipway-test:{name}-{image_key(name)}"
    if not run("docker", "image", "inspect", keyed, quiet=True):
        started = time.monotonic()
        say(f"building {tag} (about a minute)")
        build_image(name, keyed)
        say(f"built {tag} in {time.monotonic() - started:.0f} s")
        for old in run("docker", "images", "--format={{.Repository}}:{{.Tag}}", "slipway-test").split():
            if old.startswith(f"{tag}-") and old != keyed:
                run("docker", "rmi", old, quiet=True)
    run("docker", "tag", keyed, tag)


def build_image(name: str, tag: str) -> None:
    need("mmdebstrap", "mmdebstrap", "debian-archive-keyring")
    installed, cached = packages(name)
    with tempfile.TemporaryDirectory() as scratch:
        hooks = settings_hooks(Path(scratch))
        kept = []
        if name != "bare":
            kept = ["--skip=cleanup/apt"]
            hooks += [
                # A user with sudo, as cloud images have; nobody may log in by password.
                'chroot "$1" useradd --create-home --shell /bin/bash admin',
                'echo "admin ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/admin" && chmod 0440 "$1/etc/sudoers.d/admin"',
                'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/machine-id" && touch "$1/etc/machine-id"',
                'chroot "$1" apt-get clean',
                'chroot "$1" apt-get install -y --no-install-recommends --download-only ' + " ".join(cached),
            ]
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(installed)}", *kept]
        command += [f"--aptopt={line}" for line in apt_proxies()] + [f"--customize-hook={hook}" for hook in hooks]
        archive = Path(scratch, "root.tar")
        run(*command, suite_of(name), str(archive), *apt_sources(suite_of(name)))
        run("docker", "import", str(archive), tag)


def settings_hooks(scratch: Path) -> list[str]:
    """For mmdebstrap: this machine's extra authorities and package index, in the image."""
    hooks = [f'cp "{path}" "$1/usr/local/share/ca-certificates/"' for path in extra_authorities()]
    if index := pip_index():
        script = scratch / "settings.sh"
        script.write_text(
            f"printf '[global]\\nindex-url = {index}\\n' > \"$1/etc/pip.conf\"\n"
            f'mkdir -p "$1/etc/uv" && printf \'index-url = "{index}"\\n\' > "$1/etc/uv/uv.toml"\n'
        )
        hooks.append(f'sh "{script}" "$1"')
    return [*hooks, 'chroot "$1" update-ca-certificates']


# --- ACME server ------------------------------------------------------------------------------------------------------


def acme_files() -> None:
    """A CA of our own for the ACME server's HTTPS, and pebble's configuration, in .cache/acme (made once)."""
    if (ACME / "pebble.json").exists():
        return
    need("openssl", "openssl")
    say("making the ACME server's certificate")
    ACME.mkdir(parents=True, exist_ok=True)
    new_key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"]
    ca = [str(ACME / "ca.crt"), str(ACME / "ca.key")]
    run(*new_key, "-subj", "/CN=Slipway test CA", "-out", ca[0], "-keyout", ca[1])
    names = "subjectAltName=DNS:slipway-acme,DNS:acme,DNS:localhost"
    run(
        *(*new_key, "-subj", "/CN=slipway-acme", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-CA", ca[0], "-CAkey", ca[1], "-out", str(ACME / "server.crt"), "-keyout", str(ACME / "server.key")),
    )
    settings = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/acme/server.crt",
        "privateKey": "/acme/server.key",
        "httpPort": 80,
        "tlsPort": 443,
    }
    (ACME / "pebble.json").write_text(json.dumps({"pebble": settings}, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("engine")
    verbs.add_parser("images").add_argument("names", nargs="*", default=SUITES)
    arguments = parser.parse_args()
    try:
        engine()
        if arguments.verb == "images":
            acme_files()
            for name in arguments.names:
                image(name)
    except HostError as error:
        print(f"testhost: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
