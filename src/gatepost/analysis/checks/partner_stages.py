"""Findings about one address of a mail host, stage by stage, from the gathered facts. Pure.

Called by `analysis.checks.partner`. One table decides the order; each stage looks at facts and gives sentences. What an
earlier stage kept from being seen is "unknown", and names that stage.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.analysis.checks import partner_advice as advice
from gatepost.analysis.checks.partner_report import Finding, Mark, PolicyKind, Row, Stage, missed
from gatepost.mail.outbound.connection import Step
from gatepost.mail.outbound.failure import ConnectionEnded
from gatepost.net.stream import LossKind
from gatepost.policy.connectors.names import SmartHost
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus
from gatepost.protocols.mtasts.policy import LintKind, StsMode, lint
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict, Revocation
from gatepost.protocols.tls.names import describe_names, matches
from gatepost.quantity import quantity
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.analysis.checks.findings import Seen
    from gatepost.net.lookups.mtasts import StsState
    from gatepost.net.lookups.mx import HostAddresses
    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.protocols.dane.match import DaneVerdict


SOON_DAYS = 14
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_OLD = frozenset({"SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1"})
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The DNS data of one host.

    preference: of its MX record, None for a host that was named. mx_authentic: DNSSEC proved that record; True where
    there is none. addresses: None if they could not be looked up. trouble: why not; bogus: DNSSEC proves a fault;
    temporary: a later try may do better. inside: its addresses are not tried, as they are not public. no_dnssec:
    why nothing can be said about DNSSEC, "" if it can. sts: of the domain, None if the check is of a host alone.
    """

    name: str
    preference: int | None = None
    mx_authentic: bool = True
    addresses: HostAddresses | None = None
    trouble: str = ""
    bogus: bool = False
    temporary: bool = False
    inside: bool = False
    tlsa: TlsaLookup | None = None
    no_dnssec: str = ""
    sts: StsState | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """One attempt to reach an address.

    seen: None if it did not come to that; then `why` says so. extensions: offered in the last reply to EHLO, None if
    the connection did not stay. dane: the chain held against the usable TLSA records. revocation: None if nobody asked.
    """

    now: float
    seen: Seen | None = None
    why: str = ""
    extensions: frozenset[str] | None = None
    dane: DaneVerdict | None = None
    revocation: Revocation | None = None

    @property
    def facts(self) -> HopFacts | None:
        """The facts of the connection."""
        return self.seen.facts if self.seen is not None else None

    @property
    def chain(self) -> ChainVerdict | None:
        """The chain as it was judged, None without TLS."""
        return self.facts.chain if self.facts is not None else None

    @property
    def encrypted(self) -> bool:
        """Whether there was a handshake."""
        return self.facts is not None and self.facts.tls is not None


def policy_of(host: HostFacts) -> PolicyKind:
    """The policy that decides about TLS to this host: DANE before MTA-STS (RFC 8461 section 2), else opportunistic."""
    tlsa = host.tlsa.status if host.tlsa is not None else None
    if tlsa is TlsaStatus.USABLE:
        return PolicyKind.DANE
    if host.sts is not None and host.sts.enforced:
        return PolicyKind.MTA_STS
    return PolicyKind.DANE if tlsa is TlsaStatus.UNUSABLE else PolicyKind.OPPORTUNISTIC


def needs_no_dns(name: str) -> bool:
    """An address, or localhost (RFC 6761 section 6.3)."""
    return name == "localhost" or SmartHost(name).is_address


def address_row(host: HostFacts, reached: Reached) -> Row:
    """All findings of one address."""
    seen = reached.seen
    findings = tuple(finding for stage in _STAGES.values() for finding in stage(host, reached))
    if seen is None:
        return Row(host.name, host.preference, "", policy_of(host), findings)
    where, said = seen.hop.endpoint, tuple(seen.transcript)
    return Row(host.name, host.preference, where, policy_of(host), findings, reached.facts, said)


def waiting_row(host: HostFacts) -> Row:
    """A host that is still being looked at: what the DNS says, if that is known, and nothing else yet."""
    known = bool(host.trouble) or host.addresses is not None
    findings = tuple(_dns(host, Reached(0.0))) if known else ()
    looking = Stage.CONNECT if known else Stage.DNS
    return Row(host.name, host.preference, "", policy_of(host), findings, looking=looking)


