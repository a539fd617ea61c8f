from __future__ import annotations

import asyncio
from email import message_from_bytes, policy

import pytest

from gatepost.mail.model.delivery_result import Disposition, RecipientResult, disposition_of
from gatepost.mail.model.message import Recipient
from gatepost.mail.queue.bounce import Bouncer
from gatepost.mail.queue.stranger_notices import NoticesToStrangers
from gatepost.policy.connectors.values import StrangerNotices
from gatepost.policy.decisions.forwarding import Target
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.interface import StoreFailure

ORIGINAL = b"Subject: Figures\r\nMessage-ID: <1@contoso.example>\r\n\r\nThe figures.\r\n"


class Bodies:
    def __init__(self, body=ORIGINAL):
        self.body, self.last, self.chunks = body, 100, 0

    def new_id(self):
        self.last += 1
        return self.last

    async def read(self, message_id):
        for first in range(0, len(self.body), 65536):
            self.chunks += 1
            yield self.body[first : first + 65536]


def notices(delivery, *results, late=False, bodies=None):
    bouncer = Bouncer(bodies or Bodies(), "mx1.contoso.example", {"contoso": 3600.0}.__getitem__)
    return asyncio.run(bouncer.notices(delivery, results, late=late, now=2000.0))


def result(recipient, reply, **detail):
    return RecipientResult(recipient, disposition_of(reply), reply, detail)


def parsed(notice):
    message = message_from_bytes(notice[2], policy=policy.SMTP)
    return message, message.get_payload()


@pytest.mark.parametrize(
    ("notify", "kind", "late", "told"),
    [
        ("", "unknown", False, True),
        ("FAILURE", "unknown", False, True),
        ("SUCCESS,FAILURE", "unknown", False, True),
        ("NEVER", "unknown", False, False),
        ("DELAY", "unknown", False, False),
        ("", "later", False, False),
        ("", "later", True, True),
        ("DELAY", "later", True, True),
        ("FAILURE", "later", True, False),
        ("NEVER", "later", True, False),
        ("", "ok", False, False),
        ("SUCCESS", "ok", False, True),
        ("FAILURE,DELAY", "ok", False, False),
    ],
)
def test_who_is_told(make, notify, kind, late, told):
    recipient = Recipient("ann@partner.example", notify)
    assert bool(notices(make.delivery(2, recipient), result(recipient, getattr(make, kind)), late=late)) is told


@pytest.mark.parametrize("kind", ["unknown", "later", "ok"])
def test_the_null_reverse_path_is_never_told(make, kind):
    recipient = Recipient("ann@partner.example", "SUCCESS,FAILURE,DELAY")
    delivery = make.delivery(2, recipient, message=make.message(reverse_path=""))
    assert notices(delivery, result(recipient, getattr(make, kind)), late=True) == []


def test_where_the_next_hop_knows_dsn_success_is_its_business(make):
    recipient = Recipient("ann@partner.example", "SUCCESS")
    assert notices(make.delivery(2, recipient), result(recipient, make.ok, dsn_passed_on=True)) == []


@pytest.mark.parametrize(("detail", "action"), [({}, "relayed"), ({"mailbox": "ann"}, "delivered")])
def test_success(make, detail, action):
    recipient = Recipient("ann@partner.example", "SUCCESS")
    (notice,) = notices(make.delivery(2, recipient), result(recipient, make.ok, **detail))
    assert f"Action: {action}" in notice[2].decode()


def test_a_failure_as_it_is_queued(make):
    recipient = Recipient("ann@partner.example", orcpt="rfc822;ann@partner.example")
    original = make.message(5, reverse_path="Bob@Contoso.example", envid="QQ314159", session="s1")
    delivery = make.delivery(6, recipient, message=original, attempts=3)
    ((message, (onward,), body),) = notices(delivery, result(recipient, make.unknown, host="mx.partner.example"))
    assert message.reverse_path == ""
    assert message.id != original.id
    assert (message.organization, message.direction, message.session) == ("contoso", "originating", "s1")
    assert message.size == len(body)
    assert onward.destination == "contoso/contoso.example"
    assert [(r.address, r.notify) for r in onward.recipients] == [("Bob@Contoso.example", "NEVER")]
    assert onward.expires_at == 2000.0 + 3600.0
    assert onward.message is message
    assert onward.next_at == onward.attempts == 0
    dsn, (_, status, returned) = parsed((message, [onward], body))
    assert dsn["To"] == "Bob@Contoso.example"
    assert f"<{dsn['Message-ID'].strip('<>')}>" == message.message_id
    fields = status.as_string()
    for line in (
        "Original-Envelope-Id: QQ314159",
        "Action: failed",
        "Status: 5.1.1",
        "Original-Recipient: rfc822; ann@partner.example",
        "Remote-MTA: dns; mx.partner.example",
    ):
        assert line in fields
    assert "Figures" in returned.as_string()


