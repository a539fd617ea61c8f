"""Proves that no table of the admin centre is cut off at the sizes of a desktop, however long the names in it are.

They are those of a hospital: of partners with words of twenty letters, of long domains, of certificates for many
hosts. A telephone shows rows as cards (`test_admin_every_page`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ViewportSize
from support.admin import AdminCentre, running
from support.browser import context
from support.debian import need
from support.postgres import sqlite_only

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.sqlite.trace import write_events
from gatepost.testing.pki import Pki

LOCALES = {"en": "en-GB", "sv": "sv-SE", "de": "de-DE"}
# German words are the longest.
EACH_LANGUAGE = ["de", *(pytest.param(one, marks=pytest.mark.long) for one in ("en", "sv"))]
SIZES: list[ViewportSize] = [
    {"width": 1440, "height": 900},
    {"width": 1280, "height": 900},
    {"width": 1024, "height": 768},
]
ORGANIZATION = "sahlgrenska-universitetssjukhuset"
DOMAINS = {
    "Försäkringskassan - sekretessbelagd post (TLS krävs)": "forsakringskassan.example",
    "Bundesversicherungsamt Referat 413 - Meldeverfahren": (
        "remissportalen.sakerhetstjanster.karolinska-universitetssjukhuset.example"
    ),
    "Region Stockholm: läkemedelsförskrivningar och remisser": "xn--lkemedel-0za.example",
}
SENDER = "anna.karin.wallstrom-bergqvist@patient.sahlgrenska.example"
FIRST = quote(next(iter(DOMAINS)))
PATHS = (
    "/", "/connectors", f"/connectors/{ORGANIZATION}/outbound/{FIRST}", "/domains", "/mailboxes",
    "/rules", "/organizations", "/queue", "/queue/destinations", "/trace", "/trace/0000000000abc000", "/certificates",
    "/certificates/table", "/certificates/history", "/reports/partners", "/reports/connectors", "/reports/domains",
    "/reports/blocked", "/history", "/history/1", "/audit", "/users", "/alarms",
)  # fmt: skip
"""Pages with tables: lists, reports, and the pages of things whose parts are listed."""
SCROLLED = (
    "wraps => wraps.filter((wrap) => wrap.scrollWidth > wrap.clientWidth + 1)"
    ".map((wrap) => `${wrap.ariaLabel} by ${wrap.scrollWidth - wrap.clientWidth}`)"
)
BROKEN = (  # a heading that is a column of letters, or text that lies on the next cell
    "cells => cells.filter((cell) => (cell.scope == 'col' && cell.clientHeight > 120)"
    " || cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.textContent.trim())"
)


@pytest.fixture(scope="module")
def centre(pki: Pki) -> Iterator[AdminCentre]:
    need("chromium")
    hosts = [f"mx{number}.ett-mycket-langt-namn.sahlgrenska.example" for number in range(20)]
    organization = {
        "display_name": "Sahlgrenska Universitetssjukhuset, Västra Götalandsregionen",
        "accepted_domain": [{"name": "sahlgrenska.example"}, {"name": "patient.sahlgrenska.example"}],
        "mailbox": [{"address": SENDER}],
        "inbound_connector": [
            {
                "name": name,
                "sender_domains": [domain, f"*.{domain}"],
                "restrict_domains_to_certificate": True,
                "tls_sender_certificate_name": f"mail.{domain}",
            }
            for name, domain in DOMAINS.items()
        ],
        "outbound_connector": [
            {
                "name": name,
                "recipient_domains": [domain, f"*.{domain}"],
                "tls_settings": "domain-validation",
                "tls_domain": f"mx.{domain}",
                "mode": "rehearse",
            }
            for name, domain in DOMAINS.items()
        ],
        "mail_flow_rule": [
            {
                "name": "Sekretess: ämnesraden innehåller [sekretess]",
                "header_name": "X-Sekretess",
                "route_via_connector": next(iter(DOMAINS)),
            }
        ],
    }
    with ExitStack() as stack:
        made = stack.enter_context(
            running({"organization": {ORGANIZATION: organization}}, certificates=[pki.leaf(hosts[0], names=hosts)])
        )
        write_events(made.gateway.data_dir / "trace", "0", list(_events()))
        yield made


def _events() -> list[TraceEvent]:
    """Mail of a month, of which some failed in the ways that reports name."""
    now, events = time.time(), []
    for number in range(90):
        name, domain = list(DOMAINS.items())[number % 3]
        failed = number % 5 == 0
        shared: dict[str, Any] = {
            "message": f"{0xABC000 + number:016x}",
            "session": f"{0xDEF000 + number:016x}",
            "organization": ORGANIZATION,
            "direction": "originating",
            "sender": SENDER,
            "recipient": f"avdelningen.for.mycket.langa.namn.{number}@{domain}",
            "subject": "Arztbrief zu Patient 4711 - vertraulich, bitte nicht weiterleiten, sondern löschen",
        }
        at = now - number * 28_000
        events.append(
            TraceEvent(
                at=at,
                event="DEFER" if failed else "SEND",
                peer_host=f"mx1.{domain}",
                peer_address="192.0.2.7:25",
                connector=name,
                requirement="authenticated",
                achieved="none/none" if number % 7 == 0 else "none/authenticated",
                tls_version="TLSv1.3",
                result_type="certificate-host-mismatch" if failed else "",
                reply="454 4.7.0 TLS not available due to local problem; https://support.postmaster.example/errors/4711",
                detail={"configuration": 1},
                **shared,
            )
        )
    return events


@sqlite_only("its trace is written into files")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("language", EACH_LANGUAGE)
def test_no_table_is_cut_off_on_a_desktop(centre: AdminCentre, browser: Browser, language: str) -> None:
    with context(browser, locale=LOCALES[language]) as (opened, _):
        page = opened.new_page()
        centre.log_in(page)
        cut: list[str] = []
        for path in PATHS:
            page.goto(f"{centre.url}{path}")
            page.wait_for_load_state("networkidle")  # parts of a page come after it
            for size in SIZES:
                page.set_viewport_size(size)
                wide = page.locator("main .table-wrap").evaluate_all(SCROLLED)
                broken = page.locator("main .table-wrap :is(th, td)").evaluate_all(BROKEN)
                cut += [f"{path} at {size['width']}: {text}" for text in (*wide, *broken)]
        assert not cut, "\n".join(cut)
