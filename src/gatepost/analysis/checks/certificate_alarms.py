"""Alarms about our certificates, from their entries and observed facts. Pure.

Called by `node.alarms` and `gatepost alarms`; `analysis.checks.own_certificates` gathers the facts, `remember` says
what is kept of them, and `analysis.alarms.alarm` which alarms are new, which are repeated and which are over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Memory, Severity, Trouble
from gatepost.analysis.checks import certificate_alarm_texts as texts
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.lifecycle import is_covered, names_of
from gatepost.protocols.tls.facts import CertificateFacts  # noqa: TC001 - msgspec reads annotations
from gatepost.texts import N_
from gatepost.values import replace

DAY: Final = 86400.0
_STEPS: Final = (30, 14, 7, 1)  # days left
_SHARE: Final = 3  # a step counts if it is less than this part of a certificate's life
_NEXT_DAYS: Final = 21
_HARDLY_LATER: Final = 14 * DAY  # by which a next certificate outlives what it is to replace
_CHANGE_SHOWN: Final = 7 * DAY  # for which a changed issuer is told
_FAILURES: Final = 3
_FAILING: Final = 2 * 3600.0  # seconds for which an endpoint must have failed, besides so often
_TROUBLES: Final = 50  # endpoints that are remembered
_STAPLE_GRACE: Final = 900.0  # seconds in which a new certificate's first staple is fetched


# what is observed


class Endpoint(msgspec.Struct, frozen=True):
    """A CRL or OCSP address that a certificate of our chain names. failure: why it is of no use, "" if it is good."""

    url: str
    word: str
    failure: str = ""


class ChainSeen(msgspec.Struct, frozen=True):
    """The result of checking one certificate's chain.

    root: subject of the root that it leads to, "" if it is not reached. revoked: a sentence, "" if it is not, None if
    that could not be learnt. missing: the intermediate that has to be fetched to reach the root, "" if none. ending:
    the issuer of it, or of another issuer, that ends first, where that is before the certificate itself.
    """

    root: str = ""
    revoked: str | None = ""
    missing: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    ending: CertificateFacts | None = None


class TlsaState(StrEnum):
    """The match of a host's authentic TLSA records with the certificates that it presents."""

    ABSENT = "absent"  # there are none, or nothing proves them: no sender holds us to them
    MATCHED = "matched"
    PARTLY = "partly"  # they match some of those that are presented, not all
    NOTHING = "nothing"  # they match none
    UNUSABLE = "unusable"
    BOGUS = "bogus"  # DNSSEC proves that the answer is forged or broken


class TlsaSeen(msgspec.Struct, frozen=True):
    """state: of one host. detail: what DNS holds, or which record fails why. unmatched: ids that no record matches.

    proven: DNSSEC proves the records; if not, nobody here can tell, and senders may be able to.
    """

    state: TlsaState
    detail: str = ""
    unmatched: tuple[str, ...] = ()
    proven: bool = True


class FailedRenewal(msgspec.Struct, frozen=True):
    """The last attempt to get a certificate failed. why: a sentence. next_try: earliest, seconds since 1970."""

    why: str
    next_try: float


type Renewals = Mapping[str | tuple[str, ...], FailedRenewal | None]


class Observed(msgspec.Struct, frozen=True):
    """The observed facts about certificates. Keys that a mapping lacks could not be learnt.

    chains: by certificate id. tlsa: by host name. stapled: ids with a valid response to staple, None if not known.
    renewals: those that fail, by the certificate's id, by the names where there is none yet; None for one that is tried
    just now, and for all if not known.
    unknown: what could not be learnt and why, a sentence each.
    """

    chains: Mapping[str, ChainSeen] = msgspec.field(default_factory=dict)
    tlsa: Mapping[str, TlsaSeen] = msgspec.field(default_factory=dict)
    stapled: frozenset[str] | None = None
    renewals: Renewals | None = None
    unknown: tuple[str, ...] = ()


