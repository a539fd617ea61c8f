"""The texts of commands, for `scripts/catalogues.py`: what modules mark, help, headings of tables, click's own sentences."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli import main
from gatepost.manage.cli.lazy import LazyGroup
from gatepost.manage.cli.localized_help import paragraphs

if TYPE_CHECKING:
    from collections.abc import Iterator

type Text = str | tuple[str, ...]

CLI: Final = Path(__file__).resolve().parents[1] / "src" / "gatepost" / "manage" / "cli"
CLICK: Final = Path(click.__file__).parent
CLICK_MODULES: Final = ("core", "exceptions", "formatting", "parser", "termui", "types")
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
)
"""Beginnings of click's texts that say what is wrong with a program, or that no command of ours shows."""
_PRINTERS: Final = frozenset({"print_table"})


def texts() -> Iterator[tuple[Text, str]]:
    """Every text of commands that nothing marks, and where it is."""
    yield from help_texts(main, click.Context(main, info_name="gatepost"))
    for path in sorted(CLI.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            yield from ((text, f"cli/{path.name}") for text in (*_headings(node), *_nouns(node)))
    yield from click_texts()


def help_texts(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """What `--help` of the command shows, and of those below it."""
    place = f"help/{context.command_path}"
    for text in (command.help, command.epilog):
        yield from ((paragraph, place) for paragraph in paragraphs(text or ""))
    yield from ((text, place) for each in command.params if (text := getattr(each, "help", None)))
    if isinstance(command, LazyGroup):
        yield from ((line, place) for _module, _attribute, line in command._lazy.values())  # noqa: SLF001 - help's own
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None  # noqa: S101 - it is listed
            yield from help_texts(inner, click.Context(inner, info_name=name, parent=context))


def _headings(node: ast.AST) -> Iterator[str]:
    """Headings of tables: constants whose name ends in COLUMNS, and what is written at a call."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id.upper().endswith("COLUMNS") and node.value is not None:
            yield from _constants(node.value)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in _PRINTERS:
        yield from _constants(node.args[0])


def _nouns(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Both forms of what `quantity` counts."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "quantity":
        noun, *plural = [argument.value for argument in node.args[1:] if isinstance(argument, ast.Constant)]
        yield f"%(num)s {noun}", f"%(num)s {plural[0] if plural else f'{noun}s'}"


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
