from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.mtasts.policy import LintKind, StsMode, parse_policy
from gatepost.protocols.mtasts.publish import publish
from gatepost.protocols.mtasts.record import parse_record

OURS: dict[str, Any] = {
    "domain": "Contoso.example.",
    "mode": StsMode.ENFORCE,
    "mx": ["mx1.contoso.example"],
    "max_age": 604800,
}


def test_what_is_published() -> None:
    ours = publish(**OURS | {"mx": ["mx1.contoso.example", "*.Backup.example", "MX1.contoso.example."]})
    assert ours.domain == "contoso.example"
    assert ours.url == "https://mta-sts.contoso.example/.well-known/mta-sts.txt"
    assert ours.body == (
        b"version: STSv1\r\nmode: enforce\r\nmx: mx1.contoso.example\r\nmx: *.backup.example\r\nmax_age: 604800\r\n"
    )
    assert ours.zone_line == f'_mta-sts.contoso.example. IN TXT "v=STSv1; id={ours.record.id};"'
    assert parse_policy(ours.body) == ours.policy
    assert parse_record([[ours.record.text.encode()]]) == ours.record
    assert ours.remarks == ()


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"domain": "contoso.example"}, True),
        ({"hosts": ["elsewhere.example"]}, True),
        ({"mx": ["MX1.contoso.example."]}, True),
        ({"mode": StsMode.TESTING}, False),
        ({"mx": ["mx1.contoso.example", "mx2.contoso.example"]}, False),
        ({"max_age": 604801}, False),
    ],
)
def test_the_id_changes_exactly_when_the_policy_does(change: dict[str, Any], same: bool) -> None:
    one, other = publish(**OURS), publish(**OURS | change)
    assert (one.record == other.record) is same
    assert (one.body == other.body) is same


def test_the_id_is_the_same_in_every_process() -> None:
    assert publish(**OURS).record.id == "c0facb1ce45a0e688b68ca84badcf395"


def test_it_covers_the_hosts_of_the_domain() -> None:
    ours = publish(**OURS, hosts=["mx1.contoso.example.", "mx2.contoso.example."])
    assert [(one.kind, one.level) for one in ours.remarks] == [(LintKind.HOST_NOT_COVERED, "fail")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"domain": "*.contoso.example"}, "is not a domain"),
        ({"domain": "not a domain"}, "is not a domain"),
        ({"domain": ""}, "is not a domain"),
        ({"domain": ".".join(["a" * 60] * 4 + ["b"])}, "is too long: _mta-sts."),
        ({"mx": []}, "mode enforce without an mx"),
        ({"mx": ["mail.*.example"]}, "'mail.*.example' is neither a host name"),
        ({"mx": ["[192.0.2.1]"]}, "is neither a host name"),
        ({"mx": [f"mx{n}.example" for n in range(501)]}, "more than 500 mx"),
        ({"max_age": -1}, "max_age '-1' is not 0 to"),
        ({"max_age": 31_557_601}, "max_age '31557601' is not 0 to"),
    ],
)
def test_what_no_sender_could_use_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        publish(**OURS | change)


def test_mode_none_needs_no_mx() -> None:
    assert (
        publish(**OURS | {"mode": StsMode.NONE, "mx": []}).body
        == b"version: STSv1\r\nmode: none\r\nmax_age: 604800\r\n"
    )


@given(st.text(max_size=20), st.sampled_from(StsMode), st.lists(st.text(max_size=20), max_size=3), st.integers())
def test_what_is_published_can_be_read(domain: str, mode: StsMode, mx: list[str], max_age: int) -> None:
    try:
        ours = publish(domain, mode, mx, max_age)
    except ValueError:
        return
    assert parse_policy(ours.body) == ours.policy
