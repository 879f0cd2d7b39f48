"""The step prepare: from a source to a release that can be started."""

from __future__ import annotations

import itertools
import json
import shutil
import syslog
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.slipway.vps.plugins.module_utils import deploy_build, schema
from ansible_collections.slipway.vps.plugins.module_utils.deploy_steps import StepError
from ansible_collections.slipway.vps.plugins.module_utils.environment import parse_environment
from ansible_collections.slipway.vps.plugins.module_utils.releases import BUILDING, LIVE, READY, RETIRED, ROLLED_BACK, Release, Store

from .fakes import COMMIT, MIB, NEW, OLD, OLDER, UP, Existing, Host, Make, archive, listed, meanwhile, refused, untouched

#: As the model has them.
PROCESSES = {"beat": {"command": "celery beat"}, "worker": {"command": "celery worker", "stop_timeout": 300}}
PIP = "uv pip install --python .venv/bin/python"


def test_a_release_is_built_in_order(deploy: Make, root: Path, host: Host) -> None:
    """[A10] Manifest, source, environment of its own; ready only when all of it went well."""
    assert deploy(processes=PROCESSES).do("prepare") == {"changed": True, "needed": True, "release": NEW, "migrates": False}
    folder = root / "srv/releases" / NEW
    short = ("compileall" if "compileall" in line else line for line in host.did)
    did = [line for line, _ in itertools.groupby(short)]
    assert did == [
        "stop blog-build-step.service",
        f"{NEW} is building",
        f"give {NEW} to 4242:4343",
        f"{NEW} is building",
        "python3 --version",
        "uv venv --no-project --python python3 .venv",
        f"{folder}/.venv/bin/python --version",
        f"{PIP} --requirement requirements.txt",
        f"{PIP} gunicorn==27.0.1",
        "compileall",
        f"give {NEW} to 0:0",
        f"{NEW} is ready",
    ]
    made = Store(root / "srv").load(NEW)
    assert made and (made.python, made.commit, made.processes) == ("3.13.5", COMMIT, PROCESSES)
    assert made.fingerprint == deploy(processes=dict(reversed(PROCESSES.items()))).builder.fingerprint()
    assert made.created_at == "2026-11-20T07:22:01+00:00" and made.lock and made.created_by == "ada@laptop"
    assert (folder / "blog.py").exists() and not (folder / ".git").exists()
    assert not (root / "srv/current").exists()


def test_whatever_builds_is_the_apps_user(deploy: Make, root: Path, host: Host) -> None:
    """[A5] A build runs code of the app and of its dependencies: never as root, never with root's environment."""
    deploy().do("prepare")
    folder = root / "srv/releases" / NEW
    assert {name: account.name if account else "root" for name, account in host.accounts.items()} == {
        **{"systemd-run": "root", "python3": "blog", f"{folder}/.venv/bin/python": "blog"},
    }
    assert len(host.transients) >= 5
    for words in host.transients:
        assert {"--uid=blog", "--gid=blog", "--property=ProtectSystem=strict", "--property=NoNewPrivileges=yes"} <= set(words)


def test_a_build_stays_behind_the_app(deploy: Make, root: Path, host: Host) -> None:
    """[S1] [A5] Whoever serves comes first; a build writes below the app's folder and nowhere else."""
    deploy(migrate_command=UP).do("prepare")
    builds = list(host.transients)
    deploy(release=NEW, migrate_command=UP).do("migrate")
    check = host.transients[len(builds)]
    folder = root / "srv/releases" / NEW
    for words in builds:
        wanted = {"--unit=blog-build-step.service", "--wait", f"--working-directory={folder}"}
        wanted |= {f"--property={value}" for value in ("Nice=10", "CPUWeight=20", "IOWeight=20")}
        wanted |= {f"--property=ReadWritePaths={root}/srv", f"--property=Environment=HOME={root}/srv/cache"}
        wanted |= {f"--property=Environment={value}" for value in (f"UV_CACHE_DIR={root}/srv/cache/uv", "UV_PYTHON_DOWNLOADS=never")}
        assert wanted <= set(words), words
        assert not [word for word in words if "EnvironmentFile" in word], "a build has no business with the app's secrets"
    assert check[-1] == "--check-config" and f"--property=ReadWritePaths={root}/srv/shared" in check and "--property=Nice=10" not in check


