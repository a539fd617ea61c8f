"""Proves the connectors' pages: the list, one connector with what it did, its switches, and who may see and do what."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from support.admin import PASSWORD, AdminCentre, running
from support.browser import axe, context, look
from support.debian import need
from support.gateway import Gateway
from support.scenes import OWN_SERVERS, connector, contoso, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.sink import Sink

# By how many pixels the list is wider than its room.
BEYOND = (
    "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('#connectors .table-wrap'))"
)
HOSTILE = "<script>alert(1)</script>/../x"
PARTNER_IN: dict[str, Any] = {
    "name": "bank-in",
    "sender_domains": ["bank.example", "*.bank.example"],
    "restrict_domains_to_certificate": True,
    "tls_sender_certificate_name": "mail.bank.example",
}
RULE = {"name": "secrets", "header_name": "X-Secret", "route_via_connector": "bank-out"}


@dataclass
class Scene:
    """One gateway for all tests here: what a test changes is named for it alone."""

    centre: AdminCentre
    partner: Sink

    @property
    def gateway(self) -> Gateway:
        return self.centre.gateway

    @property
    def url(self) -> str:
        return self.centre.url


def strict(name: str, host: str, certificate: str = "mx.bank.example", **fields: Any) -> dict[str, Any]:
    made = connector(f"{name}.example", host, tls_settings="domain-validation", tls_domain=certificate)
    return made | {"name": f"{name}-out"} | fields


@pytest.fixture(scope="module")
def scene(pki: Pki) -> Iterator[Scene]:
    need("chromium")
    with ExitStack() as stack:
        partner = stack.enter_context(Sink(certificate=pki.leaf("mx.bank.example")))
        host = partner.address
        outbound = [
            strict("bank", host),
            strict("clinic", host, "mx.clinic.example", mode="rehearse"),
            strict("live", host, "mx.clinic.example"),
            strict("plain", host),
            strict("switched", host),
            strict("old", host, enabled=False, comment="<b>old</b>"),
            connector("lab.example") | {"name": HOSTILE},
        ]
        resources = contoso(outbound=outbound, inbound=[OWN_SERVERS, PARTNER_IN], mail_flow_rule=[RULE])
        resources["organization"]["fabrikam"] = {
            "accepted_domain": [{"name": "fabrikam.example"}],
            "outbound_connector": [{"name": "theirs", "recipient_domains": ["bank.example"]}],
        }

        centre = stack.enter_context(
            running(resources, anchors=pki.root, certificates=[pki.leaf("mx1.contoso.example")])
        )
        centre.gateway.cli("user", "add", "audrey", "--role", "auditor", "--password-stdin", given=f"{PASSWORD}\n")
        send(centre.gateway.port, ["bob@bank.example", "bob@clinic.example"])
        outcomes(centre.gateway, {"bob@bank.example": "SEND", "bob@clinic.example": "SEND"})
        yield Scene(centre, partner)


@pytest.fixture
def centre(scene: Scene) -> AdminCentre:
    return scene.centre


@pytest.fixture(scope="module")
def tokens(scene: Scene) -> dict[str, str]:
    """By what they may: to read everything, or to change what is fabrikam's."""
    return {
        "reader": scene.centre.token("read", name="reader"),
        "tenant": scene.centre.token("connectors", "read", name="tenant", organizations=("fabrikam",)),
    }


def test_a_dialog_is_open_again_after_the_session_ended(centre: AdminCentre, page: Page) -> None:
    path = "/connectors/contoso/outbound/plain-out"
    centre.log_in(page, path)
    page.get_by_role("button", name="Remove…").click()
    dialog = page.locator("#remove")
    dialog.get_by_label("Reason (recorded)").fill("they moved")
    page.context.clear_cookies()
    dialog.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_text("Your session expired").wait_for()
    centre.log_in(page, path)
    dialog.get_by_text("shows again what you typed").wait_for()
    assert dialog.get_by_label("Reason (recorded)").input_value() == "they moved"
    axe(page)
    dialog.get_by_role("button", name="Cancel").click()
    page.goto(f"{centre.url}{path}")
    assert not dialog.is_visible()


