#!/usr/bin/env python3
"""What outside judges say of a deployed edge: sslyze, testssl.sh, gixy, nmap, MDN HTTP Observatory.

    audit.py [--host CONTAINER] [--neighbour CONTAINER] [--domain NAME]

Audits the demo (`make demo` first) unless told otherwise. Every finding is either explained here, with its reason, or it fails
the audit. The tools are installed below .cache/audit (from the Python and npm indexes) and in the neighbour (from Debian).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".cache/audit"
BIN = TOOLS / "venv/bin"
PYTHON_TOOLS = ("sslyze==6.3.1", "gixy-ng==0.2.59")
OBSERVATORY = "@mdn/mdn-http-observatory@1.4.8"
GUIDELINE = ROOT / "roles/nginx/files/tls-guideline-6.0.json"
#: The least score of MDN HTTP Observatory; 100 is an A+.
SCORE = 130
#: What gixy would have otherwise, and why not.
GIXY_SKIPS = {"try_files_is_evil_too": "open_file_cache would give a release's file the former release's content for a while"}
#: Findings of testssl.sh that say something of the test, not of the edge.
TESTSSL_EXPLAINED = {
    "cert_extlifeSpan": "the test CA's certificates live for five years",
    "cert_revocation": "the test CA has no revocation lists, and Let's Encrypt no OCSP any more",
    "DNS_CAArecord": "the test network's DNS knows no CAA records",
    "cert_trust_wildcard": "the test CA",
    "cert_chain_of_trust": "the test CA",
    "engine_problem": "the tool's own OpenSSL has no GOST engine",
    "NPN": "the tool cannot ask where there is only TLS 1.3",
    "sessionresumption_ticket": "the tool cannot ask where there is only TLS 1.3; molecule/edge proves resumption",
}


@dataclass(frozen=True)
class Target:
    """The host, the machine beside it, and the name to ask for."""

    host: str
    neighbour: str
    domain: str

    @property
    def address(self) -> str:
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "container", "inspect", f"--format={form}", self.host).strip()

    def inside(self, script: str) -> str:
        return run("docker", "exec", self.host, "sh", "-c", script)

    def beside(self, script: str) -> str:
        return run("docker", "exec", self.neighbour, "sh", "-c", script)

    def authority(self) -> Path:
        """The root that the ACME server beside it signs with."""
        fetch = "import ssl,urllib.request as u;print(u.urlopen('https://localhost:15000/roots/0',context=ssl._create_unverified_context())"
        path = TOOLS / "root.pem"
        path.write_text(self.beside(f'python3 -c "{fetch}.read().decode())"'))
        return path


@dataclass(frozen=True)
class Finding:
    """What a tool does not like, and why that is no fault of the edge, if it is none."""

    what: str
    explained: str = ""


class AuditError(Exception):
    """A tool could not be asked."""


def run(*words: str, ok: tuple[int, ...] = (0,), **environment: str) -> str:
    result = subprocess.run(words, env={**os.environ, **environment}, text=True, capture_output=True, check=False)
    if result.returncode not in ok:
        raise AuditError(f"`{' '.join(words[:4])} …` exited {result.returncode}:\n{(result.stdout + result.stderr)[-1500:]}")
    return result.stdout


def install(target: Target) -> None:
    """The tools, unless they are there."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    if not (BIN / "gixy").exists() or not (BIN / "sslyze").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        run(uv, "venv", "--quiet", "--clear", str(BIN.parent))
        run(uv, "pip", "install", "--quiet", "--python", str(BIN / "python"), *PYTHON_TOOLS)
    if shutil.which("npm") and not (TOOLS / "node_modules/@mdn").exists():
        # Its own script would download lists from other sites. One of them it cannot do without: who is on the preload list.
        run("npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "--silent", "--prefix", str(TOOLS), OBSERVATORY)
        (TOOLS / "node_modules/@mdn/mdn-http-observatory/conf/hsts-preload.json").write_text("{}")
    packages = "nmap testssl.sh procps bsdextrautils bind9-dnsutils"
    target.beside(f"command -v nmap testssl >/dev/null || apt-get install -y --no-install-recommends {packages} >/dev/null 2>&1")


def sslyze(target: Target) -> Iterator[Finding]:
    """The policy that the host chose, as Mozilla's guideline has it."""
    chosen = re.search(r"guideline [\d.]+, (\w+)\.", target.inside("cat /etc/nginx/snippets/slipway-tls.conf"))
    if not chosen:
        raise AuditError("snippets/slipway-tls.conf does not name its policy")
    policy = json.loads(GUIDELINE.read_text())["configurations"][chosen[1]]
    policy |= {"ciphers": {"caddy": [], "go": [], "iana": [*map(registered, policy["ciphers"])], "openssl": policy["ciphers"]}}
    policy |= {"ocsp_staple": False, "dh_param_size": None}
    form, report = TOOLS / "policy.json", TOOLS / "sslyze.txt"
    form.write_text(json.dumps(policy))
    options = [f"--custom_tls_config={form}", f"--certinfo_ca_file={target.authority()}", f"--sni={target.domain}"]
    report.write_text(run(str(BIN / "sslyze"), *options, f"{target.address}:443", ok=(0, 1)))
    said = report.read_text().partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    if "OK - Compliant" in said:
        return
    explained = {
        "maximum_certificate_lifespan": "the test CA's certificates live for five years",
        "certificate_signatures": "the test CA signs with RSA; the key that is served is ECDSA",
    }
    issues = re.findall(r"^\s+\* (\w+): (.*)$", said, re.MULTILINE)
    if not issues:
        raise AuditError(f"sslyze came to no verdict:\n{said[-800:]}")
    for name, text in issues:
        yield Finding(f"{name}: {text}", explained.get(name, ""))


def registered(cipher: str) -> str:
    """The registered name of a suite that OpenSSL calls ECDHE-ECDSA-AES128-GCM-SHA256."""
    exchange, _, rest = re.sub(r"AES(\d+)", r"AES-\1", cipher).partition("-AES-" if "AES" in cipher else "-CHACHA20-")
    kind = f"AES_{rest}" if "AES" in cipher else f"CHACHA20_{rest}_SHA256"
    return f"TLS_{exchange}_WITH_{kind}".replace("-", "_")


def testssl(target: Target) -> Iterator[Finding]:
    """Everything at LOW or above."""
    target.authority()
    run("docker", "cp", "-q", str(TOOLS / "root.pem"), f"{target.neighbour}:/tmp/root.pem")
    options = "--quiet --color 0 --warnings off --add-ca /tmp/root.pem --severity LOW --overwrite --jsonfile /tmp/testssl.json"
    said = target.beside(f"timeout 900 nice testssl {options} --ip {target.address} {target.domain} || true")
    (TOOLS / "testssl.txt").write_text(said)
    if grade := re.search(r"Overall Grade\s+(\S+)", said):
        print(f"  testssl.sh: overall grade {grade[1]}")
    for found in json.loads(target.beside("cat /tmp/testssl.json")):
        yield Finding(f"{found['severity']} {found['id']}: {found['finding']}", TESTSSL_EXPLAINED.get(found["id"], ""))


def gixy(target: Target) -> Iterator[Finding]:
    """The whole configuration as nginx reads it, and the CVEs of its version that it would trigger."""
    version = re.search(r"nginx/([\d.]+)", target.inside("nginx -v 2>&1"))
    assert version
    dump = TOOLS / "nginx.conf"
    dump.write_text(target.inside("nginx -T 2>/dev/null"))
    skips = ",".join(GIXY_SKIPS)
    said = run(str(BIN / "gixy"), "--format=json", f"--nginx-version={version[1]}", f"--skips={skips}", str(dump), ok=(0, 1))
    for name, reason in GIXY_SKIPS.items():
        yield Finding(f"{name} (not asked)", reason)
    mended = target.inside("zcat /usr/share/doc/nginx*/changelog.Debian.gz 2>/dev/null || true")
    for issue in json.loads(said):
        cve = re.search(r"CVE-\d+-\d+", issue["reason"])
        fixed = f"mended in the package: its changelog names {cve[0]}" if cve and cve[0] in mended else ""
        if issue["plugin"] == "weak_ssl_tls" and "server {" not in issue["config"]:
            fixed = "the package's nginx.conf says so for servers that say nothing; each of ours says otherwise, as sslyze sees"
        yield Finding(f"{issue['severity']} {issue['plugin']}: {issue['reason'][:160]}", fixed)


def nmap(target: Target) -> Iterator[Finding]:
    """Every TCP port, from the neighbour."""
    said = target.beside(f"nmap -Pn -n -p- --min-rate 3000 --max-retries 2 -oG - {target.address}")
    ports = sorted(int(word.split("/")[0]) for word in re.findall(r"\d+/open/", said))
    print(f"  nmap: open are {', '.join(map(str, ports))}")
    if ports != [22, 80, 443]:
        yield Finding(f"open ports are {ports}, not 22, 80, 443")


RESOLVE = """
const dns = require("node:dns"), lookup = dns.lookup;
dns.lookup = (host, options, done) => {
  const answer = typeof options === "function" ? options : done;
  if (host !== process.env.AUDIT_DOMAIN) return lookup.call(dns, host, options, done);
  const address = process.env.AUDIT_ADDRESS;
  return options && options.all ? answer(null, [{ address, family: 4 }]) : answer(null, address, 4);
};
"""


def observatory(target: Target) -> Iterator[Finding]:
    """The front page's headers, as MDN scores them."""
    scan = TOOLS / "node_modules/@mdn/mdn-http-observatory/src/scan.js"
    if not shutil.which("node") or not scan.exists():
        raise AuditError("needs node (20 or newer) and npm on this machine")
    resolve = TOOLS / "resolve.cjs"
    resolve.write_text(RESOLVE)
    said = run(
        *("node", str(scan), target.domain),
        AUDIT_DOMAIN=target.domain,
        AUDIT_ADDRESS=target.address,
        NODE_OPTIONS=f"--require {resolve}",
        NODE_EXTRA_CA_CERTS=str(target.authority()),
    )
    result = json.loads(said)
    if "scan" not in result:
        raise AuditError(said[:500])
    print(f"  MDN HTTP Observatory: {result['scan']['score']} ({result['scan']['grade']})")
    if result["scan"]["score"] < SCORE:
        lost = {name: test["result"] for name, test in result["tests"].items() if test["scoreModifier"] <= 0}
        yield Finding(f"score {result['scan']['score']}, {SCORE} is due; no points for {lost}")


JUDGES: dict[str, Callable[[Target], Iterator[Finding]]] = {
    "sslyze": sslyze,
    "testssl": testssl,
    "gixy": gixy,
    "nmap": nmap,
    "observatory": observatory,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="slipway-demo")
    parser.add_argument("--neighbour", default="slipway-acme")
    parser.add_argument("--domain", default="demo.slipway.test")
    parser.add_argument("judges", nargs="*", metavar="JUDGE", help=", ".join(JUDGES))
    arguments = parser.parse_args()
    target = Target(arguments.host, arguments.neighbour, arguments.domain)
    failed = 0
    try:
        install(target)
    except (AuditError, OSError) as error:
        print(f"audit: {error}\nIs the demo up? make demo", file=sys.stderr)
        return 1
    for name in arguments.judges or JUDGES:
        print(f"=== {name}", flush=True)
        try:
            findings = list(JUDGES[name](target))
        except (AuditError, OSError) as error:
            findings = [Finding(str(error))]
        for finding in findings:
            print(
                f"  {'explained' if finding.explained else 'FOUND'}: {finding.what}"
                + (f"\n    {finding.explained}" * bool(finding.explained))
            )
        failed += sum(not finding.explained for finding in findings)
        print(f"=== {name}: {'passed' if not any(not finding.explained for finding in findings) else 'FAILED'}", flush=True)
    print(f"audit: {failed} findings that nothing explains")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
