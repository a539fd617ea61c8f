"""What is fuzzed: each parser of octets that strangers send, with seeds, and what must hold whatever they are.

A target takes octets and returns; anything that it raises is a crash. Used by `tests/unit/test_fuzz.py` for seconds and
by `scripts/fuzz.py` for hours. An input that crashed once becomes a file below `corpus/TARGET`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import dns.message
import msgspec

from gatepost.decoding import from_json
from gatepost.net.certificate import CertificateError, certificate_facts
from gatepost.net.lookups.nameserver import _parse as parse_answer
from gatepost.pki.smime.decryption import CannotDecrypt, decrypted, is_enveloped
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse as parse_resources
from gatepost.protocols.arc.chain import highest_instance, read_chain, was_failed
from gatepost.protocols.dane.tlsa import parse as parse_tlsa
from gatepost.protocols.dkim.fields import split_fields
from gatepost.protocols.dkim.record import parse_record as parse_dkim_record
from gatepost.protocols.dkim.verification import SignatureFault, read_signature
from gatepost.protocols.dmarc.discovery import parse_dmarc
from gatepost.protocols.ldap.messages import LdapError, message_size, read_message
from gatepost.protocols.message.authentication_results import without_forged
from gatepost.protocols.message.edit import HeaderSection
from gatepost.protocols.message.fields import decode_words, field_values
from gatepost.protocols.message.mime_entity import split
from gatepost.protocols.message.received import relaying_addresses
from gatepost.protocols.mtasts.policy import parse_policy
from gatepost.protocols.mtasts.record import parse_record as parse_sts_record
from gatepost.protocols.proxy.header import HeaderReader, ProxyHeaderError
from gatepost.protocols.scanners.clamd import read_answer as read_clamd
from gatepost.protocols.scanners.finding import UnusableAnswer
from gatepost.protocols.scanners.rspamd import read_answer as read_rspamd
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.client_events import TransactionDone
from gatepost.protocols.smtp.client.reply_parser import ProtocolError
from gatepost.protocols.smtp.client.transaction import MailTransaction
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.grammar import GrammarError, parse_address, parse_hello_domain, parse_path
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.sasl import SaslError, parse_plain
from gatepost.protocols.smtp.scram import ScramServer
from gatepost.protocols.smtp.server.events import AbortEvent, ChunkEvent, MessageEvent
from gatepost.protocols.smtp.server.server import Server
from gatepost.protocols.spf.record import SpfError, parse_spf
from gatepost.protocols.tlsrpt.received import ReportError, parse_report, report_part, unpack
from gatepost.protocols.tlsrpt.record import parse_record as parse_rpt_record

_LIMITS: Final = SmtpLimits()
_MOST_CONTENT: Final = 1 << 20


class Target(NamedTuple):
    """run: takes octets. seeds: inputs that lead far into it."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _server(data: bytes) -> None:
    """However the octets are cut, the same is said to them, and no more comes out than went in and the replies."""
    whole, cut = (_session(data, size) for size in (len(data) or 1, 1 + len(data) % 7))
    if not any(b"421 " in output for output, _ in (whole, cut)):  # what follows a refused DATA at once may be content
        assert whole == cut
    replies, content = whole
    assert all(line[3:4] in b" -" and line[:3].isdigit() for line in replies.split(b"\r\n")[:-1])
    assert len(content) <= len(data)


def _session(data: bytes, size: int) -> tuple[bytes, bytes]:
    server = Server("mx.example", Extensions.within(_LIMITS, starttls=False), _LIMITS, str)
    server.greet()
    output, content, messages = b"", b"", b""
    for at in range(0, len(data), size):
        if server.closing:
            break
        server.receive(data[at : at + size])
        while (event := server.next_event()) is not None:
            if isinstance(event, ChunkEvent):
                content += event.data
            elif isinstance(event, MessageEvent):
                messages, content = messages + content, b""
            elif isinstance(event, AbortEvent):  # what was seen of a message that is given up depends on the cuts
                content = b""
            if event.decision:
                server.accept()
        output += server.take_output()
    return output, messages


