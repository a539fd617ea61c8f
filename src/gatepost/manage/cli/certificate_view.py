"""Print certificates for people: one row of a list, or everything about one.

Used by the `certificate` commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.manage.cli.output import _, print_facts, print_table, printable, quantity, say
from gatepost.manage.use_cases.certificates import STATES, common_name
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.entry import Purpose, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.certificates import CertificateDetail, CertificateRequest, CertificateSummary


_COLUMNS = ("id", "state", "names", "issuer", "key", "valid_until", "in_use", "origin")
_CLIENT_COLUMNS = ("id", "state", "organization", "label", "subject", "issuer", "key", "valid_until", "origin")
_REQUEST_COLUMNS = ("id", "purpose", "organization", "label", "names", "key", "added", "key_is")
_TIME_COLUMNS = ("added", "since", "current_from", "current_until", "switch_at")
_PLAIN_COLUMNS = ("id", "label", "organization", "state", "purpose", "origin")
_FACT_COLUMNS = ("subject", "issuer", "serial", "key", "sha1", "sha256", "spki_sha256")
_SIDES = {Purpose.SERVER: _COLUMNS, Purpose.CLIENT: _CLIENT_COLUMNS}


def print_list(certificates: Sequence[CertificateSummary]) -> None:
    """Current beside next and deprecated, the newest first; client certificates in a table of their own."""
    for purpose, columns in _SIDES.items():
        chosen = [certificate for certificate in certificates if certificate.purpose == purpose]
        chosen.sort(key=lambda certificate: (STATES.index(State(certificate.state)), -(certificate.since or 0.0)))
        if purpose is Purpose.CLIENT and not chosen:
            continue
        if purpose is Purpose.CLIENT:
            say("\nclient certificates")
        print_table(columns, (_row(certificate, columns) for certificate in chosen))


def print_requests(requests: Sequence[CertificateRequest]) -> None:
    """Print requests that wait for their certificates, if there are any."""
    if not requests:
        return
    say("\nrequests that wait for their certificate")
    rows = (
        msgspec.structs.asdict(request)
        | {
            "names": ", ".join(request.names),
            "added": f"{moment(request.added)[:16]}Z",
            "key_is": request.key_file or _("sealed"),
        }
        for request in requests
    )
    print_table(_REQUEST_COLUMNS, ([str(row[column]) for column in _REQUEST_COLUMNS] for row in rows))


def _row(certificate: CertificateSummary, columns: Sequence[str]) -> list[str]:
    shown = msgspec.structs.asdict(certificate) | {
        "state": _state(certificate),
        "names": ", ".join(certificate.names) or _("(none) %(subject)s", subject=certificate.subject),
        "issuer": common_name(certificate.issuer),
        "subject": common_name(certificate.subject),
        "valid_until": f"{moment(certificate.not_after)[:10]} ({_left(certificate.days_left)})",
        "in_use": _in_use(certificate),
    }
    return [str(shown[column]) for column in columns]


def _state(certificate: CertificateSummary) -> str:
    if certificate.state == State.NEXT and certificate.switch_at:
        return _("next (current %(switch_at)s)", switch_at=moment(certificate.switch_at))
    return certificate.state


def _left(days: int) -> str:
    if days < 0:
        return _("expired %(days)s ago", days=quantity(-days, "day")) if days < -1 else _("expired")
    return _("%(days)s left", days=quantity(days, "day"))


def _in_use(certificate: CertificateSummary) -> str:
    begun, ended = (f"{moment(at)[:16]}Z" if at else "" for at in (certificate.current_from, certificate.current_until))
    if not begun and not ended:
        return _("not recorded yet") if certificate.state == State.CURRENT else _("never")
    return f"{begun} - {ended}".strip()


def print_certificate(certificate: CertificateDetail) -> None:
    """Everything about a certificate, a line for each field, its chain below."""
    print_facts(((key, text) for key, text in _lines(certificate) if text), width=15)
    for number, link in enumerate(certificate.chain, 1):
        say(
            "\nchain %(number)s of %(chain)s: %(subject)s",
            number=number,
            chain=len(certificate.chain),
            subject=printable(link.subject),
        )
        facts = {key: getattr(link, key) for key in ("issuer", "serial", "key", "sha256")}
        facts["valid"] = f"{moment(link.not_before)} - {moment(link.not_after)}"
        facts |= {key: " ".join(addresses) for key in ("crl", "ocsp", "aia") if (addresses := getattr(link, key))}
        print_facts(facts.items(), indent="  ")


def _lines(certificate: CertificateDetail) -> list[tuple[str, str]]:
    record = msgspec.structs.asdict(certificate)
    times = [(key, moment(record[key] or 0)) for key in _TIME_COLUMNS]
    validity = f"{moment(certificate.not_before)} - {moment(certificate.not_after)} ({_left(certificate.days_left)})"
    plain = [(key, str(record[key])) for key in _PLAIN_COLUMNS]
    facts = {key: record[key] for key in _FACT_COLUMNS}
    facts = {
        **facts,
        "tlsa": certificate.tlsa if certificate.purpose == Purpose.SERVER else "",
        "valid": validity,
        "must_staple": _("yes") if certificate.must_staple else "",
        "replaces": ", ".join(certificate.replaces),
        "private key": certificate.key_is,
        "chain file": certificate.chain_file,
    }
    return [*plain, ("names", ", ".join(certificate.names)), *facts.items(), *times]
