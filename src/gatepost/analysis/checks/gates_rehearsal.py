"""Rehearse a switch: handshakes with ourselves, and the demands of connectors on this gateway.

Called by `analysis.checks.changeover`, on a thread: a handshake takes milliseconds. Each client is tried on what is
presented now and on what would be presented then; only what becomes worse is against the switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.checks.gates import GateCheck, GateFinding
from gatepost.analysis.checks.partner_report import Mark
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import certificate_facts
from gatepost.net.chain import judge
from gatepost.net.engine import ServerContext, TlsFailure, client_context, server_context, shake_hands
from gatepost.pki.certificates.entry import Entry, Purpose
from gatepost.policy.connectors.values import TlsSettings
from gatepost.protocols.tls.names import describe_names, matches
from gatepost.protocols.tls.profile import PROFILES, Profile
from gatepost.texts import own
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatepost.net.identity import ServerIdentity
    from gatepost.policy.connectors.records import Organization, OutboundConnector


_MOST_NAMES: Final = 10
_SHOWN: Final = 4
_STRICT: Final = frozenset({TlsSettings.CERTIFICATE_VALIDATION, TlsSettings.DOMAIN_VALIDATION})
_CLIENTS: Final = tuple(
    (f"{version} client with {key} only", version, prefix)
    for version in ("TLSv1.2", "TLSv1.3")
    for key, prefix in (("RSA", "rsa"), ("ECDSA", "ecdsa"))
)


class Meeting(msgspec.Struct, frozen=True):
    """One client asking for one name ("": none). presented: SHA-256 of what it got, "" if it got nothing.

    failure: why it got nothing. names: whether what it got bears the name.
    """

    client: str
    name: str
    presented: str = ""
    bears_name: bool = True
    failure: str = ""


def meet(identities: Sequence[ServerIdentity], names: Iterable[str], profile: str) -> tuple[Meeting, ...]:
    """Every client with every name, the first ten. profile: by which we serve. Raises IdentityError."""
    context = server_context(identities, PROFILES[profile], ask_client_certificate=True)
    wanted = ["", *list(dict.fromkeys(names))[:_MOST_NAMES]]
    return tuple(
        _meet(context, (client, _profile(version, prefix)), name)
        for client, version, prefix in _CLIENTS
        for name in wanted
    )


def _profile(version: str, prefix: str) -> Profile:
    usual = PROFILES["default"]
    schemes = ":".join(part for part in usual.signature_algorithms.split(":") if part.startswith(prefix))
    return replace(usual, min_version=version, max_version=version, signature_algorithms=schemes)


def _meet(context: ServerContext, client: tuple[str, Profile], name: str) -> Meeting:
    label, profile = client
    ours, theirs = client_context(profile).engine(server_name=name), context.engine()
    try:
        shake_hands(ours, theirs)
    except TlsFailure as failure:
        return Meeting(label, name, failure=str(failure))
    if ours.facts is None or not ours.facts.peer_chain:
        return Meeting(label, name, failure="the handshake did not finish")
    leaf = certificate_facts(ours.facts.peer_chain[0])
    return Meeting(label, name, leaf.sha256, not name or matches(name, leaf))


def rehearsal_findings(entry: Entry, before: Sequence[Meeting], after: Sequence[Meeting]) -> Iterator[GateFinding]:
    """Find the clients for whom a switch makes it worse.

    before: () if no certificate is presented now, or it is unreadable.
    """
    if entry.purpose is Purpose.CLIENT:
        return
    known = {(meeting.client, meeting.name): meeting for meeting in before}
    worse = [
        candidate
        for candidate in after
        if candidate.failure and (was := known.get((candidate.client, candidate.name))) and was.presented
    ]
    if worse:
        clients = ", ".join(dict.fromkeys(meeting.client for meeting in worse))
        fix = "Keep a second certificate with a key of that kind (RSA besides ECDSA); the gateway then presents both."
        names = dict.fromkeys(meeting.name for meeting in worse)
        asking = ""
        if "" not in names:  # a name is what makes the difference
            asking = f", asking for {', '.join(list(names)[:_SHOWN])}"
            fix = "Get a certificate with that name; the one that still covers it has another kind of key."
        text = f"the handshake would fail for these clients: {own(clients)}{asking}"
        yield GateFinding(GateCheck.REHEARSAL, Mark.FAIL, text, worse[0].failure, fix)
    misled = [
        candidate
        for candidate in after
        if candidate.presented
        and not candidate.bears_name
        and (was := known.get((candidate.client, candidate.name)))
        and was.bears_name
    ]
    for meeting in misled[:_SHOWN]:
        text = f"a {own(meeting.client)} that asks for {meeting.name} would get a certificate without that name"
        yield GateFinding(GateCheck.REHEARSAL, Mark.FAIL, text, fix="Get a certificate with that name.")
    got = [candidate for candidate in after if candidate.presented == entry.leaf.sha256]
    if not got:
        fix = "Another current certificate takes precedence: name it as replaced, too (`changeover stage`)."
        yield GateFinding(GateCheck.REHEARSAL, Mark.WARN, "no client would get this certificate", fix=fix)
    elif not worse and not misled:
        shown = ", ".join(dict.fromkeys(meeting.client for meeting in got))
        none = dict.fromkeys(meeting.client for meeting in after if meeting.failure)
        text = f"no test handshake got worse; these clients get this certificate: {own(shown)}"
        evidence = f"no handshake before or after: {own(', '.join(none))}" if none else ""
        yield GateFinding(GateCheck.REHEARSAL, Mark.PASS, text, evidence)


class Demand(msgspec.Struct, frozen=True):
    """The demand of an organization's outbound connector on a next hop that is this gateway itself."""

    organization: str
    connector: OutboundConnector
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """As sentences name it."""
        return f"outbound connector {self.connector.name!r} of {self.organization}"


