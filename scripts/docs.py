"""Writes what is generated under docs/: settings, resources, commands, REST, log lines, …; rfc_page.py: rfcs.

.venv/bin/python scripts/docs.py            write them
.venv/bin/python scripts/docs.py --check    exit 1 and name those that are not current
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import door_matrix
import licences
import log_lines
import public_names
import reference_pages

from gatepost.events.metrics.catalogue import CATALOGUE
from gatepost.manage.cli import main as gatepost
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.declaration import Visibility
from gatepost.protocols.tls.profile import PROFILES, published

os.environ["LC_ALL"] = "C.UTF-8"  # help in English, whatever the language of the terminal is

DOCS = Path(__file__).resolve().parents[1] / "docs"


def tls_page() -> str:
    """The published list of cipher suites, in the columns of Microsoft's document."""
    lines = [
        "# TLS profiles",
        "",
        "Generated from what handshakes are made of; `gatepost tls profiles` prints the same.",
    ]
    for profile in PROFILES.values():
        lines += ["", f"## {profile.name}: {profile.min_version} to {profile.max_version}", ""]
        lines += [f"Groups: `{profile.groups}`", ""]
        lines += ["| # | name | key exchange/strength | forward secrecy | cipher/strength | authentication/strength |"]
        lines += ["|---|---|---|---|---|---|"]
        for number, suite in enumerate(published(profile), 1):
            secrecy = "yes" if suite.forward_secrecy else "no"
            cells = (str(number), suite.name, suite.key_exchange, secrecy, suite.cipher, suite.authentication)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_COMMANDS = """\
# Commands

What `gatepost COMMAND --help` prints. Data goes to standard output; messages, progress and errors go to standard
error. `--json` prints the data for machines, with stable keys, and changes no exit code; every command has it but
`completion`, which prints a script. `serve --json` and `up --json` print one object on a line as soon as they serve,
and log in JSON. Generated from the commands themselves.

Exit codes are 0 for yes or done, 1 for a clear no, 2 for wrong usage or bad input, 3 if the answer is not known. An
unknown name of an organization, connector, user, node, key, certificate or version is bad input: 2. Mail comes and
goes, so an unknown message is a no: 1 says that it is not in the queue or quarantine, or that nothing was recorded of
it in the trace or of a destination.

With `--json`, rows are an array, even if there are none. A result with more than rows is an object, with the rows under
their name: `certificate list` (`certificates`, `client_identities`, `requests`, and `trouble`: what could not be read)
and `alarms` (`alarms`, and `unknown`: what could not be checked, because an empty array would look well).

On a terminal in Swedish or German (LC_ALL, LC_MESSAGES, LANG, LANGUAGE) commands speak that language: help, headings,
results, questions and their own errors. The same in every language are exit codes, `--json` with all that it prints,
tables in a pipe, files, and the names of commands, options, fields and states; `LC_ALL=C` makes the rest English, too.
"""


def commands_page() -> str:
    """The help of every command."""
    lines = [_COMMANDS, "| command | what it does |", "|---|---|"]
    commands = list(
        _commands(
            gatepost,
            click.Context(gatepost, info_name="gatepost", terminal_width=100, help_option_names=["-h", "--help"]),
        )
    )
    for context in commands:
        path = context.command_path
        summary = context.command.get_short_help_str(200).replace("|", "\\|")
        lines.append(f"| [`{path}`](#{path.replace(' ', '-')}) | {summary} |")
    for context in commands:
        lines += ["", f"## {context.command_path}", "", "```", context.command.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def _commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """A command and what is below it; a group that does nothing by itself is left out."""
    if not isinstance(command, click.Group) or command.invoke_without_command or context.parent is None:
        yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _commands(inner, click.Context(inner, context, info_name=name))


def marked(page: str, mark: str, between: str) -> str:
    """A page as it stands, with a text between its two marks."""
    before, begin, rest = (DOCS / page).read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->\n")
    return before + begin + between + end + after


def metrics_table() -> str:
    """All metrics."""
    lines = ["", "| metric | type | labels | meaning |", "|---|---|---|---|"]
    for one in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join([*lines, "", ""])


def endpoints_table() -> str:
    """All calls of REST."""
    lines = ["", "| call | what it does | scope | whose |", "|---|---|---|---|"]
    for one in ENDPOINTS:
        case = one.case
        scope = f"`{case.scope}`" if case.scope else "any"
        lines.append(f"| `{case.method} {one.template}` | {case.summary} | {scope} | {_WHOSE[case.visibility]} |")
    return "\n".join([*lines, "", ""])


_WHOSE = {
    Visibility.GATEWAY: "the gateway's",
    Visibility.ORGANIZATION: "of the organization",
    Visibility.SEEN: "what is seen",
}


_DECISIONS = """\
# Decisions

Why it is built as it is, a page for each choice. CONTRIBUTING.md says how to write one.
The last column names newer decisions that replace or change it, as its first line says. Generated by `make docs`.

| | decision | changed by |
|---|---|---|
"""


def decisions_page() -> str:
    """The list of decisions: number, title, and the newer ones that the paragraph below the title names."""
    rows = []
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        heading, note, _ = (path.read_text(encoding="utf-8") + "\n\n").split("\n\n", 2)
        number = path.name[:4]
        title = re.sub(r"^# (\d{4}[.:]? )?", "", heading).replace("|", "\\|")
        newer = [] if note.startswith("**") else re.findall(r"\[(\d{4})\]\(([^)]+)\)", note)
        links = ", ".join(f"[{other}]({link})" for other, link in newer if other > number)
        rows.append(f"| {number} | [{title}]({path.name}) | {links}{' ' * bool(links)}|\n")
    return _DECISIONS + "".join(rows)


_USE_CASES = """\
# Use cases

What an administrator can do, and where: by REST (docs/rest.md), by a command (docs/commands.md; each that names a call
of REST works with `--server`, too), or on a page of the admin centre. The last column is the action that the audit
log shows, with its code. Generated from the declarations (decision 0055).

"""


PAGES: dict[Path, Callable[[], str]] = {
    DOCS / "settings.md": reference_pages.settings_page,
    DOCS / "resources.md": reference_pages.resources_page,
    DOCS / "tls.md": tls_page,
    DOCS / "commands.md": commands_page,
    DOCS / "monitoring.md": lambda: marked("monitoring.md", "metrics", metrics_table()),
    DOCS / "rest.md": lambda: marked("rest.md", "endpoints", endpoints_table()),
    DOCS / "use-cases.md": lambda: _USE_CASES + door_matrix.table(),
    DOCS / "licences.md": licences.page,
    DOCS / "python.md": lambda: marked("python.md", "names", public_names.table()),
    DOCS / "testing.md": lambda: marked("testing.md", "defects", public_names.defects()),
    DOCS / "log-lines.md": log_lines.page,
    DOCS / "decisions/README.md": decisions_page,
}
"""Every generated page, and the function that writes its text."""


def main() -> int:
    """0: written or current. 1: something is not current."""
    check = "--check" in sys.argv[1:]
    texts = {path: write() for path, write in PAGES.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(DOCS.parent)} is not current: run `make docs`")
        else:
            path.write_text(texts[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
