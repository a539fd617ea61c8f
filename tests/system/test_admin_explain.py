"""Proves the page that explains: questions of a person, real mail asked about again, what a tenant sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page
from support.admin import PASSWORD, AdminCentre, served
from support.browser import context, look
from support.gateway import Gateway
from support.scenes import OWN_SERVERS, connector, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

pytestmark = pytest.mark.timeout(180)

ANN = "ann@contoso.example"
BOB = "bob@bank.test"
HOSTILE = "<script>alert(1)</script>"
BANK = "/explain?sender=ann%40contoso.example&recipient=bob%40bank.test&ip=127.0.0.1"


def resources(*smart_hosts: str) -> dict[str, Any]:
    """contoso sends to a bank; fabrikam is another tenant, whose connectors are nobody's business."""
    inbound = [
        OWN_SERVERS,
        {"name": "bank-in", "sender_domains": ["bank.test"], "tls_sender_certificate_name": "mx.bank.test"},
        *({"name": f"partner-{number}", "sender_domains": [f"p{number}.test"]} for number in range(20)),
    ]
    bank = connector("bank.test", *smart_hosts or ["mx.bank.test"], tls_settings="certificate-validation")
    known = contoso(inbound=inbound, outbound=[bank, connector("rest.test", "mx.rest.test")])
    known["organization"]["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "fay@fabrikam.example"}],
        "inbound_connector": [{"name": "secret-in", "sender_domains": ["bank.test", "contoso.example"]}],
        "outbound_connector": [connector("bank.test", "mx.secret.test") | {"name": "secret-out"}],
    }
    return known


@pytest.fixture
def centre(gateway: Callable[..., Gateway]) -> AdminCentre:
    return served(gateway, resources())


def test_a_person_asks_and_passes_the_answer_on(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/explain")
    look(page, "explain-question")
    page.get_by_label("From").fill(ANN)
    page.get_by_label("To", exact=True).fill(BOB)
    page.get_by_label("Client address").fill("127.0.0.1")
    page.get_by_role("button", name="Explain").click()
    answer = page.locator("#answer")
    answer.wait_for()
    assert "delivers it to the smart hosts mx.bank.test:25, over TLS with a verified certificate" in answer.inner_text()
    outbound = page.locator("#outbound").inner_text()
    assert "TLS with a verified certificate" in outbound
    assert "Connector bank.test" in outbound
    assert "authenticated" not in outbound
    assert "Unknown root" in page.locator("#failures").inner_text()
    others = page.locator("#inbound details")
    assert others.get_attribute("open") is None, "many that do not apply are folded"
    others.locator("summary").click()
    page.get_by_text("'partner-19' of contoso").wait_for()
    look(page, "explain-answer")
    address = page.locator("#share code").first.inner_text()
    page.goto(address)
    assert "over TLS with a verified certificate" in page.locator("#answer").inner_text()
    command = page.locator("#share code").last.inner_text()
    assert command == f"gatepost explain --from {ANN} --to {BOB} --ip 127.0.0.1"


def test_a_certificate_is_sent_by_a_form_and_stands_in_no_address(
    centre: AdminCentre, page: Page, strange_pki: Pki
) -> None:
    centre.log_in(page)
    page.goto(f"{centre.url}/explain?sender=x%40bank.test&recipient=ann%40contoso.example")
    assert "Refused" in page.locator("#inbound").inner_text()
    page.get_by_text("Header fields, REQUIRETLS, certificate").click()
    page.get_by_label("Client certificate").fill(strange_pki.leaf("mx.bank.test").chain.read_text())
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("over TLSv1.3, with a certificate").wait_for()
    assert page.url == f"{centre.url}/explain"
    assert "which bears it is not trusted" in page.locator("#inbound").inner_text() or "not trusted" in (
        page.locator("#inbound").inner_text()
    )
    assert page.locator("#share").get_by_text("Link", exact=True).count() == 0


def test_what_is_wrong_stands_beside_its_field(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/explain")
    page.get_by_label("From").fill(HOSTILE)
    page.get_by_label("Client address").fill("nowhere")
    page.get_by_text("Header fields, REQUIRETLS, certificate").click()
    page.get_by_label("Client certificate").fill("none")
    page.get_by_label("Header", exact=False).first.fill("no field")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("alert").wait_for()
    for label in ("From", "To", "Client address", "Client certificate"):
        assert page.get_by_label(label).first.get_attribute("aria-invalid") == "true", label
    look(page, "explain-wrong")


def test_real_mail_is_asked_about_again(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, page: Page
) -> None:
    bank = sink(certificate=pki.leaf("localhost"))
    centre = served(gateway, resources(f"localhost:{bank.port}"), settings={"tls": {"trust_anchors": str(pki.root)}})
    send(centre.gateway.port, BOB, sender=ANN)
    (row,) = wait_until(lambda: centre.gateway.trace(recipient=BOB, event="SEND"), "the message was sent")
    address = f"/explain?message={quote(row['message'])}"
    centre.log_in(page)
    page.goto(f"{centre.url}{address}")
    assert page.get_by_text("With today's rules the result is the same.").is_visible()
    assert page.get_by_label("From").input_value() == ANN

    centre.gateway.cli("connector", "set", "bank.test", "tls_settings=encryption-only")
    page.reload()
    assert page.get_by_text("With today's rules the result is different.").is_visible()
    text = page.locator("#then").inner_text()
    assert "outbound requirement" in text
    assert "encrypted" in text
    look(page, "explain-then")
    status, _, text = centre.call("/explain?message=nothing", centre.token("read"))
    assert (status, "The message trace has no message or session nothing" in text) == (404, True)


def test_a_tenant_learns_nothing_of_another(centre: AdminCentre, browser: Browser) -> None:
    words = ("user", "add", "tina", "--role", "auditor", "--organization", "contoso", "--password-stdin")
    centre.gateway.cli(*words, given=f"{PASSWORD}\n")
    with context(browser) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, name="tina")
        page.goto(f"{centre.url}{BANK}")
        assert "over TLS with a verified certificate" in page.locator("#answer").inner_text()
        for sender, recipient in (
            ("x@bank.test", ANN),
            (ANN, "fay@fabrikam.example"),
            ("fay@fabrikam.example", ANN),
            (ANN, BOB),
        ):
            page.goto(f"{centre.url}/explain?sender={quote(sender)}&recipient={quote(recipient)}&ip=127.0.0.1")
            said = page.content()
            assert "secret" not in said, (sender, recipient)
            assert "fabrikam" not in said.replace("fay@fabrikam.example", "").replace(quote("fay@fabrikam.example"), "")
        page.goto(f"{centre.url}/explain?sender={quote(ANN)}&recipient=fay%40fabrikam.example&ip=127.0.0.1")
        assert page.get_by_text("Another organization decides").first.is_visible()
        page.goto(f"{centre.url}/explain?sender=x%40any.test&recipient=fay%40fabrikam.example")
        assert page.get_by_role("alert").get_by_text("an organization that you see").is_visible()


def test_a_link_sets_nothing_off(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    page.goto(f"{centre.url}{BANK}&live=on")
    assert page.locator("#live").count() == 0
    page.get_by_label("Also look up and connect").check()
    page.get_by_role("button", name="Explain").click()
    page.locator("#live").wait_for()
    assert "mx.bank.test" in page.locator("#live").inner_text()
