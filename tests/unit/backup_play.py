"""A host for the tests of the backup program: PostgreSQL's tools and restic are played by scripts that do what a test says."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import signal
import sys
import syslog
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.slipway import cli
from ansible_collections.slipway.vps.plugins.module_utils.slipway.backup import database, host, rules, store
from ansible_collections.slipway.vps.plugins.module_utils.slipway.core import files

LISTING = """\
;
; Archive created at 2026-11-20 08:31:49 UTC
;
7; 2615 16482 SCHEMA - s demo
2; 3079 16401 EXTENSION - postgis
3484; 0 0 COMMENT - EXTENSION postgis
219; 1259 16391 TABLE public alembic_version demo
220; 1259 16396 TABLE public note demo
221; 1259 16483 VIEW public v demo
222; 1259 16490 TABLE ATTACH public part demo
3476; 0 16391 TABLE DATA public alembic_version demo
3329; 2606 16395 CONSTRAINT public alembic_version alembic_version_pkey demo
"""
ROWS = '["public.alembic_version", 1]\n["public.note", 41]\n'
SHAPE = {
    "collate": "C.UTF-8",
    "ctype": "C.UTF-8",
    "database_bytes": 1000,
    "encoding": "UTF8",
    "locale": "",
    "postgres": "17.6 (Debian 17.6-0+deb13u1)",
    "provider": "c",
    "roles": ["demo_ro", "postgres"],
}
#: A folder below $PLAY/databases is a database. Without --command it is told things line by line.
PSQL = r"""#!/bin/sh
echo "$PGOPTIONS $*" >> "$PLAY/asked"
rows="$PLAY/rows"
case "$*" in *_restore*|*"$PLAY/proof"*) rows="$PLAY/restored_rows" ;; esac
case "$*" in *"$PLAY/proof"*) test ! -s "$PLAY/hole" || { echo "no answer" >&2; exit 2; } ;; esac
case "$*" in *"$PLAY/proof"*) test -e "$PLAY/proof/data/postmaster.pid" || { echo "no such socket" >&2; exit 2; } ;; esac
case "$*" in
*--command*) ;;
*)
  while read -r line; do
    case "$line" in
    *pg_export_snapshot*) cat "$PLAY/snapshot"; test -s "$PLAY/snapshot" || { echo "no snapshot" >&2; exit 2; } ;;
    *gexec*) cat "$rows" ;;
    *"echo counted"*) echo counted ;;
    esac
  done
  exit 0 ;;
esac
for query; do :; done
echo "$query" >> "$PLAY/queries"
case "$query" in
*"SHOW data_directory"*) echo "$PLAY" ;;
*"FROM pg_roles WHERE rolname = "*) cat "$PLAY/reader" ;;
*pg_encoding_to_char*) cat "$PLAY/shape" ;;
*"SELECT pg_database_size"*|*"sum(pg_database_size"*) echo 1000 ;;
*"SHOW server_version"*) echo "17.6 (Debian 17.6-0+deb13u1)" ;;
*pg_walfile_name*) echo 000000010000000000000007 ;;
*pg_stat_archiver*) cat "$PLAY/archiver" ;;
*"count(*)"*) cat "$PLAY/tables" ;;
*"FROM pg_tables"*) echo public.alembic_version ;;
*"SELECT version_num"*) cat "$PLAY/revision" ;;
*_before_*ORDER*) for kept in "$PLAY"/databases/*_before_*; do test -e "$kept" && echo "${kept##*/}|1000"; done; exit 0 ;;
*"FROM pg_database WHERE datname"*) name=${query##*datname = \'}; test ! -e "$PLAY/databases/${name%\'}" || echo 1 ;;
*RENAME*)
  cat "$PLAY/rename" >&2; test ! -s "$PLAY/rename" || exit 1
  echo "$query" | tr ';' '\n' | sed -n 's/.*ALTER DATABASE "\(.*\)" RENAME TO "\(.*\)".*/\1 \2/p' |
  while read -r from to; do mv "$PLAY/databases/$from" "$PLAY/databases/$to"; done ;;
