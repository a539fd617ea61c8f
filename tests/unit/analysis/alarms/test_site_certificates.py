from __future__ import annotations

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.site_certificates import SiteCertificate, judge_site_certificates
from gatepost.language import in_language
from gatepost.sentences import ours

NOW = 1_800_000_000.0
WEEK, DAY = 604800.0, 86400.0
MX2 = "mx2.contoso.example"


def judged(age, **fields):
    return list(judge_site_certificates([SiteCertificate(MX2, NOW, NOW + WEEK, **fields)], NOW + age))


@pytest.mark.parametrize("age", [0.0, WEEK / 2, WEEK * 3 / 4])
def test_one_that_is_renewed_or_about_to_be(age):
    assert judged(age) == []


@pytest.mark.parametrize(
    ("age", "severity", "title"),
    [
        (WEEK * 3 / 4 + 1, Severity.ERROR, f"the node certificate of {MX2} is not renewed"),
        (WEEK - 1, Severity.ERROR, f"the node certificate of {MX2} is not renewed"),
        (WEEK, Severity.CRITICAL, f"the node certificate of {MX2} has expired"),
    ],
)
def test_one_that_is_not_renewed(age, severity, title):
    (found,) = judged(age)
    assert (found.kind, found.severity, found.about, found.title) == (Kind.SITE_CERTIFICATE, severity, MX2, title)
    assert "2027-01-22 08:00:00Z" in found.detail
    assert not found.kind.of_mail


@pytest.mark.parametrize(
    ("left", "severity", "title"),
    [
        (180, None, ""),
        (179.9, Severity.WARNING, "the authority of the site a-site ends"),
        (29.9, Severity.ERROR, "the authority of the site a-site ends"),
        (0, Severity.CRITICAL, "the authority of the site a-site has expired"),
    ],
)
def test_an_authority_that_ends_is_to_be_replaced_before(left, severity, title):
    root = SiteCertificate("a-site", NOW - 3650 * DAY, NOW, is_root=True)
    found = list(judge_site_certificates([root], NOW - left * DAY))
    assert [(alarm.severity, alarm.title) for alarm in found] == ([(severity, title)] if severity else [])
    for alarm in found:
        assert (alarm.kind, alarm.about) == (Kind.SITE_CERTIFICATE, "a-site CA")
        assert alarm.lines == ("gatepost site init --replace", "gatepost site root")
        assert "2027-01-15 08:00:00Z" in alarm.detail
        with in_language("de"):
            assert not {alarm.title, alarm.detail, alarm.fix} & {
                ours(t) for t in (alarm.title, alarm.detail, alarm.fix)
            }


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, [f"gatepost site token --for {MX2}", f"gatepost site nodes remove {MX2}"]),
        (
            {"is_here": True, "address": "mx1.contoso.example:8444"},
            [f"gatepost site token --for {MX2}", "gatepost site join mx1.contoso.example:8444 --token - --replace"],
        ),
        ({"is_here": True}, []),
    ],
)
def test_what_to_do_is_said_where_it_can_be_done(fields, lines):
    (found,) = judged(WEEK, **fields)
    assert list(found.lines) == ["gatepost site status", *lines]
    with in_language("de"):
        texts = [ours(text) for text in (found.title, found.detail, found.fix)]
    assert not {found.title, found.detail, found.fix} & set(texts)
