"""Proves `gatepost doctor`, its call of REST and its page, beside a gateway that runs and a DNS that is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.admin import AdminCentre, served
from support.browser import EACH_LOOK, LOOKS, axe, context, overflow, shot
from support.gateway import Gateway
from support.scenes import contoso

from gatepost.testing.name_server import DnsServer

pytestmark = pytest.mark.timeout(300)  # a browser on a machine with other work
NAME = "mx1.contoso.example"


@pytest.fixture
def centre(gateway: Callable[..., Gateway], dns_server: Callable[..., DnsServer]) -> tuple[AdminCentre, DnsServer]:
    names = dns_server({f"{NAME} A": ["127.0.0.9"], "9.0.0.127.in-addr.arpa PTR": ["host9.provider.example."]})
    return served(gateway, contoso(), nameservers=[f"127.0.0.1:{names.port}"]), names


def examined(centre: AdminCentre, *words: str, expect: int | None = None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in centre.gateway.cli("doctor", *words, json=True, expect=expect).data["findings"]:
        found.setdefault(one["area"], []).append(one)
    return found


def test_what_the_dns_says_of_us_is_told(centre: tuple[AdminCentre, DnsServer]) -> None:
    admin, names = centre
    found = examined(admin)
    assert [one["level"] for one in found["nameservers"]] == ["pass"]
    (own,) = found["own name"]
    assert own["text"] == f"127.0.0.9 leads back to host9.provider.example, not to {NAME}"
    assert own["fix"].endswith(f"9.0.0.127.in-addr.arpa. IN PTR {NAME}.")
    wrong = found["DNS of contoso.example"]
    assert any("MX" in one["text"] and one["level"] == "warn" for one in wrong), wrong
    names.set("9.0.0.127.in-addr.arpa PTR", f"{NAME}.")
    names.set("contoso.example MX", f"10 {NAME}.")
    found = examined(admin)
    assert [one["level"] for one in found["own name"]] == ["pass"]
    assert not any("MX records" in one["text"] for one in found.get("DNS of contoso.example", []))
    names.set(f"{NAME} A")
    assert "has no address in the DNS" in examined(admin)["own name"][0]["text"]


def test_a_gateway_that_runs_knows_its_own_ports(centre: tuple[AdminCentre, DnsServer]) -> None:
    admin, _ = centre
    found = examined(admin, "--offline")
    ports = [one for area, some in found.items() if area.startswith("port ") for one in some]
    assert len(ports) >= 2
    assert all(one["text"].startswith("served by this gateway, process ") for one in ports), ports
    said = admin.gateway.cli("serve", "--check").stdout
    assert said.count("served by this gateway, process ") == len(ports), "it could be started again"


def test_rest_says_the_same_and_no_tenant_is_told(centre: tuple[AdminCentre, DnsServer]) -> None:
    admin, _ = centre
    status, _, body = admin.call("/api/v1/doctor?offline=true", admin.token("read"))
    assert status == 200
    areas = {one["area"] for one in body["findings"]}
    assert areas == set(examined(admin, "--offline"))
    tenant = admin.token("read", name="tenant", organizations=("contoso",))
    assert admin.call("/api/v1/doctor", tenant)[0] == 403


@pytest.mark.parametrize("look", EACH_LOOK)
def test_everybody_can_read_the_page(centre: tuple[AdminCentre, DnsServer], browser: Browser, look: str) -> None:
    admin, _ = centre
    with context(browser, **LOOKS[look]) as (opened, _):
        page = opened.new_page()
        admin.log_in(page)
        for path in ("/doctor", "/doctor?network=1"):
            page.goto(f"{admin.url}{path}")
            axe(page)
            assert overflow(page) == 0
            shot(page, f"doctor-{look}-{len(path)}")
        assert page.get_by_text("leads back to host9.provider.example").count() == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_given_by_root_it_tries_files_as_the_account(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso(), settings={"server": {"user": "nobody"}})
    key = server.folder / "only-root.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(32))
    with server.config.open("a", encoding="utf-8") as settings:
        settings.write(f'\n[store]\nmaster_key = "file:{key}"\n')
    said = server.cli("serve", "--check", expect=2).stdout
    assert f"{key}: Permission denied" in said
