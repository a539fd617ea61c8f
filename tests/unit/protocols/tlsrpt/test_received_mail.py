from __future__ import annotations

import encodings
import gzip
import time
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.tlsrpt.received import MAX_MAIL, ReportError, report_part

PACKED = gzip.compress(b'{"report-id":"1"}', mtime=0)


def mail(*parts: tuple[str, str, bytes]) -> bytes:
    """kind, file name, octets of each part."""
    message = EmailMessage()
    message["From"] = "tlsrpt@partner.example"
    message["Subject"] = "Report Domain: contoso.example Submitter: partner.example Report-ID: <1@partner.example>"
    message["TLS-Report-Domain"] = "contoso.example"
    message.set_content("This is a report.")
    for kind, name, data in parts:
        main, _, sub = kind.partition("/")
        message.add_attachment(data, maintype=main, subtype=sub, filename=name or None)
    return message.as_bytes()


@pytest.mark.parametrize(
    "raw",
    [
        mail(("application/tlsrpt+gzip", "a!b!1!2.json.gz", PACKED)),
        mail(("application/tlsrpt+json", "", PACKED)),
        mail(("application/octet-stream", "A.JSON.GZ", PACKED)),
        mail(("application/zip", "x.zip", PACKED)),
        mail(("application/json", "other.json", b"no"), ("application/tlsrpt+gzip", "", PACKED)),
        b"Content-Type: application/tlsrpt+gzip\r\n\r\n" + PACKED.replace(b"\n", b"\n"),
        b"Content-Type: application/zip; name=R.ZIP\r\n\r\n" + PACKED,
    ],
    ids=range(7),
)
def test_where_a_report_may_be(raw: bytes) -> None:
    assert report_part(raw).rstrip(b"\n") == PACKED.rstrip(b"\n")


def test_a_made_up_charset_of_a_name_leaves_nothing_behind() -> None:
    before = set(encodings._cache)
    head = b"Content-Type: application/zip\r\nContent-Disposition: attachment; filename*=x-made-up'en'a%2Ezip\r\n\r\n"
    assert report_part(head + PACKED).rstrip(b"\n") == PACKED.rstrip(b"\n")
    assert set(encodings._cache) == before


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (mail(), "has no part with a TLS report"),
        (mail(("application/octet-stream", "virus.exe", PACKED)), "has no part"),
        (mail(("text/plain", "r.json", PACKED)), "has no part"),
        (b"Content-Type: application/zip\r\n\r\n" + PACKED, "has no part"),
        (mail(("application/tlsrpt+gzip", "", b"")), "has no part"),
        (b"", "has no part"),
        (b"x" * (MAX_MAIL + 1), "more than 2097152 octets"),
        (
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5000)),
            "more lines or parts than any",
        ),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\r\n" * 200_000, "more lines or parts than any"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\r" * 200_001, "more lines or parts than any"),
    ],
    ids=range(10),
)
def test_where_there_is_none(raw: bytes, why: str) -> None:
    with pytest.raises(ReportError, match=why):
        report_part(raw)


LONG = b";a" * 900_000


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: application/zip" + LONG + b"\r\n\r\n" + PACKED,
        b"Content-Type: application/zip\r\nContent-Disposition: attachment" + LONG + b"\r\n\r\n" + PACKED,
        b"X: y\rcontent-type: multipart/mixed" + (b";a" * 100 + b"\r\n\t") * 9000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-TYPE: multipart/x;\n\n " + b'";' * 900_000,
    ],
    ids=range(4),
)
def test_what_the_parser_would_take_minutes_for(raw: bytes) -> None:
    begun = time.thread_time()
    with pytest.raises(ReportError, match="describes a part has more than 2000 octets"):
        report_part(raw)
    assert time.thread_time() - begun < 2


def test_a_mime_structure_that_the_parser_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(_: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr("email.message_from_bytes", gives_up)
    with pytest.raises(ReportError, match="MIME structure cannot be read"):
        report_part(b"x")


@given(st.binary(max_size=300), st.sampled_from([b"", b"Content-Type: application/tlsrpt+gzip\r\n\r\n"]))
def test_any_octets_are_a_part_or_an_error(data: bytes, before: bytes) -> None:
    try:
        found = report_part(before + data)
    except ReportError:
        return
    assert isinstance(found, bytes)
