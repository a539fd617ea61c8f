"""DKIM keys: all of them, what the DNS has of each, since when each is what it is; and a private key brought in.

What makes keys and lets them sign is in `dkim_changes`. A private key goes in, is sealed, and comes out nowhere.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck, seen_record
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import NOTHING
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.dns_checks import DnsChecks
from gatepost.manage.use_cases.history import history
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.manage.use_cases.name_lookup import DKIM, Part, choose_part, chosen_organizations, visible
from gatepost.manage.use_cases.paging import Columns, ListPage, ListSelection, Paging, page_of, sorted_by
from gatepost.manage.use_cases.refusal import RefusalKind, refusing, wrong_field
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.dkim_keys import DkimKeyError, DkimKeys, read_key
from gatepost.policy.connectors.dkim_key import DkimKey  # noqa: TC001 - the declaration reads it
from gatepost.policy.connectors.values import DkimState
from gatepost.protocols.dkim.record import KeyRecord, key_name
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.net.lookups.dns import Resolver


use_case = use_cases(tag="dkim keys")
SEALED: Final = "sealed"
MISSING: Final = "missing"
_ORDER: Final = tuple(DkimState)
_AT_ONCE: Final = 16  # questions to the DNS
_STEP: Final = 10
_WITHIN: Final = 100  # changes of an organization that are looked through
_CHECKED: Final = 100  # keys that are looked for in the DNS for one page

type Pem = Annotated[str, Meta(max_length=20_000)]


class ListSigningKeys(Paging, kw_only=True):
    """Filters of keys; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000, description="Only keys of this organization.")] = ""
    domain: Annotated[str, Meta(max_length=253, description="Only keys of this domain.")] = ""
    q: Annotated[
        str, Meta(max_length=1000, description="Only keys with this text in their name, in upper or lower case.")
    ] = ""
    selector: Annotated[str, Meta(max_length=200, description="Only keys with this selector.")] = ""
    state: Annotated[Literal["", "next", "current", "retired"], Meta(description="Only keys in this state.")] = ""
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

    @property
    def dns_check(self) -> RecordCheck | None:
        """Result of the DNS check, None if there was none."""
        return None if self.record is None else RecordCheck(DkimObservation(self.record), self.why)


class ImportDkimKey(msgspec.Struct, kw_only=True):
    """key: the private key, PEM."""

    organization: Annotated[str, Meta(description="Whose it is.")]
    domain: Annotated[str, Meta(description="An accepted domain of the organization, or one below it.")]
    selector: Annotated[str, Meta(description="Of the key.")]
    key: Pem


class PrivateKeyStored(msgspec.Struct):
    """name: of the key whose private half is sealed now, or with dry_run would be."""

    name: str
    dry_run: bool


class KeySelection(ListSelection, frozen=True):
    """The same of DKIM keys. domain, selector, state: only those of it, "" for all."""

    domain: str = ""
    selector: str = ""
    state: str = ""

    def wants(self, key: DkimKey) -> bool:
        """Whether a key is one of them."""
        conditions = (
            (self.domain.lower(), key.domain),
            (self.selector.lower(), key.selector),
            (self.state, str(key.state)),
        )
        return self.names(key.name) and all(wanted in {"", text} for wanted, text in conditions)


class SigningKeyRow(NamedTuple):
    """A key. private: where its private half is, "sealed", "missing" or the path of its file.

    since: when it came to be in its state, seconds since 1970, None if that was not looked for or is too long ago.
    dns_check: what the DNS has of it, None if it was not asked.
    """

    organization: str
    key: DkimKey
    private: str
    since: float | None = None
    dns_check: RecordCheck | None = None


@use_case("GET /dkim_keys", scope=Scope.READ, visibility=Visibility.SEEN, may_404=True)
def list_signing_keys(context: Context, request: ListSigningKeys) -> Items[SigningKey]:
    """DKIM keys of all organizations: their records, where the private halves are, what the DNS has."""
    selection = copy_fields(KeySelection, request, limit=None)
    rows = dkim_keys(context.gateway, context.principal, selection)
    paging = Paging(limit=min(request.limit, _CHECKED), after=request.after) if request.check else request
    page = page_of(rows, lambda row: f"{row.organization}/{row.key.name}", paging, lambda row: row)
    signing_key_rows = with_dns_checks(context.gateway, context.principal, page.items) if request.check else page.items
    return Items([signing_key(row) for row in signing_key_rows], page.after)


