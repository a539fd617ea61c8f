"""Text that can drift does not: generated pages are current, and what the other pages name exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import click
import pytest

from gatepost.analysis.alarms.alarm import Kind
from gatepost.manage.cli import main as gatepost
from gatepost.policy.connectors.model import parse
from gatepost.settings.loader import load
from gatepost.settings.model import Settings
from gatepost.settings.section import hints, section_in

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]
PAGES.sort()


def test_the_generated_pages_are_current():
    run = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")


DECISIONS = sorted(f"docs/decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md"))


def headings(path):
    """The anchors of a document, as GitHub makes them; `test_document_text` has those of the admin centre."""
    text = re.sub(r"^    .*$", "", path.read_text(), flags=re.MULTILINE)
    titles = [re.sub(r"\]\([^)]*\)|[`*\[]", "", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS])
def test_what_a_page_links_to_is_there(page):
    text = (ROOT / page).read_text()
    dead = []
    for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text):
        target = (ROOT / page).parent / link if link else ROOT / page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            dead.append(f"{link}#{anchor}")
    assert dead == []


def test_the_threat_model_says_each_attack_once():
    lines = (ROOT / "docs/threat-model.md").read_text().splitlines()
    attacks = Counter(
        line.split("|")[1].strip() for line in lines if line.startswith("| ") and "| attack |" not in line
    )
    assert [attack for attack, times in attacks.items() if times > 1] == []


def test_the_words_beside_a_test_of_the_threat_model_are_in_it():
    """`system/test_front.py` "of_the_filter": a part of a test's name, an id, or what a case is called."""
    plain = {path: re.sub(r"[\s_`-]+", " ", path.read_text()).lower() for path in (ROOT / "tests").rglob("test_*.py")}
    missing = []
    for page in ("threat-model", "reliability"):
        for file, words in re.findall(r'(test_\w+)(?:\.py)?`((?:,? "[^"]+")+)', (ROOT / f"docs/{page}.md").read_text()):
            texts = [text for path, text in plain.items() if path.stem == file]
            said = [re.sub(r"[\s_-]+", " ", word).lower() for word in re.findall(r'"([^"]+)"', words)]
            missing += [(page, file, word) for word in said if not any(word in text for text in texts)]
    assert missing == []


def test_the_examples_of_mail_flow_may_be_applied_together():
    lines = (ROOT / "docs/mail-flow.md").read_text().splitlines()
    written = "\n".join(line[4:] for line in lines if line.startswith("    "))
    own = '[[organization.contoso.accepted_domain]]\nname = "contoso.example"\n'
    (organization,) = parse(tomllib.loads(own + written)).organizations
    assert len(organization.mail_flow_rules) == written.count("mail_flow_rule]]") == 5


def test_the_files_that_are_written_by_hand_are_right(tmp_path):
    """The settings and the resources of docs/install.md."""
    lines = (ROOT / "docs/install.md").read_text().partition("## By hand\n")[2].splitlines()
    blocks = "\n".join(line[4:] if line.startswith("    ") else "" if not line else "\0" for line in lines).split("\0")
    settings, resources = (
        next(one for one in blocks if one.strip().startswith(head)) for head in ("[server]", "[organization.")
    )
    (tmp_path / "gatepost.toml").write_text(settings)
    loaded = load(str(tmp_path / "gatepost.toml"), {})
    assert (loaded.server.hostname, len(loaded.certificates), len(loaded.listeners)) == ("mx1.contoso.example", 1, 1)
    (organization,) = parse(tomllib.loads(resources)).organizations
    assert [len(parts) for parts in (organization.mailboxes, organization.outbound_connectors)] == [2, 1]


def test_every_document_is_in_the_list_of_documents():
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"README.md"}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_alarm_is_described():
    pages = [(ROOT / "docs" / name).read_text() for name in ("monitoring.md", "certificates.md")]
    assert [kind for kind in Kind if not any(f"`{kind}`" in page for page in pages)] == []


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make ([a-z-]+)", text, re.MULTILINE):
        assert f"\n{target}:" in makefile


def _command_at(words: list[str]) -> str:
    """The first word that is not a command where it stands, "" if all of them are, up to arguments."""
    command: click.Command = gatepost
    for word in words:
        if not isinstance(command, click.Group):
            return ""
        found = command.get_command(click.Context(command), word)
        if found is None:
            return "" if command.invoke_without_command and command is not gatepost else word
        command = found
    return ""


