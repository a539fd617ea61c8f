"""Parse a TLS report sent to us, from gzip to values (RFC 8460 sections 4.4, 4.5, 5.3).

Called by `analysis.reports.tlsrpt_intake`. Pure. Whoever sends it is a stranger: what it may make us unpack and keep is
bounded here, what it says is cut and cleaned, and a report that is not one is an error with its place and reason. Where
real senders differ from the RFC without doubt about what they mean, it is taken: one string for a list, Microsoft's
list in one string, results of no registry.

A report that comes by mail is found in it first (section 5.3).
"""

from __future__ import annotations

import email
import email.errors
import io
import re
import zipfile
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.decoding import from_json, json_decoder

if TYPE_CHECKING:
    from email.message import Message


MAX_PACKED: Final = 1 << 20
"""Octets of a report as it comes: Google's for a large domain has a few thousand."""
MAX_REPORT: Final = 4 << 20
"""Octets of the JSON in it."""

_POLICIES: Final = 1000  # of one report that are kept
_FAILURES: Final = 5000  # in all
_LINES: Final = 100  # of a policy
_TEXT: Final = 255
_LONGEST: Final = 1200
_MOST: Final = 1 << 53
_DAYS: Final = 40 * 86_400  # of which a report may be about, in seconds
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
# Only of these can a part be unpacked: bzip2 and LZMA make hundreds of megabytes of a few hundred octets before the
# first of them comes out.
_ZIP_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class ReportError(Exception):
    """It is no report, or more than we take. The text may be shown to anybody."""


class ReceivedFailure(msgspec.Struct, frozen=True):
    """Sessions that failed for one reason. result: of RFC 8460 section 4.3 as a rule. "" stands for what is unsaid."""

    result: str
    sessions: int
    sending_address: str = ""
    mx_host: str = ""
    helo: str = ""
    receiving_address: str = ""
    reason: str = ""
    information: str = ""


class ReceivedPolicy(msgspec.Struct, frozen=True):
    """The reporter's observations under one policy. type: usually "tlsa", "sts" or "no-policy-found"."""

    type: str
    domain: str
    passed: int
    failed: int
    strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()
    failures: tuple[ReceivedFailure, ...] = ()


class ReceivedReport(msgspec.Struct, frozen=True):
    """A report (RFC 8460 section 4.4), cut to what is kept, its texts printable.

    begin, end: of the time it is about, in seconds since 1970. left_out: policies and failures that are not kept.
    """

    organization: str
    contact: str
    report_id: str
    begin: float
    end: float
    policies: tuple[ReceivedPolicy, ...]
    left_out: int = 0


def unpack(data: bytes) -> bytes:
    """The JSON of a report: gzip as the RFC has it, zip as some send it, or as it is. Raises ReportError."""
    if len(data) > MAX_PACKED:
        raise ReportError(f"it has more than {MAX_PACKED} octets as it comes")
    if data.startswith(_GZIP):
        result = _gunzipped(data)
    elif data.startswith(_ZIP):
        result = _unzipped(data)
    else:
        result = data
    if len(result) > MAX_REPORT:
        raise ReportError(f"unpacked it has more than {MAX_REPORT} octets")
    return result


def _gunzipped(data: bytes) -> bytes:
    made = zlib.decompressobj(wbits=31)
    try:
        result = made.decompress(data, MAX_REPORT + 1)
    except zlib.error:
        raise ReportError("its gzip data is damaged") from None
    if len(result) <= MAX_REPORT and not made.eof:
        raise ReportError("its gzip data is cut off")
    return result


