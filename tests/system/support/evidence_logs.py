"""Evidence logs for tests of single modules, which get one from the fixture `logs`.

As `queue_site` it works with gatepost's own classes. It is not in `tests/unit/conftest.py` because most tests do
without what it imports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.analysis.reports.evidence_audit import LogAudit, audit_log
from gatepost.events.evidence.chain import Signer, key_id
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.pki.certificates.evidence_key import signature_check
from gatepost.store.evidence_chain import EvidenceChain
from gatepost.store.evidence_files import EvidenceDirectory, log_directory
from gatepost.store.evidence_in_files import EvidenceHeads


class EvidenceLogs:
    """Evidence logs on disk: chains signed with a key of their own, and whether all of it verifies."""

    DAY = 86400.0
    NOON = 1_795_003_200.0  # 2026-11-18 12:00 UTC

    def __init__(self) -> None:
        key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
        self.pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.signer = Signer(key_id(key.public_key().public_bytes_raw()), key.sign)

    def chain(self, evidence: Path, writer: str = "0", **options: Any) -> EvidenceChain:
        return EvidenceChain(evidence, writer, **{"node": "mx1", "signer": self.signer} | options)

    def heads(self, evidence: Path) -> EvidenceHeads:
        return EvidenceHeads(evidence, node="mx1", signer=self.signer)

    def events(self, count: int = 1, **fields: Any) -> list[TraceEvent]:
        given: dict[str, Any] = {"at": self.NOON, "event": "SEND", "message": "0abc", "organization": "contoso"}
        given |= {"direction": "originating", "session": "s", "sender": "a@a.example", "recipient": "b@b.example"}
        return [TraceEvent(**(given | fields)) for _ in range(count)]

    def three_days(self, evidence: Path, events: int) -> Path:
        """Of two writers: the first two days have heads, the first is compressed; the last is today, and signed."""
        for writer in ("0", "1"):
            chain = self.chain(evidence, writer)
            for day in range(3):
                chain.append(self.events(events, message=f"{writer}{day}"), self.NOON + day * self.DAY)
                chain.checkpoint(self.NOON + day * self.DAY)
        self.chain(evidence).end_day(self.NOON + self.DAY)
        self.heads(evidence).make(self.NOON + 2 * self.DAY)
        return evidence

    def keep_key(self, evidence: Path) -> None:
        """Where a gateway has its public key."""
        (evidence / "keys").mkdir(parents=True, exist_ok=True)
        (evidence / "keys" / f"{self.signer.key[:16]}.pem").write_bytes(self.pem)

    def audit(self, evidence: Path, **options: Any) -> LogAudit:
        return audit_log(EvidenceDirectory(evidence), signature_check([self.pem]), **options)

    def good(self, evidence: Path) -> LogAudit:
        """The log, which must be without a fault."""
        found = self.audit(evidence)
        assert found.faults.first == {}
        return found

    def names(self, evidence: Path) -> list[str]:
        return sorted(path.name for path in log_directory(evidence).iterdir() if not path.name.startswith("."))