@use_case(
    "POST /organizations/{organization}/domains/{domain}/dkim_keys/{selector}/private_key",
    scope=Scope.CONNECTORS,
    visibility=Visibility.ORGANIZATION,
    dry_run=True,
    action="dkim-import",
)
def import_dkim_key(context: Context, request: ImportDkimKey) -> PrivateKeyStored:
    """Seal the private half of a DKIM key that is there.

    For resources that were exported elsewhere, without their private keys.
    """
    name = key_name(request.selector, request.domain)
    context.audit.describe(subject=name)
    part = choose_part(context.seen(), DKIM, name, request.organization)
    pem = request.key.encode()
    signer, key = signer_of(pem), part.record
    if signer.algorithm is not key.algorithm or key.public_key not in {signer.public_key, ""}:
        text = f"this is not the private key of {part.label}: algorithm or public_key differ"
        raise wrong_field("key", "is not the private key of this DKIM key", text)
    with store_and_vault(context.gateway, keys=True) as (store, vault):
        with refusing(RefusalKind.INPUT, DkimKeyError):
            content = DkimKeys(store, vault).sealed(part.organization.name, part.name, pem)
        if not context.dry_run:
            store.apply({}, author=context.principal.name, content=content)
    return PrivateKeyStored(part.name, context.dry_run)


KEY_SORTS: Final[Columns[SigningKeyRow]] = {
    "domain": lambda row: row.key.domain,
    "selector": lambda row: row.key.selector,
    "state": lambda row: _ORDER.index(row.key.state),
    "algorithm": lambda row: str(row.key.algorithm),
    "signs": lambda row: str(row.key.service_type),
    "private": lambda row: row.private,
}
"""Columns by which keys can be sorted: what is known without the DNS and the history."""


class FindSigningKeys(KeySelection, frozen=True):
    """sort: one of KEY_SORTS, with - before it for descending; "" by domain, state and name.

    looks: ask the DNS for the records of these rows, and the history since when.
    """

    sort: str = ""
    looks: bool = False


@use_case(scope=Scope.READ, visibility=Visibility.SEEN)
def find_signing_keys(context: Context, request: FindSigningKeys) -> ListPage[SigningKeyRow]:
    """DKIM keys of all organizations, with what the DNS has of them if that is asked for."""
    rows = dkim_keys(context.gateway, context.principal, request)
    page = request.page(0, sorted_by(rows, request.sort, KEY_SORTS))
    return page.holding(with_dns_checks(context.gateway, context.principal, page.rows)) if request.looks else page


class ViewSigningKey(msgspec.Struct, kw_only=True):
    """looks: as in `FindSigningKeys`."""

    organization: str
    name: str
    looks: bool = False


@use_case(scope=Scope.READ, visibility=Visibility.SEEN)
def view_signing_key(context: Context, request: ViewSigningKey) -> SigningKeyRow:
    """One DKIM key, with what the DNS has of it if that is asked for."""
    return dkim_key(context.gateway, context.principal, request.name, request.organization, check=request.looks)


def dkim_keys(
    gateway: Gateway, principal: Principal, selection: KeySelection | None = None, *, check: bool = False
) -> list[SigningKeyRow]:
    """Keys by organization, domain, state and name. check: ask the DNS for their records, and the history since when.

    Raises Refusal: MISSING if there is no such organization; with check CONFLICT if too many looks are under way.
    """
    selection = selection or KeySelection()
    owners = chosen_organizations(visible(gateway.directory().resources, principal), selection.organization)
    parts = [
        Part(DKIM, owner, key)
        for owner in owners
        for key in sorted(
            owner.dkim_keys, key=lambda candidate: (candidate.domain, _ORDER.index(candidate.state), candidate.name)
        )
        if selection.wants(key)
    ]
    rows = _rows(gateway, parts)
    return with_dns_checks(gateway, principal, rows) if check else rows


