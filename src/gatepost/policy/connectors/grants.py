"""The gateway owner's grants: which resource values may use which of the machine's files and networks.

A field whose type is marked `fields.Owned` may hold a value that names a file, a socket or a host. Only principals of
the gateway may write one of the machine, and a host that a tenant wrote is bound by [network] tenants_may_reach. For
each organization a document of kind "grant" is stored with every change: the values that need a grant and have it, with
the field and the resource that each stands in. A value that is moved elsewhere is another one. Stored resources are
read by `resources_in_force` alone, which leaves what is not granted without effect. Pure.

An organization without such a document was stored by a version that did not know of grants: all of it is granted.

A grant is for one value at one place, for what it was granted for. The certificate of a connector proves possession of
the gateway's key to whoever its smart hosts are, so that who moves those moves the grant. As long as a resource uses
what is the machine's, tenants change of it what `_FREE` names, and nothing else: a new field is held until somebody
thought about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.fields import Access, Owned
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.names import resource_label
from gatepost.policy.connectors.record_base import Record, owned_marker, record_in
from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.resources import PrefixLimits, Resources
from gatepost.policy.connectors.trust_anchors import is_pem, pem_certificates
from gatepost.policy.connectors.values import QuarantineRelease
from gatepost.texts import own

if TYPE_CHECKING:
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule


_FOR_PEOPLE: Final = frozenset({"comment", "enabled", "priority"})
_FREE: Final[Mapping[str, frozenset[str]]] = {
    # Mail for the domain alone is judged by its source of recipients; what is asked of a directory stays as it is.
    "accepted_domain": frozenset(
        {
            "name",
            "type",
            "recipient_validation",
            "recipients",
            "recipient_validation_unavailable",
            "verified",
            "mta_sts",
            "mta_sts_mx",
            "mta_sts_max_age",
        }
    ),
    # LMTP names the mailbox's own address, whatever alias mail came for; what is forwarded does not pass the socket.
    "mailbox": frozenset(
        {"address", "aliases", "forwarding_smtp_address", "deliver_to_mailbox_and_forward", "tls_reports"}
    ),
    "inbound_connector": _FOR_PEOPLE | {"name", "mode"},
    # Not mode: in rehearsal the next hop need not be who it should be. Another certificate needs a grant of its own.
    "outbound_connector": _FOR_PEOPLE | {"name", "client_certificate", "encrypt", "sign"},
    "oauth_issuer": _FOR_PEOPLE | {"name"},
    "content_hook": _FOR_PEOPLE
    | {"name", "mode", "direction", "timeout", "on_failure", "over_max_size", "obey", "quarantine", "change_header"},
    "dkim_key": _FOR_PEOPLE | {"name", "state"},
    "mail_flow_rule": _FOR_PEOPLE | {"name"},
}
"""The fields that a tenant may change in a resource with granted files. A name is here as a grant is by name."""


class Holder(msgspec.Struct, frozen=True):
    """A resource that uses what is granted of the machine.

    key: of the list that it is in. path: as errors name it. fields: those that hold what is granted, and what a tenant
    can write there instead.
    """

    key: str
    path: str
    before: Record
    after: Record
    fields: dict[str, str]

    @property
    def advice(self) -> str:
        """Say who may decide this, and what else the tenant can do."""
        field, instead = next(iter(self.fields.items()))
        said = f"the gateway's owner granted {field} for the present destination only; ask the owner"
        return f"{said}, or for {field} {own(instead)}" if instead else said


def moved(holder: Holder) -> Iterator[FieldError]:
    """Yield an error for each field of the resource that a tenant changed and may not change."""
    for field in _changed(holder.key, holder.before, holder.after):
        if field not in holder.fields:
            yield FieldError(f"{holder.path}.{field}", f"you may not change this: {holder.advice}")


def moved_rules(before: Organization, after: Organization, holders: Mapping[str, Holder]) -> Iterator[FieldError]:
    """Rules of a tenant that send other mail by a connector that holds a grant, and goes wherever a domain's MX leads.

    holders: outbound connectors, by their names in lower case.
    """
    known = {rule.name.lower(): rule for rule in before.mail_flow_rules}
    for place, rule in enumerate(after.mail_flow_rules):
        holder = holders.get(rule.route_via_connector.lower())
        if holder is None or not _by_mx(holder.after) or not _is_new(known.get(rule.name.lower()), rule):
            continue
        path = f"organization.{after.name}.mail_flow_rule[{place}] {rule.name!r}.route_via_connector"
        name = rule.route_via_connector
        yield FieldError(path, f"would route other mail by the MX connector {name!r}: {holder.advice}")


def turned_to_mx(before: Record, after: Record) -> bool:
    """Whether MX records say where a connector leads now, and did not before."""
    return _by_mx(after) and not _by_mx(before)


def _is_new(before: MailFlowRule | None, after: MailFlowRule) -> bool:
    return before is None or any(_changed("mail_flow_rule", before, after))


def _changed(key: str, before: Record, after: Record) -> Iterator[str]:
    for field in type(after).model_fields:
        if field not in _FREE[key] and getattr(before, field) != getattr(after, field):
            yield field


def _by_mx(connector: Record) -> bool:
    return bool(getattr(connector, "use_mx_record", False))


GRANT: Final = "grant"
"""The kind of the documents that say what is granted, each by the name of its organization."""

STORED_KINDS: Final = ("organization", GRANT)
"""The kinds of records that are read from the store together, in one transaction."""

UNGRANTED_PATH: Final = "/dev/null/not granted by the gateway's owner"
"""In place of a path that is not granted: below what is not a directory nothing can be opened, made or connected to."""

_LIMITS: Final = (
    "user_messages_per_day",
    "user_recipients_per_day",
    "server_messages_per_day",
    "server_recipients_per_day",
)

TENANTS_CHOOSE: Final = ("", "tenants")
"""In `ungranted` of an organization that tenants change: the hosts that its mail goes to by MX are theirs to choose."""


class Grant(NamedTuple):
    """One value of one field of one resource. part: key of the list that the resource is in, such as "mailbox"."""

    part: str
    name: str
    field: str
    value: str


class Ungranted(NamedTuple):
    """A value that no owner granted. access: one of MACHINE has no effect; one of NETWORK is bound."""

    organization: str
    grant: Grant
    access: Access


class _Use(NamedTuple):
    """A value that needs a grant, and where it stands. path: as errors name it."""

    grant: Grant
    access: Access
    path: str
    instead: str


def resources_in_force(document: Mapping[str, Any], *, prefixes: PrefixLimits | None = None) -> Resources:
    """The resources of what was stored (`STORED_KINDS`), with what is not granted marked. Raises ResourceErrors."""
    named = {"organization": document.get("organization", {})}
    return mark(parse(named, prefixes=prefixes), document.get(GRANT, {}))


def mark(resources: Resources, stored: Mapping[str, Any]) -> Resources:
    """The same resources, with what is not granted marked. stored: the documents of grants by organization."""
    return Resources(
        tuple(_marked(organization, stored.get(organization.name)) for organization in resources.organizations)
    )


def decide(
    before: Organization | None, after: Organization, stored: Mapping[str, Any] | None, *, by_owner: bool
) -> tuple[dict[str, Any], list[FieldError]]:
    """Decide which values are granted after a change, in stored form, and which its author may not write.

    stored: the document before it, None if there was none. by_owner: a principal of the gateway makes the change, which
    grants what it writes; what stood there before, and was not granted, is not granted by being repeated. A tenant
    repeats what is granted, and does not lead it elsewhere (`policy.connectors.grants`).
    """
    old = {use.grant for use in _uses(before)} if before is not None else set()
    granted = old if stored is None else _granted(stored)
    granted = granted if by_owner else granted & old
    kept, errors = [], []
    for use in _uses(after):
        if use.grant in granted or (by_owner and use.grant not in old):
            kept.append(use.grant)
        elif not by_owner and use.access is Access.MACHINE:
            errors.append(FieldError(use.path, _not_yours(use)))
    if not by_owner:
        errors += _limits_changed(before, after)
    if before is not None and not by_owner:
        errors += _loosened(before, after)
        errors += _moved(before, after, set(kept))
        turned = _turned_to_mx(before, after)
        kept = [grant for grant in kept if grant.field != "recipient_domains" or grant[:2] not in turned]
    tenants = not by_owner or (stored is not None and stored.get("tenants") is True)
    return _document(kept, tenants=tenants), errors


def first_grants(resources: Resources, stored: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For organizations that have no document of grants: one that grants all that stands there, by name."""
    return {
        organization.name: _document((use.grant for use in _uses(organization)), tenants=False)
        for organization in resources.organizations
        if organization.name not in stored
    }


