"""Proves the reports of the admin centre with real mail of every protection: pictures, tables, files, paper, evidence.

One gateway sends to partners that publish TLSA records, an MTA-STS policy, or nothing; what it counts is held against
the message trace, and what a page links to is looked up in it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser, Page
from support import partners
from support.admin import AdminCentre, running
from support.browser import EACH_LOOK, LOOKS, axe, context, overflow, shot
from support.debian import need
from support.partners import Partner, World
from support.process import loopback
from support.scenes import STRANGER, connector, contoso, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

pytestmark = pytest.mark.timeout(300)  # a browser, a name server and a resolver on a machine with other work

# Domain -> what it publishes and presents, the event, and the protection that the reports call it.
TABLE = {
    "match.good.test": (Partner("self", "leaf"), "SEND", "dane"),
    "sts.plain.test": (Partner("trusted", sts="enforce 1"), "SEND", "mta-sts"),
    "insecure.test": (Partner("self", "wrong"), "SEND", "encrypted"),
    "old.plain.test": (Partner("clear"), "SEND", "cleartext"),
    "wrong.good.test": (Partner("self", "wrong"), "DEFER", ""),
}
FORCED = "forced.example"
PAGES = (
    "/reports", "/reports/incoming", "/reports/domains", "/reports/domains?way=inbound", "/reports/partners",
    "/reports/key-exchange", "/reports/blocked", "/reports/connectors", "/reports/tls-rpt", "/reports/evidence",
    "/reports/print",
)  # fmt: skip
MOST = 100_000
COLUMNS = {"dane": "DANE", "mta-sts": "MTA-STS", "verified": "Verified name", "encrypted": "Encrypted only",
           "cleartext": "Unencrypted"}  # fmt: skip


@pytest.fixture(scope="module")
def world(pki: Pki, strange_pki: Pki) -> Iterator[World]:
    need("root", "nsd", "unbound")
    net = loopback("38.{}")
    with pytest.MonkeyPatch.context() as patch:  # addresses of this file
        patch.setattr(partners, "ADDRESS", {kind: net.format(10 + at) for at, kind in enumerate(partners.PRESENTED)})
        patch.setattr(partners, "POLICIES", net.format(2))
        patch.setattr(partners, "NOBODY", net.format(3))
        patch.setattr(partners, "RESOLVER", net.format(53))
        with World({domain: partner for domain, (partner, _, _) in TABLE.items()}, pki, strange_pki) as made:
            yield made


@pytest.fixture(scope="module")
def centre(world: World, pki: Pki) -> Iterator[AdminCentre]:
    """Each domain got a message, so did the forced one; a stranger sent one in clear and one over TLS."""
    need("chromium")
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(certificate=pki.leaf("mx.forced.example")))
        forced = connector(FORCED, sink.address, tls_settings="domain-validation", tls_domain="mx.forced.example")
        resources = contoso(outbound=[forced])
        resources["organization"]["fabrikam"] = {"accepted_domain": [{"name": "fabrikam.example"}]}
        served = running(
            resources,
            nameservers=[world.dns.address],
            anchors=pki.root,
            certificates=[pki.leaf("mx1.contoso.example")],
            settings={"outbound": {"private_policy_hosts": True}},
        )
        made = stack.enter_context(served)
        for domain in (*TABLE, FORCED):
            send(made.gateway.port, f"bob@{domain}")
        for tls in (True, False):
            send(made.gateway.port, "ann@contoso.example", sender=STRANGER, tls=tls)
        wanted = {f"bob@{domain}": event for domain, (_, event, _) in TABLE.items()} | {f"bob@{FORCED}": "SEND"}
        found = outcomes(made.gateway, wanted, timeout=60)
        assert set(found) == set(wanted)
        yield made


@pytest.fixture(scope="module")
def token(centre: AdminCentre) -> str:
    return centre.token("read", name="reader")


def table(centre: AdminCentre, token: str, path: str, name: str) -> list[dict[str, Any]]:
    separator = "&" if "?" in path else "?"
    status, _, rows = centre.call(f"{path}{separator}table={name}&format=json", token)
    assert status == 200, rows
    found: list[dict[str, Any]] = rows
    return found


def counted(page: Page, url: str) -> None:
    """Open a page, and wait until it shows what was counted."""
    page.goto(url)
    page.locator("#report:not([hx-trigger^=load])").wait_for()


def test_every_protection_is_counted_and_leads_to_its_mail(centre: AdminCentre, token: str, page: Page) -> None:
    def there() -> bool:
        (row,) = [one for one in table(centre, token, "/reports", "partners") if one["partner"] == FORCED]
        return bool(row["carried"])

    wait_until(there, "the mail is counted", timeout=40)
    centre.log_in(page)
    counted(page, f"{centre.url}/reports")
    heads = page.locator("#outbound thead th").all_inner_texts()
    cells = page.locator("#outbound tbody tr").last.locator("th, td")
    numbers = dict(zip(page.locator("#outbound thead th").all_text_contents(), cells.all_text_contents(), strict=True))
    assert len(heads) == 6
    for protection, name in COLUMNS.items():
        assert numbers[name] == "1", f"{protection}: {numbers}"
    for name in COLUMNS.values():
        at = list(numbers).index(name)
        href = cells.nth(at).locator("a").get_attribute("href") or ""
        asked = dict(parse_qsl(urlsplit(href).query))
        found = centre.gateway.trace(**{key.replace("_", "-"): value for key, value in asked.items()})
        expected = {domain for domain, (_, _, one) in TABLE.items() if one and COLUMNS[one] == name}
        got = {row["recipient"].partition("@")[2] for row in found}
        assert expected <= got, f"{name}: {href}"
        assert ("old.plain.test" in got) is (name == "Unencrypted")
    assert page.locator("#cleartext").get_by_text("old.plain.test").is_visible(), "cleartext is listed by name"
    assert page.locator("#cleartext").get_by_text("elsewhere.example").is_visible()
    assert page.locator("#outbound svg.picture path.tone-fail").is_visible(), "the server drew the table"
    shot(page, "reports")


def test_sums_are_those_of_the_trace(centre: AdminCentre, token: str) -> None:
    rows = centre.gateway.trace(limit="10000")
    for direction, event in (("outbound", "SEND"), ("inbound", "RECEIVE")):
        (last,) = [one for one in table(centre, token, "/reports", direction) if one["last"] == _today(centre, token)]
        parts = sum(value for name, value in last.items() if name not in {"first", "last"})
        assert parts == sum(row["event"] == event for row in rows)
    groups = table(centre, token, "/reports", "key-exchange-outbound")[-1]
    quantum = sum(value for name, value in groups.items() if "mlkem" in name)
    assert quantum == sum(row["event"] == "SEND" and "MLKEM" in row["tls_group"] for row in rows)
    (blocked,) = [one for one in table(centre, token, "/reports", "blocked") if one["domain"] == "wrong.good.test"]
    tries = [row for row in rows if row["event"] == "DEFER" and row["recipient"].endswith("@wrong.good.test")]
    assert (blocked["demanded_by"], blocked["errors"].split()[0]) == ("dane:wrong-1.good.test", "tlsa-invalid")
    assert blocked["attempts"] >= len(tries) >= 1


def _today(centre: AdminCentre, token: str) -> str:
    return str(table(centre, token, "/reports", "outbound")[-1]["last"])


def test_files_say_the_same(centre: AdminCentre, token: str) -> None:
    status, headers, text = centre.call("/reports?table=partners&format=csv", token)
    assert status == 200
    assert headers["content-type"].startswith("text/csv")
    by_csv = {(row["partner"], row["direction"]): int(row["carried"]) for row in csv.DictReader(io.StringIO(text))}
    by_json = {
        (row["partner"], row["direction"]): row["carried"] for row in table(centre, token, "/reports", "partners")
    }
    assert by_csv == by_json
    assert centre.call("/reports?table=nothing&format=csv", token)[0] == 404


@pytest.mark.parametrize("look", EACH_LOOK)
def test_everybody_can_read_them(centre: AdminCentre, browser: Browser, look: str) -> None:
    with context(browser, **LOOKS[look]) as (opened, _):
        page = opened.new_page()
        centre.log_in(page)
        for path in PAGES:
            counted(page, f"{centre.url}{path}")
            axe(page)
            assert overflow(page) == 0, path
            shot(page, f"{path.strip('/').replace('/', '-').replace('?', '-')}-{look}")


def test_without_a_script_table_and_picture_are_there(centre: AdminCentre, browser: Browser) -> None:
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        centre.log_in(page)

        def shown() -> bool:
            page.goto(f"{centre.url}/reports")
            return page.locator("#outbound svg.picture").count() == 1

        wait_until(shown, "the picture is there", timeout=40)
        assert page.locator("#outbound svg.picture path.tone-fail").count() >= 1
        assert page.locator("#outbound tbody tr").count() == 30
        page.goto(f"{centre.url}/reports/domains")
        cell = page.locator("#heat-outbound tr", has_text="old.plain.test").locator("td").last
        assert (cell.text_content() or "").strip() == "Unencrypted"
        href = cell.locator("a").get_attribute("href") or ""
        assert "old.plain.test" in href


def test_pages_are_small_and_a_day_of_a_domain_leads_to_the_trace(centre: AdminCentre, token: str) -> None:
    for path in PAGES:
        status, _, text = centre.call(path, token)
        assert status == 200, path
        assert len(text) < MOST, path
    status, headers, _ = centre.call("/reports/t/-/old.plain.test/o20261105.7", token)
    assert status == 303
    assert dict(parse_qsl(urlsplit(headers["location"]).query)) == {
        "since": "2026-11-05T00:00Z", "until": "2026-11-12T00:00Z", "recipient": "@old.plain.test"
    }  # fmt: skip
    for wrong in ("o2026", "x20261105", "o20261105.x", "o99999999"):
        assert centre.call(f"/reports/t/-/old.plain.test/{wrong}", token)[0] == 404


@pytest.mark.parametrize(
    "query", ["since=never", "since=2026-11-05&until=2026-11-01", "since=2000-01-01", "until=2026-13-01"]
)
def test_wrong_days_are_said(centre: AdminCentre, token: str, query: str) -> None:
    status, _, text = centre.call(f"/reports?{query}", token)
    assert status == 422
    assert "since" in text or "until" in text


def test_on_paper_it_says_who_asked_and_what_is_not_counted(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    counted(page, f"{centre.url}/reports/print")
    text = page.locator("#report").inner_text()
    for part in ("Created by", "olga", "mx1.contoso.example", "Scope of this report", "old.plain.test"):
        assert part in text
    assert page.locator("svg.picture").count() >= 5
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # what A4 has between the margins, in CSS pixels
    assert page.locator(".heat thead th").count() > 28
    assert page.evaluate("document.documentElement.scrollWidth") <= 688, "nothing is cut off, or made smaller to fit"
    page.set_viewport_size({"width": 800, "height": 1000})
    overlaps = page.evaluate("""() => [...document.querySelectorAll("th:not(.heat *) > code")].map((code) => {
        code.textContent = "sehr-langer-domaenenname-des-rehabilitationszentrums.example";
        const beside = code.parentElement.nextElementSibling.getBoundingClientRect();
        return code.getBoundingClientRect().right > beside.left + 1;
    })""")
    assert overlaps
    assert not any(overlaps), "a long domain is on the column beside it"


def test_the_log_is_verified_and_exported_with_its_proof(
    centre: AdminCentre, page: Page, token: str, tmp_path: Any
) -> None:
    centre.log_in(page)
    page.goto(f"{centre.url}/reports/evidence")
    page.get_by_role("button", name="Verify now").click()
    page.locator("#state").get_by_text("Verified").first.wait_for()
    page.get_by_label("Partner (domain or connector)").fill("match.good.test")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "export.json"
    waiting.value.save_as(file)
    document = json.loads(file.read_bytes())
    assert document["selection"]["partner"] == "match.good.test"
    key = tmp_path / "key.pem"
    key.write_text(centre.gateway.cli("evidence", "key", json=True).data[0]["pem"], encoding="ascii")
    result = centre.gateway.cli("evidence", "verify", str(file), "--key", str(key), expect=None)
    assert result.stdout.splitlines()[-1] in {"verified", "Inconclusive"}, "signed or, if not yet, not contradicted"
    events = centre.gateway.cli("audit", json=True).data
    assert {"evidence-verify", "evidence-export"} <= {one["action"] for one in events}


def test_a_tenant_sees_its_own(centre: AdminCentre) -> None:
    own = centre.token("read", name="own", organizations=("contoso",))
    other = centre.token("read", name="other", organizations=("fabrikam",))
    mine = {row["partner"] for row in table(centre, own, "/reports", "partners")}
    assert {"old.plain.test", FORCED} <= mine
    assert table(centre, other, "/reports", "partners") == []
    assert table(centre, other, "/reports", "cleartext") == []
    for path in ("/reports?organization=contoso", "/reports/evidence/export?organization=contoso"):
        assert centre.call(path, other)[0] == 404
    _, _, text = centre.call("/reports/evidence", other)
    assert "Verify now" not in text
    assert "PUBLIC KEY" not in text
    assert centre.call("/reports/evidence/verify", other, "POST")[0] == 404
    _, _, exported = centre.call("/reports/evidence/export", other)
    assert [one for segment in exported["segments"] for one in segment.get("chosen", ())] == []
    assert "old.plain.test" not in json.dumps(exported)
    for path in ("evidence/heads", "evidence/keys", "reports/sent", "reports/sessions"):
        assert centre.call(f"/api/v1/{path}", other)[0] == 403
    assert centre.call("/api/v1/reports/tls", other)[2]["partners"] == []


def test_rest_says_what_the_command_says(centre: AdminCentre, token: str) -> None:
    def same() -> bool:
        by_rest = centre.call("/api/v1/reports/tls?top=1000", token)[2]
        return bool(by_rest == centre.gateway.cli("report", "tls", "--since", by_rest["first"], json=True).data)

    wait_until(same, "both count the same rows", timeout=40)
    answer = centre.call("/api/v1/reports/connectors", token)[2]
    assert {one["name"] for one in answer["items"]} >= {FORCED}
    assert centre.call("/api/v1/reports/tls?since=2026-99-99", token)[0] == 422
    assert centre.call("/api/v1/evidence/verification", token, "POST")[0] == 202

    def ended() -> Any:
        found = centre.call("/api/v1/evidence/verification", token)[2]
        return found if not found["running"] else None

    assert wait_until(ended, "the log is verified", timeout=40)["verified"] is not False
    exported = centre.call("/api/v1/evidence/export?partner=old.plain.test", token)[2]
    assert exported["selection"]["partner"] == "old.plain.test"
