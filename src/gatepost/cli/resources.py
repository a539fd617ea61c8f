"""`gatepost apply` and `gatepost export`: resources from and to a file, on a stopped gateway as on a running one."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import tomlkit

from gatepost.cli.blast_radius import find_radius, report_rehearsed
from gatepost.cli.changes import differences, report
from gatepost.cli.options import BAD_INPUT, UNKNOWN, author, config_option, fail, json_option, settings_of
from gatepost.cli.private_content import keys_lacking, orphaned
from gatepost.cli.tables import print_json
from gatepost.cli.times import MOMENT
from gatepost.connectors.describe import warnings
from gatepost.connectors.model import ResourceErrors, Resources, dump, parse
from gatepost.connectors.publication import to_do
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.cli.changes import FieldChange
    from gatepost.connectors.rules import PrefixLimits
    from gatepost.settings.model import Settings

__all__ = ["apply", "checked_document", "export", "read_document"]

_OLD_WARNINGS = 20


@click.command()
@click.option(
    "-f",
    "--file",
    "source",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Resource file, TOML or .json; - is standard input.",
)
@click.option("--dry-run", is_flag=True, help="Check everything and print what would change; change nothing.")
@click.option("--note", default="", help="Why, for the history.")
@click.option(
    "--since",
    type=MOMENT,
    default="7d",
    show_default=True,
    help="With --dry-run: the mail since then is decided again, to see what would have been different.",
)
@config_option
@json_option
def apply(source: Path, config: str | None, *, dry_run: bool, note: str, since: float, as_json: bool) -> None:
    """Make the organizations in FILE exactly what it says; other organizations stay as they are.

    A running gateway takes the change up within two seconds. With --dry-run nothing is changed, and besides the changes
    it is said which domains they touch and what they would have done to recent mail.

    Exit codes: 0 done (or nothing to do), 2 errors in the file or settings, each named by file and line or field, and
    nothing changed; 3 the configuration could not be written, or with --dry-run not be compared.
    """
    settings = settings_of(config)
    given = read_document(source)
    try:
        store = ConfigStore(Path(settings.server.data_dir) / "config.db")
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    try:
        version, stored = store.load()
        wanted = checked_document(source, given, stored, settings.limits.prefixes(), settings.server.hostname)
        changes = differences(stored, wanted)
        _warn_of_keys(store, wanted, settings.limits.prefixes())
        if not dry_run and changes:
            version = store.apply(
                wanted, author=author(), note=note, expected=version, content=orphaned(stored, wanted)
            )
    except (StoreFailure, ConfigConflict) as failure:
        fail(UNKNOWN, str(failure))
    finally:
        store.close()
    if dry_run and changes:
        document = {"organization": {**stored.get("organization", {}), **wanted["organization"]}}
        _rehearse(settings, stored, document, changes, (version, since), as_json=as_json)
    else:
        report(changes, version, dry_run=dry_run, as_json=as_json)


def _warn_of_keys(store: ConfigStore, wanted: dict[str, dict[str, Any]], prefixes: PrefixLimits) -> None:
    for warning in keys_lacking(store, parse(wanted, prefixes=prefixes).organizations):
        click.echo(f"warning: {warning}", err=True)


def _rehearse(
    settings: Settings,
    stored: dict[str, Any],
    wanted: dict[str, Any],
    changes: Sequence[FieldChange],
    when: tuple[int, float],
    *,
    as_json: bool,
) -> None:
    """Print the changes and what they would have done. when: the version in force, and since when mail is looked at."""
    version, since = when
    prefixes = settings.limits.prefixes()
    try:
        radius = find_radius(settings, parse(stored, prefixes=prefixes), parse(wanted, prefixes=prefixes), since)
    except ResourceErrors as errors:
        fail(UNKNOWN, f"the resources in force cannot be used by this version, so nothing can be compared: {errors}")
    report_rehearsed(changes, version, radius, as_json=as_json)


@click.command()
@config_option
@json_option
def export(config: str | None, as_json: bool) -> None:
    """Print all resources in force as `gatepost apply` takes them. Exit codes: 0 done, 2 settings, 3 unreadable."""
    settings = settings_of(config)
    try:
        store = ConfigStore(Path(settings.server.data_dir) / "config.db")
        _, document = store.load()
        store.close()
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    if as_json:
        print_json(document)
    else:
        click.echo(tomlkit.dumps(document), nl=False)


def read_document(source: Path) -> dict[str, Any]:
    """A resource file as plain values; ends the command if it cannot be read."""
    try:
        standard_input = str(source) == "-"
        text = sys.stdin.buffer.read().decode() if standard_input else source.read_text(encoding="utf-8")
        if source.suffix == ".json" or (standard_input and text.lstrip().startswith("{")):
            return _table(source, json.loads(text))
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        fail(
            BAD_INPUT, f"{source}: not readable as {source.suffix[1:].upper() or 'TOML'}: {error}; nothing was changed"
        )
    except OSError as error:
        fail(BAD_INPUT, f"{source}: {error.strerror}; nothing was changed")


def _table(source: Path, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        fail(BAD_INPUT, f"{source}: it must be a table of resources; nothing was changed")
    return document


def checked_document(
    source: Path, given: dict[str, Any], stored: dict[str, Any], prefixes: PrefixLimits, hostname: str = ""
) -> dict[str, dict[str, Any]]:
    """What the file's organizations become, in the form that is stored; ends the command with every error there is."""
    organizations = given.get("organization", {})
    if not isinstance(organizations, dict):
        fail(BAD_INPUT, f"{source}: organization must be tables like [organization.contoso]; nothing was changed")
    together = {**given, "organization": {**stored.get("organization", {}), **organizations}}
    try:
        resources = parse(together, prefixes=prefixes)
    except ResourceErrors as errors:
        lines = "\n".join(f"{source}: {error}" for error in errors.errors)
        fail(BAD_INPUT, f"{lines}\n{len(errors.errors)} error(s); nothing was changed")
    _warn(stored, resources, prefixes, hostname)
    document = dump(resources)
    return {"organization": {name: document["organization"][name] for name in organizations}}


def _warn(stored: dict[str, Any], resources: Resources, prefixes: PrefixLimits, hostname: str) -> None:
    """Say every trap: those that the change brings first, then those that were there already; then what is left to do.

    hostname: "" where nothing is changed, and nothing is left to do.
    """
    try:
        known = parse(stored, prefixes=prefixes)
    except ResourceErrors:
        known = Resources()
    before, found = set(warnings(known, hostname)), warnings(resources, hostname)
    for text in found:
        if text not in before:
            click.echo(f"warning: {text}", err=True)
    old = [text for text in found if text in before]
    for text in old[:_OLD_WARNINGS]:
        click.echo(f"warning, as before: {text}", err=True)
    if len(old) > _OLD_WARNINGS:
        click.echo(f"{len(old) - _OLD_WARNINGS} more warnings, as before", err=True)
    if hostname:
        for note in to_do(known.organizations, resources.organizations, hostname):
            click.echo(f"note: {note}", err=True)
