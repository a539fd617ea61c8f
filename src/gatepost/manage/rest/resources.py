"""The resources as a whole, organization by organization, and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import ChangeOutcome, ChangeQuery, FieldChange, answer, wish
from gatepost.manage.rest.endpoint import Answer, Document, Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, page_of, position
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases import resources
from gatepost.manage.use_cases.choice import visible
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.history import change_record, history, version_changes, version_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.records import Organization

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.policy.connectors.fields import Record


_MEGABYTE = 1024 * 1024
_ALL = Document(Organization, named=True)
_ONE = Document(Organization)
_PARTS = frozenset(name for name, info in Organization.model_fields.items() if info.alias is not None)
_NAMED = {"organization": "Its name, as the heading of a resource file has it."}


type _Defaults = Annotated[bool, Meta(description="Also what was not written, with its default.")]


class Shown(msgspec.Struct, kw_only=True):
    """How a resource is shown."""

    defaults: _Defaults = False


class ShownList(Paging, kw_only=True):
    """How a list of resources is shown."""

    defaults: _Defaults = False


class _History(Paging, kw_only=True):
    """Of the history."""

    organization: Annotated[str, Meta(description="Only changes of this one.")] = ""


class _HistoryPlace(msgspec.Struct, array_like=True):
    """A version, and how many of its changes were shown."""

    version: Annotated[int, Meta(ge=1, lt=2**62)]
    seen: Annotated[int, Meta(ge=0, le=1_000_000)]


class HistoryEntry(msgspec.Struct):
    """What one version changed in one organization. at: seconds since 1970. changes: how many fields.

    summary: which parts.
    """

    version: int
    at: float
    author: str
    organization: str
    note: str
    changes: int
    summary: str


class HistoryVersion(msgspec.Struct):
    """What one version changed. at: seconds since 1970."""

    version: int
    at: float
    author: str
    note: str
    changes: list[FieldChange]


def table_of(record: Record, *, defaults: bool, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A resource as a file has it; defaults: with every field that has a value. without: fields, by attribute."""
    return record.model_dump(
        mode="json", by_alias=True, exclude_unset=not defaults, exclude_none=True, exclude=set(without)
    )


def text_in(body: dict[str, Any], key: str) -> str:
    """A text that must be in a body. Raises Problem."""
    found = body.get(key)
    if isinstance(found, str) and found:
        return found
    wrong = FieldError(key, "must be a text in quotes, and not empty" if key in body else "is missing, so write it")
    raise Problem(ProblemType.INVALID, "1 error(s); nothing was done.", [wrong])


# ------------------------------------------------------------------------------------------------ all at once


def _document(asked: Asked) -> Answer:
    version, found = resources.document(asked.gateway, asked.principal)
    return Answer({"organization": {}} | found, version)


def _apply(asked: Asked) -> Answer:
    return answer(resources.apply_document(asked.gateway, asked.principal, asked.body, wish(asked)))


def _put(asked: Asked) -> Answer:
    return answer(resources.put_document(asked.gateway, asked.principal, asked.body, wish(asked)))


# ------------------------------------------------------------------------------------------------ organizations


def _organizations(asked: Asked) -> Page:
    directory = asked.gateway.directory()
    found = visible(directory.resources, asked.principal).organizations

    def shown(one: Organization) -> dict[str, Any]:
        return table_of(one, defaults=asked.query.defaults, without=_PARTS)

    return page_of(found, lambda one: one.name, asked.query, shown, directory.version)


def _organization(asked: Asked) -> Answer:
    directory = asked.gateway.directory()
    found = visible(directory.resources, asked.principal).organization(asked.path["organization"])
    if found is None:
        raise Refusal(Kind.MISSING, f"There is no organization {asked.path['organization']!r}.")
    return Answer(table_of(found, defaults=asked.query.defaults), directory.version)


def _add(asked: Asked) -> Answer:
    name = text_in(asked.body, "name")
    fields = {key: value for key, value in asked.body.items() if key != "name"}
    outcome = resources.add_organization(asked.gateway, asked.principal, name, fields, wish(asked))
    return answer(outcome, location=f"/organizations/{quote(name, safe='')}")


def _put_one(asked: Asked) -> Answer:
    name = asked.path["organization"]
    if asked.body.get("name", name) != name:
        wrong = FieldError("name", "cannot be changed: file names and queued mail have it; leave it out")
        raise Problem(ProblemType.INVALID, "1 error(s); nothing was done.", [wrong])
    new = asked.gateway.directory().resources.organization(name) is None
    table = {key: value for key, value in asked.body.items() if key != "name"}
    outcome = resources.put_organization(asked.gateway, asked.principal, name, table, wish(asked))
    return answer(
        outcome,
        location=f"/organizations/{quote(name, safe='')}" * new,
        status=201 if new and not asked.dry_run else None,
    )


