"""Observe our own certificates from outside: revocation, their authorities' addresses, TLSA records.

Called once a day by `node.alarms`, and after each change; `analysis.checks.certificate_alarms` judges. Everything is
asked by the code that asks for partners and for `gatepost check chain`. Never raises for what others answer, and always
ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gatepost.analysis.checks.certificate_alarms import ChainSeen, Endpoint, Observed, TlsaSeen, TlsaState
from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion
from gatepost.analysis.checks.chain_facts import ChainFacts, From, Kind, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_file import ChainFileError, parse_file
from gatepost.analysis.checks.chain_report import send_order
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.own_records import OwnHosts
from gatepost.net.anchors import AnchorsError
from gatepost.net.certificate import certificate_facts
from gatepost.net.dane import judge
from gatepost.net.identity import ServerIdentity, bearing, read_identity
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.pki.certificates.entry import entry_id
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.net.lookups.dns import Resolver
    from gatepost.protocols.tls.facts import CertificateFacts


_WHOLE: Final = 120.0  # seconds for everything
_ADDRESS: Final = 10.0  # for one address of an authority
_CHAINS: Final = 20
_WORDS: Final = {Kind.CRL: "CRL", Kind.OCSP: "OCSP responder"}
_TOLD: Final = frozenset({UrlStatus.GOOD, UrlStatus.REVOKED, UrlStatus.WRONG, UrlStatus.UNREACHABLE})


class OwnCertificates:
    """anchors: "system", a file or a directory. hostname: ours. For one event loop."""

    def __init__(self, resolver: Resolver, *, hostname: str, anchors: str) -> None:
        self._resolver = resolver
        self._hosts = OwnHosts(resolver, hostname)
        self._anchors = anchors

    async def observe(
        self,
        chains: Mapping[str, bytes],
        presented: Sequence[ServerIdentity],
        domains: Sequence[str],
        *,
        now: float,
    ) -> Observed:
        """Look at everything, within two minutes.

        chains: PEM by certificate id, of at most 20. presented: what listeners present. domains: accepted ones.
        """
        found: dict[str, ChainSeen] = {}
        hosts: dict[str, TlsaSeen] = {}
        unknown: list[str] = []
        try:
            async with asyncio.timeout(_WHOLE):
                await asyncio.gather(
                    self._look_at_chains(chains, found, unknown, now),
                    self._look_at_hosts(presented, domains, hosts, unknown, now),
                )
        except TimeoutError:
            unknown.append(f"the check timed out after {_WHOLE:.0f} seconds: do the nameservers answer ([dns])?")
        return Observed(chains=found, tlsa=hosts, unknown=tuple(unknown))

    # chains

    async def _look_at_chains(
        self, chains: Mapping[str, bytes], found: dict[str, ChainSeen], unknown: list[str], now: float
    ) -> None:
        try:
            stores = await asyncio.to_thread(RootStores.load, self._anchors)
        except AnchorsError as error:
            unknown.append(f"chains are not checked, as the trust anchors cannot be read: {error}")
            return
        client = HttpClient(self._resolver, https_context(stores.anchors))
        checker = ChainChecker(client, stores, timeout=_ADDRESS, private=True)  # the certificates are our own
        for number, pem in list(chains.items())[:_CHAINS]:
            try:
                check = await checker.check(ChainQuestion(parse_file(pem, f"certificate {number}")), now=now)
            except ChainFileError as error:
                unknown.append(str(error))
            else:
                found[number] = _chain_seen(check.facts)

    # TLSA records

    async def _look_at_hosts(
        self,
        presented: Sequence[ServerIdentity],
        domains: Sequence[str],
        hosts: dict[str, TlsaSeen],
        unknown: list[str],
        now: float,
    ) -> None:
        if not presented:
            return  # nothing is offered that a record could match
        for host, named_by in (await self._hosts.ours(domains)).items():
            lookup, proven = await self._hosts.tlsa(host, named_by)
            if lookup.status is TlsaStatus.FAILED and not lookup.bogus:
                unknown.append(f"the TLSA records of {host} cannot be looked up: {lookup.detail}")
            else:
                hosts[host] = _tlsa_seen(host, lookup, presented, proven=proven, now=now)


def _chain_seen(facts: ChainFacts) -> ChainSeen:
    answers = [answer for link in facts.path for answer in link.answers if answer.kind in _WORDS]
    top = facts.path[-1]
    ends = top.self_issued or any(store.holds_root for store in facts.stores)
    fetched = [link.facts.subject for link in send_order(facts.path) if link.place is From.FETCHED]
    trusted = facts.completed is not None and facts.completed.trusted
    return ChainSeen(
        root=top.facts.subject if ends else "",
        revoked=_revoked(facts),
        missing=", ".join(fetched) if trusted else "",
        ending=_ending(facts),
        endpoints=tuple(_endpoint(answer) for answer in answers if answer.result in _TOLD),
    )


def _ending(facts: ChainFacts) -> CertificateFacts | None:
    """The issuer that ends first, if that is before the leaf. Of several with one key in the file, the last counts."""
    leaf, *issuers = [link.facts for link in facts.path]
    in_file = [certificate_facts(der) for der in facts.file.certificates]
    lasting = [
        max([issuer, *(other for other in in_file if _key(other) == _key(issuer))], key=lambda other: other.not_after)
        for issuer in issuers
    ]
    first = min(lasting, key=lambda issuer: issuer.not_after, default=leaf)
    return first if first.not_after < leaf.not_after else None


def _key(certificate: CertificateFacts) -> tuple[str, str]:
    return certificate.subject, certificate.spki_sha256


def _revoked(facts: ChainFacts) -> str | None:
    """Describe a revocation, "" if each certificate is good or names no address, None if an answer is missing."""
    missing = False
    for link in facts.path:
        answers = [answer for answer in link.answers if answer.kind in _WORDS]
        revoked = next((answer for answer in answers if answer.result is UrlStatus.REVOKED), None)
        if revoked is not None:
            return f"{link.facts.subject}, serial {link.facts.serial}: {revoked.detail} ({revoked.url})"
        missing = missing or (bool(answers) and not any(answer.result is UrlStatus.GOOD for answer in answers))
    return None if missing else ""


def _endpoint(answer: UrlResult) -> Endpoint:
    good = answer.result in {UrlStatus.GOOD, UrlStatus.REVOKED}
    return Endpoint(answer.url, _WORDS[answer.kind], "" if good else answer.detail or str(answer.result))


def _tlsa_seen(
    host: str, lookup: TlsaLookup, presented: Sequence[ServerIdentity], *, proven: bool, now: float
) -> TlsaSeen:
    match lookup.status:
        case TlsaStatus.FAILED:
            return TlsaSeen(TlsaState.BOGUS, lookup.detail)
        case TlsaStatus.UNUSABLE:
            return TlsaSeen(TlsaState.UNUSABLE, lookup.detail)
        case TlsaStatus.NONE | TlsaStatus.INSECURE:
            return TlsaSeen(TlsaState.ABSENT, lookup.detail)
        case TlsaStatus.USABLE:
            return _compared(host, lookup, presented, proven=proven, now=now)


def _compared(
    host: str, lookup: TlsaLookup, presented: Sequence[ServerIdentity], *, proven: bool, now: float
) -> TlsaSeen:
    """Each certificate that a sender may be shown under this name, held against the records."""
    shown = {leaf.sha256 for leaf in bearing(presented, host)}
    leaves = [(server_identity, read_identity(server_identity).leaf) for server_identity in presented]
    chosen = [(server_identity, leaf) for server_identity, leaf in leaves if leaf.sha256 in shown] or leaves[:1]
    unmatched: dict[str, str] = {}
    for identity, leaf in chosen:
        chain = parse_file(identity.chain_pem, host).certificates
        verdict = judge(lookup.records, chain, names=lookup.names, now=now)
        if not verdict.authenticated:
            unmatched[entry_id(leaf)] = verdict.detail
    if not unmatched:
        return TlsaSeen(TlsaState.MATCHED, lookup.detail)
    state = TlsaState.NOTHING if len(unmatched) == len(chosen) else TlsaState.PARTLY
    return TlsaSeen(state, next(iter(unmatched.values())), tuple(unmatched), proven=proven)
