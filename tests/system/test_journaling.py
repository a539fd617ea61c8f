"""Proves journaling against foreign archives: Dovecot over LMTP and Postfix over verified TLS keep what was accepted.

Both forms, blind copies, two tenants, archives that refuse or offer no TLS, and kills between 250 and delivery: each
message that was acknowledged is in the archive, and nobody but the archive has its list of recipients.
"""

from __future__ import annotations

import email
import email.policy
import smtplib
from collections.abc import Callable
from contextlib import ExitStack, closing
from email.message import EmailMessage
from typing import Any

import pytest
from support.debian import need
from support.dovecot import Dovecot
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import ALICE, STRANGER, connector, contoso, outcomes, send

from gatepost.testing.mail import Mail
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

type Start[T] = Callable[..., T]

ANN, BEN, JOURNAL = "ann@contoso.example", "ben@contoso.example", "journal@contoso.example"
ARCHIVE, LOST = "contoso@archive.example", "lost@contoso.example"
BOB, CAROL = "bob@partner.example", "carol@partner.example"
OFTEN = {"queue": {"retry": ["1s"]}}


def message(subject: str, *, to: str = ANN, cc: str = "", body: str = "Hello.", sender: str = ALICE) -> bytes:
    fields = [f"From: <{sender}>", f"To: {to}", *([f"Cc: {cc}"] if cc else []), f"Subject: {subject}"]
    return "\r\n".join([*fields, f"Message-ID: <{subject}@test>", "", body, ""]).encode()


