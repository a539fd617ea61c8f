"""Proves the trace in the admin centre: found, watched, told as a story, taken away, and kept apart by organization."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect
from support.admin import AdminCentre, served
from support.browser import axe, looks, overflow, shot
from support.gateway import Gateway
from support.scenes import connector, contoso, message, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

HOSTILE = "<script>alert(document.domain)</script> =1+1 " + "W" * 300
REPLY = "450 4.2.1 <img src=x onerror=alert(1)> " + "y" * 200
FABRIKAM: dict[str, Any] = {
    "accepted_domain": [{"name": "fabrikam.example"}],
    "mailbox": [{"address": "eve@fabrikam.example"}],
}


pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def centre(gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki) -> AdminCentre:
    """Mail was delivered verified, deferred with a hostile reply, and kept back for a wrong certificate."""
    leaf = pki.leaf("mx.partner.example")
    good = sink(certificate=leaf)
    later = sink(certificate=leaf, behaviour=Behaviour(replies={"RCPT": REPLY}))
    verified = {"tls_settings": "domain-validation", "trust_anchors": str(pki.root)}
    resources = contoso(
        outbound=[
            connector("good.example", good.address, tls_domain="mx.partner.example", **verified),
            connector("later.example", later.address),
            connector("bank.example", good.address, tls_domain="mail.bank.example", **verified),
        ]
    )
    resources["organization"]["fabrikam"] = FABRIKAM
    made = served(gateway, resources, certificates=[pki.leaf("mx1.contoso.example")])
    for domain in ("good", "later", "bank"):
        send(made.gateway.port, f"bob@{domain}.example", tls=True, content=message(HOSTILE))
    send(made.gateway.port, "eve@fabrikam.example", sender="mallory@elsewhere.example", content=message("For Eve"))
    events = {"bob@good": "SEND", "bob@later": "DEFER", "bob@bank": "DEFER", "eve@fabrikam": "DELIVER"}
    _TOKENS[made.url] = made.token("read")
    for address, event in events.items():
        found(made, recipient=f"{address}.example", event=event)
    return made


_TOKENS: dict[str, str] = {}  # by the address of the admin centre


def trace(centre: AdminCentre, **wanted: str) -> list[dict[str, Any]]:
    """Rows, the newest first, as REST gives them: sooner than the command line does."""
    _, _, answer = centre.call(f"/api/v1/trace?{urlencode(wanted)}", _TOKENS[centre.url])
    rows: list[dict[str, Any]] = answer["items"]
    return rows


def found(centre: AdminCentre, count: int = 1, **wanted: str) -> list[dict[str, Any]]:
    """The same, once there are so many."""
    return wait_until(
        lambda: rows if len(rows := trace(centre, **wanted)) >= count else None, f"rows of {wanted}", timeout=120
    )


def queue_id(centre: AdminCentre, recipient: str) -> str:
    return str(trace(centre, recipient=recipient)[0]["message"])


def _open(centre: AdminCentre, page: Page, path: str) -> None:
    centre.log_in(page)
    page.goto(f"{centre.url}{path}")


def rows(page: Page) -> int:
    return page.locator("#trace tbody tr").count()


def test_rows_are_found_by_one_box_by_fields_and_by_time(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/trace")
    assert rows(page) == 4, "a line for each message, which was received, and tried once"
    axe(page)
    shot(page, "trace")
    counts = {
        "q=bob%40good.example": 1,
        "q=bank.example": 1,
        "q=%40contoso.example": 3,
        "q=bob%40": 3,
        "q=ALERT(document": 3,
        "q=bob+good": 1,
        "q=*%40*.example": 4,
        "words=bob+bank": 1,
        "sender=*contoso*&recipient=bob%40l*": 1,
        "subject=alert*document": 3,
        "message_id=*nobody*": 0,
        "recipient=%40later.example&event=DEFER": 1,
        "achieved=authenticated": 1,
        "connector=good.example": 1,
        "result_type=certificate-host-mismatch&since=24h": 1,
        "until=2001-01-01": 0,
        "q=127.0.0.1&event=RECEIVE": 4,
    }
    for query, count in counts.items():
        page.goto(f"{centre.url}/trace?{query}")
        assert rows(page) == count, query
    assert page.get_by_text("Matched as remote server").is_visible()
    page.goto(f"{centre.url}/trace?q=nobody%40nowhere.example&since=1h")
    assert page.get_by_text("No messages found").is_visible()
    assert page.get_by_text("Searched for: nobody@nowhere.example, last hour").is_visible()
    assert page.get_by_text("gatepost trace search --words nobody@nowhere.example").is_visible()
    axe(page)
    shot(page, "trace-not-found")
    page.get_by_role("link", name="Last 7 days").click()
    expect(page.get_by_label("Time range")).to_have_value("7d")
    page.goto(f"{centre.url}/trace?since=rubbish")
    assert page.get_by_role("alert").get_by_text("neither an age like 30m").is_visible()

    identity = queue_id(centre, "bob@bank.example")
    page.get_by_role("searchbox", name="Search messages").fill(identity)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{centre.url}/trace/{identity}")


def test_a_message_is_told_with_who_asked_and_what_was_achieved(centre: AdminCentre, page: Page) -> None:
    identity = queue_id(centre, "bob@bank.example")
    centre.log_in(page, f"/trace/{identity}")
    story = page.locator("#story")
    for text in (
        "TLS with a verified certificate for mail.bank.example, required by connector bank.example",
        "none/encrypted",
        "certificate-host-mismatch",
        "X25519MLKEM768",
        "CN=mx.partner.example",
        "connector 'bank.example' of contoso matches recipient domain bank.example exactly",
        "connector 'own servers' of contoso holds the address 127.0.0.1",
    ):
        assert story.get_by_text(text).first.is_visible(), text
    story.get_by_text("SMTP transcript").first.click()
    assert "STARTTLS" in story.get_by_role("region", name="SMTP transcript").first.inner_text()
    page.locator("#waiting").get_by_text("Waiting", exact=True).wait_for()
    explain = page.get_by_role("link", name="Re-evaluate with today's rules").get_attribute("href") or ""
    assert (f"message={identity}" in explain, "bob%40bank.example" in explain) == (True, True)
    page.get_by_role("link", name="Check 127.0.0.1:").wait_for()  # the smart host of its connector
    axe(page)
    shot(page, "trace-message")

    evidence = wait_until(lambda: _evidence(page, centre, identity), "the evidence log has the message")
    events = [entry["event"] for entry in evidence]
    assert {"RECEIVE", "DEFER"} <= set(events)


def _evidence(page: Page, centre: AdminCentre, identity: str) -> list[dict[str, Any]]:
    answer = page.request.get(f"{centre.url}/trace/{identity}/evidence")
    return _entries(answer.json()) if answer.ok else []


def _entries(value: Any) -> list[dict[str, Any]]:
    """Whatever in the file is an entry."""
    if isinstance(value, dict):
        return [value] if "event" in value else [one for part in value.values() for one in _entries(part)]
    if isinstance(value, str) and value.startswith("{"):
        return _entries(json.loads(value))
    return [one for part in value for one in _entries(part)] if isinstance(value, list) else []


def test_what_strangers_wrote_is_text_and_breaks_nothing(centre: AdminCentre, page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    centre.log_in(page, "/trace")
    identity = queue_id(centre, "bob@later.example")
    for name in looks(page):
        for path in ("/trace", "/trace?q=later.example", f"/trace/{identity}"):
            page.goto(f"{centre.url}{path}")
            assert "<script>alert(document.domain)" in page.locator("main").inner_text()
            assert overflow(page) == 0, (path, name)
            axe(page)
    assert dialogs == []
    hostile = quote("<script>alert(1)</script>\"'>")
    page.goto(f"{centre.url}/trace?q={hostile}&sender={hostile}&connector={hostile}")
    assert page.get_by_text("No messages found").is_visible()
    assert dialogs == []


def test_every_table_can_be_taken_away(centre: AdminCentre, page: Page) -> None:
    _open(centre, page, "/trace?recipient=bob%40later.example")
    table = list(csv.DictReader(io.StringIO(page.request.get(f"{page.url}&format=csv").text())))
    assert [(row["event"], row["recipient"]) for row in table] == [
        ("DEFER", "bob@later.example"),
        ("RECEIVE", "bob@later.example"),
    ]
    assert table[0]["reply"] == REPLY
    records = page.request.get(f"{page.url}&format=json").json()
    assert records == trace(centre, recipient="bob@later.example")
    page.goto(f"{centre.url}/trace/{records[0]['message']}")
    assert page.request.get(f"{page.url}?format=json").json() == records[::-1]
    send(centre.gateway.port, "ann@contoso.example", content=message("=cmd|' /C calc'!A0"))
    found(centre, recipient="ann@contoso.example", event="DELIVER")
    answer = page.request.get(f"{centre.url}/trace?q=ann%40contoso.example&format=csv").text()
    assert all(row["subject"].startswith("'=cmd") for row in csv.DictReader(io.StringIO(answer)))


def test_rows_come_by_themselves_while_it_is_live(centre: AdminCentre, page: Page) -> None:
    _open(centre, page, "/trace?recipient=ann%40contoso.example")
    page.get_by_role("link", name="Watch live").click()
    page.get_by_text("refreshes every 3 seconds").wait_for()
    assert rows(page) == 0
    send(centre.gateway.port, "ann@contoso.example")
    wait_until(lambda: rows(page) == 1, "the message is shown", timeout=60)
    axe(page)
    page.get_by_role("link", name="Pause").click()
    page.get_by_role("link", name="Watch live").wait_for()
    expect(page.locator("#trace tbody tr")).to_have_count(1)


def test_the_recipients_of_a_message_are_folded(centre: AdminCentre, page: Page) -> None:
    send(centre.gateway.port, [f"user{number}@good.example" for number in range(60)])
    found(centre, 60, words="user good", event="SEND")
    _open(centre, page, "/trace?q=user+good")
    folded, last = page.get_by_text("60 recipients", exact=True), page.get_by_text("and 40 more")
    # A search that takes longer than `store.trace.PATIENCE` ends its page, and shows the rest of them on the next.
    wait_until(lambda: folded.count() or not page.reload(), "a page with all of its recipients", timeout=60)
    assert rows(page) == 1
    assert not last.is_visible()
    folded.click()
    last.wait_for()
    axe(page)
    shot(page, "trace-recipients")
    page.goto(f"{centre.url}/trace?recipient=user7%40*")
    assert page.get_by_text("user7@good.example").is_visible()


def test_pages_of_messages_follow_each_other_and_searches_are_kept(centre: AdminCentre, page: Page) -> None:
    for number in range(60):
        send(centre.gateway.port, f"user{number}@good.example")
    found(centre, 61, recipient="@good.example", event="SEND")
    _open(centre, page, "/trace?recipient=%40good.example&event=SEND")
    assert rows(page) == 50
    first = set(page.locator("#trace tbody tr").all_inner_texts())
    page.get_by_role("link", name="Next").click()
    page.get_by_role("link", name="Previous").wait_for()
    expect(page.locator("#trace tbody tr")).to_have_count(11)
    assert not first & set(page.locator("#trace tbody tr").all_inner_texts())
    assert page.request.get(f"{centre.url}/trace?after=rubbish").status == 422

    page.get_by_text("Your searches").click()
    page.get_by_label("Save this search as").fill("To <good>")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved the search").wait_for()
    page.get_by_text("Your searches").click()
    page.get_by_role("link", name="To <good>").click()
    page.locator("#trace tbody tr").nth(49).wait_for()
    assert rows(page) == 50
    page.get_by_text("Your searches").click()
    page.get_by_role("button", name="Delete the saved search To <good>").click()
    page.get_by_text("Deleted the saved search").wait_for()


def test_an_organization_sees_its_own_mail_alone(centre: AdminCentre, page: Page) -> None:
    words = ("user", "add", "tom", "--role", "auditor", "--organization", "fabrikam", "--password-stdin")
    centre.gateway.cli(*words, given="a long enough passphrase\n")
    other = queue_id(centre, "bob@bank.example")
    centre.log_in(page, "/trace", name="tom", password="a long enough passphrase")
    assert "contoso" not in page.locator("main").inner_text()
    assert rows(page) == 1
    for path in (f"/trace/{other}", f"/trace/{other}/evidence", "/trace/0000000000000001", "/trace/..%2f..%2fetc"):
        assert page.request.get(f"{centre.url}{path}").status == 404, path
    for query in (f"q={other}", "organization=contoso", "q=bob%40bank.example", "q=bob+bank"):
        assert "bob@bank" not in page.request.get(f"{centre.url}/trace?{query}&format=csv").text()
