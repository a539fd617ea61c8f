"""Alarms about a site's authority that ends and nodes that do not renew, before mail between nodes stops. Pure.

Called by `node.alarms` and `manage.use_cases.alarms`; `analysis.checks.alarm_subjects` gathers the facts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DAY: Final = 86400.0
_AUTHORITY_ENDS: Final = 180 * _DAY  # the root must get to everybody who trusts the one before
_AUTHORITY_ENDS_SOON: Final = 30 * _DAY
_LATE: Final = 4  # it was to be renewed at half of its life: with less left than this part of it, it is late


class SiteCertificate(msgspec.Struct, frozen=True):
    """The last certificate of a node, as it is known here, or the newest root. issued, not_after: seconds since 1970.

    node: its host name; for a root the name of the site, and is_root. is_here: its key is here. address: where this
    node renews it, "" if the site's authority is here.
    """

    node: str
    issued: float
    not_after: float
    is_here: bool = False
    address: str = ""
    is_root: bool = False


def judge_site_certificates(certificates: Iterable[SiteCertificate], now: float) -> Iterator[Alarm]:
    """One for each that has expired, or was not renewed when it should have been, and for a root that ends."""
    for certificate in certificates:
        left = certificate.not_after - now
        if certificate.is_root and left < _AUTHORITY_ENDS:
            yield _of_root(certificate, left)
        elif not certificate.is_root and left < (certificate.not_after - certificate.issued) / _LATE:
            yield _alarm(certificate, is_over=left <= 0)


def _of_root(root: SiteCertificate, left: float) -> Alarm:
    site, end = root.node, second_text(root.not_after)
    severity = Severity.ERROR if left < _AUTHORITY_ENDS_SOON else Severity.WARNING
    title = f"the authority of the site {site} ends"
    detail = (
        f"It ends at {end}. Then no node has a valid certificate, mail between nodes waits, and each must join again."
    )
    fix = (
        "Make the next authority, and give its root to everybody who trusts this one. Nodes get to know it as they"
        " renew."
    )
    if left <= 0:
        severity, title = Severity.CRITICAL, f"the authority of the site {site} has expired"
        detail = f"It ended at {end}. Mail between nodes waits, and is returned when it expires."
        fix = "Make the next authority. Then let each node that has another store join again, with a token for it."
    lines = "gatepost site init --replace", "gatepost site root"
    return make_alarm(Kind.SITE_CERTIFICATE, severity, f"{site} CA", title, detail, fix, *lines)


def _alarm(certificate: SiteCertificate, *, is_over: bool) -> Alarm:
    node, end = certificate.node, second_text(certificate.not_after)
    detail = (
        f"It ended at {end}. Mail between this node and others of its site waits, and is returned when it expires."
        if is_over
        else f"It ends at {end}, and should have been renewed at half of its life. When it has ended, mail between this"
        " node and others of its site waits."
    )
    fix, lines = _advice(certificate)
    return make_alarm(
        Kind.SITE_CERTIFICATE,
        Severity.CRITICAL if is_over else Severity.ERROR,
        node,
        f"the node certificate of {node} has expired" if is_over else f"the node certificate of {node} is not renewed",
        detail,
        fix,
        "gatepost site status",
        *lines,
    )


def _advice(certificate: SiteCertificate) -> tuple[str, tuple[str, ...]]:
    """What to do, and lines for a shell."""
    token = command_line("gatepost", "site", "token", "--for", named=certificate.node)
    if not certificate.is_here:
        fix = (
            "Start that node, or see why in its log. After the end it needs a token; if it is gone for good, remove it:"
        )
        return fix, (token, command_line("gatepost", "site", "nodes", "remove", named=certificate.node))
    if certificate.address:
        fix = "See why in the log of that node. After the end make a token where the authority is, and join again:"
        return fix, (token, command_line("gatepost", "site", "join", certificate.address, "--token", "-", "--replace"))
    return "The authority is here: start that node, or see why in its log.", ()
