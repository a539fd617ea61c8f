"""Proves log-in to the admin centre by OpenID Connect at a real issuer, and that none of the known attacks gets in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import APIRequestContext, Browser, Page
from support.admin import OWNER, AdminCentre, served
from support.browser import axe, context, shot
from support.gateway import Gateway
from support.issuer import Issuer
from support.scenes import contoso

from gatepost.testing.pki import Pki, make_key
from gatepost.testing.process import wait_until

pytestmark = pytest.mark.timeout(300)  # log-ins of a browser, on a machine that has other things to do
SECRET = "a client secret + with / signs"
WENDY = {"sub": "4711", "preferred_username": "Wendy", "groups": ["staff", "mail-admins"]}
BACK = "/login/issuer/answer"


class Scene:
    """An admin centre that trusts an issuer."""

    def __init__(self, gateway: Callable[..., Gateway], pki: Pki, issuer: Issuer, file: Path) -> None:
        self.issuer = issuer
        issuer.secret = SECRET
        issuer.person = dict(WENDY)
        groups = [
            {"name": "mail-owners", "role": "owner"},
            {"name": "mail-admins", "role": "administrator"},
            {"name": "contoso-help", "role": "operator", "organizations": ["contoso"]},
        ]
        oidc = {
            "issuer": issuer.url,
            "client_id": "gatepost",
            "client_secret": f"file:{file}",
            "private_issuer": True,
            "trust_anchors": str(pki.root),
            "timeout": 60,
            "group": groups,
        }
        self.centre: AdminCentre = served(gateway, contoso(), settings={"oidc": oidc})

    def users(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.centre.gateway.cli("user", "list", json=True).data}

    def start_anew(self) -> None:
        """Failures of an address slow it down; they are counted in the memory of the process, or in a table."""
        self.centre.gateway.stop()
        if self.centre.gateway.is_on_postgres:
            self.centre.gateway.sql("DELETE FROM login_failure")
        self.centre.gateway.start()
        wait_until(self.centre.answers, "the admin centre is there again")

    def why(self) -> list[str]:
        """Why log-ins were refused, the newest first."""
        words = ("audit", "--action", "log-in", "--outcome", "refused")
        return [one["detail"]["why"] for one in self.centre.gateway.cli(*words, json=True).data]


@pytest.fixture
def issuer(pki: Pki) -> Iterator[Issuer]:
    with Issuer(pki.leaf("127.0.0.1")) as started:
        yield started


@pytest.fixture
def scene(gateway: Callable[..., Gateway], pki: Pki, issuer: Issuer, tmp_path: Path) -> Scene:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return Scene(gateway, pki, issuer, file)


@pytest.fixture
def guest(browser: Browser, scene: Scene) -> Iterator[Page]:
    """A browser that also goes to the issuer."""
    with context(browser) as (opened, complaints):
        complaints.hosts |= {urlsplit(scene.issuer.url).netloc, urlsplit(scene.centre.url).netloc}
        yield opened.new_page()


def come_in(page: Page, scene: Scene) -> None:
    page.goto(f"{scene.centre.url}/login?next=%2Faccount")
    with page.expect_navigation():  # to the issuer and back at once: it has no page
        page.get_by_role("link", name="Log in with your organization").click()


def test_a_person_comes_in_with_the_role_of_their_group(scene: Scene, guest: Page) -> None:
    centre = scene.centre
    guest.goto(f"{centre.url}/login?next=%2Faccount")
    axe(guest)
    shot(guest, "login-issuer")
    come_in(guest, scene)
    assert guest.url == f"{centre.url}/account"
    guest.get_by_text(scene.issuer.url).wait_for()
    assert not guest.get_by_label("Current password").count(), "the issuer keeps the password"
    axe(guest)
    shot(guest, "account-issuer")
    wendy = scene.users()["wendy"]
    assert (wendy["role"], wendy["organizations"], wendy["issuer"]) == ("administrator", None, scene.issuer.url)

    scene.issuer.person |= {"groups": ["contoso-help"], "preferred_username": "Wanda"}
    guest.context.clear_cookies()
    come_in(guest, scene)
    users = scene.users()
    assert (users["wendy"]["role"], users["wendy"]["organizations"]) == ("operator", ["contoso"])
    assert "wanda" not in users, "a person is who the issuer says (sub), whatever their name"
    run = centre.gateway.cli("user", "set", "wendy", "--password-stdin", given="a password of hers\n", expect=None)
    assert run.status != 0

    done = centre.gateway.cli("audit", "--who", "wendy", "--action", "log-in", json=True).data[0]
    assert done["detail"] == {"issuer": scene.issuer.url}, "the record says where the person logged in"

    centre.gateway.cli("user", "set", "wendy", "--disable")
    guest.context.clear_cookies()
    come_in(guest, scene)
    guest.get_by_text("The log-in with your organization failed").wait_for()
    assert scene.why()[0] == "the user 'wendy' is disabled"
    axe(guest)
    centre.log_in_by_form(guest)  # the local owner, whatever the issuer does
    scene.issuer.stop()
    guest.context.clear_cookies()
    centre.log_in_by_form(guest)


def test_a_person_whose_id_token_names_no_groups_comes_in_by_what_the_issuer_tells_elsewhere(
    scene: Scene, browser: Browser
) -> None:
    scene.issuer.person = {"sub": "4711"}
    url = f"{scene.centre.url}{BACK}"
    with context(browser) as (opened, _):
        asking = opened.request
        for person in (WENDY | {"sub": "4712"}, {"sub": "4711", "groups": ["mail-admins"]}):
            scene.issuer.elsewhere = person
            assert asking.get(url, params=_answer(scene, asking)).status == 422
        scene.issuer.elsewhere = WENDY
        assert asking.get(url, params=_answer(scene, asking), max_redirects=0).status == 303
    assert scene.users()["wendy"]["role"] == "administrator"
    assert scene.why() == [
        "the issuer tells no claim preferred_username with a text",
        "the UserInfo endpoint speaks of another person (sub)",
    ]


def test_a_person_of_the_issuer_who_was_removed_is_created_again_and_the_page_says_so(
    scene: Scene, guest: Page
) -> None:
    come_in(guest, scene)
    centre = scene.centre
    guest.context.clear_cookies()
    centre.log_in(guest, "/users/wendy/remove")
    guest.get_by_text("To keep wendy out, disable the user instead.").wait_for()
    assert not guest.get_by_text("can no longer log in").count()
    guest.get_by_role("button", name="Remove wendy").click()
    guest.get_by_text("User wendy was removed.").wait_for()
    assert list(scene.users()) == [OWNER]
    guest.context.clear_cookies()
    come_in(guest, scene)
    assert guest.url == f"{centre.url}/account"


def test_whoever_is_in_no_group_or_has_the_name_of_another_stays_outside(scene: Scene, guest: Page) -> None:
    for person in (
        WENDY | {"groups": ["staff"]},
        WENDY | {"preferred_username": OWNER},
        WENDY | {"groups": "mail-owners"},
    ):
        scene.issuer.person = dict(person)
        come_in(guest, scene)
        guest.get_by_text("The log-in with your organization failed").wait_for()
    assert list(scene.users()) == [OWNER]
    assert len(scene.why()) == 3


def test_an_owner_of_the_issuer_logs_in_again_before_something_grave(scene: Scene, guest: Page) -> None:
    scene.issuer.person["groups"] = ["mail-owners"]
    scene.issuer.spoil = lambda claims: claims | {"auth_time": claims["auth_time"] - 3600}
    come_in(guest, scene)
    guest.goto(f"{scene.centre.url}/users/-/add")
    guest.get_by_role("heading", name="Log in again").wait_for()
    axe(guest)
    scene.issuer.spoil = dict
    guest.get_by_role("link", name="Log in again").click()
    guest.wait_for_url(f"{scene.centre.url}/users/-/add")
    (asked,) = [parse_qs(urlsplit(path).query) for path in scene.issuer.requests if "prompt=login" in path]
    assert asked["max_age"] == ["0"]
    assert scene.centre.gateway.cli("user", "remove", OWNER, expect=None).status == 1, "a local owner always stays"


FORGED: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "nonce": (lambda claims: claims | {"nonce": "another"}, "another log-in (nonce)"),
    "no nonce": (lambda claims: claims | {"nonce": None}, "another log-in (nonce)"),
    "audience": (lambda claims: claims | {"aud": "another"}, "another client"),
    "several audiences": (lambda claims: claims | {"aud": ["gatepost", "another"]}, "other clients, too"),
    "authorized party": (lambda claims: claims | {"azp": "another"}, "other clients, too"),
    "issuer": (lambda claims: claims | {"iss": "https://evil.example"}, "another issuer"),
    "expired": (lambda claims: claims | {"exp": 1_600_000_000}, "has expired"),
    "of the future": (lambda claims: claims | {"iat": 4_000_000_000, "nbf": 4_000_000_000}, "does not hold yet"),
    "no subject": (lambda claims: claims | {"sub": None}, "lacks one of"),
    "alg none": (lambda claims: claims | {"header": {"typ": "JWT", "alg": "none"}}, "no algorithm"),
    "public key as secret": (lambda claims: claims | {"header": {"typ": "JWT", "alg": "HS256"}}, "no algorithm"),
    "another's key": (lambda claims: claims | {"key": make_key("rsa")}, "signature is not the issuer's"),
    "access token": (lambda claims: claims | {"header": {"typ": "at+jwt"}}, "another kind"),
}


def test_no_forged_token_comes_in(scene: Scene, browser: Browser) -> None:
    url = f"{scene.centre.url}{BACK}"
    with context(browser) as (opened, _):
        asking = opened.request
        for number, (attack, (spoil, _)) in enumerate(FORGED.items(), 1):
            if number % 5 == 0:
                scene.start_anew()
            scene.issuer.spoil = spoil
            assert asking.get(url, params=_answer(scene, asking)).status == 422, attack
        said = scene.why()[::-1]
        assert len(said) == len(FORGED)
        for (attack, (_, why)), reason in zip(FORGED.items(), said, strict=True):
            assert why in reason, attack
        assert list(scene.users()) == [OWNER]
        scene.issuer.spoil = dict
        assert asking.get(url, params=_answer(scene, asking), max_redirects=0).status == 303, "unspoilt, it comes in"


def _answer(scene: Scene, asking: APIRequestContext) -> dict[str, str]:
    """What the issuer would send the person back with."""
    begun = asking.get(f"{scene.centre.url}/login/issuer", max_redirects=0)
    assert begun.status == 303
    sent = asking.get(begun.headers["location"], max_redirects=0).headers["location"]
    assert urlsplit(sent).path == BACK
    return {name: values[0] for name, values in parse_qs(urlsplit(sent).query).items()}


def test_no_answer_of_another_log_in_comes_in(scene: Scene, browser: Browser) -> None:
    url = f"{scene.centre.url}{BACK}"
    with context(browser) as (opened, _), context(browser) as (other, _):
        mine, theirs = opened.request, other.request
        answer = _answer(scene, mine)
        # An answer that an attacker got, in the browser of somebody else (CSRF of the log-in): state is not theirs.
        assert theirs.get(url, params=answer).status == 422
        foreign = _answer(scene, theirs)
        assert mine.get(url, params=foreign).status == 422
        for changed, why in (
            ({"state": "x" * 43}, "(state)"),
            ({"iss": "https://evil.example"}, "RFC 9207"),
            ({"code": "none"}, "status 400"),
            ({"code": ""}, "did not let"),
        ):
            answer = _answer(scene, mine)
            assert mine.get(url, params=answer | changed).status == 422
            assert why in scene.why()[0]
        scene.start_anew()
        answer = _answer(scene, mine)
        del answer["iss"]
        assert mine.get(url, params=answer).status == 422, "an issuer that names itself always does"
        answer = _answer(scene, mine)
        assert mine.get(url, params=answer, max_redirects=0).status == 303
        assert mine.get(url, params=answer, max_redirects=0).status == 422, "a code is good once"
        assert SECRET not in json.dumps(scene.why())
    assert SECRET not in scene.centre.gateway.log()
