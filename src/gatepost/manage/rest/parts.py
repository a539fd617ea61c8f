"""What organizations are made of: domains, mailboxes, connectors, rules and the other kinds, each by the same calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import ChangeOutcome, ChangeQuery, answer, wish
from gatepost.manage.rest.endpoint import Answer, Document, Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, page_of
from gatepost.manage.rest.resources import Shown, ShownList, table_of, text_in
from gatepost.manage.use_cases import resources
from gatepost.manage.use_cases.pages import Selection
from gatepost.manage.use_cases.parts import DKIM, DOMAIN, HOOK, INBOUND, ISSUER, MAILBOX, OUTBOUND, RULE
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.parts import PartKind


_KINDS = {
    "accepted_domains": DOMAIN,
    "mailboxes": MAILBOX,
    "inbound_connectors": INBOUND,
    "outbound_connectors": OUTBOUND,
    "mail_flow_rules": RULE,
    "oauth_issuers": ISSUER,
    "content_hooks": HOOK,
    "dkim_keys": DKIM,
}


def _endpoints(plural: str, kind: PartKind) -> Iterator[Endpoint]:
    """The six calls for one kind. The functions are made for each, since each is about its kind."""
    within = f"/organizations/{{organization}}/{plural}"
    whole, tag, label = Document(kind.model), plural.replace("_", " "), f"{_article(kind)} {kind.label}"
    looks: dict[str, Any] = {"scope": Scope.READ, "reach": Reach.ORGANIZATION, "tag": tag, "versioned": True}
    looks["parameters"] = {"organization": "Whose it is.", "name": f"Its {kind.identity}, in any case."}
    change = looks | {
        "answer": ChangeOutcome,
        "scope": Scope.CONNECTORS,
        "query": ChangeQuery,
        "changes": True,
        "guarded": True,
    }
    one = f"{within}/{{name:path}}"
    patch = "A merge patch (RFC 7396): what is left out stays, null goes back to the default, a list is taken whole."
    yield Endpoint(
        "GET",
        within,
        f"The {kind.label}s" if kind is not MAILBOX else "The mailboxes",
        _list(kind),
        ListOf(whole),
        query=ShownList,
        **looks,
    )
    yield Endpoint("POST", within, f"Add {label}", _add(kind, plural), body=whole, status=201, **change)
    yield Endpoint("GET", one, f"{label[0].upper()}{label[1:]}", _get(kind), whole, query=Shown, **looks)
    yield Endpoint("PUT", one, f"Make {label} exactly this", _put(kind, plural), body=whole, may_create=True, **change)
    yield Endpoint(
        "PATCH", one, f"Change {label}", _set(kind), body=Document(kind.model, whole=False), description=patch, **change
    )
    yield Endpoint("DELETE", one, f"Remove {label}, unless something needs it", _remove(kind), **change)


def _article(kind: PartKind) -> str:
    return "an" if kind.label[0] in "aeioO" else "a"


def _named(kind: PartKind, asked: Asked) -> resources.PartName:
    return resources.PartName(kind, asked.path["organization"], asked.path["name"])


type _Handler[T] = Callable[[Asked], T]


def _list(kind: PartKind) -> _Handler[Page]:
    def handler(asked: Asked) -> Page:
        selection = Selection(organization=asked.path["organization"])
        found = resources.parts(asked.gateway, asked.principal, kind, selection)

        def shown(part: Any) -> dict[str, Any]:
            return table_of(part.record, defaults=asked.query.defaults)

        return page_of(found.rows, lambda part: part.name, asked.query, shown, found.version)

    return handler


def _get(kind: PartKind) -> _Handler[Answer]:
    def handler(asked: Asked) -> Answer:
        version = asked.gateway.directory().version
        part = resources.part(asked.gateway, asked.principal, _named(kind, asked))
        return Answer(table_of(part.record, defaults=asked.query.defaults), version)

    return handler


def _add(kind: PartKind, plural: str) -> _Handler[Answer]:
    def handler(asked: Asked) -> Answer:
        owner, name = asked.path["organization"], text_in(asked.body, kind.identity)
        outcome = resources.add_part(
            asked.gateway, asked.principal, resources.PartName(kind, owner, name), asked.body, wish(asked)
        )
        return answer(outcome, location=_location(owner, plural, name))

    return handler


def _put(kind: PartKind, plural: str) -> _Handler[Answer]:
    def handler(asked: Asked) -> Answer:
        named = _named(kind, asked)
        new = not _is_there(asked, named)
        table = asked.body if kind.identity in asked.body else {kind.identity: named.name, **asked.body}
        outcome = resources.put_part(asked.gateway, asked.principal, named, table, wish(asked))
        if not new or asked.dry_run:
            return answer(outcome)
        return answer(outcome, location=_location(named.organization, plural, named.name), status=201)

    return handler


def _is_there(asked: Asked, named: resources.PartName) -> bool:
    try:
        resources.part(asked.gateway, asked.principal, named)
    except Refusal as refusal:
        if refusal.kind is Kind.MISSING:
            return False
        raise
    return True


def _set(kind: PartKind) -> _Handler[Answer]:
    def handler(asked: Asked) -> Answer:
        named = _named(kind, asked)
        return answer(resources.set_part(asked.gateway, asked.principal, named, asked.body, wish(asked)))

    return handler


def _remove(kind: PartKind) -> _Handler[Answer]:
    def handler(asked: Asked) -> Answer:
        return answer(resources.remove_part(asked.gateway, asked.principal, _named(kind, asked), wish(asked)))

    return handler


def _location(owner: str, plural: str, name: str) -> str:
    return f"/organizations/{quote(owner, safe='')}/{plural}/{quote(name, safe='')}"


ENDPOINTS = tuple(one for plural, kind in _KINDS.items() for one in _endpoints(plural, kind))
