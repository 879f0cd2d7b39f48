"""Facts judged: each situation is named, alone, with its evidence and the ways out of it; a clean machine and one of ours are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml
from ansible_collections.slipway.vps.plugins.module_utils.preflight.facts import (
    Account,
    Cluster,
    Disk,
    Facts,
    File,
    Firewall,
    Folder,
    Group,
    Listener,
    Nginx,
    Packages,
    Redis,
    Site,
)
from ansible_collections.slipway.vps.plugins.module_utils.preflight.finding import CHOICES, known
from ansible_collections.slipway.vps.plugins.module_utils.preflight.findings import judge
from ansible_collections.slipway.vps.plugins.module_utils.preflight.needs import Limits, Needs

from .situations import CLEAN, DEBIAN, GIB, NGINX, NGINX_80, OURS, SITUATIONS, WELCOME, Situation, cluster, system

IDS = [situation.name for situation in SITUATIONS]


def ids(facts: Facts, needs: Needs) -> list[str]:
    return [finding.id for finding in judge(facts, needs)]


@pytest.mark.parametrize("situation", SITUATIONS, ids=IDS)
def test_what_is_there_is_named(situation: Situation, needs: Needs) -> None:
    """[F3] By its id, and nothing else is; with the evidence, and with the ways that are possible."""
    findings = judge(situation.there, needs)
    assert [finding.id for finding in findings] == [situation.id]
    (finding,) = findings
    assert set(finding.choices) == situation.choices and finding.refuses is situation.refuses
    assert all(words in finding.evidence for words in situation.seen), finding.evidence
    assert situation.fix in finding.fix, finding.fix
    # One line each: the message lists many.
    assert all(text and "\n" not in text for text in (finding.what, finding.evidence, *finding.choices.values()))
    # Whoever meets it can do something.
    assert finding.choices or finding.fix


@pytest.mark.parametrize("situation", SITUATIONS, ids=IDS)
def test_the_line_to_write_is_an_answer_that_the_contract_takes(situation: Situation, needs: Needs) -> None:
    """[F8] As YAML, under an id that is known, with a way that its kind has."""
    (finding,) = judge(situation.there, needs)
    for choice in finding.choices:
        assert yaml.safe_load(finding.line(choice)) == {"preflight_answers": {finding.id: choice}}
        assert choice in known(needs)[finding.id]
    assert finding.id in known(needs)


def test_every_id_that_can_be_answered_is_found_in_some_situation(needs: Needs) -> None:
    """An id of no finding would be accepted in vain."""
    kinds = {situation.id.partition(":")[0] for situation in SITUATIONS}
    assert {id_.partition(":")[0] for id_ in known(needs)} == kinds
    names = {"user", "group", "path", "unit", "file", "site", "certificate", "database", "role", "disk", "inodes", "noexec", "port"}
    fixed = {id_ for id_ in known(needs) if id_.partition(":")[0] not in names}
    assert fixed == {situation.id for situation in SITUATIONS if situation.id in fixed}
    assert all(set(choices) <= set(CHOICES) for choices in known(needs).values())


def test_a_clean_machine_has_none(needs: Needs) -> None:
    """[F3]"""
    assert judge(CLEAN, needs) == []


def test_a_machine_of_ours_has_none(needs: Needs) -> None:
    """[F3] As the roles leave it: nginx, PostgreSQL, users, folders, units and files are there, and ours."""
    taken = [replace(file, ours=True) for file in (File("/etc/systemd/system/blog.service", stem="blog"), File("/etc/logrotate.d/blog"))]
    there = replace(
        CLEAN,
        ours=True,
        apps=["blog", "shop"],
        listeners=[NGINX_80, replace(NGINX_80, port=443), Listener(5432, "127.0.0.1", "postgres", 40, "postgresql@17-main.service")],
        nginx=Nginx(True, True),
        # The second is by a template of the operator's, without our mark.
        sites=[
            OURS,
            replace(OURS, file="/etc/nginx/sites-enabled/shop.conf", names=["shop.example.com"], ours=False),
            Site("nginx", "/etc/nginx/sites-enabled/slipway-default.conf", 6, ["_"], [80, 443], [80, 443], ours=True),
        ],
        clusters=[
            Cluster(
                "17",
                "main",
                5432,
                True,
                True,
                databases={"blog": "blog", "shop": "shop"},
                roles=["blog", "blog_readonly", "crm"],
                clients={"blog@blog": 4},
            )
        ],
        accounts=[Account("blog", 997, ours=True)],
        groups=[Group("blog", 997, ours=True)],
        folders=[Folder("/srv/blog", ours=True, entries=4)],
        units=taken[:1],
        files=taken[1:],
        firewall=Firewall(ufw=True, ufw_rules=8),
        redis=Redis(),
        system=replace(DEBIAN, failed_units=["blog-tls.service"]),
    )
    assert judge(there, needs) == []


@pytest.mark.parametrize(
    "there",
    [
        {"redis": Redis(True, True, 0, 0)},
        {"redis": Redis(False, False, size=90_000)},
        {"redis": Redis(False, True, size=88)},
        {"nginx": NGINX, "sites": [WELCOME], "listeners": [NGINX_80]},
        cluster(),
        {"clusters": [Cluster("17", "main", 5432), Cluster("15", "main", 5433, databases={"old": "ada"})]},
        # Cut off between the group and the user.
        {"groups": [Group("blog", 998)]},
        {"packages": Packages(sources=-1)},
        {"listeners": [Listener(5432, "127.0.0.1", "postgres", 5, "postgresql@17-main.service")], **cluster()},
        {"nginx": NGINX, "sites": [Site("nginx", "/etc/nginx/conf.d/x.conf", 1, ["example.com", "~^blog\\."], [80])]},
        {"nginx": NGINX, "sites": [Site("nginx", "/etc/nginx/conf.d/x.conf", 1, ["blog.example.com"], [8080])]},
        system(kernel="rpi-custom", somaxconn=128),
        system(clock_ahead=None, memory=0),
        # Disks of other file systems that are small by nature.
        {"disks": [*CLEAN.disks, Disk("/tmp", "/tmp", 2**20, 2**20)]},
        {"disks": [*CLEAN.disks, Disk("/var", "/var", 9 * GIB, 9 * GIB, 0, 0)]},
    ],
    ids=lambda there: ",".join(there),
)
def test_what_takes_nothing_from_us_is_no_finding(there: dict[str, object], needs: Needs) -> None:
    """[F3] An idle Redis, the welcome page, an empty cluster, what a run that was cut off left behind."""
    assert ids(replace(CLEAN, **there), needs) == []  # type: ignore[arg-type]


def test_a_machine_of_ours_is_only_warned_of_want(needs: Needs) -> None:
    """[F8] The run may be what mends it."""
    there = replace(
        CLEAN, ours=True, disks=[replace(CLEAN.disks[0], free=2**20, inodes_free=5)], system=replace(DEBIAN, memory=2**28, swap=0)
    )
    findings = judge(there, needs)
    assert [finding.id for finding in findings] == ["system:memory", "disk:/", "inodes:/"]
    assert not any(finding.refuses for finding in findings)


def test_limits_are_the_operators(needs: Needs) -> None:
    """[F8] preflight_…"""
    mine = replace(needs, limits=Limits(memory=4096, disk=30_000, inodes=2_000_000, clock=0))
    assert ids(CLEAN, mine) == ["system:memory", "disk:/", "inodes:/", "system:clock"]


def test_one_file_system_is_said_once(needs: Needs) -> None:
    """`/`, `/var` and `/srv` on one disk are full together."""
    there = replace(CLEAN, disks=[replace(CLEAN.disks[0], path=path, free=0) for path in ("/", "/var", "/srv")])
    assert ids(there, needs) == ["disk:/"]
    there = replace(CLEAN, disks=[there.disks[0], replace(there.disks[1], mount="/var")])
    assert ids(there, needs) == ["disk:/", "disk:/var"]


def test_another_system_is_all_that_is_said(needs: Needs) -> None:
    """Nothing else that was asked means anything there."""
    there = replace(CLEAN, **system(debian=False, systemd=0, cgroup=1), packages=Packages(["x"], 0))
    assert ids(there, needs) == ["system:distribution"]


def test_everything_is_found_at_once(needs: Needs) -> None:
    """[F3] Not the first and then, an hour later, the second."""
    there = CLEAN
    wanted = [
        "Apache serves sites, one of them ours",
        "PostgreSQL serves others",
        "Redis holds keys",
        "firewalld",
        "a person",
        "a folder by hand",
        "no package sources",
    ]
    for situation in SITUATIONS:
        if situation.name in wanted:
            there = replace(there, **situation.facts)
    assert ids(there, needs) == ["apt:sources", "port:80", "port:5432", "port:6379", "firewall:firewalld", "user:blog", "path:/srv/blog"]


def test_a_databases_own_machine_is_asked_about_its_database_alone(machine: dict[str, object]) -> None:
    """[D1] No app, no nginx, no Redis is to come there."""
    database = Needs.of({**machine, "answers": {}}, web=False)
    found = {situation.name: ids(situation.there, database) for situation in SITUATIONS}
    assert found["Apache serves sites, one of them ours"] == found["a person"] == found["Redis holds keys"] == []
    assert found["an older site for our domain sorts first"] == found["a folder by hand"] == []
    assert found["PostgreSQL serves others"] == ["port:5432"] and found["a full disk"] == ["disk:/"]


def test_an_app_without_postgresql_and_redis_leaves_them_alone(needs: Needs) -> None:
    """[F3] Nobody installs, stops or configures them."""
    without = replace(needs, postgres=False, redis=False)
    for situation in SITUATIONS:
        if situation.id.startswith(("port:5432", "port:6379", "database:", "role:")):
            assert ids(situation.there, without) == [], situation.name


def test_the_models_port_is_the_one_that_is_asked_for(needs: Needs) -> None:
    """[F1] An operator may have put PostgreSQL at another."""
    other = replace(needs, postgres_port=5433)
    there = replace(CLEAN, clusters=[Cluster("17", "main", 5432, databases={"crm": "crm"}), Cluster("17", "slipway", 5433)])
    assert ids(there, other) == []
    assert known(other)["port:5433"] == ("adopt",) and "port:5432" not in known(other)


def test_a_database_of_ours_by_hand_can_be_adopted(needs: Needs) -> None:
    """[F3] With the role that owns it; one that somebody else owns would stay somebody else's, table by table."""
    there = replace(CLEAN, **cluster(databases={"blog": "blog"}, roles=["postgres", "blog"]))
    assert {finding.id: set(finding.choices) for finding in judge(there, needs)} == {"role:blog": {"adopt"}, "database:blog": {"adopt"}}


def test_what_the_operator_refuses_himself_is_no_finding(needs: Needs) -> None:
    """[F3] firewall_rules_custom with deny."""
    there = replace(CLEAN, firewall=Firewall(ufw=True, ufw_rules=2, ufw_refuses=["deny tcp 80 from 0.0.0.0/0"]), ours=True)
    assert ids(there, needs) == ["firewall:ufw"]
    assert ids(there, replace(needs, rules=[{"rule": "deny", "proto": "tcp", "port": 80, "comment": "x"}])) == []


def test_answers_change_nothing_of_what_is_found(answered: Callable[..., Needs]) -> None:
    """They are for the report."""
    there = SITUATIONS[0].there
    assert ids(there, answered(port__80="replace")) == ["port:80"]