*"CREATE DATABASE"*) name=${query#*\"}; case "$*" in *"$PLAY/proof"*) ;; *) mkdir "$PLAY/databases/${name%%\"*}" ;; esac ;;
*"DROP DATABASE"*) name=${query#*\"}; rm -rf "$PLAY/databases/${name%%\"*}" ;;
esac
"""
PG_DUMP = """#!/bin/sh
case "$*" in *--version*) cat "$PLAY/version"; exit 0 ;; esac
for word; do case "$word" in --file=*) folder=${word#--file=} ;; esac; done
echo "$*" >> "$PLAY/dumps"
echo the-contents > "$folder/toc.dat"
echo the-rows > "$folder/1.dat"
cat "$PLAY/pg_dump" >&2
test ! -s "$PLAY/pg_dump"
"""
PG_RESTORE = """#!/bin/sh
for folder; do :; done
echo "$PGOPTIONS $*" >> "$PLAY/restores"
test -e "$folder/toc.dat" || cat > /dev/null
case "$*" in
*"--create --list"*) cat "$PLAY/properties" ;;
*--create*) echo 'ALTER DATABASE demo SET work_mem TO 1;' ;;
*--list*) cat "$PLAY/listing" ;;
*alembic_version*) printf 'COPY public.alembic_version (version_num) FROM stdin;\\nabc123\\n\\\\.\\n' ;;
*--exit-on-error*) cat "$PLAY/pg_restore" >&2; test ! -s "$PLAY/pg_restore" ;;
*--file=/dev/null*) cat "$PLAY/truncated" >&2; test ! -s "$PLAY/truncated" ;;
esac
"""
INITDB = """#!/bin/sh
for word; do case "$word" in --pgdata=*) mkdir -p "${word#--pgdata=}" ;; esac; done
"""
POSTGRES = """#!/bin/sh
echo "$*" >> "$PLAY/servers"
test ! -s "$PLAY/broken" || { cat "$PLAY/broken"; rm "$PLAY/broken"; exit 1; }
mkdir -p "$2"; echo $$ > "$2/postmaster.pid"
exec env --default-signal=INT sleep 60
"""
AMCHECK = """#!/bin/sh
echo "$*" >> "$PLAY/amchecks"
cat "$PLAY/amcheck" >&2
test ! -s "$PLAY/amcheck"
"""
#: The copies are lines of $PLAY/copies: type and the time they ended.
PGBACKREST = """#!/bin/sh
echo "$*" >> "$PLAY/pgbackrest.log"
cat "$PLAY/pgbackrest" >&2
test ! -s "$PLAY/pgbackrest" || exit 31
case "$*" in
*info*)
  printf '[{"name": "demo", "backup": ['
  n=0; while read -r type stop; do
    test "$n" = 0 || printf ', '; n=$((n + 1))
    printf '{"label": "copy-%s", "type": "%s", "error": false, "timestamp": {"start": %s, "stop": %s}}' "$n" "$type" "$stop" "$stop"
  done < "$PLAY/copies"
  echo ']}]' ;;
*" backup --type=full"*) echo "full $(date +%s)" >> "$PLAY/copies" ;;
*" backup --type=incr"*) echo "incr $(date +%s)" >> "$PLAY/copies" ;;
*restore*) cat "$PLAY/hole" > "$PLAY/broken" ;;
esac
"""
RESTIC = """#!{python} -SE
import json, os, pathlib, shutil, sys
play = pathlib.Path(os.environ["PLAY"]); words = sys.argv[1:]
with (play / "restic.log").open("a") as log: log.write(" ".join(words) + chr(10))
def end(status, text): print(text, file=sys.stderr); sys.exit(status)
repo = pathlib.Path(words[words.index("--repo") + 1])
verbs = "cat init unlock snapshots backup tag check forget prune restore repair".split()
verb = next(word for word in words if word in verbs)
rest = words[words.index(verb) + 1:]
tags = [word.split("=", 1)[1] for word in rest if word.startswith("--tag=")]
trouble = (play / "restic").read_text()
if trouble and (not trouble.startswith("@") or trouble.startswith("@" + verb + " ")): end(1, trouble)
password = pathlib.Path(words[words.index("--password-file") + 1]).read_text()
if verb == "init":
    if (repo / "config").exists(): end(1, "Fatal: config file already exists")
    (repo / "snapshots").mkdir(parents=True); (repo / "config").write_text(json.dumps(dict(id="repo1", password=password)))
