#!/usr/bin/env python3
"""Write docs/settings.md: every variable of every role, and every -e switch of the playbooks, from their specifications.

settings.py          writes the page
settings.py --check  fails when the page is stale, and names the command that renews it

Sources: roles/*/meta/argument_specs.yml (all entry points), defaults/main.yml beside them, the table of roles/README.md (layers and
their order), playbooks/*.yml (switches), and the headings of docs/*.md (where a variable is explained).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/settings.md"
COMMAND = "python tools/settings.py"
#: Longest default that a cell shows in full.
WIDTH = 40
#: How the description of a variable that the model derives says its default, which no defaults/main.yml has.
DERIVED = " unless you say otherwise."
#: Pages that list variables without explaining them.
NOT_EXPLAINING = {"settings.md", "glossary.md", "requirements.md"}
#: What a description says when its value has a unit, and the unit. The first that fits counts; the second list is for text.
UNITS = (
    (r"\bseconds?\b", "seconds"),
    (r"\bMiB\b", "MiB"),
    (r"\bdays\b", "days"),
    (r"\b(\d+ to \d+)\b", r"\1"),
    (r"\bhow many times\b|\bthis many times\b", "factor"),
)
UNITS_OF_TEXT = (
    (r"\(nginx size\)", "`k`, `m`, `g`"),
    (r"\bK, M, G\b", "`K`, `M`, `G`"),
    (r"\bunit C\(k\), C\(M\) or C\(G\)", "`k`, `M`, `G`"),
    (r"\(C\(mb\) is", "`kb`, `mb`, `gb`"),
    (r"\bC\(500MB\)", "`kB`, `MB`, `GB`"),
    (r"\bC\(512M\)", "`K`, `M`, `G`"),
    (r"\bmilliseconds\b", "`ms`, `s`, `min`"),
    (r"\ba time span\b", "time span"),
)
#: Switches that set no role's variable: type, what they mean.
SWITCHES = {
    "target": ("str", "Group or host that the playbook works on, instead of `app_servers`."),
    "drift": ("str", "`mend` puts back what was changed by hand, `adopt` lets it count as it is. Unset: it is only shown."),
    "things": ("list of str", "What `drift=adopt` is about: names of things, as they are shown. Unset: all that differ."),
    "app": ("str", "Folder of the app that `init` looks at, or the address of its git repository. Required."),
    "entry": ("str", "The entry of the inventory that is to go. Required."),
    "reason": ("str", "Why nobody may deploy. Required; whoever is refused reads it."),
    "report": ("path", "File that a page about the run is written to at its end; of `site` and `deploy`, too. Unset: none is written."),
    "app_name": ("str", "Name of the app in the inventory that is written; the folder's unless given."),
    "command": ("list", "Words of the command that is run; or one text, which is taken apart at its blanks. Required."),
    "request": ("str", "Id of a request (`X-Request-ID`): its lines of nginx, server and app, in order of time."),
    "follow": ("bool", "Go on with new lines until Ctrl-C."),
    "since": ("str", "Lines from this time on, as journalctl takes it: `1 hour ago`."),
    "lines": ("int", "How many lines, 100 unless given; of one request all."),
    "json": ("bool", "The answer as data."),
    "from": ("path", "Folder on the controller with a backup to build the spare host from. Unset: the newest copy elsewhere."),
}


class SettingsError(Exception):
    """The sources do not fit together; the text says what to change where."""


@dataclass(frozen=True)
class Role:
    """A row of roles/README.md: a role, its layer (empty for the contract's) and what it is."""

    name: str
    layer: str
    about: str

    @property
    def page(self) -> str:
        """The page of docs/ that explains the role."""
        return f"{self.layer or 'contract'}.md"


@dataclass(frozen=True)
class Setting:
    """A variable, as the page shows it; each text is Markdown."""

    name: str
    type: str
    default: str
    unit: str
    scope: str
    meaning: str
    page: str
    derived: bool


# --- Sources ----------------------------------------------------------------------------------


def roles(root: Path) -> list[Role]:
    """The roles in the order of the request path, as roles/README.md lists them; SettingsError when one is missing there."""
    text = (root / "roles/README.md").read_text()
    found = [
        Role(name, layer.strip(), about.strip()) for layer, name, about in re.findall(r"^\|([^|]*)\| \[(\w+)\][^|]*\|([^|]*)\|", text, re.M)
    ]
    there = {path.parents[1].name for path in root.glob("roles/*/meta/argument_specs.yml")}
    if missing := there - {role.name for role in found}:
        raise SettingsError(f"roles/README.md has no row for the role {', '.join(sorted(missing))}: add it to the table")
    return [role for role in found if role.name in there]


def load(path: Path) -> dict[str, Any]:
    """A YAML file, which need not exist."""
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def options(root: Path, role: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Each variable of a role, from all its entry points, with its scope."""
    points: dict[str, dict[str, Any]] = load(root / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    found: dict[str, dict[str, Any]] = {}
    where: dict[str, list[str]] = {}
    for point, spec in points.items():
        for name, option in (spec.get("options") or {}).items():
            found.setdefault(name, option)
            where.setdefault(name, []).append(point)
    return {name: (option, scope(role, where[name])) for name, option in found.items()}


def scope(role: str, points: list[str]) -> str:
    """Which half of a role reads a variable: the machine's, the app's, or another entry point when neither does."""
    if role == "app":
        return "app"
    halves = [point for point in ("machine", "app") if point in points]
    return ", ".join(halves or (["main"] if "main" in points else points))


def defaults(root: Path) -> dict[str, Any]:
    """The defaults of all roles together: names carry their role's prefix."""
    found = {name: value for path in sorted(root.glob("roles/*/defaults/main.yml")) for name, value in load(path).items()}
    # What the model derives stands in plain words, of which only a literal can be put into a template.
    derived = {
        name: derivation(option).strip("`") for name, (option, _) in options(root, "app").items() if derivation(option).count("`") == 2
    }
    return {**derived, **found}


def inputs(root: Path, role: str) -> set[str]:
    """Variables without a default that defaults/main.yml shows as comments: the operator sets them, if anybody."""
    path = root / "roles" / role / "defaults/main.yml"
    return set(re.findall(r"^# (\w+):", path.read_text(), re.MULTILINE)) if path.exists() else set()


# --- Cells ------------------------------------------------------------------------------------


def markdown(text: str) -> str:
    """Ansible's markup as Markdown that fits a table's cell."""
    text = re.sub(r"\b[CVOEI]\(((?:[^()\\]|\\.|\([^()]*\))*)\)", lambda found: f"`{found[1].replace(chr(92), '')}`", text)
    text = re.sub(r"\b[PM]\([\w.]*?(\w+)(?:#(\w+))?\)", r"`\1`", text)
    # Outside of code GitHub would take <app> for HTML.
    parts = text.split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts)).replace("|", "\\|")


def words(option: Mapping[str, Any]) -> str:
    """The whole description, as one line."""
    text = option["description"]
    return " ".join((text if isinstance(text, str) else " ".join(text)).split())


def sentences(text: str) -> list[str]:
    """Its sentences; "Derived." is none."""
    return re.split(r"(?<=[.)])\s+(?=[A-Z])", text.removeprefix("Derived. "))


def sentence(text: str) -> str:
    """The first sentence, and the one that says when the variable is required."""
    first, *rest = sentences(text)
    return " ".join([first, *(other for other in rest if other.startswith("Required"))])


def derivation(option: Mapping[str, Any]) -> str:
    """The default of a variable that the model derives, as its description says it; empty for any other."""
    last = sentences(words(option))[-1]
    return markdown(last.removesuffix(DERIVED)) if last.endswith(DERIVED) else ""


def unit(option: Mapping[str, Any]) -> str:
    """The unit that the description gives, if the value is a number or a size."""
    kind, text = option.get("type", "str"), words(option)
    rules = UNITS if kind in ("int", "float") else UNITS_OF_TEXT if kind == "str" else ()
    for pattern, name in rules:
        if found := re.search(pattern, text, re.IGNORECASE if rules is UNITS else 0):
            return found.expand(name)
    return ""


def kind(option: Mapping[str, Any]) -> str:
    """The type: str, list of str, one of its choices."""
    name = option.get("type", "str")
    return f"list of {option['elements']}" if name == "list" and option.get("elements") else str(name)


