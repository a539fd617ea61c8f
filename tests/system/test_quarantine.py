"""Proves that messages which a scanner or a rule holds wait in quarantine, and go on only when somebody lets them.

Debian's clamd and rspamd, a real mailbox and another server behind the gateway; what was held is in no mailbox.
"""

from __future__ import annotations

import smtplib
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.admin import AdminCentre, running
from support.gateway import Gateway
from support.scanners import EICAR, Clamd, Rspamd
from support.scenes import STRANGER, connector, contoso, message, send

from gatepost.node.expiry_clock import CLOCK_CONTENT
from gatepost.store.storage import Storage
from gatepost.testing.mail import without_trace
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

ANN, JOE = "ann@contoso.example", "joe@contoso.example"
FAY = "fay@fabrikam.example"
BOB = "bob@partner.example"
VIRUS = message("virus", EICAR.decode(), sender=STRANGER)


def resources(clamd: Clamd, sink_port: int, **fields: Any) -> dict[str, Any]:
    """Contoso holds what clamd finds, and all that its rule names; fabrikam has rules of its own."""
    hook = {"name": "av", "type": "clamav", "address": clamd.socket, "quarantine": ["reject"]}
    rule = {"name": "offers", "recipients": [JOE], "quarantine": True}
    made = contoso(
        mailboxes=(ANN, JOE, "alice@contoso.example"),
        outbound=[connector("partner.example", f"127.0.0.1:{sink_port}")],
        content_hook=[hook],
        mail_flow_rule=[rule],
        **fields,
    )
    made["organization"]["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": FAY}],
        "mail_flow_rule": [{"name": "held", "senders": ["held@elsewhere.example"], "quarantine": True}],
    }
    return made


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture(scope="module")
def centre(clamd: Clamd, sink: Sink) -> Iterator[AdminCentre]:
    with running(resources(clamd, sink.port), settings={"quarantine": {"digest_hour": 0}}) as centre:
        yield centre


def held(gateway: Gateway, **filters: str) -> list[dict[str, Any]]:
    words = [word for name, value in filters.items() for word in (f"--{name}", value)]
    rows: list[dict[str, Any]] = gateway.cli("quarantine", "list", *words, json=True).data
    return rows


def act(gateway: Gateway, action: str, identity: str, *words: str) -> list[dict[str, Any]]:
    done: list[dict[str, Any]] = gateway.cli(
        "quarantine", action, identity, "--reason", "seen by test", *words, json=True
    ).data
    return done


def events(gateway: Gateway, identity: str) -> list[str]:
    rows = [row for row in gateway.trace(limit="1000") if row["message"] == identity]
    return [row["event"] for row in reversed(rows)]  # the trace lists the newest first


def test_a_virus_is_held_listed_released_and_delivered(centre: AdminCentre) -> None:
    gateway = centre.gateway
    send(gateway.port, ANN, sender="virus@elsewhere.example", content=VIRUS)  # 250
    (one,) = held(gateway, sender="virus@elsewhere.example")
    assert (one["recipient"], one["organization"], one["subject"]) == (ANN, "contoso", "virus")
    assert one["by"] == "content hook 'av'"
    assert one["reason"].startswith("clamav: Eicar")
    assert 29 * 86400 < one["deleted_at"] - time.time() <= 30 * 86400
    wait_until(lambda: gateway.cli("queue", "list", json=True).data == [], "nothing of other tests is in the queue")
    gateway.cli("queue", "release", "--all", expect=1)
    before = len(gateway.maildir(ANN))
    shown = gateway.cli("quarantine", "show", one["message"]).stdout
    assert "content hook 'av'" in shown
    gateway.cli("quarantine", "release", one["message"], expect=2)  # without a reason
    assert len(act(gateway, "release", one["message"])) == 1
    mails = gateway.wait_maildir(ANN, before + 1)
    assert VIRUS in [without_trace(mail.raw) for mail in mails]
    assert held(gateway, sender="virus@elsewhere.example") == []
    wait_until(lambda: "DELIVER" in events(gateway, one["message"]), "its delivery is in the trace")
    assert events(gateway, one["message"]) == ["RECEIVE", "QUARANTINE", "RELEASE", "DELIVER"]
    (row,) = [row for row in gateway.trace(event="RELEASE") if row["message"] == one["message"]]
    assert (row["detail"]["why"], row["detail"]["quarantine"]) == ("seen by test", "contoso")


