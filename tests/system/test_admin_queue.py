"""Proves the queue in the admin centre: looked at, acted on by who may, and mail returned to its sender by hand."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page
from support.admin import AdminCentre, served
from support.browser import axe, looks, overflow, shot
from support.gateway import Gateway
from support.scenes import ALICE, connector, contoso, message, send

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

BODY = "A secret that no page shows."
SUBJECT = "<script>alert(1)</script> " + "W" * 300
PASSPHRASE = "a long enough passphrase"
FABRIKAM: dict[str, Any] = {"accepted_domain": [{"name": "fabrikam.example"}]}


pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def partner(sink: Callable[..., Sink]) -> Sink:
    return sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 <b>not now</b> " + "y" * 200}))


@pytest.fixture
def centre(gateway: Callable[..., Gateway], partner: Sink) -> AdminCentre:
    """Three messages wait for two destinations."""
    resources = contoso(outbound=[connector(f"{name}.example", partner.address) for name in ("one", "two")])
    resources["organization"]["fabrikam"] = FABRIKAM
    made = served(gateway, resources)
    for to in ("ann@one.example", "bob@one.example", "cat@two.example"):
        send(made.gateway.port, to, content=message(SUBJECT, BODY))
    _TOKENS[made.url] = made.token("read", "queue")
    wait_until(lambda: [one["attempts"] for one in waiting(made)] == [1, 1, 1], "all three wait", timeout=120)
    return made


_TOKENS: dict[str, str] = {}  # by the address of the admin centre


def waiting(centre: AdminCentre, state: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.call("/api/v1/queue", _TOKENS[centre.url])[2]["items"]
    return [one for one in found if state in {"", one["state"]}]


def trace(centre: AdminCentre, **wanted: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.call(f"/api/v1/trace?{urlencode(wanted)}", _TOKENS[centre.url])[2]["items"]
    return found


def queue_id(centre: AdminCentre, recipient: str) -> str:
    return next(str(one["message"]["id"]) for one in waiting(centre) if one["recipients"][0]["address"] == recipient)


def audit_events(centre: AdminCentre) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.gateway.cli("audit", json=True).data
    return [one for one in found if one["action"].startswith("queue-")]


def test_what_waits_is_listed_filtered_and_taken_away(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/queue")
    rows = page.locator("#queue tbody tr")
    for name in looks(page):
        for path in ("/queue", "/queue/destinations", f"/queue/{queue_id(centre, 'cat@two.example')}", "/", "/alarms"):
            page.goto(f"{centre.url}{path}")
            wait_until(lambda: overflow(page) == 0, f"{path} fits {name}")
            axe(page)
    for query, count in {"": 3, "?domain=one.example": 2, "?state=held": 0, "?recipient=cat%40two.example": 1}.items():
        page.goto(f"{centre.url}/queue{query}")
        assert rows.count() == count, query
    assert page.request.get(f"{centre.url}/queue?state=rubbish").status == 422
    table = list(csv.DictReader(io.StringIO(page.request.get(f"{centre.url}/queue?format=csv").text())))
    assert [row["recipients"] for row in table] == ["ann@one.example", "bob@one.example", "cat@two.example"]
    assert page.request.get(f"{centre.url}/queue?format=json").json() == waiting(centre)
    page.goto(f"{centre.url}/queue/destinations")
    shot(page, "queue-destinations")
    first = page.locator("#destinations tbody tr").first.inner_text()
    assert ("one.example" in first, "<b>not now</b>" in first) == (True, True)
    counted = page.request.get(f"{centre.url}/queue/destinations?format=json").json()
    assert [(one["destination"], one["count"], one["deferred"]) for one in counted] == [
        ("one.example", 2, 2),
        ("two.example", 1, 1),
    ]
    page.goto(f"{centre.url}/")
    page.locator("#flows").get_by_role("heading", name="Sent").wait_for()
    assert page.locator(".tile", has_text="will be tried again").inner_text().split("\n")[1] == "3"
    shot(page, "overview")


def test_the_queue_renews_itself_but_not_under_a_tick(centre: AdminCentre, page: Page) -> None:
    page.clock.install()
    centre.log_in(page, "/queue?domain=one.example")
    rows = page.locator("#queue tbody tr")
    assert rows.count() == 2
    send(centre.gateway.port, "dora@one.example", content=message(SUBJECT, BODY))
    wait_until(lambda: len(waiting(centre)) == 4, "it waits")
    rows.first.locator("input").check()
    page.clock.run_for(40_000)
    assert rows.count() == 2, "what is ticked stays as it is"
    rows.first.locator("input").uncheck()
    page.clock.run_for(2_000)
    rows.nth(2).wait_for()
    page.get_by_text("Renewed every 30 seconds").wait_for()
    assert page.locator("details.columns").count() == 1
    page.get_by_label("Select all shown").wait_for()
    axe(page)


def test_many_are_held_and_released_after_their_number_was_seen(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/queue")
    page.goto(f"{centre.url}/queue?domain=one.example")
    page.get_by_label("Action", exact=True).select_option("hold")
    page.get_by_label("Apply to", exact=True).select_option("all")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("2 deliveries of 2 messages will be held.").wait_for()
    axe(page)
    assert waiting(centre, "held") == [], "nothing is done before the last question"
    page.get_by_label("Reason (recorded)").fill("ticket 12")
    page.get_by_role("button", name="Hold: 2 deliveries").click()
    page.get_by_text("2 deliveries held.").wait_for()
    assert page.url == f"{centre.url}/queue?domain=one.example"
    assert len(waiting(centre, "held")) == 2
    (event,) = audit_events(centre)
    assert (event["who"], event["action"], event["organization"]) == ("olga", "queue-hold", "contoso")
    assert (event["detail"]["reason"], event["detail"]["deliveries"]) == ("ticket 12", 2)
    held = trace(centre, event="HOLD", recipient="ann@one.example")
    assert (held[0]["detail"]["author"], held[0]["detail"]["why"]) == ("olga", "ticket 12")

    identity = queue_id(centre, "ann@one.example")
    page.locator(f"input[value='{identity}']").check()
    page.get_by_label("Action", exact=True).select_option("release")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Release: 1 delivery").click()
    page.get_by_text("1 delivery released.").wait_for()
    assert len(waiting(centre, "held")) == 1
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("No message is selected").wait_for()


def test_a_message_is_returned_to_its_sender_with_a_notice(centre: AdminCentre, page: Page) -> None:
    identity = queue_id(centre, "cat@two.example")
    wait_until(lambda: trace(centre, message=identity, event="DEFER"), "what happened is in the trace")
    centre.log_in(page, f"/trace/{identity}")
    page.get_by_role("button", name="Return to sender…").click()
    dialog = page.get_by_role("dialog", name="Return this message to the sender")
    axe(page)
    shot(page, "return")
    dialog.get_by_label("Text for the sender").fill("The project has ended")
    dialog.get_by_label("Reason (recorded)").fill("asked by legal")
    dialog.get_by_role("button", name="Return", exact=True).click()
    page.get_by_text("1 delivery returned to sender.").wait_for()
    (notice,) = centre.gateway.wait_maildir(ALICE, timeout=120)
    for text in (
        b"An administrator of this mail service ended the delivery of the message.",
        b"550 5.3.0 The project has ended",
        b"Action: failed",
        b"Final-Recipient: rfc822; cat@two.example",
    ):
        assert text in b" ".join(notice.body.split()), text
    assert b"legal" not in notice.body
    events = wait_until(lambda: trace(centre, event="FAIL", recipient="cat@two.example"), "the end is in the trace")
    assert events[0]["detail"]["returned"] == "olga"
    (ordered,) = trace(centre, event="RETURN")
    assert (ordered["detail"]["author"], ordered["detail"]["why"]) == ("olga", "asked by legal")
    assert [event["action"] for event in audit_events(centre)] == ["queue-return"]
    wait_until(lambda: len(waiting(centre)) == 2, "it has left the queue")
    page.reload()
    assert page.locator("#story").get_by_text("Returned to the sender by an administrator").is_visible()
    assert not page.locator("#waiting").is_visible()


def test_the_command_line_and_rest_return_mail_too(centre: AdminCentre) -> None:
    would = centre.gateway.cli("queue", "return", "--domain", "one.example", "--dry-run")
    assert would.stdout == "return: 2 deliveries (dry run)\n"
    refused = centre.gateway.cli("queue", "return", "--all", "--text", "Zur\u00fcck", expect=None)
    assert (refused.status, "text: is one line" in refused.stderr) == (2, True)
    centre.gateway.cli("queue", "return", "--recipient", "ann@one.example", "--text", "By hand")
    token = _TOKENS[centre.url]
    order = {"action": "return", "domain": "two.example", "reason": "by a program"}
    status, _, answer = centre.call("/api/v1/queue/actions", token, "POST", order)
    assert (status, answer["changed"]) == (200, 1)
    notices = centre.gateway.wait_maildir(ALICE, 2, timeout=120)
    texts = b" ".join(b" ".join(one.body.split()) for one in notices)
    assert b"550 5.3.0 By hand" in texts
    assert b"550 5.3.0 Delivery was ended by the administrator" in texts

    def left() -> bool:
        return [one["recipients"][0]["address"] for one in waiting(centre)] == ["bob@one.example"]

    wait_until(left, "both are gone, and what told of them")


def test_mail_is_dropped_only_with_a_reason_and_content_read_only_on_record(centre: AdminCentre, page: Page) -> None:
    identity = queue_id(centre, "cat@two.example")
    centre.log_in(page, f"/queue/{identity}")
    assert BODY not in page.content()
    page.get_by_role("link", name="Show header").click()
    assert "Subject: <script>alert(1)</script>" in page.locator("#content").inner_text()
    assert BODY not in page.content()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download message").click()
        page.get_by_role("dialog").get_by_role("button", name="Download", exact=True).click()
    assert BODY in download.value.path().read_text()
    page.get_by_role("button", name="Drop…").click()
    dialog = page.get_by_role("dialog", name="Drop this message")
    dialog.get_by_role("button", name="Drop", exact=True).click()
    dialog.wait_for()  # the browser asks for the reason
    dialog.get_by_label("Reason (recorded)").fill("spam")
    dialog.get_by_role("button", name="Drop", exact=True).click()
    page.get_by_text("1 delivery dropped.").wait_for()
    assert [event["action"] for event in audit_events(centre)] == ["queue-drop", "queue-content", "queue-header"]
    page.goto(f"{centre.url}/queue/{identity}")
    assert page.url == f"{centre.url}/trace/{identity}", "the trace says what became of it"


def test_who_may_not_act_sees_no_buttons_and_is_refused(centre: AdminCentre, page: Page) -> None:
    for name, words in {
        "ada": ("--role", "auditor"),
        "tom": ("--role", "operator", "--organization", "fabrikam"),
    }.items():
        centre.gateway.cli("user", "add", name, *words, "--password-stdin", given=f"{PASSPHRASE}\n")
    identity = queue_id(centre, "cat@two.example")
    centre.log_in(page, f"/queue/{identity}", name="ada", password=PASSPHRASE)
    assert page.get_by_role("button", name="Drop…").count() == page.get_by_role("link", name="header").count() == 0
    csrf = page.locator("input[name=csrf]").first.get_attribute("value") or ""
    form = {"csrf": csrf, "action": "drop", "messages": identity, "reason": "x"}
    headers = {"Origin": centre.url, "Sec-Fetch-Site": "same-origin"}
    for path in ("/queue/actions", "/queue/confirm", f"/queue/{identity}/content"):
        assert page.request.post(f"{centre.url}{path}", form=form, headers=headers).status == 403, path
    page.context.clear_cookies()
    centre.log_in(page, "/queue", name="tom", password=PASSPHRASE)
    assert page.get_by_text("The queue is empty").is_visible()
    csrf = page.locator("input[name=csrf]").first.get_attribute("value") or ""
    form["csrf"] = csrf
    assert page.request.get(f"{centre.url}/queue/{identity}").status == 404
    assert page.request.post(f"{centre.url}/queue/{identity}/content", form=form, headers=headers).status == 404
    answer = page.request.post(f"{centre.url}/queue/actions", form=form, headers=headers)
    assert "no longer in the queue" in answer.text()
    assert len(waiting(centre)) == 3, "all of it is there still"
    kept = [(one["action"], one["outcome"], one["detail"].get("deliveries")) for one in audit_events(centre)]
    assert kept == [("queue-drop", "done", 0), ("queue-content", "refused", None)]