def test_a_build_that_an_interrupted_run_left_is_ended_first(deploy: Make, existing: Existing, root: Path, host: Host) -> None:
    """[S1] `kill -9` of the module leaves its unit, which writes into the folder that is about to be removed."""
    existing(OLDER, BUILDING)
    host.active.add("blog-build-step.service")
    there: list[tuple[str, bool]] = []
    meanwhile(host, "", lambda line: there.append((line, (root / "srv/releases" / OLDER).exists())))
    deploy().do("prepare")
    assert there[0] == ("stop blog-build-step.service", True) and "blog-build-step.service" not in host.active


def test_what_another_run_configures_during_a_build_is_noticed(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[S1] Refused by the lock, but its configuration is written already: this release has parts of both, and is neither."""
    meanwhile(host, f"give {NEW} to 0:0", lambda line: (root / "etc/environment").write_text('OTHER="run"\n'))
    with pytest.raises(StepError, match="another run changed"):
        deploy().do("prepare")
    refused(root, NEW, "configuration", f"another run changed {root}/etc")
    untouched(root, host)


def test_the_release_can_be_read_though_the_clone_is_closed(deploy: Make, root: Path) -> None:
    """[F4 A11] Only root looks into a clone, whose configuration may hold a token; the app's user works in the release."""
    tree = root / "closed"
    tree.mkdir(mode=0o700)
    (tree / "requirements.txt").write_text("")
    (tree / "blog.py").write_text("app = 1\n")
    deploy(tree=str(tree)).do("prepare")
    assert (root / "srv/releases" / NEW).stat().st_mode & 0o777 == 0o755


def test_an_archive_goes_once_it_is_unpacked(deploy: Make, root: Path) -> None:
    """[S1] On a small disk it would stand in the way of what comes next."""
    packed = archive(root / "source.tar", "blog.py", "requirements.txt")
    deploy(tree=None, archive=str(packed)).do("prepare")
    assert not packed.exists() and (root / "srv/releases" / NEW / "blog.py").exists()


def test_the_configuration_is_kept_with_the_release(deploy: Make, root: Path) -> None:
    """[S1] Without the secrets; going back to the release brings its environment back."""
    deploy().do("prepare")
    text = (root / "srv/releases" / NEW / "environment").read_text()
    assert text.startswith((root / "etc/environment").read_text())
    assert parse_environment(text) == {
        "DATABASE_URL": "postgresql:///blog?host=/run/postgresql",
        **{"SLIPWAY_COMMIT": COMMIT, "SLIPWAY_RELEASE": NEW, "SLIPWAY_WSGI": "blog:app"},
    }
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        (("uv.lock", "requirements.txt", "pyproject.toml"), "uv sync --frozen --no-dev --no-install-project --python .venv/bin/python"),
        (("pylock.toml", "requirements.txt"), f"{PIP} --preview-features pylock --requirement pylock.toml"),
        (("requirements.txt", "pyproject.toml"), f"{PIP} --requirement requirements.txt"),
        (("pyproject.toml",), f"{PIP} --requirement pyproject.toml"),
    ],
)
def test_the_most_exact_list_of_dependencies_wins(deploy: Make, root: Path, host: Host, there: tuple[str, ...], asked: str) -> None:
    """[A10] uv.lock, then pylock.toml, requirements.txt and pyproject.toml; one of them, not all."""
    (root / "tree/requirements.txt").unlink()
    for name in there:
        (root / "tree" / name).write_text('[project]\nname = "blog"\n' if name == "pyproject.toml" else "")
    deploy(requirements=[]).do("prepare")
    assert [line for line in host.did if line.startswith("uv") and not line.startswith("uv venv")] == [asked]


