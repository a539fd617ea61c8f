from __future__ import annotations

import tomllib

import pytest

from gatepost.mail.inbound.deliveries import AcceptedRecipient
from gatepost.mail.inbound.repeated import RepeatedDecisions
from gatepost.mail.inbound.transaction import Transaction
from gatepost.mail.model.queue_id import format_id
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.forwarding import expand
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.parameters import MailParameters, RecipientParameters
from gatepost.protocols.smtp.server.events import MailEvent, RecipientEvent
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.store.interface import StoreFailure, StoreFull
from gatepost.store.sqlite.schema import StoreSettings
from gatepost.values import replace

FACTS = SessionFacts("0123456789abcdef", "203.0.113.9", "client.example")
SENDER = parse_path("<eve@elsewhere.example>", smtputf8=True)
HEADER = b"Message-ID: <1@x.example>\r\nReceived: from a\r\n\r\n"


def begin(gate, *recipients, facts=FACTS, parameters=None):
    transaction = Transaction(gate.service, facts, MailEvent(SENDER, parameters or MailParameters()))
    for recipient in recipients or ("ann@contoso.example",):
        path = parse_path(f"<{recipient}>", smtputf8=True)
        verdict = decide_recipient(gate.service.directory, facts, SENDER, path)
        assert verdict.accepted
        event = RecipientEvent(path, RecipientParameters(notify="NEVER", orcpt="rfc822;x"))
        transaction.recipients.append(AcceptedRecipient(event, verdict, expand(gate.service.directory, path).targets))
    return transaction


async def test_before_the_body_begins_there_is_nothing_to_forget(gate):
    async with gate.open():
        transaction = begin(gate)
        assert (transaction.queue_id, transaction.receiving, transaction.bytes_seen) == ("", False, 0)
        transaction.abort()
        assert gate.left_behind() == []


async def test_the_envelope_and_the_body_become_one_message(gate):
    async with gate.open():
        gate.service.clock = lambda: 1_000_000.0
        parameters = MailParameters(
            body="8BITMIME", smtputf8=True, ret="FULL", envid="e1", require_tls=True, size=100, auth=""
        )
        recipients = ["ann@contoso.example", "x@fabrikam.example", "joe@contoso.example"]
        transaction = begin(gate, *recipients, parameters=parameters)
        assert transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions()) is None
        assert transaction.receiving
        assert transaction.queue_id == format_id(transaction.message_id)
        for chunk in (HEADER[:10], HEADER[10:], b"body\r\n"):
            assert transaction.write(chunk) is None
        assert transaction.bytes_seen == len(HEADER) + 6
        assert transaction.refusal() is None
        message, deliveries, body = transaction.queued({"peer": "203.0.113.9"})
    assert (message.id, message.received, message.reverse_path) == (
        transaction.message_id,
        1_000_000.0,
        "eve@elsewhere.example",
    )
    assert (message.body_type, message.smtputf8, message.ret, message.envid) == ("8BITMIME", True, "FULL", "e1")
    assert (message.require_tls, message.message_id, message.hops) == (True, "<1@x.example>", 2)
    assert (message.session, message.direction, message.inbound) == (
        FACTS.session_id,
        "incoming",
        {"peer": FACTS.peer_ip},
    )
    assert message.size == body.size > transaction.bytes_seen
    assert [(one.destination, one.expires_at) for one in deliveries] == [
        ("contoso/contoso.example", 1_003_600.0),
        ("fabrikam/fabrikam.example", 1_086_400.0),
    ]
    assert [(one.address, one.notify, one.orcpt) for one in deliveries[0].recipients] == [
        ("ann@contoso.example", "NEVER", "rfc822;x"),
        ("joe@contoso.example", "NEVER", "rfc822;x"),
    ]
    assert all(one.message is message and one.id for one in deliveries)
    body.abort()


TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519", "", False, "")
TRACE_FIELDS = {
    "one recipient": (["ann@contoso.example"], FACTS, "EHLO", False, [b"with ESMTP id", b"for <ann@contoso.example>;"]),
    "HELO": (["ann@contoso.example"], FACTS, "HELO", False, [b"with SMTP id"]),
    "SMTPUTF8": (["ann@contoso.example"], FACTS, "EHLO", True, [b"with UTF8SMTP id"]),
    "over TLS": (
        ["ann@contoso.example"],
        SessionFacts("s", "2001:db8::1", "[IPv6:2001:db8::1]", tls=TLS),
        "EHLO",
        False,
        [b"with ESMTPS", b"version=TLSv1.3", b"group=X25519", b"[IPv6:2001:db8::1]"],
    ),
    "recipients do not learn of each other": (
        ["ann@contoso.example", "joe@contoso.example"],
        FACTS,
        "EHLO",
        False,
        [b"id "],
    ),
}


