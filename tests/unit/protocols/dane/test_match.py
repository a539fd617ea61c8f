from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.dane.match import Anchored, DaneFailure, Presented, Refusal, authenticate
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, Unusable, Usage, classify
from gatepost.protocols.tlsrpt.result import ResultType

LEAF, CA, ROOT = b"leaf", b"\x30\x02ca", b"\x30\x04root"
KEYS = {LEAF: b"leaf's key", CA: b"\x30\x03key", ROOT: b"\x30\x04kkkk"}
CHAIN = [Presented(certificate, KEYS[certificate]) for certificate in (LEAF, CA)]
DIGESTS = {0: bytes, 1: lambda part: hashlib.sha256(part).digest(), 2: lambda part: hashlib.sha512(part).digest()}


def record(numbers: str, certificate: bytes) -> Tlsa:
    usage, selector, matching = map(int, numbers.split())
    part = KEYS.get(certificate, certificate) if selector else certificate
    (found,) = (
        classify([bytes((usage, selector, matching)) + DIGESTS[matching](part)]).usable
        if matching
        else (Tlsa(Usage(usage), Selector(selector), MatchingType(matching), part),)
    )
    return found


def judge(*records: Tlsa, chain=CHAIN, outcome=None, left_out=0, unusable=()):
    """The verdict, and what path building was asked for."""
    asked = []

    def anchored(which, anchors):
        asked.append((str(which)[:5], list(anchors)))
        return outcome(which) if outcome else Anchored("a path")

    return authenticate(Records(records, unusable, left_out), chain, anchored), asked


def refusing(failure, why="why not"):
    return lambda which: Refusal(which, failure, why)


ALONE = [
    # one record -> satisfied, certificates that a path is asked for to (None: for no path)
    ("3 1 1", LEAF, True, None),
    ("3 1 2", LEAF, True, None),
    ("3 1 0", LEAF, True, None),
    ("3 0 1", LEAF, True, None),
    ("3 0 2", LEAF, True, None),
    ("3 0 0", LEAF, True, None),
    ("3 1 1", CA, False, None),  # DANE-EE is the server's own certificate, nothing above it
    ("3 0 0", CA, False, None),
    ("3 1 1", b"another", False, None),
    ("2 1 1", CA, True, [CA]),
    ("2 1 2", CA, True, [CA]),
    ("2 0 1", CA, True, [CA]),
    ("2 0 2", CA, True, [CA]),
    ("2 0 0", CA, True, [CA]),
    ("2 1 0", CA, True, [CA]),
    ("2 0 0", ROOT, True, [ROOT]),  # it brings what was not sent
    ("2 1 0", ROOT, True, []),  # a bare key
    ("2 0 1", ROOT, False, None),  # a digest of what was not sent
    ("2 1 1", LEAF, False, None),
    ("2 0 0", LEAF, False, None),
    ("2 1 0", LEAF, True, []),  # a bare key may have signed its own certificate
]


@pytest.mark.parametrize(("numbers", "certificate", "satisfied", "anchors"), ALONE)
def test_one_record(numbers, certificate, satisfied, anchors):
    one = record(numbers, certificate)
    verdict, asked = judge(one)
    assert verdict.authenticated is satisfied
    assert verdict.matched == (one if satisfied else None)
    assert verdict.failure is (None if satisfied else DaneFailure.TLSA_INVALID)
    assert asked == ([] if anchors is None else [(numbers, anchors)])
    assert [refusal.record for refusal in verdict.refusals] == ([] if satisfied else [one])


SETS = [
    # records -> the one that is satisfied
    ([("3 1 1", b"old"), ("3 1 1", LEAF)], 1),  # a rollover, RFC 7671 section 8.1
    ([("2 1 1", CA), ("3 1 1", LEAF)], 1),  # what needs no path comes first
    ([("2 1 1", CA), ("3 1 1", b"another")], 0),
    ([("2 1 1", b"another"), ("2 0 1", CA)], 1),
    ([("3 1 1", LEAF), ("3 1 2", b"another")], None),  # the strongest digest counts, RFC 7671 section 9
    ([("3 1 1", b"another"), ("3 1 2", LEAF)], 1),
    ([("3 1 1", LEAF), ("3 0 2", b"another")], 0),  # of another selector
    ([("3 1 1", LEAF), ("2 1 2", b"another")], 0),  # of another usage
    ([("3 1 0", LEAF), ("3 1 2", b"another")], 0),  # whole ones always count
    ([("3 1 1", b"one"), ("3 1 1", b"two")], None),
]


@pytest.mark.parametrize(("published", "expected"), SETS)
def test_a_set_needs_one(published, expected):
    records = [record(*one) for one in published]
    verdict, _ = judge(*records)
    assert verdict.matched == (None if expected is None else records[expected])


def test_all_certificates_with_the_key_may_be_the_anchor():
    renewed = Presented(b"renewed", KEYS[CA])
    _, asked = judge(record("2 1 1", CA), chain=[*CHAIN, renewed])
    assert asked == [("2 1 1", [CA, b"renewed"])]


