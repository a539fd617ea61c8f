"""DKIM keys made, or taken in, and let sign: changes of the resources with the private halves beside them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases import name_lookup
from gatepost.manage.use_cases.change import NOTHING, Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, fields_of, options_of
from gatepost.manage.use_cases.declaration import UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.dkim import Pem, check_key_records, signer_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing
from gatepost.manage.use_cases.resources import part_added, part_set
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.dkim_keys import RSA_BITS, DkimKeyError, DkimKeys, made_key
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import domain_name, parents
from gatepost.policy.connectors.records import Organization  # noqa: TC001 - the declaration reads it
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.protocols.dkim.record import KEY_TYPES, KeyRecord, key_name
from gatepost.times import name_text
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.resources import Resources


_PATH: Final = "/organizations/{organization}/domains/{domain}/dkim_keys"
use_case = use_cases(scope=Scope.CONNECTORS, visibility=Visibility.ORGANIZATION, tag="dkim keys")
_LETTER: Final = {DkimAlgorithm.RSA_SHA256: "r", DkimAlgorithm.ED25519_SHA256: "e"}


type _Owner = Annotated[str, Meta(description="Whose it is.")]
type _Domain = Annotated[str, Meta(description="An accepted domain of the organization, or one below it.")]
type _Selector = Annotated[str, Meta(max_length=200)]


class MakeDkimKey(ChangeRequest, kw_only=True):
    """A key that is wanted.

    selector: "" is made of the month. key: a private key that is there already, PEM; "" to make one, with the
    algorithm. service_type tlsrpt: it signs TLS reports only. current: let it sign at once, without a look at the DNS.
    """

    organization: _Owner
    domain: _Domain
    selector: _Selector = ""
    algorithm: Literal["rsa-sha256", "ed25519-sha256"] = "rsa-sha256"
    service_type: Literal["*", "tlsrpt"] = "*"
    key: Pem = ""
    current: bool = False


class LeaveDkimKey(MakeDkimKey, kw_only=True):
    """A key that stays in its file. key_file: its path. key: what is in it."""

    key_file: str


class RotateDkimKeys(ChangeRequest, kw_only=True):
    """selector: only the next key of this one. force: why, though a record is not seen in the DNS."""

    organization: _Owner
    domain: _Domain
    selector: _Selector = ""
    force: Annotated[str, Meta(max_length=1000)] = ""


class KeyAdded(ChangeReport):
    """A key that was added.

    name: of the key. zone: the line that the DNS needs; of a dry run that of a key that is gone.
    """

    name: str = ""
    zone: str = ""


class NotPublished(Refusal):
    """Not rotated: records of keys are not seen in the DNS, or are others. It is overridden by a reason."""

    def __init__(self, wrong: Sequence[tuple[name_lookup.Part, RecordCheck]]) -> None:
        unknown = all(dns_check.seen is DkimObservation.UNKNOWN for _, dns_check in wrong)
        errors = [
            FieldError(part.name, f"{dns_check}; the zone needs: {part.record.record.zone_line(part.name)}")
            for part, dns_check in wrong
        ]
        text = f"{NOTHING}; to override the check, give a reason, which is recorded"
        super().__init__(RefusalKind.UNREADABLE if unknown else RefusalKind.CONFLICT, text, errors, options=["force"])


@use_case(f"POST {_PATH}", status=201, action="dkim-add", dry_run=True, guarded=True, versioned=True)
def make_dkim_key(context: Context, request: MakeDkimKey) -> UseCaseReply[KeyAdded]:
    """Make a DKIM key, or take one in, and say what the DNS needs.

    The private half is sealed. It is next, and signs once it is rotated to.
    """
    return _added(context, request)


@use_case(visibility=Visibility.GATEWAY, dry_run=True, action="dkim-add")
def leave_dkim_key(context: Context, request: LeaveDkimKey) -> UseCaseReply[KeyAdded]:
    """Take in a DKIM key whose private half stays in its file, on the gateway's machine."""
    context.audit.describe(organization=request.organization, subject=request.domain)
    return _added(context, request, request.key_file)


