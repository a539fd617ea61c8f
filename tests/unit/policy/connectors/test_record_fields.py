from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gatepost.language import NAMES
from gatepost.policy.connectors import record_fields
from gatepost.policy.connectors.record_fields import (
    JournalFailuresTo,
    JournalTo,
    SendersByAddress,
    SkipIps,
    SkipLastIp,
)
from gatepost.policy.connectors.records import Organization, OutboundConnector
from gatepost.policy.connectors.values import AddressSenders, NoticeLanguage, QuarantineRelease

NUMBERS = [name for name in vars(record_fields) if name.startswith(("Max", "Messages", "Recip", "User", "Server"))]
SUITE = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"


def test_what_addresses_say() -> None:
    assert TypeAdapter(SkipIps).validate_python(["192.0.2.1/24", "2001:DB8::1"]) == ("192.0.2.0/24", "2001:db8::1")
    assert TypeAdapter(SkipLastIp).validate_python(True) is True
    assert TypeAdapter(SendersByAddress).validate_python("any") is AddressSenders.ANY


def test_names_are_kept_in_one_form() -> None:
    made = OutboundConnector.model_validate({"name": "c", "groups": ["x25519"], "cipher_suites": [SUITE.lower()]})
    assert (made.groups, made.cipher_suites) == (("X25519",), (SUITE,))


@pytest.mark.parametrize("fields", [{"groups": ["P-256"] * 101}, {"cipher_suites": [SUITE] * 101}, {"groups": "P-256"}])
def test_a_list_is_a_list_and_bounded(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutboundConnector.model_validate({"name": "c", **fields})


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_from_nothing_on(name):
    field = TypeAdapter(vars(record_fields)[name])
    assert field.validate_python(0) == 0
    for wrong in (-1, 1.5, "5", 100_000_000):
        with pytest.raises(ValidationError):
            field.validate_python(wrong)


def test_defaults_and_bounds() -> None:
    plain = Organization(name="a")
    assert (plain.quarantine_days, plain.quarantine_release, plain.quarantine_digest) == (
        30,
        QuarantineRelease.ADMINISTRATORS,
        False,
    )
    assert Organization.model_validate({"name": "a", "quarantine_release": "gateway"}).quarantine_release == "gateway"
    for days in (0, 31):
        with pytest.raises(ValidationError):
            Organization.model_validate({"name": "a", "quarantine_days": days})


def test_mail_is_written_in_each_language_that_there_is_a_catalogue_of():
    assert [str(language) for language in NoticeLanguage] == list(NAMES)


@pytest.mark.parametrize("field", [JournalTo, JournalFailuresTo])
def test_a_journal_has_an_address_or_none(field: object) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(field)
    assert adapter.validate_python("") == ""
    assert adapter.validate_python("Keep@O.example") == "Keep@o.example"
    with pytest.raises(ValidationError):
        adapter.validate_python("keep")
