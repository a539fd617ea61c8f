"""What alarms about certificates say: what is wrong, what comes of it, and what to do, for somebody in a hurry. Pure.

Used by `certificates.alarms`. Names of authorities and texts of their servers come from outside; each sentence is one
line of bounded length.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gatepost.certificates.course import names_of, roll_back_until
from gatepost.certificates.entry import Origin, Purpose, State
from gatepost.message.header_text import shown_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.certificates.entry import Entry

__all__ = [
    "Said",
    "bogus",
    "changed",
    "expiry",
    "incomplete",
    "next_ended",
    "next_hardly_later",
    "next_missing",
    "no_staple",
    "no_tlsa",
    "not_covered",
    "renewal",
    "revoked",
    "some_tlsa",
    "title_of",
    "unreachable",
    "unusable_tlsa",
]

_DAY = 86400.0
_HOUR = 3600.0
_NAMES = 3
_LONG = 300


class Said(NamedTuple):
    """title: what is wrong, in one line. detail: what shows it and what comes of it. fix: what to do."""

    title: str
    detail: str
    fix: str


def _said(title: str, detail: str, fix: str) -> Said:
    return Said(shown_text(title, _LONG), _sentence(detail), shown_text(fix, 3 * _LONG))


def _sentence(text: str) -> str:
    """One line that begins and ends as a sentence does, whoever wrote its last part."""
    shown = shown_text(text, 2 * _LONG).rstrip(".")
    return f"{shown[:1].upper()}{shown[1:]}."


def title_of(entry: Entry) -> str:
    """What a certificate is called in a sentence: "the certificate 0a1b… for mx1.contoso.example"."""
    if entry.purpose is Purpose.CLIENT:
        return f"the client identity {entry.label!r} of {entry.organization} (certificate {entry.id})"
    names = names_of(entry)
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    shown = ", ".join(names[:_NAMES]) + more if names else shown_text(entry.leaf.subject, 100)
    word = "the next certificate" if entry.state is State.NEXT else "the certificate"
    return f"{word} {entry.id} for {shown}"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}Z"


def _left(seconds: float) -> str:
    """As "in 6 days", "in 5 hours"."""
    if seconds >= 2 * _DAY:
        return f"in {int(seconds // _DAY)} days"
    hours = int(seconds // _HOUR)
    return f"in {hours} hour{'' if hours == 1 else 's'}" if hours else "within an hour"


def _renew(entry: Entry) -> str:
    """How a new certificate comes into the place of this one."""
    match entry.origin:
        case Origin.SETTINGS | Origin.FILES if entry.chain_file:
            return (
                f"Renew the files {entry.chain_file} and {entry.key_file}, or see why that is not done; the gateway "
                "presents what is in them within seconds: gatepost certificate list"
            )
        case Origin.ACME:
            return "See why it was not renewed, and ask for another one: gatepost certificate acme status"
        case Origin.AUTHORITY:
            return (
                "See why it was not renewed by the site's authority, in the log and with: gatepost certificate history"
            )
        case _:
            again = "gatepost certificate request makes a new key and a request for your authority"
            return (
                f"{again}; gatepost certificate add stages what it issues, gatepost certificate changeover presents it"
            )


def expiry(entry: Entry, now: float) -> Said:
    """A certificate that is in use has expired, or will soon."""
    left = entry.leaf.not_after - now
    client = entry.purpose is Purpose.CLIENT
    if left <= 0:
        who = "the partners that ask for it refuse the connection" if client else "partners that check it refuse mail"
        detail = f"It ended at {_day(entry.leaf.not_after)}: {who}."
        return _said(f"{title_of(entry)} has expired", detail, _renew(entry))
    who = "partners that ask for it will refuse the connection" if client else "partners that check it will refuse mail"
    detail = f"It ends at {_day(entry.leaf.not_after)}; from then on {who}."
    return _said(f"{title_of(entry)} expires {_left(left)}", detail, _renew(entry))


def next_missing(entry: Entry, now: float) -> Said:
    """A certificate ends soon and nothing is known to come after it."""
    detail = f"It ends at {_day(entry.leaf.not_after)}, and no other is staged; nothing is known to renew it by itself."
    return _said(
        f"{title_of(entry)} expires {_left(entry.leaf.not_after - now)}, with none to follow", detail, _renew(entry)
    )


def next_ended(entry: Entry, now: float) -> Said:
    """A staged certificate that can never be presented."""
    when = "has expired before it was presented" if entry.leaf.not_after <= now else "ends before it is to be presented"
    planned = f" It was to be presented from {_day(entry.switch_at)} on." if entry.switch_at else ""
    fix = f"Have another one issued; then: gatepost certificate remove {entry.id}"
    return _said(f"{title_of(entry)} {when}", f"It ends at {_day(entry.leaf.not_after)}.{planned}", fix)


def next_hardly_later(entry: Entry, old: Entry) -> Said:
    """A staged certificate that gains next to nothing."""
    detail = (
        f"It ends at {_day(entry.leaf.not_after)}; {old.id}, which it is to replace, at {_day(old.leaf.not_after)}."
    )
    fix = "Have another one issued with a later end, and stage that: gatepost certificate add"
    return _said(f"{title_of(entry)} ends about when the one does that it is to replace", detail, fix)


def revoked(entry: Entry, why: str) -> Said:
    """The authority has revoked one of ours."""
    detail = f"{why}. Partners that look for revoked certificates refuse it."
    fix = (
        "Find out from the authority why. Have another one issued with a new key, and present it at once: "
        "gatepost certificate request, add, changeover"
    )
    return _said(f"{title_of(entry)} was revoked", detail, fix)


def incomplete(entry: Entry, missing: str) -> Said:
    """Partners cannot get from our certificate to its root."""
    detail = f"{missing} is missing between it and its root; partners that do not have it do not trust the certificate."
    where = entry.chain_file or "the certificate's chain, and add it again (gatepost certificate add)"
    fix = f"Append the intermediate to {where}; gatepost check chain names it and where it is to be had"
    return _said(f"the chain of {title_of(entry)} is not complete", detail, fix)


def changed(entry: Entry, old: Entry, what: str, before: str, after: str) -> Said:
    """The certificate was renewed from another authority, without a changeover."""
    detail = (
        f"It took the place of {old.id} at {_day(entry.current_from)}, when the file was found renewed. "
        f"Before: {shown_text(before, 150)}. Now: {shown_text(after, 150)}."
    )
    fix = (
        "Tell partners who trust that authority alone (pinning), or put the old certificate back. If you meant it, "
        "nothing is to be done; this is told for a week"
    )
    return _said(f"{title_of(entry)} has another {what} than before, without a changeover", detail, fix)


def no_staple(entry: Entry) -> Said:
    """A certificate that must be stapled is not."""
    detail = (
        "It asks for OCSP stapling (must-staple, RFC 7633), and there is no response: partners that obey refuse it."
    )
    fix = (
        "Let this machine out to the authority's OCSP responder (gatepost check chain names it), and see the log for "
        '"no OCSP response to staple"'
    )
    return _said(f"{title_of(entry)} is presented without a stapled response", detail, fix)


def renewal(entry: Entry, why: str, now: float) -> Said:
    """Automatic renewal fails."""
    detail = f"The last try said: {shown_text(why, _LONG)}. It expires {_left(max(0.0, entry.leaf.not_after - now))}."
    return _said(
        f"{title_of(entry)} is not renewed",
        detail,
        "Mend what it says; it is tried again by itself: gatepost certificate acme status",
    )


def _record(host: str, entry: Entry) -> str:
    return f"_25._tcp.{host}. IN TLSA 3 1 1 {entry.leaf.spki_sha256}"


def _publish(host: str, unmatched: Sequence[Entry]) -> str:
    """Which record to add, and what takes less time than that."""
    records = "; ".join(_record(host, one) for one in unmatched[:_NAMES])
    way_back = next((one for one in unmatched if roll_back_until(one)), None)
    back = f", or within 24 hours go back: gatepost certificate changeover roll-back {way_back.id}" if way_back else ""
    return f"Put into the zone: {records}{back}"


def no_tlsa(host: str, detail: str, unmatched: Sequence[Entry], *, proven: bool = True) -> Said:
    """Senders that use DANE cannot deliver to us."""
    there = "TLSA records" if proven else "TLSA records (whether DNSSEC proves them cannot be told from here)"
    text = f"Mail from senders that use DANE stops: they find {there}, and none matches: {detail}"
    return _said(f"no TLSA record of {host} matches what is presented", text, _publish(host, unmatched))


def some_tlsa(host: str, detail: str, unmatched: Sequence[Entry]) -> Said:
    """Senders that use DANE cannot deliver if they happen to take one of our certificates."""
    ids = ", ".join(one.id for one in unmatched)
    text = f"Senders that use DANE and are shown {ids or 'it'} do not deliver: {detail}"
    return _said(f"no TLSA record of {host} matches one of the certificates presented", text, _publish(host, unmatched))


def unusable_tlsa(host: str, detail: str, presented: Sequence[Entry]) -> Said:
    """We publish records that no sender can use."""
    text = f"Senders that use DANE demand TLS and then take any certificate: the records protect nobody: {detail}"
    return _said(f"the TLSA records of {host} cannot be used", text, _publish(host, presented))


def bogus(host: str, detail: str) -> Said:
    """Our own zone does not validate."""
    text = f"Senders that validate DNSSEC do not deliver: the answer for its TLSA records is forged or broken: {detail}"
    fix = "Mend the zone's signatures (expired? DS of another key?): delv or dnsviz show where it breaks"
    return _said(f"DNSSEC of {host} is broken", text, fix)


def not_covered(name: str, why: str, borne: Sequence[str]) -> Said:
    """A name that no certificate bears."""
    shown = ", ".join(borne[:_NAMES]) + (f" and {len(borne) - _NAMES} more" if len(borne) > _NAMES else "")
    detail = f"{why} The certificates presented are for {shown or 'no name at all'}."
    fix = "Have a certificate issued that bears it too, and add it: gatepost certificate add"
    return _said(f"no certificate bears the name {name}", detail, fix)


def unreachable(url: str, word: str, detail: str, since: float) -> Said:
    """An address of our authority gives nothing."""
    text = (
        f"Since {_day(since)} it gave nothing of use: {shown_text(detail, _LONG)}. Partners that look for revoked "
        "certificates may refuse ours."
    )
    fix = "See whether this machine may get out to it (firewall, proxy); if it may, tell the authority"
    return _said(f"the {word} of our chain cannot be had: {shown_text(url, 200)}", text, fix)