if not (repo / "config").exists(): end(10, "Is there a repository at the following location?")
if json.loads((repo / "config").read_text())["password"] != password: end(12, "Fatal: wrong password or no key found")
def snapshots(): return sorted((json.loads((p / "meta").read_text()) for p in (repo / "snapshots").glob("*/")), key=lambda s: s["time"])
def save(meta): (repo / "snapshots" / meta["id"] / "meta").write_text(json.dumps(meta))
if verb == "cat": print(json.dumps(dict(id=json.loads((repo / "config").read_text())["id"])))
elif verb == "snapshots": print(json.dumps(snapshots()))
elif verb == "backup":
    source = pathlib.Path(rest[-1]); number = len(list((repo / "snapshots").iterdir())) + 1
    folder = repo / "snapshots" / ("%040d" % number)
    shutil.copytree(source, folder / "data" / str(source).lstrip("/"))
    save(dict(id=folder.name, time="2026-11-20T%06d" % number, tags=tags, paths=[str(source)]))
    print(json.dumps(dict(message_type="status"))); print(json.dumps(dict(message_type="summary", snapshot_id=folder.name)))
elif verb == "tag":
    meta = next(s for s in snapshots() if s["id"] == rest[-1]); meta["tags"].append(rest[0].split("=", 1)[1]); save(meta)
elif verb == "forget":
    for identity in rest: shutil.rmtree(repo / "snapshots" / identity)
elif verb == "restore":
    shutil.copytree(repo / "snapshots" / rest[0] / "data", rest[rest.index("--target") + 1], dirs_exist_ok=True)
elif verb == "check" and (repo / "broken").exists():
    end(1, "Pack ID does not match" + chr(10) + "restic repair packs " + (repo / "broken").read_text())
