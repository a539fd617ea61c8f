from __future__ import annotations

import contextlib
import time

import pytest
from tests.unit.manage.calls import add_entry

from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import dns_checks
from gatepost.manage.use_cases.dns_checks import KEPT, DnsCheck, DnsChecks, SectionKey, check_record
from gatepost.manage.use_cases.publication import publication_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.values import replace

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("con", frozenset({Scope.READ}), frozenset({"contoso"}))
RESOURCES = {
    "organization": {
        "contoso": {
            "accepted_domain": [
                {"name": "contoso.example", "mta_sts": "testing"},
                {"name": "*.branch.example", "type": "internal-relay"},
            ],
            "dkim_key": [
                {"name": "new._domainkey.contoso.example", "state": "current", "public_key": "AAAA"},
                {"name": "old._domainkey.contoso.example", "state": "retired", "public_key": "AAAA"},
            ],
        }
    }
}


@pytest.fixture
def stored(sealed):
    with sealed.config() as store:
        store.apply(RESOURCES, author="root")
    return sealed


def finding(mark, text="it is so"):
    return Finding(Stage.DNS, mark, text)


# marks by section -> the gravest of all, of the MX records, of DKIM
LEVELS = [
    ({}, "unknown", "unknown", "unknown"),
    ({SectionKey.MX: ()}, "unknown", "unknown", "unknown"),
    ({SectionKey.MX: (Mark.PASS, Mark.PASS)}, "pass", "pass", "unknown"),
    ({SectionKey.MX: (Mark.PASS,), SectionKey.DKIM: (Mark.FAIL,)}, "fail", "pass", "fail"),
    ({SectionKey.MX: (Mark.WARN, Mark.UNKNOWN), SectionKey.DKIM: (Mark.INFO,)}, "warn", "warn", "info"),
    ({SectionKey.MX: (Mark.INFO, Mark.UNKNOWN)}, "unknown", "unknown", "unknown"),
]


@pytest.mark.parametrize(("marks", "whole", "mx", "dkim"), LEVELS)
def test_the_gravest_counts(marks, whole, mx, dkim):
    dns_check = DnsCheck(0.0, "", {key: tuple(map(finding, some)) for key, some in marks.items()})
    assert (dns_check.level(), dns_check.level(SectionKey.MX), dns_check.level(SectionKey.DKIM)) == (whole, mx, dkim)


def test_every_mark_has_its_weight():
    for mark in Mark:
        assert DnsCheck(0.0, "", {SectionKey.MX: (finding(mark),)}).level() == str(mark)


def test_a_look_where_nothing_answers_knows_nothing_and_is_kept(stored):
    found = publication_of(stored, OWNER, "contoso.example")
    assert stored.kept(DnsChecks).known(found) is None
    begun = time.time()
    dns_check = stored.kept(DnsChecks).run(found, OWNER)
    assert begun <= dns_check.at <= time.time()
    assert stored.kept(DnsChecks).known(found) is dns_check
    assert list(dns_check.findings) == [
        SectionKey.MX,
        SectionKey.MTA_STS,
        SectionKey.TLS_RPT,
        SectionKey.DKIM,
        SectionKey.SPF,
    ]
    assert len(dns_check.findings[SectionKey.DKIM]) == 1, "a retired key is not looked for"
    assert dns_check.level(SectionKey.MX) == "unknown"
    record = check_record(dns_check)
    assert [one.key for one in record.sections] == ["mx", "mta-sts", "tls-rpt", "dkim", "spf"]
    assert all(one.findings for one in record.sections)
    assert "pass" not in {one.verdict for one in record.sections}


def test_a_pattern_of_domains_without_certificates_has_nothing_to_look_at(stored):
    dns_check = stored.kept(DnsChecks).run(publication_of(stored, TENANT, "*.branch.example"), TENANT)
    assert (dns_check.findings, dns_check.level()) == ({}, "unknown")


def test_the_key_of_each_certificate_is_looked_for_at_its_host(stored, root):
    for name in ("mx.gate.example", "mx.gate.example", "other.example"):
        add_entry(stored, root, name)
    found = publication_of(stored, OWNER, "*.branch.example")
    keys = dns_checks._keys(found)
    assert (list(keys), len(keys["mx.gate.example"])) == (["mx.gate.example"], 2)
    dns_check = stored.kept(DnsChecks).run(found, OWNER)
    assert (list(dns_check.findings), dns_check.level()) == ([SectionKey.TLSA], "unknown")
    assert dns_checks._keys(publication_of(stored, TENANT, "*.branch.example")) == {}


def test_what_is_old_or_of_other_records_is_not_known(stored, monkeypatch):
    found = publication_of(stored, TENANT, "*.branch.example")
    dns_check = stored.kept(DnsChecks).run(found, OWNER)
    assert stored.kept(DnsChecks).known(replace(found, sections=())) is None
    assert stored.kept(DnsChecks).known(replace(found, organization="fabrikam")) is None
    assert stored.kept(DnsChecks).known(found) is dns_check
    monkeypatch.setattr(dns_checks.time, "time", lambda: dns_check.at + KEPT)
    assert stored.kept(DnsChecks).known(found) is None


def test_what_is_kept_is_bounded(stored, monkeypatch):
    monkeypatch.setattr(dns_checks, "_MOST", 2)
    found = publication_of(stored, TENANT, "*.branch.example")
    for number in range(5):
        stored.kept(DnsChecks).run(replace(found, domain=f"*.{number}.example"), TENANT)
    assert len(stored.kept(DnsChecks)._known) <= 2


def test_too_many_at_a_time_are_told_to_wait_and_the_place_is_given_back(stored, monkeypatch):
    monkeypatch.setattr(dns_checks, "_PATIENCE", 0.01)
    many = DnsChecks(stored.settings)
    found = publication_of(stored, TENANT, "*.branch.example")
    for number in range(dns_checks._AT_A_TIME):
        many._limit.take(str(number))
    with pytest.raises(Refusal) as refused:
        many.run(found, OWNER)
    assert refused.value.kind is RefusalKind.CONFLICT
    many._limit.release("0")
    for _ in range(3):
        many.run(found, OWNER)
    assert many.known(found) is not None


def test_a_look_that_fails_gives_its_place_back(stored, monkeypatch):
    def failing(*_):
        raise Refusal(RefusalKind.INPUT, "[dns]: no resolver")

    monkeypatch.setattr(dns_checks, "_findings", failing)
    many = DnsChecks(stored.settings)
    found = publication_of(stored, TENANT, "*.branch.example")
    for _ in range(2 * dns_checks._AT_A_TIME):
        with pytest.raises(Refusal, match="no resolver"):
            many.run(found, OWNER)
    assert many.known(found) is None


def test_a_tenant_leaves_a_place_to_others(stored, monkeypatch):
    """Whoever lets its nameservers keep silent, by however many users and tokens, holds up none but itself."""
    monkeypatch.setattr(dns_checks, "_PATIENCE", 0.01)
    many = DnsChecks(stored.settings)
    found = publication_of(stored, TENANT, "*.branch.example")
    with contextlib.ExitStack() as held:
        for number in range(dns_checks._AT_A_TIME - 1):
            held.enter_context(many.slot(Principal(f"token {number}", TENANT.scopes, TENANT.organizations)))
        with pytest.raises(Refusal):
            many.run(found, TENANT)
        many.run(found, OWNER)
