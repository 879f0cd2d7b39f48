# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""What a build or an app that does not start lacks, told from what was said: the packages to add. The one place that knows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

#: Debian's packages, and what tools say when what these have is absent. All that fit are named.
ABSENT: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("build-essential",),
        (r"(command|error:.*) '?[\w-]*\b(gcc|cc|clang|c\+\+|g\+\+)'? failed: No such file", r"unable to execute '?[\w-]*(gcc|g\+\+)"),
    ),
    (
        ("build-essential",),
        (
            r"[\w-]*-gcc: No such file",
            r"\b(gcc|cc|g\+\+|make): (command )?not found",
            r"[Uu]nknown compiler\(s\)",
            r"No such file or directory: '[\w-]*\b(gcc|g\+\+|cc|make)'",
        ),
    ),
    (("build-essential",), (r"No CMAKE_C(XX)?_COMPILER could be found",)),
    (
        ("cmake",),
        (r"cmake: (command )?not found", r"No such file or directory: 'cmake'", r"Could not find CMake", r"CMake must be installed"),
    ),
    (
        ("cargo", "build-essential"),
        (
            r"can't find Rust compiler",
            r"cargo, the Rust package manager, is not installed",
            r"linker `cc` not found",
            r"cargo: (command )?not found",
        ),
    ),
    (("gfortran",), (r"gfortran: (command )?not found", r"Unknown compiler\(s\):.*gfortran", r"no Fortran compiler")),
    (("swig",), (r"swig: (command )?not found", r"'swig' failed", r"unable to execute '?swig", r"No such file or directory: 'swig'")),
    (
        ("pkg-config",),
        (
            r"pkg-config: (command )?not found",
            r"[Pp]kg-config.*(not found|is not installed|could not be found)",
            r"No such file or directory: 'pkg-config'",
            r"Can not find valid pkg-config name",
        ),
    ),
    (("python3-dev",), (r"(?<![\w-])Python\.h: No such file",)),
    (
        ("libpq-dev",),
        (r"pg_config executable not found", r"libpq-fe\.h: No such file", r"cannot find -lpq\b", r"pg_config: (command )?not found"),
    ),
    (
        ("default-libmysqlclient-dev",),
        (
            r"mysql_config(: (command )?| )not found",
            r"Trying pkg-config --exists mysqlclient",
            r"mysql\.h: No such file",
            r"Can not find valid pkg-config name",
        ),
    ),
    (
        ("libxml2-dev", "libxslt1-dev"),
        (
            r"libxml/\w+\.h: No such file",
            r"libxml2 and libxslt development packages",
            r"xslt-config: (command )?not found",
            r"libxslt/\w+\.h: No such file",
        ),
    ),
    (("libxmlsec1-dev", "pkg-config"), (r"xmlsec1? is not (installed|found)", r"xmlsec/\w+\.h: No such file", r"Package 'xmlsec1'")),
    (("libffi-dev",), (r"ffi\.h: No such file", r"Package 'libffi'")),
    (("libssl-dev", "pkg-config"), (r"openssl/\w+\.h: No such file", r"Could not find directory of OpenSSL", r"Package 'openssl'")),
    (("libldap2-dev",), (r"lber\.h: No such file", r"ldap\.h: No such file")),
    (("libsasl2-dev",), (r"sasl/\w+\.h: No such file", r"lber\.h: No such file")),
    (
        ("libjpeg-dev",),
        (r"headers or library files could not be found for jpeg", r"jpeglib\.h: No such file", r"RequiredDependencyException: jpeg"),
    ),
    (
        ("zlib1g-dev",),
        (r"headers or library files could not be found for zlib", r"zlib\.h: No such file", r"RequiredDependencyException: zlib"),
    ),
    (("libcairo2-dev", "pkg-config"), (r"cairo\.h: No such file", r'Dependency "cairo" not found', r"Package 'cairo'")),
    (("libgdal-dev",), (r"gdal-config", r"gdal\.h: No such file")),
    (("libgeos-dev",), (r"geos_c\.h: No such file", r"geos-config")),
    (("freetds-dev",), (r"sqlfront\.h: No such file", r"sybdb\.h: No such file")),
    (("unixodbc-dev",), (r"(?<![\w-])sql\.h: No such file", r"sqlext\.h: No such file")),
    (("libkrb5-dev",), (r"krb5-config: (command )?not found", r"gssapi/\w+\.h: No such file")),
    (("libmagic1",), (r"magic\.h: No such file", r"failed to find libmagic")),
    (("libyaml-dev",), (r"yaml\.h: No such file",)),
    (("libcurl4-openssl-dev", "libssl-dev"), (r"curl-config", r"curl/curl\.h: No such file")),
    (("git",), (r"[Gg]it executable not found", r"No such file or directory: 'git'")),
    (("git-lfs",), (r"git-lfs: (command )?not found", r"'lfs' is not a git command")),
    (("nodejs", "npm"), (r"\b(npm|npx): (command )?not found",)),
    (("nodejs",), (r"\bnode: (command )?not found", r"env: .?node.?: No such file")),
    (("yarnpkg",), (r"\byarn(pkg)?: (command )?not found",)),
    (("gettext",), (r"\b(msgfmt|msgmerge|xgettext): (command )?not found", r"Can't find msgfmt")),
    (("sassc",), (r"\b(sassc): (command )?not found",)),
    (("curl",), (r"\bcurl: (command )?not found",)),
)
#: What every extension in C needs.
COMPILER = ("build-essential", "python3-dev")
#: A header that is in no line above.
_HEADER = re.compile(r"fatal error: ([\w./+-]+\.h(?:pp)?): No such file")
_PROGRAM = re.compile(r"(?:^|/sh: \d+: |line \d+: )([\w.+-]+): (?:command )?not found$", flags=re.MULTILINE)
_MODULE = re.compile(r"^(?:ModuleNotFoundError|ImportError): No module named '?(\w+)", re.MULTILINE)
_LIBRARY = re.compile(r"\b(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
#: Modules that used to come with Python, and the requirement that has them today (setuptools 82 has no pkg_resources).
FORMER = {"pkg_resources": "setuptools<82", "distutils": "setuptools", "imp": "zombie-imp"}
_KILLED = re.compile(
    r"signal: 9|SIGKILL|Killed signal terminated program|\bKilled$|out of memory|Cannot allocate memory|MemoryError|exited 137",
    re.MULTILINE,
)


def packages(said: str) -> list[str]:
    """Debian packages whose absence shows in what a tool said, each once; for what is compiled the compiler too, as it fails next."""
    found = [name for names, patterns in ABSENT if any(re.search(pattern, said) for pattern in patterns) for name in names]
    compiled = any(name.endswith("-dev") or name in COMPILER for name in found)
    return list(dict.fromkeys([*COMPILER, *found] if compiled else found))


def advice(said: str) -> Iterator[str]:
    """What to do about a build that failed with these words; nothing where they tell nothing."""
    wanted = packages(said)
    if wanted:
        yield f"Something of the system is missing that this build needs. Add to app.yml: app_build_packages: [{', '.join(wanted)}]"
    elif found := _HEADER.search(said):
        yield f"The header {found[1]} is missing: add the Debian package that has it to app_build_packages in app.yml (apt-file search)."
    elif found := _PROGRAM.search(said):
        yield f"The program {found[1]} is missing: add the Debian package that has it to app_build_packages in app.yml."
    if _KILLED.search(said):
        yield (
            "The build ran out of memory. Use versions that have a wheel, so that nothing is compiled (the lock file),"
            " or give the host more memory or a swap file."
        )


def import_advice(said: str) -> Iterator[str]:
    """What to do about an app that cannot be imported; nothing where its words tell nothing."""
    module = _MODULE.findall(said)[-1:]
    if module and module[0] in FORMER:
        yield (
            f"A library imports {module[0]}, which is not installed by itself any more. Use a newer version of the library, or add to"
            f' app.yml: release_requirements_custom: ["{FORMER[module[0]]}"]'
        )
    elif module:
        yield (
            f"The release has no module {module[0]}. If it is a library's: add its package to the app's lock file or requirements.txt."
            " If it is the app's own: correct app_wsgi or app_source.subdirectory."
        )
    elif found := _LIBRARY.search(said):
        yield f"The library {found[1]} is missing: add the Debian package that has it to app_build_packages in app.yml (apt-file search)."
    else:
        yield from advice(said)


def advised(said: str, adviser: Callable[[str], Iterator[str]] = advice) -> str:
    """What a tool said, and what to do about it."""
    return "\n".join([said.rstrip(), *adviser(said)])