def row_so_far(host: HostFacts, reached: Reached) -> Row:
    """An address that is still being looked at: the stages that have ended, and the one that has not.

    reached: with the attempt as far as it came; once that has ended only its revocation is not known.
    """
    seen = reached.seen
    assert seen is not None  # noqa: S101 - see waiting_row for who was not reached yet
    looking = _lookup(seen)
    ended = [stage for stage in _STAGES if stage is not looking and (seen.ended or _is_before(stage, looking))]
    findings = tuple(finding for stage in ended for finding in _STAGES[stage](host, reached))
    return Row(host.name, host.preference, seen.hop.endpoint, policy_of(host), findings, reached.facts, looking=looking)


def _lookup(seen: Seen) -> Stage:
    if seen.ended:
        return Stage.REVOCATION
    return Stage.CERTIFICATE if seen.over_tls else _OF_STEPS[seen.last]


_OF_STEPS = {
    Step.CONNECT: Stage.CONNECT,
    Step.GREETING: Stage.EHLO,
    Step.HELLO: Stage.EHLO,
    Step.STARTTLS: Stage.TLS,
    Step.HANDSHAKE: Stage.TLS,
}


def _is_before(stage: Stage, other: Stage) -> bool:
    order = list(Stage)
    return order.index(stage) < order.index(other)


# Each stage gives one finding or more.


def _dns(host: HostFacts, _: Reached) -> Iterator[Finding]:
    addresses = host.addresses
    if host.trouble:
        fix = advice.BOGUS if host.bogus else advice.NO_ANSWER if host.temporary else advice.spelling(host.name)
        fix = advice.INSIDE if host.inside else fix
        mark = Mark.UNKNOWN if host.temporary and not host.bogus else Mark.FAIL
        short = "bogus" if host.bogus else "private" if host.inside else "?"
        text = f"{host.name} cannot be looked up"
        yield Finding(Stage.DNS, mark, text, host.trouble, fix, short, stops=True)
        return
    if addresses is None or not addresses.addresses:
        text = f"{host.name} has no address"
        yield Finding(Stage.DNS, Mark.FAIL, text, "no A or AAAA record", advice.no_address(host.name), "-", stops=True)
        return
    evidence = f"{host.name} has the addresses {', '.join(addresses.addresses)}"
    if needs_no_dns(host.name):
        yield Finding(Stage.DNS, Mark.INFO, "nothing to look up", evidence, short="address")
    elif host.no_dnssec:
        yield missed(Stage.DNS, Stage.DNS, "it is not known here whether DNSSEC proves the addresses")
    elif addresses.authentic and host.mx_authentic:
        yield Finding(Stage.DNS, Mark.PASS, "DNSSEC proves name and addresses", evidence, short="sec")
    else:
        what = "the addresses" if host.mx_authentic else "the MX records"
        yield Finding(Stage.DNS, Mark.INFO, f"DNSSEC does not prove {what} of {host.name}", evidence, short="unsigned")
    if addresses.canonical != host.name and host.preference is not None:
        text = f"the MX record names {host.name}, which is an alias of {addresses.canonical}"
        yield Finding(Stage.DNS, Mark.WARN, text, evidence, advice.alias(host.name, addresses.canonical), "alias")


def _connect(host: HostFacts, reached: Reached) -> Iterator[Finding]:
    seen = reached.seen
    if seen is None:
        if host.trouble or host.addresses is None or not host.addresses.addresses:
            yield missed(Stage.CONNECT, Stage.DNS, "no address to connect to")
        else:
            yield Finding(
                Stage.CONNECT, Mark.UNKNOWN, reached.why, "", advice.AGAIN, "?", stops=True, options=("timeout",)
            )
        return
    failure = seen.failure
    if failure is None or seen.last is not Step.CONNECT:
        spent = f"{1000 * seen.seconds(Step.CONNECT):.0f} ms"
        yield Finding(Stage.CONNECT, Mark.PASS, f"connected in {spent}", seen.hop.endpoint, short=spent)
        return
    number = seen.error.errno if isinstance(seen.error, OSError) else None
    # asyncio's text says "[Errno 111] Connect call failed"; a time-out has its own, with the seconds.
    yield _unconnected(seen, number, f"{seen.hop.endpoint}: {os.strerror(number) if number else failure.detail}")


