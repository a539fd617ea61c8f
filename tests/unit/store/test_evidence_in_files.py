from __future__ import annotations

from gatepost.events.evidence.entry import Privacy
from gatepost.store.evidence_files import log_directory
from gatepost.store.evidence_in_files import EvidenceInFiles


def test_chains_and_heads_are_of_the_directory(tmp_path, logs):
    evidence = tmp_path / "evidence"
    log = EvidenceInFiles(evidence, "mx1")
    chain = log.worker_chain(3, privacy=Privacy(), signer=logs.signer)
    chain.append(logs.events(), logs.NOON)
    log.admin_chain(privacy=Privacy()).append(logs.events(), logs.NOON)
    heads = log.heads(signer=logs.signer)
    heads.sign_commands(logs.NOON)
    assert [head.day for head in heads.make(logs.NOON + logs.DAY)] == ["2026-11-18"]
    assert {path.name for path in log_directory(evidence).glob("*.log")} == {"2026-11-18.3.log", "2026-11-18.admin.log"}
    assert logs.good(evidence).heads == 1
    assert (log.name, log.directory) == (str(evidence), evidence)


def test_all_chains_that_lie_there_are_signed_at_the_end(tmp_path, logs):
    log = EvidenceInFiles(tmp_path / "evidence", "mx1")
    for writer in ("3", "admin"):
        logs.chain(log.directory, writer, signer=None).append(logs.events(), logs.NOON)
    log.sign_rest(logs.NOON, signer=logs.signer)
    assert logs.good(log.directory).unsigned == {}