def test_failures_share_a_notice_and_delays_have_their_own(make):
    ann, joe, eve = (Recipient(f"{name}@partner.example") for name in ("ann", "joe", "eve"))
    delivery = make.delivery(2, ann, joe, eve, expires_at=90_000.0)
    failed, delayed = notices(
        delivery, result(ann, make.unknown), result(joe, make.later), result(eve, make.unknown), late=True
    )
    assert failed[2].count(b"\r\nAction: failed\r\n") == 2
    assert b"joe@" not in failed[2]
    assert delayed[2].count(b"\r\nAction: delayed\r\n") == 1
    assert b"Will-Retry-Until:" in delayed[2]
    assert (ann.delayed, joe.delayed, eve.delayed) == (False, True, False)


def test_a_delay_is_told_once(make):
    recipient = Recipient("ann@partner.example")
    delivery = make.delivery(2, recipient)
    assert len(notices(delivery, result(recipient, make.later), late=True)) == 1
    assert notices(delivery, result(recipient, make.later), late=True) == []


def test_a_reply_without_a_status_gets_the_general_one(make):
    recipient = Recipient("ann@partner.example")
    bare = type(make.unknown)(550, "", ("no",))
    (notice,) = notices(make.delivery(2, recipient), result(recipient, bare))
    assert b"Status: 5.0.0" in notice[2]


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_original_is_returned_from_memory_or_store(make, in_memory):
    recipient = Recipient("ann@partner.example")
    delivery = make.delivery(2, recipient, message=make.message(size=len(ORIGINAL), ret="FULL"))
    delivery.body = ORIGINAL if in_memory else None
    bodies = Bodies()
    (notice,) = notices(delivery, result(recipient, make.unknown), bodies=bodies)
    assert b"The figures." in notice[2]
    assert bodies.chunks == (0 if in_memory else 1)


def test_of_a_large_original_only_the_headers_are_read_and_returned(make):
    recipient = Recipient("ann@partner.example")
    bodies = Bodies(ORIGINAL + b"x" * 5_000_000)
    delivery = make.delivery(2, recipient, message=make.message(size=len(bodies.body), ret="FULL"))
    (notice,) = notices(delivery, result(recipient, make.unknown), bodies=bodies)
    assert bodies.chunks == 1
    assert b"Subject: Figures" in notice[2]
    assert len(notice[2]) < 20_000


def test_a_large_original_without_an_end_of_headers_is_read_within_bounds(make):
    recipient = Recipient("ann@partner.example")
    bodies = Bodies(b"X: " + b"x" * 5_000_000)
    delivery = make.delivery(2, recipient, message=make.message(size=len(bodies.body)))
    assert len(notices(delivery, result(recipient, make.unknown), bodies=bodies)) == 1
    assert bodies.chunks <= 5


# REQUIRETLS (RFC 8689 section 5)

NEEDED = Reply(550, "5.7.30", ("REQUIRETLS needed [Message=RequireTlsNotOffered ann@partner.example]",))


def test_a_notice_is_as_protected_as_its_message(make):
    recipient = Recipient("ann@partner.example", "SUCCESS,FAILURE")
    for reply in (make.unknown, make.ok):
        secret = make.message(require_tls=True, ret="FULL", message_id="<1@contoso.example>")
        delivery = make.delivery(2, recipient, message=secret, body=ORIGINAL)
        ((notice, _, body),) = notices(delivery, result(recipient, reply))
        assert notice.require_tls
        assert not notice.tls_required_no
        assert b"The figures." not in body  # RET=FULL is disregarded
        assert b"Figures" in body
        assert notice.inbound["notice_about_message_id"] == "<1@contoso.example>"


def test_a_notice_of_a_usual_message_asks_for_nothing(make):
    recipient = Recipient("ann@partner.example")
    delivery = make.delivery(2, recipient, message=make.message(tls_required_no=True))
    ((notice, _, _),) = notices(delivery, result(recipient, make.unknown))
    assert not notice.require_tls
    assert "notice_about_message_id" not in notice.inbound


def failed_notice(make, *recipients, **fields):
    inbound = {"notice_about": "1", "notice_about_message_id": "<1@contoso.example>"}
    about = make.message(reverse_path="", require_tls=True, **{"inbound": inbound, **fields})
    return make.delivery(2, *recipients, message=about)


