from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zipfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.tlsrpt.received import (
    MAX_PACKED,
    MAX_REPORT,
    ReceivedFailure,
    ReceivedPolicy,
    ReceivedReport,
    ReportError,
    parse_report,
    unpack,
)

# RFC 8460 appendix B.
EXAMPLE = {
    "organization-name": "Company-X",
    "date-range": {"start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z"},
    "contact-info": "sts-reporting@company-x.example",
    "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
    "policies": [
        {
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"],
                "policy-domain": "company-y.example",
                "mx-host": "*.mail.company-y.example",
            },
            "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
            "failure-details": [
                {
                    "result-type": "certificate-expired",
                    "sending-mta-ip": "2001:db8:abcd:0012::1",
                    "receiving-mx-hostname": "mx1.mail.company-y.example",
                    "failed-session-count": 100,
                },
                {
                    "result-type": "starttls-not-supported",
                    "sending-mta-ip": "2001:db8:abcd:0013::1",
                    "receiving-mx-hostname": "mx2.mail.company-y.example",
                    "receiving-ip": "203.0.113.56",
                    "failed-session-count": 200,
                    "additional-information": "https://reports.company-x.example/report_info?id=5065427c-23d3",
                },
                {
                    "result-type": "validation-failure",
                    "sending-mta-ip": "198.51.100.62",
                    "receiving-ip": "203.0.113.58",
                    "receiving-mx-hostname": "mx-backup.mail.company-y.example",
                    "failed-session-count": 3,
                    "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
                },
            ],
        }
    ],
}  # fmt: skip


def packed(**changes: Any) -> bytes:
    return json.dumps(EXAMPLE | changes).encode()


def policy(**changes: Any) -> dict[str, Any]:
    return {
        "policy": {"policy-type": "tlsa", "policy-domain": "Contoso.example"} | changes,
        "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
    }


def test_the_example_of_the_rfc() -> None:
    report = parse_report(packed())
    assert (report.organization, report.contact) == ("Company-X", "sts-reporting@company-x.example")
    assert (report.begin, report.end) == (1459468800.0, 1459555199.0)
    (one,) = report.policies
    assert (one.type, one.domain, one.passed, one.failed) == ("sts", "company-y.example", 5326, 303)
    assert one.mx_hosts == ("*.mail.company-y.example",)
    assert one.strings[1] == "mode: testing"
    assert [(each.result, each.sessions) for each in one.failures] == [
        ("certificate-expired", 100),
        ("starttls-not-supported", 200),
        ("validation-failure", 3),
    ]
    assert one.failures[2] == ReceivedFailure(
        "validation-failure", 3, "198.51.100.62", "mx-backup.mail.company-y.example", "", "203.0.113.58",
        "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"policy-string": '["3 1 1 ab","3 1 1 cd"]'}, ("3 1 1 ab", "3 1 1 cd")),  # Microsoft's
        ({"policy-string": "[no list"}, ("[no list",)),
        ({"policy-string": "3 1 1 ab"}, ("3 1 1 ab",)),
        ({"policy-string": []}, ()),
        ({}, ()),
        ({"policy-string": ["a\x1b[31m", "b" * 5000]}, ("a?[31m", "b" * 1200)),
        ({"policy-string": ["x"] * 200}, ("x",) * 100),
    ],
)
def test_lines_of_a_policy(said: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert parse_report(packed(policies=[policy(**said)])).policies[0].strings == expected


def test_what_is_not_said_is_empty_and_fields_of_others_are_passed_over() -> None:
    text = packed(policies=[policy()], **{"organization-name": None, "x-new": {"deep": [1]}})
    report = parse_report(text.replace(b"+00:00", b""))
    assert report == ReceivedReport(
        "", "sts-reporting@company-x.example", EXAMPLE["report-id"], 1459468800.0, 1459555199.0,
        (ReceivedPolicy("tlsa", "contoso.example", 1, 0),),
    )  # fmt: skip


def test_a_time_without_zone_is_utc() -> None:
    times = {"start-datetime": "2016-04-01T00:00:00", "end-datetime": "2016-04-02T01:59:59+02:00"}
    report = parse_report(packed(**{"date-range": times}))
    assert (report.begin, report.end) == (1459468800.0, 1459555199.0)


def failure(**changes: Any) -> dict[str, Any]:
    return {"result-type": "x", "failed-session-count": 1} | changes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"policies": None}, "not a TLS report: Expected `array`, got `null` - at `$.policies`"),
        ({"report-id": 5}, "at `$.report-id`"),
        ({"policies": [{}]}, "missing required field"),
        ({"policies": [policy() | {"failure-details": [{}]}]}, "missing required field"),
        ({"policies": [policy() | {"failure-details": [failure(**{"failed-session-count": -1})]}]}, "impossible"),
        ({"policies": [policy() | {"summary": {"total-failure-session-count": 1 << 60}}]}, "impossible"),
        ({"policies": [policy() | {"summary": {"total-failure-session-count": 10**30}}]}, "impossible"),
        ({"date-range": {"start-datetime": "yesterday", "end-datetime": "today"}}, "not a pair of"),
        ({"date-range": {"start-datetime": "0001-01-01T00:00:00+14:00", "end-datetime": "today"}}, "not a pair of"),
        ({"date-range": {"start-datetime": "2016-04-02T00:00Z", "end-datetime": "2016-04-01T00:00Z"}}, "ends before"),
        ({"date-range": {"start-datetime": "2016-04-01T00:00Z", "end-datetime": "2017-04-01T00:00Z"}}, "longer than"),
    ],
)  # fmt: skip
def test_what_is_no_report(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ReportError, match=r"^its? ") as raised:
        parse_report(packed(**changes))
    assert why in str(raised.value)


