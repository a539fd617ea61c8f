"""Proves work in bulk on pages: many connectors at once, the way back, a partner's own authority trusted with care."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from playwright.sync_api import Browser, Page, Route
from support.admin import PASSWORD, AdminCentre, running
from support.browser import DESKTOP, axe, context, look, shot
from support.debian import need
from support.scenes import connector, contoso

from gatepost.testing.pki import Pki
from gatepost.testing.sink import Sink

MANY = 200


@pytest.fixture(scope="module")
def centre(pki: Pki) -> Iterator[AdminCentre]:
    """Many connectors, and two for a partner with an authority that the gateway does not know; one will know it."""
    need("chromium")
    with ExitStack() as stack:
        partner = stack.enter_context(Sink(certificate=pki.leaf("mx.bank.example")))
        many = [connector(f"d{number:03}.example") | {"name": f"to-{number:03}"} for number in range(MANY)]
        verified = {"tls_settings": "domain-validation", "tls_domain": "mx.bank.example"}
        private = [
            connector(f"{name}.example", partner.address, **verified) | {"name": name} for name in ("bank", "trusted")
        ]
        resources = contoso(outbound=[*many, *private])
        resources["organization"]["fabrikam"] = {"outbound_connector": [connector("x.example")]}

        made = stack.enter_context(running(resources, certificates=[pki.leaf("mx1.contoso.example")]))
        made.gateway.cli("user", "add", "audrey", "--role", "auditor", "--password-stdin", given=f"{PASSWORD}\n")
        yield made


@pytest.fixture(scope="module")
def token(centre: AdminCentre) -> str:
    return centre.token()


def statuses(centre: AdminCentre, token: str) -> dict[str, int]:
    found: dict[str, int] = {}
    _, _, answer = centre.call("/api/v1/connectors?limit=1000", token)
    for one in answer["items"]:
        found[one["status"]] = found.get(one["status"], 0) + 1
    return found


def version(centre: AdminCentre, token: str) -> int:
    _, _, answer = centre.call("/api/v1/history?limit=1", token)
    return int(answer["items"][0]["version"])


def test_200_connectors_are_put_in_rehearsal_at_once_and_back(centre: AdminCentre, token: str, page: Page) -> None:
    before = statuses(centre, token)
    assert before == {"enabled": MANY + 4}
    centre.log_in(page, "/connectors?q=to-")
    page.locator("#connectors").get_by_text("No results").first.wait_for()
    assert page.get_by_text("1 to 50 of 200 connectors").is_visible()
    page.get_by_label("Select all shown").check()
    page.get_by_text("50 selected.").wait_for()
    page.get_by_label("Select to-007").uncheck()
    page.get_by_text("49 selected.").wait_for()
    shot(page, "bulk-list")
    page.set_viewport_size({"width": 1280, "height": 600})
    axe(page, within="nav.side")  # it scrolls on a low screen, and what is in it can be reached by keys
    page.set_viewport_size(DESKTOP)
    page.get_by_label("Apply to").select_option("all")
    page.get_by_label("Action").select_option("rehearse")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Put in rehearsal: 200 connectors").wait_for()
    page.locator("#decided").get_by_text(re.compile("affects no mail|not known")).wait_for()
    assert statuses(centre, token) == before, "nothing was done yet"
    axe(page)
    shot(page, "bulk-confirm")
    page.get_by_label("Reason").fill("new rules for all")
    page.get_by_role("button", name="Put in rehearsal: 200 connectors").click()
    page.get_by_text("200 connectors are in rehearsal: revision").wait_for()
    assert statuses(centre, token) == {"enabled": 4, "rehearsal": MANY}
    assert page.url.endswith("/connectors?q=to-"), "where it began"
    axe(page)
    shot(page, "bulk-undo")
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Undo of revision").wait_for()
    assert statuses(centre, token) == before
    page.goto(f"{centre.url}/history")
    assert page.get_by_text("new rules for all").count() == 1, "one entry"


def test_some_are_switched_without_a_script_and_the_way_back_is_there(
    centre: AdminCentre, token: str, browser: Browser
) -> None:
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, "/connectors?q=to-00")
        page.get_by_label("Action").select_option("disable")
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("No connector is selected").wait_for()
        page.go_back()
        page.get_by_label("Select to-001").check()
        page.get_by_label("Select to-002").check()
        page.get_by_label("Action").select_option("disable")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Disable: 2 connectors").click()
        page.get_by_text("2 connectors are disabled").wait_for()
        assert statuses(centre, token)["disabled"] == 2
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("saved as revision").wait_for()
        assert "disabled" not in statuses(centre, token)
        page.goto(f"{centre.url}/connectors/contoso/outbound/to-001")
        page.get_by_role("button", name="Disable", exact=True).click()
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("saved as revision").wait_for()
        assert "disabled" not in statuses(centre, token)


def test_selected_connectors_are_validated_and_the_result_is_found_again(
    centre: AdminCentre, browser: Browser, page: Page
) -> None:
    centre.log_in(page, "/connectors?q=bank")
    page.get_by_label("Select bank", exact=True).check()
    page.get_by_label("Action").select_option("validate")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Validation of 1 connector").wait_for()
    progress = page.locator("#progress")
    progress.get_by_text("All done").wait_for()
    page.get_by_text("0 validated, 1 not validated, 0 inconclusive").wait_for()
    page.get_by_role("table", name="Results").get_by_text("Not validated", exact=True).wait_for()
    assert page.get_by_role("button", name="Stop").count() == 0
    look(page, "bulk-validated")
    address = page.url
    page.get_by_role("link", name="bank", exact=True).click()
    page.locator("#validated").get_by_text("Not validated: Certificate failed").first.wait_for()
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, "/connectors?q=to-00")
        page.get_by_label("Action").select_option("validate")
        page.get_by_label("Apply to").select_option("all")
        page.get_by_role("button", name="Continue").click()
        page.locator("#progress").get_by_text("All done").wait_for()
        page.goto(address)
        assert page.locator("#progress").get_by_text("All done").is_visible()


def test_a_validation_is_followed_live_however_late_the_script_for_it_comes(centre: AdminCentre, page: Page) -> None:
    def late(route: Route) -> None:
        time.sleep(0.5)  # htmx alone is there meanwhile
        route.continue_()

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes a connection and never greets
        where, host = ("--organization", "contoso"), f"smart_hosts=127.0.0.1:{silent.getsockname()[1]}"
        centre.gateway.cli("connector", "add", "outbound", "silent", *where, "recipient_domains=silent.example", host)
        centre.log_in(page, "/connectors?q=silent")
        page.route("**/hx-sse.min.js", late)
        page.get_by_label("Select silent", exact=True).check()
        page.get_by_label("Action").select_option("validate")
        with page.expect_request(lambda sent: sent.resource_type == "fetch" and "/validations/" in sent.url) as first:
            page.get_by_role("button", name="Continue").click()
        assert "/events" in first.value.url, "the page asked for itself again, as it does every ten seconds"
        page.get_by_role("table", name="Results").get_by_text("Running", exact=True).wait_for()
        page.get_by_role("button", name="Stop").click()
        page.locator("#progress").get_by_text("Stopped").wait_for()
    centre.gateway.cli("connector", "remove", "silent")


def test_a_drill_is_run_from_its_page_and_kept(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/drills")
    page.get_by_text("No drills yet").wait_for()
    page.get_by_label("Outbound connector").fill("contoso/bank")
    page.get_by_role("button", name="Run drill").click()
    page.get_by_role("heading", name="Drill of bank").wait_for()
    page.get_by_text("this drill, earlier drills and the trace agree").wait_for()
    look(page, "drill")
    page.get_by_role("link", name="Drills", exact=True).first.click()
    page.get_by_role("table", name="Drills").get_by_text("Passed", exact=True).wait_for()
    look(page, "drills")


def test_an_auditor_is_offered_no_switch(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/connectors", name="audrey")
    assert page.locator("[data-bulk]").count() == 0
    assert page.locator('input[name="connectors"]').count() == 0
    page.goto(f"{centre.url}/history/1")
    assert page.get_by_role("link", name="Revert to this revision").count() == 0


def test_columns_are_chosen_and_kept(centre: AdminCentre, page: Page) -> None:
    held: list[Route] = []  # the list with its figures, which arrives once the columns are being chosen
    page.route("**/connectors?verdicts=yes", lambda route: held.append(route))  # noqa: PLW0108 - takes attributes
    centre.log_in(page, "/connectors")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Requires", exact=True).wait_for()
    held[0].continue_()
    page.locator("#connectors").get_by_text("No results").first.wait_for()
    page.unroute("**/connectors?verdicts=yes")
    page.get_by_label("Requires", exact=True).uncheck()
    assert not page.get_by_role("columnheader", name="Requires").is_visible()
    page.reload()
    page.locator("#connectors").get_by_text("No results").first.wait_for()
    assert not page.get_by_role("columnheader", name="Requires").is_visible()
    assert page.get_by_role("columnheader", name="Validated").is_visible()
    axe(page)


@pytest.mark.parametrize("language", ["en-GB", "de-DE", "sv-SE"])
def test_the_list_fits_a_window_of_1280_pixels(centre: AdminCentre, browser: Browser, language: str) -> None:
    """The figures of the last seven days, by which a rehearsal is judged, stood beyond its right edge."""
    with context(browser, locale=language, viewport={"width": 1280, "height": 900}) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, "/connectors?verdicts=yes")
        table = page.locator("#connectors .table-wrap")
        table.wait_for()
        assert table.evaluate("element => element.scrollWidth - element.clientWidth") <= 0


def test_an_earlier_revision_is_gone_back_to_after_a_look(centre: AdminCentre, token: str, page: Page) -> None:
    start = version(centre, token)
    centre.gateway.cli("connector", "set", "to-003", "comment=mine", "--note", "of a colleague")
    centre.log_in(page, f"/history/{start}")
    page.get_by_role("link", name="Revert to this revision").click()
    page.get_by_role("table", name="Changes that are taken back").get_by_text("of a colleague").wait_for()
    look(page, "history-revert")
    centre.gateway.cli("connector", "set", "to-004", "comment=late")
    late = version(centre, token)
    page.get_by_role("button", name="Revert: 1 change").click()
    page.get_by_text("Nothing was reverted: somebody changed the configuration").wait_for()
    assert version(centre, token) == late
    page.get_by_role("button", name="Revert: 2 changes").click()
    page.get_by_text(f"Revert to revision {start}: saved as revision {late + 1}").wait_for()
    stored = centre.gateway.cli("export").stdout
    assert "mine" not in stored
    assert "late" not in stored


def test_an_issuer_is_trusted_once_its_fingerprint_was_confirmed(
    centre: AdminCentre, token: str, pki: Pki, page: Page
) -> None:
    issuer = x509.load_pem_x509_certificate(pki.intermediate.read_bytes())
    fingerprint = issuer.fingerprint(hashes.SHA256()).hex(":").upper()
    centre.log_in(page, "/connectors/contoso/outbound/trusted")
    page.get_by_role("link", name="trust the issuer that was seen").click()
    page.get_by_text("No issuer to trust").wait_for()
    page.go_back()
    page.get_by_role("button", name="Validate", exact=True).click()
    page.locator("#validated").get_by_text("Not validated: Certificate failed").first.wait_for()
    page.get_by_role("link", name="trust the issuer that was seen").click()
    page.get_by_text("Not verified yet.").wait_for()
    page.get_by_text(fingerprint).wait_for()
    look(page, "issuer-trust")
    start = version(centre, token)
    page.get_by_role("button", name="Trust this issuer for this connector").click()
    page.get_by_text("Confirm the fingerprint with the partner first").wait_for()
    assert version(centre, token) == start
    page.get_by_label("The partner confirmed this fingerprint").check()
    page.get_by_role("button", name="Trust this issuer for this connector").click()
    page.get_by_text("The issuer is trusted for this connector").wait_for()
    page.get_by_role("button", name="Validate", exact=True).click()
    page.locator("#validated").get_by_text(re.compile("^Validated")).first.wait_for()
    axe(page)
