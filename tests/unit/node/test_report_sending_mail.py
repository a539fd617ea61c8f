from __future__ import annotations

import asyncio
import email
import time

import pytest

from gatepost.analysis.reports.tlsrpt_sending import NotSent
from gatepost.node.report_sending import ReportMailer
from gatepost.node.site_mail import SiteMail
from gatepost.pki.certificates.dkim_keys import made_key, read_key
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.protocols.tlsrpt.outgoing import Reporter, outgoing
from gatepost.settings.loader import load
from gatepost.store.interface import StoreFull

SETTINGS = {
    "GATEPOST_SERVER__HOSTNAME": "mx1.contoso.example",
    "GATEPOST_TLS_REPORTS__MAIL_FROM": "tls@contoso.example",
}
REPORT = outgoing(
    {"date-range": {}, "policies": []}, Reporter("Contoso", "x", "contoso.example"), "2026-11-24", "b.example"
)
PUBLIC = read_key(made_key(DkimAlgorithm.ED25519_SHA256)).public_key


def key(**fields):
    public = {"algorithm": "ed25519-sha256", "public_key": PUBLIC, "state": "current"}
    return {"name": "t._domainkey.contoso.example", **public, **fields}


KEY = key(service_type="tlsrpt")


class Body:
    def __init__(self):
        self.content = b""

    def write(self, data):
        self.content += data


class Queue:
    """A store that keeps what it accepts in a list, or fails."""

    def __init__(self, failure=None):
        self.failure = failure
        self.accepted = []
        self.offered = []
        self._number = 0x19

    def new_id(self):
        self._number += 1
        return self._number

    def body(self):
        return Body()

    def accept(self, message, deliveries, body, done):
        self.accepted.append((message, deliveries, body.content))
        done(self.failure)


def sent(queue, to, *, keys=(KEY,), mailboxes=(), accepted="contoso.example"):
    domains = [{"name": accepted}]
    organization = {"accepted_domain": domains, "dkim_key": list(keys), "mailbox": list(mailboxes)}
    directory = Directory(parse({"organization": {"contoso": organization}}))
    settings = load(None, SETTINGS)
    mailer = ReportMailer(
        settings, SiteMail(queue, queue.offered.extend, lambda: directory, lambda _: 5 * 86_400.0, lambda _: None)
    )
    return asyncio.run(mailer.send(to, REPORT))


def test_a_report_is_queued_marked_and_without_reverse_path():
    queue = Queue()
    assert sent(queue, "tls@b.example") == "000000000000001a"
    ((message, (delivery,), content),) = queue.accepted
    assert queue.offered == [delivery]
    assert (message.organization, message.reverse_path, message.direction) == ("contoso", "", "originating")
    assert message.is_tls_report
    assert message.is_notice
    assert message.tls_required_no
    assert not message.from_on_premises
    assert message.size == len(content)
    assert delivery.destination == "contoso/b.example"
    assert [one.address for one in delivery.recipients] == ["tls@b.example"]
    assert delivery.expires_at <= time.time() + 86_400
    mail = email.message_from_bytes(content)
    assert (mail["From"], mail["To"]) == ("<tls@contoso.example>", "<tls@b.example>")
    assert mail["Message-ID"] == message.message_id == "<000000000000001a@mx1.contoso.example>"
    assert mail["Subject"] == message.subject


def test_a_key_for_all_mail_will_do():
    queue = Queue()
    sent(queue, "tls@b.example", keys=[key()])
    assert len(queue.accepted) == 1


def test_a_mailbox_of_ours_may_send_it_on():
    queue = Queue()
    box = {"address": "tls@contoso.example", "forwarding_smtp_address": "reports@elsewhere.example"}
    sent(queue, "tls@contoso.example", mailboxes=[box])
    ((_, deliveries, _),) = queue.accepted
    assert "contoso/elsewhere.example" in [one.destination for one in deliveries]


@pytest.mark.parametrize(
    ("to", "fields", "says", "lasting"),
    [
        ("tls@b.example", {"keys": []}, "contoso.example has no current DKIM key", False),
        ("tls@b.example", {"keys": [key(state="next")]}, "gatepost dkim add contoso.example --service tlsrpt", False),
        ("tls@b.example", {"keys": [], "accepted": "other.example"}, "is not an accepted domain", False),
        ("tls b@b.example", {}, "cannot be written to", True),
        ("tls@b..example", {}, "cannot be written to", True),
        ("tlsé@b.example", {}, "cannot be written to", True),
        ("postmaster", {}, "cannot be written to", True),
    ],
)
def test_what_is_not_queued(to, fields, says, lasting):
    queue = Queue()
    with pytest.raises(NotSent) as refused:
        sent(queue, to, **fields)
    assert says in refused.value.detail
    assert refused.value.lasting is lasting
    assert refused.value.ours is not lasting
    assert queue.accepted == queue.offered == []


def test_a_store_that_is_full():
    queue = Queue(StoreFull("full"))
    with pytest.raises(StoreFull):
        sent(queue, "tls@b.example")
    assert queue.offered == []
