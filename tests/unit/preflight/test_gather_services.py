"""Web servers, PostgreSQL, Redis and packet filters, asked against files and answers as they are on a machine."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import Site
from ansible_collections.slipway.vps.plugins.module_utils.preflight.gather import (
    certbot,
    firewall,
    postgres,
    redis,
    web,
)
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Needs

from .conftest import Fake

VHOST = """<VirtualHost *:80>
 ServerName Blog.example.com
 ServerAlias www.example.com w.example.com:80
</VirtualHost>
"""
CADDYFILE = """{
 email x
}
(snippet) {
}
https://c.example.com, d.example.com:8080 {
 reverse_proxy {
  to x
 }
}
"""


# --- Web servers ---------------------------------------------------------------------------------------


def test_sites_of_nginx(fake: Fake) -> None:
    """[F3] Ours, the packaged one behind its link, and others."""
    welcome = "server { listen 80 default_server; server_name _; }\n"
    digest = hashlib.md5(welcome.encode(), usedforsecurity=False).hexdigest()
    host = fake(
        {
            "/etc/nginx/nginx.conf": "http { include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*; }",
            "/etc/nginx/sites-available/default": welcome,
            "/etc/nginx/sites-enabled/default": "-> ../sites-available/default",
            "/etc/nginx/conf.d/slipway.conf": "# slipway:nginx\n",
            "/etc/nginx/sites-enabled/wiki": "server { listen 443 ssl; server_name wiki.example.org; }",
            "/etc/nginx/sites-enabled/broken": "server {",
            "/var/lib/dpkg/status": f"Conffiles:\n /etc/nginx/sites-available/default {digest}\n",
        }
    )
    there, sites = web.nginx(host)
    assert there.installed and there.ours and there.reads_sites
    assert sites == [
        Site("nginx", "/etc/nginx/sites-enabled/default", 1, ["_"], [80], [80], packaged=True),
        Site("nginx", "/etc/nginx/sites-enabled/wiki", 1, ["wiki.example.org"], [443]),
    ]
    assert host.unknown == ["nginx's /etc/nginx/sites-enabled/broken: a brace is never closed"]


def test_nginx_of_another_origin(fake: Fake) -> None:
    host = fake(
        {"/etc/nginx/nginx.conf": "http { include /etc/nginx/conf.d/*.conf; }", "/etc/nginx/conf.d/default.conf": "server { listen 80; }"}
    )
    assert not web.nginx(host)[0].reads_sites


def test_sites_of_apache_and_caddy(fake: Fake) -> None:
    """For the evidence: what else goes down with them."""
    host = fake(
        {
            "/etc/apache2/sites-enabled/b.conf": VHOST,
            "/etc/caddy/Caddyfile": CADDYFILE,
        }
    )
    assert web.others(host) == [
        Site("apache2", "/etc/apache2/sites-enabled/b.conf", names=["blog.example.com", "www.example.com", "w.example.com"], ports=[80]),
        Site("caddy", "/etc/caddy/Caddyfile", 6, ["c.example.com", "d.example.com"]),
    ]


# --- PostgreSQL and Redis ------------------------------------------------------------------------------

CLUSTERS = json.dumps(
    [
        {"version": 15, "cluster": "main", "port": "5432", "running": 1, "configdir": "/etc/postgresql/15/main"},
        {"version": "17", "cluster": "old", "port": 5433, "running": 0, "configdir": "/etc/postgresql/17/old"},
    ]
)


def test_what_is_in_a_cluster(fake: Fake, needs: Needs) -> None:
    """[F3] Asked of the superuser over the socket; of the one on our port alone."""
    answer = {
        "databases": {"postgres": "postgres", "crm": "ada"},
        "roles": ["postgres", "ada"],
        "superusers": ["postgres"],
        "clients": {"ada@crm": 2},
    }
    host = fake(
        {"/etc/postgresql/15/main/conf.d/slipway.conf": "# slipway:postgres\n# slipway: adopted\n"},
        {"pg_lsclusters -j": CLUSTERS, "runuser -u postgres -- psql -XAtqw -h /run/postgresql -p 5432 -d postgres -c": json.dumps(answer)},
    )
    first, second = postgres.clusters(host, needs)
    assert (first.ours, first.adopted, first.readable, first.clients) == (True, True, True, {"ada@crm": 2})
    assert (first.databases["crm"], first.roles) == ("ada", ["postgres", "ada"])
    assert (second.running, second.ours, second.port) == (False, False, 5433)


@pytest.mark.parametrize("answer", [(2, "FATAL:  Peer authentication failed"), (0, "garbage"), (0, "[1]"), (124, "timed out")])
def test_a_cluster_that_does_not_answer(fake: Fake, needs: Needs, answer: tuple[int, str]) -> None:
    """[F8] Is said, and no traceback."""
    first = postgres.clusters(fake(commands={"pg_lsclusters -j": CLUSTERS, "runuser": answer}), needs)[0]
    assert first.running and not first.readable and first.databases == {}


def test_no_postgresql(fake: Fake, needs: Needs) -> None:
    assert postgres.clusters(fake(), needs) == []
    host = fake(commands={"pg_lsclusters": "garbage"})
    assert postgres.clusters(host, needs) == [] and host.unknown == ["pg_lsclusters: its answer cannot be read"]


def test_what_redis_holds(fake: Fake) -> None:
    """[F3] Without this question's own connection; and what is on the disk."""
    info = "# Clients\nconnected_clients:3\n# Keyspace\ndb0:keys=4,expires=0,avg_ttl=0\ndb2:keys=1,expires=1\n"
    files = {
        "/etc/redis/redis.conf": "dir /var/lib/redis\ndbfilename dump.rdb\n",
        "/var/lib/redis/dump.rdb": "x" * 500,
        "/var/lib/redis/appendonlydir/a": "y",
    }
    found = redis.gather(fake(files, {"redis-cli -p 6379": info}), True, True)
    assert (found.keys, found.clients, found.size) == (5, 2, 501)
    silent = redis.gather(fake(files, {"redis-cli": (0, "NOAUTH Authentication required.\n")}), True, True)
    assert (silent.active, silent.keys, silent.clients) == (True, None, None)
    assert redis.gather(fake(files), False, True).size == 501
    assert redis.gather(fake(files), False, False).size == 0


