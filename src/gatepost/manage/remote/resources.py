"""The resources of another gateway: looked at as its own administrators see them, and changed.

What is only looked at is fetched whole, once, and the functions of `administration` work on that as on their own. A
change of one resource is worked out on what was fetched and sent as the difference, with the version that it was made
from; if somebody was quicker, all of it is done again, as `manage.use_cases.change` does.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.change import NOTHING, TRIES, Wish, outcome_of
from gatepost.manage.use_cases.choice import choose_organization, choose_part, owner_of
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Kind, Overtaken, Refusal
from gatepost.manage.use_cases.resources import domain_of, organization_set, part_added, part_removed, part_set
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.rules import PrefixLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.change import Outcome
    from gatepost.manage.use_cases.parts import PartKind
    from gatepost.manage.use_cases.resources import Fields, PartName
    from gatepost.policy.connectors.errors import FieldError
    from gatepost.policy.connectors.model import Resources


_PLURALS = {"mailbox": "mailboxes"}


def fetched_directory(connection: Connection) -> Directory:
    """The resources of another gateway. Raises Refusal."""
    answer = connection.get("/resources")
    try:
        # How wide a network may be was checked there, against the settings there.
        found = parse({"organization": answer.value["organization"]}, prefixes=PrefixLimits(0, 0))
    except ResourceErrors as errors:
        text = f"{connection.url}: its resources cannot be used by this version of the command: {errors}"
        raise Refusal(Kind.UNREADABLE, text) from errors
    return Directory(found, int(answer.etag.strip('"').removeprefix("v")))


class FetchedGateway(Gateway):
    """A gateway of which we have the resources, and nothing else: no settings, and no files."""

    def __init__(self, connection: Connection) -> None:
        answer = connection.get("/resources")
        self.etag = answer.etag
        self.tables: dict[str, dict[str, Any]] = answer.value["organization"]
        self._found = fetched_directory(connection)

    def directory(self) -> Directory:
        """As they were when they were fetched."""
        return self._found


def document(connection: Connection) -> tuple[int, dict[str, Any]]:
    """As `manage.use_cases.resources.document`."""
    found = FetchedGateway(connection)
    return found.directory().version, {"organization": found.tables} if found.tables else {}


def apply_document(connection: Connection, given: Mapping[str, Any], wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.apply_document`."""
    return _asked(connection, _Call("PATCH", "/resources", given), wish, "*")


# ------------------------------------------------------------------------------------------------ organizations


def add_organization(connection: Connection, name: str, fields: Fields, wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.add_organization`."""

    def call(_: Resources, draft: dict[str, Any]) -> _Call:
        draft[name] = {}
        edit = organization_set(name, fields, draft)
        return _Call("POST", "/organizations", {"name": name, **draft[name]}, edit.errors)

    return _changed(connection, call, wish)


def set_organization(connection: Connection, name: str, fields: Fields, wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.set_organization`."""

    def call(resources: Resources, draft: dict[str, Any]) -> _Call:
        choose_organization(resources, name)
        before = copy.deepcopy(draft[name])
        edit = organization_set(name, fields, draft)
        return _Call("PATCH", _path(name), _patch(before, draft[name]), edit.errors)

    return _changed(connection, call, wish)


def remove_organization(connection: Connection, name: str, wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.remove_organization`."""

    def call(resources: Resources, _: dict[str, Any]) -> _Call:
        choose_organization(resources, name)
        return _Call("DELETE", _path(name))

    return _changed(connection, call, wish)


# ------------------------------------------------------------------------------------------------ parts


def add_part(connection: Connection, named: PartName, fields: Fields, wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.add_part`."""

    def call(resources: Resources, draft: dict[str, Any]) -> _Call:
        kind = named.kind
        owner = owner_of(resources, named.organization, domain_of(kind, named.name)).name
        edit = part_added(kind, owner, named.name, fields, draft)
        return _Call("POST", _path(owner, kind), draft[owner][kind.key][-1], edit.errors)

    return _changed(connection, call, wish)


def set_part(connection: Connection, named: PartName, fields: Fields, wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.set_part`."""

    def call(resources: Resources, draft: dict[str, Any]) -> _Call:
        part = choose_part(resources, named.kind, named.name, named.organization)
        owner, kind = part.organization.name, part.kind
        before = copy.deepcopy(draft[owner][kind.key][part.place])
        edit = part_set(part, fields, draft)
        patch = _patch(before, draft[owner][kind.key][part.place])
        return _Call("PATCH", _path(owner, kind, part.name), patch, edit.errors)

    return _changed(connection, call, wish)


def remove_part(connection: Connection, named: PartName, wish: Wish) -> Outcome:
    """As `manage.use_cases.resources.remove_part`."""

    def call(resources: Resources, draft: dict[str, Any]) -> _Call:
        part = choose_part(resources, named.kind, named.name, named.organization)
        part_removed(part, draft)
        return _Call("DELETE", _path(part.organization.name, part.kind, part.name))

    return _changed(connection, call, wish)


# ------------------------------------------------------------------------------------------------ how it is done


class _Call(NamedTuple):
    """What changes a resource. errors: what was found to be wrong with the words of it."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    errors: Sequence[FieldError] = ()


def _changed(connection: Connection, call: Callable[[Resources, dict[str, Any]], _Call], wish: Wish) -> Outcome:
    """Make a change of what is in force, and again if it was overtaken."""
    for left in reversed(range(TRIES)):
        fetched = FetchedGateway(connection)
        made = call(fetched.directory().resources, copy.deepcopy(fetched.tables))
        if made.errors:
            raise _all_wrong(connection, made)
        try:
            return _asked(connection, made, wish, fetched.etag)
        except Overtaken:
            if not left:
                break
    text = f"the resources change all the time ({TRIES} tries, each overtaken by another change; {NOTHING})"
    raise Refusal(Kind.CONFLICT, text)


def _all_wrong(connection: Connection, call: _Call) -> Refusal:
    """What is wrong with the words, and with what they make as far as they were understood."""
    errors = list(call.errors)
    try:
        _asked(connection, call, Wish("", dry_run=True, since=time.time()), "*")
    except Refusal as refusal:
        if refusal.kind is not Kind.INPUT or not refusal.errors:
            return refusal
        said = {error.path for error in errors}
        errors += [error for error in refusal.errors if error.path not in said]
    return Refusal(Kind.INPUT, f"{len(errors)} error(s); {NOTHING}", errors)


def _asked(connection: Connection, call: _Call, wish: Wish, if_match: str) -> Outcome:
    query = {"dry_run": wish.dry_run, "note": wish.note, "since": time_text(wish.since) if wish.dry_run else ""}
    return outcome_of(connection.call(call.method, call.path, query=query, body=call.body, if_match=if_match).value)


def _path(organization: str, kind: PartKind | None = None, name: str = "") -> str:
    parts = ["", "organizations", organization, *([_PLURALS.get(kind.key, f"{kind.key}s")] if kind else []), name]
    return "/".join(quote(one, safe="") for one in parts).removesuffix("/")


def _patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7396) that makes one table of the other."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _patch(old, value):
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch
