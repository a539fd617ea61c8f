"""What a program gives of another type or value by mistake is refused in words of the call (docs/python.md)."""

from __future__ import annotations

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.selection import select_outbound
from gatepost.protocols.dane.tlsa import classify
from gatepost.protocols.mtasts.policy import parse_policy
from gatepost.protocols.mtasts.record import parse_record
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.transaction import MailTransaction
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.server import Server
from gatepost.protocols.tlsrpt.received import report_part, unpack

OFFER = Extensions(size=1000, starttls=False)
DIRECTORY = Directory(parse({"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}}))


def server(hostname="mx.contoso.example"):
    return Server(hostname, OFFER, SmtpLimits(), lambda: "")


def client():
    begun = Client("client.fabrikam.example")
    begun.receive(b"220 mx\r\n")
    begun.hello()
    begun.receive(b"250-mx\r\n250 SIZE 1000\r\n")
    return begun


def begun(recipients, content=b"x"):
    client().begin(MailTransaction("a@fabrikam.example", recipients, 1), content, last=True)


WRONG = {
    "a code that is none": (lambda: Reply(99, "", ("x",)), ValueError, "the code of a reply is 99, 200 to 599"),
    "a code over 599": (lambda: Reply(600, "", ("x",)), ValueError, "the code of a reply is 600"),
    "a code as text": (lambda: Reply("550", "", ("x",)), TypeError, "the code of a reply is '550'"),
    "a text for the lines": (lambda: Reply(550, "5.7.1", "Denied"), TypeError, "the lines of a reply is .Denied"),
    "no host name": (lambda: server(""), ValueError, "hostname is '', not one word"),
    "None for a host name": (lambda: server(None), TypeError, "hostname is None of type NoneType, str is needed"),
    "two words for a host name": (lambda: server("a\r\nb"), ValueError, "not one word"),
    "text from a client": (lambda: server().receive("EHLO x\r\n"), TypeError, "what the client sent is"),
    "shut with 250": (lambda: server().shut(Reply(250, "", ("x",))), ValueError, "an acceptance cannot shut"),
    "a size as text": (lambda: Extensions(size="1", starttls=False), TypeError, "size is '1' of type str"),
    "None for one's name": (lambda: Client(None), TypeError, "hello_name is None of type NoneType"),
    "text from a server": (lambda: client().receive("250 x\r\n"), TypeError, "what the peer sent is '250 x"),
    "one recipient as text": (lambda: begun("ann@contoso.example"), TypeError, "the recipients of a transaction is"),
    "recipients as texts": (lambda: begun(["ann@contoso.example"]), TypeError, "each recipient .* not an address"),
    "a body as text": (lambda: begun([("ann@contoso.example", "", "")], "x"), TypeError, "the body is 'x' of type str"),
    "a chunk as text": (lambda: client().chunk("x", last=True), TypeError, "the body is 'x' of type str"),
    "a path as octets": (lambda: parse_path(b"<a@b>", smtputf8=False), TypeError, "a path is b'<a@b>' of type"),
    "a record that is not in strings": (
        lambda: parse_record([b"v=STSv1; id=1"]), TypeError, "each TXT record, a list of its strings, is b'v=STSv1",
    ),
    "a policy as text": (lambda: parse_policy("version: STSv1\n"), TypeError, "the body of a policy is"),
    "one TLSA record for several": (lambda: classify(b"\x03\x01\x01"), TypeError, "the RDATA of a record is 3"),
    "a report as text": (lambda: unpack("{}"), TypeError, "a report is '{}' of type str, bytes is needed"),
    "a mail as text": (lambda: report_part("x"), TypeError, "a mail is 'x' of type str, bytes is needed"),
    "no domain": (
        lambda: select_outbound(DIRECTORY, DIRECTORY.resources.organizations[0], None),
        TypeError,
        "the recipient domain is None",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused_in_words_of_the_call(name):
    call, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        call()
