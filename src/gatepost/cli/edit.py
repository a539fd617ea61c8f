"""Changes of one resource from the command line: read, change, check everything as for a file, write, say what changed.

Used by the `add`, `set` and `remove` commands. A change is a step that is done again on the newer version if somebody
else changed the configuration meanwhile, so that no change is lost; what it says is checked by `connectors.model.parse`
together with all other resources, and nothing is written unless all of it is right.
"""

from __future__ import annotations

import copy
import re
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.assignments import assign
from gatepost.cli.blast_radius import find_radius, report_rehearsed
from gatepost.cli.changes import differences, report
from gatepost.cli.options import BAD_INPUT, UNKNOWN, author, fail, settings_of
from gatepost.cli.private_content import keys_lacking, orphaned
from gatepost.cli.times import MOMENT
from gatepost.connectors.describe import warnings
from gatepost.connectors.errors import FieldError
from gatepost.connectors.model import ResourceErrors, Resources, dump, parse
from gatepost.connectors.publication import to_do
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.cli.changes import FieldChange
    from gatepost.cli.part import Kind, Part
    from gatepost.settings.model import Settings

__all__ = ["Edit", "Wish", "change", "change_options", "part_added", "part_removed", "part_set"]

_TRIES = 5
_NOTHING = "nothing was changed"


@dataclass(slots=True)
class Edit:
    """What a step did to the draft.

    organization: the one that it changed. path: of the resource, as errors name it. names: by which warnings that
    concern it can be known. needed: for a removal, the sentence that what needs the resource is listed under. content:
    what is kept beside it, as `ConfigStore.apply` takes it.
    """

    organization: str
    path: str
    names: tuple[str, ...] = ()
    errors: list[FieldError] = field(default_factory=list)
    needed: str = ""
    content: dict[str, bytes] = field(default_factory=dict)


