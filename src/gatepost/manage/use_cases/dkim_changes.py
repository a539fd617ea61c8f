"""DKIM keys made, or taken in, and let sign: changes of the resources with the private halves beside them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.analysis.checks.dkim_record import Seen
from gatepost.manage.use_cases.change import NOTHING, Edit, change
from gatepost.manage.use_cases.choice import choose_part, chosen_organizations, owner_of, visible
from gatepost.manage.use_cases.dkim import look, signer_of
from gatepost.manage.use_cases.parts import DKIM, Part
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import part_added, part_set
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.certificates.dkim_keys import RSA_BITS, DkimKeyError, DkimKeys, made_key
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import domain_name, parents
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.protocols.dkim.record import KEY_TYPES, KeyRecord, key_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.analysis.checks.dkim_record import RecordSight
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.change import Outcome, Wish
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.connectors.model import Resources
    from gatepost.policy.connectors.records import Organization


_LETTER: Final = {DkimAlgorithm.RSA_SHA256: "r", DkimAlgorithm.ED25519_SHA256: "e"}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is wanted.

    organization: "" is the one that accepts the domain, or one above it. selector: "" is made of the month. algorithm:
    of a key that is made. pem: a private key that is there already, b"" to make one; source: where that is from, for
    errors. key_file: where it stays, and nothing of it is stored. current: let it sign at once.
    """

    domain: str
    organization: str = ""
    selector: str = ""
    algorithm: DkimAlgorithm = DkimAlgorithm.RSA_SHA256
    service_type: DkimService = DkimService.ALL
    current: bool = False
    pem: bytes = b""
    source: str = ""
    key_file: str = ""


class AddedKey(NamedTuple):
    """What came of it. name: of the key. zone: the line that the DNS needs; with a dry run that of a key now gone."""

    outcome: Outcome
    name: str
    zone: str


class Rotation(NamedTuple):
    """Which next keys are to sign. selector: "" for every one of the domain. force: why, though records lack."""

    domain: str
    selector: str = ""
    organization: str = ""
    force: str = ""


class NotPublished(Refusal):
    """Not rotated: records of keys are not seen in the DNS, or are others. It is overridden by a reason."""

    def __init__(self, wrong: Sequence[tuple[Part, RecordSight]]) -> None:
        unknown = all(sight.seen is Seen.UNKNOWN for _, sight in wrong)
        errors = [
            FieldError(part.name, f"{sight}; the zone needs: {part.record.record.zone_line(part.name)}")
            for part, sight in wrong
        ]
        text = f"{NOTHING}; a reason overrides it, and is kept"
        super().__init__(Kind.UNREADABLE if unknown else Kind.CONFLICT, text, errors, options=["force"])


def add_key(gateway: Gateway, who: Principal, new: NewKey, wish: Wish) -> AddedKey:
    """Make a key for a domain, or take one in; it is next until it is let sign, unless it is to be current.

    Raises Refusal: INPUT for a wrong domain or key, or without a master key; BLOCKED if the name is taken; and as
    `change`.
    """
    domain = key_domain(new.domain)
    pem = new.pem or made_key(new.algorithm)
    signer = signer_of(pem, new.source or "the key")
    fields = _fields(new, str(signer.algorithm), signer.public_key)
    names: list[str] = []

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        owner = key_owner(resources, new.organization, domain)
        name = key_name(new.selector or _selector(owner, domain, signer.algorithm), domain)
        added = part_added(DKIM, owner.name, name, fields, draft)
        names[:] = [DKIM.one_form(name)]
        if not new.key_file and not wish.dry_run:
            added.content = _sealed(gateway, resources.organizations, (owner.name, names[0]), pem)
        return added

    outcome = change(gateway, who, step, wish)
    if signer.bits < RSA_BITS and signer.algorithm is DkimAlgorithm.RSA_SHA256:
        weak = f"an RSA key of {signer.bits} bits is weak; {RSA_BITS} are usual (RFC 8301)"
        outcome = replace(outcome, warnings=[weak, *outcome.warnings])
    record = KeyRecord(signer.public_key, KEY_TYPES[signer.algorithm], (str(new.service_type),))
    return AddedKey(outcome, names[0], record.zone_line(names[0]))


def rotate_keys(gateway: Gateway, who: Principal, rotation: Rotation, wish: Wish) -> Outcome:
    """Let next keys of a domain sign and retire the current ones of the same kind, in one step.

    Raises NotPublished; Refusal: INPUT if there is no next key, or several of which one can sign, CONFLICT if a
    private key cannot be opened; and as `change`.
    """
    parts = _next(visible(gateway.directory().resources, who), rotation)
    _check_private(gateway, parts)
    if not rotation.force:
        _check_records(gateway, parts)
    note = "; ".join(filter(None, (wish.note, f"forced: {rotation.force}" if rotation.force else "")))

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        done = Edit((parts[0].organization.name,), f"organization.{parts[0].organization.name}")
        for part in parts:
            found = choose_part(resources, DKIM, part.name, part.organization.name)
            for other in _current_like(found):
                part_set(other, [f"state={DkimState.RETIRED}"], draft)
            done = part_set(found, [f"state={DkimState.CURRENT}"], draft)
        return done

    return change(gateway, who, step, replace(wish, note=note))