def _set(asked: Asked) -> Answer:
    name = asked.path["organization"]
    return answer(resources.set_organization(asked.gateway, asked.principal, name, asked.body, wish(asked)))


def _remove(asked: Asked) -> Answer:
    name = asked.path["organization"]
    return answer(resources.remove_organization(asked.gateway, asked.principal, name, wish(asked)))


# ------------------------------------------------------------------------------------------------ history


def _history(asked: Asked) -> Page:
    """A version may have changed several organizations, and a page may end between them."""
    query: _History = asked.query
    after = position(query.after, _HistoryPlace) if query.after else None
    seen = after.seen if after else 0
    found = history(
        asked.gateway,
        asked.principal,
        organization=query.organization,
        limit=seen + query.limit + 1,
        before=after.version + 1 if after else 0,
    )
    shown = found[seen : seen + query.limit]
    behind = None
    if len(found) > seen + query.limit:
        last = shown[-1].version
        before = found[: seen + query.limit]
        behind = cursor(_HistoryPlace(last, sum(one.version == last for one in before)))
    return Page([change_record(one) for one in shown], behind)


def _version(asked: Asked) -> dict[str, Any]:
    text = asked.path["version"]
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:20]) < 2**63:
        raise Problem(ProblemType.MISSING, f"There is no version {text!r}; a version is a number from 1 on.")
    return version_record(*version_changes(asked.gateway, asked.principal, int(text)))


def _change(method: str, path: str, summary: str, handler: Any, **other: Any) -> Endpoint:
    given: dict[str, Any] = {
        "answer": ChangeOutcome,
        "scope": Scope.CONNECTORS,
        "query": ChangeQuery,
        "changes": True,
        "guarded": True,
        "versioned": True,
        "tag": "organizations",
        "reach": Reach.ORGANIZATION,
        "parameters": _NAMED,
        "most": 32 * _MEGABYTE,
    }
    return Endpoint(method, path, summary, handler, **(given | other))


_RESOURCES = {"tag": "resources", "parameters": {}}
_APPLY_TEXT = (
    "As `gatepost apply`: the organizations in the document become exactly what it says, others stay as they are."
)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/resources",
        "All resources, as a resource file has them",
        _document,
        _ALL,
        Scope.READ,
        Reach.SEEN,
        "resources",
        versioned=True,
    ),
    _change("PATCH", "/resources", "Apply", _apply, body=_ALL, reach=Reach.SEEN, description=_APPLY_TEXT, **_RESOURCES),
    _change(
        "PUT",
        "/resources",
        "Replace all resources",
        _put,
        body=_ALL,
        reach=Reach.GATEWAY,
        description="Organizations that are not in the document are removed.",
        **_RESOURCES,
    ),
    Endpoint(
        "GET",
        "/history",
        "Who changed the resources, when and why, the newest first",
        _history,
        ListOf(HistoryEntry),
        Scope.READ,
        Reach.SEEN,
        "resources",
        query=_History,
    ),
    Endpoint(
        "GET",
        "/history/{version}",
        "What a version changed",
        _version,
        HistoryVersion,
        Scope.READ,
        Reach.SEEN,
        "resources",
    ),
    Endpoint(
        "GET",
        "/organizations",
        "The organizations, without their parts",
        _organizations,
        ListOf(_ONE),
        Scope.READ,
        Reach.SEEN,
        "organizations",
        query=ShownList,
        versioned=True,
    ),
    _change("POST", "/organizations", "Add an organization", _add, body=_ONE, status=201, reach=Reach.GATEWAY),
    Endpoint(
        "GET",
        "/organizations/{organization}",
        "An organization with all its parts",
        _organization,
        _ONE,
        Scope.READ,
        Reach.ORGANIZATION,
        "organizations",
        query=Shown,
        versioned=True,
        parameters=_NAMED,
    ),
    _change(
        "PUT",
        "/organizations/{organization}",
        "Make an organization exactly this, with all its parts",
        _put_one,
        body=Document(Organization, nameless=True),
        may_create=True,
    ),
    _change(
        "PATCH",
        "/organizations/{organization}",
        "Change an organization's own fields",
        _set,
        body=Document(Organization, whole=False),
        description="A merge patch (RFC 7396): null goes back to the default. Parts are changed one by one.",
    ),
    _change(
        "DELETE",
        "/organizations/{organization}",
        "Remove an organization with all its parts",
        _remove,
        reach=Reach.GATEWAY,
    ),
)