@pytest.mark.parametrize(("recipients", "facts", "verb", "utf8", "parts"), TRACE_FIELDS.values(), ids=TRACE_FIELDS)
async def test_the_trace_field_comes_first(gate, recipients, facts, verb, utf8, parts):
    async with gate.open():
        transaction = begin(gate, *recipients, facts=facts, parameters=MailParameters(smtputf8=utf8))
        transaction.begin_body(verb, gate.service.directory, RepeatedDecisions())
        body = transaction._body
        field = body.whole()
        assert field.startswith(b"Received: from ")
        assert field.endswith(b"\r\n")
        assert transaction.queue_id.encode() in field
        for part in parts:
            assert part in field
        assert (b"for <" in field) == (len(recipients) == 1)
        transaction.abort()


ENDINGS = {
    "none": (b"", None),
    "no header section": (b"\r\nbody\r\n", None),
    "29 hops": (b"Received: x\r\n" * 29 + b"\r\n", None),
    "30 hops": (b"Received: x\r\n" * 30 + b"\r\n", 554),
    "30 hops and no body": (b"Received: x\r\n" * 30, 554),
    "large header section": (b"X: " + b"y" * 2000 + b"\r\n\r\n", 552),
    "large body": (b"X: y\r\n\r\n" + b"y" * 2000, None),
}