type Step = Callable[[Resources, dict[str, Any]], Edit]


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of every command that changes something."""

    config: str | None
    dry_run: bool
    since: float
    note: str
    as_json: bool


def change_options[F: Callable[..., Any]](command: F) -> F:
    """`--dry-run`, `--since`, `--note`."""
    command = click.option("--note", default="", help="Why, for the history.")(command)
    command = click.option(
        "--since",
        type=MOMENT,
        default="7d",
        show_default=True,
        help="With --dry-run: the mail since then is decided again, to see what would have been different.",
    )(command)
    return click.option("--dry-run", is_flag=True, help="Check it and print what would change; change nothing.")(
        command
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    version: int
    changes: list[FieldChange]
    before: Resources
    after: Resources
    edit: Edit


def change(step: Step, wish: Wish) -> None:
    """Do one step and say what it changed; ends the command with every error if it cannot be."""
    settings = settings_of(wish.config)
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            outcome = _changed(store, step, wish, settings)
            changed = outcome.after.organization(outcome.edit.organization)
            lacking = [] if changed is None or wish.dry_run else list(keys_lacking(store, [changed]))
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    for warning in _concerning(outcome.before, outcome.after, outcome.edit, settings.server.hostname):
        click.echo(f"warning: {warning}", err=True)
    for note in to_do(outcome.before.organizations, outcome.after.organizations, settings.server.hostname):
        click.echo(f"note: {note}", err=True)
    for warning in lacking:
        click.echo(f"warning: {warning}", err=True)
    if wish.dry_run and outcome.changes:
        radius = find_radius(settings, outcome.before, outcome.after, wish.since)
        report_rehearsed(outcome.changes, outcome.version, radius, as_json=wish.as_json)
    else:
        report(outcome.changes, outcome.version, dry_run=wish.dry_run, as_json=wish.as_json)


def _changed(store: ConfigStore, step: Step, wish: Wish, settings: Settings) -> _Outcome:
    for left in reversed(range(_TRIES)):
        version, stored = store.load()
        before = _understood(stored, settings)
        draft = copy.deepcopy(stored.get("organization", {}))
        edit = step(before, draft)
        after = _checked({**stored, "organization": draft}, edit, settings)
        wanted = {"organization": {edit.organization: dump(after)["organization"].get(edit.organization)}}
        changes = differences(stored, wanted)
        if wish.dry_run or not changes:
            return _Outcome(version, changes, before, after, edit)
        try:
            content = orphaned(stored, wanted) | edit.content
            version = store.apply(wanted, author=author(), note=wish.note, expected=version, content=content)
        except ConfigConflict as conflict:
            if not left:
                fail(UNKNOWN, f"{conflict} ({_TRIES} tries, each overtaken by another change; {_NOTHING})")
        else:
            return _Outcome(version, changes, before, after, edit)
    raise AssertionError  # the last try returns or fails


def _understood(stored: dict[str, Any], settings: Settings) -> Resources:
    try:
        return parse(stored, prefixes=settings.limits.prefixes())
    except ResourceErrors as errors:
        fail(UNKNOWN, f"{settings.server.data_dir}: the stored resources cannot be used by this version: {errors}")


def _checked(document: dict[str, Any], edit: Edit, settings: Settings) -> Resources:
    """The resources as the step leaves them; ends the command with every error there is."""
    found = list(edit.errors)
    said = {error.path for error in found}
    try:
        resources = parse(document, prefixes=settings.limits.prefixes())
    except ResourceErrors as errors:
        if edit.needed:
            needing = "\n".join(f"  {error.path}" for error in errors.errors)
            fail(BAD_INPUT, f"{edit.needed}\n{needing}\nChange or remove what needs it first; {_NOTHING}")
        own = (FieldError(_short(error.path, edit.path), error.message) for error in errors.errors)
        found += [error for error in own if error.path not in said]
    if found:
        lines = "\n".join(map(str, found))
        fail(BAD_INPUT, f"{lines}\n{len(found)} error(s); {_NOTHING}")
    return resources


def _short(path: str, own: str) -> str:
    """The path of an error, less what the command line said already."""
    return path.removeprefix(f"{own}.")


def _concerning(before: Resources, after: Resources, edit: Edit, hostname: str) -> list[str]:
    """Warnings that are new, or that name the changed resource; another organization may have one of that name."""
    known = set(warnings(before, hostname))
    owner = re.compile(rf"(?<![\w-]){re.escape(edit.organization)}(?![\w-])")
    return [
        one
        for one in warnings(after, hostname)
        if one not in known or (owner.search(one) and any(name in one for name in edit.names))
    ]


def part_added(kind: Kind, owner: str, name: str, words: Sequence[str], draft: dict[str, Any]) -> Edit:
    """Append a part to the organization `owner` of the draft."""
    parts: list[dict[str, Any]] = draft[owner].setdefault(kind.key, [])
    wanted = kind.one_form(name)
    if any(str(part.get(kind.identity)).lower() == wanted for part in parts):
        fail(
            BAD_INPUT,
            f"{owner} has the {kind.label} {name!r} already; change it with `gatepost {kind.command} set`; {_NOTHING}",
        )
    table: dict[str, Any] = {kind.identity: name}
    errors = assign(kind.model, table, words)
    if table.get(kind.identity) != name:
        errors.append(FieldError(kind.identity, f"is given twice; leave {kind.identity}= out"))
        table[kind.identity] = name
    parts.append(table)
    return _edit(kind, owner, (len(parts) - 1, name), errors)


def part_set(part: Part, words: Sequence[str], draft: dict[str, Any]) -> Edit:
    """Change a part in the draft."""
    kind, owner = part.kind, part.organization.name
    table: dict[str, Any] = draft[owner][kind.key][part.place]
    errors = assign(kind.model, table, words)
    return _edit(kind, owner, (part.place, str(table.get(kind.identity, ""))), errors)


def part_removed(part: Part, draft: dict[str, Any]) -> Edit:
    """Take a part out of the draft."""
    kind, owner = part.kind, part.organization.name
    del draft[owner][kind.key][part.place]
    if not draft[owner][kind.key]:
        del draft[owner][kind.key]
    return Edit(owner, f"organization.{owner}", needed=f"{part.label} cannot be removed, it is needed by:")


def _edit(kind: Kind, owner: str, place: tuple[int, str], errors: list[FieldError]) -> Edit:
    index, name = place
    heading = f"organization.{owner}.{kind.key}[{index}]"
    named = f"{heading} {name!r}" if name else heading
    return Edit(owner, named, (f"{name!r}", f"{kind.label} {name} of {owner}"), errors)
