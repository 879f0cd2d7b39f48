"""What a failed build lacks is named with the Debian packages that have it. The texts are what the tools said, on hosts without these."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.vps.plugins.module_utils.build_advice import advised, import_advice, packages

NO_GCC = """\
         building 'psutil._psutil_linux' extension
         x86_64-linux-gnu-gcc -Wsign-compare -DNDEBUG -c psutil/_psutil_linux.c -o build/temp/psutil/_psutil_linux.o
         [stderr]
         error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'
"""
NO_GCC_OLD = "         error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory"
NO_PG_CONFIG = """\
         Error: pg_config executable not found.
         pg_config is required to build psycopg2 from source.  Please add the directory
         containing pg_config to the $PATH or specify the full executable path with the option:
"""
NO_MYSQL = """\
         Trying pkg-config --exists mysqlclient
         Command 'pkg-config --exists mysqlclient' returned non-zero exit status 127.
         /bin/sh: 1: pkg-config: not found
         Exception: Can not find valid pkg-config name.
         Specify MYSQLCLIENT_CFLAGS and MYSQLCLIENT_LDFLAGS env vars manually
"""
NO_HEADERS = "         src/_cffi_backend.c:2:10: fatal error: Python.h: No such file or directory"
NO_JPEG = (
    "         The headers or library files could not be found for jpeg,\n         a required dependency when compiling Pillow from source."
)
NO_XML = "         Error: Please make sure the libxml2 and libxslt development packages are installed."
NO_RUST = "         error: can't find Rust compiler"
NO_LDAP = "         Modules/common.h:15:10: fatal error: lber.h: No such file or directory"
COMPILER = ["build-essential", "python3-dev"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        *((text, COMPILER) for text in (NO_GCC, NO_GCC_OLD, NO_HEADERS)),
        (NO_PG_CONFIG, [*COMPILER, "libpq-dev"]),
        (NO_MYSQL, [*COMPILER, "pkg-config", "default-libmysqlclient-dev"]),
        (NO_JPEG, [*COMPILER, "libjpeg-dev"]),
        (NO_XML, [*COMPILER, "libxml2-dev", "libxslt1-dev"]),
        (NO_RUST, [*COMPILER, "cargo"]),
        (NO_LDAP, [*COMPILER, "libldap2-dev", "libsasl2-dev"]),
        ("/bin/sh: 1: npm: not found", ["nodejs", "npm"]),
        ("/bin/sh: 1: msgfmt: not found", ["gettext"]),
        ("  cause: Git executable not found. Ensure that Git is installed and available.", ["git"]),
    ],
)
def test_the_packages_to_add_are_named(said: str, wanted: list[str]) -> None:
    """[F5] With the compiler where something is compiled: without it the next build fails too."""
    assert sorted(packages(said)) == sorted(wanted)
    last = advised(said).splitlines()[-1]
    assert "app_build_packages" in last and all(name in last for name in wanted)


@pytest.mark.parametrize(
    "said",
    ["error: No solution found when resolving dependencies", "AssertionError", "x.py:1: not found", "python 3.13 is not a version"],
)
def test_of_another_failure_nothing_is_said(said: str) -> None:
    """[F8] A wrong hint is worse than none."""
    assert advised(said) == said


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("x.c:1:10: fatal error: rrd.h: No such file or directory", "The header rrd.h is missing"),
        ("/bin/sh: 1: hugo: not found", "The program hugo is missing"),
    ],
)
def test_what_no_table_knows_is_named_all_the_same(said: str, named: str) -> None:
    """[F8] With the variable that takes the package."""
    assert named in advised(said) and "app_build_packages" in advised(said)


@pytest.mark.parametrize(
    "said",
    [
        "g++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.",
        "The build backend returned an error\n  cause: Call to `setuptools.build_meta.build_wheel` failed (signal: 9 (SIGKILL))",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
    ],
)
def test_memory_is_named(said: str) -> None:
    """[F8] The kernel's way to say it has no words: what was killed was killed for memory."""
    assert "ran out of memory" in advised(said)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (
            "    import pkg_resources\nModuleNotFoundError: No module named 'pkg_resources'\n",
            'release_requirements_custom: ["setuptools<82"]',
        ),
        ("ModuleNotFoundError: No module named 'PIL.Image'; 'PIL' is not a package", "no module PIL."),
        ("ModuleNotFoundError: No module named 'a'\nDuring handling\nModuleNotFoundError: No module named 'b'", "no module b."),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "library libGL.so.1 is missing"),
        ("ImportError: failed to find libmagic.  Check your installation", "app_build_packages: [libmagic1]"),
    ],
)
def test_what_an_app_needs_to_be_imported_is_named(said: str, named: str) -> None:
    """[F8] With the variable or the file to change."""
    assert named in advised(said, import_advice).splitlines()[-1]


def test_of_another_failure_at_import_nothing_is_said() -> None:
    """[F8]"""
    said = "KeyError: 'PAYMENT_KEY'"
    assert advised(said, import_advice) == said
