"""`gatepost apply` and `gatepost export`: resources from and to a file, on a stopped gateway as on a running one."""

from __future__ import annotations

import json
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import tomlkit

from gatepost.manage.cli.changes import report
from gatepost.manage.cli.options import BAD_INPUT, client, fail, gateway_options, since_option
from gatepost.manage.cli.output import _, ours, printed_json
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_cases import ApplyResources, ExportResources, apply_resources, export_resources
from gatepost.node.privileges import as_caller
from gatepost.policy.connectors.toml_errors import toml_problem

if TYPE_CHECKING:
    from gatepost.manage.use_cases.change_shapes import ChangeReport
    from gatepost.manage.use_cases.client import Client

_MOST_BYTES: Final = 64 << 20  # of a resource file


@click.command()
@click.option(
    "-f",
    "--file",
    "source",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Resource file, TOML or .json; - is standard input.",
)
@click.option(
    "--add",
    "adds",
    is_flag=True,
    help="Keep fields, connectors and keys of an organization that are not in FILE.",
)
@click.option("--dry-run", is_flag=True, help="Preview: check the file and print what would change.")
@click.option("--note", default="", help="Reason, for the history.")
@since_option
@gateway_options
def apply(source: Path, *, adds: bool, dry_run: bool, note: str, since: str) -> None:
    """Apply a resource file: make the organizations in FILE as it describes. Other organizations stay as they are.

    Parts of these organizations that are not in FILE are removed, unless you use --add.

    A running gateway applies the change within two seconds. With --dry-run nothing changes; the command also shows
    which domains the changes touch, and what the changes would have done to recent mail.

    Exit codes: 0 done (or nothing to do), 1 somebody else changed the resources at the same time, 2 errors in the file
    or settings, each named by file and line or field, and nothing changed; 3 the configuration could not be written, or
    with --dry-run not be compared.
    """
    request = ApplyResources(document=read_document(source), add=adds, note=note, since=since)
    through = client()
    done = applied(source, through, request, dry_run=dry_run)
    report(done, standing=True)


@click.command()
@request_options(ExportResources)
@gateway_options
def export(request: ExportResources) -> None:
    """Print all resources as a resource file for `gatepost apply`.

    Exit codes: 0 done, 2 invalid settings or no such version, 3 the data cannot be read.
    """
    exported = client().call(export_resources, request).value
    document = exported if exported["organization"] else {}
    if not printed_json(document):
        click.echo(tomlkit.dumps(document), nl=False)


def applied(source: Path, through: Client, request: ApplyResources, *, dry_run: bool) -> ChangeReport:
    """Apply a file to the resources; ends the command with every error there is."""
    try:
        return through.call(apply_resources, request, dry_run=dry_run).value
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT:
            raise
        where = [f"{source}: {error}" for error in refusal.errors]
        fail(BAD_INPUT, "\n".join([*where, refusal.text] if where else [f"{source}: {refusal.text}"]))


def _unreadable(error: RecursionError | ValueError) -> str:
    match error:
        case RecursionError():
            return _("it is nested too deeply")
        case UnicodeDecodeError():
            return _("it is not text in UTF-8")
        case json.JSONDecodeError():
            return _("it is not JSON from line %(line)s, column %(column)s on", line=error.lineno, column=error.colno)
        case _:
            return _("a number in it is too long")


def read_document(source: Path) -> dict[str, Any]:
    """A resource file as plain values; ends the command if it cannot be read."""
    try:
        text = _content(source).decode()
        if source.suffix == ".json" or (str(source) == "-" and text.lstrip().startswith("{")):
            return _table(source, json.loads(text))
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, said = toml_problem(error, text)
        place = f"{source}:{line}"
        fail(BAD_INPUT, "%(place)s: %(problem)s; nothing was changed", place=place, problem=ours(said))
    except (RecursionError, ValueError) as error:  # no JSON, no UTF-8, nested too deeply, a number too long
        fail(
            BAD_INPUT,
            "%(source)s: not readable as %(suffix)s: %(error)s; nothing was changed",
            source=source,
            suffix="JSON" if source.suffix == ".json" else "TOML",
            error=_unreadable(error),
        )
    except OSError as error:
        fail(BAD_INPUT, "%(source)s: %(strerror)s; nothing was changed", source=source, strerror=error.strerror)


def _content(source: Path) -> bytes:
    """Octets of a file, or of standard input; ends the command where they are too many. Raises OSError."""
    with as_caller(), nullcontext(sys.stdin.buffer) if str(source) == "-" else source.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        fail(
            BAD_INPUT,
            "%(path)s: larger than %(most_bytes)s MiB, too large for a configuration; split it",
            path=source,
            most_bytes=_MOST_BYTES >> 20,
        )
    return content


def _table(source: Path, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        fail(
            BAD_INPUT,
            "%(source)s: not a table of resources (docs/resources.md shows one); nothing was changed",
            source=source,
        )
    return document