def test_held_mail_outlives_a_kill_and_a_rule_holds_for_its_recipient_alone(centre: AdminCentre) -> None:
    gateway = centre.gateway
    content = message("offer", "Buy this. " * 60_000, sender=STRANGER)  # a file of its own
    lines = content.replace(b"Buy this. Buy", b"Buy this.\r\nBuy")
    before = len(gateway.maildir(ANN))
    send(gateway.port, [ANN, JOE], sender="offer@elsewhere.example", content=lines)
    gateway.wait_maildir(ANN, before + 1)
    (one,) = held(gateway, sender="offer@elsewhere.example")
    assert (one["recipient"], one["by"], one["reason"]) == (JOE, "mail flow rule 'offers'", "")
    gateway.kill()
    gateway.start()
    assert [row["message"] for row in held(gateway, recipient=JOE, subject="offer")] == [one["message"]]
    assert [mail for mail in gateway.maildir(JOE) if mail.field("Subject") == "offer"] == []
    act(gateway, "release", one["message"])
    (mail,) = wait_until(
        lambda: [mail for mail in gateway.maildir(JOE) if mail.field("Subject") == "offer"], "the offer came"
    )
    assert without_trace(mail.raw) == lines


def test_one_recipient_is_released_and_another_deleted(centre: AdminCentre, sink: Sink) -> None:
    gateway = centre.gateway
    count = len(gateway.maildir(ANN))
    sender = "alice@contoso.example"
    send(gateway.port, [ANN, BOB], sender=sender, content=message("two", EICAR.decode()))
    identity = held(gateway, subject="two")[0]["message"]
    assert {row["recipient"] for row in held(gateway, subject="TWO")} == {ANN, BOB}
    (released,) = act(gateway, "release", identity, "--recipient", BOB)
    assert released["recipient"] == BOB
    wait_until(lambda: [mail for mail in sink.messages if b"Subject: two" in mail.data], "it is at the partner's")
    (deleted,) = act(gateway, "delete", identity)
    assert deleted["recipient"] == ANN
    assert held(gateway, subject="two") == []
    gateway.cli("quarantine", "show", identity, expect=1)
    assert len(gateway.maildir(ANN)) == count
    assert "DROP" in events(gateway, identity)


def test_another_organization_finds_nothing_and_changes_nothing(centre: AdminCentre) -> None:
    gateway = centre.gateway
    send(gateway.port, ANN, sender="secret@elsewhere.example", content=VIRUS)
    (one,) = held(gateway, sender="secret@elsewhere.example")
    identity = one["message"]
    stranger = centre.token("read", "queue", name="fabrikam", organizations=("fabrikam",))
    own = centre.token("read", "queue", name="contoso", organizations=("contoso",))
    for path in ("", "/content"):
        assert centre.call(f"/api/v1/quarantine/{identity}{path}", stranger)[0] == 404
        assert centre.call(f"/api/v1/quarantine/{identity}{path}", own)[0] == 200
    assert centre.call("/api/v1/quarantine", stranger)[2]["items"] == []
    assert centre.call("/api/v1/quarantine?organization=contoso", stranger)[2]["items"] == []
    for action in ("release", "delete"):
        body = {"action": action, "messages": [identity], "organization": "contoso", "reason": "mine now"}
        status, _, said = centre.call("/api/v1/quarantine/actions", stranger, "POST", body)
        assert (status, said["changed"]) == (200, 0)
    assert [row["message"] for row in held(gateway, sender="secret@elsewhere.example")] == [identity]
    readers = centre.token("read", name="reader", organizations=("contoso",))
    assert centre.call(f"/api/v1/quarantine/{identity}/content", readers)[0] == 403
    audit = centre.call("/api/v1/audit/events?limit=50", centre.token(name="auditor"))[2]["items"]
    assert "quarantine-content" in {event["action"] for event in audit}
    body = {"action": "delete", "messages": [identity], "reason": "a virus"}
    assert centre.call("/api/v1/quarantine/actions", own, "POST", body)[2]["changed"] == 1


