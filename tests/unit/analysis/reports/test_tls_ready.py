from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.reports.tls import Readiness, Ready
from gatepost.store.trace import HopKind


def kind(**fields: Any) -> HopKind:
    """Mail that was sent to the lab, whose host showed a trusted certificate with its name."""
    usual = {
        "organization": "contoso", "direction": "originating", "event": "SEND", "connector": "",
        "partner": "lab.example",
        "requirement": "opportunistic", "sources": "", "achieved": "none/authenticated", "tls_version": "TLSv1.3",
        "tls_group": "X25519", "suite": "", "chain": "trusted", "host": "mx.lab.example",
        "names": '["*.lab.example"]', "result_type": "",
    }  # fmt: skip
    return HopKind(**{**usual, **fields})


def received(**fields: Any) -> HopKind:
    usual = {"event": "RECEIVE", "direction": "incoming", "names": '["mx.lab.example","lab.example"]'}
    return kind(**{**usual, **fields})


@pytest.mark.parametrize(
    ("kinds", "demand", "names"),
    [
        ([kind()], "domain-validation", ("mx.lab.example",)),
        ([kind(), kind(host="mx2.lab.example")], "domain-validation", ("mx.lab.example", "mx2.lab.example")),
        ([kind(), kind(host="mx.provider.example")], "certificate-validation", ()),
        ([kind(names="")], "certificate-validation", ()),
        ([kind(), kind(chain="self-signed")], "encryption-only", ()),
        ([kind(chain="")], "encryption-only", ()),
        ([kind(requirement="")], "domain-validation", ("mx.lab.example",)),
        ([kind(), kind(tls_version="", chain="")], None, ()),
        ([kind(), kind(event="DEFER", result_type="certificate-expired")], None, ()),
        ([kind(), kind(requirement="encrypted")], None, ()),
        ([kind(partner="")], None, ()),
    ],
)
def test_outbound(kinds: list[HopKind], demand: str | None, names: tuple[str, ...]) -> None:
    readiness = Readiness(at_least=1)
    for one in kinds:
        readiness.add(one, 10, inbound=False)
    if demand is None:
        assert readiness.ready() == ()
    else:
        expected = Ready("lab.example", inbound=False, messages=10 * len(kinds), demand=demand, names=names)
        assert readiness.ready() == (expected,)


@pytest.mark.parametrize(
    ("kinds", "demand", "names"),
    [
        ([received()], "restrict_domains_to_certificate", ("mx.lab.example", "lab.example")),
        ([received(), received(names='["lab.example"]')], "restrict_domains_to_certificate", ("lab.example",)),
        ([received(), received(names='["other.example"]')], "require_tls", ()),
        ([received(), received(chain="")], "require_tls", ()),
        ([received(), received(event="REFUSE")], "restrict_domains_to_certificate", ("mx.lab.example", "lab.example")),
        ([received(), received(tls_version="")], None, ()),
        ([received(direction="originating")], None, ()),
        ([received(event="REFUSE")], None, ()),
    ],
)
def test_inbound(kinds: list[HopKind], demand: str | None, names: tuple[str, ...]) -> None:
    readiness = Readiness(at_least=1)
    for one in kinds:
        readiness.add(one, 10, inbound=True)
    found = readiness.ready()
    assert [(one.demand, one.names, one.inbound) for one in found] == ([(demand, names, True)] if demand else [])


def test_little_mail_proves_nothing_and_most_comes_first() -> None:
    readiness = Readiness(at_least=10)
    for partner, rows in (("a.example", 9), ("b.example", 10), ("c.example", 50)):
        readiness.add(kind(partner=partner), rows, inbound=False)
    assert [one.partner for one in readiness.ready()] == ["c.example", "b.example"]