def dkim_key(
    gateway: Gateway, principal: Principal, name: str, organization: str = "", *, check: bool = False
) -> SigningKeyRow:
    """The key of that name. Raises Refusal: MISSING, INPUT if it could be several, and as `dkim_keys`."""
    rows = _rows(gateway, [choose_part(visible(gateway.directory().resources, principal), DKIM, name, organization)])
    return (with_dns_checks(gateway, principal, rows) if check else rows)[0]


def with_dns_checks(gateway: Gateway, principal: Principal, rows: Sequence[SigningKeyRow]) -> list[SigningKeyRow]:
    """The same rows with what the DNS has of each now, and since when they are in their state."""
    dns_checks = check_key_records(gateway, principal, [(row.key.name, row.key.record) for row in rows])
    since = {
        (owner, name): at
        for owner in dict.fromkeys(row.organization for row in rows)
        for name, at in _since(
            gateway, principal, owner, {row.key.name for row in rows if row.organization == owner}
        ).items()
    }
    return [
        row._replace(dns_check=dns_check, since=since.get((row.organization, row.key.name)))
        for row, dns_check in zip(rows, dns_checks, strict=True)
    ]


def check_key_records(
    gateway: Gateway, principal: Principal, sought: Sequence[tuple[str, KeyRecord]]
) -> list[RecordCheck]:
    """Compare the DNS record at each name with the expected one.

    Raises Busy; Refusal (INPUT) if no resolver can be made.
    """

    async def ask() -> list[RecordCheck]:
        slots = asyncio.Semaphore(_AT_ONCE)
        async with resolver_of(gateway.settings) as resolver:
            return await asyncio.gather(*(_check_record(resolver, slots, *pair) for pair in sought))

    if not sought:
        return []
    with gateway.kept(DnsChecks).slot(principal):
        return asyncio.run(ask())


def signing_key(row: SigningKeyRow) -> SigningKey:
    """The same as calls have it."""
    key, record = row.key, row.key.record
    return copy_fields(
        SigningKey,
        key,
        row,
        private_key=row.private,
        text=record.text if key.public_key else "",
        zone=record.zone_line(key.name) if key.public_key else "",
        record=str(row.dns_check.seen) if row.dns_check else None,
        why=row.dns_check.why if row.dns_check else "",
    )


def signer_of(pem: bytes) -> Any:
    """A signer with a private key. Raises Refusal (INPUT) if nothing can."""
    with refusing(RefusalKind.INPUT, DkimKeyError, text=f"the key cannot be used: {{error}}; {NOTHING}", field="key"):
        return read_key(pem)


def _rows(gateway: Gateway, parts: Sequence[Part]) -> list[SigningKeyRow]:
    with store_and_vault(gateway, keys=False) as (store, _):
        keys = DkimKeys(store, None)
        return [
            SigningKeyRow(
                part.organization.name,
                part.record,
                part.record.key_file or (SEALED if keys.has_key(part.organization.name, part.name) else MISSING),
            )
            for part in parts
        ]


async def _check_record(resolver: Resolver, slots: asyncio.Semaphore, name: str, expected: KeyRecord) -> RecordCheck:
    if not expected.public_key:
        return RecordCheck(DkimObservation.UNKNOWN, "the resource does not say its public_key")
    async with slots:
        return await seen_record(resolver, name, expected)


def _since(gateway: Gateway, principal: Principal, owner: str, names: set[str]) -> dict[str, float]:
    """When each key of an organization came to be in its state, as far back as is looked."""
    result: dict[str, float] = {}
    left, before, within = set(names), 0, _WITHIN
    while left and within > 0:
        changes = history(gateway, principal, organization=owner, limit=_STEP, before=before)
        for change in changes:
            old, new = _states(change.before), _states(change.after)
            moved = {name for name in left if old.get(name) != new.get(name)}
            result |= dict.fromkeys(moved, change.at)
            left -= moved
        if len(changes) < _STEP:
            break
        before, within = changes[-1].version, within - len(changes)
    return result


def _states(table: dict[str, Any] | None) -> dict[str, str]:
    keys = (table or {}).get(DKIM.key, ())
    return {str(key.get("name")).lower(): str(key.get("state", DkimState.NEXT)) for key in keys}
