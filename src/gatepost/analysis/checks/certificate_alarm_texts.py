"""The texts of certificate alarms: what is wrong, what follows from it, and what to do. Pure.

Used by `analysis.checks.certificate_alarms`. Names of authorities and texts of their servers come from outside; each
sentence is one line of bounded length.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

import msgspec

from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.lifecycle import names_of, roll_back_until
from gatepost.protocols.message.header_text import shown_text
from gatepost.quantity import in_number
from gatepost.texts import own
from gatepost.times import minute_text

if TYPE_CHECKING:
    from gatepost.protocols.tls.facts import CertificateFacts

_DAY = 86400.0
_HOUR = 3600.0
_NAMES = 3
_LONG = 300
_NAMES_ASKED = 20
_LINE = 2000
_IN_FILES = frozenset({Origin.SETTINGS, Origin.FILES})  # what was in them before is not kept


class Said(msgspec.Struct, frozen=True):
    """title: what is wrong, in one line. detail: what shows it and what comes of it. fix: what to do, a sentence.

    lines: to be typed or put into a zone as they stand.
    """

    title: str
    detail: str
    fix: str
    lines: tuple[str, ...] = ()


def _said(title: str, detail: str, fix: str, *lines: str) -> Said:
    todo = _sentence(fix)
    shown = tuple(shown_text(line, _LINE) for line in lines)
    return Said(shown_text(title, _LONG), _sentence(detail), f"{todo[:-1]}:" if lines else todo, shown)


def _sentence(text: str) -> str:
    """One line that begins and ends as a sentence does, whoever wrote its last part."""
    shown = shown_text(text, 2 * _LONG).rstrip(".")
    return f"{shown[:1].upper()}{shown[1:]}."


def title_of(entry: Entry) -> str:
    """The name of a certificate in a sentence: "the certificate 0a1b… for mx1.contoso.example"."""
    if entry.purpose is Purpose.CLIENT:
        return f"the client certificate {entry.label!r} of {entry.organization} (certificate {entry.id})"
    names = names_of(entry)
    shown = _listed(names) or shown_text(entry.leaf.subject, 100)
    word = "the next certificate" if entry.state is State.NEXT else "the certificate"
    return f"{word} {entry.id} for {shown}"


def _listed(names: Sequence[str]) -> str:
    """As "a.example, b.example, c.example and 2 more"; "" for none."""
    shown = ", ".join(names[:_NAMES])
    return f"{shown} and {len(names) - _NAMES} more" if len(names) > _NAMES else shown


def _left(seconds: float) -> str:
    """As "in 6 days", "in 5 hours"."""
    if seconds >= 2 * _DAY:
        return in_number(int(seconds // _DAY), "in %(num)s day", "in %(num)s days")
    hours = int(seconds // _HOUR)
    return in_number(hours, "in %(num)s hour", "in %(num)s hours") if hours else "within an hour"


def _request(entry: Entry) -> tuple[str, ...]:
    """The commands for another one of its kind."""
    if entry.purpose is Purpose.CLIENT:
        which = f"--client --organization {quote(entry.organization)} --label {quote(entry.label)}"
        return f"gatepost certificate request {which} -o request.pem", f"gatepost certificate add ISSUED.pem {which}"
    names = "".join(f" --name {quote(name)}" for name in names_of(entry)[:_NAMES_ASKED])
    return (
        f"gatepost certificate request{names} -o request.pem",
        "gatepost certificate add ISSUED.pem",
        "gatepost certificate changeover status",
    )


def _check(entry: Entry) -> str:
    return f"gatepost check chain {quote(entry.chain_file or 'CHAIN.pem')}"


def _renew(entry: Entry) -> tuple[str, ...]:
    """The way to replace a certificate: a sentence, then commands to type."""
    match entry.origin:
        case Origin.SETTINGS | Origin.FILES if entry.chain_file:
            files = f"file {entry.chain_file}" if entry.in_token else f"files {entry.chain_file} and {entry.key_file}"
            return (
                f"Renew the {files}, or see why that fails; the gateway presents a new one within seconds",
                "gatepost certificate list",
            )
        case Origin.ACME:
            return "See why it was not renewed, and ask for another one", "gatepost certificate acme status"
        case Origin.AUTHORITY:
            return "See in the log why the site's authority did not renew it", "gatepost site status"
        case _:
            return "Request another one from your authority, stage what it issues, and switch to it", *_request(entry)


def _switch(waiting: Entry) -> tuple[str, ...]:
    """The way to a certificate that is there already: a sentence, then commands to type."""
    return (
        f"{waiting.id} is there to replace it: look at what it waits for, and switch to it",
        f"gatepost certificate changeover check {waiting.id}",
        f"gatepost certificate changeover switch {waiting.id}",
    )


def expiry(entry: Entry, now: float, waiting: Entry | None = None) -> Said:
    """A certificate that is in use has expired, or will soon. waiting: what is staged to take its place."""
    remedy = _switch(waiting) if waiting is not None else _renew(entry)
    left = entry.leaf.not_after - now
    client = entry.purpose is Purpose.CLIENT
    if left <= 0:
        who = "the partners that ask for it refuse the connection" if client else "partners that check it refuse mail"
        detail = f"It ended at {minute_text(entry.leaf.not_after)}: {own(who)}."
        return _said(f"{title_of(entry)} has expired", detail, *remedy)
    who = "partners that ask for it will refuse the connection" if client else "partners that check it will refuse mail"
    detail = f"It ends at {minute_text(entry.leaf.not_after)}; from then on {own(who)}."
    return _said(f"{title_of(entry)} expires {_left(left)}", detail, *remedy)


def next_missing(entry: Entry, now: float) -> Said:
    """A certificate ends soon and nothing is known to come after it."""
    end = minute_text(entry.leaf.not_after)
    detail = f"It ends at {end}. No successor is staged, and the gateway knows of no automatic renewal."
    title = f"{title_of(entry)} expires {_left(entry.leaf.not_after - now)}, and has no successor"
    return _said(title, detail, *_renew(entry))


def next_ended(entry: Entry, now: float) -> Said:
    """A staged certificate that can never be presented."""
    when = "has expired before it was presented" if entry.leaf.not_after <= now else "ends before its planned switch"
    planned = f" The switch to it is planned for {minute_text(entry.switch_at)}." if entry.switch_at else ""
    detail = f"It ends at {minute_text(entry.leaf.not_after)}.{planned}"
    fix = "Have another one issued, and remove this one"
    return _said(f"{title_of(entry)} {when}", detail, fix, f"gatepost certificate remove {entry.id}")


def next_hardly_later(entry: Entry, old: Entry) -> Said:
    """A staged certificate that gains next to nothing."""
    ends, before = minute_text(entry.leaf.not_after), minute_text(old.leaf.not_after)
    detail = f"It ends at {ends}; {old.id}, which it is to replace, at {before}."
    title = f"{title_of(entry)} ends only a little later than the certificate that it will replace"
    if entry.leaf.not_after < old.leaf.not_after:
        title = f"{title_of(entry)} ends before the certificate that it will replace"
    fix = "Have another one issued with a later end, and stage it"
    return _said(title, detail, fix, "gatepost certificate add ISSUED.pem")


def revoked(entry: Entry, why: str) -> Said:
    """The authority has revoked one of ours."""
    detail = f"{own(why)}. Partners that check for revocation refuse it."
    fix = "Find out from the authority why. Have another one issued with a new key, and present it at once"
    lines = () if entry.origin is Origin.SETTINGS else _request(entry)
    return _said(f"{title_of(entry)} was revoked", detail, fix, *lines)


def incomplete(entry: Entry, missing: str) -> Said:
    """Partners cannot get from our certificate to its root."""
    detail = f"{missing} is missing between it and its root; partners that do not have it do not trust the certificate."
    where = entry.chain_file or "the certificate's chain, and add it again"
    fix = f"Append the intermediate to {where}; this command names it, and where to get it"
    return _said(f"the chain of {title_of(entry)} is not complete", detail, fix, _check(entry))


def chain_ends(entry: Entry, issuer: CertificateFacts, now: float) -> Said:
    """An issuer of one of ours ends before it, or has ended."""
    left, end, subject = issuer.not_after - now, minute_text(issuer.not_after), shown_text(issuer.subject, 150)
    outlives = f"{subject}, which is between it and its root or is its root, ends at {end}; the certificate itself ends"
    until = minute_text(entry.leaf.not_after)
    where = f"put it into {entry.chain_file}" if entry.chain_file else "add it again with the certificate"
    fix = f"Get a later certificate of that issuer for the same key, and {where}; or have another one issued"
    if left <= 0:
        title = f"an issuer of {title_of(entry)} has expired"
        return _said(title, f"{outlives} only at {until}. Partners that check it refuse mail.", fix, _check(entry))
    title = f"an issuer of {title_of(entry)} expires {_left(left)}"
    return _said(
        title, f"{outlives} only at {until}. From then on partners that check it will refuse mail.", fix, _check(entry)
    )


def changed(entry: Entry, old: Entry, what: str, before: str, after: str) -> Said:
    """The certificate was renewed from another authority, without a changeover."""
    cause = "when ACME renewed it" if entry.origin is Origin.ACME else "when the gateway found the file renewed"
    detail = (
        f"It replaced {old.id} at {minute_text(entry.current_from)}, {own(cause)}. "
        f"Before: {shown_text(before, 150)}. Now: {shown_text(after, 150)}."
    )
    title = f"{title_of(entry)} has another {own(what)} than before, without a changeover"
    if entry.origin is Origin.ACME:
        fix = (
            "Notify partners who trust that authority alone (pinning), or roll back within 24 hours. If you meant it, "
            "there is nothing to do; the alarm ends after a week"
        )
        return _said(title, detail, fix, f"gatepost certificate changeover roll-back {entry.id}")
    fix = (
        "Notify partners who trust that authority alone (pinning), or restore the old certificate. If you meant it, "
        "there is nothing to do; the alarm ends after a week"
    )
    return _said(title, detail, fix)


def no_staple(entry: Entry) -> Said:
    """A certificate that must be stapled is not."""
    detail = "It asks for OCSP stapling (RFC 7633), and there is no response: partners that insist on one refuse it."
    fix = (
        'Let this machine reach the authority\'s OCSP responder, and see the log for "no OCSP response to staple"; '
        "this command names the responder"
    )
    return _said(f"{title_of(entry)} is presented without a stapled response", detail, fix, _check(entry))


def renewal(entry: Entry, why: str, next_try: float, now: float) -> Said:
    """Automatic renewal fails."""
    again, end = minute_text(max(next_try, now)), minute_text(entry.leaf.not_after)
    detail = (
        f"The certificate ends at {end}, the next try is at {again}. The last one failed: {shown_text(why, _LONG)}."
    )
    title, status = f"{title_of(entry)} is not renewed", "gatepost certificate acme status"
    if next_try >= entry.leaf.not_after > now:
        fix = "The next try comes too late. Have another one issued by another authority, and switch to it"
        return _said(title, detail, fix, status, *_request(entry))
    return _said(title, detail, "Fix this error; the gateway tries again by itself", status)


def not_issued(
    names: Sequence[str], missing: Sequence[str], why: str, next_try: float, now: float, *, offers_tls: bool
) -> Said:
    """ACME never got a certificate. missing: those of its names that no other one has. offers_tls: with another one."""
    state = "Another certificate has its names meanwhile."
    if missing:
        state = "No other certificate has its names." if offers_tls else "Without it the gateway offers no TLS."
    again = minute_text(max(next_try, now))
    detail = f"{own(state)} The next try is at {again}. The last one failed: {shown_text(why, _LONG)}."
    fix = "Fix this error; the gateway tries again by itself, and at once with the second command"
    return _said(
        f"no certificate has been issued for {own(_listed(names))}",
        detail,
        fix,
        "gatepost certificate acme status",
        "gatepost certificate acme renew --now",
    )


def _publish(host: str, unmatched: Sequence[Entry]) -> tuple[str, ...]:
    """The record to add, and a faster remedy: a sentence, then lines."""
    records = [f"_25._tcp.{host}. IN TLSA 3 1 1 {entry.leaf.spki_sha256}" for entry in unmatched[:_NAMES]]
    way_back = next((entry for entry in unmatched if roll_back_until(entry) and entry.origin not in _IN_FILES), None)
    if way_back is None:
        return "Add to the zone, in addition to its records", *records
    fix = "Add to the zone, in addition to its records, or roll back within 24 hours of the switch"
    return fix, *records, f"gatepost certificate changeover roll-back {way_back.id}"


def no_tlsa(host: str, detail: str, unmatched: Sequence[Entry], *, proven: bool = True) -> Said:
    """Senders that use DANE cannot deliver to us."""
    there = "TLSA records" if proven else "TLSA records (whether DNSSEC proves them is not known from here)"
    text = f"Mail from senders that use DANE stops: they find {there}, and none matches: {detail}"
    return _said(f"no TLSA record of {host} matches the presented certificates", text, *_publish(host, unmatched))


def some_tlsa(host: str, detail: str, unmatched: Sequence[Entry]) -> Said:
    """Senders that use DANE cannot deliver if they happen to take one of our certificates."""
    ids = ", ".join(entry.id for entry in unmatched)
    text = f"Senders that use DANE do not deliver when they are presented {ids or 'it'}: {detail}"
    title = f"no TLSA record of {host} matches one of the presented certificates"
    return _said(title, text, *_publish(host, unmatched))


def unusable_tlsa(host: str, detail: str, presented: Sequence[Entry]) -> Said:
    """We publish records that no sender can use."""
    text = f"Senders that use DANE demand TLS and then take any certificate; the records protect nobody: {detail}"
    return _said(f"the TLSA records of {host} cannot be used", text, *_publish(host, presented))


def bogus(host: str, detail: str) -> Said:
    """Our own zone does not validate."""
    text = f"Senders that validate DNSSEC do not deliver: the answer for its TLSA records is forged or broken: {detail}"
    fix = "Fix the zone's signatures (expired? DS of another key?); this shows where it breaks"
    return _said(f"DNSSEC of {host} is broken", text, fix, f"delv _25._tcp.{host} TLSA")


def not_covered(name: str, why: str, borne: Sequence[str]) -> Said:
    """A name that no certificate bears."""
    names = _listed(borne) or "no name at all"
    detail = f"{own(why)} The certificates presented are for {own(names)}."
    fix = "Have a certificate issued that has this name too, and add it"
    return _said(f"no certificate has the name {name}", detail, fix, "gatepost certificate add ISSUED.pem")


def unreachable(url: str, word: str, detail: str, since: float) -> Said:
    """An address of our authority gives nothing."""
    text = (
        f"Since {minute_text(since)} it has given no usable answer: {shown_text(detail, _LONG)}. Partners that check "
        "for revocation may refuse our certificate."
    )
    fix = "Check whether this machine can reach it (firewall, proxy); if it can, tell the authority"
    return _said(f"the {own(word)} of our chain cannot be fetched: {shown_text(url, 200)}", text, fix)
