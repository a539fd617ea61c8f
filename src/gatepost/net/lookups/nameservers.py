"""The configured recursive nameservers: tried in order, their DNSSEC flag trusted only where allowed.

Asks for `net.lookups.dns`. The nameserver recurses, follows CNAMEs and validates; here it is decided whose AD bit
counts, and a refusal for DNSSEC's sake differs from one for any other reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import dns.edns
import dns.flags
import dns.message
import dns.rcode

from gatepost.net.lookups.nameserver import Nameserver, NameserverFailed
from gatepost.net.lookups.question import DnsResponse, LookupFailed, Question, question_text
from gatepost.net.shortage import shortage

_PAYLOAD = 1232  # octets over UDP that no path fragments

# Extended DNS errors of an answer that is there, but not proven (RFC 8914 section 4).
_BOGUS = frozenset({6, 7, 8, 9, 10, 11, 12, 25})
_SHOWN = 200  # characters of what a nameserver explains


class Nameservers:
    """One or more recursive nameservers, tried in order.

    texts: "ADDRESS", "ADDRESS:PORT" or "[V6ADDRESS]:PORT". timeout: seconds for one question to one nameserver.
    attempts: rounds through all nameservers. trust_ad: believe the AD bit of nameservers on loopback and of those in
    `trusted` (addresses without port); of others never: the way to them is not protected (RFC 6840 section 5.8). While
    one is believed, the others are not tried: a name whose signatures are wrong would come from them as if it had none.
    Raises ValueError if there is no nameserver or one cannot be parsed.
    """

    def __init__(
        self,
        texts: Sequence[str],
        *,
        timeout: float = 5.0,
        attempts: int = 2,
        trust_ad: bool = False,
        trusted: Collection[str] = (),
    ) -> None:
        if not texts:
            raise ValueError("no nameserver is given")
        self.all = tuple(_with_trust(Nameserver.parse(text), trust_ad, trusted) for text in texts)
        believed = tuple(nameserver for nameserver in self.all if nameserver.trusted)
        self._asked = believed or self.all
        self._trust_ad = trust_ad
        self._timeout = timeout
        self._attempts = attempts

    @property
    def validation(self) -> str:
        """See `DnsTransport`."""
        if self.dane_off:
            return "DNSSEC: the gateway trusts no nameserver's validation"
        afar = [nameserver for nameserver in self._asked if not nameserver.loopback]
        risk = f"; an attacker on the way to {_names(afar)} could forge it (dns.trusted)" if afar else ""
        return f"DNSSEC: the gateway trusts the validation of {_names(self._asked)}{risk}"

    @property
    def dane_off(self) -> str:
        """See `DnsTransport`."""
        if self._asked[0].trusted:
            return ""
        if not self._trust_ad:
            return "DANE is off: dns.trust_ad is false, so the gateway trusts no nameserver's DNSSEC validation"
        return (
            f"DANE is off: no nameserver is on this machine ({_names(self.all)}), and an attacker on the way could set "
            "the AD bit; run a resolver that validates DNSSEC here, and name 127.0.0.1 or ::1 in dns.nameservers, or "
            'let the gateway validate (dns.validate = "local"), or, if nobody can get there, list it in dns.trusted'
        )

    def unproven(self, name: str) -> str:
        """See `DnsTransport`."""
        return (
            f"DANE is off: {_names(self._asked)} does not say that {name!a} is authentic (AD); "
            "switch on its DNSSEC validation"
        )

    async def ask(self, question: Question) -> DnsResponse:
        """The first complete answer. Raises LookupFailed with the last reason of each nameserver."""
        reasons: dict[Nameserver, str] = {}
        short: NameserverFailed | None = None
        refused: dict[Nameserver, bool] = {}  # those that answered SERVFAIL; whether they said that it is bogus
        for _ in range(self._attempts):
            for nameserver in self._asked:
                try:
                    message = await nameserver.ask(_query(question), self._timeout)
                except NameserverFailed as failure:
                    reasons[nameserver] = str(failure)
                    short = short or (failure if shortage(failure) else None)
                    continue
                if message.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
                    authentic = nameserver.trusted and bool(message.flags & dns.flags.AD)
                    if authentic or not await self._is_refused(question, refused):
                        return DnsResponse(message, authentic)
                    break  # one that does not validate must not say what another one proved wrong
                said, bogus = _extended(message)
                reasons[nameserver] = f"nameserver {nameserver} answered {dns.rcode.to_text(message.rcode())}{said}"
                if message.rcode() == dns.rcode.SERVFAIL:
                    refused[nameserver] = bogus
        bogus = await self._is_refused(question, refused)
        fault = "; DNSSEC validation fails: the answer is forged or badly signed" if bogus else ""
        raise LookupFailed(f"{question_text(question)}: {'; '.join(reasons.values())}{fault}", bogus=bogus) from short

    async def close(self) -> None:
        """Nothing is held between questions."""

    async def _is_refused(self, question: Question, refused: Mapping[Nameserver, bool]) -> bool:
        """Whether a nameserver that answered SERVFAIL did so for DNSSEC's sake."""
        return any(refused.values()) or await self._bogus(question, refused)

    async def _bogus(self, question: Question, refused: Collection[Nameserver]) -> bool:
        """Whether a nameserver that refused to answer would, did it not have to validate (RFC 4035 section 3.2.2)."""
        query = _query(question)
        query.flags |= dns.flags.CD
        for nameserver in refused:
            if nameserver.trusted:
                try:
                    message = await nameserver.ask(query, self._timeout)
                except NameserverFailed:
                    continue
                return message.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
        return False


def _names(nameservers: Iterable[Nameserver]) -> str:
    return ", ".join(map(str, nameservers))


def _with_trust(nameserver: Nameserver, trust_ad: bool, trusted: Collection[str]) -> Nameserver:  # noqa: FBT001 - the setting as it is
    believed = trust_ad and (nameserver.loopback or nameserver.host in trusted)
    return Nameserver(nameserver.host, nameserver.port, trusted=believed)


def _query(question: Question) -> dns.message.Message:
    """A question with a random id that wants to know whether the answer is authentic (RFC 6840 section 5.7)."""
    name, rdtype = question
    query = dns.message.make_query(name, rdtype, payload=_PAYLOAD, want_dnssec=True)
    query.flags |= dns.flags.AD
    return query


def _extended(message: dns.message.Message) -> tuple[str, bool]:
    """A nameserver's reason for not answering (RFC 8914), and whether that is a fault which DNSSEC proves."""
    errors = [option for option in message.options if isinstance(option, dns.edns.EDEOption)][:3]
    texts = [f"{error.code.name} {error.text or ''}".strip()[:_SHOWN] for error in errors]
    said = f" ({', '.join(texts)})" if texts else ""
    return ascii(said)[1:-1], any(error.code in _BOGUS for error in errors)
