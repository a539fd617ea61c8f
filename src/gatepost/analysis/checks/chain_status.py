"""Findings about the CRLs, OCSP responders and issuers that a path's certificates name, and stapling. Pure.

Used by `analysis.checks.chain_stages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.analysis.checks.chain_facts import Kind, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_report import ChainFinding, Part, endpoint, shown, title
from gatepost.analysis.checks.partner_report import Mark
from gatepost.times import minute_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.analysis.checks.chain_facts import ChainFacts, Link


_SLOW: Final = 3.0  # seconds: half of what many a server waits
_LARGE: Final = 10 * 1024 * 1024  # octets: what many a server takes at most
_SAID: Final = {UrlStatus.WRONG: "is not usable", UrlStatus.SKIPPED: "was not asked for"}
_WORD: Final = {Kind.CRL: "CRL", Kind.OCSP: "OCSP", Kind.ISSUER: "issuer"}


def revocation_findings(facts: ChainFacts) -> Iterator[ChainFinding]:
    """One for each CRL and OCSP address, and for each certificate that has none."""
    if facts.offline:
        text = "not looked at, as nothing was to be fetched"
        yield ChainFinding(Part.REVOCATION, Mark.INFO, text)
        return
    for number, link in enumerate(facts.path):
        answers = [answer for answer in link.answers if answer.kind is not Kind.ISSUER]
        if not answers and (number == 0 or not link.self_issued) and not _is_anchor(facts, number):
            yield _nowhere(link)
        is_answered = any(answer.result in {UrlStatus.GOOD, UrlStatus.REVOKED} for answer in answers)
        for answer in answers:
            yield _status(link, answer, answered=is_answered)
        if answers and link.published.unusable:
            text = f"{title(link.facts)} also names what is not asked here: {link.published.unusable}"
            yield ChainFinding(Part.REVOCATION, Mark.INFO, text)


def _is_anchor(facts: ChainFacts, number: int) -> bool:
    return number == len(facts.path) - 1 and any(store.holds_root for store in facts.stores)


def _nowhere(link: Link) -> ChainFinding:
    if link.published.unusable:
        text = f"{title(link.facts)} names only what is not asked: {link.published.unusable}"
        fix = "Partners cannot see whether it is revoked, unless they are within the authority's network."
        return ChainFinding(Part.REVOCATION, Mark.WARN, text, fix=fix)
    text = f"{title(link.facts)} names neither a CRL nor an OCSP responder: nobody can see whether it is revoked"
    return ChainFinding(Part.REVOCATION, Mark.INFO, text)


def _status(link: Link, answer: UrlResult, *, answered: bool) -> ChainFinding:
    """answered: another address of this certificate, or this one, says what is to be known."""
    if answer.result is UrlStatus.REVOKED:
        text = f"{title(link.facts)}, serial {link.facts.serial}, was {answer.detail}"
        fix = "Do not use it: have another one issued, with a new key."
        return ChainFinding(Part.REVOCATION, Mark.FAIL, text, f"according to {shown(answer.url)}", fix)
    if answer.result is UrlStatus.GOOD:
        return _good(f"{_WORD[answer.kind]} of {title(link.facts)}: {shown(answer.url)}", answer)
    verdict = Mark.WARN if answered else Mark.FAIL if answer.result is UrlStatus.WRONG else Mark.UNKNOWN
    said = _SAID.get(answer.result, "could not be fetched")
    text = f"{_WORD[answer.kind]} of {title(link.facts)} {said}: {shown(answer.url)}"
    options = ("private",) if answer.result is UrlStatus.FORBIDDEN else ()
    return ChainFinding(Part.REVOCATION, verdict, text, answer.detail, _what_to_do(link, answer), options)


def _good(about: str, answer: UrlResult) -> ChainFinding:
    shown = f"{about}: not revoked; {_figures(answer)}"
    if answer.seconds > _SLOW:
        fix = "Partners may give up waiting. See whether a proxy or a firewall delays it, else ask the authority."
        return ChainFinding(Part.REVOCATION, Mark.WARN, f"{shown}: slow", fix=fix)
    if answer.size > _LARGE:
        fix = "Some servers do not read so long a list: ask the authority for certificates with another CRL."
        return ChainFinding(Part.REVOCATION, Mark.WARN, f"{shown}: very long", fix=fix)
    return ChainFinding(Part.REVOCATION, Mark.PASS, shown)


def _figures(answer: UrlResult) -> str:
    until = f", next by {minute_text(answer.until)}" if answer.until else ""
    since = f", of {minute_text(answer.since)}" if answer.since else ""
    return f"HTTP 200, {answer.seconds * 1000:.0f} ms, {answer.size} bytes, signature good{since}{until}"


def _what_to_do(link: Link, answer: UrlResult) -> str:
    host = endpoint(answer.url) or shown(answer.url)
    match answer.result:
        case UrlStatus.FORBIDDEN:
            return "A public authority names no address of a private network; if this one is your own, allow it."
        case UrlStatus.SKIPPED:
            return "Complete the chain first."
        case UrlStatus.UNREACHABLE if answer.status:
            return f"The server at {host} is in trouble: try again later, then tell {link.facts.issuer}."
        case UrlStatus.UNREACHABLE:
            return f"Let this machine out to {host} in the firewall, and try again. Partners have to reach it too."
        case _:
            return f"This is the authority's fault, or a proxy's: try from elsewhere, then tell {link.facts.issuer}."


def staple_findings(facts: ChainFacts) -> Iterator[ChainFinding]:
    """Whether a server could staple an OCSP response, and whether it has to."""
    leaf = facts.path[0]
    answers = [answer for answer in leaf.answers if answer.kind is Kind.OCSP]
    good = next((answer for answer in answers if answer.result is UrlStatus.GOOD), None)
    if leaf.must_staple:
        yield _must_staple(has_responder=bool(answers))
    if not answers:
        instead = "; partners use its CRL" if leaf.published.crl else ""
        text = f"nothing can be stapled: the certificate names no OCSP responder{instead}"
        yield ChainFinding(Part.STAPLING, Mark.INFO, text)
    elif good is not None:
        yield ChainFinding(Part.STAPLING, Mark.PASS, f"there is an OCSP response to staple: {_held(good)}")
    elif not facts.offline and (facts.staple or leaf.must_staple):
        text = "no OCSP response could be fetched for a server to staple"
        verdict = (
            Mark.FAIL
            if any(answer.result in {UrlStatus.WRONG, UrlStatus.REVOKED} for answer in answers)
            else Mark.UNKNOWN
        )
        yield ChainFinding(
            Part.STAPLING, verdict, text, "; ".join(f"{shown(answer.url)}: {answer.detail}" for answer in answers)
        )


def _held(answer: UrlResult) -> str:
    held = f"holds until {minute_text(answer.until)}" if answer.until else "does not say how long it holds"
    return f"its signature is good, it {held}"


def _must_staple(*, has_responder: bool) -> ChainFinding:
    text = "the certificate asks for OCSP stapling (must-staple, RFC 7633)"
    if not has_responder:
        fix = "Have it issued without must-staple: it names no OCSP responder, so that nothing can be stapled."
        return ChainFinding(Part.STAPLING, Mark.FAIL, text, fix=fix)
    fix = "Use it only with a server that staples, as gatepost does. Clients that obey it refuse others."
    return ChainFinding(Part.STAPLING, Mark.WARN, text, fix=fix)


def issuer_findings(facts: ChainFacts) -> Iterator[ChainFinding]:
    """Whether the issuers' certificates are to be had where the certificates say."""
    for link in facts.path:
        for answer in link.answers:
            if answer.kind is not Kind.ISSUER or answer.result is UrlStatus.SKIPPED:
                continue
            about = f"the issuer of {title(link.facts)}: {shown(answer.url)}"
            if answer.result is UrlStatus.GOOD:
                text = f"{about}: HTTP 200, {answer.seconds * 1000:.0f} ms, {answer.size} bytes"
                yield ChainFinding(Part.ISSUERS, Mark.PASS, text)
            else:
                fix = "Windows servers look there for what a partner forgot to send. " + _what_to_do(link, answer)
                yield ChainFinding(Part.ISSUERS, Mark.WARN, about, answer.detail, fix)
