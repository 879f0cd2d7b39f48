"""What a run has left is left alone by the next; what somebody changed by hand is found, named and changed back."""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

from deploys import ROOT, Outcome, run_playbook
from helpers import App, must

LAYERS = ("base", "edge", "data", "serve", "keep")
#: Of these so many at once, drawn anew in each run.
DRAWN = 20
#: What somebody does by hand, and the line that says so.
CHANGES = {
    "echo '# by hand' >> /etc/nginx/sites-available/demo.conf": "file /etc/nginx/sites-available/demo.conf: content differs",
    "rm /etc/nginx/sites-enabled/demo.conf": "link /etc/nginx/sites-enabled/demo.conf is gone",
    "ln -sfn /dev/null /etc/nginx/sites-enabled/slipway-default.conf": "slipway-default.conf: leads to is /dev/null",
    "rm /etc/logrotate.d/demo": "file /etc/logrotate.d/demo is gone",
    "echo 'Storage=none' >> /etc/systemd/journald.conf.d/slipway.conf": "file /etc/systemd/journald.conf.d/slipway.conf: content differs",
    "chmod 0666 /etc/demo/app.json": "file /etc/demo/app.json: mode is 0666, was 0644",
    "chmod 0755 /var/backups/demo": "place /var/backups/demo: mode is 0755, was 0700",
    "chown nobody /etc/cron.d/demo-backup": "file /etc/cron.d/demo-backup: owner is nobody:root, was root:root",
    "setfacl --remove-all /srv/demo": "place /srv/demo: ACL (access) differs",
    "touch /etc/demo/units/by-hand.service": "names /etc/demo/units: by-hand.service is new",
    "rm /etc/systemd/system/sockets.target.wants/demo.socket": "link /etc/systemd/system/sockets.target.wants/demo.socket is gone",
    "echo 'LOG_LEVEL=DEBUG' >> /etc/demo/environment": "file /etc/demo/environment: content differs",
    "echo 'BY_HAND=1' >> /etc/demo/secrets": "file /etc/demo/secrets: content differs",
    "echo 'X11Forwarding yes' >> /etc/ssh/sshd_config.d/10-slipway.conf": "file /etc/ssh/sshd_config.d/10-slipway.conf: content differs",
    "systemctl stop redis-server@demo.service": "unit redis-server@demo.service: state is inactive, was active",
    "systemctl disable --quiet fail2ban.service": "unit fail2ban.service: at boot is disabled, was enabled",
    "systemctl stop logrotate.timer": "unit logrotate.timer: state is inactive, was active",
    "systemctl disable --quiet --now demo-tls.timer": "unit demo-tls.timer: state is inactive, was active",
    "apt-get -qq remove debsums >/dev/null 2>&1": "package debsums is gone",
    "usermod --shell /bin/bash demo": "user demo: shell is /bin/bash, was /usr/sbin/nologin",
    "rm -r /etc/fail2ban/jail.d/slipway.local": "file /etc/fail2ban/jail.d/slipway.local is gone",
    "ufw --force delete allow 443/tcp >/dev/null": "firewall: ufw: 443/tcp",
    "ufw --force default allow incoming >/dev/null": "firewall: iptables: -P INPUT ACCEPT is new",
    "rm /etc/letsencrypt/renewal-hooks/deploy/slipway-demo": "file /etc/letsencrypt/renewal-hooks/deploy/slipway-demo is gone",
    "runuser -u postgres -- psql -qc 'ALTER ROLE demo CREATEDB'": "role /run/postgresql:5432/demo: rights is createdb login, was login",
    "runuser -u postgres -- psql -qc 'ALTER ROLE demo RESET ALL'": "role /run/postgresql:5432/demo: settings is not set, was",
    "runuser -u postgres -- psql -qc 'REVOKE pg_read_all_data FROM demo_readonly'": (
        "role /run/postgresql:5432/demo_readonly: member of is not set, was pg_read_all_data"
    ),
    "runuser -u postgres -- psql -qc 'GRANT CONNECT ON DATABASE demo TO PUBLIC'": "database /run/postgresql:5432/demo: rights is",
    "echo 'work_mem = 1MB' >> /etc/postgresql/15/main/conf.d/slipway.conf": "conf.d/slipway.conf: content differs",
}