@pytest.mark.parametrize(("content", "code"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_what_the_header_section_may_be(gate, content, code, step):
    gate.smtp = SmtpLimits(header_bytes=1000)
    async with gate.open():
        transaction = begin(gate)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        for at in range(0, len(content), step):
            transaction.write(content[at : at + step])
        refusal = transaction.refusal()
        assert (refusal.code if refusal else None) == code
        transaction.abort()
        assert gate.left_behind() == []
        transaction.abort()


@pytest.mark.parametrize("failure", [StoreFull("no room"), StoreFailure("gone")])
async def test_after_a_failure_content_is_only_read_over(gate, failure):
    async with gate.open():
        transaction = begin(gate)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction.failed(failure)
        assert transaction.write(b"Received: x\r\n" * 40 + b"\r\n") is None
        assert transaction.bytes_seen == 522
        assert transaction.refusal() is failure.reply
        transaction.abort()


async def test_a_failure_found_while_writing_is_kept(gate):
    async with gate.open():
        transaction = begin(gate)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction._body.failure = StoreFull("no room")
        assert transaction.write(b"Subject: x\r\n") is None
        assert transaction.write(b"more") is None
        assert transaction.refusal() is StoreFull.reply
        transaction.abort()


async def test_the_trace_field_waits_for_the_disk_like_any_chunk(gate):
    gate.store_settings = StoreSettings(free_space_mark=0, memory_budget=0)
    async with gate.open():
        transaction = begin(gate)
        await transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        assert transaction._body.file is not None
        transaction.abort()
        await gate.until(lambda: not gate.left_behind())


FORWARDS = """
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
forwarding_smtp_address = "x@b.example"
deliver_to_mailbox_and_forward = true
[[organization.contoso.mailbox]]
address = "joe@contoso.example"
aliases = ["j@contoso.example"]
forwarding_smtp_address = "y@b.example"
"""


LARGE = b"X-Padding: " + b"x" * 50_000 + b"\r\n"


async def test_a_large_header_section_counts_from_its_first_octets_to_the_end_of_the_message(gate):
    gate.store_settings = replace(gate.store_settings, memory_budget=200_000, inline_limit=0)
    async with gate.open():
        transaction = begin(gate)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction.write(HEADER[:-2])
        assert gate.store._bodies.in_memory == 0, "small ones are not counted"
        transaction.write(LARGE)
        transaction.write(LARGE)
        section = len(HEADER) - 2 + 2 * len(LARGE)
        assert gate.store._bodies.in_memory == section
        for chunk in (b"\r\n", b"body", b"body"):
            transaction.write(chunk)
            assert gate.store._bodies.in_memory == section
        assert transaction.refusal() is None
        transaction.abort()
        assert gate.store._bodies.in_memory == 0


@pytest.mark.parametrize("rest", [b"", b"\r\nbody"])
async def test_a_large_header_section_without_memory_for_it_is_refused_for_now_and_not_kept(gate, rest):
    gate.store_settings = replace(gate.store_settings, memory_budget=80_000, inline_limit=0)
    async with gate.open():
        transaction = begin(gate)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        for chunk in (HEADER[:-2], LARGE, LARGE, LARGE, rest):
            transaction.write(chunk)
        assert gate.store._bodies.in_memory == 0
        assert transaction._header is None
        reply = transaction.refusal()
        assert (reply.code, reply.enhanced) == (451, "4.3.0")
        assert transaction._failure.__traceback__ is None
        transaction.abort()


async def test_who_is_named_twice_gets_the_message_once(gate):
    async with gate.open():
        transaction = begin(gate, "ann@contoso.example", "joe@contoso.example", "ann@contoso.example")
        parameters = RecipientParameters(notify="NEVER", orcpt="rfc822;other@x.example")
        ann = transaction.recipients[0]
        transaction.recipients.append(replace(ann, event=RecipientEvent(ann.event.path, parameters)))
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction.write(HEADER)
        _, (delivery,), body = transaction.queued({})
        body.abort()
    assert [(one.address, one.orcpt) for one in delivery.recipients] == [
        ("ann@contoso.example", "rfc822;x"),
        ("joe@contoso.example", "rfc822;x"),
        ("ann@contoso.example", "rfc822;other@x.example"),
    ]


async def test_who_is_forwarded_to_has_deliveries_of_its_own(gate):
    async with gate.open():
        gate.service.directory = Directory(parse(tomllib.loads(FORWARDS)))
        transaction = begin(gate, "ann@contoso.example", "joe@contoso.example", "j@contoso.example")
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction.write(HEADER)
        _, deliveries, body = transaction.queued({})
        body.abort()
    found = [
        (one.destination, recipient.address, recipient.forwarded_by, recipient.orcpt)
        for one in deliveries
        for recipient in one.recipients
    ]
    assert found == [
        ("contoso/contoso.example", "ann@contoso.example", "", "rfc822;x"),
        ("contoso/b.example", "x@b.example", "ann@contoso.example", "rfc822;x"),
        ("contoso/b.example", "y@b.example", "joe@contoso.example", "rfc822;x"),
    ]


@pytest.mark.parametrize(
    ("field", "status"), [("Ann@contoso.example", "5.4.6"), ("eve@contoso.example", ""), ("x@b.example", "")]
)
async def test_a_message_that_a_mailbox_sent_on_does_not_come_back_to_it(gate, field, status):
    async with gate.open():
        gate.service.directory = Directory(parse(tomllib.loads(FORWARDS)))
        transaction = begin(gate, "ann@contoso.example")
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction.write(b"Delivered-To: " + field.encode() + b"\r\n" + HEADER)
        refusal = transaction.refusal()
        transaction.abort()
    assert (refusal.enhanced if refusal else "") == status


OWN_FIELD = b"X-MS-Exchange-Organization-AuthAs: Internal\r\n"


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_what_a_stranger_says_in_exchanges_name_is_taken_out(gate, step):
    content = HEADER[:-2] + b"x-ms-exchange-organization-SCL:\r\n -1\r\n" + OWN_FIELD + b"\r\n" + OWN_FIELD
    async with gate.open():
        transaction = begin(gate)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        for at in range(0, len(content), step):
            transaction.write(content[at : at + step])
        assert transaction.refusal() is None
        message, _, body = transaction.queued({})
        assert body.whole().endswith(b"\r\n" + HEADER + OWN_FIELD), "the body may say what it likes"
        assert message.size == body.size
        assert message.inbound == {"headers": {"removed": 2}}
        assert not message.is_internal
        assert not message.has_organization_headers
        transaction.abort()


async def test_a_user_is_internal_without_saying_so(gate):
    facts = SessionFacts("0123456789abcdef", "203.0.113.9", "client.example", user="ann@contoso.example")
    async with gate.open():
        transaction = begin(gate, facts=facts)
        transaction.begin_body("EHLO", gate.service.directory, RepeatedDecisions())
        transaction.write(b"Bcc: joe@contoso.example\r\n" + OWN_FIELD + HEADER)
        assert transaction.refusal() is None
        message, _, body = transaction.queued({})
        assert b"Bcc" not in body.whole()
        assert b"X-MS" not in body.whole()
        assert b"\r\nDate: " in body.whole()
        assert message.inbound == {"headers": {"removed": 1}, "internal": True}
        assert message.is_internal
        transaction.abort()