def test_the_own_certificate_sent_twice_is_no_authority():
    for numbers in ("2 0 0", "2 0 1", "2 1 1"):
        assert not judge(record(numbers, LEAF), chain=[CHAIN[0], CHAIN[0]])[0].authenticated


def test_only_the_beginning_of_a_chain_is_looked_at():
    chain = [CHAIN[0], *[Presented(b"%d" % number, b"key %d" % number) for number in range(100)]]
    assert judge(record("2 0 1", b"8"), chain=chain)[0].authenticated
    assert not judge(record("2 0 1", b"9"), chain=chain)[0].authenticated
    assert judge(record("3 1 1", LEAF), chain=chain)[0].authenticated


TEXTS = [
    ([("3 1 1", b"x")], "the server's key is a different one"),
    ([("3 0 1", b"x")], "the server's certificate is a different one"),
    ([("2 1 1", b"x")], "no authority in the presented chain has this key"),
    ([("2 0 1", b"x")], "no authority in the presented chain has this certificate"),
    ([("2 1 1", LEAF)], "it names the server's own certificate"),
    ([("3 1 1", b"x"), ("3 1 1", b"y"), ("3 1 1", b"z")], "a different one; 2 more are not satisfied either"),
    ([("3 1 1", LEAF), ("3 1 2", b"x")], "passed over: a SHA2-512 digest is published"),
]


@pytest.mark.parametrize(("published", "words"), TEXTS)
def test_why_not(published, words):
    verdict, _ = judge(*[record(*one) for one in published])
    assert verdict.detail.startswith("the TLSA record ")
    assert words in verdict.detail


def test_who_publishes_many_authorities_that_are_not_sent_does_not_keep_us_busy():
    many = [Tlsa(Usage(2), Selector(1), MatchingType(0), b"\x30\x04%04d" % number) for number in range(30)]
    verdict, asked = judge(*many, outcome=refusing(DaneFailure.TLSA_INVALID))
    assert len(asked) == 20
    assert len(verdict.refusals) == 30
    assert verdict.refusals[-1].why.startswith("passed over: 20 records before it")
    sent, asked = judge(*many, record("2 0 1", CA), outcome=lambda which: (
        Anchored("a path") if which.matching else Refusal(which, DaneFailure.TLSA_INVALID, "no")
    ))  # fmt: skip
    assert sent.authenticated
    assert len(asked) == 21


def test_what_was_not_looked_at_is_told():
    assert judge(record("3 1 1", b"x"), left_out=400)[0].detail.endswith("a different one; 400 were not checked")


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (["tlsa-invalid", "certificate-expired"], "certificate-expired"),
        (["certificate-host-mismatch", "certificate-expired", "tlsa-invalid"], "certificate-host-mismatch"),
        (["tlsa-invalid", "tlsa-invalid"], "tlsa-invalid"),
    ],
)
def test_the_failure_nearest_to_success_is_told(failures, expected):
    records = [record("2 0 0", b"\x30\x01%d" % number) for number in range(len(failures))]
    outcomes = {
        one: refusing(DaneFailure(failure), failure)(one) for one, failure in zip(records, failures, strict=True)
    }
    verdict, _ = judge(*records, outcome=lambda which: outcomes[which])
    assert verdict.failure == expected
    assert verdict.detail.partition(": ")[2].startswith(expected)
    assert [refusal.why for refusal in verdict.refusals] == failures


def test_failures_are_words_of_rfc_8460():
    assert {str(failure) for failure in DaneFailure} < {str(result) for result in ResultType}


def test_nothing_presented_and_nothing_usable():
    verdict, _ = judge(record("3 1 1", LEAF), chain=[])
    assert (verdict.failure, verdict.detail) == (DaneFailure.TLSA_INVALID, "no certificate was presented")
    verdict, _ = judge(unusable=(Unusable("0 0 1", "why"),))
    assert verdict.failure is DaneFailure.TLSA_INVALID
    assert "no TLSA record can be used: 1 TLSA record" in verdict.detail


parts = st.sampled_from([LEAF, CA, ROOT, b"other"])
records = st.builds(
    lambda usage, selector, matching, part: record(f"{usage} {selector} {matching}", part),
    st.integers(2, 3),
    st.integers(0, 1),
    st.integers(0, 2),
    parts,
)


@given(st.lists(records, max_size=8), st.booleans())
def test_who_is_authenticated_shows_what_a_record_names(published, path):
    outcome = None if path else refusing(DaneFailure.CERTIFICATE_EXPIRED)
    verdict, _ = judge(*published, outcome=outcome)
    if verdict.matched is None:
        assert verdict.failure is not None
        assert len(verdict.refusals) == len(published)
    else:
        assert verdict.failure is None
        assert verdict.matched in published
        own = verdict.matched == record(f"3 {verdict.matched.selector.value} {verdict.matched.matching.value}", LEAF)
        assert own if verdict.matched.usage == 3 else path