@pytest.mark.parametrize("status", ["5.7.30", "5.7.10"])
def test_a_notice_that_cannot_be_protected_is_redacted(make, status):
    recipient = Recipient("bob@Contoso.example", "NEVER")
    reply = Reply(550, status, NEEDED.lines)
    ((notice, (onward,), body),) = notices(failed_notice(make, recipient), result(recipient, reply))
    assert (notice.reverse_path, notice.require_tls, notice.smtputf8, notice.body_type) == ("", False, False, "7BIT")
    assert [one.address for one in onward.recipients] == ["postmaster@contoso.example"]
    assert onward.destination == "contoso/contoso.example"
    text = body.decode("ascii")
    assert "<1@contoso.example>" in text
    assert status in text
    assert "bob" not in text
    assert "ann@" not in text
    assert notices(onward, result(onward.recipients[0], reply)) == []  # and that is all


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({}, "later"), ({}, "ok"), ({}, "unknown"), ({"require_tls": False}, "needed")],
)
def test_nothing_else_is_redacted(make, fields, kind):
    recipient = Recipient("bob@contoso.example")
    reply = NEEDED if kind == "needed" else getattr(make, kind)
    delivery = make.delivery(2, recipient, message=make.message(reverse_path="", **{"require_tls": True, **fields}))
    assert notices(delivery, result(recipient, reply), late=True) == []


def test_a_domain_is_told_once(make):
    recipients = [Recipient(f"{name}@contoso.example") for name in ("bob", "eve")]
    results = [result(one, NEEDED) for one in recipients]
    assert len(notices(failed_notice(make, *recipients), *results)) == 1


def test_of_somebody_elses_notice_its_own_message_id_is_told(make):
    recipient = Recipient("bob@contoso.example")
    delivery = failed_notice(make, recipient, inbound={}, message_id="<bounce@elsewhere.example>")
    ((_, _, body),) = notices(delivery, result(recipient, NEEDED))
    assert b"<bounce@elsewhere.example>" in body


@pytest.mark.parametrize(
    ("reverse_path", "domain"),
    [
        ("bob@Bücher.example", "xn--bcher-kva.example"),
        ("bob@[192.0.2.1]", "[192.0.2.1]"),
        ('"odd @ one"@contoso.example', "contoso.example"),
        ("not an address@X", "x"),
    ],
)
def test_where_a_notice_goes(make, reverse_path, domain):
    recipient = Recipient("ann@partner.example")
    message = make.message(reverse_path=reverse_path, smtputf8=True)
    ((notice, (onward,), _),) = notices(make.delivery(2, recipient, message=message), result(recipient, make.unknown))
    assert onward.destination == f"contoso/{domain}"
    assert notice.smtputf8


def test_the_sender_of_held_mail_is_told_of_the_delay(make):
    delivery = make.delivery(2)
    kept = RecipientResult(delivery.recipients[0], Disposition.HELD, make.later, {})
    assert notices(delivery, kept) == []
    assert len(notices(delivery, kept, late=True)) == 1
    assert delivery.recipients[0].delayed


def test_who_forwards_its_mail_gets_its_notices_there(make):
    recipient = Recipient("bob@b.example")
    delivery = make.delivery(2, recipient)

    def targets(path):
        return Target(path), Target(parse_address("home@provider.example"), path.text)

    bouncer = Bouncer(Bodies(), "mx1.contoso.example", {"contoso": 3600.0}.__getitem__, targets)
    ((_, deliveries, _),) = asyncio.run(
        bouncer.notices(delivery, [result(recipient, make.unknown)], late=False, now=2000.0)
    )
    sender = delivery.message.reverse_path
    found = [(one.destination, one.recipients[0].address, one.recipients[0].forwarded_by) for one in deliveries]
    assert found == [
        (f"contoso/{sender.partition('@')[2]}", sender, ""),
        ("contoso/provider.example", "home@provider.example", sender),
    ]


# S/MIME


@pytest.mark.parametrize("secret", [True, False])
def test_of_a_message_that_was_to_leave_encrypted_only_the_header_is_returned(make, secret):
    given = make.delivery(2, Recipient("ann@partner.example"), message=make.message(ret="FULL"))
    asked = []

    def ask(delivery, original):
        asked.append((delivery, original))
        return secret

    bouncer = Bouncer(Bodies(), "mx1.contoso.example", {"contoso": 3600.0}.__getitem__, secret=ask)
    waited = result(given.recipients[0], make.unknown, smime={"waits_for": "a certificate"})
    (notice,) = asyncio.run(bouncer.notices(given, [waited], late=False, now=2000.0))
    assert asked == [(given, ORIGINAL)]
    assert (b"The figures." in notice[2]) is not secret
    assert b"Subject: Figures" in notice[2]
    assert b"may leave only encrypted" in b" ".join(notice[2].split())