def _client(data: bytes) -> None:
    """Whatever a partner answers, a message has exactly one end, and each recipient one reply."""
    client = Client("mx.example")
    events: list[Any] = []
    with suppress(ProtocolError):
        events += client.receive(b"220 ready\r\n")
        client.hello()
        events += client.receive(b"250-partner\r\n250 PIPELINING\r\n")
        client.begin(
            MailTransaction("a@a.example", [("b@b.example", "", ""), ("c@b.example", "", "")]), b"Hi\r\n", last=True
        )
        client.take_output()
        for at in range(0, len(data), 11):
            events += client.receive(data[at : at + 11])
    ends = [event for event in [*events, *client.lost()] if isinstance(event, TransactionDone)]
    assert [len(end.outcome.recipients) for end in ends] == [2]


def _grammar(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (
        lambda: parse_path(text, smtputf8=True),
        lambda: parse_address(text),
        lambda: parse_hello_domain(text),
    ):
        with suppress(GrammarError):
            assert "\n" not in str(parse())


def _cms(data: bytes) -> None:
    is_enveloped(data)
    with suppress(CannotDecrypt):
        decrypted(data, [])


def _header(data: bytes) -> None:
    """What passes through a header section comes out as it was, however it is cut; fields are read without failing."""
    section = HeaderSection(_MOST_CONTENT, lambda octets: octets)
    out = b"".join(section.feed(data[at : at + 5]) for at in range(0, len(data), 5)) + section.finish()
    assert out == (b"\r\n" + data if data.startswith((b" ", b"\t")) else data)
    split(data)
    fields = split_fields(data)
    list(relaying_addresses(data))
    without_forged(data, {"mx.example"})
    field_values(data, ["subject", "received"])
    decode_words(data.decode("latin-1"))
    highest_instance(fields)
    was_failed(fields)
    with suppress(SignatureFault):
        read_chain(fields)
    for field in fields[:20]:
        with suppress(SignatureFault):
            read_signature(field, 1.8e9)


def _proxy(data: bytes) -> None:
    with suppress(ProxyHeaderError):
        found = HeaderReader().feed(data)
        assert found is None or "\n" not in found.host


def _tlsrpt(data: bytes) -> None:
    with suppress(ReportError):
        parse_report(unpack(report_part(data)))
    with suppress(ReportError):
        parse_report(unpack(data))


def _records(data: bytes) -> None:
    for parse in (parse_sts_record, parse_rpt_record, parse_dkim_record):
        parse([[data]])
    parse_dmarc([data])
    with suppress(SpfError):
        parse_spf(b"v=spf1 " + data)
    parse_tlsa(data)


def _answer(data: bytes) -> None:
    parse_answer(_QUERY, data)


def _certificate(data: bytes) -> None:
    with suppress(CertificateError):
        assert "\n" not in certificate_facts(data).subject


def _ldap(data: bytes) -> None:
    with suppress(LdapError):
        size = message_size(data)
        read_message(data if size is None else data[:size])


def _scanners(data: bytes) -> None:
    for read in (read_clamd, read_rspamd):
        with suppress(UnusableAnswer):
            read(data)


def _sasl(data: bytes) -> None:
    with suppress(SaslError):
        parse_plain(data)
    with suppress(SaslError):
        ScramServer("nonce", {}, plus=False).first(data)


def _resources(data: bytes) -> None:
    """The body of a call of REST, or a file for apply."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        document = from_json(data)
        if isinstance(document, dict):
            with suppress(ResourceErrors):
                parse_resources(document)


_QUERY: Final = dns.message.make_query("_25._tcp.mx.example", "TLSA", id=1)
_REPLY: Final = dns.message.make_response(_QUERY).to_wire()
_REPORT: Final = (
    b'{"organization-name":"A","date-range":{"start-datetime":"2026-11-01T00:00:00Z","end-datetime":"2026-11-01T23:59:59Z"},'
    b'"contact-info":"a@a.example","report-id":"1","policies":[{"policy":{"policy-type":"sts","policy-string":["x"],'
    b'"policy-domain":"b.example","mx-host":["mx.b.example"]},"summary":{"total-successful-session-count":1,'
    b'"total-failure-session-count":1},"failure-details":[{"result-type":"certificate-expired","failed-session-count":1}]}]}'
)
_ENVELOPE: Final = b"EHLO c\r\nMAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<d@e.example> NOTIFY=NEVER\r\n"
_FIELDS: Final = (
    b"Received: from a (b [192.0.2.1]) by c with ESMTPS id 1; Mon, 1 Nov 2026 00:00:00 +0000\r\n"
    b"Authentication-Results: mx.example; dkim=pass (x) header.d=a.example\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; h=from:subject; bh=AAAA; b=AAAA;\r\n"
    b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.example; s=k; b=AAAA\r\n"
    b'Subject: =?utf-8?q?x=20y?= =?utf-8?b?eA==?=\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
)

_RESOURCES: Final = (
    b'{"organization":{"contoso":{"accepted_domain":[{"name":"contoso.example"}],'
    b'"mailbox":[{"address":"a@contoso.example"}],"outbound_connector":[{"name":"x","recipient_domains":["b.example"],'
    b'"smart_hosts":["mx.b.example:25"],"tls_settings":"encryption-only"}]}}}'
)

TARGETS: Final[dict[str, Target]] = {
    "smtp-server": Target(
        _server,
        (
            _ENVELOPE + b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
            _ENVELOPE + b"BDAT 6\r\na\r\nb\r\nBDAT 0 LAST\r\nRSET\r\nNOOP\r\n",
            b'HELO c\r\nVRFY x\r\nHELP\r\nMAIL FROM:<>\r\nRCPT TO:<"a b"@e.example>\r\nDATA\r\n\r\n.\r\n',
        ),
    ),
    "smtp-client": Target(
        _client, (b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550-5.1.1 No\r\n550 5.1.1 No\r\n354 Go\r\n250 2.0.0 Stored\r\n",)
    ),
    "grammar": Target(
        _grammar, (b"<@a.example,@b.example:c@d.example>", b'"a b"@[IPv6:2001:db8::1]', b"zo\xc3\xab@d.example")
    ),
    "cms": Target(_cms, (bytes.fromhex("308006092a864886f70d010703a08030800201023100300000 00"),)),
    "header": Target(_header, (_FIELDS,)),
    "proxy": Target(
        _proxy,
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\x19",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17\xc0\0\2\1\xc0\0\2\2\0\1\0\x19\x20\0\x08\1\0\0\0\0\x21\0\0",
        ),
    ),
    "tls-report": Target(
        _tlsrpt,
        (
            _REPORT,
            gzip.compress(_REPORT, mtime=0),
            b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
            b"Content-Type: application/tlsrpt+json\r\n\r\n" + _REPORT,
        ),
    ),
    "sts-policy": Target(parse_policy, (b"version: STSv1\r\nmode: enforce\r\nmx: *.b.example\r\nmax_age: 86400\r\n",)),
    "records": Target(
        _records,
        (
            b"v=STSv1; id=1;",
            b"v=TLSRPTv1; rua=mailto:a@b.example,https://c.example/",
            b"v=DKIM1; k=rsa; p=AAAA",
            b"v=DMARC1; p=reject; rua=mailto:a@b.example; pct=5",
            b"include:a.example ip4:192.0.2.0/24 exists:%{i}._h.%{d2r}.b.example -all redirect=c.example",
            b"\3\1\1" + bytes(32),
        ),
    ),
    "dns-answer": Target(_answer, (_REPLY,)),
    "certificate": Target(_certificate, (b"\x30\x82\x01\0\x30\x81\xa7\xa0\x03\x02\x01\x02",)),
    "ldap": Target(_ldap, (b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0",)),
    "scanners": Target(
        _scanners,
        (
            b'{"action":"add header","score":5.1,"symbols":{"A":{"score":1}},"milter":{"add_headers":{"X":"y"}}}',
            b"stream: X FOUND\0",
        ),
    ),
    "sasl": Target(_sasl, (b"\0user\0password", b"n,,n=user,r=abc")),
    "resources": Target(_resources, (_RESOURCES,)),
}  # fmt: skip
"""By name."""