def _unzipped(data: bytes) -> bytes:
    """The first file in it; what its directory claims about sizes is not believed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [zip_info for zip_info in archive.infolist() if not zip_info.is_dir()]
            if not members or members[0].flag_bits & 1 or members[0].compress_type not in _ZIP_METHODS:
                raise ReportError("its zip archive has no file that can be read")
            with archive.open(members[0]) as file:
                return file.read(MAX_REPORT + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, OSError):
        raise ReportError("its zip archive is damaged") from None


class _Range(msgspec.Struct, rename="kebab"):
    start_datetime: str
    end_datetime: str


class _Policy(msgspec.Struct, rename="kebab"):
    policy_type: str
    policy_domain: str = ""
    policy_string: list[str] | str = ""
    mx_host: list[str] | str = ""


class _Summary(msgspec.Struct, rename="kebab"):
    total_successful_session_count: int = 0
    total_failure_session_count: int = 0


class _Failure(msgspec.Struct, rename="kebab"):
    """Required fields are what keeps a report of a few megabytes from becoming millions of empty objects."""

    result_type: str
    failed_session_count: int
    sending_mta_ip: str | None = None
    receiving_mx_hostname: str | None = None
    receiving_mx_helo: str | None = None
    receiving_ip: str | None = None
    failure_reason_code: str | None = None
    additional_information: str | None = None


class _Applied(msgspec.Struct, rename="kebab"):
    policy: _Policy
    summary: _Summary
    failure_details: list[_Failure] | None = None


class _Report(msgspec.Struct, rename="kebab"):
    date_range: _Range
    policies: list[_Applied]
    report_id: str
    organization_name: str | None = None
    contact_info: str | None = None


_decode = json_decoder(_Report)


def parse_report(text: bytes) -> ReceivedReport:
    """Parse the JSON of a report. Raises ReportError."""
    try:
        report = _decode(text)
    except msgspec.DecodeError as error:
        raise ReportError(f"its JSON is not a TLS report: {_cleaned(str(error), _TEXT)}") from None
    begin, end = _moment(report.date_range.start_datetime), _moment(report.date_range.end_datetime)
    if not 0 <= end - begin <= _DAYS:
        raise ReportError("its date-range ends before it begins, or is longer than forty days")
    policies, left_out = _policies(report.policies)
    return ReceivedReport(
        _cleaned(report.organization_name or ""),
        _cleaned(report.contact_info or ""),
        _cleaned(report.report_id),
        begin,
        end,
        policies,
        left_out,
    )


def _policies(applied: list[_Applied]) -> tuple[tuple[ReceivedPolicy, ...], int]:
    room = _FAILURES
    kept = []
    left_out = max(len(applied) - _POLICIES, 0)
    for policy in applied[:_POLICIES]:
        details = policy.failure_details or []
        left_out += max(len(details) - room, 0)
        failures = tuple(map(_failure, details[:room]))
        room -= len(failures)
        kept.append(
            ReceivedPolicy(
                _cleaned(policy.policy.policy_type),
                _cleaned(policy.policy.policy_domain).lower(),
                _count(policy.summary.total_successful_session_count),
                _count(policy.summary.total_failure_session_count),
                _lines(policy.policy.policy_string),
                _lines(policy.policy.mx_host),
                failures,
            )
        )
    return tuple(kept), left_out


def _failure(failure: _Failure) -> ReceivedFailure:
    texts = (
        failure.sending_mta_ip, failure.receiving_mx_hostname, failure.receiving_mx_helo, failure.receiving_ip,
        failure.failure_reason_code, failure.additional_information,
    )  # fmt: skip
    cleaned = [_cleaned(text or "") for text in texts]
    return ReceivedFailure(_cleaned(failure.result_type), _count(failure.failed_session_count), *cleaned)


def _lines(value: list[str] | str) -> tuple[str, ...]:
    """The lines of a policy. One string is one line; if it holds a list (Microsoft's TLSA records), that is meant."""
    if isinstance(value, str):
        value = _within(value) if value.startswith("[") else [value]
    return tuple(_cleaned(line, _LONGEST) for line in value[:_LINES] if line)


def _within(text: str) -> list[str]:
    try:
        return from_json(text, list[str])
    except msgspec.DecodeError:
        return [text]


def _moment(text: str) -> float:
    """RFC 3339; a time without zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ReportError("its date-range is not a pair of times (RFC 3339)") from None


def _count(number: int) -> int:
    if not 0 <= number <= _MOST:
        raise ReportError("it counts sessions with an impossible number")
    return number


def _cleaned(text: str, most: int = _TEXT) -> str:
    """Printable and not too long: it will be shown in terminals and pages."""
    return "".join(character if character.isprintable() else "?" for character in text[:most])


MAX_MAIL: Final = 2 << 20
"""Octets of a mail that is looked into: a report of the size that is taken, in base64, fits."""

_KINDS: Final = frozenset({"application/tlsrpt+gzip", "application/tlsrpt+json"})
# What others have sent reports as; the name of the file then must say what it is.
_OTHERS: Final = frozenset(
    {
        "application/gzip", "application/x-gzip", "application/json", "application/octet-stream", "application/zip",
        "application/x-zip-compressed",
    }
)  # fmt: skip
_SUFFIXES: Final = (".json", ".json.gz", ".gz", ".zip")
# The parser holds each line against the boundary of each part that it is in, 2 us a pair: a stranger who writes much of
# both would keep it busy for minutes. A report in base64 has 20,000 lines, JSON as people write it twice as many.
_LINE_ENDS: Final = 200_000  # CR and LF, each for one
_BOUNDARIES: Final = 20
# Its time for the parameters of a field grows with the square of their length: for two megabytes of them it is minutes.
# What follows a bare CR is a field to it, too.
_DESCRIBING: Final = re.compile(
    rb"(?:\A|(?<=[\r\n]))content-(?:type|disposition):[^\r\n]*(?:[\r\n]+[ \t][^\r\n]*)*", re.IGNORECASE
)
_FIELD: Final = 2000  # octets of one that describes a part, folded as it may be


def report_part(mail: bytes) -> bytes:
    """The octets of the report in a mail (RFC 8460 section 5.3), as they are packed. Raises ReportError without one."""
    if len(mail) > MAX_MAIL:
        raise ReportError(f"the mail has more than {MAX_MAIL} octets")
    if mail.count(b"\n") + mail.count(b"\r") > _LINE_ENDS or mail.lower().count(b"boundary") > _BOUNDARIES:
        raise ReportError("the mail has more lines or parts than any that brings a report")
    if any(len(field[0]) > _FIELD for field in _DESCRIBING.finditer(mail)):
        raise ReportError(f"a field of the mail that describes a part has more than {_FIELD} octets")
    try:
        parts = [part for part in email.message_from_bytes(mail).walk() if not part.is_multipart()]
        message = next((part for part in parts if part.get_content_type() in _KINDS), None)
        message = message or next((part for part in parts if _is_file(part)), None)
        payload = message.get_payload(decode=True) if message is not None else None
    except (RecursionError, ValueError, LookupError, TypeError, email.errors.MessageError):
        raise ReportError("the mail's MIME structure cannot be read") from None
    if not isinstance(payload, bytes) or not payload:
        raise ReportError("the mail has no part with a TLS report")
    return payload


def _is_file(part: Message) -> bool:
    return part.get_content_type() in _OTHERS and _file_name(part).lower().endswith(_SUFFIXES)


def _file_name(part: Message) -> str:
    """Its octets as they stand there: Python would keep each charset that a stranger makes up for a name (RFC 2231)."""
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        name = part.get_param(parameter, "", header)
        if name:
            return name[2] if isinstance(name, tuple) else name
    return ""
