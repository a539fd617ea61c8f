"""Verify an accepted domain: its state, the TXT record that proves it, and looking that record up.

A record is looked for with the gateway's own resolver, when somebody asks. Used by `gatepost domain verify`, over REST
and by the page of a domain.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import NOTHING, Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.declaration import UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.domain_proof import DomainProof, domain_proof
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.name_lookup import DOMAIN, Part, choose_part
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind, refusing
from gatepost.policy.logins.throttle import Throttle
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

if TYPE_CHECKING:
    from dns.rdata import Rdata
    from dns.rdtypes.txtbase import TXTBase

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.resources import Resources
    from gatepost.settings.model import Settings


use_case = use_cases(visibility=Visibility.ORGANIZATION, tag="accepted domains")
_SECONDS: Final = 30.0  # for one record, however slow its nameservers are
_SHOWN: Final = 5
_WIDTH: Final = 100


type _Owner = Annotated[str, Meta(description="Whose it is.")]
type _Domain = Annotated[str, Meta(description='An accepted domain of the organization, or "*.domain".')]


class GetDomainVerification(msgspec.Struct, kw_only=True):
    """An accepted domain."""

    organization: _Owner
    domain: _Domain


class VerifyDomain(ChangeRequest, kw_only=True):
    """An accepted domain that is pending."""

    organization: _Owner
    domain: _Domain


class ProofRecord(msgspec.Struct):
    """A TXT record. name: where it stands. text: what it says."""

    name: str
    text: str


class DomainVerification(msgspec.Struct):
    """Whether a domain is verified, and the record that proves it. zone: the same as a line of a zone file."""

    organization: str
    domain: str
    verified: bool
    record: ProofRecord
    zone: str


class ProofLookups:
    """Bounds look-ups of TXT records: how many at a time, and how often one."""

    def __init__(self, _: Settings) -> None:
        self.limit = ConcurrencyLimit(4, 1, "other domains are being looked up: try again when that has ended")
        self.throttle = Throttle(time.monotonic, free=5, longest=300.0)


@use_case("GET /organizations/{organization}/domains/{domain}/verification", scope=Scope.READ)
def get_domain_verification(context: Context, request: GetDomainVerification) -> DomainVerification:
    """Whether an accepted domain is verified, and the TXT record that proves it."""
    part = _part(context, request)
    proof = _proof(context.gateway, part)
    record = ProofRecord(proof.name, proof.text)
    return DomainVerification(part.organization.name, part.name, part.record.verified, record, proof.zone_line)


@use_case(
    "POST /organizations/{organization}/domains/{domain}/verify",
    scope=Scope.CONNECTORS,
    dry_run=True,
    guarded=True,
    versioned=True,
    action="domain-verify",
)
def verify_domain(context: Context, request: VerifyDomain) -> UseCaseReply[ChangeReport]:
    """Look for the TXT record of a pending domain, and verify the domain if it is there.

    Refused (409) while the record is not there, with what was seen, or (503) if the DNS does not answer. Asks the DNS,
    for some seconds.
    """
    part = _part(context, request)
    proof = _proof(context.gateway, part)
    if not part.record.verified:
        _found(context, part, proof)
    options = options_of(context, request)
    options = options if options.note else replace(options, note=f"verified by its TXT record at {proof.name}")

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        current = choose_part(resources, DOMAIN, part.name, part.organization.name)
        owner, place = current.organization.name, current.place
        if not current.record.verified:
            del draft[owner]["accepted_domain"][place]["verified"]
        path = f"organization.{owner}.accepted_domain[{place}] {current.name!r}"
        return Edit((owner,), path, names=(current.name,), proven=(current.name,))

    outcome = change(context.gateway, context.principal, step, options)
    context.audit.describe(version=outcome.version)
    return change_reply(context, outcome)


def _part(context: Context, request: GetDomainVerification | VerifyDomain) -> Part:
    return choose_part(context.seen(), DOMAIN, request.domain, request.organization)


def _proof(gateway: Gateway, part: Part) -> DomainProof:
    with (
        refusing(RefusalKind.UNREADABLE, StoreFailure, text="{data}: {error}", data=gateway.data),
        gateway.config() as store,
    ):
        return domain_proof(store, part.organization.name, part.name)


def _found(context: Context, part: Part, proof: DomainProof) -> None:
    """Raises Refusal if the record is not there."""
    key = f"{part.organization.name}/{part.name}"
    lookups = context.kept(ProofLookups)
    throttle = lookups.throttle
    if (wait := throttle.wait(key)) > 0:
        raise BusyRefusal(f"{proof.name} was looked up too often; try again in {wait:.0f} s", round(wait) + 1)
    throttle.charge(key)
    with lookups.limit.slot(context.principal.share_key):
        texts = _looked_up(context.settings, proof.name)
    if proof.text in texts:
        throttle.forgive(key, everything=True)
        return
    shown = ", ".join(ascii(value[:_WIDTH]) for value in texts[:_SHOWN])
    owner = f", or write verified=true if you know whose {part.name} is" if context.principal.is_of_gateway else ""
    text = (
        f"{part.name} is not verified: TXT {proof.name} was looked up, and it has {shown or 'no record'}. Put into the "
        f"zone: {proof.zone_line} - and try again once your nameservers and the gateway's resolver show it{owner}; "
        f"{NOTHING}"
    )
    raise Refusal(
        RefusalKind.CONFLICT, text, more={"record": {"name": proof.name, "text": proof.text}, "seen": texts[:_SHOWN]}
    )


def _looked_up(settings: Settings, name: str) -> list[str]:
    """The texts of the TXT records of a name, [] if it has none. Raises Refusal (INPUT, UNREADABLE)."""
    from gatepost.manage.use_cases.listener_checks import resolver_of  # noqa: PLC0415 - what it imports takes long
    from gatepost.net.lookups.question import LookupFailed  # noqa: PLC0415

    async def ask() -> list[str]:
        async with resolver_of(settings) as resolver, asyncio.timeout(_SECONDS):
            answer = await resolver.query(name, "TXT")
        return [_text(record) for record in answer.records]

    try:
        return asyncio.run(ask())
    except LookupFailed as failure:
        text = f"TXT {name} could not be looked up: {failure.detail}; {NOTHING}, try again later"
        raise Refusal(RefusalKind.UNREADABLE, text) from failure
    except TimeoutError as error:
        text = f"TXT {name} could not be looked up: no answer in {_SECONDS:.0f} s; {NOTHING}, try again later"
        raise Refusal(RefusalKind.UNREADABLE, text) from error


def _text(record: Rdata) -> str:
    return b"".join(cast("TXTBase", record).strings).decode("ascii", "replace")
