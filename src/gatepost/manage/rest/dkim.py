"""DKIM keys with their private halves: made, taken in, let sign, and what the DNS has of each.

As resources, without private halves, they are in `manage.rest.parts`. A private key goes in and never comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.changing import ChangeOutcome, ChangeQuery, answer, wish
from gatepost.manage.rest.endpoint import Answer, Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import Page, Paging, page_of
from gatepost.manage.use_cases.change import outcome_record
from gatepost.manage.use_cases.dkim import KeySelection, dkim_keys, import_key, key_record, looked_at
from gatepost.manage.use_cases.dkim_changes import NewKey, Rotation, add_key, rotate_keys
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService
from gatepost.protocols.dkim.record import key_name

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.dkim import KeyRow


_TAG = "dkim keys"
_CHECKED = 100  # keys that are looked for in the DNS for one page
type _Domain = Annotated[str, Meta(max_length=253, description="Only of this domain.")]
type _Selector = Annotated[str, Meta(max_length=200)]
type _Pem = Annotated[str, Meta(max_length=20_000)]


class KeySearch(Paging, kw_only=True):
    """Which keys; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000, description="Only of this one.")] = ""
    domain: _Domain = ""
    q: Annotated[str, Meta(max_length=1000, description="What the name holds, in any case.")] = ""
    selector: Annotated[str, Meta(max_length=200, description="Only this one.")] = ""
    state: Annotated[Literal["", "next", "current", "retired"], Meta(description="Only those.")] = ""
    check: Annotated[
        bool,
        Meta(description=f"Ask the DNS for their records, and the history since when; {_CHECKED} on a page at most."),
    ] = False


class SigningKey(msgspec.Struct):
    """A key, and where its private half is: "sealed", "missing", or the path of its file.

    text, zone: its TXT record, "" where the public half is not known. With check, record: published, missing, differs
    or unknown, and why; since: when it came to be in its state, seconds since 1970, null if that is too long ago.
    """

    organization: str
    name: str
    domain: str
    selector: str
    state: str
    algorithm: str
    service_type: str
    since: float | None
    private_key: str
    public_key: str
    text: str
    zone: str
    record: str | None
    why: str


class NewKeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key that is wanted.

    selector: "" is made of the month. key: a private key that is there already, PEM; "" to make one, with the
    algorithm. service_type tlsrpt: it signs TLS reports only. current: let it sign at once, without a look at the DNS.
    """

    selector: _Selector = ""
    algorithm: Literal["rsa-sha256", "ed25519-sha256"] = "rsa-sha256"
    service_type: Literal["*", "tlsrpt"] = "*"
    key: _Pem = ""
    current: bool = False


class KeyAdded(ChangeOutcome):
    """What it did. name: of the key. zone: the line that the DNS needs; of a dry run that of a key that is gone."""

    name: str = ""
    zone: str = ""


class RotationBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """selector: only the next key of this one. force: why, though a record is not seen in the DNS."""

    selector: _Selector = ""
    force: Annotated[str, Meta(max_length=1000)] = ""


class PrivateKeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """key: the private key, PEM."""

    key: _Pem


class PrivateKeyStored(msgspec.Struct):
    """name: of the key whose private half is sealed now, or with dry_run would be."""

    name: str
    dry_run: bool


def _list(asked: Asked) -> Page:
    query: KeySearch = asked.query
    selection = KeySelection(
        query.organization, query.q, domain=query.domain, selector=query.selector, state=query.state
    )
    rows = dkim_keys(asked.gateway, asked.principal, selection)
    paging = Paging(limit=min(query.limit, _CHECKED), after=query.after) if query.check else query

    def name(row: KeyRow) -> str:
        return f"{row.organization}/{row.key.name}"

    page = page_of(rows, name, paging, lambda row: row)
    shown = page.items
    if query.check:
        shown = looked_at(asked.gateway, asked.principal, shown)
    return Page([key_record(row) for row in shown], page.after)


def _add(asked: Asked) -> Answer:
    body: NewKeyBody = asked.body
    owner = asked.path["organization"]
    new = NewKey(
        asked.path["domain"],
        owner,
        body.selector,
        DkimAlgorithm(body.algorithm),
        DkimService(body.service_type),
        body.current,
        pem=body.key.encode(),
        source="key",
    )
    added = add_key(asked.gateway, asked.principal, new, wish(asked))
    _tell(asked, added.name, {"current": body.current, "brought": bool(body.key)})
    location = f"/organizations/{quote(owner, safe='')}/dkim_keys/{quote(added.name, safe='')}"
    found = answer(added.outcome, location=location)
    return Answer(found.value | {"name": added.name, "zone": added.zone}, found.version, found.location)


def _rotate(asked: Asked) -> Answer:
    body: RotationBody = asked.body
    domain = asked.path["domain"]
    rotation = Rotation(domain, body.selector, asked.path["organization"], body.force.strip())
    _tell(asked, domain, {"force": rotation.force})
    outcome = rotate_keys(asked.gateway, asked.principal, rotation, wish(asked))
    asked.told[0].detail["version"] = outcome_record(outcome)["version"]
    return answer(outcome)


def _import(asked: Asked) -> dict[str, Any]:
    name = key_name(asked.path["selector"], asked.path["domain"])
    stored = import_key(
        asked.gateway,
        asked.principal,
        name,
        asked.path["organization"],
        asked.body.key.encode(),
        "key",
        dry_run=asked.dry_run,
    )
    _tell(asked, stored, {})
    return {"name": stored, "dry_run": asked.dry_run}


def _tell(asked: Asked, subject: str, detail: dict[str, Any]) -> None:
    """For the audit."""
    asked.told[0].subject, asked.told[0].detail = subject, detail


_NAMES = {"organization": "Whose it is.", "domain": "An accepted domain of the organization, or one below it."}
_SELECTOR = {"selector": "Of the key."}


def _change(path: str, summary: str, handler: Any, answers: Any, body: Any, **other: Any) -> Endpoint:
    given: dict[str, Any] = {
        "scope": Scope.CONNECTORS,
        "reach": Reach.ORGANIZATION,
        "tag": _TAG,
        "body": body,
        "changes": True,
        "parameters": _NAMES,
    }
    within = "/organizations/{organization}/domains/{domain}/dkim_keys"
    return Endpoint("POST", f"{within}{path}", summary, handler, answers, **(given | other))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/dkim_keys",
        "DKIM keys of all organizations: their records, where the private halves are, what the DNS has",
        _list,
        ListOf(SigningKey),
        Scope.READ,
        Reach.SEEN,
        _TAG,
        query=KeySearch,
        seeks=True,
    ),
    _change(
        "",
        "Make a DKIM key, or take one in, and say what the DNS needs",
        _add,
        KeyAdded,
        NewKeyBody,
        action="dkim-add",
        query=ChangeQuery,
        status=201,
        guarded=True,
        versioned=True,
        description="The private half is sealed. It is next, and signs once it is rotated to.",
    ),
    _change(
        "/rotate",
        "Let the next DKIM keys of a domain sign, and retire the current ones",
        _rotate,
        ChangeOutcome,
        RotationBody,
        action="dkim-rotate",
        query=ChangeQuery,
        guarded=True,
        versioned=True,
        description="Refused (409) while a record is missing or another, or (503) cannot be looked up, unless force "
        "says why; errors has what is wrong by name of the key. Asks the DNS, for some seconds.",
    ),
    _change(
        "/{selector}/private_key",
        "Seal the private half of a DKIM key that is there",
        _import,
        PrivateKeyStored,
        PrivateKeyBody,
        action="dkim-import",
        parameters=_NAMES | _SELECTOR,
        description="For resources that were exported elsewhere, without their private keys.",
    ),
)
