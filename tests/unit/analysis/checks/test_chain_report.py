"""What the findings say together, and what is printed for use."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import pem, server
from support.status_authority import NOW, StatusAuthority

from gatepost.analysis.checks.chain import link
from gatepost.analysis.checks.chain_facts import ChainFacts, From, Kind, Store, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_file import parse_file
from gatepost.analysis.checks.chain_report import (
    ChainCheck,
    ChainFinding,
    Part,
    chain_record,
    days_left,
    endpoint,
    firewall_hosts,
    send_order,
    shown,
    title,
    tlsa_record,
)
from gatepost.analysis.checks.partner_report import Mark
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict
from gatepost.values import replace

TIME = NOW.timestamp()
ROOT = StatusAuthority("Root")
AUTHORITY = StatusAuthority("Intermediate", parent=ROOT, crl=["http://crl.example/root.crl"])
LEAF = server(
    AUTHORITY,
    names=("mx1.contoso.example", "*.contoso.example", "a.example", "b.example", "c.example"),
    crl=["http://crl.example/a.crl", "http://[2001:db8::1]:8080/a.crl"],
    ocsp=["http://ocsp.example"],
    issuers=["https://aia.example/a.cer"],
)
ANSWER = UrlResult(Kind.CRL, "http://crl.example/a.crl", UrlStatus.GOOD, "", 0.0123456, 480, TIME - 60, TIME + 60, 200)


KEYS = [
    *("file", "kind", "at", "seconds", "verdict", "chain", "chain_detail", "days", "fails", "warnings", "unknown"),
    *("findings", "certificates", "send", "stores", "firewall", "tlsa"),
]


def facts(**fields):
    ders = [LEAF.der, *(one.certificate.public_bytes(Encoding.DER) for one in (AUTHORITY, ROOT))]
    leaf, above, root = map(link, ders, (From.FILE, From.FILE, From.STORE))
    usual = {
        "file": parse_file(pem(LEAF.certificate, AUTHORITY.certificate), "chain.pem"),
        "leaf": 0,
        "verdict": ChainVerdict(ChainStatus.TRUSTED, "the chain leads to CN=Root", leaf.facts),
        "path": (replace(leaf, answers=(ANSWER,)), above, root),
        "stores": (Store("this machine's store", True, 140), Store("Mozilla's list", missing="not here")),
        "anchors": "this machine's store",
        "now": TIME,
    }
    return ChainFacts(**(usual | fields))


def check(*verdicts, **fields):
    return ChainCheck(facts(**fields), tuple(ChainFinding(Part.FILE, one, "text") for one in verdicts), 1.0)


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ((), "ready"),
        ((Mark.PASS, Mark.INFO, Mark.WARN), "ready"),
        ((Mark.PASS, Mark.UNKNOWN), "unknown"),
        ((Mark.UNKNOWN, Mark.FAIL), "not-ready"),
    ],
)
def test_outcomes(verdicts, outcome):
    found = check(*verdicts)
    assert found.outcome == outcome
    fails, warnings, unknown = (verdicts.count(mark) for mark in (Mark.FAIL, Mark.WARN, Mark.UNKNOWN))
    assert found.last_line == (
        f"verdict={outcome} chain=trusted days=29 key=EC-P-256 fails={fails} warnings={warnings} unknown={unknown}"
    )


@pytest.mark.parametrize(("seconds", "days"), [(86400 * 2, 2), (86399, 0), (0, 0), (-1, -1), (-86401, -2)])
def test_days(seconds, days):
    assert days_left(replace(facts().path[0].facts, not_after=TIME + seconds), TIME) == days


def test_what_is_to_be_sent_is_all_but_the_root():
    path = facts().path
    assert send_order(path) == path[:2]
    assert send_order(path[2:]) == path[2:], "a self-signed certificate is sent"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://a.example/x", "a.example:80"),
        ("HTTPS://A.example", "a.example:443"),
        ("http://a.example:8080/", "a.example:8080"),
        ("http://[::1]/", "[::1]:80"),
        ("ldap://a.example/", ""),
        ("http://", ""),
        ("http://a.example:99999/", ""),
        ("http://[::1", ""),
        ("http://a.example;reboot/", ""),
        ("http://$(x).example/", ""),
        ("", ""),
    ],
)
def test_endpoints(url, found):
    assert endpoint(url) == found


def test_long_addresses_are_cut():
    assert shown("http://a.example/") == "http://a.example/"
    assert shown("x" * 999) == "x" * 200 + "..."


def test_the_firewall_s_list_has_each_host_once():
    assert firewall_hosts(facts().path) == (
        "[2001:db8::1]:8080",
        "aia.example:443",
        "crl.example:80",
        "ocsp.example:80",
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "mx1.contoso.example"),
        ({"common_name": ""}, "mx1.contoso.example"),
        ({"common_name": "", "dns_names": ()}, "CN=mx1.contoso.example"),
        ({"common_name": "", "dns_names": (), "ip_addresses": ("192.0.2.1",)}, "192.0.2.1"),
        ({"common_name": "", "dns_names": (), "subject": "", "serial": "2a"}, "serial 2a"),
        ({"common_name": "x" * 999}, "x" * 100),
    ],
)
def test_titles(change, text):
    assert title(replace(facts().path[0].facts, **change)) == text


def test_records_of_a_wildcard_leave_the_host_open():
    (leaf, *above) = facts().path
    wild = replace(leaf, facts=replace(leaf.facts, dns_names=("*.contoso.example",)))
    assert tlsa_record(facts(path=(wild, *above)))[0].startswith("_25._tcp.HOST. IN TLSA 3 1 1 ")


def test_records_to_publish():
    pin = facts().path[0].facts.spki_sha256
    assert tlsa_record(facts()) == tuple(
        f"_25._tcp.{name}. IN TLSA 3 1 1 {pin}" for name in ("mx1.contoso.example", "a.example", "b.example")
    )
    assert tlsa_record(facts(names=("mx9.example",))) == (f"_25._tcp.mx9.example. IN TLSA 3 1 1 {pin}",)


def test_json():
    record = json.loads(json.dumps(chain_record(check(Mark.WARN, Mark.FAIL))))
    assert list(record) == KEYS
    assert (record["verdict"], record["chain"], record["days"], record["fails"]) == ("not-ready", "trusted", 29, 1)
    assert record["findings"][0] == {"part": "file", "verdict": "warn", "text": "text", "evidence": "", "fix": ""}
    leaf = record["certificates"][0]
    assert (leaf["place"], leaf["names"][:1], leaf["signature"]) == ("file", ["mx1.contoso.example"], "SHA-256")
    assert leaf["addresses"] == [
        {
            "kind": "crl",
            "url": "http://crl.example/a.crl",
            "result": "good",
            "status": 200,
            "detail": "",
            "seconds": 0.012,
            "size": 480,
            "this_update": int(TIME) - 60,
            "next_update": int(TIME) + 60,
        }
    ]
    assert record["send"] == [leaf["sha256"], record["certificates"][1]["sha256"]]
    assert record["stores"][1] == {
        "name": "Mozilla's list",
        "holds_root": False,
        "certificates": 0,
        "missing": "not here",
    }