def test_more_than_is_kept_is_counted_as_left_out() -> None:
    details = {"failure-details": [failure()] * 3000}
    report = parse_report(packed(policies=[policy() | details] * 2 + [policy()] * 1000))
    assert len(report.policies) == 1000
    assert sum(len(one.failures) for one in report.policies) == 5000
    assert report.left_out == 1000 + 2


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return target.getvalue()


ENCRYPTED = bytearray(zipped(("r.json", b"{}")))
ENCRYPTED[6] |= 1
ENCRYPTED[ENCRYPTED.index(b"PK\x01\x02") + 8] |= 1
DAMAGED_LZMA = bytearray(zipped(("r.json", b"{}" * 100), method=zipfile.ZIP_LZMA))
DAMAGED_LZMA[DAMAGED_LZMA.index(b"r.json") + 16] ^= 0xFF
UNKNOWN = bytearray(zipped(("r.json", b"{}" * 100)))
UNKNOWN[8] = 99
UNKNOWN[UNKNOWN.index(b"PK\x01\x02") + 10] = 99


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        gzip.compress(b"{}"),
        zipped(("r.json", b"{}")),
        zipped(("d/", b""), ("d/r.json", b"{}"), ("other", b"x")),
        zipped(("r.json", b"{}"), method=zipfile.ZIP_STORED),
    ],
    ids=range(5),
)
def test_what_it_may_be_packed_in(data: bytes) -> None:
    assert unpack(data) == b"{}"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x" * (MAX_PACKED + 1), "more than 1048576 octets as it comes"),
        (gzip.compress(b"0" * (MAX_REPORT + 1)), "unpacked it has more than 4194304 octets"),
        (zipped(("bomb", b"0" * (MAX_REPORT + 1))), "unpacked it has more than 4194304 octets"),
        (gzip.compress(b"{}" * 1000)[:-12], "cut off"),
        (gzip.compress(b"{}" * 1000)[:10] + b"\xff" * 20, "damaged"),
        (b"\x1f\x8b" + b"\xff" * 10, "damaged"),
        (zipped(), "PK"),
        (zipped(("d/", b"")), "no file that can be read"),
        (bytes(ENCRYPTED), "no file that can be read"),
        (bytes(UNKNOWN), "no file that can be read"),
        (bytes(DAMAGED_LZMA), "no file that can be read"),
        (zipped(("bomb", b"0" * (4 * MAX_REPORT)), method=zipfile.ZIP_BZIP2), "no file that can be read"),
        (zipped(("r.json", b"{}" * 100))[:60], "archive is damaged"),
    ],
    ids=range(13),
)
def test_what_cannot_be_unpacked(data: bytes, why: str) -> None:
    if why == "PK":  # an empty archive has another beginning: it is JSON to us, and none
        with pytest.raises(ReportError):
            parse_report(unpack(data))
        return
    with pytest.raises(ReportError, match=why):
        unpack(data)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * MAX_REPORT,
        b'{"policies":' + b"[{}," * 1_000_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        packed(policies=[policy() | {"failure-details": [failure()] * 90_000}])[:MAX_REPORT],
        packed(policies=[policy(**{"policy-string": [""] * 1_000_000})])[:MAX_REPORT],
    ],
    ids=["deep", "empty objects", "passed over", "many failures", "many lines"],
)
def test_no_report_takes_much_memory(text: bytes) -> None:
    tracemalloc.start()
    try:
        parse_report(text)
    except ReportError:
        pass
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 40 << 20


def test_a_text_that_is_not_utf_8_is_no_report() -> None:
    with pytest.raises(ReportError, match="its JSON is not a TLS report"):
        parse_report(packed(**{"report-id": "here"}).replace(b"here", b"h\xa3re"))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(gzip.compress))
def test_octets_of_anybody_are_a_report_or_an_error(data: bytes) -> None:
    with suppress(ReportError):
        parse_report(unpack(data))
