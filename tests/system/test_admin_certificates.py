"""Proves the certificates' pages of the admin centre: a changeover from staging to the way back, and who is kept out.

A real browser acts on a gateway whose zone is really signed and knows the current key alone, so that a gate is red; what
the listener presents is asked with openssl. What is pasted as a private key is looked for everywhere afterwards.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.admin import OWNER, AdminCentre, served
from support.browser import DESKTOP, PHONE, axe, context, overflow, shot
from support.clients import openssl_s_client
from support.debian import need
from support.dnssec import Zone
from support.process import wait_until
from support.scenes import contoso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page
    from support.gateway import Gateway
    from support.pki import Leaf, Pki

DOMAIN = "old.signed.test"
HOST = f"mx.{DOMAIN}"
PARTNER = {"name": "bank", "connector_type": "partner", "sender_domains": ["bank.example"], "require_tls": False}
LOOKS = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light"},
}
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
        timeout=30,
    )


def add(page: Page, centre: AdminCentre, leaf: Leaf) -> None:
    """Paste it, as a person does."""
    page.goto(f"{centre.url}/certificates/add")
    page.get_by_label("Certificate and intermediates").fill(leaf.chain.read_text())
    page.get_by_label("Private key").fill(leaf.key.read_text())
    page.get_by_role("button", name="Add it").click()


def test_a_changeover_from_staging_to_the_way_back(centre: AdminCentre, pair: tuple[Leaf, Leaf], page: Page) -> None:
    current, staged = pair
    path = f"{centre.url}/certificates/{number(staged)}/changeover"
    centre.log_in(page)
    page.get_by_role("link", name="Certificates").first.click()
    assert page.get_by_role("row", name=HOST).get_by_text("Current").is_visible()
    axe(page)
    add(page, centre, staged)
    page.wait_for_url(path)
    assert page.get_by_text("was added as next").is_visible()
    shot(page, "changeover-staged")

    page.get_by_role("button", name="Look at the gates now").click()
    tlsa = page.locator("#gate-tlsa")
    tlsa.get_by_text("Red").wait_for(timeout=60_000)
    page.get_by_text("A gate is red.").wait_for(timeout=90_000)
    record = f"_25._tcp.{HOST}. IN TLSA 3 1 1 {pin(staged)}"
    assert page.locator("#gate-tlsa code", has_text=record).first.is_visible()
    axe(page)
    shot(page, "changeover-red")

    page.get_by_role("button", name="Switch", exact=True).click()
    page.get_by_role("alert").get_by_text("nothing was switched").wait_for(timeout=90_000)
    is_shown(centre.gateway, current)
    page.get_by_label("Reason to switch though a gate is red").fill("rehearsed with the bank")
    page.get_by_role("button", name="Switch", exact=True).click()
    page.get_by_text("is current. New sessions see it").wait_for(timeout=90_000)
    is_shown(centre.gateway, staged)
    page.reload()
    assert page.get_by_text("The switch can be rolled back for 23 h").is_visible()
    wait_until(lambda: in_force(page), "every worker says that it is in force")
    axe(page)
    shot(page, "changeover-current")

    page.get_by_label("Why").fill("the bank refused it")
    page.get_by_role("button", name="Roll back", exact=True).click()
    page.get_by_text("is current again").wait_for(timeout=90_000)
    is_shown(centre.gateway, current)
    notes = [one["note"] for one in centre.gateway.cli("certificate", "history", json=True).data]
    assert any("forced: rehearsed with the bank (tlsa: " in one for one in notes)
    assert "changeover: rolled back: the bank refused it" in notes
    deeds = [(one["action"], one["outcome"], one["who"]) for one in centre.gateway.cli("audit", json=True).data]
    for wanted in (
        ("certificate-switch", "refused"),
        ("certificate-switch", "done"),
        ("certificate-roll-back", "done"),
    ):
        assert (*wanted, OWNER) in deeds


def in_force(page: Page) -> bool:
    page.reload()
    panel = page.locator("#force")
    return panel.get_by_text("In force", exact=True).count() > 1 and not panel.get_by_text("Not yet").count()
