"""Proves the certificates' pages of the admin centre: a changeover from staging to the way back, and who is kept out.

A real browser acts on a gateway whose zone is really signed and knows the current key alone, so that a gate is red;
what the listener presents is asked with openssl. A private key that was pasted is looked for everywhere afterwards.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Page
from support.admin import OWNER, AdminCentre, served
from support.browser import EACH_LOOK, LOOKS, axe, context, overflow, shot
from support.clients import openssl_s_client
from support.debian import need
from support.gateway import Gateway
from support.scenes import contoso

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone

# A browser, a gateway that looks at gates three times, and openssl: on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(300)

DOMAIN = "old.signed.test"
HOST = f"mx.{DOMAIN}"
PARTNER = {"name": "bank", "connector_type": "partner", "sender_domains": ["bank.example"], "require_tls": False}
MOST_OCTETS = 100_000


@pytest.fixture(scope="module")
def pair(pki: Pki, strange_pki: Pki) -> tuple[Leaf, Leaf]:
    """The current certificate of the host, and the next one, of another authority."""
    return pki.leaf(HOST), strange_pki.leaf(HOST)


@pytest.fixture(scope="module")
def nameserver(pair: tuple[Leaf, Leaf], signed_dns: Callable[..., object]) -> str:
    need("chromium")
    lines = ["old MX 10 mx.old", "mx.old A 127.0.0.1", f"_25._tcp.mx.old TLSA 030101{pin(pair[0])}"]
    address: str = signed_dns({"signed": Zone(lines)}).address
    return address


@pytest.fixture
def anchors(pki: Pki, strange_pki: Pki, tmp_path: Path) -> Path:
    """Both authorities."""
    path = tmp_path / "anchors.pem"
    path.write_bytes(pki.root.read_bytes() + strange_pki.root.read_bytes())
    return path


@pytest.fixture
def centre(
    gateway: Callable[..., Gateway],
    pair: tuple[Leaf, Leaf],
    pki: Pki,
    strange_pki: Pki,
    nameserver: str,
    tmp_path: Path,
) -> AdminCentre:
    """One that presents the current certificate, with a master key."""
    anchors, key = tmp_path / "anchors.pem", tmp_path / "master.key"
    anchors.write_bytes(pki.root.read_bytes() + strange_pki.root.read_bytes())
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    return served(
        gateway,
        contoso(domains=[{"name": DOMAIN}], mailboxes=[f"bob@{DOMAIN}"], inbound=[PARTNER]),
        hostname=HOST,
        certificates=[pair[0]],
        nameservers=[nameserver],
        anchors=anchors,
        settings={"store": {"master_key": f"file:{key}"}},
    )


def pin(leaf: Leaf) -> str:
    """SHA-256 of the key, hexadecimal."""
    digest = Hash(SHA256())
    digest.update(leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def number(leaf: Leaf) -> str:
    return leaf.sha256[:16].lower()


def body(pem: str) -> str:
    found = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END", pem, re.DOTALL)
    return "".join(found[1].split()) if found else ""


def is_shown(mx: Gateway, leaf: Leaf) -> None:
    """New sessions on the MX port see it."""
    wait_until(
        lambda: body(openssl_s_client(mx.port).transcript) == body(leaf.chain.read_text()),
        f"new sessions see {leaf.chain.name}",
    )


def add(page: Page, centre: AdminCentre, leaf: Leaf) -> None:
    """Paste it, as a person does."""
    page.goto(f"{centre.url}/certificates/add")
    page.get_by_label("Certificate and intermediates").fill(leaf.chain.read_text())
    page.get_by_label("Private key").fill(leaf.key.read_text())
    page.get_by_role("button", name="Add certificate").click()


def nothing_is_cut(page: Page) -> None:
    """The listeners that present a certificate are seen with all columns, on a desktop and on a telephone."""
    page.locator("#presented table").wait_for()
    for viewport in (LOOKS["light"]["viewport"], LOOKS["phone"]["viewport"]):
        page.set_viewport_size(viewport)
        cut = page.locator("#presented .table-wrap").evaluate("(wrap) => wrap.scrollWidth - wrap.clientWidth")
        assert cut <= 0, f"{cut} px at {viewport}"
    page.set_viewport_size(LOOKS["light"]["viewport"])


def test_a_changeover_from_staging_to_the_way_back(
    centre: AdminCentre, pair: tuple[Leaf, Leaf], pki: Pki, page: Page
) -> None:
    current, staged = pair
    path = f"{centre.url}/certificates/{number(staged)}/changeover"
    centre.log_in(page)
    page.get_by_role("link", name="Certificates").first.click()
    page.get_by_role("row", name=HOST).get_by_text("Current").wait_for()
    axe(page)
    add(page, centre, staged)
    page.wait_for_url(path)
    assert page.get_by_text("was added as next").is_visible()
    shot(page, "changeover-staged")

    page.get_by_role("button", name="Run checks").click()
    partner, how = page.get_by_label("bank.example"), page.get_by_label("Note (recorded)")
    partner.check()
    how.fill("by telephone")
    tlsa = page.locator("#gate-tlsa")
    tlsa.get_by_text("Failed").wait_for()
    page.get_by_text("A check failed.").wait_for(timeout=90_000)
    assert (partner.is_checked(), how.input_value()) == (True, "by telephone"), "drawn anew, and lost"
    record = f"_25._tcp.{HOST}. IN TLSA 3 1 1 {pin(staged)}"
    page.locator("#gate-tlsa code", has_text=record).first.wait_for()
    axe(page)
    shot(page, "changeover-red")

    page.get_by_role("button", name="Switch", exact=True).click()
    page.get_by_role("alert").get_by_text("the gateway did not switch").wait_for(timeout=90_000)
    is_shown(centre.gateway, current)
    page.get_by_label("Override failed checks: reason (recorded)").fill("rehearsed with the bank")
    page.get_by_role("button", name="Switch", exact=True).click()
    page.get_by_text("is now current. New sessions get it").wait_for(timeout=90_000)
    is_shown(centre.gateway, staged)
    page.reload()
    assert page.get_by_text("You can roll back for another 23 h").is_visible()
    page.locator("#force").get_by_text("Presented", exact=True).wait_for()
    axe(page)
    page.get_by_text("They also compare mail since the switch").wait_for()
    shot(page, "changeover-current")
    nothing_is_cut(page)
    a_client_that_refuses_it_is_named(page, centre, pki)
    page.goto(path)

    page.get_by_role("textbox", name="Reason (recorded) (optional)", exact=True).fill("the bank refused it")
    page.get_by_role("button", name="Roll back", exact=True).click()
    page.get_by_text("is current again").wait_for(timeout=90_000)
    is_shown(centre.gateway, current)
    notes = [one["note"] for one in centre.gateway.cli("certificate", "history", json=True).data]
    assert any("forced: rehearsed with the bank (tlsa: " in one for one in notes)
    assert "changeover: rolled back: the bank refused it" in notes
    events = [(one["action"], one["outcome"], one["who"]) for one in centre.gateway.cli("audit", json=True).data]
    for wanted in (
        ("certificate-switch", "refused"),
        ("certificate-switch", "done"),
        ("certificate-roll-back", "done"),
    ):
        assert (*wanted, OWNER) in events


def a_client_that_refuses_it_is_named(page: Page, centre: AdminCentre, pki: Pki) -> None:
    trusts_the_old_alone = ["-verify_return_error", "-verify", "5"]
    assert openssl_s_client(centre.gateway.port, anchors=pki.root, options=trusts_the_old_alone).status
    search = "trace", "search", "--event", "TLSFAIL"
    wait_until(lambda: centre.gateway.cli(*search, expect=None, json=True).data, "the trace has the client")
    page.get_by_role("button", name="Run checks").click()
    page.locator("#traffic").get_by_text("127.0.0.1 (tlsv1 alert unknown ca)").wait_for(timeout=90_000)
    axe(page)
    shot(page, "changeover-refused-by-a-client")
    page.locator("#traffic").get_by_role("link", name="127.0.0.1").click()
    page.get_by_role("row", name="TLS handshake failed").get_by_role("link").click()
    page.get_by_text("must find out why their server does not accept this gateway's certificate").wait_for()
    axe(page)
    shot(page, "trace-handshake-failed")


def test_the_reason_of_a_switch_is_there_again_after_the_session_ended(
    centre: AdminCentre, pair: tuple[Leaf, Leaf], page: Page
) -> None:
    path = f"/certificates/{number(pair[1])}/changeover"
    centre.log_in(page)
    add(page, centre, pair[1])
    page.wait_for_url(f"{centre.url}{path}")
    page.get_by_label("At a set time").check()
    page.get_by_label("Override failed checks: reason (recorded)").fill("rehearsed with the bank")
    page.context.clear_cookies()
    page.get_by_role("button", name="Switch", exact=True).click()
    page.get_by_text("Your session expired").wait_for()
    centre.log_in(page, path)
    page.get_by_text("shows again what you typed").wait_for()
    reason = page.get_by_label("Override failed checks: reason (recorded)").input_value()
    assert (reason, page.get_by_label("At a set time").is_checked()) == ("rehearsed with the bank", True)


def test_a_pasted_key_is_seen_by_nobody_again(centre: AdminCentre, pair: tuple[Leaf, Leaf], page: Page) -> None:
    current, staged = pair
    secret = "".join(staged.key.read_text().splitlines()[1:-1])
    centre.log_in(page)
    page.goto(f"{centre.url}/certificates/add")
    page.get_by_label("Certificate and intermediates").fill(current.chain.read_text() + staged.key.read_text())
    page.get_by_label("Private key").fill(staged.key.read_text())
    page.get_by_role("button", name="Add certificate").click()
    page.get_by_role("alert").get_by_text("the private key does not belong").wait_for()
    assert body(page.get_by_label("Certificate and intermediates").input_value()) == body(current.chain.read_text())
    assert page.get_by_label("Private key").input_value() == ""
    shown = [page.content()]
    axe(page)
    shot(page, "certificate-add-error")
    page.get_by_label("Certificate and intermediates").fill("")
    page.get_by_role("button", name="Add certificate").click()
    page.get_by_role("alert").get_by_text("Paste the certificate").wait_for()
    add(page, centre, staged)
    page.get_by_text("was added as next").wait_for()
    shown.append(page.content())
    for path in (f"/certificates/{number(staged)}", "/certificates", "/certificates/history"):
        page.goto(f"{centre.url}{path}")
        shown.append(page.content())
    shown += [
        centre.gateway.log(),
        *(one.read_bytes().decode("latin-1") for one in centre.gateway.data_dir.glob("*.db*")),
    ]
    lines = staged.key.read_text().splitlines()[1:-1]
    assert len(secret) > 100
    assert not [line for line in lines for text in shown if line in text]


def test_a_key_waits_for_the_certificate_that_is_requested(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/certificates/requests")
    page.get_by_role("link", name="New request").first.click()
    page.get_by_label("Names").fill("no_domain!")
    page.get_by_role("button", name="Create request").click()
    page.get_by_role("alert").get_by_text("is not a domain").wait_for()
    axe(page)
    page.get_by_label("Names").fill(f"{HOST}\nmail.{DOMAIN}")
    page.get_by_role("button", name="Create request").click()
    page.get_by_text("The request was created").wait_for()
    csr = page.locator("#csr code").inner_text()
    assert csr.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    axe(page)
    shot(page, "certificate-request")
    (waiting,) = centre.gateway.cli("certificate", "list", json=True).data["requests"]
    assert waiting["names"] == [HOST, f"mail.{DOMAIN}"]
    page.get_by_role("button", name="Delete request").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("No pending requests").wait_for()


def test_without_a_script_a_changeover_is_planned_and_called_off(
    centre: AdminCentre, pair: tuple[Leaf, Leaf], browser: Browser
) -> None:
    _, staged = pair
    centre.gateway.cli("certificate", "add", str(staged.chain), "--key", str(staged.key))
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page, f"/certificates/{number(staged)}/changeover")
        page.set_default_timeout(120_000)
        page.get_by_role("button", name="Run checks").click()
        page.get_by_text("A check failed.").first.wait_for()
        page.get_by_label("bank.example").check()
        page.get_by_role("button", name="Mark as notified").click()
        page.get_by_text("Remaining: none").wait_for()
        page.get_by_label("At a set time").check()
        page.get_by_label("Time (UTC)").fill("2020-01-01T10:00")
        page.get_by_role("button", name="Switch", exact=True).click()
        page.get_by_role("alert").get_by_text("is in the past").wait_for()
        page.get_by_label("Time (UTC)").fill(f"{time.strftime('%Y', time.gmtime(time.time() + 86400))}-12-31T23:59")
        page.get_by_role("button", name="Switch", exact=True).click()
        page.get_by_text("if all checks pass then.").first.wait_for()
        page.get_by_role("button", name="Cancel the switch").click()
        page.get_by_text("stays staged").wait_for()
        page.get_by_role("link", name="Notification text").click()
        assert pin_shown(staged) in page.locator("#mail").inner_text().replace("\n", "")
        page.goto(f"{centre.url}/certificates/{number(staged)}/presented")
        page.get_by_text("Other certificate").wait_for()
    assert centre.gateway.cli("certificate", "history", json=True).data[0]["note"] == "changeover: cancelled"


def pin_shown(leaf: Leaf) -> str:
    return leaf.sha256.upper()[:16]


@pytest.mark.parametrize("look", EACH_LOOK)
def test_nobody_is_kept_out_of_the_pages(
    centre: AdminCentre, pair: tuple[Leaf, Leaf], browser: Browser, look: str
) -> None:
    _, staged = pair
    centre.gateway.cli("certificate", "add", str(staged.chain), "--key", str(staged.key))
    one = f"/certificates/{number(staged)}"
    paths = {
        "certificates": "/certificates",
        "certificate": one,
        "changeover": f"{one}/changeover",
        "certificate-notice": f"{one}/notice",
        "certificate-add": "/certificates/add",
        "certificate-ask": "/certificates/requests/new",
        "certificate-acme": "/certificates/acme",
        "certificate-table": "/certificates/table",
        "certificate-history": "/certificates/history",
        "client-identities": "/certificates/clients",
    }
    with context(browser, **LOOKS[look]) as (opened, _):
        page = opened.new_page()
        centre.log_in(page)
        for name, path in paths.items():
            page.goto(f"{centre.url}{path}")
            page.wait_for_load_state("networkidle")
            page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
            shot(page, f"{name}-{look}")
            axe(page)
            assert overflow(page) == 0, path
            assert len(page.content()) < MOST_OCTETS, path


def test_the_same_as_files(centre: AdminCentre, pair: tuple[Leaf, Leaf], page: Page) -> None:
    current, _ = pair
    centre.log_in(page)

    def get(path: str) -> str:
        answer = page.request.get(f"{centre.url}{path}")
        assert answer.ok, path
        return answer.text()

    assert number(current) in get("/certificates?format=csv")
    assert f'"{number(current)}"' in get("/certificates?format=json")
    assert body(get(f"/certificates/{number(current)}?format=pem")) == body(current.chain.read_text())
    assert "found in" in get("/certificates/history?format=csv")
    assert current.sha256.lower() in get("/certificates/table?format=json").lower()
    assert number(current) not in get("/certificates?format=csv&state=retired")


TENANTS = ("", "/clients", "/requests", "/history", "/table", "/acme", "/add", "/changeover", "/{}", "/{}/changeover")
STEPS = ("gates", "switch", "cancel", "roll-back", "withdraw", "stage", "told", "remove")


def test_they_are_the_gateways_alone(centre: AdminCentre, pair: tuple[Leaf, Leaf], page: Page) -> None:
    current, _ = pair
    words = ("user", "add", "tim", "--role", "administrator", "--organization", "contoso", "--password-stdin")
    centre.gateway.cli(*words, given="correct horse battery\n")
    words = ("user", "add", "ada", "--role", "auditor", "--password-stdin")
    centre.gateway.cli(*words, given="correct horse battery\n")

    def statuses(name: str) -> tuple[set[int], set[int]]:
        page.context.clear_cookies()
        centre.log_in(page, name=name, password="correct horse battery")
        csrf = page.locator("input[name=csrf]").first.get_attribute("value") or ""
        headers = {"X-CSRF-Token": csrf, "Sec-Fetch-Site": "same-origin"}
        paths = [f"{centre.url}/certificates{one.format(number(current))}" for one in TENANTS]
        looked = {page.request.get(one).status for one in paths}
        url = f"{centre.url}/certificates/{number(current)}"
        done = {page.request.post(f"{url}/{one}", headers=headers, form={"x": "y"}).status for one in STEPS}
        return looked, done

    assert statuses("tim") == ({404}, {404})
    assert statuses("ada") == ({200, 403}, {403})
    (row,) = centre.gateway.cli("certificate", "list", json=True).data["certificates"]
    assert row["state"] == "current"
