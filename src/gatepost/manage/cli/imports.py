"""`gatepost import …`: the configuration of Exchange Online or of Postfix as a resource file, and a report."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from gatepost.analysis.migration import exchange as from_exchange
from gatepost.analysis.migration import postfix as from_postfix
from gatepost.analysis.migration.exchange_json import read_objects
from gatepost.analysis.migration.postfix_config import named_files
from gatepost.analysis.migration.report import KINDS, Finding, Imported, ImportRefused, ImportResult
from gatepost.analysis.migration.report import rehearse as rehearse_connectors
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, fail, json_option
from gatepost.manage.cli.output import _, ours, printable, printed_json, quantity, say
from gatepost.texts import N_

_ETC = Path("/etc")
_MOST_BYTES = 64 << 20  # of one file
_MANY = 3  # resources; what holds for more is said once


@click.group(name="import")
def imports() -> None:
    """Convert the configuration of another product into a resource file.

    The resources go to standard output, ready for `gatepost apply -f -`; differences and losses go to standard error.
    Exit codes: 0 everything was converted, 1 something was not, 2 usage error or unreadable input, 3 the output could
    not be written.
    """


def _output_options[F: Callable[..., Any]](command: F) -> F:
    command = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the resources to this file. Default: standard output.",
    )(command)
    command = click.option(
        "--rehearse",
        is_flag=True,
        help='Write partner connectors that require something with mode = "rehearse": they report about real mail, '
        "and require nothing until you enforce them.",
    )(command)
    return click.option(
        "--organization", default="", help="Name of the organization. Default: derived from its domains."
    )(command)


@imports.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True, path_type=Path), metavar="FILE...")
@_output_options
@json_option
def exchange(files: tuple[Path, ...], organization: str, output: Path | None, *, rehearse: bool) -> None:
    """Convert connectors, accepted domains and rules of Exchange, as ConvertTo-Json or Export-Clixml writes them.

    FILE: output of Get-InboundConnector, Get-OutboundConnector and Get-AcceptedDomain, of Exchange Server also of
    Get-SendConnector and Get-ReceiveConnector; Get-TransportRule, Get-TransportConfig and Get-OrganizationConfig are
    read as well. docs/import.md has the lines for PowerShell.

    Exit codes: 0 everything was converted, 1 something was not (the rest is printed), 2 usage error or unreadable
    input, 3 the output could not be written.
    """
    with ending(BAD_INPUT, ImportRefused):
        objects = [exchange_object for file in files for exchange_object in read_objects(_bytes(file), str(file))]
        imported = from_exchange.convert(objects, organization)
    _print(imported, output, rehearses=rehearse)


@imports.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option(
    "--secrets",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write passwords (for smart hosts, and for LDAP directories of recipients) into files in this folder, mode "
    "0600, and name them in the resources.",
)
@_output_options
@json_option
def postfix(directory: Path, organization: str, output: Path | None, secrets: Path | None, *, rehearse: bool) -> None:
    """Convert DIR/main.cf, DIR/master.cf if it exists, and the source files of the tables that main.cf names.

    DIR may be a copy of /etc/postfix, also from another machine. Its tables are read from DIR, and those in other
    places, such as /etc/mail/relay, from DIR/etc/mail/relay. Only if DIR is in /etc are they read where they are.
    Passwords are never printed: without --secrets, enter them with `gatepost connector secret` and `gatepost domain
    password`.

    Exit codes: 0 everything was converted, 1 something was not (the rest is printed), 2 usage error or unreadable
    input, 3 the output could not be written.
    """
    main, beside = (_inside(directory, directory / name, _refuse) for name in ("main.cf", "master.cf"))
    text, master = _text(main, _refuse), _text(beside, _refuse) if beside.exists() else ""
    with ending(BAD_INPUT, ImportRefused):
        files = {name: _table(directory, name) for name in named_files(text, str(directory))}
        imported = from_postfix.convert(
            text,
            files,
            master=master,
            directory=str(directory),
            organization=organization,
            secrets=str(secrets.absolute()) if secrets else "",
        )
    _write_secrets(imported.secrets)
    _print(imported, output, rehearses=rehearse)


def _write_secrets(secrets: Mapping[str, str]) -> None:
    """Write each into a file that only its owner can read, and none over another file."""
    for name, secret in secrets.items():
        path = Path(name)
        with ending(UNKNOWN, OSError, text=N_("%(path)s: %(error)s; nothing was converted"), path=path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(f"{secret}\n")


def _refuse(message: str) -> NoReturn:
    fail(BAD_INPUT, message)


class _NotRead(Exception):  # noqa: N818 - a table that is missing is reported, and no error
    pass


def _not_read(message: str) -> NoReturn:
    raise _NotRead(message)


def _table(directory: Path, name: str) -> tuple[str | None, str]:
    """The text of a table's source, or why there is none."""
    try:
        return _text(_inside(directory, _place(directory, Path(name)), _not_read), _not_read), ""
    except _NotRead as why:
        return None, str(why)


def _place(directory: Path, path: Path) -> Path:
    """Where a file that main.cf names is: in a copy of Postfix's directory, all that is not in that lies below it."""
    if _is_of_this_machine(directory) or not path.is_absolute() or path.is_relative_to(directory):
        return path
    copy = directory / path.name
    return copy if path.parent == Path("/etc/postfix") and copy.exists() else directory / path.relative_to("/")


def _is_of_this_machine(directory: Path) -> bool:
    """Whether it is in /etc, also by a symbolic link there: /etc/postfix may lead to where a machine keeps its own."""
    return any(
        path.is_relative_to(_ETC) for path in (directory.resolve(), Path(os.path.normpath(directory.absolute())))
    )


