#!/usr/bin/env python3
"""Test hosts: real Debian machines with systemd, and a real ACME server, as containers on this machine.

    testhost.py engine              see to it that a Docker engine answers
    testhost.py images [SUITE...]   build the images that are missing or a week old (bookworm, trixie)
    testhost.py demo-up             a bare Debian 13 reachable over SSH (slipway-demo) and slipway-acme
    testhost.py demo-curl           fetch its front page, and print how
    testhost.py demo-down           remove both

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
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
#: Files of the ACME server, shared by the demo and the scenarios: its CA, its certificate, its configuration.
ACME = CACHE / "acme"
DEMO = CACHE / "demo"
SUITES = ("bookworm", "trixie")
#: What a provider's image has, and systemd as PID 1.
BASE_PACKAGES = [
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "sudo", "iproute2"),
    *("ca-certificates", "procps", "openssh-server", "apt-utils"),
]
#: Only for tests, installed from the image's cache: the ACME server, what sends requests and looks for open ports, a clock that can be
#: wrong, and a name server that takes records from certbot.
TEST_PACKAGES = ["pebble", "wrk", "nghttp2-client", "nmap", "faketime", "bind9", "python3-certbot-dns-rfc2136"]
#: The demo's network: fixed addresses, so that the inventory and the printed curl line can name them.
DEMO_NETWORK, DEMO_SUBNET, DEMO_ADDRESS = "slipway-demo", "172.29.77.0/24", "172.29.77.10"
DEMO_HOST, DEMO_ACME, DEMO_DOMAIN = "slipway-demo", "slipway-acme", "demo.slipway.test"

#: How systemd runs in a container without `privileged`; the same values stand in molecule/*/molecule.yml.
SYSTEMD_OPTIONS = [
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE")),
    *("--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--cgroupns=host"),
    *("--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs=/run", "--tmpfs=/run/lock"),
    # systemd 257 refuses cgroup v1 unless told twice; elsewhere both are ignored.
    "--env=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
    "--env=SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
]


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


def image_key(suite: str) -> str:
    """Changes with everything an image is made of, and weekly, for the distribution's updates."""
    parts = [
        inspect.getsource(build_image),
        suite,
        *BASE_PACKAGES,
        *role_packages(),
        *TEST_PACKAGES,
        *apt_sources(suite),
        *apt_proxies(),
        pip_index(),
    ]
    parts += [path.read_text() for path in extra_authorities()] + [str(int(time.time() // (7 * 86400)))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def image(suite: str) -> None:
    """Build `slipway-test:<suite>` unless it is there and fresh."""
    tag, keyed = f"slipway-test:{suite}", f"slipway-test:{suite}-{image_key(suite)}"
    if not run("docker", "image", "inspect", keyed, quiet=True):
        started = time.monotonic()
        say(f"building {tag} (about a minute)")
        build_image(suite, keyed)
        say(f"built {tag} in {time.monotonic() - started:.0f} s")
        for old in run("docker", "images", "--format={{.Repository}}:{{.Tag}}", "slipway-test").split():
            if old.startswith(f"{tag}-") and old != keyed:
                run("docker", "rmi", old, quiet=True)
    run("docker", "tag", keyed, tag)


def build_image(suite: str, tag: str) -> None:
    need("mmdebstrap", "mmdebstrap", "debian-archive-keyring")
    with tempfile.TemporaryDirectory() as scratch:
        hooks = []
        for path in extra_authorities():
            hooks.append(f'cp "{path}" "$1/usr/local/share/ca-certificates/"')
        if index := pip_index():
            settings = Path(scratch, "settings.sh")
            settings.write_text(
                f"printf '[global]\\nindex-url = {index}\\n' > \"$1/etc/pip.conf\"\n"
                f'mkdir -p "$1/etc/uv" && printf \'index-url = "{index}"\\n\' > "$1/etc/uv/uv.toml"\n'
            )
            hooks.append(f'sh "{settings}" "$1"')
        hooks += [
            'chroot "$1" update-ca-certificates',
            # A user with sudo, as cloud images have; nobody may log in by password.
            'chroot "$1" useradd --create-home --shell /bin/bash admin',
            'echo "admin ALL=(ALL) NOPASSWD: ALL" > "$1/etc/sudoers.d/admin" && chmod 0440 "$1/etc/sudoers.d/admin"',
            'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/machine-id" && touch "$1/etc/machine-id"',
            'chroot "$1" apt-get clean',
            'chroot "$1" apt-get install -y --no-install-recommends --download-only ' + " ".join([*role_packages(), *TEST_PACKAGES]),
        ]
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", "--skip=cleanup/apt"]
        command += [f"--aptopt={line}" for line in apt_proxies()] + [f"--customize-hook={hook}" for hook in hooks]
        archive = Path(scratch, "root.tar")
        run(*command, suite, str(archive), *apt_sources(suite))
        run("docker", "import", str(archive), tag)


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
    names = f"subjectAltName=DNS:{DEMO_ACME},DNS:acme,DNS:localhost"
    run(
        *(*new_key, "-subj", f"/CN={DEMO_ACME}", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"),
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


# --- Demo -------------------------------------------------------------------------------------------------------------


def running(name: str) -> bool:
    return run("docker", "container", "inspect", "--format={{.State.Running}}", name, quiet=True).strip() == "true"


def start(name: str, *options: str, command: list[str]) -> None:
    """Start the container ``name`` unless it runs already; one that stopped boots again."""
    if running(name):
        return
    if run("docker", "container", "inspect", name, quiet=True):
        say(f"booting {name} again")
        run("docker", "start", name)
        return
    say(f"creating {name}")
    run("docker", "run", "--detach", f"--name={name}", f"--hostname={name}", f"--network={DEMO_NETWORK}", *options, *command)


def demo_up() -> None:
    """A bare Debian 13 that can be reached over SSH as `admin`, and an ACME server that finds it by its domain."""
    need("ssh", "openssh-client")
    engine()
    image("trixie")
    acme_files()
    DEMO.mkdir(parents=True, exist_ok=True)
    if not run("docker", "network", "inspect", DEMO_NETWORK, quiet=True):
        run("docker", "network", "create", f"--subnet={DEMO_SUBNET}", DEMO_NETWORK)
    pebble = "apt-get install -y --no-install-recommends pebble >/dev/null && exec pebble -config /acme/pebble.json"
    start(
        *(DEMO_ACME, f"--volume={ACME}:/acme:ro", "--env=PEBBLE_VA_NOSLEEP=1", "--env=PEBBLE_WFE_NONCEREJECT=0"),
        command=["slipway-test:trixie", "sh", "-c", pebble],
    )
    aliases = [f"--network-alias={name}" for name in (DEMO_DOMAIN, f"www.{DEMO_DOMAIN}")]
    start(
        *(DEMO_HOST, f"--ip={DEMO_ADDRESS}", *aliases, *SYSTEMD_OPTIONS),
        command=["slipway-test:trixie", "/lib/systemd/systemd"],
    )
    wait("systemd's start", lambda: in_demo("systemctl is-system-running --quiet || systemctl is-system-running | grep -q degraded"))
    trust_acme()
    ssh_access()
    root_of_acme()
    say(f"{DEMO_HOST} is up at {DEMO_ADDRESS}: ssh -i {DEMO / 'id_ed25519'} admin@{DEMO_ADDRESS}")


def in_demo(script: str) -> bool:
    return subprocess.run(["docker", "exec", DEMO_HOST, "sh", "-c", script], capture_output=True, check=False).returncode == 0


def trust_acme() -> None:
    """The host trusts the ACME server's HTTPS, as it would trust a public CA's."""
    run("docker", "cp", str(ACME / "ca.crt"), f"{DEMO_HOST}:/usr/local/share/ca-certificates/slipway-test-ca.crt")
    run("docker", "exec", DEMO_HOST, "update-ca-certificates")


def ssh_access() -> None:
    key = DEMO / "id_ed25519"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slipway-demo", "-f", str(key))
    run("docker", "exec", DEMO_HOST, "sh", "-c", "ssh-keygen -A && install -d -m 0700 -o admin -g admin /home/admin/.ssh")
    run("docker", "cp", f"{key}.pub", f"{DEMO_HOST}:/home/admin/.ssh/authorized_keys")
    run(
        "docker",
        "exec",
        DEMO_HOST,
        "sh",
        "-c",
        "chown admin: /home/admin/.ssh/authorized_keys && systemctl reset-failed ssh; systemctl start ssh",
    )
    host_key = run("docker", "exec", DEMO_HOST, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    (DEMO / "known_hosts").write_text(f"{DEMO_ADDRESS} {' '.join(host_key)}\n")


def root_of_acme() -> None:
    """Save the root certificate that the ACME server signs with (a new one at each of its starts): curl's --cacert."""
    fetch = "import ssl,urllib.request as u;print(u.urlopen('https://localhost:15000/roots/0',context=ssl._create_unverified_context()).read().decode())"
    found: list[str] = []

    def answered() -> bool:
        found[:] = [run("docker", "exec", DEMO_ACME, "python3", "-c", fetch, quiet=True).strip()]
        return bool(found[0])

    wait(f"the ACME server's first answer (docker logs {DEMO_ACME})", answered)
    (DEMO / "root.pem").write_text(found[0] + "\n")


def demo_curl() -> None:
    """The command that fetches the demo's front page, tried before it is printed."""
    words = [
        "curl",
        "--resolve",
        f"{DEMO_DOMAIN}:443:{DEMO_ADDRESS}",
        "--cacert",
        os.path.relpath(DEMO / "root.pem"),
        f"https://{DEMO_DOMAIN}/",
    ]
    need("curl", "curl")
    status = run(*words, "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}").strip()
    if status != "200":
        raise HostError(f"`{' '.join(words)}` answered {status}")
    print(
        f"\nThe demo answers (200, certificate issued by {DEMO_ACME}). Fetch it with\n\n    {' '.join(words)}\n\nmake demo-down removes it."
    )


def demo_down() -> None:
    if not engine_answers():
        say("no Docker engine answers, so nothing of the demo runs")
        return
    for name in (DEMO_HOST, DEMO_ACME):
        run("docker", "rm", "--force", "--volumes", name, quiet=True)
    run("docker", "network", "rm", DEMO_NETWORK, quiet=True)
    shutil.rmtree(DEMO, ignore_errors=True)
    say("the demo is gone; the images stay (docker rmi slipway-test:trixie)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("engine")
    verbs.add_parser("images").add_argument("suites", nargs="*", default=SUITES)
    verbs.add_parser("demo-up")
    verbs.add_parser("demo-curl")
    verbs.add_parser("demo-down")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "images":
            engine()
            acme_files()
            for suite in arguments.suites:
                image(suite)
        else:
            {"engine": engine, "demo-up": demo_up, "demo-curl": demo_curl, "demo-down": demo_down}[arguments.verb]()
    except HostError as error:
        print(f"testhost: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