def expand(value: str, known: Mapping[str, Any], depth: int = 5) -> str:
    """A template whose variables are plain text elsewhere, with that text put in; `<app>` stands for app_name."""

    def replaced(found: re.Match[str]) -> str:
        # The model's attributes have the names of the contract's variables.
        name = found[1].replace("app.", "app_")
        if name == "app_name":
            return "<app>"
        inner = known.get(name)
        return expand(inner, known, depth - 1) if isinstance(inner, str) and depth else found[0]

    return re.sub(r"\{\{ (\w+|app\.\w+) \}\}", replaced, value)


def default(value: Any, known: Mapping[str, Any]) -> str:
    """A default for a cell: in full when it is short, its beginning when it is long, "computed" for a formula."""
    if isinstance(value, str):
        if fallback := re.fullmatch(r"\{\{ \w+ \| default\(([^()]*)\) \}\}", value):
            value = yaml.safe_load(fallback[1])
        elif "{{" in value:
            value = expand(value, known)
            if "{{" in value:
                return "computed"
    if isinstance(value, dict) and any("{{" in str(item) for item in value.values()):
        return "computed"
    if isinstance(value, list | dict):
        return collection(value, known)
    text = '""' if value == "" else value if isinstance(value, str) and value.startswith("<app>") else shown(value)
    return f"`{text if len(text) <= WIDTH else text[: WIDTH - 1] + '…'}`".replace("|", "\\|")


def shown(value: Any) -> str:
    """A value as YAML has it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def collection(value: list[Any] | dict[str, Any], known: Mapping[str, Any]) -> str:
    """A list or dictionary: as many entries as fit, then how many there are."""
    entries = (
        [f"{key}: {shown(item)}" for key, item in value.items()]
        if isinstance(value, dict)
        else [shown(expand(item, known) if isinstance(item, str) else item) for item in value]
    )
    left, right = "{}" if isinstance(value, dict) else "[]"
    text = left + ", ".join(entries) + right
    if len(text) > WIDTH:
        first = [entry for index, entry in enumerate(entries) if len(", ".join(entries[: index + 1])) <= WIDTH - 8]
        beginning = ", ".join([*first, "…"])
        return f"`{left}{beginning}{right}` ({len(entries)})".replace("|", "\\|")
    return f"`{text}`".replace("|", "\\|")


# --- Where a variable is explained ------------------------------------------------------------


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Each section of a page: the anchor of its heading (empty before the second one), and its text."""
    body: list[str] = []
    anchor, code, first = "", False, True
    for line in text.splitlines():
        code ^= line.startswith("```")
        if not code and line.startswith("#"):
            yield anchor, "\n".join(body)
            anchor, body, first = "" if first else slug(line.lstrip("# ")), [], False
        body.append(line)
    yield anchor, "\n".join(body)


def pages(root: Path) -> dict[str, list[tuple[str, str]]]:
    """The pages that explain, by name."""
    return {path.name: list(sections(path.read_text())) for path in sorted(root.glob("docs/*.md")) if path.name not in NOT_EXPLAINING}


def explained(name: str, role: Role, docs: Mapping[str, list[tuple[str, str]]]) -> str:
    """A link to the section that mentions the variable: of the layer's page, else of another page, else the role's own section."""
    # `base_journal_*` in a page stands for all that begin so.
    pattern = re.compile(rf"(?<!\w){name}(?!\w)")
    for page in [role.page, *(other for other in docs if other != role.page)]:
        for anchor, text in docs.get(page, []):
            families = re.findall(r"(?<!\w)([a-z]+_[a-z_]+_)\*", text)
            if pattern.search(text) or any(name.startswith(family) for family in families):
                return link(page, anchor)
    own = [anchor for anchor, text in docs.get(role.page, []) if f"(role `{role.name}`)" in text.split("\n", 1)[0]]
    return link(role.page, own[0] if own else "")