def _inside(directory: Path, path: Path, refuse: Callable[[str], NoReturn]) -> Path:
    """The path, unless it leads out of a copy: who made that may want to read files of this machine in the result."""
    if not _is_of_this_machine(directory) and not path.resolve().is_relative_to(directory.resolve()):
        refuse(_("%(path)s: leads out of %(directory)s; put the file itself there", path=path, directory=directory))
    return path


def _text(path: Path, refuse: Callable[[str], NoReturn]) -> str:
    data = _bytes(path, refuse)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        refuse(
            _(
                "%(path)s: byte %(start)s is not UTF-8; convert the file and run the command again",
                path=path,
                start=error.start + 1,
            )
        )


def _bytes(path: Path, refuse: Callable[[str], NoReturn] = _refuse) -> bytes:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        elif path.exists() and not path.is_file():
            refuse(_("%(path)s: not a file; give the file itself", path=path))
        else:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        refuse(
            _(
                "%(path)s: %(strerror)s; nothing was read from it",
                path=path,
                strerror=error.strerror if isinstance(error, OSError) else error,
            )
        )
    if len(data) > _MOST_BYTES:
        refuse(
            _(
                "%(path)s: larger than %(most_bytes)s MiB, too large for a configuration; split it",
                path=path,
                most_bytes=_MOST_BYTES >> 20,
            )
        )
    return data


def _print(imported: Imported, output: Path | None, *, rehearses: bool) -> None:
    """Print or write the result, and end the command with its exit code."""
    count = rehearse_connectors(imported) if rehearses else 0
    text = _resource_file(imported)
    if output is not None:
        with ending(UNKNOWN, OSError, text=N_("%(output)s: %(error)s; the resources were not written"), output=output):
            output.write_text(text, encoding="utf-8")
    keys = ("resource", "setting", "outcome", "detail")
    rows = [{key: str(getattr(finding, key)) for key in keys} for finding in imported.findings]
    if not printed_json({"resources": imported.document, "report": rows}):
        if output is None:
            click.echo(text, nl=False)
        _report(imported)
        if rehearses:
            say(
                "%(connectors)s in rehearsal: see gatepost connector rehearsal NAME, then "
                "gatepost connector switch enforce --all --status rehearsal",
                err=True,
                connectors=quantity(count, "connector"),
            )
    sys.exit(NO if imported.count(ImportResult.LOST) else 0)


def _report(imported: Imported) -> None:
    """The report, one resource after the other, what holds for many, and the counts."""
    last = ""
    shared = _shared(imported.findings)
    for item in imported.findings:
        if (item.outcome, item.setting, item.detail) in shared:
            continue
        resource, outcome, detail = printable(ours(item.resource)), ours(item.outcome), printable(ours(item.detail))
        if item.setting and item.resource != last:
            click.echo(resource, err=True)
        if item.setting:
            click.echo(f"  {outcome}: {printable(ours(item.setting))}: {detail}", err=True)
        else:
            click.echo(f"{resource}: {outcome}{': ' * bool(detail)}{detail}", err=True)
        last = item.resource
    for (outcome, setting, detail), resources in shared.items():
        said = f"{ours(outcome)}: {printable(ours(setting))}: {printable(ours(detail))}"
        names = ", ".join(printable(ours(name)) for name in resources[:_MANY])
        click.echo(_("for %(count)s resources, such as %(names)s:", count=len(resources), names=names), err=True)
        click.echo(f"  {said}", err=True)
    carried, differs, lost = (imported.count(outcome) for outcome in ImportResult)
    say(
        "organization %(organization)s: %(carried)s converted, %(differs)s with differences, %(lost)s not converted",
        err=True,
        organization=imported.organization,
        carried=carried,
        differs=differs,
        lost=lost,
    )


def _shared(findings: Iterable[Finding]) -> dict[tuple[ImportResult, str, str], list[str]]:
    """What is said of more than a few resources in the same words, with these."""
    resources: dict[tuple[ImportResult, str, str], list[str]] = {}
    for item in findings:
        if item.setting:
            resources.setdefault((item.outcome, item.setting, item.detail), []).append(item.resource)
    return {said: names for said, names in resources.items() if len(names) > _MANY}


def _resource_file(imported: Imported) -> str:
    """The document as TOML, with a comment above each resource of which something differs."""
    own = imported.document["organization"][imported.organization]
    root = f"organization.{imported.organization}"
    lines = [*_comments(imported.notes.get(("organization", 0), ())), f"[{root}]"]
    lines.extend(_keys({key: value for key, value in own.items() if key not in KINDS}))
    for kind in KINDS:
        for place, table in enumerate(own.get(kind, ())):
            lines.extend(("", *_comments(imported.notes.get((kind, place), ())), f"[[{root}.{kind}]]", *_keys(table)))
    for kind, why, table in imported.left_out:
        if kind in KINDS:
            lines.extend(("", *_comments([f"left out: {why}"]), f"# [[{root}.{kind}]]"))
            lines.extend(f"# {printable(line)}" for line in _keys(table))
    return "\n".join([*lines, ""])


def _comments(notes: Iterable[str]) -> list[str]:
    return [f"# {line}" for note in notes for line in textwrap.wrap(printable(note), 110, break_on_hyphens=False)]


def _keys(table: Mapping[str, Any]) -> list[str]:
    """A table's keys as lines of TOML; tables within stand on one line.

    Texts, lists, numbers and truth values are written alike in JSON and TOML. tomlkit takes minutes for a list of a
    hundred thousand domains.
    """
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(_keys(value))} }}"
    return json.dumps(value, ensure_ascii=False)