def _unconnected(seen: Seen, number: int | None, evidence: str) -> Finding:
    if isinstance(seen.error, ConnectionRefusedError):
        text, fix = f"nothing listens on port {seen.hop.port} of {seen.hop.address}", advice.refused(seen.hop.port)
        return Finding(Stage.CONNECT, Mark.FAIL, text, evidence, fix, "refused", stops=True)
    if number in _NO_WAY:
        family = "IPv6" if ":" in seen.hop.address else "IPv4"
        text = f"this machine has no way to the {family} address {seen.hop.address}"
        return Finding(Stage.CONNECT, Mark.UNKNOWN, text, evidence, advice.no_way(family), "no way", stops=True)
    text, fix = f"{seen.hop.address} does not answer on port {seen.hop.port}", advice.silent(seen.hop.port)
    return Finding(Stage.CONNECT, Mark.UNKNOWN, text, evidence, fix, "no answer", stops=True)


def _ehlo(_: HostFacts, reached: Reached) -> Iterator[Finding]:
    seen = reached.seen
    if seen is None or (seen.failure is not None and seen.last is Step.CONNECT):
        yield missed(Stage.EHLO, Stage.CONNECT, "no connection")
        return
    banner = " / ".join(seen.said(""))[:_SHOWN]
    failure = seen.failure
    if failure is None or seen.last not in {Step.GREETING, Step.HELLO} or seen.over_tls:
        spent = seen.seconds(Step.GREETING)
        slow = f", after {spent:.1f} s" if spent >= 1 else ""
        yield Finding(Stage.EHLO, Mark.PASS, f"greets as a mail server{slow}", banner, short="ok")
        return
    refused = failure.loss is None and failure.detail.startswith("in reply to")
    said = f"{failure.reply.text} {failure.detail}" if refused else failure.detail
    evidence = f"{said[:_SHOWN]}; greeting: {banner}" if banner and banner not in said else said[:_SHOWN]
    if failure.loss is LossKind.TIMEOUT:
        text = "accepts the connection, and then says nothing"
        fix, options = advice.SILENT_GREETER, ("timeout",)
        yield Finding(Stage.EHLO, Mark.UNKNOWN, text, evidence, fix, "silent", stops=True, options=options)
    elif refused and failure.crowded:
        text = "refuses this machine temporarily"
        yield Finding(Stage.EHLO, Mark.UNKNOWN, text, evidence, advice.LATER, str(failure.reply.code), stops=True)
    elif refused:
        text = "refuses this machine"
        yield Finding(Stage.EHLO, Mark.FAIL, text, evidence, advice.TURNED_AWAY, "refused", stops=True)
    elif failure.loss is not None:
        text = "ends the connection before it has answered"
        yield Finding(Stage.EHLO, Mark.FAIL, text, evidence, advice.CUT_OFF, "cut off", stops=True)
    else:
        yield Finding(Stage.EHLO, Mark.FAIL, "does not speak SMTP", evidence, advice.NO_SMTP, "broken", stops=True)


