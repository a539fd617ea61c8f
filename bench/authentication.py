"""CPU of authenticating one message of others, with one RSA-2048 signature; the DNS is a table.

    .venv/bin/python bench/authentication.py

Prints milliseconds of CPU a message by the size of its body. What the DNS itself costs is in `net.lookups.dns`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import dns.rdata

from gatepost.mail.inbound.authentication import Arrival, Authenticator
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.pki.certificates.dkim_keys import DkimSigner, made_key, read_key
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.protocols.dkim.canonical import RelaxedBody
from gatepost.protocols.dkim.fields import chosen_fields, split_fields
from gatepost.protocols.dkim.signature import Signature
from gatepost.protocols.smtp.grammar import parse_path

SIZES = {5_000: 200, 1_000_000: 10, 20_000_000: 2}  # octets, and how often
CHUNK = 256 << 10
LINE = b"0123456789 abcdef ghijklmnop qrstuvwxyz 0123456789 abcdef\r\n"


class Table:
    """Answers TXT questions from a dictionary."""

    def __init__(self, records: dict[str, str]) -> None:
        self._records = records

    async def query(self, name: str, _kind: str) -> DnsAnswer:
        """As `Resolver.query`."""
        text = self._records.get(name)
        if text is None:
            return DnsAnswer(DnsStatus.NXDOMAIN, (), False, 0, (name,))
        pieces = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
        return DnsAnswer(DnsStatus.OK, (dns.rdata.from_text("IN", "TXT", pieces),), False, 0, (name,))


async def measured(authenticator: Authenticator, content: bytes, times: int) -> float:
    """Seconds of CPU a message."""
    head = content.partition(b"\r\n\r\n")[0] + b"\r\n"

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(content), CHUNK):
            yield content[at : at + CHUNK]

    arrival = Arrival("192.0.2.7", "mx.b.example", parse_path("<x@b.example>", smtputf8=False), head, chunks)
    begun = time.process_time()
    for _ in range(times):
        report = await authenticator.authenticate(arrival)
        if [result.result for result in report.results] != ["pass", "pass", "pass", "none"]:
            raise SystemExit(f"it was not authenticated: {report}")
    return (time.process_time() - begun) / times


def signature(signer: DkimSigner, content: bytes) -> bytes:
    """A DKIM-Signature field for a message."""
    header, _, body = content.partition(b"\r\n\r\n")
    digest = hashlib.sha256()
    canonical = RelaxedBody(digest.update)
    canonical.feed(body)
    canonical.finish()
    fields = split_fields(header)
    made = Signature(signer.algorithm, "b.example", "s", chosen_fields(fields), digest.digest(), time.time())
    return made.completed(signer.sign(made.signed_octets(fields)))


def main() -> None:
    """Print a line for each size."""
    signer = read_key(made_key(DkimAlgorithm.RSA_SHA256))
    table: Any = Table(
        {
            "b.example": "v=spf1 ip4:192.0.2.7 -all",
            "s._domainkey.b.example": f"v=DKIM1; p={signer.public_key}",
            "_dmarc.b.example": "v=DMARC1; p=reject",
        }
    )
    for size, times in SIZES.items():
        content = b"From: x@b.example\r\nSubject: s\r\n\r\n" + LINE * (size // len(LINE))
        seconds = asyncio.run(measured(Authenticator(table), signature(signer, content) + content, times))
        print(f"{size:>11,} octets {seconds * 1000:8.2f} ms")


if __name__ == "__main__":
    main()
