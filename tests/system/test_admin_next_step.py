"""Proves that each page of a message begins with who must do what, and leads from there to its delivery.

The sentence is the same on pages, in commands, over REST and in notices.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from support.admin import AdminCentre, served
from support.browser import axe, looks, overflow, shot
from support.gateway import Gateway
from support.scenes import connector, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

pytestmark = pytest.mark.timeout(300)
FABRIKAM: dict[str, Any] = {"accepted_domain": [{"name": "fabrikam.example"}]}
_TOKENS: dict[str, str] = {}  # by the address of the admin centre
_DELIVERED = "Nobody has to act: the message was delivered."


@pytest.fixture
def centre(gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, strange_pki: Pki) -> AdminCentre:
    """Two messages wait for a partner whose authority the connector does not trust, one for a partner that is busy."""
    bank = sink(certificate=pki.leaf("mx.bank.example"))
    busy = sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 try later"}))
    verified = {"tls_settings": "domain-validation", "tls_domain": "mx.bank.example"}
    outbound = [
        connector("bank.example", bank.address, trust_anchors=strange_pki.root.read_text(), **verified),
        connector("busy.example", busy.address),
    ]
    resources = contoso(outbound=outbound)
    resources["organization"]["fabrikam"] = FABRIKAM
    made = served(gateway, resources)
    _TOKENS[made.url] = made.token("read", "queue")
    for to in ("ann@bank.example", "bob@bank.example", "cat@busy.example"):
        send(made.gateway.port, to)
    wait_until(lambda: [row["attempts"] for row in waiting(made)] == [1, 1, 1], "all three wait", timeout=120)
    wait_until(lambda: len(trace(made, "?event=DEFER")) == 3, "the trace has them", timeout=120)
    return made


def waiting(centre: AdminCentre) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.call("/api/v1/queue", _TOKENS[centre.url])[2]["items"]
    return found


def trace(centre: AdminCentre, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.call(f"/api/v1/trace{query}", _TOKENS[centre.url])[2]["items"]
    return found


def queue_id(centre: AdminCentre, recipient: str) -> str:
    return next(row["message"]["id"] for row in waiting(centre) if row["recipients"][0]["address"] == recipient)


def test_every_place_says_the_same_of_who_must_act(centre: AdminCentre, page: Page) -> None:
    message, token = queue_id(centre, "ann@bank.example"), _TOKENS[centre.url]
    (delivery,) = centre.call(f"/api/v1/queue/{message}", token)[2]["items"]
    sentence = delivery["next_step"]
    assert delivery["must_act"] == "remote"
    assert sentence.startswith("The administrators of the smart host 127.0.0.1 must ")
    assert "or an administrator of this gateway must add their authority" in sentence
    assert sentence.endswith("; this message waits until then.")
    traced = centre.call(f"/api/v1/trace/{message}", token)[2]
    assert (traced["must_act"], traced["next_step"]) == ("remote", sentence)
    for command in ("queue", "trace"):
        assert centre.gateway.cli(command, "show", message).stdout.split("\n")[0] == sentence
    centre.log_in(page)
    for path in (f"/queue/{message}", f"/trace/{message}"):
        page.goto(f"{centre.url}{path}")
        assert page.locator("#main section").first.inner_text().startswith(sentence)
    busy = queue_id(centre, "cat@busy.example")
    (delivery,) = centre.call(f"/api/v1/queue/{busy}", token)[2]["items"]
    assert delivery["must_act"] == "nobody"
    assert delivery["next_step"] == (
        "Nobody has to act yet: the mail system of busy.example could not take this message yet, and the gateway tries "
        "again."
    )


def test_what_waits_is_mended_from_its_page_and_leads_to_the_trace(centre: AdminCentre, page: Page, pki: Pki) -> None:
    message = queue_id(centre, "ann@bank.example")
    centre.log_in(page, f"/queue/{message}")
    for name in looks(page):
        page.goto(f"{centre.url}/queue/{message}")
        wait_until(lambda: overflow(page) == 0, f"the page fits {name}")
        axe(page)
        shot(page, f"next-step-{name}")
    head = page.locator("#next-step")
    assert head.get_by_role("link", name="bank.example", exact=True).get_attribute("href") == (
        "/connectors/contoso/outbound/bank.example"
    )
    host = head.get_by_role("link", name="Check 127.0.0.1:").get_attribute("href") or ""
    assert host.startswith("/check/host?target=127.0.0.1"), "by the smart host, not by the MX of the domain"
    head.get_by_role("button", name="Validate").click()
    page.locator("#validated").get_by_text("Not validated").first.wait_for()
    assert page.url == f"{centre.url}/queue/{message}"
    axe(page)
    head.get_by_role("link", name="Edit and retry").click()
    page.get_by_label("trust_anchors").or_(page.get_by_label("Trust anchors")).first.fill(pki.root.read_text())
    axe(page)
    shot(page, "save-and-retry")
    page.get_by_role("button", name="Save and retry this destination").click()
    page.get_by_text("Retrying 2 deliveries to bank.example.").wait_for()
    assert page.url == f"{centre.url}/trace/{message}"
    wait_until(lambda: len(trace(centre, "?event=SEND")) == 2, "both were delivered", timeout=60)
    page.reload()
    assert page.locator("#next-step").inner_text().startswith(_DELIVERED)
    page.goto(f"{centre.url}/queue/{message}")
    assert page.url == f"{centre.url}/trace/{message}", "what has left the queue is not an error"


def test_the_overview_begins_with_what_to_do_first(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    centre.gateway.cli("queue", "hold", queue_id(centre, "cat@busy.example"))
    for name in looks(page):
        page.goto(centre.url)
        wait_until(lambda: overflow(page) == 0, f"the overview fits {name}")
        axe(page)
        shot(page, f"work-{name}")
    page.set_viewport_size({"width": 1024, "height": 800})
    wait_until(lambda: overflow(page) == 0, "the overview fits 1024 pixels")
    shot(page, "work-1024")
    items = page.locator("#needs li")
    assert "1 delivery of contoso is held" in items.nth(0).inner_text()
    assert "2 deliveries to bank.example wait" in items.nth(1).inner_text()
    assert items.count() == items.get_by_role("link").count(), "each has one button"
    told = centre.call("/api/v1/work", centre.token("read", name="all"))[2]["items"]
    assert [item["title"] for item in told][:2] == [
        "1 delivery of contoso is held",
        "2 deliveries to bank.example wait",
    ]
    by_command = centre.gateway.cli("status", json=True, expect=None).data["work"]
    assert [item["title"] for item in by_command] == [item["title"] for item in told]
    tenant = centre.token("read", name="tenant", organizations=("fabrikam",))
    assert centre.call("/api/v1/work", tenant)[2]["items"] == []
    items.nth(1).get_by_role("link", name="Open the oldest message").click()
    page.wait_for_url(f"{centre.url}/queue/{queue_id(centre, 'ann@bank.example')}")


def test_held_mail_says_who_holds_it_and_has_no_next_attempt(centre: AdminCentre, page: Page) -> None:
    message = queue_id(centre, "cat@busy.example")
    centre.gateway.cli("queue", "hold", message)
    sentence = "An administrator of this gateway must release or return this message, which an administrator held."
    shown = centre.gateway.cli("queue", "show", message).stdout
    assert shown.split("\n")[0] == sentence
    assert "next attempt  none while it is held" in shown
    centre.log_in(page, f"/queue/{message}")
    assert page.locator("#next-step").inner_text().startswith(sentence)
    assert page.get_by_text("None while it is held").is_visible()
    assert page.get_by_role("button", name="Retry this destination").count() == 0


def test_anchors_that_vanish_are_named_in_the_queue_and_refused_when_saved(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "bank.pem"
    file.write_bytes(pki.root.read_bytes())
    file.chmod(0o644)
    partner = sink(certificate=pki.leaf("mx.bank.example"))
    bank = connector("bank.example", partner.address, tls_settings="certificate-validation", trust_anchors=str(file))
    server = gateway(contoso(outbound=[bank]))
    server.stop()
    file.unlink()
    server.start()
    send(server.port, "ann@bank.example")
    (delivery,) = wait_until(
        lambda: [one for one in server.cli("queue", "list", json=True).data if one["attempts"]], "it was tried"
    )
    for words in (str(file), "connector:bank.example"):
        assert words in delivery["last_error"]
    assert delivery["must_act"] == "gateway"
    assert delivery["next_step"].startswith("An administrator of this gateway must correct the file")
    other = tmp_path / "other.pem"
    refused = server.cli("connector", "set", "bank.example", f"trust_anchors={other}", expect=2)
    assert "trust_anchors" in refused.stderr
    assert str(other) in refused.stderr
    document = tmp_path / "resources.toml"
    document.write_text(server.cli("export").stdout.replace(str(file), str(other)))
    refused = server.cli("apply", "--file", str(document), expect=2)
    assert "outbound_connector[0] 'bank.example'.trust_anchors" in refused.stderr
    assert str(other) in refused.stderr
    (alarm,) = wait_until(
        lambda: [
            one for one in server.cli("alarms", json=True, expect=None).data["alarms"] if one["kind"] == "file-unusable"
        ],
        "the alarm",
        timeout=100,
    )
    assert "outbound connector 'bank.example' of contoso" in alarm["title"]
    assert str(file) in alarm["detail"]