class WantedName(msgspec.Struct, frozen=True):
    """A name that a certificate must bear. why: who looks for it, a sentence. severity: if none bears it."""

    name: str
    why: str
    severity: Severity


class Scope(msgspec.Struct, frozen=True):
    """The uses of certificates by the configuration.

    names: wanted of the server certificates. used: organization and label of each client certificate that a connector
    presents. acme: the gateway itself asks for certificates, and so renews those that it got.
    """

    names: tuple[WantedName, ...] = ()
    used: frozenset[tuple[str, str]] = frozenset()
    acme: bool = True


# what is remembered, and the judgement


def remember(memory: Memory, observed: Observed, entries: Mapping[str, Entry], *, now: float) -> Memory:
    """The memory after a look at the world: which endpoints fail and since when, and where chains lead.

    What could not be looked at stays as it was; what no certificate names any more is forgotten.
    """
    answers: dict[str, tuple[str, str, str]] = {}
    for number, chain in observed.chains.items():
        for endpoint in chain.endpoints:
            answers.setdefault(endpoint.url, (endpoint.word, endpoint.failure, number))
    troubles = {url: trouble for url, trouble in memory.troubles.items() if trouble.certificate not in observed.chains}
    for url, (word, failure, number) in answers.items():
        before = memory.troubles.get(url)
        if not failure:
            troubles.pop(url, None)
        elif before is None:
            troubles[url] = Trouble(now, 1, word, failure, number)
        else:
            troubles[url] = replace(before, failures=before.failures + 1, detail=failure, certificate=number)
    live = {url: trouble for url, trouble in troubles.items() if trouble.certificate in entries}
    seen = {number: chain.root for number, chain in observed.chains.items() if chain.root}
    roots = {number: root for number, root in (memory.roots | seen).items() if number in entries}
    kept = dict(list(live.items())[:_TROUBLES])
    return replace(memory, troubles=kept, roots=roots, looked=now, unknown=observed.unknown)


def judge(
    entries: Mapping[str, Entry],
    scope: Scope,
    observed: Observed,
    *,
    troubles: Mapping[str, Trouble],
    roots: Mapping[str, str],
    now: float,
) -> tuple[Alarm, ...]:
    """All that is wrong at `now` (seconds since 1970), as far as it is known: the gravest first.

    troubles: endpoints that fail, by URL. roots: subjects of the roots that certificates led to, by id, also of those
    that were replaced. See `undecided` for what is not known.
    """
    alarms = [
        *(
            alarm
            for entry in watched(entries, scope)
            for alarm in _of_certificate(entry, entries, scope, observed, roots, now)
        ),
        *(alarm for host, seen in observed.tlsa.items() for alarm in _of_host(host, seen, entries)),
        *_of_names(entries, scope, observed),
        *_not_issued(entries, scope, observed, now),
        *_of_endpoints(troubles, now),
    ]
    order = tuple(Severity)
    return tuple(sorted(alarms, key=lambda alarm: (-order.index(alarm.severity), alarm.kind, alarm.key)))


def watched(entries: Mapping[str, Entry], scope: Scope) -> list[Entry]:
    """The certificates that alarms are about: current and next ones, of client certificates those in use."""
    live = (entry for entry in entries.values() if entry.state in {State.CURRENT, State.NEXT})
    return [
        entry for entry in live if entry.purpose is Purpose.SERVER or (entry.organization, entry.label) in scope.used
    ]


def undecided(alarm: Alarm, entries: Mapping[str, Entry], scope: Scope, observed: Observed) -> bool:
    """Whether nothing was learnt of what a standing alarm is about, so that it is neither confirmed nor over."""
    seen = observed.chains.get(alarm.certificate)
    live = alarm.certificate in {entry.id for entry in watched(entries, scope)}
    match alarm.kind:
        case Kind.REVOKED:
            return live and (seen is None or seen.revoked is None)
        case Kind.CHAIN_INCOMPLETE | Kind.CHAIN_ENDS:
            return live and seen is None
        case Kind.TLSA_MISMATCH | Kind.DNSSEC_BOGUS:
            unsure = not observed.tlsa or bool(observed.unknown)  # else the host is ours no more
            return bool(presented_servers(entries)) and unsure and alarm.about not in observed.tlsa
        case Kind.STAPLE_MISSING:
            return live and observed.stapled is None
        case Kind.RENEWAL_FAILING:
            return (live or bool(alarm.about)) and _is_tried(alarm, observed.renewals)
        case _:  # entries, configuration and what is remembered of endpoints say it all
            return False


