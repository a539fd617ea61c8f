"""Proves how people come into the admin centre: the first owner, log-in and log-out, and who is kept out."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from support.admin import OWNER, PASSWORD, AdminCentre, served, settings
from support.browser import PHONE, axe, overflow, shot
from support.gateway import Gateway
from support.postgres import Postgres
from support.process import BIN
from support.scenes import contoso

from gatepost.testing.process import free_port, wait_until


@pytest.fixture
def fresh(gateway: Callable[..., Gateway]) -> AdminCentre:
    """A gateway that has no owner yet."""
    port = free_port()
    centre = AdminCentre(gateway(settings=settings(port)), port)
    wait_until(centre.answers, "the admin centre answers", timeout=60)
    return centre


def test_the_first_owner_is_made_by_the_address_that_was_printed(fresh: AdminCentre, page: Page) -> None:
    page.goto(f"{fresh.url}/trace")
    assert page.url == f"{fresh.url}/login?next=%2Ftrace"
    assert page.get_by_text("gatepost user setup").is_visible()
    axe(page)
    address = fresh.setup_url()
    page.goto(address)
    axe(page)
    shot(page, "setup")
    page.get_by_label("Name").fill(OWNER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Confirm password").fill(PASSWORD + "r")
    page.get_by_role("button", name="Create owner account").click()
    assert page.get_by_label("Confirm password").get_attribute("aria-invalid") == "true"
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Confirm password").fill(PASSWORD)
    page.get_by_role("button", name="Create owner account").click()
    page.wait_for_url(f"{fresh.url}/quickstart")
    sets_up(page)
    page.goto(f"{fresh.url}/")
    assert page.get_by_role("heading", name="Overview").is_visible()
    axe(page)
    shot(page, "overview")
    assert "contoso.example" in fresh.gateway.cli("export").stdout
    page.goto(address)
    assert page.get_by_text("This gateway already has an owner").is_visible(), "the address works once"
    (user,) = fresh.gateway.cli("user", "list", json=True).data
    assert (user["name"], user["role"]) == (OWNER, "owner")


def sets_up(page: Page) -> None:
    """The first page of the owner: questions, a review, and what is left to do."""
    page.get_by_label("Domains").fill("contoso.example\nno_domain!")
    page.get_by_label("Mail server").fill("192.0.2.10")
    axe(page)
    shot(page, "quickstart")
    page.get_by_role("button", name="Review").click()
    assert page.get_by_label("Domains").get_attribute("aria-invalid") == "true"
    page.get_by_label("Domains").fill("contoso.example")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("heading", name="Resources").wait_for()
    axe(page)
    shot(page, "quickstart-review")
    page.get_by_role("button", name="Set up", exact=True).click()
    page.get_by_text("contoso.example. IN MX 10").wait_for()
    axe(page)
    shot(page, "quickstart-report")


def test_the_address_that_makes_the_owner_is_in_no_log(fresh: AdminCentre) -> None:
    address, server = fresh.setup_url(), fresh.gateway
    file = server.data_dir / "setup-address"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "code=" not in server.log()
    assert f"create the owner account at the address in {file}" in server.log()
    assert "create" in fresh.call(address.removeprefix(fresh.url))[2].lower()
    fresh.make_owner()
    server.stop()
    server.start()
    wait_until(lambda: not file.exists(), "the address of an owned gateway is gone")


def test_the_address_that_was_shown_stays_valid_after_a_restart(fresh: AdminCentre) -> None:
    address, server = fresh.setup_url(), fresh.gateway
    server.stop()
    server.start()
    wait_until(fresh.answers, "the admin centre answers")
    assert fresh.setup_url() == address
    assert "create" in fresh.call(address.removeprefix(fresh.url))[2].lower()
    newer = server.cli("user", "setup").stdout.strip()
    server.stop()
    server.start()
    wait_until(fresh.answers, "the admin centre answers")
    if not server.store_url.startswith("sqlite:"):
        assert "another node showed the set-up address" in server.log()
        assert "create" in fresh.call(newer.removeprefix(fresh.url))[2].lower()
        return
    assert fresh.setup_url() not in {address, newer}, "what a command printed cannot be said again without a master key"
    assert "the set-up address shown before is no longer valid" in server.log()


def test_a_node_that_starts_leaves_the_address_valid_that_another_one_showed(
    gateway: Callable[..., Gateway], postgres: Postgres
) -> None:
    url = postgres.database()

    def node(name: str) -> AdminCentre:
        port = free_port()
        given = {**settings(port), "server": {"node": name}, "store": {"url": url}}
        return AdminCentre(gateway(hostname=f"{name}.contoso.example", settings=given), port)

    first = node("one")
    address = first.setup_url().removeprefix(first.url)
    second = node("two")
    wait_until(lambda: "another node showed the set-up address" in second.gateway.log(), "it says so", timeout=60)
    assert not (second.gateway.data_dir / "setup-address").exists()
    assert "code=" not in second.gateway.log()
    wait_until(second.answers, "the admin centre answers", timeout=60)
    for centre in (first, second):
        assert "create" in centre.call(address)[2].lower(), "valid on both"


def test_a_terminal_shows_the_address_and_no_file_has_it(fresh: AdminCentre) -> None:
    server = fresh.gateway
    fresh.setup_url()
    server.stop()
    ours, theirs = pty.openpty()
    command = [BIN / "gatepost", "--config", server.config, "serve"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True) as process:
        try:
            shown = ""
            while "(valid once, 30 minutes)" not in shown:
                shown += os.read(ours, 4096).decode()
            assert f"create the owner account at {fresh.url}/setup?code=" in shown
            assert not (server.data_dir / "setup-address").exists()
        finally:
            process.terminate()
            assert process.wait(30) == 0
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def centre(gateway: Callable[..., Gateway]) -> AdminCentre:
    return served(gateway, contoso())


def test_a_session_begins_and_ends(centre: AdminCentre, page: Page) -> None:
    page.goto(centre.url)
    page.get_by_label("Name").fill(OWNER)
    page.get_by_label("Password").fill("wrong password wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("Incorrect user name or password.").wait_for()
    axe(page)
    centre.log_in_by_form(page)
    (cookie,) = [one for one in page.context.cookies() if one["name"] == "__Host-gatepost"]
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    page.set_viewport_size(PHONE)
    assert overflow(page) == 0
    axe(page)
    page.get_by_text(OWNER).click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{centre.url}/login")
    page.context.add_cookies([cookie])
    page.goto(centre.url)
    assert page.url == f"{centre.url}/login", "the old session has ended, whoever has its cookie"


def test_a_session_that_somebody_planted_is_never_taken_over(centre: AdminCentre, page: Page) -> None:
    planted = {"name": "__Host-gatepost", "value": "A" * 43, "url": centre.url, "secure": True}
    page.context.add_cookies([planted])
    centre.log_in_by_form(page)
    values = {one["value"] for one in page.context.cookies() if one["name"] == "__Host-gatepost"}
    assert len(values) == 1
    assert planted["value"] not in values


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"])
def test_no_link_sends_a_person_elsewhere_after_the_log_in(centre: AdminCentre, page: Page, target: str) -> None:
    page.goto(f"{centre.url}/login?next={target}")
    page.get_by_label("Name").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{centre.url}/")


def test_whoever_is_not_known_sees_nothing(centre: AdminCentre) -> None:
    for path in ("/", "/queue", "/connectors", "/none", "/static/../access.db"):
        status, headers, text = centre.call(path)
        assert status in {303, 404}, path
        assert headers["x-content-type-options"] == "nosniff"
        assert "contoso" not in str(text)
    status, headers, problem = centre.call("/api/v1/resources")
    assert (status, problem["type"]) == (401, "/api/v1/problems/unauthenticated")
    assert centre.call("/", headers={"Host": "evil.example"})[0] == 421


def test_a_form_from_elsewhere_is_refused_and_on_record(centre: AdminCentre, page: Page) -> None:
    centre.log_in_by_form(page)
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}, {"Origin": centre.url}):
        status, _, text = centre.call("/logout", method="POST", headers={"Cookie": cookies, **headers})
        assert (status, "was refused" in text or "nothing was changed" in text) == (403, True)
    page.reload()
    assert page.get_by_role("heading", name="Overview").is_visible(), "and the session goes on"
    events = centre.gateway.cli("audit", json=True).data
    whys = [event["detail"]["why"] for event in events if (event["action"], event["outcome"]) == ("request", "refused")]
    assert sorted(why.split()[1] for why in whys) == ["came", "token"], "the same is kept once a minute"