# ------------------------------------------------------------------------------------------------ a new key


def _fields(new: NewKey, algorithm: str, public_key: str) -> list[str]:
    return [
        f"algorithm={algorithm}",
        f"public_key={public_key}",
        *([f"state={DkimState.CURRENT}"] if new.current else []),
        *([f"service_type={new.service_type}"] if new.service_type is not DkimService.ALL else []),
        *([f"key_file={new.key_file}"] if new.key_file else []),
    ]


def key_domain(text: str) -> str:
    """The domain that a person names, as A-labels. Raises Refusal (INPUT)."""
    try:
        return domain_name(text)
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error), [FieldError("domain", str(error))]) from error


def key_owner(resources: Resources, organization: str, domain: str) -> Organization:
    """Whose a key is: of the organization that accepts the domain, or the nearest one above it. Raises Refusal."""
    if not organization:
        domains = [(each, one) for one in resources.organizations for each in one.accepted_domains]
        known = {each.name: one for each, one in sorted(domains, key=lambda pair: pair[0].verified)}
        found = next((known[parent] for parent in parents(domain) if parent in known), None)
        if found is not None:
            return found
    return owner_of(resources, organization, domain)


def _selector(owner: Organization, domain: str, algorithm: DkimAlgorithm) -> str:
    """One that says when the key was made, and that no other key of the domain has."""
    taken = {key.selector for key in owner.dkim_keys if key.domain == domain}
    month = dt.datetime.now(dt.UTC).strftime("%Y%m")
    first = f"gp{month}{_LETTER[algorithm]}"
    return next(one for one in (first, *(f"{first}{number}" for number in range(2, 1000))) if one not in taken)


def _sealed(
    gateway: Gateway, organizations: Iterable[Organization], place: tuple[str, str], pem: bytes
) -> dict[str, bytes]:
    """place: organization and name of the key."""
    with store_and_vault(gateway, keys=True) as (store, vault):
        keys = DkimKeys(store, vault)
        try:
            keys.check_master_key(organizations)
            Inventory(store, vault).check_master_key()
            return keys.sealed(*place, pem)
        except (DkimKeyError, CertificateFileError) as error:
            raise Refusal(Kind.INPUT, f"{error}; {NOTHING}") from error


# ------------------------------------------------------------------------------------------------ rotation


def _next(resources: Resources, rotation: Rotation) -> list[Part]:
    """The keys that are to sign. Raises Refusal if there are none, or several of which only one can."""
    domain, selector = rotation.domain.lower(), rotation.selector.lower()
    found = [
        Part(DKIM, owner, key)
        for owner in chosen_organizations(resources, rotation.organization)
        for key in owner.dkim_keys
        if key.domain == domain and key.state is DkimState.NEXT and selector in {"", key.selector}
    ]
    if not found:
        which = f"with the selector {selector}" if selector else "yet"
        raise Refusal(Kind.INPUT, f"{domain} has no next key {which}; make one first")
    kinds = [(part.record.algorithm, part.record.service_type) for part in found]
    if len(set(kinds)) < len(kinds):
        names = ", ".join(part.record.selector for part in found)
        text = f"{domain} has several next keys of one algorithm ({names}); say which"
        raise Refusal(Kind.INPUT, text, options=["selector"])
    return found


def _current_like(part: Part) -> list[Part]:
    """The current keys in whose place it signs."""
    key = part.record
    return [
        Part(DKIM, part.organization, one)
        for one in part.organization.dkim_keys
        if (one.domain, one.algorithm, one.service_type) == (key.domain, key.algorithm, key.service_type)
        and one.state is DkimState.CURRENT
    ]


def _check_private(gateway: Gateway, parts: Sequence[Part]) -> None:
    with store_and_vault(gateway, keys=True) as (store, vault):
        keys = DkimKeys(store, vault)
        for part in parts:
            try:
                keys.signer(part.organization.name, part.record)
            except DkimKeyError as error:
                raise Refusal(Kind.CONFLICT, f"{error}; {NOTHING}") from error


def _check_records(gateway: Gateway, parts: Sequence[Part]) -> None:
    sights = look(gateway, [(part.name, part.record.record) for part in parts])
    wrong = [(part, sight) for part, sight in zip(parts, sights, strict=True) if sight.seen is not Seen.PUBLISHED]
    if wrong:
        raise NotPublished(wrong)
