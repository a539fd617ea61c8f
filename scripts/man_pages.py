"""Writes man pages from the help texts and the settings: gatepost.1, gatepost-COMMAND.1 for each, gatepost.toml.5.

.venv/bin/python scripts/man_pages.py FOLDER
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from reference_pages import settings_page

import gatepost
from gatepost.manage.cli import main as program

os.environ["LC_ALL"] = "C.UTF-8"  # help in English, whatever the language of the terminal is

_FILES = """\
.SH EXIT STATUS
.TP
0
yes, or done
.TP
1
a clear no
.TP
2
usage error, or bad input
.TP
3
inconclusive
.SH FILES
.TP
/etc/gatepost/gatepost.toml
settings of this machine, see gatepost.toml(5)
.TP
/var/lib/gatepost
queue, trace, resources, mailboxes
.SH ENVIRONMENT
.TP
GATEPOST_CONFIG
the settings file
.TP
GATEPOST_SECTION__KEY
overrides a key of the settings file
"""


def roff(text: str) -> str:
    """Text as troff takes it literally."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    escaped = "".join(character if character.isascii() else f"\\[u{ord(character):04X}]" for character in escaped)
    return re.sub(r"^\.", r"\\&.", escaped, flags=re.MULTILINE)


def pages() -> dict[str, str]:
    """Every page by its file name."""
    root = click.Context(program, info_name="gatepost", terminal_width=100)
    result = {"gatepost.1": _overview(root)}
    for name in program.list_commands(root):
        command = program.get_command(root, name)
        assert command is not None  # noqa: S101 - it is in the list
        result[f"gatepost-{name}.1"] = _command_page(click.Context(command, root, info_name=name))
    result["gatepost.toml.5"] = _settings_page()
    return result


def _heading(name: str, section: int, summary: str) -> str:
    title = f'.TH {roff(name).upper()} {section} "" "gatepost {gatepost.__version__}"'
    return f"{title}\n.SH NAME\n{roff(name)} \\- {roff(summary)}\n"


def _overview(root: click.Context) -> str:
    names = program.list_commands(root)
    parts = [_heading("gatepost", 1, "mail gateway that decides, proves and rehearses how connections are protected")]
    parts += [".SH SYNOPSIS\n.B gatepost\n[OPTIONS] COMMAND [ARGUMENTS]\n", *_options(root), ".SH COMMANDS\n"]
    for name in names:
        command = program.get_command(root, name)
        assert command is not None  # noqa: S101 - it is in the list
        parts.append(f".TP\n\\fBgatepost\\-{roff(name)}\\fP(1)\n{roff(command.get_short_help_str(200))}\n")
    return "".join([*parts, _FILES, ".SH SEE ALSO\ngatepost.toml(5)\n"])


def _command_page(context: click.Context) -> str:
    name = context.command_path.replace(" ", "-")
    parts = [_heading(name, 1, context.command.get_short_help_str(200))]
    parts += [_described(inner, ".SH" if inner is context else ".SS") for inner in _below(context)]
    return "".join([*parts, ".SH SEE ALSO\ngatepost(1), gatepost.toml(5)\n"])


def _below(context: click.Context) -> Iterator[click.Context]:
    """A command, then those of its group, depth first."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            inner = context.command.get_command(context, name)
            if inner is not None:
                yield from _below(click.Context(inner, context, info_name=name))


def _described(context: click.Context, level: str) -> str:
    usage = " ".join(context.command.collect_usage_pieces(context))
    heading = "SYNOPSIS" if level == ".SH" else roff(context.command_path)
    text = f"{level} {heading}\n.B {roff(context.command_path)}\n{roff(usage)}\n"
    text += ".SH DESCRIPTION\n" if level == ".SH" else ".PP\n"
    return text + _paragraphs(context.command.help or "") + "".join(_options(context, level))


def _options(context: click.Context, level: str = ".SH") -> list[str]:
    records = [parameter.get_help_record(context) for parameter in context.command.get_params(context)]
    shown = [record for record in records if record is not None]
    lines = [".SH OPTIONS\n"] if shown and level == ".SH" else []
    return lines + [f".TP\n\\fB{roff(names)}\\fP\n{roff(' '.join(text.split()))}\n" for names, text in shown]


def _paragraphs(text: str) -> str:
    """Help text; a paragraph after click's mark keeps its lines."""
    parts = []
    for paragraph in text.partition("\f")[0].strip().split("\n\n"):
        if paragraph.startswith("\b"):
            parts.append(f".PP\n.nf\n{roff(paragraph.removeprefix(chr(8)).strip(chr(10)))}\n.fi\n")
        else:
            parts.append(f".PP\n{roff(' '.join(paragraph.split()))}\n")
    return "".join(parts)


def _settings_page() -> str:
    """The reference of settings: tables of Markdown become lists."""
    parts = [_heading("gatepost.toml", 5, "settings of the gatepost mail gateway")]
    for line in settings_page().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] if line.startswith("|") else []
        if line.startswith("## "):
            parts.append(f".SH {roff(line[3:].strip().replace('`', ''))}\n")
        elif cells and set(line) - set("|-: ") and cells[0] != "key":
            key, takes, default, meaning = (cell.replace("`", "").replace("\\|", "|") for cell in cells[:4])
            parts.append(
                f".TP\n\\fB{roff(key)}\\fP\n{roff(meaning)}\n.br\nTakes: {roff(takes)}. Default: {roff(default)}.\n"
            )
        elif not cells and line and not line.startswith("#"):
            parts.append(f"{roff(line.replace('`', ''))}\n")
        elif not line:
            parts.append(".PP\n")
    return "".join([*parts, ".SH SEE ALSO\ngatepost(1)\n"])


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
