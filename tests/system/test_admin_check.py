"""Proves the pages that check a partner and say what to publish: against a signed zone, real MX hosts on port 25, and a
gateway whose domain they are about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from playwright.sync_api import Browser, Page
from support.admin import PASSWORD, AdminCentre, running
from support.browser import PHONE, axe, context, look, overflow, shot
from support.debian import need
from support.dnssec import SignedDns
from support.process import loopback
from support.scenes import contoso

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Behaviour, Sink

pytestmark = pytest.mark.timeout(240)

NET = loopback("27")
GOOD, SLOW, CLEAR, OURS = (f"{NET}.{number}" for number in (10, 11, 12, 13))
HOSTILE = "<b onload=alert(1)>" + "A" * 300


def digest(leaf: Leaf) -> str:
    spki = leaf.x509.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


@dataclass
class Lab:
    """centre: of a gateway called mx.ours.test, which may reach loopback addresses."""

    centre: AdminCentre
    ours: Leaf


@pytest.fixture(scope="module")
def lab(signed_dns: Callable[..., SignedDns], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("root")
    with ExitStack() as stack:
        pki = Pki(tmp_path_factory.mktemp("admin-check-pki"))
        own = {name: pki.leaf(f"{name}.good.test") for name in ("good", "clear")}
        own["slow"] = pki.leaf("slow.good.test", days=(-80, 9.5))
        ours = pki.leaf("mx.ours.test")
        records = [
            "@ MX 10 good",
            "@ MX 20 slow",
            f"good A {GOOD}",
            f"slow A {SLOW}",
            f"clear A {CLEAR}",
            f"_25._tcp.good TLSA 030101{digest(own['good'])}",
            "clear-only MX 10 clear",
            '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tls@good.test"',
        ]
        home = [
            "@ MX 10 mx",
            f"mx A {OURS}",
            f"_25._tcp.mx TLSA 030101{digest(ours)}",
            '@ TXT "v=spf1 a:mx.ours.test -all"',
        ]
        dns = signed_dns({"good": Zone(records), "ours": Zone(home)})
        how = {
            "slow": Behaviour(delays={"CONNECT": 4}),
            "clear": Behaviour(starttls="absent", replies={"CONNECT": f"220 {HOSTILE}"}),
        }
        for name, address in (("good", GOOD), ("slow", SLOW), ("clear", CLEAR)):
            stack.enter_context(
                Sink(
                    hostname=f"{name}.good.test", host=address, port=25, certificate=own[name], behaviour=how.get(name)
                )
            )
        domains = [{"name": "ours.test", "mta_sts": "testing"}, {"name": "lost.good.test"}]
        resources = contoso(domains=[{"name": "contoso.example"}, *domains])
        resources["organization"]["fabrikam"] = {"accepted_domain": [{"name": "secret.test"}]}
        settings = {
            "server": {"hostname": "mx.ours.test"},
            "dns": {"nameservers": [dns.address]},
            "tls": {"trust_anchors": str(pki.root)},
            "certificate": [{"chain": str(ours.chain), "key": str(ours.key)}],
        }
        yield Lab(stack.enter_context(running(resources, settings=settings)), ours)


def test_a_partner_is_checked_as_one_watches(lab: Lab, page: Page, tmp_path: Path) -> None:
    lab.centre.log_in(page, "/check")
    look(page, "check-form")
    page.get_by_label("Domain", exact=True).fill("postmaster@good.test")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("table", name="Result of each stage, by host and address").wait_for()
    if page.get_by_text("Checking…", exact=True).count():
        shot(page, "check-live")
        axe(page)
    page.get_by_text("Checking…", exact=True).wait_for(state="detached", timeout=90_000)
    assert "The gateway would deliver mail, verified by DANE" in page.locator("#found").inner_text()
    matrix = page.locator("#matrix").inner_text()
    assert "good.good.test" in matrix
    assert "3 1 1" in matrix
    assert " ms" in matrix
    page.get_by_text("Needs attention, most serious first").wait_for()
    worst = page.locator("#findings .task").first.inner_text()
    assert "The certificate ends in 9 days" in worst
    assert "effort: medium (theirs)" in worst
    look(page, "check-result")
    last = page.locator("#pass-on code").inner_text()
    assert last.startswith("verdict=deliver policy=dane tls=TLSv1.3 ")

    with page.expect_download() as started:
        page.get_by_role("link", name="Download report").click()
    file = tmp_path / "report.html"
    started.value.save_as(file)
    text = file.read_text(encoding="utf-8")
    assert "good.test: protection of mail" in text
    assert "verified by DANE" in text
    assert "<script" not in text
    assert "src=" not in text
    assert (
        page.get_by_role("link", name="Email the postmaster")
        .get_attribute("href")
        .startswith("mailto:postmaster@good.test?subject=")
    )
    address = page.url
    page.goto(f"{lab.centre.url}/check")
    assert page.locator("#recent").get_by_role("link", name="good.test").first.is_visible()
    page.goto(address)
    assert page.get_by_text("The gateway would deliver mail, verified by DANE").is_visible()


def test_it_works_without_a_script(lab: Lab, browser: Browser) -> None:
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        lab.centre.log_in(page)
        page.goto(f"{lab.centre.url}/check")
        page.get_by_label("Domain", exact=True).fill("clear-only.good.test")
        page.get_by_role("button", name="Check").click()
        page.get_by_text("The gateway would send mail unencrypted.").wait_for(timeout=90_000)
        assert "&lt;b onload" in page.content()
        assert page.locator("b[onload]").count() == 0
        page.set_viewport_size(PHONE)
        assert overflow(page) == 0


def test_one_host(lab: Lab, page: Page) -> None:
    lab.centre.log_in(page, "/check/host")
    page.get_by_label("Host", exact=True).fill("good.good.test:70000")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Host", exact=True).get_attribute("aria-invalid") == "true"
    axe(page)
    page.get_by_label("Host", exact=True).fill("good.good.test")
    page.get_by_role("button", name="Check").click()
    page.get_by_text("The gateway would deliver mail, verified by DANE").wait_for(timeout=90_000)


def test_who_may_not_make_connectors_cannot_look_into_the_network(lab: Lab, browser: Browser) -> None:
    words = ("user", "add", "audrey", "--role", "auditor", "--password-stdin")
    lab.centre.gateway.cli(*words, given=f"{PASSWORD}\n")
    with context(browser) as (opened, _):
        page = opened.new_page()
        lab.centre.log_in(page, "/check/host", name="audrey")
        page.get_by_label("Host", exact=True).fill("good.good.test:22")
        page.get_by_role("button", name="Check").click()
        page.get_by_text("port 22 is none of mail").first.wait_for()
        for target in ("127.0.0.1", "good.good.test", "localhost", f"[::ffff:{GOOD}]"):
            page.goto(f"{lab.centre.url}/check/host")
            page.get_by_label("Host", exact=True).fill(target)
            page.get_by_role("button", name="Check").click()
            page.get_by_text("none among [network] tenants_may_reach").first.wait_for(timeout=90_000)
            assert "ESMTP" not in page.content()
        page.goto(f"{lab.centre.url}/check")
        page.get_by_label("Domain", exact=True).fill("good.test")
        page.get_by_role("button", name="Check").click()
        page.get_by_text("Mail would wait, and return to its sender when it expires").wait_for(timeout=90_000)
        assert "3 1 1" not in page.locator("#matrix").inner_text()


def test_what_a_domain_is_to_publish(lab: Lab, page: Page) -> None:
    lab.centre.log_in(page, "/domains/publish")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="ours.test", exact=True))
    row.locator(".light .badge:not(.waiting)").wait_for(timeout=90_000)
    look(page, "publish-index")
    row.get_by_role("link", name="ours.test").click()
    page.locator("#answer").wait_for(timeout=90_000)
    zone = page.locator("#zone code").inner_text()
    for line in (
        "ours.test. IN MX 10 mx.ours.test.",
        f"_25._tcp.mx.ours.test. IN TLSA 3 1 1 {digest(lab.ours)}",
        '_mta-sts.ours.test. IN TXT "v=STSv1; id=',
        '_smtp._tls.ours.test. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@ours.test"',
        'ours.test. IN TXT "v=spf1 a:mx.ours.test ~all"',
    ):
        assert line in zone
    seen = {key: page.locator(f"#section-{key}").inner_text() for key in ("mx", "tlsa", "mta-sts", "tls-rpt", "spf")}
    assert "Mail to the domain comes here; DNSSEC proves them" in seen["mx"]
    assert "are those of our keys" in seen["tlsa"]
    assert "The DNS announces no policy" in seen["mta-sts"]
    assert "No TLS-RPT record" in seen["tls-rpt"]
    assert "The SPF record names our hosts" in seen["spf"]
    look(page, "publish-domain")


def test_a_tenant_sees_its_own_domains_and_no_certificates(lab: Lab, browser: Browser) -> None:
    words = ("user", "add", "tina", "--role", "auditor", "--organization", "contoso", "--password-stdin")
    lab.centre.gateway.cli(*words, given=f"{PASSWORD}\n")
    with context(browser) as (opened, complaints):
        complaints.expected.append("404")
        page = opened.new_page()
        lab.centre.log_in(page, "/domains/publish", name="tina")
        assert "secret.test" not in page.content()
        page.goto(f"{lab.centre.url}/domains/secret.test/publish")
        assert page.get_by_text("there is no accepted domain 'secret.test'").is_visible()
        page.goto(f"{lab.centre.url}/domains/ours.test/publish")
        page.locator("#answer").wait_for(timeout=90_000)
        assert digest(lab.ours) not in page.content()


def test_the_same_by_calls(lab: Lab) -> None:
    token = lab.centre.token("read", name="calls")
    _, _, found = lab.centre.call("/api/v1/checks/partner", token, "POST", {"domain": "good.test"})

    def done() -> dict:
        return lab.centre.call(f"/api/v1/checks/{found['id']}?wait=5", token)[2]

    result = wait_until(lambda: (one := done())["done"] and one, "the check ends", timeout=90)["result"]
    assert result["verdict"] == "hold", "a token that only reads does not look into the network"
    status, _, wrong = lab.centre.call("/api/v1/checks/partner", token, "POST", {"domain": "b..test"})
    assert (status, wrong["errors"][0]["path"]) == (422, "domain")
    _, _, published = lab.centre.call("/api/v1/organizations/contoso/domains/ours.test/publication", token)
    assert "IN MX 10 mx.ours.test." in published["zone"]
    _, _, seen = lab.centre.call("/api/v1/organizations/contoso/domains/ours.test/publication/seen", token)
    assert {one["key"] for one in seen["sections"]} >= {"mx", "tlsa", "mta-sts", "spf"}
    asked = {"from": "ann@contoso.example", "to": "x@any.test", "ip": "127.0.0.1"}
    status, _, explained = lab.centre.call("/api/v1/explain", token, "POST", asked)
    assert (status, explained["inbound"]["organization"]) == (200, "contoso")