def with_mailboxes(*mailboxes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    resources = contoso(**fields)
    resources["organization"]["contoso"]["mailbox"] = [
        {"address": ALICE},
        {"address": ANN},
        {"address": BEN},
        *mailboxes,
    ]
    return resources


def report_of(mail: Mail) -> tuple[EmailMessage, list[str], bytes]:
    """A journal report: itself, the lines of its text, and the octets of the message in it."""
    report = email.message_from_bytes(mail.raw, policy=email.policy.default.clone(linesep="\r\n"))
    assert report.get_content_type() == "multipart/mixed", mail.raw
    text, attached = report.iter_parts()
    assert attached.get_content_type() == "message/rfc822"
    boundary = f"\r\n--{report.get_boundary()}".encode()
    octets = mail.raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").split(boundary)[2].split(b"\r\n\r\n", 1)[1]
    return report, text.get_content().strip().splitlines(), octets


def archive(server: Postfix | Sink, **fields: Any) -> dict[str, Any]:
    return connector(
        "archive.example", server.address, tls_settings="domain-validation", tls_domain="mx.archive.example", **fields
    )


@pytest.fixture
def dovecot(running: ExitStack) -> Start[Dovecot]:
    """dovecot(users, ...) starts a Dovecot; see `support.dovecot.Dovecot`."""
    need("root", "dovecot", "dovecot-lmtp")
    return lambda users, **options: running.enter_context(Dovecot(users, **options))


def test_a_report_of_all_mail_is_at_dovecot_and_copies_by_rule_at_postfix(
    gateway: Start[Gateway], dovecot: Start[Dovecot], postfix: Start[Postfix], sink: Start[Sink], pki: Pki
) -> None:
    mailboxes, partner = dovecot([JOURNAL]), sink()
    keeper = postfix(certificates=[pki.leaf("mx.archive.example")])
    server = gateway(
        with_mailboxes(
            {"address": JOURNAL, "delivery": f"lmtp:127.0.0.1:{mailboxes.port}"},
            outbound=[connector("partner.example", partner.address), archive(keeper)],
            journal_to=JOURNAL,
            mail_flow_rule=[
                {
                    "name": "contracts",
                    "header_name": "Subject",
                    "header_contains": ["contract"],
                    "journal_to": ARCHIVE,
                    "journal_form": "copy",
                }
            ],
        ),
        anchors=pki.root,
    )
    original = message("contract-1", to=f"Ann <{ANN}>", cc=BOB)
    assert send(server.port, [ANN, BOB, CAROL], content=original) == {}
    assert send(server.port, [ANN], content=message("in-1", sender=STRANGER), sender=STRANGER) == {}

    by_subject = {report_of(mail)[0]["Subject"]: mail for mail in mailboxes.wait_mails(JOURNAL, 2)}
    report, lines, attached = report_of(by_subject["contract-1"])
    assert "X-MS-Journal-Report" in report
    assert by_subject["contract-1"].field("Return-Path") in {"<>", ""}
    assert lines == [
        f"Sender: {ALICE}",
        "Subject: contract-1",
        "Message-Id: <contract-1@test>",
        f"To: {ANN}",
        f"Cc: {BOB}",
        f"Bcc: {CAROL}",
    ]
    assert attached.endswith(original)
    assert report_of(by_subject["in-1"])[1][-1] == f"To: {ANN}"

    (copy,) = keeper.wait_mails(1)
    assert copy.content.endswith(original)
    assert copy.recipient == ARCHIVE
    assert "TLSv1" in copy.field("Received")
    assert copy.field("Return-Path") in {"<>", ""}
    for raw in (partner.wait_messages(1)[0].data, *(mail.raw for mail in server.wait_maildir(ANN, 2))):
        assert b"journal" not in raw.lower(), "nobody else learns of it"
        assert CAROL.encode() not in raw.partition(b"\r\n\r\n")[2]

    rows = outcomes(server, {JOURNAL: "DELIVER", ARCHIVE: "SEND"})
    assert rows[ARCHIVE]["detail"]["journal"] == {"form": "copy", "rules": ["contracts"]}
    assert "journal" in rows[ARCHIVE]["detail"]["requirement_sources"]
    (received, *_) = server.wait_trace(event="RECEIVE", recipient=BOB)
    assert {entry["to"]: entry["form"] for entry in received["detail"]["journaled"]} == {
        JOURNAL: "report",
        ARCHIVE: "copy",
    }


def test_what_the_archive_does_not_protect_waits_with_the_reason(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki
) -> None:
    """A rule that leads journal mail to a connector without TLS, as a later change may, cannot make it leave."""
    certificate = pki.leaf("mx.archive.example")
    safe, plain = sink(certificate=certificate), sink()
    resources = with_mailboxes(
        outbound=[
            archive(safe),
            {"name": "plain", "is_transport_rule_scoped": True, "smart_hosts": [f"localhost:{plain.port}"]},
        ],
        journal_to=ARCHIVE,
    )
    server = gateway(resources, anchors=pki.root, settings=OFTEN)
    send(server.port, ANN, content=message("safe"))
    (arrived,) = safe.wait_messages(1)
    assert arrived.tls
    assert report_of(arrived.mail)[1][-1] == f"To: {ANN}"

    resources["organization"]["contoso"]["mail_flow_rule"] = [
        {"name": "away", "recipients": [ARCHIVE], "route_via_connector": "plain"}
    ]
    server.apply(resources)
    server.wait_in_force()
    send(server.port, ANN, content=message("unsafe"))
    (row, *_) = server.wait_trace(event="DEFER", recipient=ARCHIVE)
    assert "Cannot establish" in row["reply"] or "TLS" in row["reply"], row["reply"]
    assert "journal" in row["detail"]["requirement_sources"]
    assert plain.messages == []
    assert sorted(mail.field("Subject") for mail in server.wait_maildir(ANN, 2)) == ["safe", "unsafe"]

    resources["organization"]["contoso"]["mail_flow_rule"] = []
    resources["organization"]["contoso"]["outbound_connector"][0].pop("tls_domain")
    resources["organization"]["contoso"]["outbound_connector"][0]["tls_settings"] = "opportunistic"
    refused = server.apply(resources, expect=2)
    assert "journal_to" in refused.stderr, refused
    assert "does not force verified TLS" in refused.stderr


def test_a_copy_that_fails_goes_to_the_second_mailbox_or_waits_and_never_to_the_sender(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki
) -> None:
    certificate = pki.leaf("mx.archive.example")
    refusing = sink(certificate=certificate, behaviour=Behaviour(replies={"RCPT": "550 5.1.1 No such mailbox"}))
    resources = with_mailboxes({"address": LOST}, outbound=[archive(refusing)], journal_to=ARCHIVE)
    server = gateway(resources, anchors=pki.root, settings=OFTEN | {"alarms": {"look": 1}})
    send(server.port, ANN, content=message("one"))
    (row, *_) = server.wait_trace(event="DEFER", recipient=ARCHIVE)
    assert "5.1.1" in row["detail"]["journal_waits"]
    (waiting,) = server.cli("queue", "list", json=True).data
    assert waiting["recipients"][0]["address"] == ARCHIVE
    wait_until(
        lambda: "journal-waits" in server.cli("alarms", expect=None).stdout,
        "the alarm",
        timeout=60,
    )

    resources["organization"]["contoso"]["journal_failures_to"] = LOST
    server.apply(resources)
    (mail,) = server.wait_maildir(LOST)
    assert report_of(mail)[1][0] == f"Sender: {ALICE}"
    assert report_of(mail)[0]["To"] == ARCHIVE
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to be empty")
    (failed,) = server.wait_trace(event="FAIL", recipient=ARCHIVE)
    assert failed["detail"]["journal_failures_to"] == LOST
    assert server.maildir(ALICE) == [], "the sender hears nothing"


def test_no_acknowledged_message_is_missing_in_the_journal_after_kills(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki
) -> None:
    keeper = sink(certificate=pki.leaf("mx.archive.example"))
    server = gateway(with_mailboxes(outbound=[archive(keeper)], journal_to=ARCHIVE), anchors=pki.root, settings=OFTEN)
    acknowledged = []
    for turn in range(4):
        # Not ended by QUIT: a worker that outlives its supervisor for a moment answers 421.
        with closing(smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example", timeout=30)) as client:
            for number in range(8):
                subject = f"kill-{turn}-{number}"
                body = "x" * 70 + "\r\n"
                content = message(subject, body=body * (5000 if number == 4 else 5))
                client.sendmail(ALICE, [ANN], content)
                acknowledged.append(subject)
            server.kill()
        server.start()
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to be empty", timeout=60)
    reports = {report_of(one.mail)[0]["Subject"] for one in keeper.messages}
    delivered = {mail.field("Subject") for mail in server.maildir(ANN)}
    assert reports == delivered == set(acknowledged)


def test_a_copy_that_comes_back_is_refused_as_a_loop(gateway: Start[Gateway], sink: Start[Sink], pki: Pki) -> None:
    keeper = sink(certificate=pki.leaf("mx.archive.example"))
    server = gateway(with_mailboxes(outbound=[archive(keeper)], journal_to=ARCHIVE), anchors=pki.root)
    send(server.port, ANN, content=message("round"))
    (arrived,) = keeper.wait_messages(1)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(server.port, ANN, sender=STRANGER, content=arrived.data)
    assert refused.value.smtp_code == 554
    # Whoever says so of another mailbox only is journaled as ever.
    send(
        server.port,
        ANN,
        sender=STRANGER,
        content=b"X-Gatepost-Journal: x@y.example\r\nX-MS-Journal-Report:\r\n" + message("other"),
    )
    assert report_of(keeper.wait_messages(2)[1].mail)[0]["Subject"] == "other"


def test_two_gateways_that_journal_to_each_other_come_to_an_end(gateway: Start[Gateway], pki: Pki) -> None:
    """A report is journaled there, and the report of the report would be journaled here, and so on without end."""
    names = {"anchors": pki.root, "settings": OFTEN}
    here = gateway(with_mailboxes({"address": JOURNAL}), certificates=[pki.leaf("mx.contoso.example")], **names)
    keep = "keep@archive.example"
    there_resources: dict[str, Any] = {
        "organization": {
            "archive": {
                "accepted_domain": [{"name": "archive.example"}],
                "mailbox": [{"address": keep}],
                "outbound_connector": [
                    connector(
                        "contoso.example",
                        here.address,
                        tls_settings="domain-validation",
                        tls_domain="mx.contoso.example",
                    )
                ],
                "journal_to": JOURNAL,
            }
        }
    }
    there = gateway(there_resources, certificates=[pki.leaf("mx.archive.example")], **names)
    here.apply(with_mailboxes({"address": JOURNAL}, outbound=[archive(there)], journal_to=keep))
    here.wait_in_force()
    send(here.port, ANN, content=message("once"))
    there.wait_maildir(keep)
    rows = there.wait_trace(event="DEFER", recipient=JOURNAL)
    assert all("554 5.4.6 Journal loop" in row["reply"] for row in rows)
    assert len(here.maildir(JOURNAL)) == 0
    assert len(there.maildir(keep)) == 1


def test_tenants_journal_their_own_side_alone(gateway: Start[Gateway], sink: Start[Sink], pki: Pki) -> None:
    """Of mail between them each journal has its own recipients; the sender's has all, as it named them."""
    keeper = sink(certificate=pki.leaf("mx.archive.example"))
    resources = with_mailboxes(outbound=[archive(keeper)], journal_to=ARCHIVE)
    theirs, others = "dan@fabrikam.example", "eve@fabrikam.example"
    keeping = "journal@fabrikam.example"
    resources["organization"]["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": address} for address in (theirs, others, keeping)],
        "journal_to": keeping,
        "journal_direction": "incoming",
    }
    server = gateway(resources, anchors=pki.root)
    send(server.port, [ANN, theirs, others], content=message("both", to=theirs))
    (own,) = keeper.wait_messages(1)
    assert report_of(own.mail)[1][3:] == [f"Bcc: {ANN}", f"To: {theirs}", f"Bcc: {others}"]
    (other,) = server.wait_maildir(keeping)
    assert report_of(other)[1][3:] == [f"To: {theirs}", f"Bcc: {others}"]
    assert report_of(other)[0]["From"] == "Journal <postmaster@fabrikam.example>"
    rows = server.wait_trace(event="RECEIVE")
    assert {entry["to"] for row in rows for entry in row["detail"]["journaled"]} == {ARCHIVE}
    (kept,) = server.wait_trace(event="DELIVER", recipient=keeping)
    assert kept["organization"] == "fabrikam"


def test_a_large_message_is_on_disk_once_and_passes_in_little_memory(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki
) -> None:
    keeper = sink(certificate=pki.leaf("mx.archive.example"), behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = gateway(
        with_mailboxes(outbound=[archive(keeper)], journal_to=ARCHIVE),
        anchors=pki.root,
        settings={"queue": {"retry": ["2s"]}, "limits": {"message_bytes": "60MB"}},
    )
    body = ("x" * 76 + "\r\n") * (50 * 1024 * 1024 // 78)
    before = server.resident()
    original = message("large", body=body)
    send(server.port, ANN, content=original, timeout=120)
    server.wait_trace(event="DEFER", recipient=ARCHIVE)
    if not server.is_on_postgres:
        sizes = [file.stat().st_size for file in server.data_dir.rglob("big/*")]
        assert len(sizes) == 1, "the report shares the body of the message"
    keeper.behaviour = Behaviour()
    (arrived,) = keeper.wait_messages(1, timeout=60)
    assert report_of(arrived.mail)[2].endswith(original)
    assert server.resident() - before < 40 * 1024 * 1024
