from __future__ import annotations

import json

import pytest

from gatepost.protocols.tlsrpt.result import ResultType

# RFC 8460 section 4.3, and the IANA registry "STARTTLS Validation Result Types" it opens.
REGISTERED = [
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
]


def test_the_list_is_the_registry_and_closed() -> None:
    assert [result.value for result in ResultType] == REGISTERED


@pytest.mark.parametrize("value", REGISTERED)
def test_a_result_prints_reads_and_serializes_as_its_value(value: str) -> None:
    result = ResultType(value)
    assert str(result) == f"{result}" == value
    assert json.loads(json.dumps({"result-type": result})) == {"result-type": value}


@pytest.mark.parametrize("value", ["", "certificate_expired", "CERTIFICATE-EXPIRED", "tls-failed"])
def test_nothing_else_is_a_result(value: str) -> None:
    with pytest.raises(ValueError, match="is not a valid ResultType"):
        ResultType(value)