def _added(context: Context, request: MakeDkimKey, key_file: str = "") -> UseCaseReply[KeyAdded]:
    """Raises Refusal as `change`, INPUT also for a wrong domain or key or without a master key, BLOCKED for a name."""
    gateway, owner = context.gateway, request.organization
    context.audit.describe(current=request.current, brought=bool(request.key))
    domain = key_domain(request.domain)
    pem = request.key.encode() or made_key(DkimAlgorithm(request.algorithm))
    signer = signer_of(pem)
    fields = _fields(request, str(signer.algorithm), signer.public_key, key_file)
    names: list[str] = []

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        organization = name_lookup.choose_organization(resources, owner)
        name = key_name(request.selector or _selector(organization, domain, signer.algorithm), domain)
        added = part_added(name_lookup.DKIM, owner, name, fields, draft)
        names[:] = [name_lookup.DKIM.one_form(name)]
        if not key_file and not context.dry_run:
            added.content = _sealed(gateway, resources.organizations, (owner, names[0]), pem)
        return added

    outcome = change(gateway, context.principal, step, options_of(context, request))
    if signer.bits < RSA_BITS and signer.algorithm is DkimAlgorithm.RSA_SHA256:
        weak = f"an RSA key of {signer.bits} bits is weak; {RSA_BITS} are usual (RFC 8301)"
        outcome = replace(outcome, warnings=[weak, *outcome.warnings])
    context.audit.describe(subject=names[0])
    zone = KeyRecord(signer.public_key, KEY_TYPES[signer.algorithm], (request.service_type,)).zone_line(names[0])
    location = f"/organizations/{quote(owner, safe='')}/dkim_keys/{quote(names[0], safe='')}"
    return UseCaseReply(KeyAdded(**fields_of(context, outcome), name=names[0], zone=zone), outcome.version, location)


@use_case(f"POST {_PATH}/rotate", action="dkim-rotate", dry_run=True, guarded=True, versioned=True)
def rotate_dkim_keys(context: Context, request: RotateDkimKeys) -> UseCaseReply[ChangeReport]:
    """Let the next DKIM keys of a domain sign, and retire the current ones.

    Refused (409) while a record is missing or another, or (503) cannot be looked up, unless force says why; errors has
    what is wrong by name of the key. Asks the DNS, for some seconds.
    """
    force = request.force.strip()
    context.audit.describe(force=force)
    parts = _next(context.seen(), request)
    _check_private(context.gateway, parts)
    if not force:
        _check_records(context, parts)
    options = options_of(context, request)
    note = "; ".join(filter(None, (options.note, f"forced: {force}" if force else "")))

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        done = Edit((parts[0].organization.name,), f"organization.{parts[0].organization.name}")
        for part in parts:
            chosen = name_lookup.choose_part(resources, name_lookup.DKIM, part.name, part.organization.name)
            for other in _current_like(chosen):
                part_set(other, {"state": str(DkimState.RETIRED)}, draft)
            done = part_set(chosen, {"state": str(DkimState.CURRENT)}, draft)
        return done

    outcome = change(context.gateway, context.principal, step, replace(options, note=note))
    context.audit.describe(version=outcome.version)
    return change_reply(context, outcome)


# ------------------------------------------------------------------------------------------------ a new key


def _fields(new: MakeDkimKey, algorithm: str, public_key: str, key_file: str) -> dict[str, str]:
    fields = {
        "algorithm": algorithm,
        "public_key": public_key,
        "state": str(DkimState.CURRENT) if new.current else "",
        "service_type": "" if new.service_type == str(DkimService.ALL) else new.service_type,
        "key_file": key_file,
    }
    return {name: value for name, value in fields.items() if value}


def key_domain(text: str) -> str:
    """The domain that a person names, as A-labels. Raises Refusal (INPUT)."""
    with refusing(RefusalKind.INPUT, ValueError, field="domain"):
        return domain_name(text)


class ChooseKeyOwner(msgspec.Struct, kw_only=True):
    """organization: as it was chosen, "" where it is not."""

    domain: str
    organization: str = ""


@use_case(visibility=Visibility.SEEN)
def choose_key_owner(context: Context, request: ChooseKeyOwner) -> Organization:
    """The organization that a new DKIM key would be of: the one that is chosen, or that accepts the domain."""
    return key_owner(context.seen(), request.organization, request.domain)