def _tls(host: HostFacts, reached: Reached) -> Iterator[Finding]:
    seen, facts = reached.seen, reached.facts
    if facts is not None and facts.tls is not None:
        yield _negotiated(facts)
        return
    if seen is None or (facts is None and not seen.over_tls):
        yield missed(Stage.TLS, Stage.EHLO, "the connection ended before STARTTLS")
        return
    demanded = policy_of(host) is not PolicyKind.OPPORTUNISTIC
    if facts is not None and not facts.starttls_offered:
        effect = (
            f"{_BY[policy_of(host)]} asks for TLS, so that mail waits" if demanded else "mail would leave unencrypted"
        )
        keywords = [line.partition(" ")[2] for line in seen.said("EHLO")[1:]]
        evidence = f"EHLO offers {', '.join(keywords)[:_SHOWN] or 'nothing'}"
        fix = advice.no_starttls(host.name, keywords)
        yield Finding(Stage.TLS, Mark.FAIL, f"no STARTTLS: {effect}", evidence, fix, "clear", stops=demanded)
        return
    failure = seen.failure
    error = (facts.handshake_error if facts is not None else "") or (failure.detail if failure is not None else "")
    if _loss(seen) is LossKind.TIMEOUT:
        text = "the server offers STARTTLS, then stops answering"
        yield Finding(Stage.TLS, Mark.UNKNOWN, text, error[:_SHOWN], advice.BLACK_HOLE, "silent", stops=True)
        return
    text = "TLS fails, so mail waits"
    yield Finding(Stage.TLS, Mark.FAIL, text, error[:_SHOWN], advice.handshake(error), "broken", stops=True)


def _loss(seen: Seen) -> LossKind | None:
    """The way in which the connection ended, even if a policy failure replaced that error."""
    if isinstance(seen.error, ConnectionEnded):
        return seen.error.failure.loss
    return seen.failure.loss if seen.failure is not None else None


_BY = {PolicyKind.DANE: "DANE", PolicyKind.MTA_STS: "MTA-STS", PolicyKind.OPPORTUNISTIC: "nobody"}


def _negotiated(facts: HopFacts) -> Finding:
    tls = facts.tls
    assert tls is not None  # noqa: S101 - asked by the only caller
    evidence = f"{tls.version} {tls.suite} {tls.group or 'no forward secrecy'}"
    short = f"{tls.version.removeprefix('TLSv')} {tls.group or 'without PFS'}"
    if tls.version in _OLD:
        return Finding(Stage.TLS, Mark.WARN, f"{tls.version} is out of date", evidence, advice.OLD_TLS, short)
    if not tls.forward_secret:
        text = "no forward secrecy: with the key, recorded traffic can be decrypted later"
        return Finding(Stage.TLS, Mark.WARN, text, evidence, advice.NO_FORWARD_SECRECY, short)
    if facts.classical is not None:
        text = f"{tls.version}, but the server does not answer post-quantum key exchange ({facts.classical.why})"
        return Finding(Stage.TLS, Mark.WARN, text, evidence, advice.CLASSICAL_ONLY, short)
    quantum = ", post-quantum key exchange" if "MLKEM" in tls.group else ""
    return Finding(Stage.TLS, Mark.PASS, f"{tls.version}{quantum}", evidence, short=short)


def _certificate(host: HostFacts, reached: Reached) -> Iterator[Finding]:
    if not reached.encrypted:
        yield missed(Stage.CERTIFICATE, Stage.TLS, "no certificate was seen")
        return
    chain = reached.chain
    if chain is None:
        text = "not checked: the trust anchors cannot be read"
        yield Finding(Stage.CERTIFICATE, Mark.UNKNOWN, text, "", advice.ANCHORS, "?", options=("anchors",))
        return
    evidence = _described(chain, reached.now)
    proven = reached.dane is not None and reached.dane.authenticated
    mark = Mark.INFO if proven else Mark.WARN
    beside = "; the TLSA records vouch for it" if proven else ""
    if not chain.trusted:
        text = f"{chain.status}: {chain.detail}{beside}"
        fix = "" if proven else advice.certificate(chain.status)
        options = ("anchors",) if fix and chain.status is ChainStatus.UNTRUSTED_ROOT else ()
        yield Finding(Stage.CERTIFICATE, mark, text, evidence, fix, str(chain.status), options=options)
    if chain.leaf is None:
        return
    if SmartHost(host.name).is_address:
        names = describe_names(chain.leaf)[:_SHOWN]
        text = f"named by its address: there is no name to compare; the certificate is for {names}"
        yield Finding(Stage.CERTIFICATE, Mark.INFO, text, evidence, short="no name")
    elif not matches(host.name, chain.leaf):
        text = f"the certificate is for {describe_names(chain.leaf)[:_SHOWN]}, not for {host.name}{beside}"
        fix = "" if proven else advice.name(host.name)
        yield Finding(Stage.CERTIFICATE, mark, text, evidence, fix, "name")
    elif chain.trusted:
        yield _valid(chain, evidence, reached.now)