def ungranted(resources: Resources) -> Iterator[Ungranted]:
    """Values that no owner of the gateway granted, of those that need it, in the order in which they stand."""
    for organization in resources.organizations:
        parts = _parts(organization)
        for use in _uses(organization):
            record = parts[use.grant.part, use.grant.name]
            by_hosts = use.grant.field == "recipient_domains" and not getattr(record, "use_mx_record", True)
            if (use.grant.field, use.grant.value) in record.ungranted and not by_hosts:
                yield Ungranted(organization.name, use.grant, use.access)


def ungranted_paths(resources: Resources) -> Iterator[str]:
    """Those that name something of the machine and have no effect, a sentence each, for the gateway's owner."""
    for organization, (part, name, field, value), access in ungranted(resources):
        if access is Access.MACHINE:
            yield (
                f"{field} of the {own(resource_label(part, name, organization))} names {value!r}, which no owner of "
                "this gateway has granted: it has no effect, and mail that needs it waits; grant it with `gatepost "
                "grant add`, or remove it"
            )


def with_grant(stored: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    """The document of an organization's grants with one more."""
    return _document({*_granted(stored), grant}, tenants=stored.get("tenants") is True)


def _loosened(before: Organization, after: Organization) -> Iterator[FieldError]:
    """Who may release mail from the quarantine is no longer a tenant's word, once that is for the gateway alone."""
    if before.quarantine_release is QuarantineRelease.GATEWAY is not after.quarantine_release:
        text = "only an administrator of the whole gateway may let the organization release its quarantine again"
        yield FieldError(f"organization.{after.name}.quarantine_release", text)


def _moved(before: Organization, after: Organization, granted: set[Grant]) -> Iterator[FieldError]:
    """Yield an error for each change of a tenant that would redirect what is granted of the machine."""
    holders: dict[tuple[str, str], Holder] = {}
    parts_before, parts_after = _parts(before), _parts(after)
    for use in _uses(after):
        part, name, field, _ = use.grant
        if use.access is Access.MACHINE and use.grant in granted:
            path = use.path.removesuffix(f".{field}")
            known = Holder(part, path, parts_before[part, name], parts_after[part, name], {})
            holders.setdefault((part, name), known).fields[field] = use.instead
    for holder in holders.values():
        yield from moved(holder)
    connectors = {name: holder for (part, name), holder in holders.items() if part == "outbound_connector"}
    yield from moved_rules(before, after, connectors)


def _limits_changed(before: Organization | None, after: Organization) -> Iterator[FieldError]:
    """Yield an error for each change of a tenant to what the gateway's owner lets its users and servers send."""
    for field in _LIMITS:
        if getattr(after, field) != (getattr(before, field) if before is not None else 0):
            yield FieldError(
                f"organization.{after.name}.{field}",
                "only the gateway's owner may change it; a mailbox or an inbound connector can have a lower limit",
            )


def _turned_to_mx(before: Organization, after: Organization) -> set[tuple[str, str]]:
    """Connectors that MX records lead now: what the owner wrote for smart hosts says nothing of other hosts."""
    known = _parts(before)
    return {place for place, record in _parts(after).items() if place in known and turned_to_mx(known[place], record)}


def _not_yours(use: _Use) -> str:
    what = "names a file or socket of the gateway's machine, which only the gateway's owner may write"
    return f"{what}; {use.instead}" if use.instead else what


def _document(granted: Iterable[Grant], *, tenants: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"granted": [list(grant) for grant in sorted(granted)]}
    return found | {"tenants": True} if tenants else found


def _granted(stored: Mapping[str, Any]) -> set[Grant]:
    listed = stored.get("granted", ())
    rows = listed if isinstance(listed, Sequence) else ()
    return {Grant(*map(str, row)) for row in rows if isinstance(row, Sequence) and len(row) == len(Grant._fields)}


# ------------------------------------------------------------------------------------------------ what needs a grant


@cache
def _owned(model: type[Record]) -> tuple[tuple[tuple[str, ...], Owned], ...]:
    """The marked fields of a table, and of the tables in it, by the names of their attributes."""
    pairs: list[tuple[tuple[str, ...], Owned]] = []
    for name, info in model.model_fields.items():
        inner = record_in(info.annotation)
        if inner is not None and issubclass(inner, Record):
            pairs += [((name, *rest), owned) for rest, owned in _owned(inner)]
        elif (owned := owned_marker(info)) is not None:
            pairs.append(((name,), owned))
    return tuple(pairs)


def _uses(organization: Organization) -> Iterator[_Use]:
    here = f"organization.{organization.name}"
    for name, info in Organization.model_fields.items():
        model = record_in(info.annotation) if info.alias is not None else None
        if model is None or not issubclass(model, Record) or not _owned(model):
            continue
        for place, part in enumerate(getattr(organization, name)):
            identity = _identity(part)
            for grant, access, instead in _uses_of(part, info.alias or "", identity):
                yield _Use(grant, access, f"{here}.{info.alias}[{place}] {identity!r}.{grant.field}", instead)


def _uses_of(part: Record, key: str, identity: str) -> Iterator[tuple[Grant, Access, str]]:
    for names, owned in _owned(type(part)):
        field = ".".join(names)
        for value in _written(part, names):
            access = owned.access(value)
            if access is not None and not value.endswith(UNGRANTED_PATH):
                yield Grant(key, identity.lower(), field, value), access, owned.instead
        for marked, value in part.ungranted:
            # What was put out of force stands there all the same.
            if marked == field and owned.access(value) is Access.MACHINE:
                yield Grant(key, identity.lower(), field, value), Access.MACHINE, owned.instead


def _identity(part: Record) -> str:
    return str(getattr(part, "name", "") or getattr(part, "address", ""))


def _written(part: Record, names: Sequence[str]) -> Iterator[str]:
    value: Any = part
    for name in names:
        value = None if value is None else getattr(value, name)
    if isinstance(value, tuple):
        yield from map(str, value)
    elif value is not None:
        yield str(value)


def _parts(organization: Organization) -> dict[tuple[str, str], Record]:
    """The resources of an organization by the key of their list and their identity, as a `Grant` names them."""
    found: dict[tuple[str, str], Record] = {}
    for name, info in Organization.model_fields.items():
        if info.alias is not None:
            for part in getattr(organization, name):
                found.setdefault((info.alias, _identity(part).lower()), part)
    return found


# ------------------------------------------------------------------------------------------------ what is not granted


def _marked(organization: Organization, stored: Mapping[str, Any] | None) -> Organization:
    if stored is None:
        return organization
    granted = _granted(stored)
    lists: dict[str, Any] = {}
    for name, info in Organization.model_fields.items():
        model = record_in(info.annotation) if info.alias is not None else None
        if model is None or not issubclass(model, Record) or not _owned(model):
            continue
        lists[name] = tuple(_marked_part(part, info.alias or "", granted) for part in getattr(organization, name))
    tenants = frozenset({TENANTS_CHOOSE}) if stored.get("tenants") is True else frozenset()
    return organization.with_ungranted(tenants, {name: parts for name, parts in lists.items() if parts})


def _marked_part[P: Record](part: P, key: str, granted: set[Grant]) -> P:
    lacking = [(grant, access) for grant, access, _ in _uses_of(part, key, _identity(part)) if grant not in granted]
    if not lacking:
        return part
    ungranted = frozenset((grant.field, grant.value) for grant, _ in lacking)
    update: dict[str, Any] = {}
    for grant, access in lacking:
        if access is Access.MACHINE:
            outer, _, inner = grant.field.partition(".")
            held = update.get(outer, getattr(part, outer))
            update[outer] = (
                held.model_copy(update={inner: _blocked(getattr(held, inner), grant.value)})
                if inner
                else _blocked(held, grant.value)
            )
    return part.with_ungranted(ungranted, update)


def _blocked(held: Any, value: str) -> Any:
    """What a field holds instead of a value that is not granted: a list the others, for a socket the field's form."""
    if isinstance(held, tuple):
        return tuple(other for other in held if str(other) != value)
    form = next((form for form in ("lmtp:unix:", "unix:") if value.startswith(form)), "")
    return f"{form}{UNGRANTED_PATH}"


class AnchorOrigins(NamedTuple):
    """tenants: DER of those that only organizations name which tenants change. places: files that others name."""

    tenants: frozenset[bytes]
    places: frozenset[str]


def anchor_origins(organizations: Iterable[Organization]) -> AnchorOrigins:
    """Find out who names which trust anchors in connectors, enabled or not.

    A file is always the gateway's owner's word: one that no owner granted has no effect (`policy.connectors.grants`).
    """
    named: dict[bool, set[str]] = {True: set(), False: set()}
    for organization in organizations:
        texts = named[TENANTS_CHOOSE in organization.ungranted]
        texts |= {connector.trust_anchors for connector in organization.inbound_connectors}
        texts |= {connector.trust_anchors for connector in organization.outbound_connectors}
    tenants = _certificates(named[True])
    if tenants:  # else nothing of the others matters, and there may be thousands
        tenants -= _certificates(named[False])
    places = {text for text in named[True] | named[False] if text and not is_pem(text)}
    return AnchorOrigins(tenants, frozenset(places))


def _certificates(texts: Iterable[str]) -> frozenset[bytes]:
    return frozenset(der for text in texts if is_pem(text) for der in pem_certificates(text))