def test_a_source_that_names_no_dependencies_is_refused(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[A10] With the files that would do."""
    (root / "tree/requirements.txt").unlink()
    with pytest.raises(StepError, match=r"neither uv\.lock nor .*requirements\.txt nor pyproject\.toml"):
        deploy().do("prepare")
    refused(root, NEW, "project", "add one that names what the app needs")
    assert not [line for line in host.did if line.startswith("uv")], "something was built before it was refused"
    untouched(root, host)


def test_a_package_is_installed_by_its_requirement(deploy: Make, host: Host, root: Path) -> None:
    """[A10] [A11] There is no tree, and no lock file is asked for. Its address may hold a token, which no argument has."""
    asked = root / "run-build/requirement"
    deploy(tree=None, requirement="blog @ https://token@example.com/blog.whl", commit="").do("prepare")
    assert f"{PIP} --requirement {asked}" in host.did and not asked.exists()
    assert "token" not in " ".join(host.did)


@pytest.mark.parametrize(
    ("brings", "asked"),
    [
        ([], f"{PIP} gunicorn==27.0.1 gevent==26.9.0"),
        (["gunicorn-26.0.0.dist-info", "Flask-3.1.2.dist-info"], f"{PIP} gevent==26.9.0"),
        (["gunicorn-26.0.0.dist-info", "gevent-25.1.dist-info"], None),
    ],
)
def test_what_the_app_brings_itself_is_left_alone(deploy: Make, host: Host, brings: list[str], asked: str | None) -> None:
    """[A10] The app's own version of Gunicorn wins; what it lacks is added."""
    host.brings = brings
    deploy(requirements=["gunicorn==27.0.1", "gevent==26.9.0"]).do("prepare")
    installs = [line for line in host.did if line.startswith(PIP) and "--requirement" not in line]
    assert installs == ([asked] if asked else [])


def test_the_manifest_remembers_what_was_asked_for(deploy: Make, root: Path) -> None:
    """[K8] The version as the operator calls it; and no secret, wherever in an address it stands."""
    deploy().do("prepare")
    store = Store(root / "srv")
    kept = store.load(NEW)
    assert kept and kept.asked == {"type": "git", "repo": "https://git.example.com/blog.git", "version": "v1.4.0"}
    secret = "blog @ git+https://ada:s3cret@git.example.com/blog.git@v1.4.0"
    asked = {"type": "package", "requirement": secret, "deploy_key": "s3cret"}
    built = deploy(identity=secret, commit="", tree=None, requirement=secret, asked=asked)
    assert "s3cret" not in json.dumps(built.do("plan")["diff"])
    name = built.do("prepare")["release"]
    assert "s3cret" not in (store.folder(name) / "release.json").read_text()
    kept = store.load(name)
    assert kept and kept.asked == {"type": "package", "requirement": "blog @ git+https://***@git.example.com/blog.git@v1.4.0"}


def test_an_interrupted_build_is_cleaned_up(deploy: Make, existing: Existing, root: Path, serving: Release) -> None:
    """[S1] A killed build leaves a folder; the next one removes it, and nothing else."""
    existing(OLDER, BUILDING)
    existing("20261117T072201-cafe", RETIRED)
    deploy().do("prepare")
    assert listed(root / "srv/releases") == ["20261117T072201-cafe", OLD, NEW]


@pytest.mark.parametrize(
    ("fails", "step"),
    [
        ("uv venv", "virtual environment"),
        ("--requirement requirements.txt", "dependencies"),
        ("gunicorn==27.0.1", "dependencies"),
    ],
)
def test_a_step_that_fails_leaves_the_old_release_alone(
    deploy: Make, root: Path, host: Host, serving: Release, fails: str, step: str
) -> None:
    """[S1] [A12] The manifest says which step and why, the rest of the new release is gone, the old one serves."""
    host.fails = {fails: "line\n" * 50 + "No solution found"}
    with pytest.raises(StepError) as failure:
        deploy().do("prepare")
    assert failure.value.step == step and failure.value.evidence.endswith("No solution found")
    assert len(failure.value.evidence.splitlines()) <= 30
    refused(root, NEW, step, "No solution found")
    untouched(root, host)
    assert not [line for line in host.did if line.startswith(("start", "stop blog@", "end", "current"))]


def test_a_missing_environment_file_is_a_failure_of_its_step(deploy: Make, root: Path) -> None:
    """[A12] Named, not a traceback."""
    (root / "etc/environment").unlink()
    with pytest.raises(StepError, match="No such file"):
        deploy().do("prepare")
    refused(root, NEW, "environment", "No such file")


def test_what_another_run_brought_meanwhile_is_not_built_again(deploy: Make, existing: Existing, host: Host) -> None:
    """[S1] Two runs want the same, the second waited for the lock: its plan is out of date by now."""
    existing(OLD, LIVE, current=True, running=True, fingerprint=deploy().builder.fingerprint())
    assert deploy().do("prepare") == {"changed": False, "needed": False, "release": OLD, "migrates": False}
    assert host.did == []


def test_what_was_rolled_away_from_is_not_built_again(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Also when there is something to repair, so that the run goes on after its plan; asked for, it is."""
    existing(NEW, ROLLED_BACK, fingerprint=deploy().builder.fingerprint())
    assert deploy().do("prepare") == {"changed": False, "needed": False, "release": OLD, "migrates": False}
    assert host.did == []
    assert deploy(force=True).do("prepare")["needed"] is True


def test_check_mode_says_whether_something_would_be_built(deploy: Make, existing: Existing, host: Host, serving: Release) -> None:
    """[S1] Not when it is live, or held back."""
    assert deploy(check_mode=True).do("prepare") == {"changed": True, "needed": True, "release": "", "migrates": True}
    existing(NEW, READY, fingerprint=deploy().builder.fingerprint())
    assert deploy(check_mode=True).do("prepare") == {"changed": True, "needed": True, "release": NEW, "migrates": True}
    existing(NEW[:-1] + "1", ROLLED_BACK, fingerprint=deploy(identity="bad").builder.fingerprint())
    assert deploy(check_mode=True, identity="bad").do("prepare") == {"changed": False, "needed": False, "release": OLD, "migrates": False}
    assert host.did == []


def test_a_disk_without_room_is_refused_before_anything_is_written(deploy: Make, root: Path, host: Host, serving: Release) -> None:
    """[S1] Twice the live release would have to fit: room for a new one, and what logs and the database need."""
    (root / "srv/releases" / OLD / "big").write_bytes(b"x" * 5 * MIB)
    host.free = deploy_build.RESERVE + 5 * MIB - 1
    with pytest.raises(StepError, match=r"204 MiB are free, 205 MiB are wanted\. Free some below .*release_keep") as failure:
        deploy().do("prepare")
    assert failure.value.step == "space"
    assert listed(root / "srv/releases") == [OLD] and host.did == ["stop blog-build-step.service"]
    untouched(root, host)
    host.free += MIB
    assert deploy().do("prepare")["changed"] is True


def test_an_interrupted_build_makes_room_first(
    deploy: Make, existing: Existing, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[S1] What it left may be what fills the disk."""
    existing(OLDER, BUILDING)

    def usage(path: Path) -> Any:
        full = (root / "srv/releases" / OLDER).exists()
        return shutil._ntuple_diskusage(10**12, 0, 0 if full else 10**12)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert deploy().do("prepare")["changed"] is True


def test_the_digest_of_the_migrations_is_noted(deploy: Make, root: Path) -> None:
    """[A13] To tell later whether there is anything to migrate."""
    deploy().do("prepare")
    made = Store(root / "srv").load(NEW)
    assert made and made.migrations is None
    (root / "tree/migrations").mkdir()
    (root / "tree/migrations/env.py").write_text("")
    second = deploy(identity="other", commit="").do("prepare")["release"]
    made = Store(root / "srv").load(second)
    assert made and made.migrations == schema.digest(root / "tree")


def test_a_failure_is_kept_with_its_release(deploy: Make, root: Path, host: Host) -> None:
    """[S1] The capsule: step, reason, time, and the command to try again with."""
    host.fails = {"uv venv": "No space left"}
    with pytest.raises(StepError):
        deploy(retry="ansible-playbook deploy.yml").do("prepare")
    made = Store(root / "srv").load(NEW)
    assert made and made.failure == {
        **{
            "step": "virtual environment",
            "reason": "No space left",
            "at": "2026-11-20T07:22:01+00:00",
            "retry": "ansible-playbook deploy.yml",
        },
    }


def test_each_step_is_noted_in_the_journal(deploy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] `journalctl -t slipway` shows how far a run came that was killed."""
    noted: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, text: noted.append(text))
    deploy(action="prepare", migrate_command=UP).do("prepare")
    steps = ["source", "project", "virtual environment", "dependencies", "bytecode", "environment", "units", "schema"]
    assert noted == [f"blog: prepare: {step}" for step in steps]
    noted.clear()
    deploy(action="migrate", release=NEW, migrate_command=UP).do("migrate")
    assert noted == [f"blog: migrate: {step}" for step in ("schema", "import", "migration", "schema")]


def test_what_outlives_a_release_is_linked_into_it(deploy: Make, root: Path, host: Host) -> None:
    """[F6] As the app's user, before dependencies and build: what they write there outlives the release, too."""
    (root / "tree/instance").mkdir()
    deploy(shared_paths=["instance/"]).do("prepare")
    folder = root / "srv/releases" / NEW
    assert (folder / "instance").readlink() == Path("../../shared/instance")
    copied = next(n for n, did in enumerate(host.did) if did.startswith("cp --recursive"))
    assert copied < host.did.index("uv venv --no-project --python python3 .venv")
    assert [host.accounts[name].name for name in ("mkdir", "cp", "mv")] == ["blog"] * 3  # type: ignore[union-attr]