# --- Firewalls -----------------------------------------------------------------------------------------


def test_who_filters(fake: Fake, needs: Needs) -> None:
    """[F3] Services, the kernel's rules before ufw, and ufw's own."""
    saved = '*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m comment --comment "no web" -j DROP\nCOMMIT\n'
    rules = "### tuple ### deny tcp 443 0.0.0.0/0 any 0.0.0.0/0 in\n"
    files = {
        "/etc/iptables/rules.v4": saved,
        "/etc/iptables/rules.v6": "*filter\nCOMMIT\n",
        "/etc/ufw/user.rules": rules,
        "/etc/ufw/ufw.conf": "# x\nENABLED=yes\n",
        "/etc/nftables.conf": "table inet mine { chain in { drop; } }\n",
    }
    host = fake(
        files,
        {
            "iptables-save": saved,
            "nft list ruleset": "table inet x {\n chain i {\n type filter hook input priority 0; policy drop;\n }\n}\n",
        },
    )
    found = firewall.gather(host, needs, firewall.UNITS)
    assert found.firewalld and found.nftables == ["inet mine"] and found.persistent == ["/etc/iptables/rules.v4"]
    assert found.before_ufw == ["iptables -A INPUT -p tcp -m comment --comment 'no web' -j DROP"]
    assert found.beside_ufw == ["table inet x, chain i: 80, 443"]
    assert found.ufw and found.ufw_refuses == ["deny tcp 443 from 0.0.0.0/0"] and found.ufw_rules == 1
    # The files are there, and nothing loads them.
    idle = firewall.gather(host, needs, ())
    assert not (idle.firewalld or idle.nftables or idle.persistent)


def test_certificates_that_certbot_renews_for_somebody_else(fake: Fake, needs: Needs) -> None:
    """[K3] For a domain of ours; an app's own, also of an app that is not in the inventory, are not meant."""
    host = fake(
        {
            "/etc/letsencrypt/renewal/old.conf": "version = 4.0\n[renewalparams]\nauthenticator = apache\n",
            "/etc/letsencrypt/renewal/blog.conf": "",
            "/etc/letsencrypt/renewal/wiki.conf": "",
            "/etc/letsencrypt/renewal-hooks/deploy/slipway-wiki": "",
            "/etc/letsencrypt/renewal/shop.example.com.conf": "",
        },
        {
            "openssl x509 -noout -ext subjectAltName -in /etc/letsencrypt/live/old/": "    DNS:x.org, DNS:blog.example.com\n",
            "openssl x509 -noout -ext subjectAltName -in /etc/letsencrypt/live/wiki/": "    DNS:blog.example.com\n",
        },
    )
    assert [(one.name, one.domain, one.authenticator) for one in certbot.certificates(host, needs)] == [
        ("old", "blog.example.com", "apache"),
        ("shop.example.com", "shop.example.com", ""),
    ]
