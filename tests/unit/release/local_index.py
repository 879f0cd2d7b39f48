"""A package index of a few tiny wheels, made and served by the test itself, and the apps of tests/apps, which are built from it.

Texts of an app may have ``@index@`` (the index's address) and ``@name==version@`` (the SHA-256 of a wheel).
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

APPS = Path(__file__).parents[2] / "apps"
#: What the index behind a login asks for.
LOGIN = "ada:s3cret"
#: A build backend of PEP 517 and 660: it refuses what setuptools refuses, several packages in a flat layout.
BACKEND = """
import base64, pathlib, re, zipfile

def get_requires_for_build_editable(settings=None):
    return []

def _wheel(folder, editable):
    top = [p.name for p in pathlib.Path(".").iterdir() if (p / "__init__.py").exists()]
    if len(top) > 1:
        raise SystemExit(f"error: Multiple top-level packages discovered in a flat-layout: {top}.")
    text = pathlib.Path("pyproject.toml").read_text()
    name, version = (re.search(rf'^{key} = "(.+)"', text, re.M)[1] for key in ("name", "version"))
    scripts = re.search(r"\\[project\\.scripts\\]\\n(.+)", text)
    info = f"{name}-{version}.dist-info"
    source = pathlib.Path("src" if pathlib.Path("src").is_dir() else ".").resolve()
    copied = {str(p.relative_to(source)): p.read_text() for p in source.rglob("*.py")}
    files = {
        **({f"{name}.pth": f"{source}\\n"} if editable else copied),
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    if scripts:
        files[f"{info}/entry_points.txt"] = "[console_scripts]\\n" + scripts[1].replace('"', "") + "\\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in files)
    with zipfile.ZipFile(pathlib.Path(folder, f"{name}-{version}-py3-none-any.whl"), "w") as packed:
        for path, text in files.items():
            packed.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl"

def build_wheel(folder, settings=None, metadata=None):
    return _wheel(folder, False)

def build_editable(folder, settings=None, metadata=None):
    return _wheel(folder, True)
"""
#: Stands for the tools that read a lock of their own: their real ones are too many packages for here.
EXPORTER = """
import json, pathlib, sys

def main():
    words = sys.argv[1:]
    print("a word to the operator", file=sys.stderr)
    if pathlib.Path("Pipfile.lock").exists():
        assert words == ["requirements", "--hash", "--categories=packages"], words
        print("-i https://index.example.com/simple")
        for name, package in json.loads(pathlib.Path("Pipfile.lock").read_text())["default"].items():
            print(name + package["version"], *("--hash=" + value for value in package["hashes"]))
        return
    import tomllib
    name = "poetry.lock" if pathlib.Path("poetry.lock").exists() else "pdm.lock"
    only = next((word.partition("=")[2].split(",") for word in words if word.startswith("--only=")), ["default"])
    assert words[0] == "export" and (name == "poetry.lock" or "--prod" in words), words
    for package in tomllib.loads(pathlib.Path(name).read_text())["package"]:
        if set(package["groups"]) & set(only):
            print(f"{package['name']}=={package['version']}", *(f"--hash={file['hash']}" for file in package["files"]))
"""


def wheel(name: str, version: str, requires: tuple[str, ...] = (), module: str = "", script: bool = False) -> bytes:
    """A wheel of one module, the same to the byte wherever it is made."""
    stem, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    extras = sorted({found[1] for found in (re.search(r"extra == '(\w+)'", line) for line in requires) if found})
    needs = "".join([*(f"Provides-Extra: {extra}\n" for extra in extras), *(f"Requires-Dist: {line}\n" for line in requires)])
    files = {
        f"{stem}.py": module or f'VERSION = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **({f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {stem}:main\n"} if script else {}),
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        for path, text in files.items():
            packed.writestr(zipfile.ZipInfo(path), text)
    return made.getvalue()


def wheels() -> dict[str, bytes]:
    """All of them, by ``name==version``."""
    plain = ("tiny-web==1.0", "tiny-web==2.0", "tiny-server==1.0", "tiny-mail==1.0", "tiny-dev==1.0", "tiny-other==1.0", "gevent==26.9")
    made = {
        f"{name}=={version}": wheel(name, version)
        for name, _, version in (text.partition("==") for text in (*plain, "tiny-packaging==1.0", "tiny-secret==1.0"))
    }
    made["tiny-backend==1.0"] = wheel("tiny-backend", "1.0", module=BACKEND)
    extra = ("gevent>=24 ; extra == 'gevent'", "tiny-packaging ; extra == 'gevent'")
    made |= {f"gunicorn=={version}": wheel("gunicorn", version, extra) for version in ("26.0", "27.0")}
    return made | {f"{tool}==1.0": wheel(tool, "1.0", module=EXPORTER, script=True) for tool in ("poetry", "pdm", "pipenv")}


@contextmanager
def served() -> Iterator[str]:
    """The index's address. Below ``/private`` it asks for a login."""
    files = {f"{name.split('==')[0].replace('-', '_')}-{name.split('==')[1]}-py3-none-any.whl": data for name, data in wheels().items()}

    class Index(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.strip("/").split("/")
            private = "private" in path
            login = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
            if private and self.headers.get("Authorization") != login:
                return self.answer(401, b"")
            if path[0] == "files" and path[-1] in files:
                return self.answer(200, files[path[-1]])
            project = path[-1].replace("-", "_")
            # One package is nowhere but behind the login.
            names = [name for name in files if name.split("-")[0] == project and (project == "tiny_secret") == private]
            listed = "".join(f'<a href="/files/{name}#sha256={hashlib.sha256(files[name]).hexdigest()}">{name}</a>' for name in names)
            return self.answer(200 if names else 404, f"<!DOCTYPE html><html><body>{listed}</body></html>".encode())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Nothing: pytest's output is for the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class SmallApp:
    """A folder of tests/apps: app.yml says what it is about, what its owner writes, and what is to come of it; source/ is the app."""

    about: str
    variables: Mapping[str, Any]
    #: Distributions that the release has, and that it has not.
    brings: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    #: Commands in the environment, files of the release.
    programs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    #: Parts of warnings; part of the reason why it is refused.
    warns: tuple[str, ...] = ()
    refused: str = ""
    #: Requirements of other roles.
    requirements: tuple[str, ...] = ()
    #: Links of the source, which a checkout elsewhere might not keep.
    link: Mapping[str, str] = field(default_factory=dict)
    #: A package that only a real index has: the app is for tests that have one.
    needs: str = ""

    @classmethod
    def of(cls, name: str) -> SmallApp:
        said = yaml.safe_load((APPS / name / "app.yml").read_text())
        given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
        return cls(**given)

    def place(self, name: str, folder: Path, index: str) -> None:
        """Its source, in ``folder``."""
        shutil.copytree(APPS / name / "source", folder)
        sums = {key: hashlib.sha256(data).hexdigest() for key, data in wheels().items()}
        for path in (path for path in folder.rglob("*") if path.is_file()):
            text = path.read_text().replace("@index@", index)
            path.write_text(re.sub(r"@([\w-]+==[\d.]+)@", lambda found: sums[found[1]], text))
        for link, target in self.link.items():
            (folder / link).symlink_to(target)


def names() -> list[str]:
    """Apps that this index has the wheels for; those of `init` alone have no app.yml."""
    return sorted(path.name for path in APPS.iterdir() if (path / "app.yml").exists())