elif verb == "repair": (repo / "broken").unlink(); pathlib.Path("pack-" + rest[1]).write_text("broken")
"""


class KilledError(BaseException):
    """`kill -9`: nothing more happens, not even what stands in a `finally`."""


class Play:
    """A host on which PostgreSQL's tools and restic do what a test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backups = root / "backups"
        self.log = root / "log" / "backup.log"
        self.shared = root / "shared"
        self.databases = root / "databases"
        self.repository = root / "repository"
        programs = root / "postgresql/17/bin"
        for folder in (self.backups, self.shared, root / "bin", self.databases / "demo", programs):
            folder.mkdir(parents=True)
        (self.shared / "upload.txt").write_text("hello")
        tools = {
            "psql": PSQL,
            "pg_dump": PG_DUMP,
            "pg_restore": PG_RESTORE,
            "pgbackrest": PGBACKREST,
            "restic": RESTIC.replace("{python}", sys.executable),
        }
        servers = {"initdb": INITDB, "postgres": POSTGRES, "pg_amcheck": AMCHECK, "pg_ctl": "#!/bin/sh\n"}
        for where, programs_ in ((root / "bin", tools), (programs, servers)):
            for tool, text in programs_.items():
                (where / tool).write_text(text)
                (where / tool).chmod(0o755)
        for empty in (
            "rename",
            "pg_dump",
            "pg_restore",
            "truncated",
            "queries",
            "restores",
            "amcheck",
            "restic",
            "properties",
            "asked",
            "pgbackrest",
            "copies",
            "hole",
            "reader",
        ):
            self.say(empty, "")
        self.say("archiver", "000000010000000000000009|\n")
        self.say("tables", "2\n")
        self.say("rows", ROWS)
        self.say("restored_rows", ROWS)
        self.say("revision", "abc123\n")
        self.say("snapshot", "0000-1\n")
        self.say("shape", json.dumps(SHAPE))
        self.say("version", "pg_dump (PostgreSQL) 17.6 (Debian 17.6-0+deb13u1)\n")
        self.say("listing", LISTING.replace("postgis", "pg_trgm"))
        self.say("password", "correct horse battery\n")
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.settings: dict[str, Any] = {
            "admin": me,
            "app": "demo",
            "backup_dir": str(self.backups),
            "compression": "auto",
            "database": "demo",
            "engine": "dump",
            "full_days": 7,
            "jobs": 2,
            "keep_count": 1,
            "keep_days": 14,
            "log_file": str(self.log),
            "paths": [str(self.shared), str(root / "not-there")],
            "proof": True,
            "proof_dir": str(root / "proof"),
            "proxy_group": "www-data",
            "reader": "demo_readonly",
            "reserve_mb": 1,
            "role": me,
            "service": "",
            "shared": str(self.shared),
            "socket_dir": "/run/postgresql",
            "user": me,
        }
        self.offsite: dict[str, Any] | None = None
        # So many effects later the program is killed; what it did.
        self.lives: int | None = None
        self.did: list[str] = []

    def say(self, what: str, text: str) -> None:
        (self.root / what).write_text(text)

    def said(self, what: str) -> str:
        path = self.root / what
        return path.read_text() if path.exists() else ""

    def copies_elsewhere(self, **change: Any) -> None:
        self.offsite = {
            "check_days": 7,
            "environment": {},
            "keep_count": 1,
            "keep_days": 90,
            "known_hosts": "",
            "options": [],
            "password_file": str(self.root / "password"),
            "repository": str(self.repository),
            "ssh_key": "",
            **change,
        }

    def run(self, *arguments: str) -> int:
        config = self.root / "backup.json"
        config.write_text(json.dumps(self.settings))
        if self.offsite:
            (self.root / "backup-offsite.json").write_text(json.dumps(self.offsite))
        return cli.main(["demo", "backup", "--config", str(config), *arguments])

    def complete(self) -> list[str]:
        return sorted(path.name for path in self.backups.iterdir() if not path.name.startswith(".") and path.is_dir())

    def partial(self) -> list[str]:
        return sorted(path.name for path in self.backups.glob(".partial*"))

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.backups / "status.json").read_text()))

    def there(self) -> list[str]:
        """Databases of the live server."""
        return sorted(path.name for path in self.databases.iterdir())

    def fake(self, name: str, proven: bool | None = True, whole: bool = True, old: bool = False) -> Path:
        """A complete backup of another day; ``old``: as an earlier version of the program left it."""
        folder = self.backups / name
        dump = folder / store.DUMP
        (folder if old else dump).mkdir(parents=True)
        for path in (dump if old else dump / "toc.dat", folder / store.FILES):
            path.write_text(path.name)
        manifest = {
            "name": name,
            "bytes": 20,
            "tables": 2,
            "schema_revisions": ["abc123"],
            "files": files.checksums(folder),
            "paths": [str(self.shared)] if whole else [],
            "database": "demo",
            **SHAPE,
        }
        if not old:
            kind = "whole" if whole else "database"
            manifest = rules.sealed({**manifest, "format": 2, "kind": kind, "rows": {"public.alembic_version": 1, "public.note": 41}})
        (folder / store.MANIFEST).write_text(json.dumps(manifest))
        if proven is not None:
            (folder / store.PROOF).write_text(json.dumps({"good": proven}))
        return folder

    # --- kill -9 ---

    def effect(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Something that touches the host; after it is when the program can be killed."""

        def wrapped(*words: Any, **options: Any) -> Any:
            if self.lives == 0:
                raise KilledError
            result = real(*words, **options)
            self.did.append(f"{name} {' '.join(map(str, words[:2]))}"[:200])
            if self.lives is not None:
                self.lives -= 1
                if self.lives == 0:
                    raise KilledError
            return result

        return wrapped

    def killed_anywhere(self, *arguments: str, fresh: Callable[[], None], step: int = 1) -> Iterator[str]:
        """The same run from the same start again and again, killed after its first effect, its second … until it comes to its end."""
        for lives in itertools.count(1, step):
            fresh()
            self.did, self.lives = [], lives
            try:
                status = self.run(*arguments)
            except KilledError:
                self.lives = None
                yield f"killed after {lives}: {self.did[-1]}"
            else:
                self.lives = None
                assert status == 0, f"{self.said('log/backup.log')}"
                assert lives > 5, "the run has hardly an effect: the seam is broken"
                return


#: What touches the host, and the module in which the program finds it.
EFFECTS = {
    "run": host,
    **dict.fromkeys(("write_atomically", "move", "make_folder", "hand_over", "remove", "sync_tree"), files),
}


def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setenv("PLAY", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(syslog, "syslog", lambda *_: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(database, "PROGRAMS", tmp_path / "postgresql")
    made = Play(tmp_path)
    for name, module in EFFECTS.items():
        monkeypatch.setattr(module, name, made.effect(name, getattr(module, name)))
    return made