def demands_on(organizations: Sequence[Organization], hosts: Iterable[str]) -> tuple[Demand, ...]:
    """The connectors that send to one of our own names and judge our certificate there."""
    own = {host.lower() for host in hosts}
    demands = []
    for organization in organizations:
        for connector in organization.outbound_connectors:
            aimed = tuple(hop.host for hop in connector.smart_hosts if hop.host.lower() in own)
            if connector.enabled and aimed and connector.tls_settings in _STRICT:
                strict = connector.tls_settings is TlsSettings.DOMAIN_VALIDATION
                names = (connector.tls_domain,) if connector.tls_domain else aimed
                demands.append(Demand(organization.name, connector, names if strict else ()))
    return tuple(demands)


def demand_findings(
    entry: Entry, chain: Sequence[bytes], demands: Sequence[Demand], anchors: str, *, now: float
) -> Iterator[GateFinding]:
    """Whether the next chain, DER, satisfies them. anchors: the gateway's own, for connectors that name none."""
    for demand in demands:
        if demand.names and not any(matches(str(name), entry.leaf) for name in demand.names):
            names = " or ".join(map(str, demand.names))
            text = f"{demand.label} sends here and would reject it: it requires the name {names}"
            fix = (
                "Change tls_domain there, or get a certificate with that name (this one is for "
                f"{describe_names(entry.leaf)})."
            )
            yield GateFinding(GateCheck.REHEARSAL, Mark.FAIL, text, fix=fix)
            continue
        trusted = _trusted(chain, demand.connector.trust_anchors or anchors, now)
        if trusted:
            text = f"{demand.label} sends here and would not trust it"
            yield GateFinding(
                GateCheck.REHEARSAL, Mark.FAIL, text, trusted, "Add its root to the connector's trust_anchors."
            )
        else:
            yield GateFinding(GateCheck.REHEARSAL, Mark.PASS, f"{demand.label} sends here and accepts it")


def _trusted(chain: Sequence[bytes], anchors: str, now: float) -> str:
    """Explain why a chain is not trusted, "" if it is."""
    try:
        verdict = judge(chain, TrustAnchors.load(anchors), now=now, purpose="server")
    except AnchorsError as error:
        return str(error)
    return "" if verdict.trusted else f"{verdict.status}: {verdict.detail}"
