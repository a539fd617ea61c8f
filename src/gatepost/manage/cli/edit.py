"""Changes of single resources from the command line: the words of a command, as a change of what is in force.

A command names what it means in `key=value` words, some of which add to what is there. So it looks at the resources in
force, here or on another gateway, makes a merge patch of the words, and sends it with the version that it was made
from; if somebody was quicker, all of it is done again.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from msgspec.structs import replace

from gatepost.manage.cli.changes import report
from gatepost.manage.cli.options import client, gateway_options, since_option
from gatepost.manage.cli.output import _, quantity
from gatepost.manage.use_cases.assignments import assign
from gatepost.manage.use_cases.change import NOTHING, TRIES
from gatepost.manage.use_cases.name_lookup import choose_part, owner_of
from gatepost.manage.use_cases.part_cases import PARTS, AddPart, RemovePart, SetPart
from gatepost.manage.use_cases.part_record import table_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, VersionConflict
from gatepost.manage.use_cases.resources import PartName, domain_of
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest
    from gatepost.manage.use_cases.client import Client
    from gatepost.manage.use_cases.declaration import UseCase, UseCaseReply
    from gatepost.policy.connectors.resources import Resources


@dataclass(frozen=True, slots=True)
class ChangeArguments:
    """The options of every command that changes something. since: as it was written."""

    dry_run: bool
    since: str
    note: str

    @property
    def fields(self) -> dict[str, str]:
        """Those of every `ChangeRequest`."""
        return {"note": self.note, "since": self.since}


class PreparedChange(NamedTuple):
    """A change made of words. errors: of the words themselves."""

    case: UseCase[Any, UseCaseReply[ChangeReport]]
    request: ChangeRequest
    errors: Sequence[FieldError] = ()


def change_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--dry-run`, `--since`, `--note`, which the command gets as `arguments`, and `gateway_options`."""
    command = gateway_options(command)

    @click.option("--dry-run", is_flag=True, help="Preview: check the change and print what would change.")
    @since_option
    @click.option("--note", default="", help="Reason, for the history.")
    @wraps(command)
    def with_arguments(dry_run: bool, since: str, note: str, **given: Any) -> None:
        command(arguments=ChangeArguments(dry_run, since, note), **given)

    return with_arguments


def change(arguments: ChangeArguments, case: UseCase[Any, UseCaseReply[ChangeReport]], request: ChangeRequest) -> None:
    """Make one change, whatever is in force, and say what it did."""
    report(client().call(case, request, dry_run=arguments.dry_run).value)


def edit(arguments: ChangeArguments, make: Callable[[Resources], PreparedChange]) -> None:
    """Change what is in force, and say what it did. make: may be called several times."""
    report(changed(client(), make, dry_run=arguments.dry_run))


def changed(through: Client, make: Callable[[Resources], PreparedChange], *, dry_run: bool = False) -> ChangeReport:
    """Make a change of what is in force, and again if it was overtaken. Raises Refusal."""
    for left in reversed(range(TRIES)):
        directory = through.directory()
        made = make(directory.resources)
        if made.errors:
            raise _all_wrong(through, made)
        try:
            return through.call(made.case, made.request, dry_run=dry_run, expected=directory.version).value
        except VersionConflict:
            if not left:
                break
    text = _(
        "gave up after repeated conflicts (%(tries)s tries, another change came first each time; %(nothing)s)",
        tries=TRIES,
        nothing=NOTHING,
    )
    raise Refusal(RefusalKind.CONFLICT, text)


def _all_wrong(through: Client, prepared: PreparedChange) -> Refusal:
    """All errors: of the words, and of the change that they make as far as they were understood."""
    errors = list(prepared.errors)
    try:
        through.call(prepared.case, replace(prepared.request, since=""), dry_run=True)
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT or not refusal.errors:
            return refusal
        said = {error.path for error in errors}
        errors += [error for error in refusal.errors if error.path not in said]
    return Refusal(RefusalKind.INPUT, f"{quantity(len(errors), 'error')}; {NOTHING}", errors)


# ------------------------------------------------------------------------------------------------ what words make


def part_added(
    arguments: ChangeArguments, part_name: PartName, words: Sequence[str]
) -> Callable[[Resources], PreparedChange]:
    """A new part. Where no organization is named it is the one whose domain it is in, or the only one there is."""
    kind = part_name.kind

    def make(resources: Resources) -> PreparedChange:
        owner = owner_of(resources, part_name.organization, domain_of(kind, part_name.name)).name
        table: dict[str, Any] = {kind.identity: part_name.name}
        errors = assign(kind.model, table, words)
        if table.get(kind.identity) != part_name.name:
            errors.append(FieldError(kind.identity, _("is given twice; remove %(identity)s=", identity=kind.identity)))
            table[kind.identity] = part_name.name
        return PreparedChange(
            PARTS[kind.key].add, AddPart(organization=owner, document=table, **arguments.fields), errors
        )

    return make


def part_set(
    arguments: ChangeArguments, part_name: PartName, words: Sequence[str]
) -> Callable[[Resources], PreparedChange]:
    """Other fields of a part."""

    def make(resources: Resources) -> PreparedChange:
        part = choose_part(resources, part_name.kind, part_name.name, part_name.organization)
        patch, errors = patch_of(part.kind.model, table_of(part.record), words)
        owner = part.organization.name
        request = SetPart(organization=owner, name=part.name, document=patch, **arguments.fields)
        return PreparedChange(PARTS[part.kind.key].set, request, errors)

    return make


def part_removed(arguments: ChangeArguments, part_name: PartName) -> Callable[[Resources], PreparedChange]:
    """A part that is to go."""

    def make(resources: Resources) -> PreparedChange:
        part = choose_part(resources, part_name.kind, part_name.name, part_name.organization)
        request = RemovePart(organization=part.organization.name, name=part.name, **arguments.fields)
        return PreparedChange(PARTS[part.kind.key].remove, request)

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
