from __future__ import annotations

import time

import pytest

from gatepost.store.evidence_files import evidence_directory, log_directory


@pytest.fixture
def evidence(home, logs):
    """A log of today that is signed, and its key."""
    evidence = evidence_directory(home.data)
    logs.keep_key(evidence)
    chain = logs.chain(evidence)
    chain.append(logs.events(3), time.time())
    chain.checkpoint(time.time())
    return evidence


def test_a_log_that_is_what_was_signed_is_well(home, evidence):
    result = home.call("store", "check")
    assert "evidence log, last 2 days: verified\nall is well\n" in result.stdout


def test_a_log_that_nobody_signed_yet_is_told(home, logs):
    logs.chain(evidence_directory(home.data), signer=None).append(logs.events(), time.time())
    assert "not signed yet\nall is well\n" in home.call("store", "check").stdout


def test_a_log_that_was_altered_is_wrong(home, evidence):
    (log,) = log_directory(evidence).glob("*.log")
    log.write_bytes(log.read_bytes().replace(b"SEND", b"FAIL"))
    result = home.call("store", "check", code=1)
    assert "last 2 days: altered" in result.stdout
    assert "✗ evidence: changed: " in result.stdout


def test_a_log_with_a_key_that_is_not_known_is_not_well(home, evidence, logs):
    """Whoever has taken over a worker may write another log, and sign it with a key of his own."""
    (evidence / "keys" / f"{logs.signer.key[:16]}.pem").unlink()
    result = home.call("store", "check", code=3)
    assert "last 2 days: signed with a key that is not known here" in result.stdout
    assert "? evidence: key unknown: " in result.stdout
    assert "run: evidence verify" in result.stdout
    assert result.stdout.endswith("not all is well\n")
    assert home.json("store", "check", code=3)["whole"] is None
