from __future__ import annotations

from gatepost.store.evidence_files import EvidenceDirectory
from gatepost.store.evidence_log import read_heads


def test_heads_are_read_by_day(tmp_path, logs):
    evidence = tmp_path / "evidence"
    assert read_heads(EvidenceDirectory(evidence)).days == {}
    logs.chain(evidence).append(logs.events(), logs.NOON)
    (made,) = logs.heads(evidence).make(logs.NOON + logs.DAY)
    assert read_heads(EvidenceDirectory(evidence)).days == {"2026-11-18": made}