def test_the_list_says_what_connectors_are_and_did(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors")
    table = page.locator("#connectors")
    table.get_by_text("1 passed").first.wait_for()
    table.get_by_text("1 would be held back").wait_for()
    rows = table.locator("tbody tr").all_inner_texts()
    assert len(rows) >= 9
    (rehearsed,) = [row for row in rows if "clinic-out" in row]
    for words in ("In rehearsal", "This gateway", "Partner organization", "clinic.example", "Never"):
        assert words in rehearsed
    assert table.get_by_text(HOSTILE).is_visible(), "a name is text, whatever it holds"
    look(page, "connectors")


def test_the_list_is_filtered_by_its_address(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors")
    page.get_by_label("Name or domain").fill("bank.example")
    page.get_by_label("Direction").select_option("outbound")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**/connectors?q=bank.example&direction=outbound&status=&sort=")
    page.get_by_text("1 to 2 of 2 connectors").wait_for()
    page.get_by_text("Organization: All organizations").click()
    page.get_by_role("link", name="fabrikam", exact=True).click()
    page.get_by_text("1 connector", exact=True).wait_for()
    page.get_by_label("Status").select_option("disabled")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("No connectors found").wait_for()
    axe(page)


def test_the_list_is_a_file_too(centre: AdminCentre, tokens: dict[str, str]) -> None:
    token = tokens["reader"]
    status, headers, text = centre.call("/connectors?format=csv&organization=contoso&q=bank", token)
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert "attachment" in headers["content-disposition"]
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(text))}
    assert set(rows) == {"bank-in", "bank-out"}
    assert rows["bank-in"]["from"] == "Partner organization"
    _, _, found = centre.call("/connectors?format=json", token)
    assert {row["name"] for row in found} >= {"bank-in", "theirs", HOSTILE}
    assert centre.call("/connectors?format=xls", token)[0] == 422


