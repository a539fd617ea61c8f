"""Proves that owners look after users and tokens in the browser, that everybody sees what was done, and who may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page
from support.admin import OWNER, PASSWORD, AdminCentre, served
from support.browser import axe, context, look
from support.gateway import Gateway
from support.scenes import contoso

from gatepost.manage.access.schema import ACCESS
from gatepost.store.storage import Storage

pytestmark = pytest.mark.timeout(300)  # a browser, on a machine that has other things to do
WORD = "another horse battery"


@pytest.fixture
def centre(gateway: Callable[..., Gateway]) -> AdminCentre:
    return served(gateway, contoso())


def follow(page: Page, what: Locator) -> None:
    """Click, and wait for the page that follows."""
    with page.expect_navigation():
        what.click()


def add_user(page: Page, centre: AdminCentre, name: str, role: str, *organizations: str) -> None:
    page.goto(f"{centre.url}/users/-/add")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(WORD)
    page.get_by_label("Confirm password").fill(WORD)
    page.get_by_role("radio", name=role).check()
    page.get_by_role("radio", name="Selected organizations" if organizations else "The whole gateway").check()
    for one in organizations:
        page.get_by_role("checkbox", name=one).check()
    follow(page, page.get_by_role("button", name="Add user"))
    page.wait_for_url(f"{centre.url}/users/{name}")


def wait_quarter_of_an_hour(centre: AdminCentre) -> None:
    """Since the last proof of all sessions."""
    storage = Storage(centre.gateway.store_url, centre.gateway.data_dir)
    with closing(storage.database(ACCESS)) as database, database.changing() as change:
        change.execute("UPDATE session SET confirmed = confirmed - 901")


def audit_events(centre: AdminCentre, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.gateway.cli("audit", *words, json=True).data
    return found


def test_an_owner_adds_changes_and_removes_a_user(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/users")
    look(page, "users")
    follow(page, page.get_by_role("link", name="Add user"))
    look(page, "user-add")
    page.get_by_label("Name").fill("Tom Thumb")
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_label("Confirm password").fill("short")
    page.get_by_role("radio", name="Operator").check()
    page.get_by_role("radio", name="Selected organizations").check()
    follow(page, page.get_by_role("button", name="Add user"))
    for label in ("Name", "Password"):
        assert page.get_by_label(label, exact=True).get_attribute("aria-invalid") == "true"
    page.get_by_role("alert").get_by_text("name at least one organization").wait_for()
    axe(page)
    add_user(page, centre, "tom", "Operator", "contoso")
    page.get_by_text("User tom was added.").wait_for()
    look(page, "user")

    page.get_by_role("radio", name="Auditor").check()
    page.get_by_label("Enabled").uncheck()
    follow(page, page.get_by_role("button", name="Save"))
    page.get_by_text("User tom was saved").wait_for()
    (tom,) = [one for one in centre.gateway.cli("user", "list", json=True).data if one["name"] == "tom"]
    assert (tom["role"], tom["enabled"], tom["organizations"]) == ("auditor", False, ["contoso"])

    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("Confirm new password").fill(PASSWORD)
    follow(page, page.get_by_role("button", name="Set password"))
    page.get_by_text("The password of tom was reset").wait_for()

    follow(page, page.get_by_role("link", name="Show audit log"))
    page.get_by_text("No events found").wait_for()
    page.goto(f"{centre.url}/audit?action=user-set")
    follow(page, page.get_by_role("row").nth(2).get_by_role("link").first)
    diff = page.get_by_role("region", name="Changes")
    diff.get_by_role("row", name="role").get_by_text("auditor").wait_for()
    look(page, "event")

    page.goto(f"{centre.url}/users/tom/remove")
    look(page, "user-remove")
    follow(page, page.get_by_role("button", name="Remove tom"))
    page.wait_for_url(f"{centre.url}/users")
    page.get_by_text("User tom was removed.").wait_for()
    assert not page.get_by_role("link", name="tom", exact=True).count()
    assert [one["action"] for one in audit_events(centre, "--who", OWNER)][:4] == [
        *("user-remove", "user-set", "user-set", "user-add")
    ]


def test_the_last_owner_stays_and_the_try_is_on_record(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, f"/users/{OWNER}/remove")
    follow(page, page.get_by_role("button", name=f"Remove {OWNER}"))
    page.get_by_text("is the last owner who can log in").wait_for()
    (refused,) = audit_events(centre, "--outcome", "refused")
    assert (refused["who"], refused["action"], refused["subject"]) == (OWNER, "user-remove", OWNER)
    page.goto(f"{centre.url}/users/{OWNER}")
    page.get_by_role("radio", name="Auditor").check()
    follow(page, page.get_by_role("button", name="Save"))
    page.get_by_text("is the last owner who can log in").first.wait_for()
    axe(page)
    assert audit_events(centre, "--outcome", "refused")[0]["action"] == "user-set"


def test_a_token_is_shown_once(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/tokens")
    look(page, "tokens-none")
    follow(page, page.get_by_role("link", name="Add token").first)
    look(page, "token-add")
    follow(page, page.get_by_role("button", name="Add token"))
    page.get_by_role("alert").get_by_text("choose at least one").wait_for()
    axe(page)
    page.get_by_label("Name").fill("monitoring")
    page.get_by_role("checkbox", name="read").check()
    page.get_by_role("radio", name="The whole gateway").check()
    follow(page, page.get_by_role("button", name="Add token"))
    secret = page.locator("#secret code").inner_text()
    assert secret.startswith("gp_")
    page.get_by_role("button", name="Copy token").wait_for()
    look(page, "token-made")
    assert secret not in page.url
    assert secret not in json.dumps(page.context.cookies())
    assert centre.call("/api/v1/status", secret)[0] == 200
    page.goto(f"{centre.url}/tokens")
    look(page, "tokens")
    assert secret not in page.content()
    for path in ("/tokens?format=json", "/tokens?format=csv", "/audit?format=json", "/audit?format=csv"):
        answer = page.request.get(f"{centre.url}{path}")
        assert answer.status == 200
        assert "monitoring" in answer.text()
        assert secret not in answer.text()
    assert secret not in centre.gateway.log()

    follow(page, page.get_by_role("link", name="Remove token monitoring"))
    look(page, "token-remove")
    follow(page, page.get_by_role("button", name="Remove token monitoring"))
    page.wait_for_url(f"{centre.url}/tokens")
    assert centre.call("/api/v1/status", secret)[0] == 401


def test_an_old_session_is_asked_who_it_is_before_something_grave(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/tokens/-/add")
    page.get_by_label("Name").fill("mine")
    page.get_by_role("checkbox", name="owner").check()
    page.get_by_role("radio", name="The whole gateway").check()
    wait_quarter_of_an_hour(centre)
    follow(page, page.get_by_role("button", name="Add token"))
    page.get_by_role("heading", name="Confirm your password").wait_for()
    page.get_by_text("The change was not saved").wait_for()
    assert centre.gateway.cli("token", "list", json=True).data == []
    look(page, "confirm")
    page.get_by_label("Password").fill("not my password at all")
    follow(page, page.get_by_role("button", name="Confirm"))
    page.get_by_text("The password is wrong.").wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    follow(page, page.get_by_role("button", name="Confirm"))
    page.wait_for_url(f"{centre.url}/tokens/-/add")
    page.get_by_role("heading", name="Add token").wait_for()
    assert audit_events(centre, "--action", "confirm")[0]["who"] == OWNER


def confirm_password(page: Page) -> None:
    """At its page, after an answer that is wrong."""
    page.get_by_role("heading", name="Confirm your password").wait_for()
    for password in ("not my password at all", PASSWORD):
        page.get_by_label("Password").fill(password)
        follow(page, page.get_by_role("button", name="Confirm"))


def test_what_was_typed_is_there_again_after_the_password_was_confirmed(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/users/-/add")
    page.get_by_label("Name").fill("tom")
    page.get_by_label("Password", exact=True).fill(WORD)
    page.get_by_role("radio", name="Operator").check()
    page.get_by_role("radio", name="Selected organizations").check()
    page.get_by_role("checkbox", name="contoso").check()
    wait_quarter_of_an_hour(centre)
    follow(page, page.get_by_role("button", name="Add user"))
    assert WORD not in str(page.evaluate("sessionStorage.getItem('unsent')"))
    confirm_password(page)
    page.get_by_text("shows again what you typed").wait_for()
    assert page.get_by_label("Name").input_value() == "tom"
    assert page.get_by_label("Password", exact=True).input_value() == ""
    for box in (page.get_by_role("radio", name="Operator"), page.get_by_role("checkbox", name="contoso")):
        assert box.is_checked()
    axe(page)
    page.get_by_label("Password", exact=True).fill(WORD)
    page.get_by_label("Confirm password").fill(WORD)
    follow(page, page.get_by_role("button", name="Add user"))
    page.wait_for_url(f"{centre.url}/users/tom")

    page.get_by_role("radio", name="Auditor").check()
    wait_quarter_of_an_hour(centre)
    follow(page, page.locator("#access").get_by_role("button", name="Save"))
    confirm_password(page)
    page.get_by_text("shows again what you typed").wait_for()
    assert page.get_by_role("radio", name="Auditor").is_checked()


def test_who_logs_in_instead_of_confirming_sees_nothing_that_another_typed(centre: AdminCentre, page: Page) -> None:
    centre.gateway.cli("user", "add", "otto", "--role", "owner", "--password-stdin", given=f"{PASSWORD}\n")
    centre.log_in(page, "/tokens/-/add")
    page.get_by_label("Name").fill("of olga")
    wait_quarter_of_an_hour(centre)
    follow(page, page.get_by_role("button", name="Add token"))
    assert "of olga" in str(page.evaluate("sessionStorage.getItem('unsent')"))
    centre.log_in(page, "/confirm", name="otto")
    assert page.evaluate("sessionStorage.getItem('unsent')") is None
    page.goto(f"{centre.url}/tokens/-/add")
    assert page.get_by_label("Name").input_value() == ""
    assert page.get_by_text("shows again what you typed").count() == 0

    page.get_by_label("Name").fill("of otto")
    wait_quarter_of_an_hour(centre)
    follow(page, page.get_by_role("button", name="Add token"))
    page.locator("details.menu.end summary").click()
    follow(page, page.get_by_role("button", name="Log out"))
    assert page.evaluate("sessionStorage.getItem('unsent')") is None, "who logs out leaves nothing"


def test_a_person_changes_their_own_password_and_ends_their_sessions(centre: AdminCentre, page: Page) -> None:
    with page.context.browser.new_context(ignore_https_errors=True) as elsewhere:  # type: ignore[union-attr]
        elsewhere.set_default_timeout(90_000)
        other = elsewhere.new_page()
        centre.log_in(other)
        centre.log_in_by_form(page, "/account")
        assert page.get_by_role("row").count() == 3
        look(page, "account")
        follow(page, page.get_by_role("button", name="Log out other sessions"))
        page.get_by_text("1 other session ended.").wait_for()
        other.goto(f"{centre.url}/account")
        assert other.url == f"{centre.url}/login?next=%2Faccount"
        centre.log_in(other)

        page.get_by_label("Current password").fill("not my password at all")
        page.get_by_label("New password", exact=True).fill(WORD)
        page.get_by_label("Confirm new password").fill(WORD)
        follow(page, page.get_by_role("button", name="Change password"))
        assert page.get_by_label("Current password").get_attribute("aria-invalid") == "true"
        axe(page)
        page.get_by_label("Current password").fill(PASSWORD)
        page.get_by_label("New password", exact=True).fill(WORD)
        page.get_by_label("Confirm new password").fill(WORD)
        follow(page, page.get_by_role("button", name="Change password"))
        page.get_by_text("Your password was changed").wait_for()
        other.goto(centre.url)
        assert other.url == f"{centre.url}/login", "the other session ended with the password"
        centre.log_in_by_form(other, password=WORD)


def test_whom_the_pages_of_owners_are_not_for(centre: AdminCentre, page: Page) -> None:
    for name, role, *organizations in (("ada", "administrator"), ("tina", "administrator", "contoso")):
        words = [word for one in organizations for word in ("--organization", one)]
        centre.gateway.cli("user", "add", name, "--role", role, *words, "--password-stdin", given=f"{WORD}\n")
    for name, status in (("ada", 403), ("tina", 404)):
        page.context.clear_cookies()
        centre.log_in(page, "/account", name=name, password=WORD)
        csrf = page.locator("input[name=csrf]").first.get_attribute("value") or ""
        headers = {"sec-fetch-site": "same-origin"}
        assert not page.get_by_role("link", name="Users").count()
        looked = ("/users", "/users/-/add", f"/users/{OWNER}", f"/users/{OWNER}/remove", "/tokens", "/tokens/-/add")
        for path in looked:
            assert page.request.get(f"{centre.url}{path}").status == status, path
        done = ("/users/-/add", f"/users/{OWNER}", f"/users/{OWNER}/password", "/tokens/-/add")
        for path in done:
            answer = page.request.post(f"{centre.url}{path}", form={"csrf": csrf, "role": "owner"}, headers=headers)
            assert answer.status == status, path
        tried = [*(f"GET {path}" for path in looked), *(f"POST {path}" for path in done)]
        assert [one["subject"] for one in audit_events(centre, "--who", name, "--outcome", "refused")][::-1] == tried


def test_the_audit_shows_deeds_and_changes_as_far_as_one_sees(centre: AdminCentre, page: Page) -> None:
    centre.gateway.cli("organization", "add", "fabrikam")
    centre.gateway.cli("organization", "set", "contoso", "display_name=<b>Contoso</b>")
    centre.gateway.cli(
        *("user", "add", "tina", "--role", "auditor", "--organization", "contoso", "--password-stdin"),
        given=f"{WORD}\n",
    )
    centre.log_in(page, "/audit")
    page.get_by_role("row", name="Add user").first.wait_for()
    page.get_by_role("row", name="fabrikam").first.wait_for()
    look(page, "audit")
    page.get_by_label("Action").select_option("change")
    follow(page, page.get_by_role("button", name="Show"))
    assert page.get_by_role("row", name="Add user").count() == 0
    follow(page, page.get_by_role("row", name="contoso").first.get_by_role("link").first)
    page.get_by_role("region", name="Changes").get_by_text("<b>Contoso</b>").wait_for()
    look(page, "audit-version")
    assert json.loads(page.request.get(f"{page.url}?format=json").text())["changes"][0]["after"] == "<b>Contoso</b>"
    page.goto(f"{centre.url}/audit?since=yesterday")
    page.get_by_text("'yesterday' is neither").wait_for()
    axe(page)

    page.context.clear_cookies()
    centre.log_in(page, "/audit", name="tina", password=WORD)
    page.get_by_role("row", name="contoso").first.wait_for()
    assert "fabrikam" not in page.content()
    assert OWNER not in page.content()
    rows = page.request.get(f"{centre.url}/audit?format=json").json()
    assert {one["organization"] for one in rows} == {"contoso"}


def test_the_audit_is_paged(centre: AdminCentre, page: Page) -> None:
    token = centre.token("read", "connectors")
    for number in range(35):
        assert centre.call(f"/users/nobody{number}/password", token, "POST")[0] == 403
        body = {"display_name": f"Contoso {number}"}
        path = "/api/v1/organizations/contoso"
        assert centre.call(path, token, "PATCH", body, {"If-Match": "*"})[0] == 200
    centre.log_in(page, "/audit")
    seen = []
    for _ in range(5):
        seen += [link.get_attribute("href") for link in page.locator("tbody th a").all()]
        behind = page.get_by_role("link", name="Next")
        if not behind.count():
            break
        follow(page, behind)
    assert len(seen) == len(set(seen)) > 60
    assert sum("/versions/" in str(one) for one in seen) >= 30
    assert sum("/events/" in str(one) for one in seen) >= 30
    assert len(page.request.get(f"{centre.url}/audit?format=json").json()) == len(seen)


def test_whoever_guesses_waits_and_is_told_how_long(centre: AdminCentre, page: Page) -> None:
    page.goto(f"{centre.url}/login")
    told = page.get_by_text("Too many failed attempts; wait")
    for _ in range(15):  # beyond five each wait is twice the one before: a slow browser outlasts the first
        page.get_by_label("Name").fill("nobody")
        page.get_by_label("Password").fill("wrong password wrong")
        follow(page, page.get_by_role("button", name="Log in"))
        if told.count():
            break
    told.wait_for()
    axe(page)


def test_times_are_those_of_the_browser_or_of_ones_choice(centre: AdminCentre, browser: Browser) -> None:
    with context(browser, timezone_id="Asia/Kolkata") as (opened, _):
        page = opened.new_page()
        centre.log_in_by_form(page, "/account")
        time = page.locator("#sessions time").first
        assert time.inner_text().endswith("+05:30")
        assert "Z, " in (time.get_attribute("title") or "")
        page.locator("#field-time_zone").select_option("America/St_Johns")
        follow(page, page.locator("#preferences").get_by_role("button", name="Save"))
        page.get_by_text("Times are shown in America/St_Johns.").wait_for()
        assert time.inner_text().endswith(("-03:30", "-02:30"))
        axe(page)
