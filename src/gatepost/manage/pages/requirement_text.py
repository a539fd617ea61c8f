"""Words for the requirement of a hop and for those who require it, as pages show them. Pure.

A decision and the trace write both in short: "authenticated(dane and *.b.example) with requiretls", "connector:bank"
(`policy.decisions.outbound.describe`, `policy.decisions.requirement.Source`). What is not of that form stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gatepost.language import _
from gatepost.texts import N_

_SHORT: Final = re.compile(r"(opportunistic|encrypted|authenticated)(?:\((.+?)\))?(?: with (.+))?")
_LEVELS: Final = {
    "opportunistic": N_("Opportunistic TLS"),
    "encrypted": N_("TLS with any certificate"),
    "authenticated": N_("TLS with a verified certificate"),
}
_LIMITS: Final = {
    "requiretls": "REQUIRETLS",
    "post-quantum key exchange": N_("post-quantum key exchange"),
}
_LISTS: Final = {
    "groups": N_("groups %(names)s"),
    "cipher suites": N_("cipher suites %(names)s"),
}
_SOURCES: Final = {
    "connector": N_("connector %(name)s"),
    "rule": N_("mail flow rule %(name)s"),
    "organization": N_("organization %(name)s"),
}
_PLAIN_SOURCES: Final = {
    "dane": "DANE",
    "mta-sts": "MTA-STS",
    "requiretls": "REQUIRETLS",
    "default": N_("the default"),
    "internal:site": N_("the nodes of the site"),
}


def requirement_text(short: str) -> str:
    """A requirement: "TLS with a verified certificate for mx.b.example, DANE, REQUIRETLS". short: of a decision."""
    if (match := _SHORT.fullmatch(short)) is None:
        return short
    level, proofs, limits = match.groups(default="")
    parts = proofs.split(" and ") if proofs else []
    names = [_alternatives(part) for part in parts if part != "dane"]
    text = (
        _("TLS with a verified certificate for %(names)s", names=_(" and ").join(names)) if names else _(_LEVELS[level])
    )
    dane = ["DANE"] if "dane" in parts else []
    return ", ".join([text, *dane, *(map(_limit, limits.split(" and ")) if limits else ())])


def _alternatives(names: str) -> str:
    return _(" or ").join(names.split(","))


def _limit(text: str) -> str:
    if text in _LIMITS:
        return _(_LIMITS[text])
    kind, space, names = text.rpartition(" ")
    return _(_LISTS[kind], names=names.replace(",", ", ")) if space and kind in _LISTS else text


def sources_text(sources: Iterable[object]) -> str:
    """Those who require it: "connector bank, DANE". sources: each as the trace has it."""
    return ", ".join(_source(str(source)) for source in sources)


def _source(short: str) -> str:
    if short in _PLAIN_SOURCES:
        return _(_PLAIN_SOURCES[short])
    kind, colon, name = short.partition(":")
    return _(_SOURCES[kind], name=name) if colon and kind in _SOURCES else short
