"""`dns.validate = "local"`: validate DNSSEC in this process with libunbound, whichever nameserver answers.

Asks for `net.lookups.dns`, beside `net.lookups.nameservers`. A forged answer is refused here with libunbound's own
sentence about what is wrong with it; no AD bit is believed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import dns.exception
import dns.rcode
import dns.rdatatype

from gatepost.net.lookups.nameserver import Nameserver
from gatepost.net.lookups.question import DnsResponse, LookupFailed, Question, question_text, read_message
from gatepost.net.lookups.unbound import UnboundContext, UnboundError, UnboundResult
from gatepost.net.shortage import exhaustion

_OPTIONS = (
    ("outgoing-range", "128"),  # sockets; `net.lookups.dns` asks no more than 100 questions at a time
    ("num-queries-per-thread", "256"),
    ("outgoing-num-tcp", "16"),
    ("edns-buffer-size", "1232"),  # octets over UDP that no path fragments
    ("msg-cache-size", "4m"),
    ("rrset-cache-size", "8m"),
    ("infra-host-ttl", "60"),  # seconds; else who was silent for minutes is asked nothing for 15
)
# Who forwards asks others for everything: for names that libunbound would answer itself, too (RFC 6303).
_FORWARDING = (
    ("outbound-msg-retry", "12"),  # 5 are over after 3 seconds; how long a question may take is said by its timeout
    ("do-not-query-localhost", "no"),
    ("unblock-lan-zones", "yes"),
    ("local-zone", "test. transparent"),
    ("local-zone", "home.arpa. transparent"),
)
_MAX_ANCHOR_FILE = 1 << 16
_KEYS = frozenset({dns.rdatatype.DS, dns.rdatatype.DNSKEY})
# A file that Unbound keeps says how far each key is to be trusted (RFC 5011): 2 is valid, 3 valid but not seen lately.
_NOT_VALID = re.compile(r";;state=[^23]")
_SHOWN = 400  # characters of why an answer is bogus


class ValidatorError(ValueError):
    """Answers cannot be validated in this process; the text says why and what to do."""


class Validator:
    """libunbound, validating below the keys in `anchor_file`; make it where the event loop runs, and close it.

    forwarders: recursive nameservers to ask ("ADDRESS", "ADDRESS:PORT" or "[V6ADDRESS]:PORT"); without any it asks the
    root servers and goes on from there. timeout: seconds for a question, with all that must be learnt to prove its
    answer. Raises ValidatorError, or ValueError for a forwarder that cannot be parsed.
    """

    def __init__(self, forwarders: Sequence[str], anchor_file: str, *, timeout: float) -> None:
        servers = [Nameserver.parse(text) for text in forwarders]
        anchors = read_anchors(anchor_file)
        options = _OPTIONS + _FORWARDING if servers else _OPTIONS
        try:
            self._context = UnboundContext(options, [f"{server.host}@{server.port}" for server in servers], anchors)
        except UnboundError as error:
            raise ValidatorError(str(error)) from error
        self._way = f"through {', '.join(map(str, servers))}" if servers else "from the root servers"
        self._anchor_file = anchor_file
        self._timeout = timeout

    @property
    def validation(self) -> str:
        """See `DnsTransport`."""
        return f"DNSSEC: libunbound {self._context.version} validates in this process, {self._way}"

    @property
    def dane_off(self) -> str:
        """See `DnsTransport`."""
        return ""

    def unproven(self, name: str) -> str:
        """See `DnsTransport`."""
        return (
            f"DANE is off: libunbound cannot prove {name!a}; name a file with the root's key in dns.trust_anchor_file "
            f"({self._anchor_file} has none above that name)"
        )

    async def ask(self, question: Question) -> DnsResponse:
        """The proven, or provably unsigned, answer. Raises LookupFailed: bogus with what is wrong with it."""
        name, rdtype = question
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._context.resolve(name.to_text(), rdtype)
        except TimeoutError:
            raise self._failed(question, f"there was no answer within {self._timeout:g} s") from exhaustion()
        except UnboundError as error:
            raise self._failed(question, str(error)) from (exhaustion() or error)
        if result.bogus:
            why = ascii(result.why)[1:-1][:_SHOWN]
            fault = f"DNSSEC validation fails: the answer is forged or badly signed: {why}"
            raise LookupFailed(f"{question_text(question)}: {fault}", bogus=True)
        return self._reply(question, result)

    async def close(self) -> None:
        """See `DnsTransport`."""
        self._context.close()

    def _reply(self, question: Question, result: UnboundResult) -> DnsResponse:
        if result.rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            said = dns.rcode.to_text(dns.rcode.Rcode.make(result.rcode))
            # SERVFAIL, too, if it had no socket to ask.
            raise self._failed(question, f"libunbound found {said}") from exhaustion()
        try:
            message = read_message(result.wire, question[1])
        except (dns.exception.DNSException, ValueError) as error:
            raise self._failed(question, f"the answer makes no sense: {error}") from error
        return DnsResponse(message, result.secure)

    def _failed(self, question: Question, why: str) -> LookupFailed:
        return LookupFailed(f"{question_text(question)}: {why}, resolved {self._way}")


def read_anchors(file: str) -> tuple[str, ...]:
    """The DS and DNSKEY records in a file in zone file form, one text each. Raises ValidatorError."""
    import dns.zonefile  # noqa: PLC0415 - few gateways validate themselves

    advice = "dns.trust_anchor_file must name a file with the root's key (Debian: apt install dns-root-data)"
    try:
        with Path(file).open(encoding="utf-8") as opened:
            text = opened.read(_MAX_ANCHOR_FILE + 1)
    except OSError as error:
        raise ValidatorError(f"{file}: {error.strerror}; {advice}") from None
    except UnicodeDecodeError:
        raise ValidatorError(f"{file}: not a text; {advice}") from None
    if len(text) > _MAX_ANCHOR_FILE:
        raise ValidatorError(f"{file}: larger than {_MAX_ANCHOR_FILE} bytes; {advice}")
    usable = "\n".join(line for line in text.splitlines() if not _NOT_VALID.search(line))
    try:
        rrsets = dns.zonefile.read_rrsets(usable, rdclass=None, default_ttl=0)
    except (dns.exception.DNSException, ValueError) as error:
        why = str(error).removeprefix("<input>:")  # what is left begins with the line
        raise ValidatorError(f"{file}:{why}; {advice}") from None
    keys = tuple(
        f"{rrset.name} IN {rrset.rdtype.name} {key}" for rrset in rrsets if rrset.rdtype in _KEYS for key in rrset
    )
    if not keys:
        raise ValidatorError(f"{file}: no DS or DNSKEY record in it; {advice}")
    return keys
