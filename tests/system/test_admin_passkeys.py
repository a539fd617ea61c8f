"""Proves that a passkey is made and logs in, in a browser with an authenticator, and that what is wrong does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page
from support.admin import OWNER, PASSWORD, AdminCentre, served
from support.browser import axe, context, shot
from support.gateway import Gateway
from support.scenes import contoso

from gatepost.manage.access.schema import ACCESS
from gatepost.store.storage import Storage


@pytest.fixture
def centre(gateway: Callable[..., Gateway]) -> AdminCentre:
    """Asked for by name: an IP address is not a relying party."""
    found = served(gateway, contoso())
    found.url = f"https://localhost:{found.port}"
    return found


class Desk:
    """A browser with an authenticator. page: in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("WebAuthn.enable")
        self._authenticator = self._session.send("WebAuthn.addVirtualAuthenticator", {"options": _OPTIONS})[
            "authenticatorId"
        ]

    def verifies(self, *, person: bool) -> None:
        """Whether the authenticator knows its owner."""
        self._send("setUserVerified", isUserVerified=person)

    def credentials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._send("getCredentials")["credentials"]
        return found

    def replace(self, credential: dict[str, Any]) -> None:
        self._send("clearCredentials")
        self._send("addCredential", credential=credential)

    def _send(self, method: str, **given: Any) -> Any:
        return self._session.send(f"WebAuthn.{method}", {"authenticatorId": self._authenticator, **given})


pytestmark = pytest.mark.timeout(300)  # a browser, on a machine that has other things to do
_OPTIONS = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def desk(browser: Browser) -> Iterator[Desk]:
    with context(browser) as (opened, _):
        yield Desk(opened.new_page())


def make(desk: Desk, centre: AdminCentre, name: str = "My laptop") -> None:
    centre.log_in(desk.page, "/account")
    desk.page.get_by_label("Passkey name").fill(name)
    desk.page.get_by_role("button", name="Add passkey").click()
    desk.page.get_by_text(f"The passkey {name} was added.").wait_for()


def come_in(desk: Desk, centre: AdminCentre) -> None:
    desk.page.context.clear_cookies()
    desk.page.goto(f"{centre.url}/login?next=%2Faccount")
    desk.page.get_by_role("button", name="Use a passkey").click()


def refused(centre: AdminCentre) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = centre.gateway.cli("audit", "--outcome", "refused", json=True).data
    return found


def test_a_passkey_is_made_logs_in_and_is_removed(centre: AdminCentre, desk: Desk) -> None:
    page = desk.page
    make(desk, centre)
    axe(page)
    shot(page, "account-passkey")
    page.context.clear_cookies()
    page.goto(f"{centre.url}/login")
    axe(page)
    shot(page, "login-passkey")
    for _ in range(2):
        come_in(desk, centre)
        page.wait_for_url(f"{centre.url}/account")
        page.get_by_role("row", name="My laptop").wait_for()
    (made,) = desk.credentials()
    assert made["rpId"] == "localhost"
    assert made["signCount"] > 1

    done = centre.gateway.cli("audit", "--who", OWNER, "--action", "log-in", json=True).data[0]
    assert done["detail"] == {"passkey": "My laptop"}
    page.get_by_label("Passkey name").fill("Once more")
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_text("This device has a passkey of yours already.").wait_for()

    page.get_by_role("button", name="Remove the passkey My laptop").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.get_by_text("The passkey My laptop was removed.").wait_for()
    come_in(desk, centre)
    page.get_by_text("The passkey was not accepted.").wait_for()
    assert refused(centre)[0]["action"] == "log-in"
    actions = [one["action"] for one in centre.gateway.cli("audit", "--who", OWNER, json=True).data]
    assert {"passkey-add", "passkey-remove"} <= set(actions)


def test_a_person_who_is_not_verified_and_a_copy_do_not_come_in(centre: AdminCentre, desk: Desk) -> None:
    page = desk.page
    make(desk, centre)
    (before,) = desk.credentials()
    come_in(desk, centre)
    page.wait_for_url(f"{centre.url}/account")
    desk.verifies(person=False)
    come_in(desk, centre)
    page.get_by_text("No passkey was used.").wait_for()
    desk.verifies(person=True)
    desk.replace(before | {"signCount": 0})
    come_in(desk, centre)
    page.get_by_text("The passkey was not accepted.").wait_for()
    assert "copy" in refused(centre)[0]["detail"]["why"]


def test_who_must_wait_is_told_so_in_the_language_of_the_page(centre: AdminCentre, desk: Desk) -> None:
    page = desk.page
    make(desk, centre)
    centre.gateway.cli("user", "set", OWNER, "--password-stdin", given="another good password\n")  # ends passkeys
    page.context.clear_cookies()
    page.goto(f"{centre.url}/login?language=de")
    page.get_by_label("Benutzername").fill(OWNER)
    page.get_by_label("Kennwort", exact=True).fill("a wrong password")
    page.get_by_role("button", name="Anmelden").click()
    page.get_by_text("Benutzername oder Kennwort ist falsch.").wait_for()
    said = page.locator("[data-passkey-said]")
    for _ in range(9):
        page.get_by_role("button", name="Passkey verwenden").click()
        said.filter(has_text=".").wait_for()
        if "Fehlversuche" in said.inner_text():
            break
    assert re.fullmatch(r"Zu viele Fehlversuche; warten Sie \d+ s\.", said.inner_text())


def test_a_disabled_user_does_not_come_in(centre: AdminCentre, desk: Desk) -> None:
    make(desk, centre)
    centre.gateway.cli("user", "add", "ann", "--role", "owner", "--password-stdin", given=f"{PASSWORD}\n")
    centre.gateway.cli("user", "set", OWNER, "--disable")
    come_in(desk, centre)
    desk.page.get_by_text("The passkey was not accepted.").wait_for()
    centre.gateway.cli("user", "remove", OWNER)
    storage = Storage(centre.gateway.store_url, centre.gateway.data_dir)
    with closing(storage.database(ACCESS)) as database, database.reading() as connection:
        assert connection.value("SELECT count(*) FROM passkey") == 0


def test_an_answer_is_good_once_for_its_browser_and_its_origin(centre: AdminCentre, desk: Desk) -> None:
    page = desk.page
    make(desk, centre)
    page.context.clear_cookies()
    page.goto(f"{centre.url}/login")
    with page.expect_request(lambda one: one.url.endswith("/login/passkey?next=%2F")) as sent:
        page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{centre.url}/")
    headers, body = sent.value.all_headers(), sent.value.post_data
    ticket = {"cookie": headers["cookie"], "content-type": headers["content-type"], "sec-fetch-site": "same-origin"}
    page.context.clear_cookies()  # else its new session would be asked for a CSRF token, and refused for want of it
    for given in (ticket, {name: text for name, text in ticket.items() if name != "cookie"}):
        answer = page.request.post(f"{centre.url}/login/passkey", headers=given, data=body)
        assert answer.status == 422, "it was used, or is not this browser's"
        assert "target" not in json.loads(answer.text())
    numbers = f"https://127.0.0.1:{centre.port}"
    assert page.request.post(f"{numbers}/login/passkey", headers=ticket, data=body).status == 404
    assert "Use a passkey" not in page.request.get(f"{numbers}/login").text()