def _unknown_options(line: str) -> list[str]:
    """The options of a command line that neither its command has nor a group above it."""
    command: click.Command = gatepost
    known, unknown = {"--help"}, []
    for word in ["gatepost", *line.split()]:
        if word == "gatepost":
            found: click.Command | None = gatepost
        else:
            found = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if found is not None:
            command = found
            known |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        elif (option := re.match(r"--[a-z][a-z-]*", word)) and option[0] not in known:
            unknown.append(option[0])
    return unknown


@pytest.mark.parametrize(
    ("line", "unknown"), [("queue list --json", []), ("explain --to a --session x", ["--session"])]
)
def test_options_of_a_line(line, unknown):
    assert _unknown_options(line) == unknown


@pytest.mark.parametrize("page", [page for page in PAGES if page not in {"docs/commands.md", "CHANGELOG.md"}])
def test_the_options_that_a_page_names_exist(page):
    named = re.findall(r"`gatepost ([^`|#]+)|^    (?:\$ )?gatepost ([^|#\n]+)", (ROOT / page).read_text(), re.MULTILINE)
    assert {line: wrong for line in map("".join, named) if (wrong := _unknown_options(line))} == {}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in {"docs/commands.md", "CHANGELOG.md"}])
def test_the_commands_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"(?:^    (?:\$ )?|`)gatepost ((?:[a-z][a-z-]*(?![\w.=@/:]) ?)+)", text, re.MULTILINE)
    assert [words for words in named if _command_at(words.split())] == []


# Names of modules, "room.package.module", perhaps with what is in it, and paths: in backticks.

SOURCE = ROOT / "src" / "gatepost"
FOR_PEOPLE = [
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/decisions").glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING")),
]
NO_MODULES = {
    "certificates.p7b": "a file",
    "gatepost.js": "a file",
    "mail.contoso.example": "a domain",
    "message.size": "a field of a parameter",
    "tls.revocation": "a field of the trace",
    "tls.server.hash.sha256": "an attribute of a span",
}
_DOTTED = re.compile(r"`([a-z_][a-z0-9_]*(?:\.\w+)+)(?:\(\))?`")
_PATH = re.compile(r"(?<![\w/])`?((?:src/|tests/|scripts/|bench/|docs/)?[a-z_][\w/]*/\w+\.(?:py|sh|toml))\b")


@pytest.fixture(scope="module")
def modules():
    """The text of each module and package by its name."""
    names = {file: ".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in SOURCE.rglob("*.py")}
    return {name.removesuffix(".__init__"): file.read_text() for file, name in names.items()}


@pytest.fixture(scope="module")
def written(modules):
    """Where something is written for people, and the text: pages and docstrings."""
    docstrings = [
        (name, text) for name, code in modules.items() for text in re.findall(r'"""(.*?)"""', code, re.DOTALL)
    ]
    return [*((page.name, page.read_text()) for page in FOR_PEOPLE), *docstrings]


def _made_in(scope):
    """What a module or a class makes, by name."""
    for node in scope.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case ast.TypeAlias(name=ast.Name(id=name)):
                yield name, node


def _is_there(name, modules):
    parts = name.removeprefix("gatepost.").split(".")
    count = next((count for count in range(len(parts), 0, -1) if ".".join(parts[:count]) in modules), 0)
    if count in {0, len(parts)}:
        return count > 0
    scope = ast.parse(modules[".".join(parts[:count])])
    for part in parts[count:]:
        scope = dict(_made_in(scope)).get(part) if hasattr(scope, "body") else None
    return scope is not None


def _setting_names():
    return {
        f"{section}.{key}" for section in Settings.settings for key in section_in(hints(Settings)[section]).settings
    }


def test_the_modules_that_docs_and_docstrings_name_exist(modules, written):
    """What begins as a room or a package does is a module, unless it is a setting or a text of the code."""
    folders = {part for name in modules for part in name.split(".")[:-1]} | {"gatepost"}
    code, others = "".join(modules.values()), _setting_names() | NO_MODULES.keys()
    named = {(where, name) for where, text in written for name in _DOTTED.findall(text)}
    candidates = [(where, name) for where, name in named if name.split(".")[0] in folders and name not in others]
    assert len(candidates) > 500
    missing = [
        f"{where}: {name}" for where, name in candidates if not _is_there(name, modules) and f'"{name}"' not in code
    ]
    assert sorted(missing) == []


def test_the_paths_that_docs_and_docstrings_name_exist(written):
    named = {(where, path) for where, text in written for path in _PATH.findall(text)}
    bases = (SOURCE, ROOT, ROOT / "src", ROOT / "tests")
    assert len(named) > 100
    assert (
        sorted(f"{where}: {path}" for where, path in named if not any((base / path).exists() for base in bases)) == []
    )


# The same in code, tests, scripts, settings and what installs: in strings and comments, which nothing else checks.

FOLDERS = (".ci", ".github", "bench", "deploy", "docs", "requirements", "scripts", "src", "tests")
NO_FILES = {
    "tests/system/test_x.py": "any test",
    "tests/unit/manage/pages/test_probe.py": "a test writes it",
    "unit/test_none.py": "a test wants it to be missing",
}
_FILE = re.compile(
    rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, FOLDERS))}|unit|system|support)/[\w./-]*\w\.[a-z]{{2,5}})\b"
)
# The word first, and then what must not be before it: so the search goes from word to word, ten times as fast.
_MODULE = re.compile(r"gatepost(?<![\w/-]gatepost)((?:\.[a-z_]\w*)+)")
_PLACEHOLDER = re.compile(r"[A-Z]{4}")  # NNNN, LANGUAGE, MODULE
_INSTALLED = re.compile(r"gatepost(?<!\wgatepost)((?:/[\w.-]*\w)+)")


