"""check_host() of SPF: whether a domain lets an address send its mail (RFC 7208 section 4).

Driven by `net.lookups.evaluation`: it yields `protocols.dns.lookups.Query` and gets the answers. Bounded as the RFC
has it: 10 terms that look something up, 2 void look-ups, 10 hosts of an MX or of a PTR.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.protocols.dns.lookups import DnsRecords, Evaluation, Query
from gatepost.protocols.spf.record import MacroFacts, SpfError, SpfRecord, chosen_record, expand_domain, parse_spf

if TYPE_CHECKING:
    from gatepost.protocols.spf.record import Directive


MOST_TERMS: Final = 10
"""Terms that cause look-ups (RFC 7208 section 4.6.4)."""
MOST_VOID: Final = 2
"""Look-ups without an answer (the same section)."""
_MOST_HOSTS: Final = 10  # of an MX, of a PTR
_MOST_RECORDS: Final = 1000  # of all answers: 100 hosts of an MX may have 1500 addresses each, 20 us apiece

_RESULTS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_LABEL: Final = re.compile(r"[^.]{1,63}")


class SpfResult(NamedTuple):
    """result: "pass", "fail", "softfail", "neutral", "none", "temperror" or "permerror". why: a clause, "" if plain."""

    result: str
    why: str = ""


class _NoAnswer(Exception):  # noqa: N818 - it is what was found
    """A look-up failed for now. The text says which."""


def check_host(address: IPv4Address | IPv6Address, domain: str, sender: str, hello: str) -> Evaluation[SpfResult]:
    """Evaluate the SPF record of a domain.

    domain: of the reverse-path, or of HELO where that is null, in A-labels. sender: the whole address, with
    "postmaster" for a missing local part. hello: what EHLO said.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return (yield from _Check(address, sender, hello).whole(domain))


class _Check:
    """One evaluation with its limits, which all included records share."""

    def __init__(self, address: IPv4Address | IPv6Address, sender: str, hello: str) -> None:
        self._address = address
        self._sender = sender
        self._hello = hello
        self._terms = 0
        self._void = 0
        self._records = 0

    def whole(self, domain: str) -> Evaluation[SpfResult]:
        try:
            return (yield from self._host(domain))
        except SpfError as error:
            return SpfResult("permerror", str(error))
        except _NoAnswer as failure:
            return SpfResult("temperror", str(failure))

    def _host(self, domain: str) -> Evaluation[SpfResult]:
        if not _is_name(domain):
            return SpfResult("none", "the domain is not a domain name")
        answer = yield from self._ask(domain, "TXT", counts=False)
        text = chosen_record(answer.texts)
        if text is None:
            return SpfResult("none")
        record = parse_spf(text)
        for directive in record.directives:
            if (yield from self._matches(directive, domain)):
                return SpfResult(_RESULTS[directive.qualifier])
        return (yield from self._redirected(record, domain))

    def _redirected(self, record: SpfRecord, domain: str) -> Evaluation[SpfResult]:
        if not record.redirect:
            return SpfResult("neutral")
        self._count()
        target = self._expanded(record.redirect, domain)
        result = yield from self._host(target)
        if result.result == "none":
            raise SpfError(f"{_shown(target)}, to which redirect leads, has no SPF record")
        return result

    def _matches(self, directive: Directive, domain: str) -> Evaluation[bool]:
        if directive.name == "all":
            return True
        if directive.network is not None:
            return self._address in directive.network
        self._count()
        target = self._expanded(directive.domain, domain) if directive.domain else domain
        return (yield from self._looked_up(directive, target))

    def _looked_up(self, directive: Directive, target: str) -> Evaluation[bool]:
        match directive.name:
            case "include":
                return (yield from self._included(target))
            case "exists":
                return bool((yield from self._ask(target, "A")).values)
            case "a":
                return (yield from self._is_address_of(target, directive))
            case "mx":
                return (yield from self._is_mail_host(target, directive))
            case _:
                return (yield from self._is_named(target))

    def _included(self, target: str) -> Evaluation[bool]:
        result = yield from self._host(target)
        if result.result == "none":
            raise SpfError(f"include:{_shown(target)} has no SPF record")
        return result.result == "pass"

    def _is_mail_host(self, target: str, directive: Directive) -> Evaluation[bool]:
        hosts = (yield from self._ask(target, "MX")).values
        if len(hosts) > _MOST_HOSTS:
            raise SpfError(f"mx:{_shown(target)} has more than {_MOST_HOSTS} hosts")
        for host in hosts:
            if (yield from self._is_address_of(host, directive, counts=False)):
                return True
        return False

    def _is_address_of(self, host: str, directive: Directive, *, counts: bool = True) -> Evaluation[bool]:
        addresses = yield from self._addresses(host, counts=counts)
        length = directive.ip4_length if self._address.version == 4 else directive.ip6_length
        return any(self._address in ip_network((address, length), strict=False) for address in addresses)

    def _addresses(self, host: str, *, counts: bool = True) -> Evaluation[tuple[str, ...]]:
        kind = "A" if self._address.version == 4 else "AAAA"
        return (yield from self._ask(host, kind, counts=counts)).values

    def _is_named(self, target: str) -> Evaluation[bool]:
        """Section 5.5: whether a name of the address lies in the domain, and leads back to it."""
        try:
            names = (yield from self._ask(self._address.reverse_pointer, "PTR")).values
        except _NoAnswer:
            return False
        wanted = target.lower()
        for name in names[:_MOST_HOSTS]:
            if name.lower() != wanted and not name.lower().endswith("." + wanted):
                continue
            try:
                addresses = yield from self._addresses(name, counts=False)
            except _NoAnswer:
                continue
            if self._address in map(ip_address, addresses):
                return True
        return False

    def _ask(self, name: str, kind: str, *, counts: bool = True) -> Evaluation[DnsRecords]:
        """counts: an answer without records counts as a void look-up. A name that is none has no records."""
        answer = yield Query(name.removesuffix("."), kind)
        if answer.failure:
            raise _NoAnswer(answer.failure)
        self._records += len(answer.values) + len(answer.texts)
        if self._records > _MOST_RECORDS:
            raise SpfError(f"its look-ups found more than {_MOST_RECORDS} records")
        if counts and answer.is_void:
            self._void += 1
            if self._void > MOST_VOID:
                raise SpfError(f"more than {MOST_VOID} look-ups found nothing")
        return answer

    def _count(self) -> None:
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise SpfError(f"more than {MOST_TERMS} terms need look-ups")

    def _expanded(self, spec: str, domain: str) -> str:
        return expand_domain(spec, MacroFacts(self._sender, domain, self._address, self._hello))


def _is_name(domain: str) -> bool:
    """Whether it is a name of at least two labels (section 4.3); no address literal."""
    labels = domain.removesuffix(".").split(".")
    return len(labels) > 1 and len(domain) <= 254 and all(map(_LABEL.fullmatch, labels)) and not domain.startswith("[")


def _shown(text: str) -> str:
    return ascii(text[:60])[1:-1]
