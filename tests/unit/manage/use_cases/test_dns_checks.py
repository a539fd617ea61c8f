from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.unit.manage.calls import add_entry

from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import dns_checks as sights
from gatepost.manage.use_cases.dns_checks import KEPT, Key, Sight, Sights, sight_record
from gatepost.manage.use_cases.publication import publication_of
from gatepost.manage.use_cases.refusal import Kind, Refusal

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
    ({Key.MX: ()}, "unknown", "unknown", "unknown"),
    ({Key.MX: (Mark.PASS, Mark.PASS)}, "pass", "pass", "unknown"),
    ({Key.MX: (Mark.PASS,), Key.DKIM: (Mark.FAIL,)}, "fail", "pass", "fail"),
    ({Key.MX: (Mark.WARN, Mark.UNKNOWN), Key.DKIM: (Mark.INFO,)}, "warn", "warn", "info"),
    ({Key.MX: (Mark.INFO, Mark.UNKNOWN)}, "unknown", "unknown", "unknown"),
]


@pytest.mark.parametrize(("marks", "whole", "mx", "dkim"), LEVELS)
def test_the_gravest_counts(marks, whole, mx, dkim):
    sight = Sight(0.0, "", {key: tuple(map(finding, some)) for key, some in marks.items()})
    assert (sight.level(), sight.level(Key.MX), sight.level(Key.DKIM)) == (whole, mx, dkim)


def test_every_mark_has_its_weight():
    for mark in Mark:
        assert Sight(0.0, "", {Key.MX: (finding(mark),)}).level() == str(mark)


def test_a_look_where_nothing_answers_knows_nothing_and_is_kept(stored):
    found = publication_of(stored, OWNER, "contoso.example")
    assert stored.kept(Sights).known(found) is None
    begun = time.time()
    sight = stored.kept(Sights).look(found)
    assert begun <= sight.at <= time.time()
    assert stored.kept(Sights).known(found) is sight
    assert list(sight.findings) == [Key.MX, Key.MTA_STS, Key.TLS_RPT, Key.DKIM, Key.SPF]
    assert len(sight.findings[Key.DKIM]) == 1, "a retired key is not looked for"
    assert sight.level(Key.MX) == "unknown"
    record = sight_record(sight)
    assert [one.key for one in record.sections] == ["mx", "mta-sts", "tls-rpt", "dkim", "spf"]
    assert all(one.findings for one in record.sections)
    assert "pass" not in {one.verdict for one in record.sections}


def test_a_pattern_of_domains_without_certificates_has_nothing_to_look_at(stored):
    sight = stored.kept(Sights).look(publication_of(stored, TENANT, "*.branch.example"))
    assert (sight.findings, sight.level()) == ({}, "unknown")


def test_the_key_of_each_certificate_is_looked_for_at_its_host(stored, root):
    for name in ("mx.gate.example", "mx.gate.example", "other.example"):
        add_entry(stored, root, name)
    found = publication_of(stored, OWNER, "*.branch.example")
    keys = sights._keys(found)
    assert (list(keys), len(keys["mx.gate.example"])) == (["mx.gate.example"], 2)
    sight = stored.kept(Sights).look(found)
    assert (list(sight.findings), sight.level()) == ([Key.TLSA], "unknown")
    assert sights._keys(publication_of(stored, TENANT, "*.branch.example")) == {}


def test_what_is_old_or_of_other_records_is_not_known(stored, monkeypatch):
    found = publication_of(stored, TENANT, "*.branch.example")
    sight = stored.kept(Sights).look(found)
    assert stored.kept(Sights).known(replace(found, sections=())) is None
    assert stored.kept(Sights).known(replace(found, organization="fabrikam")) is None
    assert stored.kept(Sights).known(found) is sight
    monkeypatch.setattr(sights.time, "time", lambda: sight.at + KEPT)
    assert stored.kept(Sights).known(found) is None


def test_what_is_kept_is_bounded(stored, monkeypatch):
    monkeypatch.setattr(sights, "_MOST", 2)
    found = publication_of(stored, TENANT, "*.branch.example")
    for number in range(5):
        stored.kept(Sights).look(replace(found, domain=f"*.{number}.example"))
    assert len(stored.kept(Sights)._known) <= 2


def test_too_many_at_a_time_are_told_to_wait_and_the_place_is_given_back(stored, monkeypatch):
    monkeypatch.setattr(sights, "_PATIENCE", 0.01)
    many = Sights(stored.settings)
    found = publication_of(stored, TENANT, "*.branch.example")
    for _ in range(sights._AT_A_TIME):
        many._limit.take("")
    with pytest.raises(Refusal) as refused:
        many.look(found)
    assert refused.value.kind is Kind.CONFLICT
    many._limit.release("")
    for _ in range(3):
        many.look(found)
    assert many.known(found) is not None


def test_a_look_that_fails_gives_its_place_back(stored, monkeypatch):
    def failing(*_):
        raise Refusal(Kind.INPUT, "[dns]: no resolver")

    monkeypatch.setattr(sights, "_findings", failing)
    many = Sights(stored.settings)
    found = publication_of(stored, TENANT, "*.branch.example")
    for _ in range(2 * sights._AT_A_TIME):
        with pytest.raises(Refusal, match="no resolver"):
            many.look(found)
    assert many.known(found) is None