def site(host: Any, **variables: Any) -> tuple[Outcome, float]:
    begun = time.monotonic()
    outcome = run_playbook(ROOT / "site.yml", host, variables)
    assert outcome.status == 0, str(outcome)
    return outcome, time.monotonic() - begun


def drift(host: Any, app: App) -> tuple[dict[str, str], str]:
    """What `slipway drift` names, to whom it names; and all that it says."""
    said = host.run(f"slipway {app.name} drift --json")
    assert said.rc == 1, f"exit {said.rc}\n{said.stdout}{said.stderr}"
    layers = json.loads(said.stdout)["apps"][app.name]["layers"]
    return {change["text"]: change["cause"]["text"] for layer in layers for change in layer["changes"]}, said.stdout


def tasks(outcome: Outcome) -> int:
    return outcome.output.count("\nTASK [")


def states(host: Any, app: App) -> dict[tuple[str, ...], Any]:
    """How each thing was when its layer was sealed."""
    records = {layer: json.loads(must(host, f"cat /var/lib/slipway/seals/{app.name}.{layer}.json")) for layer in LAYERS}
    return {(layer, *thing): state for layer, record in records.items() for thing, state in record["states"]}


def test_what_is_changed_by_hand_is_found_and_changed_back(host: Any, app: App) -> None:
    """[F3 F8 K8] Twenty changes at once, each named by `slipway drift` and by the run; then everything is as it was before them."""
    full, took = site(host, full=True)
    assert re.search(r"changed=0 .*failed=0", full.output), full.output[-2000:]
    before = states(host, app)
    sealed, took_sealed = site(host)
    print(f"everything: {tasks(full)} tasks in {took:.0f} s; sealed: {tasks(sealed)} in {took_sealed:.0f} s")
    assert "begin | Say what differs" not in sealed.output, sealed.output
    assert tasks(sealed) < tasks(full) / 4, sealed.output

    seed = random.randrange(10**6)
    drawn = random.Random(seed).sample(sorted(CHANGES), DRAWN)
    for change in drawn:
        must(host, change)
    drifted, said = drift(host, app)
    unnamed = [change for change in drawn if not any(CHANGES[change] in text for text in drifted)]
    assert not unnamed, f"seed {seed}: slipway drift does not name {unnamed}\n{said}"
    # A secret file, and one that not every user may read: that they differ, and no more.
    assert "BY_HAND" not in said and "LOG_LEVEL" not in said, f"seed {seed}: {said}"
    # Nobody has logged in: the logs of apt are all that there is.
    assert all("apt-get -qq remove debsums, by: unknown" in by for text, by in drifted.items() if text == "package debsums is gone"), said
    mended, _ = site(host)
    # Long lines are folded.
    said = " ".join(mended.output.split())
    missing = [change for change in drawn if CHANGES[change] not in said]
    assert not missing, f"seed {seed}: not named: {missing}\n{said[-8000:]}"
    assert "Say what nobody changed back" not in said, f"seed {seed}: {said.partition('Say what nobody changed back')[2][:3000]}"
    after = states(host, app)
    # More may be in it: what handlers have restarted.
    changed = {thing: (state, after.get(thing)) for thing, state in before.items() if after.get(thing) != state}
    assert not changed, f"seed {seed}: {changed}"
    again, _ = site(host)
    assert "begin | Say what differs" not in again.output, f"seed {seed}: {again.output}"


def test_what_slipway_does_not_change_back_is_said(host: Any, app: App) -> None:
    """[F3 F8] An ALTER SYSTEM overrules every file: nobody takes it back, and the run says so."""
    try:
        must(host, "runuser -u postgres -- psql -qc \"ALTER SYSTEM SET log_min_duration_statement = '7s'\" -c 'SELECT pg_reload_conf()'")
        outcome, _ = site(host)
        assert outcome.output.count("log_min_duration_statement is 7000") == 2, outcome.output[-5000:]
        assert "Say what nobody changed back" in outcome.output
    finally:
        must(host, "runuser -u postgres -- psql -qc 'ALTER SYSTEM RESET log_min_duration_statement' -c 'SELECT pg_reload_conf()'")