def _is_tried(alarm: Alarm, renewals: Renewals | None) -> bool:
    """Whether what an alarm about a renewal is about is requested just now, or nothing is known of any."""
    if renewals is None:
        return True
    keys = [key for key in renewals if alarm.about == key[0]] if alarm.about else [alarm.certificate]
    return any(renewals.get(key, "") is None for key in keys)


def _of_certificate(
    entry: Entry,
    entries: Mapping[str, Entry],
    scope: Scope,
    observed: Observed,
    roots: Mapping[str, str],
    now: float,
) -> Iterator[Alarm]:
    seen = observed.chains.get(entry.id)
    if seen is not None and seen.revoked:
        yield _alarm(Kind.REVOKED, Severity.CRITICAL, entry, texts.revoked(entry, seen.revoked))
    if seen is not None and seen.missing:
        yield _alarm(Kind.CHAIN_INCOMPLETE, Severity.ERROR, entry, texts.incomplete(entry, seen.missing))
    if seen is not None and seen.ending is not None:
        yield from _chain_ends(entry, seen.ending, now)
    if failed := (observed.renewals or {}).get(entry.id):
        said = texts.renewal(entry, failed.why, failed.next_try, now)
        yield _alarm(Kind.RENEWAL_FAILING, _renewal_severity(entry, now), entry, said)
    if entry.state is State.NEXT:
        yield from _next_ends(entry, entries, now)
        return
    yield from _expiry(entry, entries, now)
    yield from _changed(entry, entries, roots, now)
    if entry.purpose is Purpose.SERVER and _waiting(entry, entries) is None and _next_is_missing(entry, scope, now):
        yield _alarm(Kind.NEXT_MISSING, Severity.WARNING, entry, texts.next_missing(entry, now))
    wants_staple = entry.must_staple and observed.stapled is not None and now > entry.since + _STAPLE_GRACE
    if wants_staple and entry.id not in (observed.stapled or ()):
        yield _alarm(Kind.STAPLE_MISSING, Severity.ERROR, entry, texts.no_staple(entry))


def _alarm(
    kind: Kind, severity: Severity, subject: Entry | str, said: texts.Said, *, certificate: str = "", step: int = -1
) -> Alarm:
    """subject: a certificate, or a host, name or address that is none. certificate: that names it, then."""
    number, about = (subject.id, "") if isinstance(subject, Entry) else (certificate, subject)
    return Alarm(kind, severity, number, said.title, said.detail, said.fix, about, said.lines, step)


def _step(certificate: CertificateFacts, now: float) -> int | None:
    """The threshold that was passed last, in days, 0 if the certificate expired, None if none was.

    A certificate of 90 days is renewed when 30 are left: steps that are no small part of a life do not count.
    """
    left = certificate.not_after - now
    if left <= 0:
        return 0
    life = certificate.not_after - certificate.not_before
    return min((step for step in _STEPS if left <= step * DAY and step * DAY * _SHARE < life), default=None)


_SEVERITIES: Final = {30: Severity.WARNING, 14: Severity.WARNING, 7: Severity.ERROR}


def _expiry(entry: Entry, entries: Mapping[str, Entry], now: float) -> Iterator[Alarm]:
    step = _step(entry.leaf, now)
    if step is None:
        return
    severity = _SEVERITIES.get(step, Severity.CRITICAL)
    if severity is Severity.WARNING and _is_planned(entry, entries):
        return
    yield _alarm(Kind.EXPIRY, severity, entry, texts.expiry(entry, now, _waiting(entry, entries)), step=step)


