"""`gatepost apply` and `gatepost export`: resources from and to a file, on a stopped gateway as on a running one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import tomlkit

from gatepost.cli.options import BAD_INPUT, UNKNOWN, author, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json
from gatepost.connectors.describe import warnings
from gatepost.connectors.model import ResourceErrors, dump, parse
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from gatepost.connectors.rules import PrefixLimits

__all__ = ["apply", "export"]


@click.command()
@click.option("-f", "--file", "source", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check everything and print what would change; change nothing.")
@click.option("--note", default="", help="Why, for the history.")
@config_option
@json_option
def apply(source: Path, dry_run: bool, note: str, config: str | None, as_json: bool) -> None:
    """Make the organizations in FILE exactly what it says; other organizations stay as they are.

    A running gateway takes the change up within two seconds. Exit codes: 0 done (or nothing to do), 2 errors in the
    file or settings, each named by file and line or field, and nothing changed; 3 the configuration could not be
    written.
    """
    settings = settings_of(config)
    given = _read(source)
    try:
        store = ConfigStore(Path(settings.server.data_dir) / "config.db")
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    try:
        version, stored = store.load()
        wanted = _checked(source, given, stored, settings.limits.prefixes())
        changes = _differences(stored, wanted)
        if not dry_run and changes:
            version = store.apply(wanted, author=author(), note=note, expected=version)
    except (StoreFailure, ConfigConflict) as failure:
        fail(UNKNOWN, str(failure))
    finally:
        store.close()
    _report(changes, version, dry_run=dry_run, as_json=as_json)


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


def _read(source: Path) -> dict[str, Any]:
    try:
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".json":
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


def _checked(
    source: Path, given: dict[str, Any], stored: dict[str, Any], prefixes: PrefixLimits
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
    for warning in warnings(resources):
        click.echo(f"warning: {warning}", err=True)
    document = dump(resources)
    return {"organization": {name: document["organization"][name] for name in organizations}}


def _differences(stored: dict[str, Any], wanted: dict[str, dict[str, Any]]) -> list[tuple[str, str, Any, Any]]:
    """(sign, field path, before, after) for everything that changes."""
    changes: list[tuple[str, str, Any, Any]] = []
    for name, after in wanted["organization"].items():
        before = stored.get("organization", {}).get(name)
        _compare(f"organization.{name}", before or {}, after, changes)
        if before is None:
            changes.insert(0, ("+", f"organization.{name}", None, after.get("display_name", "")))
    return changes


def _compare(path: str, before: Any, after: Any, changes: list[tuple[str, str, Any, Any]]) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({**before, **after}):
            _compare(f"{path}.{key}", before.get(key), after.get(key), changes)
    elif _named(before) or _named(after):
        old, new = _by_name(before or []), _by_name(after or [])
        for key in {**old, **new}:
            _compare(f"{path}[{key!r}]", old.get(key), new.get(key), changes)
    else:
        sign = "+" if before is None else "-" if after is None else "~"
        changes.append((sign, path, before, after))


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _by_name(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {str(record.get("name", record.get("address"))): record for record in records}


def _report(changes: list[tuple[str, str, Any, Any]], version: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        rows = [{"sign": sign, "field": path, "before": old, "after": new} for sign, path, old, new in changes]
        print_json({"version": version, "dry_run": dry_run, "changes": rows})
        return
    for sign, path, old, new in changes:
        click.echo(f"{sign} {path}: {_change(sign, old, new)}")
    if not changes:
        click.echo(f"nothing to change; version {version} is in force")
    elif dry_run:
        click.echo(f"{len(changes)} change(s), not applied (--dry-run)")
    else:
        click.echo(f"{len(changes)} change(s) applied as version {version}")


def _change(sign: str, old: Any, new: Any) -> str:
    shown = [json.dumps(value, ensure_ascii=False) for value in (old, new)]
    return {"+": shown[1], "-": shown[0], "~": " -> ".join(shown)}[sign]