def test_a_connector_is_shown_whole(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors/contoso/outbound/clinic-out")
    assert page.get_by_text("Not validated yet.").is_visible()
    report = page.locator("#report")
    report.get_by_text("Not ready to enforce: 1 of 1 message would have been held back").wait_for()
    report.get_by_text("certificate-host-mismatch").wait_for()
    page.locator("#mail").get_by_text("bob@clinic.example").wait_for()
    changes = page.locator("#changes")
    changes.get_by_text("outbound_connector['clinic-out']").wait_for()
    assert page.locator("#fields").get_by_text("mx.clinic.example", exact=True).is_visible()
    page.get_by_text("Show as CLI / TOML").click()
    page.get_by_text("gatepost connector add outbound clinic-out --organization contoso").wait_for()
    look(page, "connector")


def test_a_connector_is_validated_live_and_the_list_knows(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors/contoso/outbound/live-out")
    page.get_by_role("button", name="Validate").click()
    verdict = page.locator("#task-verdict")
    verdict.wait_for()
    assert "Not validated: Name failed" in verdict.inner_text()
    assert "Fail" in page.locator("#task-name").inner_text()
    assert "What to do:" in page.locator("#task-name").inner_text()
    axe(page)
    page.goto(f"{centre.url}/connectors?q=live")
    assert page.get_by_text("Not validated").is_visible()
    events = [one for one in centre.gateway.cli("audit", json=True).data if one["action"] == "connector-validate"]
    (event,) = [one for one in events if "live-out" in one["subject"]]
    assert event["organization"] == "contoso"


def test_without_a_script_everything_is_there(scene: Scene, centre: AdminCentre, browser: Browser) -> None:
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, "/connectors")
        page.get_by_role("link", name="Count the mail of the last 7 days").click()
        page.get_by_text("No results").first.wait_for()
        page.get_by_role("link", name="plain-out").click()
        page.get_by_role("link", name="Read the trace").click()
        page.get_by_text("no matching mail in this time").wait_for()
        page.get_by_label("Send a test message to").fill("bob@plain.example")
        page.get_by_role("button", name="Validate").click()
        page.get_by_text("validated: all 9 tasks succeeded").first.wait_for()
    got = [one for one in scene.partner.messages if one.recipients == ("bob@plain.example",)]
    assert len(got) == 1


def test_switches_change_the_connector_and_nothing_else(centre: AdminCentre, page: Page) -> None:
    def stored(field: str) -> Any:
        shown = centre.gateway.cli("connector", "show", "switched-out", "--organization", "contoso", json=True).data
        return next(one["value"] for one in shown["fields"] if one["field"] == field)

    centre.log_in(page, "/connectors/contoso/outbound/switched-out")
    page.get_by_role("button", name="Rehearse").click()
    page.get_by_role("dialog").get_by_role("button", name="Rehearse").click()
    page.get_by_text("is in rehearsal").wait_for()
    assert (stored("mode"), stored("tls_domain")) == ("rehearse", "mx.bank.example")
    page.get_by_role("button", name="Enforce").click()
    page.get_by_role("dialog").get_by_role("button", name="Enforce").click()
    page.get_by_text("is enforced").wait_for()
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    page.get_by_role("button", name="Enable").click()
    page.get_by_text("is enabled").wait_for()
    assert (stored("mode"), stored("enabled")) == ("enforce", True)
    changes = centre.gateway.cli("history", json=True).data
    assert {change["author"] for change in changes[:4]} == {"olga"}


def test_what_a_rule_needs_is_not_removed(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors/contoso/outbound/bank-out")
    page.get_by_role("button", name="Remove…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("link", name="secrets").wait_for()
    axe(page)
    dialog.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_text("cannot be removed, it is needed by").wait_for()
    page.goto(f"{centre.url}/connectors/contoso/outbound/old-out")
    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    page.wait_for_url(f"{centre.url}/connectors")
    assert page.get_by_text("was removed").is_visible()
    names = [row["name"] for row in centre.gateway.cli("connector", "list", json=True).data]
    assert "old-out" not in names
    assert "bank-out" in names


def test_a_long_name_leaves_room_for_the_other_columns(centre: AdminCentre, page: Page) -> None:
    name = "x" * 64
    centre.gateway.cli("connector", "add", "outbound", name, "--organization", "contoso", "recipient_domains=x.example")
    centre.log_in(page, f"/connectors?q={name}")
    page.locator("#connectors").get_by_text("No results").wait_for()
    assert page.evaluate(BEYOND) == 0, "the last columns are out of sight"
    centre.gateway.cli("connector", "remove", name)


def test_a_name_with_a_slash_has_a_page_and_stays_text(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors?q=lab")
    page.get_by_role("link", name=HOSTILE).click()
    page.locator("#changes").get_by_text("added").first.wait_for()
    page.get_by_role("heading", name=HOSTILE).wait_for()


@pytest.mark.parametrize(
    "path",
    [
        "/connectors/contoso/outbound/bank-out",
        "/connectors/contoso/outbound/none",
        "/connectors/edit/contoso/outbound/bank-out",
        "/connectors?organization=contoso",
        "/organizations/view/contoso",
        "/domains/view/contoso/contoso.example",
        "/domains?organization=contoso",
        "/history?organization=contoso",
    ],
)
def test_anothers_connector_is_not_there(centre: AdminCentre, tokens: dict[str, str], path: str) -> None:
    status, _, text = centre.call(path, tokens["tenant"])
    assert status == 404
    assert "bank-in" not in text
    assert "mx.bank.example" not in text


def test_who_only_reads_changes_nothing(centre: AdminCentre, tokens: dict[str, str], page: Page) -> None:
    before = centre.gateway.cli("history", json=True).data
    centre.log_in(page, "/connectors/contoso/outbound/bank-out", name="audrey")
    for name in ("Edit", "Validate", "Disable", "Remove…"):
        assert page.get_by_role("button", name=name).count() + page.get_by_role("link", name=name).count() == 0
    token = tokens["reader"]
    for path in ("/connectors/contoso/outbound/bank-out", "/connectors/validate/contoso/outbound/bank-out"):
        assert centre.call(path, token, "POST")[0] == 403
    for path in (
        "/connectors/new",
        "/connectors/edit/contoso/outbound/bank-out",
        "/connectors/run/none/events",
    ):
        assert centre.call(path, token)[0] in {403, 404}
    assert centre.gateway.cli("history", json=True).data == before
