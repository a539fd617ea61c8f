"""The texts of commands that nothing marks, for `scripts/catalogues.py`: help, headings, nouns, click's sentences."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from gatepost.manage.cli import main
from gatepost.manage.cli.lazy import LazyGroup
from gatepost.manage.cli.localized_help import is_verbatim, paragraphs
from gatepost.manage.use_cases.resource_views import DomainRow, MailboxRow, OrganizationRow

type Text = str | tuple[str, ...]

CLI: Final = Path(__file__).resolve().parents[1] / "src" / "gatepost" / "manage" / "cli"
CLICK: Final = Path(click.__file__).parent
CLICK_MODULES: Final = ("core", "decorators", "exceptions", "formatting", "parser", "termui", "types")
FOR_PROGRAMMERS: Final = (
    "Could not determine name",
    "No options defined but",
    "Arguments take exactly",
    "Boolean option {decl!r}",
    "Unknown color",
    "Choice({choices})",
    "Name '{name}' defined twice",
    "Value must be an iterable",
    "DeprecationWarning",
    "Invalid start character",
    "Press any key",
    "Show the version",
    "%(prog)s, version",
    "Do you want to continue",
    "Confirm the action",
)
"""Beginnings of click's texts that say what is wrong with a program, or that no command of ours shows."""
_PRINTERS: Final = {"print_table": 0, "print_rows": 0, "print_records": 0, "_print_part": 1, "_table": 1}
"""Functions that print a table, with the place of its headings among their arguments."""
_ROWS: Final = (DomainRow, MailboxRow, OrganizationRow)
"""Rows whose fields are the headings of their table."""


def unmarked() -> Iterator[tuple[Text, str]]:
    """Every text of commands that nothing marks, and where it is."""
    yield from help_texts(main, click.Context(main, info_name="gatepost", **main.context_settings))
    for path in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            texts: list[Text] = [*_headings(node), *_nouns(node)]
            yield from ((text, f"cli/{path.name}") for text in texts)
    yield from ((field, f"cli/{row.__name__}") for row in _ROWS for field in row._fields)
    yield from click_texts()


def help_texts(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """What `--help` of the command shows, and of those below it."""
    place = f"help/{context.command_path}"
    for text in (command.help, command.epilog):
        yield from ((paragraph, place) for paragraph in paragraphs(text or "") if not is_verbatim(paragraph))
    yield from ((text, place) for each in command.params if (text := getattr(each, "help", None)))
    if isinstance(command, LazyGroup):
        yield from ((line, place) for _module, _attribute, line in command._lazy.values())  # noqa: SLF001 - help's own
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None  # noqa: S101 - it is listed
            yield from help_texts(inner, click.Context(inner, info_name=name, parent=context))


def _headings(node: ast.AST) -> Iterator[str]:
    """Headings of tables and names of facts: what is in COLUMNS or facts, and what is written at a call."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id.upper().endswith("COLUMNS") and node.value is not None:
            yield from _constants(node.value)
        elif isinstance(target, ast.Name) and target.id == "facts" and isinstance(node.value, ast.Dict):
            yield from itertools.chain.from_iterable(_constants(key) for key in node.value.keys if key is not None)
    elif isinstance(node, ast.Call) and (name := getattr(node.func, "id", "")) in _PRINTERS:
        yield from _constants(node.args[_PRINTERS[name]])


def _nouns(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Both forms of what `quantity` counts."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "quantity":
        noun, *plural = [str(argument.value) for argument in node.args[1:] if isinstance(argument, ast.Constant)]
        yield f"%(num)s {noun}", f"%(num)s {plural[0] if plural else noun + 's'}"


def _constants(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from _constants(element)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    elif isinstance(node, ast.Starred | ast.IfExp):
        yield from itertools.chain.from_iterable(map(_constants, ast.iter_child_nodes(node)))


def click_texts() -> Iterator[tuple[Text, str]]:
    """What click says to users, which it asks gettext for."""
    for module in CLICK_MODULES:
        for node in ast.walk(ast.parse((CLICK / f"{module}.py").read_bytes())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in {"_", "ngettext"}:
                continue
            forms = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if forms and not forms[0].startswith(FOR_PROGRAMMERS):
                yield forms[0] if len(forms) == 1 else tuple(forms), f"click/{module}"