def test_where_only_the_gateway_releases_an_administrator_of_the_organization_cannot(
    centre: AdminCentre,
) -> None:
    gateway = centre.gateway
    send(gateway.port, FAY, sender="held@elsewhere.example")
    (one,) = held(gateway, organization="fabrikam")
    gateway.cli("organization", "set", "fabrikam", "quarantine_release=gateway")
    token = centre.token("read", "queue", "connectors", name="fay", organizations=("fabrikam",))
    body = {"action": "release", "messages": [one["message"]], "reason": "please"}
    assert centre.call("/api/v1/quarantine/actions", token, "POST", body)[0] == 403
    _, headers, _ = centre.call("/api/v1/organizations/fabrikam", token)
    loosen = {"quarantine_release": "administrators"}
    changed = centre.call("/api/v1/organizations/fabrikam", token, "PATCH", loosen, {"If-Match": headers["etag"]})
    assert changed[0] == 422
    assert gateway.maildir(FAY) == []
    act(gateway, "release", one["message"])
    gateway.wait_maildir(FAY)


@pytest.fixture
def told_here_alone(centre: AdminCentre) -> Iterator[None]:
    """Mailboxes are told nothing after the test: others look at all that comes to them."""
    yield
    centre.gateway.cli("organization", "set", "contoso", "quarantine_digest=", "quarantine_language=")
    centre.gateway.wait_in_force()
    wait_until(lambda: centre.gateway.cli("queue", "list", json=True).data == [], "an empty queue")


@pytest.mark.usefixtures("told_here_alone")
def test_a_mailbox_is_told_once_a_day(centre: AdminCentre) -> None:
    gateway = centre.gateway
    send(gateway.port, JOE, sender="digest@elsewhere.example", content=message("see http://evil.example/x"))
    (one,) = held(gateway, sender="digest@elsewhere.example")
    gateway.cli("organization", "set", "contoso", "quarantine_digest=true", "quarantine_language=de")

    def told() -> list[Any]:
        return [mail for mail in gateway.maildir(JOE) if "Content-Language: de" in mail.head.decode()]

    (mail,) = wait_until(told, "the list came", timeout=90)
    parsed = message_from_bytes(mail.raw, policy=policy.SMTP)
    text = parsed.get_content()
    assert parsed["Subject"] == "1 Nachricht in Quarantäne"
    assert "Erwarten Sie eine davon?" in text
    assert one["message"] in text
    assert "http://" not in text
    assert parsed["From"] == "E-Mail-Gateway <postmaster@contoso.example>"
    assert mail.field("Return-Path") == "<>"
    send(gateway.port, JOE, sender="digest@elsewhere.example")
    time.sleep(2)
    assert len(told()) == 1


def clock_noted(gateway: Gateway) -> bytes | None:
    """What the store knows of the clock."""
    with closing(Storage(gateway.store_url, gateway.data_dir).configuration()) as store:
        return store.content(CLOCK_CONTENT)


def restart_ahead(gateway: Gateway, days: float) -> None:
    """Start a gateway again with its clock ahead of ours, and wait until it noted the time."""
    gateway.stop()
    before = clock_noted(gateway)
    gateway.jump(days * 86400)
    gateway.start()
    wait_until(lambda: clock_noted(gateway) != before, "it noted the time")