def key_owner(resources: Resources, organization: str, domain: str) -> Organization:
    """Owner of a key: the organization that accepts the domain, or the nearest domain above it. Raises Refusal."""
    if not organization:
        domains = [(each, owner) for owner in resources.organizations for each in owner.accepted_domains]
        known = {each.name: owner for each, owner in sorted(domains, key=lambda pair: pair[0].verified)}
        match = next((known[parent] for parent in parents(domain) if parent in known), None)
        if match is not None:
            return match
    return name_lookup.owner_of(resources, organization, domain)


def _selector(owner: Organization, domain: str, algorithm: DkimAlgorithm) -> str:
    """One that says when the key was made, and that no other key of the domain has."""
    taken = {key.selector for key in owner.dkim_keys if key.domain == domain}
    month = name_text(time.time())[:6]
    first = f"gp{month}{_LETTER[algorithm]}"
    return next(text for text in (first, *(f"{first}{number}" for number in range(2, 1000))) if text not in taken)


def _sealed(
    gateway: Gateway, organizations: Iterable[Organization], place: tuple[str, str], pem: bytes
) -> dict[str, bytes]:
    """place: organization and name of the key."""
    with store_and_vault(gateway, keys=True) as (store, vault):
        keys = DkimKeys(store, vault)
        with refusing(RefusalKind.INPUT, DkimKeyError, CertificateFileError, text=f"{{error}}; {NOTHING}"):
            keys.check_master_key(organizations)
            Inventory(store, vault).check_master_key()
            return keys.sealed(*place, pem)


# ------------------------------------------------------------------------------------------------ rotation


def keys_owner(resources: Resources, organization: str, domain: str) -> Organization:
    """Owner of the keys of a domain: the organization that has some already, else the one that accepts the domain.

    Raises Refusal.
    """
    owners = name_lookup.chosen_organizations(resources, organization)
    match = next((owner for owner in owners if any(key.domain == domain.lower() for key in owner.dkim_keys)), None)
    return match or key_owner(resources, organization, domain)


def _next(resources: Resources, rotation: RotateDkimKeys) -> list[name_lookup.Part]:
    """The keys that are to sign. Raises Refusal if there are none, or several of which only one can."""
    domain, selector = rotation.domain.lower(), rotation.selector.lower()
    parts = [
        name_lookup.Part(name_lookup.DKIM, owner, key)
        for owner in name_lookup.chosen_organizations(resources, rotation.organization)
        for key in owner.dkim_keys
        if key.domain == domain and key.state is DkimState.NEXT and selector in {"", key.selector}
    ]
    if not parts:
        which = f"with the selector {selector}" if selector else "yet"
        raise Refusal(RefusalKind.INPUT, f"{domain} has no next key {which}; add one first")
    kinds = [(part.record.algorithm, part.record.service_type) for part in parts]
    if len(set(kinds)) < len(kinds):
        names = ", ".join(part.record.selector for part in parts)
        text = f"{domain} has several next keys of one algorithm ({names}); name one"
        raise Refusal(RefusalKind.INPUT, text, options=["selector"])
    return parts


def _current_like(part: name_lookup.Part) -> list[name_lookup.Part]:
    """The current keys in whose place it signs."""
    key = part.record
    return [
        name_lookup.Part(name_lookup.DKIM, part.organization, dkim_key)
        for dkim_key in part.organization.dkim_keys
        if (dkim_key.domain, dkim_key.algorithm, dkim_key.service_type) == (key.domain, key.algorithm, key.service_type)
        and dkim_key.state is DkimState.CURRENT
    ]


def _check_private(gateway: Gateway, parts: Sequence[name_lookup.Part]) -> None:
    with store_and_vault(gateway, keys=True) as (store, vault):
        keys = DkimKeys(store, vault)
        for part in parts:
            with refusing(RefusalKind.CONFLICT, DkimKeyError, text=f"{{error}}; {NOTHING}"):
                keys.signer(part.organization.name, part.record)


def _check_records(context: Context, parts: Sequence[name_lookup.Part]) -> None:
    sought = [(part.name, part.record.record) for part in parts]
    dns_checks = check_key_records(context.gateway, context.principal, sought)
    wrong = [
        (part, dns_check)
        for part, dns_check in zip(parts, dns_checks, strict=True)
        if dns_check.seen is not DkimObservation.PUBLISHED
    ]
    if wrong:
        raise NotPublished(wrong)
