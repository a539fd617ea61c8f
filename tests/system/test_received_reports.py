"""Proves that TLS reports of others come in by mail and over HTTPS, and are told beside the trace (RFC 8460).

A real gateway with a certificate; curl posts reports as the RFC has them, mail brings others, hostile ones among them.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.scenes import contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until

HOST = "mx1.contoso.example"
BOX = "tls-reports@contoso.example"


def report(name: str, domain: str = "contoso.example", **failure: Any) -> bytes:
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    details = [
        {"result-type": "certificate-expired", "failed-session-count": 2, "sending-mta-ip": "127.0.0.1"} | failure
    ]
    said = {
        "organization-name": "Partner Inc.",
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": "tls@partner.example",
        "report-id": name,
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": domain, "policy-string": ["version: STSv1"]},
                "summary": {"total-successful-session-count": 40, "total-failure-session-count": 2},
                "failure-details": details,
            }
        ],
    }
    return gzip.compress(json.dumps(said).encode())


def mail(data: bytes, kind: str = "tlsrpt+gzip") -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "tls@partner.example", BOX, "Report Domain: contoso.example"
    message.set_content("A report.")
    message.add_attachment(data, maintype="application", subtype=kind)
    return message.as_bytes().replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(pki: Pki, port: int) -> Iterator[Gateway]:
    resources = contoso(mailboxes=["ann@contoso.example"])
    resources["organization"]["contoso"]["mailbox"].append({"address": BOX, "tls_reports": True})
    settings = {"tls_reports": {"address": f"127.0.0.1:{port}"}}
    with Gateway(resources, certificates=[pki.leaf(HOST)], anchors=pki.root, settings=settings) as made:
        yield made


def curl(port: int, pki: Pki, data: Path, path: str = "/tls-reports") -> str:
    """The status of a POST, checked by curl with the name that the record would have."""
    need("curl")
    words = ["curl", "-sS", "--max-time", "20", "--cacert", pki.root, "--resolve", f"{HOST}:{port}:127.0.0.1"]
    words += ["-H", "Content-Type: application/tlsrpt+gzip", "--data-binary", f"@{data}", "-o", "/dev/null"]
    words += ["-w", "%{http_code}", f"https://{HOST}:{port}{path}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout


def reports(gateway: Gateway, *words: str) -> list[dict[str, Any]]:
    run = gateway.cli("report", "received", *words, json=True, expect=None)
    return run.data if run.status == 0 else []


@pytest.mark.long  # the inbox is looked through every 30 s
def test_reports_come_by_mail_and_over_https_and_hostile_ones_change_nothing(
    gateway: Gateway, pki: Pki, port: int, tmp_path: Path
) -> None:
    posted = {
        "good": (report("by-https"), "201"),
        "again": (report("by-https"), "201"),
        "junk": (b"\x1f\x8bjunk", "201"),
        "bomb": (gzip.compress(b"0" * (64 << 20)), "201"),
        "huge": (b"x" * (1 << 20) + b"x", "413"),
        "foreign": (report("elsewhere", "elsewhere.example"), "201"),
    }
    for name, (data, status) in posted.items():
        (tmp_path / name).write_bytes(data)
        assert curl(port, pki, tmp_path / name) == status, name
    assert curl(port, pki, tmp_path / "good", "/other") == "404"
    send(gateway.port, BOX, content=mail(report("by-mail")))
    send(gateway.port, BOX, content=mail(b"PK\x03\x04junk", "zip"))
    send(gateway.port, BOX, content=mail(b'{"a":' * 1000, "tlsrpt+json"))
    wait_until(lambda: [one["reports"] for one in reports(gateway)] == [2], "two reports", timeout=100)
    (one,) = reports(gateway)
    assert (one["reporter"], one["domain"], one["passed"], one["failed"]) == ("Partner Inc.", "contoso.example", 80, 4)
    wait_until(lambda: not list((gateway.data_dir / "tls-reports-inbox").iterdir()), "an empty inbox", timeout=100)
    for said in ("gzip data is damaged", "more than 4194304 octets", "about no domain of ours", "is there already"):
        assert said in gateway.log(), said
    told_beside_the_trace(gateway)


def told_beside_the_trace(gateway: Gateway) -> None:
    """The messages that brought the reports came from the address that the reports name."""
    wait_until(lambda: len(gateway.trace(event="RECEIVE")) == 3, "their rows of the trace")
    for failed in reports(gateway, "--failures"):
        assert failed["failure"]["sending_address"] == "127.0.0.1"
        assert failed["here"]["received"] == 3
