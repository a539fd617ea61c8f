"""Certificates as pages show them: what is left of a life, names in short, rows of lists. Pure.

Used by `manage.pages.certificates` and `manage.pages.changeover`; text of the certificates is anybody's, and templates
escape it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.language import _, ngettext
from gatepost.manage.use_cases.certificate_views import ViewCertificate
from gatepost.manage.use_cases.certificates import CertificateSummary, common_name
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.lifecycle import names_of, roll_back_until

if TYPE_CHECKING:
    from starlette.requests import Request

    from gatepost.manage.use_cases.presentation_places import PresentationPlaces


LEVELS = {State.CURRENT: "pass", State.NEXT: "info", State.DEPRECATED: "warn", State.RETIRED: "waiting"}
"""The badge of each state."""

_DAY = 86400.0


class Life(NamedTuple):
    """share: of its life that is left, 0 to 1. text: the same in words. level: pass, warn or fail.

    span: hours and minutes, of the time to roll back.
    """

    share: float
    text: str
    level: str
    span: str = ""


def life(entry: Entry, now: float) -> Life:
    """Bad in the last 7 days or fifth of its life, whichever is shorter; a warning in the last 21 days or third."""
    leaf = entry.leaf
    whole, left = max(leaf.not_after - leaf.not_before, 1.0), leaf.not_after - now
    if left <= 0:
        return Life(0.0, _("expired"), "fail")
    days = int(left // _DAY)
    text = _("%(days)s of %(all)s days left", days=days, all=round(whole / _DAY)) if days else _("expires within a day")
    if now < leaf.not_before:
        return Life(
            1.0,
            ngettext("valid in %(num)s day", "valid in %(num)s days", int((leaf.not_before - now) // _DAY) + 1),
            "warn",
        )
    if left < min(7 * _DAY, whole / 5):
        return Life(left / whole, text, "fail")
    return Life(left / whole, text, "warn" if left < min(21 * _DAY, whole / 3) else "pass")


def way_back(entry: Entry, now: float) -> Life | None:
    """Time left to roll back a switch, of 24 hours; None if there is none."""
    until = roll_back_until(entry)
    if until <= now:
        return None
    left = until - now
    hours, minutes = int(left // 3600), int(left % 3600 // 60)
    span = _("%(hours)s h %(minutes)s min", hours=hours, minutes=minutes)
    return Life(left / _DAY, _("%(span)s left", span=span), "pass" if left > _DAY / 4 else "warn", span)


def label_of(certificate: Entry | CertificateSummary) -> str:
    """Name of a certificate for people: its label, its first name, or its CN."""
    if isinstance(certificate, CertificateSummary):
        return certificate.label or next(iter(certificate.names), "") or common_name(certificate.subject)
    return certificate.label or next(iter(names_of(certificate)), "") or common_name(certificate.leaf.subject)


def has_text(entry: Entry, text: str) -> bool:
    """Whether an id, a name or a thumbprint of a certificate holds the text, which is in small letters."""
    leaf = entry.leaf
    texts = (entry.id, entry.label, entry.organization, leaf.subject, leaf.issuer, leaf.sha256, *leaf.dns_names)
    return any(text in known.lower() for known in texts)


def pin_of(entry: Entry) -> str:
    """SHA-256 of the public key in base64, as pins are written (RFC 7469 section 2.4)."""
    return base64.b64encode(bytes.fromhex(entry.leaf.spki_sha256)).decode("ascii")


def named_certificate(request: Request) -> ViewCertificate:
    """The certificate that the address names: its id, a label, or the beginning of a thumbprint."""
    return ViewCertificate(certificate=request.path_params["number"])


def row(entry: Entry, places: PresentationPlaces | None, now: float) -> dict[str, Any]:
    """A line of a list. places: where it is presented; None for nowhere."""
    return {
        "entry": entry,
        "level": "fail" if places and places.problems else LEVELS[entry.state],
        "name": label_of(entry),
        "names": names_of(entry),
        "issuer": common_name(entry.leaf.issuer),
        "life": life(entry, now),
        "where": places.where if places else (),
        "problems": places.problems if places else (),
    }