def test_a_notice_of_what_was_returned_by_hand_says_so(make):
    given = make.delivery()
    (notice,) = notices(given, result(given.recipients[0], Reply(550, "5.3.0", ("Closed",)), returned="olga"))
    text = b" ".join(notice[2].split())
    assert b"An administrator of this mail service ended the delivery" in text
    assert b"[x] this mail service" in text
    assert b"550 5.3.0 Closed" in text
    assert b"olga" not in text, "who it was is for the trace alone"


@pytest.mark.parametrize("error", [LookupError("gone"), OSError("disk"), StoreFailure("closed")])
def test_a_failure_is_told_though_the_message_cannot_be_read(make, caplog, error):
    class Unreadable(Bodies):
        async def read(self, message_id):
            raise error
            yield b""

    message = make.message(7, ret="FULL", size=100)
    delivery = make.delivery(8, message=message)
    (notice,) = notices(delivery, result(delivery.recipients[0], make.unknown), bodies=Unreadable())
    text, status, returned = parsed(notice)[1]
    assert "could not be read any more" in text.get_content()
    assert "5.1.1" in str(status)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert f"its notice is sent without it: {error}" in caplog.text


@pytest.mark.parametrize(
    ("original", "facts", "kind"),
    [
        (b"Subject: x\r\n\r\nplain\r\n", {}, "7BIT"),
        (b"Subject: x\r\n\r\ngr\xfcn\r\n", {}, "8BITMIME"),
        (b"Subject: x\r\n\r\ngr\xfcn\r\n", {"ret": "HDRS"}, "7BIT"),
        (b"Subject: x\r\n\r\nplain\r\n", {"smtputf8": True}, "7BIT"),
        (b"Subject: gr\xc3\xbcn\r\n\r\nplain\r\n", {"smtputf8": True}, "8BITMIME"),
    ],
)
def test_a_notice_says_whether_it_is_8_bit(make, original, facts, kind):
    message = make.message(7, **{"ret": "FULL", "size": len(original), **facts})
    delivery = make.delivery(8, message=message)
    (notice,) = notices(delivery, result(delivery.recipients[0], make.unknown), bodies=Bodies(original))
    assert (notice[0].body_type, notice[2].isascii()) == (kind, kind == "7BIT")


@pytest.mark.parametrize(("choice", "sent"), [("send", True), ("limited", True), ("withheld", False)])
def test_a_stranger_gets_the_notices_that_the_organization_lets_go(make, choice, sent):
    strangers = NoticesToStrangers(lambda _: StrangerNotices(choice), lambda: 0.0)
    bouncer = Bouncer(Bodies(), "mx1.contoso.example", lambda _: 3600.0, strangers=strangers)
    recipient, other = Recipient("ann@partner.example"), Recipient("joe@partner.example", "NEVER")
    message = make.message(direction="incoming", inbound={"basis": "none"}, ret="FULL")
    results = [result(recipient, make.unknown), result(other, make.unknown)]
    made = asyncio.run(
        bouncer.notices(make.delivery(2, recipient, other, message=message), results, late=False, now=2000.0)
    )
    assert bool(made) is sent
    assert ["notice" in each.detail for each in results] == [not sent, False]
    assert (b"The figures." in made[0][2] if made else False) is (choice == "send")


def test_a_delay_is_not_told_to_strangers_where_their_notices_are_limited(make):
    strangers = NoticesToStrangers(lambda _: StrangerNotices.LIMITED, lambda: 0.0)
    bouncer = Bouncer(Bodies(), "mx1.contoso.example", lambda _: 3600.0, strangers=strangers)
    recipient = Recipient("ann@partner.example")
    delivery = make.delivery(2, recipient, message=make.message(direction="incoming", inbound={"basis": "none"}))
    late = result(recipient, make.later)
    assert asyncio.run(bouncer.notices(delivery, [late], late=True, now=2000.0)) == []
    assert late.detail["notice"] == "withheld: only failures are notified"
    again = result(recipient, make.later)
    assert asyncio.run(bouncer.notices(delivery, [again], late=True, now=2000.0)) == []
    assert "notice" not in again.detail, "it is said once"
