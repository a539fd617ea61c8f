"""Proves the whole story as one person lives it: from an empty gateway to a changed certificate, in a browser.

The owner is made, then an organization, its domain, its own servers and a partner by the wizard, which tries a real
Postfix. Mail flows and is found. The partner's certificate goes wrong: mail waits, and the pages say why. In the end
the gateway's own certificate is changed. Pictures of it are kept for the documentation.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from support.admin import OWNER, PASSWORD, AdminCentre, settings
from support.browser import axe, shot
from support.clients import openssl_s_client
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import message, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until

HOST, NAME = "mx1.contoso.example", "mx.bank.example"
ALICE, BOB = "alice@contoso.example", "bob@bank.example"


class Story:
    """What the owner does, page by page."""

    def __init__(self, centre: AdminCentre, page: Page) -> None:
        self.centre = centre
        self.page = page

    def open(self, path: str) -> None:
        self.page.goto(f"{self.centre.url}{path}")

    def make_owner(self) -> None:
        page = self.page
        page.goto(self.centre.setup_url())
        page.get_by_label("Name").fill(OWNER)
        for label in ("Password", "Confirm password"):
            page.get_by_label(label, exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Create owner account").click()
        page.wait_for_url(f"{self.centre.url}/quickstart")

    def make_organization(self) -> None:
        page = self.page
        self.open("/organizations")
        page.get_by_role("link", name="Add organization").first.click()
        page.get_by_label("Name", exact=True).fill("contoso")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("was saved as revision").wait_for()
        self.open("/domains")
        page.get_by_role("link", name="Add").first.click()
        page.get_by_label("Name", exact=True).fill("contoso.example")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("was saved as revision").wait_for()

    def go(self, wanted: str) -> None:
        self.page.get_by_role("button", name="Continue").click()
        self.page.get_by_role("heading", name=wanted, exact=True).wait_for()

    def begin(self, scenario: str, name: str) -> None:
        self.open("/connectors/new?organization=contoso")
        self.page.get_by_label(scenario).check()
        self.go("Connector name")
        self.page.get_by_label("Name", exact=True).fill(name)

    def save(self) -> None:
        self.page.get_by_label("Enforced").check()
        self.page.get_by_role("button", name="Save connector").click()
        self.page.locator("#made").wait_for()

    def connect_own_servers(self) -> None:
        page = self.page
        self.begin("Your organization's email server → This gateway", "own servers")
        self.go("Use of connector")
        page.get_by_label("By their IP addresses").check()
        page.get_by_label("IP addresses", exact=True).fill("127.0.0.1")
        self.go("Security restrictions")
        self.go("Validation")
        self.go("Review")
        self.save()

    def connect_partner(self, port: int) -> None:
        page = self.page
        self.begin("This gateway → Partner organization", "bank-out")
        shot(page, "story-1-wizard")
        self.go("Use of connector")
        page.get_by_label("Domains of the partner").fill("bank.example")
        self.go("Routing")
        page.get_by_label("Route messages through these smart hosts").check()
        page.get_by_label("Smart hosts", exact=True).fill(f"127.0.0.1:{port}")
        self.go("Security restrictions")
        page.get_by_label("TLS with a certificate for this name").check()
        page.get_by_label("Certificate name").fill(NAME)
        self.go("Validation")
        page.get_by_label("Send a test message to").fill(BOB)
        page.get_by_role("button", name="Validate").click()
        page.locator("#task-verdict").get_by_text("all 9 tasks succeeded").wait_for(timeout=90_000)
        axe(page)
        shot(page, "story-2-validated")
        self.go("Review")
        self.save()

    def in_force(self) -> None:
        self.centre.gateway.wait_in_force()

    def find(self, address: str, *words: str, picture: str) -> None:
        """The message of an address, by the box that every page has; its story says all of the words."""
        self.open("/")
        self.page.get_by_role("search", name="Message trace").get_by_role("searchbox").fill(address)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/trace?**")
        self.page.locator("#trace tbody th a").first.click()
        self.page.wait_for_url("**/trace/**")
        said = self.page.locator("main").inner_text()
        missing = [word for word in words if word not in said]
        assert not missing, said
        axe(self.page)
        shot(self.page, picture)


@pytest.mark.timeout(400)
def test_from_an_empty_gateway_to_a_changed_certificate(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], pki: Pki, page: Page
) -> None:
    port, partner_port = free_port(), free_port()
    first, second = pki.leaf(HOST), pki.leaf(HOST)
    key = pki.folder / "story-master.key"
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    server = gateway(
        certificates=[first],
        anchors=pki.root,
        hostname=HOST,
        settings={**settings(port), "store": {"master_key": f"file:{key}"}},
    )
    story = Story(AdminCentre(server, port), page)
    story.make_owner()
    story.make_organization()
    story.connect_own_servers()
    partner = postfix(certificates=[pki.leaf(NAME)], port=partner_port)
    story.connect_partner(partner.port)
    story.in_force()
    partner.wait_mails(1)

    send(server.port, BOB, sender=ALICE, tls=True, content=message("Quarterly figures"))
    partner.wait_mails(2)
    server.wait_trace(recipient=BOB, event="SEND", sender=ALICE)
    story.find(ALICE, "Quarterly figures", NAME, "bank-out", picture="story-3-sent")

    partner.stop()
    postfix(certificates=[pki.leaf("mx.elsewhere.example")], port=partner_port)
    send(server.port, BOB, sender=ALICE, tls=True, content=message("Closing"))
    (row,) = server.wait_trace(recipient=BOB, event="DEFER")[:1]
    assert row["result_type"] == "certificate-host-mismatch"
    story.open("/queue")
    page.locator("main").get_by_text("SubjectMismatch").first.wait_for()
    axe(page)
    shot(page, "story-4-held")
    story.open(f"/trace/{row['message']}")
    said = page.locator("main").inner_text()
    assert "SubjectMismatch" in said
    assert "mx.elsewhere.example" in said
    shot(page, "story-5-why")

    _change_certificate(story, second)


def _change_certificate(story: Story, leaf: Leaf) -> None:
    page, server = story.page, story.centre.gateway
    story.open("/certificates/add")
    page.get_by_label("Certificate and intermediates").fill(leaf.chain.read_text())
    page.get_by_label("Private key").fill(leaf.key.read_text())
    page.get_by_role("button", name="Add certificate").click()
    page.get_by_text("was added as next").wait_for()
    page.get_by_role("button", name="Run checks").click()
    page.locator("#gate-tlsa").wait_for(timeout=90_000)
    shot(page, "story-6-changeover")
    page.get_by_label("Override failed checks").fill("no name server in this story")
    page.get_by_role("button", name="Switch", exact=True).click()
    page.get_by_text("is now current. New sessions get it").wait_for(timeout=90_000)
    axe(page)
    shot(page, "story-7-switched")
    shown = "".join(leaf.chain.read_text().split("-----")[2].split())
    wait_until(
        lambda: shown in "".join(openssl_s_client(server.port).transcript.split()), "new sessions see it", timeout=30
    )