def test_what_is_over_is_deleted_by_the_gateway(clamd: Clamd) -> None:
    hook = {"name": "av", "type": "clamav", "address": clamd.socket, "quarantine": ["reject"]}
    with Gateway(contoso(content_hook=[hook], quarantine_days=1), clock=0.0) as gateway:
        send(gateway.port, ANN, sender=STRANGER, content=VIRUS)
        (one,) = held(gateway)
        gateway.stop()
        assert len(held(gateway)) == 1  # of a stopped one
        for days in (0.9, 1.8):  # a clock that is ahead by more than a day lets nothing expire
            restart_ahead(gateway, days)
        wait_until(lambda: not held(gateway), "it was deleted", timeout=60)
        wait_until(lambda: f"drop: message {one['message']}" in gateway.log(), "it is told")


def metrics(port: int) -> str:
    """What is scraped; numbers are a second old, and more on a busy machine."""
    content: bytes = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read()
    return content.decode()


def test_a_full_quarantine_defers_and_loses_nothing(clamd: Clamd) -> None:
    port = free_port()
    limits = {
        "quarantine": {"messages": 1},
        "alarms": {"look": "1s"},
        "metrics": {"address": f"127.0.0.1:{port}"},
    }
    hook = {"name": "av", "type": "clamav", "address": clamd.socket, "quarantine": ["reject"]}
    with Gateway(contoso(content_hook=[hook]), settings=limits) as gateway:
        send(gateway.port, ANN, sender=STRANGER, content=VIRUS)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            send(gateway.port, ANN, sender=STRANGER, content=VIRUS)
        assert (refused.value.smtp_code, refused.value.smtp_error[:32]) == (452, b"4.3.1 Insufficient system storag")
        (row,) = gateway.wait_trace(event="REFUSE", sender=STRANGER)
        assert "that of contoso is full" in row["detail"]["reasons"][-1]
        send(gateway.port, ANN, sender=STRANGER, content=message("clean"))
        gateway.wait_maildir(ANN)
        (one,) = held(gateway)
        wait_until(
            lambda: "the quarantine of contoso is full" in gateway.cli("alarms", expect=None).stdout, "the alarm"
        )
        for line in (
            'gatepost_quarantine_recipients{organization="contoso"} 1.0',
            f'gatepost_quarantine_bytes{{organization="contoso"}} {one["size"]}.0',
            'gatepost_recipients_total{direction="originating",event="quarantine"} 1.0',
        ):
            wait_until(lambda line=line: f"{line}\n" in metrics(port), f"the metric {line}")
        act(gateway, "delete", one["message"])

        def is_taken() -> bool:
            try:
                send(gateway.port, ANN, sender=STRANGER, content=VIRUS)
            except smtplib.SMTPDataError:  # a worker believes for some seconds what it counted
                return False
            return True

        wait_until(is_taken, "room is seen again")
        assert len(held(gateway)) == 1


def rcpt_replies(port: int, *recipients: str) -> list[str]:
    """What RCPT is answered in one message, "452 4.5.3", that is sent to those that were taken."""
    with smtplib.SMTP("127.0.0.1", port, "client.example", 30) as client:
        client.ehlo()
        client.mail(STRANGER)
        replies = [client.rcpt(recipient) for recipient in recipients]
        client.data(message("to both", sender=STRANGER))
    return [f"{code} {text[:5].decode()}" for code, text in replies]


def test_a_full_quarantine_defers_no_mail_of_another_organization() -> None:
    """What was learnt by one message that came for both, the client sends separately."""
    made = contoso(inbound=())
    made["organization"]["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": FAY}],
        "mail_flow_rule": [{"name": "all", "senders": ["*"], "quarantine": True}],
    }
    apart = ["250 2.1.5", "452 4.5.3"]
    with Gateway(made, settings={"quarantine": {"messages": 1}}) as gateway:
        assert rcpt_replies(gateway.port, ANN, FAY) == ["250 2.1.5", "250 2.1.5"], "there is room"
        wait_until(lambda: rcpt_replies(gateway.port, ANN, FAY) == apart, "the message comes apart")
        gateway.wait_maildir(ANN, 2)
        wait_until(lambda: rcpt_replies(gateway.port, FAY, ANN) == apart, "and the other way round")


