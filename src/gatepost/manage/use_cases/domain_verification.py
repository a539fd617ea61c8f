"""Whether an accepted domain is verified, which TXT record proves it, and looking for that record.

A record is looked for with the gateway's own resolver, when somebody asks. Used by `gatepost domain verify`, over REST
and by the page of a domain.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from gatepost.manage.use_cases.change import NOTHING, Edit, change
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.domain_proof import domain_proof
from gatepost.manage.use_cases.parts import DOMAIN
from gatepost.manage.use_cases.refusal import Busy, Kind, Refusal
from gatepost.manage.use_cases.resources import seen
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from dns.rdata import Rdata
    from dns.rdtypes.txtbase import TXTBase

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.change import Outcome, Wish
    from gatepost.manage.use_cases.domain_proof import DomainProof
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.parts import Part
    from gatepost.policy.connectors.model import Resources


_SECONDS: Final = 30.0  # for one record, however slow its nameservers are
_SHOWN: Final = 5
_WIDTH: Final = 100


def domain_verification(gateway: Gateway, who: Principal, name: str, organization: str = "") -> dict[str, Any]:
    """Whether a domain is verified, and the record that proves it. Asks nobody.

    Raises Refusal: MISSING if there is no such domain, INPUT if it could be several, UNREADABLE.
    """
    part = choose_part(seen(gateway, who), DOMAIN, name, organization)
    proof = _proof(gateway, part)
    return {
        "organization": part.organization.name,
        "domain": part.name,
        "verified": part.record.verified,
        "record": {"name": proof.name, "text": proof.text},
        "zone": proof.zone_line,
    }


def verify_domain(gateway: Gateway, who: Principal, name: str, organization: str, wish: Wish) -> Outcome:
    """Look for the record of a pending domain, and verify the domain if it is there. Takes seconds.

    Raises Refusal: MISSING if there is no such domain; CONFLICT if the record is not there, with what was seen; INPUT
    if it could be several, or another organization's verified domain overlaps; UNREADABLE if the DNS does not answer,
    or a file cannot be read; Busy if too many look-ups are under way, or the domain was looked up too often.
    """
    part = choose_part(seen(gateway, who), DOMAIN, name, organization)
    proof = _proof(gateway, part)
    if not part.record.verified:
        _found(gateway, who, part, proof)
    wish = wish if wish.note else replace(wish, note=f"verified by its TXT record at {proof.name}")

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        current = choose_part(resources, DOMAIN, part.name, part.organization.name)
        owner, place = current.organization.name, current.place
        if not current.record.verified:
            del draft[owner]["accepted_domain"][place]["verified"]
        path = f"organization.{owner}.accepted_domain[{place}] {current.name!r}"
        return Edit((owner,), path, names=(current.name,), proven=(current.name,))

    return change(gateway, who, step, wish)


def _proof(gateway: Gateway, part: Part) -> DomainProof:
    try:
        with gateway.config() as store:
            return domain_proof(store, part.organization.name, part.name)
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, f"{gateway.data}: {failure}") from failure


def _found(gateway: Gateway, who: Principal, part: Part, proof: DomainProof) -> None:
    """Raises Refusal if the record is not there."""
    key = f"{part.organization.name}/{part.name}"
    throttle = gateway.proof_lookups
    if (wait := throttle.wait(key)) > 0:
        raise Busy(
            f"{proof.name} was looked up several times: the next look-up may be in {wait:.0f} s", round(wait) + 1
        )
    throttle.charge(key)
    with gateway.proofs.slot(who.name):
        texts = _looked_up(gateway, proof.name)
    if proof.text in texts:
        throttle.forgive(key, everything=True)
        return
    shown = ", ".join(ascii(one[:_WIDTH]) for one in texts[:_SHOWN])
    owner = f", or write verified=true if you know whose {part.name} is" if who.is_of_gateway else ""
    text = (
        f"{part.name} is not verified: TXT {proof.name} was looked up, and it has {shown or 'no record'}. Put into the "
        f"zone: {proof.zone_line} - and try again once your nameservers and the gateway's resolver show it{owner}; "
        f"{NOTHING}"
    )
    raise Refusal(
        Kind.CONFLICT, text, more={"record": {"name": proof.name, "text": proof.text}, "seen": texts[:_SHOWN]}
    )


def _looked_up(gateway: Gateway, name: str) -> list[str]:
    """The texts of the TXT records of a name, [] if it has none. Raises Refusal (INPUT, UNREADABLE)."""
    from gatepost.manage.use_cases.resolving import resolver_of  # noqa: PLC0415 - what it imports takes long
    from gatepost.net.lookups.question import LookupFailed  # noqa: PLC0415

    async def ask() -> list[str]:
        async with resolver_of(gateway.settings) as resolver, asyncio.timeout(_SECONDS):
            answer = await resolver.query(name, "TXT")
        return [_text(one) for one in answer.records]

    try:
        return asyncio.run(ask())
    except LookupFailed as failure:
        text = f"TXT {name} could not be looked up: {failure.detail}; {NOTHING}, try again later"
        raise Refusal(Kind.UNREADABLE, text) from failure
    except TimeoutError as error:
        text = f"TXT {name} could not be looked up: no answer in {_SECONDS:.0f} s; {NOTHING}, try again later"
        raise Refusal(Kind.UNREADABLE, text) from error


def _text(record: Rdata) -> str:
    return b"".join(cast("TXTBase", record).strings).decode("ascii", "replace")
