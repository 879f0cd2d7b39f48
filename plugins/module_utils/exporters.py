# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""The tools that read the lock files of Poetry, PDM and Pipenv, each in its own words, and write them as requirements for uv.

Each runs in an environment of its own, which uv keeps in its cache. All that is in it is pinned: one release of a dependency is enough to
break a tool (PDM 2.29.4 with hishel 2, for example). To renew one:

    echo 'poetry==2.5.1
    poetry-plugin-export==1.10.1' | uv pip compile - --universal --python-version 3.11 --no-header --no-annotate
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

Names = Sequence[str]


class Exporter(NamedTuple):
    """One tool, and what its environment has; ``command`` makes its words out of the extras and groups that are wanted."""

    tool: str
    pins: str
    command: Callable[[Names, Names], list[str]]


def _poetry(extras: Names, groups: Names) -> list[str]:
    return ["export", "--no-interaction", f"--only={','.join(['main', *groups])}", *(f"--extras={name}" for name in extras)]


def _pdm(extras: Names, groups: Names) -> list[str]:
    # Of its groups for development PDM takes all, unless some are named; --prod means none.
    return ["export", "--format=requirements", *([] if groups else ["--prod"]), *(f"--group={name}" for name in (*extras, *groups))]


def _pipenv(extras: Names, groups: Names) -> list[str]:
    return ["requirements", "--hash", f"--categories={','.join(['packages', *groups])}"]


EXPORTERS = {
    "poetry.lock": Exporter(
        "poetry",
        """
        anyio==4.16.0 backports-tarfile==1.2.0;python_full_version<'3.12' backports-zstd==1.8.0;python_full_version<'3.14'
        build==1.6.1 cachecontrol==0.14.4 certifi==2026.10.19.post1 cffi==2.1.1 charset-normalizer==3.5.3 cleo==2.1.0 crashtest==0.4.1
        cryptography==50.0.2 distlib==0.4.4 dulwich==1.2.21 fastjsonschema==2.22.3 filelock==4.3.1 findpython==0.8.0 h11==0.16.0
        httpcore2==2.16.2 httpx2==2.16.2 idna==3.20 importlib-metadata==10.2.0;python_full_version<'3.12' installer==1.1.0
        jaraco-classes==3.4.0 jaraco-context==6.1.2 jaraco-functools==4.6.0 jeepney==0.9.0 keyring==25.7.0
        lazy-importer==0.1.0;python_full_version<'3.12' more-itertools==11.2.1 msgpack==1.2.4 packaging==26.4
        pbs-installer==2026.10.25 pkginfo==1.13.3 platformdirs==4.14.8 poetry==2.5.1 poetry-core==2.5.0
        poetry-plugin-export==1.10.1 pycparser==3.12 pyproject-hooks==1.3.3 python-discovery==1.9.6 rapidfuzz==3.14.6
        requests==2.34.2 requests-toolbelt==1.0.0 secretstorage==3.5.0 shellingham==1.5.4 tomlkit==0.15.2
        trove-classifiers==2026.9.21.13 truststore==0.10.5 typing-extensions==4.16.0 urllib3==2.8.0 virtualenv==21.15.11
        zipp==4.1.2;python_full_version<'3.12'
        """,
        _poetry,
    ),
    "pdm.lock": Exporter(
        "pdm",
        """
        anyio==4.16.0 anysqlite==0.0.5 argcomplete==3.7.2 blinker==1.9.0 certifi==2026.10.19.post1 dep-logic==0.7.2
        distlib==0.4.4 filelock==4.3.1 findpython==0.9.0 h11==0.16.0 hishel==1.4.0 httpcore2==2.16.2 httpx2==2.16.2 id==1.6.1
        idna==3.20 installer==1.1.0 markdown-it-py==4.3.0 mdurl==0.1.2 msgpack==1.2.4 packaging==26.4 pbs-installer==2026.10.25
        pdm==2.29.4 platformdirs==4.14.8 pygments==2.21.0 pyproject-hooks==1.3.3 python-discovery==1.9.6 python-dotenv==1.2.4
        resolvelib==1.2.1 rich==15.0.0 shellingham==1.5.4 socksio==1.0.0 tomlkit==0.15.2 truststore==0.10.5
        typing-extensions==4.16.0 unearth==0.19.0 urllib3==2.8.0 virtualenv==21.15.11
        """,
        _pdm,
    ),
    "Pipfile.lock": Exporter(
        "pipenv",
        """
        certifi==2026.10.19.post1 distlib==0.4.4 filelock==4.3.1 packaging==26.4 pipenv==2026.10.3 platformdirs==4.14.8
        python-discovery==1.9.6 setuptools==84.2.1 virtualenv==21.15.11
        """,
        _pipenv,
    ),
}
