# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What may break on a host, and how to break it there: `sh` on the host, with `$APP`, `$DOMAIN`, `$LIVE` (the release) and `$UNIT` (its unit).

Each is mended again by its own second half. What a fault needs besides is in `HELP`, which every script begins with.
"""

# ruff: noqa: E501  # lines of shell

from __future__ import annotations

import shlex
from typing import NamedTuple

#: `kept <path>` and `back <path>` keep a file and bring it back; `site <text>` adds to nginx; `code <python>` adds to the app and restarts it.
HELP = r"""
set -e
KEPT=/var/tmp/slipway-faults
mkdir -p $KEPT
CODE=$(ls -d /srv/$APP/releases/$LIVE/*/__init__.py | head -1)
kept() { rm -rf "$KEPT/$(echo $1 | tr / _)"; cp -a "$1" "$KEPT/$(echo $1 | tr / _)"; }
back() { rm -rf "$1"; cp -a "$KEPT/$(echo $1 | tr / _)" "$1"; }
restart() { systemctl reset-failed $UNIT 2>/dev/null || true; systemctl restart --no-block $UNIT; sleep 2; }
code() { kept $CODE; printf '\n%s\n' "$1" >>$CODE; restart; sleep ${2:-1}; }
recode() { back $CODE; restart; }
nginx_now() { nginx -t -q && systemctl reload nginx && sleep 1; }
certificate() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$1 -addext "subjectAltName=$1" \
    -not_before $2 -not_after $3 -keyout /etc/ssl/$APP/fault.key -out /etc/ssl/$APP/fault.pem 2>/dev/null
  ln -sfn fault.pem /etc/ssl/$APP/fullchain.pem; ln -sfn fault.key /etc/ssl/$APP/privkey.pem; }
certified() { ln -sfn /etc/letsencrypt/live/$APP/fullchain.pem /etc/ssl/$APP/fullchain.pem
  ln -sfn /etc/letsencrypt/live/$APP/privkey.pem /etc/ssl/$APP/privkey.pem; rm -f /etc/ssl/$APP/fault.*; nginx_now; }
placeholder() { ln -sfn placeholder-fullchain.pem /etc/ssl/$APP/fullchain.pem; ln -sfn placeholder-privkey.pem /etc/ssl/$APP/privkey.pem
  kept /var/lib/slipway/$APP-tls.json
  [ -z "$1" ] || sed -i "s|\"kind\": \"\"|\"kind\": \"$1\"|; s|\"reason\": \"\"|\"reason\": \"$2\"|" /var/lib/slipway/$APP-tls.json; nginx_now; }
certified_again() { back /var/lib/slipway/$APP-tls.json; certified; }
names() { kept /etc/$APP/tls.json
  systemd-run --quiet --unit=slipway-fault-dns python3 -c '
import socket, sys, dns.message, dns.rrset
zone = dict(pair.split("=") for pair in sys.argv[1:])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.2", 53))
while True:
    data, peer = server.recvfrom(4096)
    asked = dns.message.from_wire(data)
    answer, question = dns.message.make_response(asked), asked.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    if kind in zone:
        answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, zone[kind].replace("_", " ")))
    server.sendto(answer.to_wire(), peer)
' "$@"
  sed -i 's|"resolvers": \[\]|"resolvers": ["127.0.0.2"]|' /etc/$APP/tls.json; sleep 1; }
renamed() { systemctl stop slipway-fault-dns; back /etc/$APP/tls.json; }
mine() { ip -4 -o address show scope global | awk '{sub("/.*", "", $4); print $4; exit}'; }
get() { python3 -c '
import contextlib, ssl, sys, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
url, times, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
headers = {"Host": sys.argv[4], **({"X-Forwarded-For": "192.0.2.7"} if times > 1 else {})}
for _ in range(times):
    with contextlib.suppress(Exception):
        data = b"x" * size if size else None
        urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10, context=context).read()
' "$1" "${2:-1}" "${3:-0}" "$DOMAIN"; }
sql() { runuser -u postgres -- psql -XAtq "$@"; }
redis() { redis-cli -s /run/redis-$APP/redis.sock "$@" >/dev/null; }
behind() { systemd-run --quiet --unit=slipway-fault-upstream python3 -c "
import socket, time
server = socket.create_server(('127.0.0.1', 8999))
while True:
    client, _ = server.accept()
    client.recv(65536)
    $1
    client.close()
"
  printf 'server { listen 127.0.0.1:8998; error_log /var/log/nginx/%s.error.log warn; location / { proxy_pass http://127.0.0.1:8999; proxy_read_timeout 1s; } }' \
    $APP >/etc/nginx/conf.d/zz-fault.conf
  sleep 1; nginx_now; get http://127.0.0.1:8998/; }
ahead() { systemctl stop slipway-fault-upstream; rm /etc/nginx/conf.d/zz-fault.conf; nginx_now; }
disk() { mkdir -p $1; mount -t tmpfs -o size=8m,nr_inodes=${2:-1000} tmpfs $1; }
"""


class Fault(NamedTuple):
    """One way to break a host.

    :arg problem: the id that the doctor has to name, alone.
    :arg broken, mended: shell.
    :arg long: it takes more than some seconds, so it is part of `make proofs` alone.
    """

    problem: str
    broken: str
    mended: str
    long: bool = False

    def script(self, mend: bool, **variables: str) -> str:
        """The script that breaks the host, or mends it."""
        said = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        return f"{said}{HELP}\n{self.mended if mend else self.broken}\n"


FAULTS = (
    # --- client and firewall ---
    Fault("dns-absent", "names X=1", "renamed"),
    Fault("dns-elsewhere", "names A=192.0.2.1", "renamed"),
    Fault("dns-stale-aaaa", "names A=$(mine) AAAA=2001:db8::1", "renamed"),
    Fault(
        "dns-caa",
        "names A=$(mine) 'CAA=0_issue_\"other.example\"'; sed -i 's|https://[^\"]*|https://acme-v02.api.letsencrypt.org/directory|' /etc/$APP/tls.json",
        "renamed",
    ),
    Fault("ufw-inactive", "ufw disable", "ufw --force enable"),
    Fault("ufw-closed", "kept /etc/ufw; ufw delete allow 443/tcp", "back /etc/ufw; ufw reload"),
    # --- edge ---
    Fault(
        "port-taken",
        "systemctl stop nginx; systemd-run --quiet --unit=slipway-fault-web python3 -m http.server 80; sleep 1",
        "systemctl stop slipway-fault-web; systemctl start nginx",
    ),
    Fault(
        "kernel-without-ipv6",
        "mkdir -p /run/systemd/system/nginx.service.d; systemctl stop nginx"
        "; printf '[Service]\\nRestrictAddressFamilies=\\nRestrictAddressFamilies=AF_UNIX AF_INET\\n' >/run/systemd/system/nginx.service.d/zz-fault.conf"
        "; systemctl daemon-reload; systemctl start nginx || true",
        "rm /run/systemd/system/nginx.service.d/zz-fault.conf; systemctl daemon-reload; systemctl reset-failed nginx; systemctl start nginx",
    ),
    Fault("nginx-config", "echo 'nonsense;' >/etc/nginx/conf.d/zz-fault.conf", "rm /etc/nginx/conf.d/zz-fault.conf"),
    Fault(
        "nginx-config",
        "echo 'nonsense;' >/etc/nginx/conf.d/zz-fault.conf; systemctl restart nginx || true",
        "rm /etc/nginx/conf.d/zz-fault.conf; systemctl reset-failed nginx; systemctl start nginx",
    ),
    Fault("nginx-down", "systemctl stop nginx", "systemctl start nginx"),
    Fault(
        "redirect-wrong",
        'echo "server { listen 80; server_name $DOMAIN; return 200 other; }" >/etc/nginx/conf.d/00-fault.conf; nginx_now',
        "rm /etc/nginx/conf.d/00-fault.conf; nginx_now",
    ),
    Fault("ca-unreachable", "placeholder unreachable 'Connection refused'", "certified_again"),
    Fault("ca-limit", "placeholder limited 'too many certificates already issued'", "certified_again"),
    Fault("tls-placeholder", "placeholder ''", "certified_again"),
    Fault("tls-expired", "certificate DNS:$DOMAIN,DNS:www.$DOMAIN 20250101000000Z 20250301000000Z; nginx_now", "certified"),
    Fault(
        "tls-names",
        "certificate DNS:other.example $(date -u -d -1day +%Y%m%d%H%M%SZ) $(date -u -d +80days +%Y%m%d%H%M%SZ); nginx_now",
        "certified",
    ),
    Fault(
        "tls-renewal",
        "certificate DNS:$DOMAIN,DNS:www.$DOMAIN $(date -u -d -80days +%Y%m%d%H%M%SZ) $(date -u -d +10days +%Y%m%d%H%M%SZ); nginx_now",
        "certified",
    ),
    Fault(
        "tls-not-served",
        "certificate DNS:$DOMAIN,DNS:www.$DOMAIN $(date -u +%Y%m%d%H%M%SZ) $(date -u -d +90days +%Y%m%d%H%M%SZ)",
        "certified",
    ),
    Fault("tls-file", "rm /etc/ssl/$APP/fullchain.pem", "certified"),
    Fault("tls-timer", "systemctl stop $APP-tls.timer", "systemctl start $APP-tls.timer"),
    Fault(
        "tls-closed",
        "kept /etc/nginx/sites-enabled/$APP.conf; rm /etc/nginx/sites-enabled/$APP.conf; nginx_now",
        "back /etc/nginx/sites-enabled/$APP.conf; nginx_now",
    ),
    Fault("header-too-big", "behind \"client.sendall(b'HTTP/1.1 200 OK\\\\r\\\\nX: ' + b'x' * 60000 + b'\\\\r\\\\n\\\\r\\\\n')\"", "ahead"),
    Fault("body-too-big", "get https://$DOMAIN/ 1 30000000", "true"),
    Fault("slow-answers", 'behind "time.sleep(3)"', "ahead"),
    Fault("workers-died", 'behind "pass"', "ahead"),
    Fault("proxy-hops", "get https://$DOMAIN/no-such-page 40", "true"),
    # --- serve ---
    Fault("socket-missing", "systemctl stop $APP.socket", "systemctl stop $APP.service; systemctl start $APP.socket $APP.service; sleep 2"),
    Fault("socket-permissions", "chmod 600 /run/$APP/gunicorn.sock", "chmod 660 /run/$APP/gunicorn.sock"),
    Fault("socket-permissions", "chmod 700 /run/$APP", "chmod 755 /run/$APP"),
    Fault("release-none", "mv /srv/$APP/current $KEPT/current", "mv $KEPT/current /srv/$APP/current"),
    Fault("import-error", "code 'import a_module_that_nobody_has'", "recode"),
    Fault("missing-variable", "code 'import os; os.environ[\"A_VARIABLE_THAT_NOBODY_SET\"]'", "recode"),
    Fault("app-error", "code 'raise RuntimeError(\"no\")'", "recode"),
    Fault("crash-loop", "code 'import os; os._exit(3)' 12", "recode"),
    Fault("server-down", "systemctl stop $UNIT", "systemctl start $UNIT"),
    Fault(
        "out-of-memory",
        "code 'held = bytearray(400 * 2**20)' 0; systemctl set-property --runtime $UNIT MemoryMax=150M MemorySwapMax=0; restart; sleep 2",
        "systemctl revert $UNIT; systemctl set-property --runtime $UNIT MemoryMax=infinity; recode",
    ),
    Fault(
        "server-beside",
        "cp -a /srv/$APP/releases/$LIVE /srv/$APP/releases/20200101T000000-00000000; systemctl start $APP@20200101T000000-00000000.service",
        "systemctl stop $APP@20200101T000000-00000000.service; rm -rf /srv/$APP/releases/20200101T000000-00000000",
    ),
    Fault(
        "workers-saturated",
        "pgrep -P $(systemctl show -P MainPID $UNIT) | xargs kill -STOP"
        "; for i in $(seq 12); do (get https://$DOMAIN/ >/dev/null 2>&1 &) ; done; sleep 1",
        "pgrep -P $(systemctl show -P MainPID $UNIT) | xargs kill -CONT; sleep 1; restart",
    ),
    Fault(
        "worker-timeouts",
        "pgrep -P $(systemctl show -P MainPID $UNIT) | xargs kill -STOP; sleep 35",
        "sleep 1",
        long=True,
    ),
    Fault(
        "release-half",
        "mkdir /srv/$APP/releases/20200101T000000-00000000"
        '; echo \'{"id": "20200101T000000-00000000", "state": "building"}\' >/srv/$APP/releases/20200101T000000-00000000/release.json',
        "rm -r /srv/$APP/releases/20200101T000000-00000000",
    ),
    Fault(
        "lock-dead",
        'echo \'{"token": "x", "owner": "ada", "host": "laptop", "expires_at": "2020-01-01T00:00:00+00:00"}\' >/srv/$APP/.lease.json',
        "rm /srv/$APP/.lease.json",
    ),
    Fault(
        "app-not-ready",
        "code 'from flask import Flask as _F; _o = _F.__call__; _F.__call__ = lambda s, e, r: "
        '((r("503 Service Unavailable", []), [b"no"])[1] if e["PATH_INFO"].startswith("/healthz") else _o(s, e, r))\'',
        "recode",
    ),
    Fault(
        "app-refuses-host",
        'code \'from flask import Flask as _F; _F.__call__ = lambda s, e, r: (r("400 Bad Request", []), [b"host"])[1]\'',
        "recode",
    ),
    Fault(
        "redirect-loop",
        "code 'from flask import Flask as _F; _o = _F.__call__; _F.__call__ = lambda s, e, r: "
        '(_o(s, e, r) if e["PATH_INFO"].startswith("/healthz") else (r("301 Moved", [("Location", "https://" + e["HTTP_HOST"] + e["PATH_INFO"])]), [b""])[1])\'',
        "recode",
    ),
    Fault(
        "endpoint-error",
        "code 'from flask import Flask as _F; _o = _F.__call__; _F.__call__ = lambda s, e, r: "
        '(_o(s, e, r) if e["PATH_INFO"].startswith("/healthz") else (r("500 Oh", []), [b"oh"])[1])\'',
        "recode",
    ),
    Fault("static-missing", "mv /srv/$APP/current/.static $KEPT/static", "mv $KEPT/static /srv/$APP/current/.static"),
    Fault(
        "uploads-permissions",
        "chown root:root /srv/$APP/shared/uploads",
        "chown $APP:www-data /srv/$APP/shared/uploads; chmod 2750 /srv/$APP/shared/uploads",
    ),
    Fault("uploads-unreadable", "chmod 700 /srv/$APP/shared/uploads", "chmod 2750 /srv/$APP/shared/uploads"),
    # --- data ---
    Fault("database-down", "systemctl stop postgresql.service 'postgresql@*'", "systemctl start postgresql"),
    Fault(
        "database-password",
        "F=$(sql -c 'SHOW hba_file'); kept $F; sed -i \"1i local $APP $APP scram-sha-256\" $F; sql -c 'SELECT pg_reload_conf()'; restart; sleep 1",
        "F=$(sql -c 'SHOW hba_file'); back $F; sql -c 'SELECT pg_reload_conf()'; restart",
    ),
    Fault(
        "database-absent",
        "systemctl stop $UNIT; sql -c \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$APP'\""
        '; sql -c "ALTER DATABASE $APP RENAME TO ${APP}_fault"; systemctl start $UNIT',
        'sql -c "ALTER DATABASE ${APP}_fault RENAME TO $APP"; restart',
    ),
    Fault(
        "database-connections",
        'sql -c "ALTER ROLE $APP CONNECTION LIMIT 0"; restart',
        'sql -c "ALTER ROLE $APP CONNECTION LIMIT -1"; restart',
    ),
    Fault(
        "database-lock",
        "systemd-run --quiet --unit=slipway-fault-lock --uid=postgres sh -c \"(echo 'BEGIN; LOCK TABLE alembic_version;'; sleep 600) | psql -X $APP\"; sleep 1"
        "; systemd-run --quiet --unit=slipway-fault-wait --uid=postgres psql -X $APP -c 'SET lock_timeout = 0' -c 'SELECT count(*) FROM alembic_version'; sleep 5",
        "systemctl stop slipway-fault-wait slipway-fault-lock; systemctl reset-failed 'slipway-fault-*' || true",
    ),
    Fault(
        "schema-behind",
        "sql -d $APP -c \"UPDATE alembic_version SET version_num = '0000_fault' WHERE version_num LIKE '0003%'\"",
        "sql -d $APP -c \"UPDATE alembic_version SET version_num = '0003_words' WHERE version_num = '0000_fault'\"",
    ),
    Fault(
        "database-disk",
        "systemctl stop postgresql.service 'postgresql@*'; cp -a /var/lib/postgresql $KEPT/pg; mount -t tmpfs -o size=$(du -sm $KEPT/pg | awk '{print $1 + 24}')m tmpfs /var/lib/postgresql"
        "; cp -a $KEPT/pg/. /var/lib/postgresql/; chown postgres:postgres /var/lib/postgresql; systemctl start postgresql; sleep 2; dd if=/dev/zero of=/var/lib/postgresql/full bs=1M 2>/dev/null || true",
        "systemctl stop postgresql.service 'postgresql@*'; umount /var/lib/postgresql; rm -r $KEPT/pg; systemctl start postgresql",
    ),
    Fault("redis-down", "systemctl stop redis-server@$APP", "systemctl start redis-server@$APP"),
    Fault("redis-refused", "chmod 700 /run/redis-$APP/redis.sock", "systemctl restart redis-server@$APP"),
    Fault(
        "redis-full",
        "redis config set maxmemory-policy noeviction; redis config set maxmemory 2mb"
        "; for i in $(seq 100); do redis set fault$i $(head -c 20000 /dev/zero | tr '\\0' x) || true; done",
        "for i in $(seq 100); do redis del fault$i; done; systemctl restart redis-server@$APP",
    ),
    # --- keep ---
    Fault("backup-unscheduled", "kept /etc/cron.d/$APP-backup; rm /etc/cron.d/$APP-backup", "back /etc/cron.d/$APP-backup"),
    Fault(
        "backup-stale",
        "rm -f $KEPT/none; [ ! -f /var/backups/$APP/status.json ] && touch $KEPT/none || kept /var/backups/$APP/status.json"
        '; echo \'{"last_success": {"name": "x", "taken_at": "2020-01-01T00:00:00+00:00"}}\' >/var/backups/$APP/status.json',
        "if [ -f $KEPT/none ]; then rm /var/backups/$APP/status.json; else back /var/backups/$APP/status.json; fi",
    ),
    Fault(
        "backup-proof",
        "rm -f $KEPT/none; [ ! -f /var/backups/$APP/status.json ] && touch $KEPT/none || kept /var/backups/$APP/status.json"
        '; N=$(date -u +%Y-%m-%dT%H:%M:%S+00:00); echo "{\\"last_success\\": {\\"name\\": \\"x\\", \\"taken_at\\": \\"$N\\"}, \\"failures\\": {\\"verify\\": {\\"at\\": \\"$N\\", \\"reason\\": \\"3 rows of 5\\"}}}" >/var/backups/$APP/status.json',
        "if [ -f $KEPT/none ]; then rm /var/backups/$APP/status.json; else back /var/backups/$APP/status.json; fi",
    ),
    Fault("logs-unrotated", "kept /etc/logrotate.d/$APP; rm /etc/logrotate.d/$APP", "back /etc/logrotate.d/$APP"),
    # --- machine ---
    Fault("disk-full", "disk /var/log/$APP; dd if=/dev/zero of=/var/log/$APP/full bs=1M 2>/dev/null || true", "umount /var/log/$APP"),
    Fault("disk-nearly-full", "disk /var/log/$APP; head -c 7700000 /dev/zero >/var/log/$APP/full", "umount /var/log/$APP"),
    Fault(
        "inodes-full",
        "disk /var/log/$APP 20; for i in $(seq 30); do touch /var/log/$APP/$i 2>/dev/null || true; done",
        "umount /var/log/$APP",
    ),
    Fault("reboot-pending", "touch /run/reboot-required; echo linux-image >/run/reboot-required.pkgs", "rm /run/reboot-required*"),
    Fault("unit-failed", "systemd-run --quiet --unit=slipway-fault-job false || true; sleep 1", "systemctl reset-failed slipway-fault-job"),
    Fault("unit-failed", "systemctl kill --signal=KILL fail2ban; sleep 1", "systemctl reset-failed fail2ban; systemctl restart fail2ban"),
)
#: Before each: what one fault has left in the logs is no evidence of the next.
FRESH = ': >"/var/log/nginx/$APP.error.log"; : >"/var/log/nginx/$APP.access.log"; journalctl --rotate --vacuum-time=1s --quiet 2>/dev/null || true'
