from __future__ import annotations

import shlex

from gatepost.analysis.hybrid.plan import TRAPS, checks, firewall


def test_what_is_tried_on_both_sides(given):
    found = checks(given())
    assert [one.side for one in found] == [*["gateway"] * 3, *["exchange"] * 4, "gateway"]
    validate, explain, drill, *_, trace = found
    whose = ["to hq", "--organization", "contoso", "--direction", "outbound"]
    assert shlex.split(validate.command) == [
        "gatepost", "connector", "validate", *whose, "--recipient", "user@contoso.example",
    ]  # fmt: skip
    assert shlex.split(drill.command) == ["gatepost", "connector", "drill", *whose]
    assert "'from hq'" in explain.expect
    assert "@contoso.example" in trace.command
    openssl = next(one for one in found if one.command.startswith("openssl"))
    assert "-connect mx1.contoso.example:25" in openssl.command


def test_before_there_are_connectors_they_have_the_names_that_the_plan_gives(given):
    validate, explain, *_ = checks(given(inbound=None, outbound=None, domains=[]))
    assert "'to Exchange'" in validate.command
    assert "user@DOMAIN" in validate.command
    assert "'from Exchange'" in explain.expect


def test_what_must_be_let_through(given):
    assert any("TCP 80 from both to crl.a.example, ocsp.a.example" in line
               for line in firewall(given(revocation_hosts=["crl.a.example", "ocsp.a.example"])))  # fmt: skip
    assert any("the CRL and OCSP hosts that the certificates name" in line for line in firewall(given()))
    assert "TCP 25 from Exchange to mx1.contoso.example, and from the gateway to ex1." in firewall(given())[0]


def test_the_traps_name_what_they_look_like():
    text = " ".join(TRAPS)
    for sign in ("TlsCertificateName", "550 5.7.64", "chain-incomplete", "554 5.4.6", "RemoteIPRanges"):
        assert sign in text