def _valid(chain: ChainVerdict, evidence: str, now: float) -> Finding:
    assert chain.leaf is not None  # noqa: S101 - asked by the only caller
    days = math.floor((chain.leaf.not_after - now) / 86400)
    short = f"{days} d"
    if days < SOON_DAYS:
        return Finding(
            Stage.CERTIFICATE,
            Mark.WARN,
            f"the certificate ends in {quantity(days, 'day')}",
            evidence,
            advice.RENEW,
            short,
        )
    text = f"trusted, and for this host; {quantity(days, 'day')} left"
    return Finding(Stage.CERTIFICATE, Mark.PASS, text, evidence, short=short)


def _described(chain: ChainVerdict, now: float) -> str:
    leaf = chain.leaf
    if leaf is None:
        return chain.detail[:_SHOWN]
    tense = "not after" if leaf.not_after >= now else "ended"
    return f"{leaf.subject}, issuer {leaf.issuer}, {leaf.key}, {tense} {day_text(leaf.not_after)}"[:_SHOWN]


def _dane(host: HostFacts, reached: Reached) -> Iterator[Finding]:
    tlsa = host.tlsa
    if host.no_dnssec:
        yield missed(Stage.DANE, Stage.DNS, "without DNSSEC, it is not known whether there are TLSA records")
        return
    if tlsa is None:
        yield missed(Stage.DANE, Stage.DNS, "the host could not be looked up")
        return
    match tlsa.status:
        case TlsaStatus.FAILED:
            mark = Mark.FAIL if tlsa.bogus else Mark.UNKNOWN
            text = "the TLSA records cannot be looked up, so mail waits: it must not be sent as if there were none"
            fix = advice.BOGUS if tlsa.bogus else advice.NO_ANSWER
            yield Finding(Stage.DANE, mark, text, tlsa.detail, fix, "bogus" if tlsa.bogus else "?", stops=True)
        case TlsaStatus.NONE:
            yield Finding(Stage.DANE, Mark.INFO, "no TLSA records", tlsa.detail, advice.PUBLISH_TLSA, "none")
        case TlsaStatus.INSECURE:
            yield Finding(Stage.DANE, Mark.INFO, "no DANE without DNSSEC", tlsa.detail, "", "none")
        case TlsaStatus.UNUSABLE:
            text = "TLSA records none of which can be used: TLS is demanded, but not the certificate"
            yield Finding(Stage.DANE, Mark.WARN, text, tlsa.detail, advice.UNUSABLE_TLSA, "unusable")
        case TlsaStatus.USABLE:
            yield from _dane_judged(tlsa, reached)


def _dane_judged(lookup: TlsaLookup, reached: Reached) -> Iterator[Finding]:
    verdict = reached.dane
    if verdict is None:
        yield missed(
            Stage.DANE, Stage.TLS, f"no certificate to compare with the TLSA records; {lookup.detail}"[:_SHOWN]
        )
        return
    if verdict.matched is not None:
        record = verdict.matched
        short = f"{record.usage} {record.selector} {record.matching}"
        yield Finding(Stage.DANE, Mark.PASS, "the certificate is the one that DNS names", verdict.detail, short=short)
    else:
        text = f"the certificate is not what the TLSA records ask for ({verdict.failure}), so mail waits"
        yield Finding(Stage.DANE, Mark.FAIL, text, verdict.detail, advice.WRONG_TLSA, "mismatch", stops=True)
    if lookup.records.unusable or lookup.records.left_out:
        text = "some TLSA records are ignored"
        yield Finding(Stage.DANE, Mark.WARN, text, lookup.detail, advice.UNUSABLE_TLSA, "some ignored")