def test_a_verdict_of_rspamd_holds_and_the_marks_are_in_the_header(rspamd: Rspamd) -> None:
    hook = {"name": "spam", "type": "rspamd", "address": rspamd.address, "settings_id": "tests"}
    with Gateway(contoso(content_hook=[hook | {"quarantine": ["add-header", "reject"]}])) as gateway:
        send(gateway.port, ANN, sender=STRANGER, content=message("marked"))
        send(gateway.port, ANN, sender=STRANGER, content=message("refused"))
        by_subject = {row["subject"]: row for row in held(gateway)}
        assert by_subject["marked"]["reason"].startswith("rspamd: add-header, score")
        assert by_subject["refused"]["reason"].startswith("rspamd: reject, score")
        act(gateway, "release", by_subject["marked"]["message"])
        (mail,) = gateway.wait_maildir(ANN)
        assert mail.field("X-Spam") == "Yes"


def test_a_person_releases_a_message_on_its_page(centre: AdminCentre, page: Page) -> None:
    gateway = centre.gateway
    send(gateway.port, ANN, sender="page@elsewhere.example", content=message("on the page", EICAR.decode()))
    (one,) = held(gateway, sender="page@elsewhere.example")
    centre.log_in(page, "/quarantine")
    expect(page.get_by_text("clamav: Eicar").first).to_be_visible()
    page.get_by_role("link", name=one["message"]).click()
    page.get_by_role("link", name="Show header").click()
    expect(page.get_by_text("Subject: on the page")).to_be_visible()
    page.get_by_role("button", name="Release…", exact=True).click()
    page.get_by_label("Reason (recorded)").fill("harmless")
    page.get_by_role("button", name="Release: 1 recipient").click()
    expect(page.get_by_text("Released for 1 recipient.")).to_be_visible()
    assert held(gateway, sender="page@elsewhere.example") == []
    wait_until(
        lambda: [mail for mail in gateway.maildir(ANN) if mail.field("Subject") == "on the page"], "it was delivered"
    )


def test_a_person_releases_all_that_match(centre: AdminCentre, page: Page) -> None:
    gateway, sender = centre.gateway, "many@crowd.example"
    for number in range(3):
        send(gateway.port, JOE, sender=sender, content=message(f"offer {number}"))
    send(gateway.port, JOE, sender="other@crowd.example", content=message("offer of another"))
    centre.log_in(page, "/quarantine?sender=many@crowd.example")
    page.get_by_label("Apply to").select_option("All messages that match the filter")
    page.get_by_role("button", name="Continue…").click()
    expect(page.get_by_text("3 messages will be released for 3 recipients.")).to_be_visible()
    send(gateway.port, JOE, sender=sender, content=message("offer too late to be seen"))
    page.get_by_label("Reason (recorded)").fill("a rule that was wrong")
    page.get_by_role("button", name="Release: 3 recipients").click()
    expect(page.get_by_text("Released for 3 recipients.")).to_be_visible()
    assert [row["subject"] for row in held(gateway, sender=sender)] == ["offer too late to be seen"]
    wait_until(
        lambda: len([mail for mail in gateway.maildir(JOE) if (mail.field("Subject") or "").startswith("offer ")]) >= 3,
        "they were delivered",
    )
    gateway.cli("quarantine", "delete", "--reason", "x", expect=2)  # of nothing that is named
    words = ("--sender", "@crowd.example", "--held-because", "rule 'offers'")
    assert "delete: 2 recipients (dry run)" in gateway.cli("quarantine", "delete", *words, "--dry-run").stdout
    assert len(gateway.cli("quarantine", "delete", *words, "--reason", "offers", json=True).data) == 2