@pytest.fixture(scope="module")
def repository():
    """The text of each file that somebody wrote, by its path; catalogues have the texts of others."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + [*ROOT.iterdir()]
    binary, texts = {".mo", ".po", ".png"}, {}
    for path in files:
        if path.is_file() and path.suffix not in binary and "__pycache__" not in path.parts:
            with suppress(FileNotFoundError):  # a program beside the tests had it for a moment
                texts[path.relative_to(ROOT)] = path.read_text(errors="replace")
    return texts


@cache
def _rooms():
    """What the package has: its folders and modules, and the documents that a wheel has beside them."""
    return {path.stem for path in SOURCE.iterdir() if path.is_dir() or path.suffix == ".py"} | {"docs"}


def test_the_modules_that_any_file_names_exist(repository, modules):
    named = {(str(path), name[1:]) for path, text in repository.items() for name in _MODULE.findall(text)}
    candidates = [(where, name) for where, name in named if name.split(".")[0] in _rooms() - {"docs"}]
    assert len(candidates) > 5000

    @cache  # a name is in many files
    def is_there(name):
        parts = name.split(".")
        count = next(count for count in range(len(parts), 0, -1) if count == 1 or ".".join(parts[:count]) in modules)
        inside = modules[".".join(parts[:count])]  # perhaps a name that it imports
        return count == len(parts) or re.search(rf"\b{parts[count].removesuffix('_')}", inside) is not None

    assert sorted(f"{where}: {name}" for where, name in candidates if not is_there(name)) == []


def test_the_files_that_any_file_names_exist(repository):
    named = {(path, name) for path, text in repository.items() for name in _FILE.findall(text)}
    assert len(named) > 500
    missing = [
        f"{path}: {name}"
        for path, name in named
        if not any((base / name).exists() for base in (ROOT, ROOT / "tests", ROOT / "tests/system", ROOT / path.parent))
    ]
    known = re.compile("|".join([_PLACEHOLDER.pattern, *map(re.escape, NO_FILES)]))
    assert sorted(line for line in missing if not known.search(line)) == []


def test_the_places_in_an_installed_package_that_any_file_names_exist(repository):
    """A wheel has the documents beside the package's own files."""
    named = {(path, Path("gatepost" + name)) for path, text in repository.items() for name in _INSTALLED.findall(text)}
    candidates = [(path, place) for path, place in named if place.parts[1] in _rooms()]
    assert len(candidates) > 50
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = {"gatepost": SOURCE} | {target: ROOT / folder for folder, target in wheel["sources"].items() if target}

    def is_there(place):
        beside = [folder / place.relative_to(top) for top, folder in folders.items() if place.is_relative_to(top)]
        return any(path.exists() for path in beside) or _PLACEHOLDER.search(str(place)) is not None

    assert sorted(f"{path}: {place}" for path, place in candidates if not is_there(place)) == []