def _mta_sts(host: HostFacts, reached: Reached) -> Iterator[Finding]:
    state = host.sts
    if state is None:
        return
    policy = state.policy
    if policy is None:
        if state.failure is not None:
            yield missed(Stage.MTA_STS, Stage.MTA_STS, "the policy is not known")
        else:
            yield Finding(Stage.MTA_STS, Mark.INFO, "the domain has no MTA-STS policy", short="none")
        return
    if policy.mode is StsMode.NONE:
        yield Finding(Stage.MTA_STS, Mark.INFO, "the policy is withdrawn (mode none)", short="mode none")
        return
    enforced = policy.mode is StsMode.ENFORCE
    mark, decides = (Mark.FAIL if enforced else Mark.WARN), policy_of(host) is PolicyKind.MTA_STS
    if not policy.matches(host.name):
        remark = next(note.text for note in lint(policy, [host.name]) if note.kind is LintKind.HOST_NOT_COVERED)
        text, fix = f"the policy does not list {host.name}", advice.STS_HOST
        yield Finding(Stage.MTA_STS, mark, text, remark, fix, "not listed", stops=decides)
        return
    if not reached.encrypted:
        yield missed(Stage.MTA_STS, Stage.TLS, "no certificate to compare with the host's name")
        return
    chain = reached.chain
    if chain is not None and chain.trusted and chain.leaf is not None and matches(host.name, chain.leaf):
        yield Finding(
            Stage.MTA_STS, Mark.PASS, f"as the policy asks (mode {policy.mode})", host.name, short=str(policy.mode)
        )
        return
    effect = "so mail waits" if decides else "which is reported" if not enforced else "and only DANE lets it through"
    text = f"the certificate does not prove the name {host.name} to a public authority, {effect}"
    detail = chain.detail if chain is not None else "not judged"
    yield Finding(Stage.MTA_STS, mark, text, detail, advice.STS_CERTIFICATE, "certificate", stops=decides)


def _revocation(_: HostFacts, reached: Reached) -> Iterator[Finding]:
    if not reached.encrypted:
        yield missed(Stage.REVOCATION, Stage.TLS, "no certificate was seen")
        return
    status = reached.revocation
    if status is None:
        yield missed(Stage.REVOCATION, Stage.CERTIFICATE, "revocation is not checked for a chain that is not trusted")
        return
    match status.status:
        case "good":
            yield Finding(Stage.REVOCATION, Mark.PASS, "not revoked", status.detail, short=status.source.upper())
        case "revoked":
            text, fix = "the certificate was revoked", advice.REVOKED
            yield Finding(Stage.REVOCATION, Mark.FAIL, text, status.detail, fix, "revoked")
        case "not-published":
            text = "its authority publishes nothing about revoked certificates"
            yield Finding(Stage.REVOCATION, Mark.INFO, text, status.detail, "", "none")
        case _:
            text = "the revocation status is not known; the gateway accepts this (soft-fail)"
            yield Finding(Stage.REVOCATION, Mark.UNKNOWN, text, status.detail, advice.NO_STATUS, "no answer")


def _requiretls(_: HostFacts, reached: Reached) -> Iterator[Finding]:
    if reached.extensions is None:
        yield missed(Stage.REQUIRETLS, Stage.TLS if reached.facts else Stage.EHLO, "the last EHLO was not reached")
    elif "REQUIRETLS" not in reached.extensions:
        text = "messages with REQUIRETLS (RFC 8689) cannot be sent here"
        yield Finding(Stage.REQUIRETLS, Mark.INFO, text, "not in the reply to EHLO", "", "no")
    elif not reached.encrypted:
        text = "REQUIRETLS is offered before STARTTLS, where it has no effect (RFC 8689 section 2)"
        yield Finding(Stage.REQUIRETLS, Mark.WARN, text, "EHLO", advice.REQUIRETLS_IN_CLEAR, "unencrypted")
    else:
        yield Finding(Stage.REQUIRETLS, Mark.PASS, "accepts messages with REQUIRETLS (RFC 8689)", short="yes")


_STAGES: dict[Stage, Callable[[HostFacts, Reached], Iterator[Finding]]] = {
    Stage.DNS: _dns,
    Stage.CONNECT: _connect,
    Stage.EHLO: _ehlo,
    Stage.TLS: _tls,
    Stage.CERTIFICATE: _certificate,
    Stage.DANE: _dane,
    Stage.MTA_STS: _mta_sts,
    Stage.REVOCATION: _revocation,
    Stage.REQUIRETLS: _requiretls,
}