def _chain_ends(entry: Entry, issuer: CertificateFacts, now: float) -> Iterator[Alarm]:
    """An issuer ends before the certificate: on that day partners trust it no more, though it is valid."""
    step = _step(issuer, now)
    if step is not None:
        said = texts.chain_ends(entry, issuer, now)
        yield _alarm(Kind.CHAIN_ENDS, _SEVERITIES.get(step, Severity.CRITICAL), entry, said, step=step)


def _successors(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    """Staged ones that could take its place: named for it, or with all its names."""
    staged = (
        candidate
        for candidate in entries.values()
        if candidate.state is State.NEXT and candidate.purpose is entry.purpose
    )
    return [candidate for candidate in staged if entry.id in candidate.replaces or _covers(candidate, entry)]


def _covers(one: Entry, entry: Entry) -> bool:
    if entry.purpose is Purpose.CLIENT:
        return (one.organization, one.label) == (entry.organization, entry.label)
    names = names_of(entry)
    return bool(names) and one.key_family == entry.key_family and all(is_covered(name, [one]) for name in names)


def _waiting(entry: Entry, entries: Mapping[str, Entry]) -> Entry | None:
    """The one that waits to take its place, the one that lasts longest of several."""
    later = [other for other in _successors(entry, entries) if other.leaf.not_after > entry.leaf.not_after]
    return max(later, key=lambda other: other.leaf.not_after, default=None)


def _is_planned(entry: Entry, entries: Mapping[str, Entry]) -> bool:
    """Whether the time is set at which another one takes its place, before it ends."""
    return any(0.0 < successor.switch_at < entry.leaf.not_after for successor in _successors(entry, entries))


def _next_is_missing(entry: Entry, scope: Scope, now: float) -> bool:
    """Whether it ends within three weeks and nothing is known to renew it."""
    life, left = entry.leaf.not_after - entry.leaf.not_before, entry.leaf.not_after - now
    renewed_by_itself = entry.origin is Origin.AUTHORITY or (entry.origin is Origin.ACME and scope.acme)
    renewed_by_others = entry.origin in {Origin.SETTINGS, Origin.FILES} and bool(entry.replaces)
    near = 0 < left <= _NEXT_DAYS * DAY and life > _NEXT_DAYS * DAY * _SHARE
    return near and not renewed_by_itself and not renewed_by_others


def _next_ends(entry: Entry, entries: Mapping[str, Entry], now: float) -> Iterator[Alarm]:
    """A staged one that has expired, ends before its time comes, or hardly outlives what it is to replace."""
    ends = entry.leaf.not_after
    if ends <= max(now, entry.switch_at):
        yield _alarm(Kind.NEXT_ENDS, Severity.ERROR, entry, texts.next_ended(entry, now))
        return
    olds = [
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and entry in _successors(candidate, entries)
    ]
    old = max(olds, key=lambda candidate: candidate.leaf.not_after, default=None)
    if old is not None and ends < old.leaf.not_after + _HARDLY_LATER:
        yield _alarm(Kind.NEXT_ENDS, Severity.WARNING, entry, texts.next_hardly_later(entry, old))


def _changed(entry: Entry, entries: Mapping[str, Entry], roots: Mapping[str, str], now: float) -> Iterator[Alarm]:
    """It took the place of another one the moment it was seen, with another issuer: nobody staged it."""
    by_itself = entry.current_from > 0 and entry.added == entry.current_from
    if not by_itself or now >= entry.current_from + _CHANGE_SHOWN:
        return
    for old in (entries[number] for number in entry.replaces if number in entries):
        before, after = roots.get(old.id, ""), roots.get(entry.id, "")
        if before and after and before != after:
            yield _alarm(
                Kind.CHAIN_CHANGED, Severity.ERROR, entry, texts.changed(entry, old, N_("root"), before, after)
            )
            return
        if old.leaf.issuer != entry.leaf.issuer and entry.origin is not Origin.ACME:  # such issue by several in turn
            said = texts.changed(entry, old, N_("issuer"), old.leaf.issuer, entry.leaf.issuer)
            yield _alarm(Kind.CHAIN_CHANGED, Severity.WARNING, entry, said)
            return


def _renewal_severity(entry: Entry, now: float) -> Severity:
    left = entry.leaf.not_after - now
    if left < DAY:
        return Severity.CRITICAL
    return Severity.ERROR if left < _STEPS[2] * DAY else Severity.WARNING


def _of_host(host: str, seen: TlsaSeen, entries: Mapping[str, Entry]) -> Iterator[Alarm]:
    unmatched = [entries[text] for text in seen.unmatched if text in entries]
    match seen.state:
        case TlsaState.NOTHING:
            severity = Severity.CRITICAL if seen.proven else Severity.ERROR
            said = texts.no_tlsa(host, seen.detail, unmatched, proven=seen.proven)
            yield _alarm(Kind.TLSA_MISMATCH, severity, host, said)
        case TlsaState.PARTLY:
            yield _alarm(Kind.TLSA_MISMATCH, Severity.ERROR, host, texts.some_tlsa(host, seen.detail, unmatched))
        case TlsaState.UNUSABLE:
            said = texts.unusable_tlsa(host, seen.detail, presented_servers(entries))
            yield _alarm(Kind.TLSA_MISMATCH, Severity.WARNING, host, said)
        case TlsaState.BOGUS:
            yield _alarm(Kind.DNSSEC_BOGUS, Severity.CRITICAL, host, texts.bogus(host, seen.detail))
        case TlsaState.ABSENT | TlsaState.MATCHED:
            return


def presented_servers(entries: Mapping[str, Entry]) -> list[Entry]:
    """The server certificates that are current."""
    return [entry for entry in entries.values() if entry.state is State.CURRENT and entry.purpose is Purpose.SERVER]


def _of_names(entries: Mapping[str, Entry], scope: Scope, observed: Observed) -> Iterator[Alarm]:
    """Names that nothing bears. A gateway without any certificate offers no TLS, and its owner knows that.

    Those for which ACME gets none have another alarm, with the reason.
    """
    current = presented_servers(entries)
    requested = {name for names in _names_in(observed.renewals or {}) for name in names}
    for name in scope.names if current else ():
        if name.name not in requested and not is_covered(name.name, current):
            said = texts.not_covered(name.name, name.why, _borne(current))
            yield _alarm(Kind.NAME_NOT_COVERED, name.severity, name.name, said)


def _names_in(renewals: Renewals) -> list[tuple[str, ...]]:
    """The lists of names for which there is no certificate yet."""
    return [key for key in renewals if not isinstance(key, str)]


def _not_issued(entries: Mapping[str, Entry], scope: Scope, observed: Observed, now: float) -> Iterator[Alarm]:
    """Certificates that ACME is to get, and never got."""
    current, renewals = presented_servers(entries), observed.renewals or {}
    for names in _names_in(renewals):
        if (failed := renewals[names]) is None:
            continue
        missing = [name for name in names if not is_covered(name, current)]
        graves = [name.severity for name in scope.names if name.name in missing]
        severity = max([Severity.ERROR, *graves], key=tuple(Severity).index) if missing else Severity.WARNING
        said = texts.not_issued(names, missing, failed.why, failed.next_try, now, offers_tls=bool(current))
        yield _alarm(Kind.RENEWAL_FAILING, severity, names[0], said)


def _borne(current: Iterable[Entry]) -> list[str]:
    return list(dict.fromkeys(name for entry in current for name in names_of(entry)))


def _of_endpoints(troubles: Mapping[str, Trouble], now: float) -> Iterator[Alarm]:
    for url, trouble in troubles.items():
        if trouble.failures >= _FAILURES and now >= trouble.since + _FAILING:
            said = texts.unreachable(url, trouble.word, trouble.detail, trouble.since)
            yield _alarm(Kind.ENDPOINT_UNREACHABLE, Severity.WARNING, url, said, certificate=trouble.certificate)