def link(page: str, anchor: str) -> str:
    """A page, by its short name."""
    return f"[{page.removesuffix('.md')}]({page}{'#' if anchor else ''}{anchor})"


# --- The page ---------------------------------------------------------------------------------


def settings(root: Path, role: Role, docs: Mapping[str, list[tuple[str, str]]], known: Mapping[str, Any]) -> list[Setting]:
    """The variables of a role, in the order of its specification."""
    found: list[Setting] = []
    every, given = options(root, role.name), inputs(root, role.name)
    for name, (option, where) in every.items():
        derived = words(option).startswith("Derived.") or derivation(option)
        computed = (bool(derived) and name not in given) or name.endswith("_auto") or f"{name}_auto" in every
        page = explained(name, role, docs)
        for label, entry in nested(name, option, with_parts=not computed):
            found.append(
                Setting(
                    name=label,
                    type=kind(entry),
                    default=cell_of_default(label, entry, known),
                    unit=unit(entry),
                    scope=where,
                    meaning=markdown(meaning(entry)),
                    page=page,
                    derived=computed,
                )
            )
    return found


def nested(name: str, option: Mapping[str, Any], with_parts: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A variable, then the keys of its entries."""
    yield name, option
    for key, part in ((option.get("options") or {}) if with_parts else {}).items():
        yield from nested(f"{name}{'[]' if option.get('type') == 'list' else ''}.{key}", part, with_parts)


def meaning(option: Mapping[str, Any]) -> str:
    """One sentence, and the choices where there are some."""
    choices = ", ".join(f"C({choice})" for choice in option.get("choices", []))
    return sentence(words(option)) + (f" One of {choices}." if choices else "")


def cell_of_default(name: str, option: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """The default of the specification, or of the role's defaults where it is a formula that a specification cannot hold."""
    if option.get("required"):
        return "**required**"
    if "default" in option:
        return default(option["default"], known)
    if derived := derivation(option):
        return derived
    return default(known[name], known) if name in known else "unset"


@dataclass(frozen=True)
class Switch:
    """A variable for -e: the playbooks that take it, and the role's variable that it sets, if any."""

    name: str
    playbooks: tuple[str, ...]
    sets: str


def switches(root: Path, known: Mapping[str, Role]) -> list[Switch]:
    """All switches: of playbooks that hand one to a role, of a role's default that looks for one, and of SWITCHES."""
    taken: dict[tuple[str, str], set[str]] = {}
    for path in sorted(root.glob("playbooks/*.yml")):
        plays = yaml.safe_load(path.read_text()) or []
        for option, value in handed(plays, known):
            for name in re.findall(r"(?<![\w.'])([a-z]\w*) \| (?:default|bool)", value):
                if name not in {*known, *SWITCHES} and not name.startswith("_"):
                    taken.setdefault((name, option), set()).add(path.name)
        for name in SWITCHES:
            if re.search(rf"(?<![\w.'-]){name} (?:\| default|is defined)", path.read_text()):
                taken.setdefault((name, ""), set()).add(path.name)
    for option, value in defaults(root).items():
        found = re.fullmatch(r"\{\{ (\w+) \| default\(.*\) \}\}", value) if isinstance(value, str) else None
        if found and found[1] not in known:
            taken.setdefault((found[1], option), set())
    return [Switch(name, tuple(sorted(where)), option) for (name, option), where in sorted(taken.items())]


def handed(node: Any, known: Mapping[str, Role]) -> Iterator[tuple[str, str]]:
    """Variables of roles that a playbook sets from text, wherever in it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in known and isinstance(value, str):
                yield key, value
            yield from handed(value, known)
    elif isinstance(node, list):
        for item in node:
            yield from handed(item, known)


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def table(found: list[Setting]) -> list[str]:
    """The variables of a role as a table."""
    return [
        row("Variable", "Type", "Default", "Unit", "Scope", "Meaning", "Page"),
        row(*["---"] * 7),
        *(row(f"`{item.name}`", item.type, item.default, item.unit, item.scope, item.meaning, item.page) for item in found),
    ]


INTRODUCTION = f"""\
<!-- Generated by tools/settings.py from the roles' specifications. Do not edit: change the specification, then run `{COMMAND}`. -->
# Settings

Every variable that you can set, and every `-e` switch of the playbooks. Looking for one? Search this page for a word of its name or
meaning (Ctrl-F), or choose its role here. Write variables into `inventories/<name>/group_vars/app_servers/app.yml`, secrets into
`vault.yml` beside it. How much a run prints is said in the environment: [operations.md](operations.md#what-a-run-prints).
"""

LEGEND = """\
- **Default**: a long list shows its first entries and the number of all. `computed` is worked out from other variables; the formula is in
  the role's `defaults/main.yml`. `<app>` is your `app_name`. **required** must be set.
- **Unit**: of a number; for text, the suffixes it takes.
- **Scope**: `machine` variables are the same for all apps on a machine, `app` variables belong to one app. Another word names the
  entry point of the role that reads the variable.
- **Meaning** is the first sentence. The rest: `ansible-doc -t role slipway.vps.<role>`.
- `name.key` is a key of a dictionary, `name[].key` one of each entry of a list.
"""


def page(root: Path) -> str:
    """The text of docs/settings.md."""
    known, docs, path = defaults(root), pages(root), roles(root)
    tables = {role: settings(root, role, docs, known) for role in path}
    owners = {name: role for role in path for name in options(root, role.name)}
    lines = [INTRODUCTION, row("Layer", "Role", "What it is", "Variables"), row("---", "---", "---", "---")]
    for role, found in tables.items():
        count = str(sum("." not in item.name for item in found))
        lines.append(row(f"[{role.layer or 'contract'}]({role.page})", f"[{role.name}](#{role.name})", role.about, count))
    lines += [row("", "[switches](#switches)", "`-e` on the command line", ""), "", LEGEND]
    layer = None
    for role, found in tables.items():
        if role.layer != layer:
            layer = role.layer
            lines += [f"## Layer {layer}" if layer else "## The contract", ""]
        inputs, derived = [item for item in found if not item.derived], [item for item in found if item.derived]
        lines += [f"### {role.name}", "", f"{role.about[:1].upper()}{role.about[1:]}. Explained in [{role.page}]({role.page}).", ""]
        lines += [*table(inputs), ""]
        if derived:
            lines += ["Derived from other variables, or handed over by the playbooks; you seldom set these:", "", *table(derived), ""]
    lines += ["## Switches", "", *table_of_switches(root, owners, known)]
    return "\n".join(lines) + "\n"


def table_of_switches(root: Path, owners: Mapping[str, Role], known: Mapping[str, Any]) -> list[str]:
    """The switches. One that sets a role's variable has that one's meaning."""
    lines = [
        "`ansible-playbook … -e name=value`. Every variable above can be given in this way, too.",
        "",
        row("Switch", "Playbook", "Type", "Default", "Sets", "Meaning"),
        row(*["---"] * 6),
    ]
    for switch in switches(root, owners):
        books = ", ".join(f"`{name.removesuffix('.yml')}`" for name in switch.playbooks)
        if not switch.sets:
            lines.append(row(f"`{switch.name}`", books, SWITCHES[switch.name][0], "unset", "", SWITCHES[switch.name][1]))
            continue
        role = owners[switch.sets]
        option = options(root, role.name)[switch.sets][0]
        books = books or f"all that run role [{role.name}](#{role.name})"
        cells = (kind(option), cell_of_default(switch.sets, option, known), f"`{switch.sets}`", markdown(meaning(option)))
        lines.append(row(f"`{switch.name}`", books, *cells))
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Write or check the page; 1 when it is stale, 2 when the sources do not fit together."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: the one of this program)")
    given = parser.parse_args(arguments)
    target = given.root / PAGE
    try:
        text = page(given.root)
    except SettingsError as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    if given.check:
        if target.exists() and target.read_text() == text:
            return 0
        print(f"settings: {PAGE} is stale: run {COMMAND} and commit the page", file=sys.stderr)
        return 1
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
