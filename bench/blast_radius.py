"""How long `apply --dry-run` and a rehearsal take over a large trace.

    .venv/bin/python bench/blast_radius.py [ROWS]

Writes a trace of so many rows (200,000 unless said) into a temporary directory, half of them of 300 peers that come
again and again, half each with facts of its own, and prints the rows a second of CPU time for: reading only, the report
of a rehearsal, deciding every row by two configurations. Real mail is of the first kind, the second is the worst case.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gatepost.analysis.rehearsal import blast_radius, rehearsal
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.store.interface import TraceFilter
from gatepost.store.sqlite.message_trace import scan_trace
from gatepost.store.sqlite.trace import write_events

PEERS = 300
BANK = {
    "name": "bank",
    "sender_domains": ["*"],
    "restrict_domains_to_certificate": True,
    "tls_sender_certificate_name": "*.d1.example",
}


def directory(*connectors: dict[str, Any]) -> Directory:
    """Contoso with these inbound connectors."""
    contoso = {"accepted_domain": [{"name": "contoso.example"}], "inbound_connector": list(connectors)}
    return Directory(parse({"organization": {"contoso": contoso}}))


def event(number: int, peer: int) -> TraceEvent:
    """A message of a peer, every other one over TLS with a certificate."""
    certificate = {"subject": f"CN=mail.d{peer}.example", "issuer": "CN=CA", "names": [f"mail.d{peer}.example"]}
    tls = {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384", "group": "X25519", "chain": "trusted"}
    return TraceEvent(
        at=time.time() - 3600 + number / 1000,
        event="RECEIVE",
        message=f"{number:016x}",
        organization="contoso",
        direction="incoming",
        session=f"{number:016x}",
        sender=f"user{number % 997}@d{peer}.example",
        recipient="ann@contoso.example",
        peer_address=f"10.{peer >> 16}.{peer >> 8 & 255}.{peer & 255}",
        connector="bank",
        tls=tls | {"certificate": certificate} if peer % 2 else {},
        detail={"configuration": 1, "basis": "none", "reasons": ["no on-premises connector knows the session"]},
    )


def measure(name: str, rows: int, run: Callable[[], object]) -> None:
    """Print how fast it is."""
    began = time.process_time()
    run()
    took = time.process_time() - began
    print(f"{name:42} {rows / took:12,.0f} rows/s")


def main(rows: int) -> None:
    """Make both traces and go over each."""
    random.seed(1)
    kinds: dict[str, Callable[[int], int]] = {
        "the same peers": lambda _: int(random.paretovariate(1)) % PEERS,
        "distinct": int,
    }
    subject = rehearsal.Subject("contoso", "bank", rule=False, ours=lambda organization, _: organization == "contoso")
    before, after = directory(), directory(BANK)
    for kind, peer in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder)
            write_events(trace, "0", [event(number, peer(number)) for number in range(rows // 2)])

            def scan(columns: tuple[str, ...], trace: Path = trace) -> Any:
                return scan_trace(trace, TraceFilter(), columns)

            measure(f"{kind}: read", rows // 2, lambda: sum(1 for _ in scan(blast_radius.COLUMNS)))
            measure(f"{kind}: rehearsal", rows // 2, lambda: rehearsal.inbound_report(scan(rehearsal.COLUMNS), subject))
            measure(
                f"{kind}: blast radius",
                rows // 2,
                lambda: blast_radius.blast_radius(scan(blast_radius.COLUMNS), before, after, "default"),
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
