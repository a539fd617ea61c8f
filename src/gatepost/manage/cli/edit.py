"""Changes of single resources from the command line: the words of a command, as a change of what is in force.

A command names what it means in `key=value` words, some of which add to what is there. So it looks at the resources in
force, here or on another gateway, makes a merge patch of the words, and sends it with the version that it was made
from; if somebody was quicker, all of it is done again.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from msgspec.structs import replace

from gatepost.manage.cli.changes import report
from gatepost.manage.cli.client import client
from gatepost.manage.cli.times import MOMENT_TEXT
from gatepost.manage.use_cases.assignments import assign
from gatepost.manage.use_cases.change import NOTHING, TRIES
from gatepost.manage.use_cases.choice import choose_part, owner_of
from gatepost.manage.use_cases.part_cases import PARTS, AddPart, RemovePart, SetPart
from gatepost.manage.use_cases.part_record import table_of
from gatepost.manage.use_cases.refusal import Kind, Overtaken, Refusal
from gatepost.manage.use_cases.resources import domain_of
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.manage.use_cases.changing import ChangeOutcome, ChangeRequest
    from gatepost.manage.use_cases.client import Client
    from gatepost.manage.use_cases.declaration import Reply, UseCase
    from gatepost.manage.use_cases.resources import PartName
    from gatepost.policy.connectors.model import Resources


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of every command that changes something. since: as it was written."""

    config: str | None
    dry_run: bool
    since: str
    note: str
    as_json: bool

    @property
    def fields(self) -> dict[str, str]:
        """Those of every `ChangeRequest`."""
        return {"note": self.note, "since": self.since}


class Made(NamedTuple):
    """What words make. errors: what is wrong with the words themselves."""

    case: UseCase[Any, Reply[ChangeOutcome]]
    request: ChangeRequest
    errors: Sequence[FieldError] = ()


def change_options[F: Callable[..., Any]](command: F) -> F:
    """`--dry-run`, `--since`, `--note`."""
    command = click.option("--note", default="", help="Why, for the history.")(command)
    command = click.option(
        "--since",
        type=MOMENT_TEXT,
        default="7d",
        show_default=True,
        help="With --dry-run: the mail since then is decided again, to see what would have been different.",
    )(command)
    return click.option("--dry-run", is_flag=True, help="Check it and print what would change; change nothing.")(
        command
    )


def change(asked: Asked, case: UseCase[Any, Reply[ChangeOutcome]], request: ChangeRequest) -> None:
    """Make one change, whatever is in force, and say what it did."""
    report(client(asked.config).call(case, request, dry_run=asked.dry_run).value, as_json=asked.as_json)


def edit(asked: Asked, make: Callable[[Resources], Made]) -> None:
    """Change what is in force, and say what it did. make: may be called several times."""
    report(changed(client(asked.config), make, dry_run=asked.dry_run), as_json=asked.as_json)


def changed(through: Client, make: Callable[[Resources], Made], *, dry_run: bool = False) -> ChangeOutcome:
    """Make a change of what is in force, and again if it was overtaken. Raises Refusal."""
    for left in reversed(range(TRIES)):
        directory = through.directory()
        made = make(directory.resources)
        if made.errors:
            raise _all_wrong(through, made)
        try:
            return through.call(made.case, made.request, dry_run=dry_run, expected=directory.version).value
        except Overtaken:
            if not left:
                break
    text = f"the resources change all the time ({TRIES} tries, each overtaken by another change; {NOTHING})"
    raise Refusal(Kind.CONFLICT, text)


def _all_wrong(through: Client, made: Made) -> Refusal:
    """What is wrong with the words, and with what they make as far as they were understood."""
    errors = list(made.errors)
    try:
        through.call(made.case, replace(made.request, since=""), dry_run=True)
    except Refusal as refusal:
        if refusal.kind is not Kind.INPUT or not refusal.errors:
            return refusal
        said = {error.path for error in errors}
        errors += [error for error in refusal.errors if error.path not in said]
    return Refusal(Kind.INPUT, f"{len(errors)} error(s); {NOTHING}", errors)


# ------------------------------------------------------------------------------------------------ what words make


def part_added(asked: Asked, named: PartName, words: Sequence[str]) -> Callable[[Resources], Made]:
    """A new part. Where no organization is named it is the one whose domain it is in, or the only one there is."""
    kind = named.kind

    def make(resources: Resources) -> Made:
        owner = owner_of(resources, named.organization, domain_of(kind, named.name)).name
        table: dict[str, Any] = {kind.identity: named.name}
        errors = assign(kind.model, table, words)
        if table.get(kind.identity) != named.name:
            errors.append(FieldError(kind.identity, f"is given twice; leave {kind.identity}= out"))
            table[kind.identity] = named.name
        return Made(PARTS[kind.key].add, AddPart(organization=owner, document=table, **asked.fields), errors)

    return make


def part_set(asked: Asked, named: PartName, words: Sequence[str]) -> Callable[[Resources], Made]:
    """Other fields of a part."""

    def make(resources: Resources) -> Made:
        part = choose_part(resources, named.kind, named.name, named.organization)
        patch, errors = patch_of(part.kind.model, table_of(part.record), words)
        owner = part.organization.name
        request = SetPart(organization=owner, name=part.name, document=patch, **asked.fields)
        return Made(PARTS[part.kind.key].set, request, errors)

    return make


def part_removed(asked: Asked, named: PartName) -> Callable[[Resources], Made]:
    """A part that is to go."""

    def make(resources: Resources) -> Made:
        part = choose_part(resources, named.kind, named.name, named.organization)
        request = RemovePart(organization=part.organization.name, name=part.name, **asked.fields)
        return Made(PARTS[part.kind.key].remove, request)

    return make


def patch_of(model: type[Any], before: dict[str, Any], words: Sequence[str]) -> tuple[dict[str, Any], list[FieldError]]:
    """The merge patch (RFC 7396) that words make of a table, and what is wrong with the words."""
    after = copy.deepcopy(before)
    errors = assign(model, after, words)
    return _patch(before, after), errors


def _patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _patch(old, value):
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch
