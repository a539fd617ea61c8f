from __future__ import annotations

import pytest

from gatepost.protocols.dmarc.discovery import DmarcRecord, parse_dmarc


def test_all_tags() -> None:
    text = b"v=DMARC1; p=Reject; sp=quarantine; np=none; adkim=S; aspf=s; psd=n; t=y; rua=mailto:x@a.example"
    assert parse_dmarc([b"v=spf1", text]) == DmarcRecord(
        "reject", "quarantine", "none", strict_dkim=True, strict_spf=True, psd="n", testing=True
    )


def test_defaults() -> None:
    assert parse_dmarc([b"v = DMARC1;p=none;sp=x;psd=x"]) == DmarcRecord("none")


def test_a_bad_policy_is_none_if_reports_are_wanted() -> None:
    assert parse_dmarc([b"v=DMARC1; p=x; rua=mailto:x@a.example"]) == DmarcRecord("none")
    assert parse_dmarc([b"v=DMARC1; p=x"]) is None
    assert parse_dmarc([b"v=DMARC1"]) is None


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b"v=DMARC1; p=none", b"v=DMARC1; p=reject"],
        [b"p=none; v=DMARC1"],
        [b"v=DMARC11; p=none"],
        [b"v=DMARC1; p=none; \xe4=1"],
        [b"v=DMARC1; p=none; x"],
        [b"v=DMARC1; p=none;" + b" " * 8192],
    ],
)
def test_no_record(texts: list[bytes]) -> None:
    assert parse_dmarc(texts) is None


def test_the_policy_for_a_domain() -> None:
    record = DmarcRecord("reject", "quarantine", "none")
    assert record.policy_for(own=True, exists=False) == "reject"
    assert record.policy_for(own=False, exists=True) == "quarantine"
    assert record.policy_for(own=False, exists=False) == "none"
    assert DmarcRecord("reject").policy_for(own=False, exists=False) == "reject"
