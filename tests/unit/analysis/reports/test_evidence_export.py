from __future__ import annotations

import csv
import io
import json

import pytest

from gatepost.analysis.reports.evidence_export import (
    CSV_COLUMNS,
    Selection,
    Summary,
    chosen_segments,
    write_csv,
    write_json,
)
from gatepost.events.evidence.entry import AddressPrivacy, MessageIds, Privacy
from gatepost.events.evidence.proof import audit_export
from gatepost.pki.certificates.evidence_key import signature_check
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.store.evidence_files import EvidenceDirectory

TLS = {
    "version": "TLSv1.3",
    "suite": "TLS_AES_256_GCM_SHA384",
    "group": "X25519",
    "chain": str(ChainStatus.TRUSTED),
    "certificate": {
        "subject": "=CMD()",
        "issuer": "CN=CA",
        "names": ["mx.b.example"],
        "serial": "1",
        "sha256": "e1" * 32,
        "not_before": 0,
        "not_after": 2e9,
        "key": "EC-P-256",
    },
}


@pytest.fixture
def evidence(logs, tmp_path):
    """Three days: to b (by TLS), to sub.b and from c (in clear) on each; the first two days have heads."""
    chain = logs.chain(tmp_path)
    logs.keep_key(tmp_path)
    for day in range(3):
        at = logs.NOON + day * logs.DAY
        chain.append(
            [
                *logs.events(
                    at=at,
                    message=f"b{day}",
                    connector="Partner B",
                    requirement="authenticated(mx.b.example)",
                    achieved="none/authenticated",
                    tls=TLS,
                    reply="250 2.0.0 ok",
                    detail={"requirement_sources": ["connector Partner B", "dane mx.b.example"]},
                ),
                *logs.events(at=at, message=f"s{day}", recipient="x@Sub.B.example", achieved="none/none"),
                *logs.events(
                    at=at,
                    event="RECEIVE",
                    message=f"c{day}",
                    sender="x@c.example",
                    organization="fabrikam",
                    achieved="none",
                ),
                *logs.events(at=at, event="DRILL", message="", sender="", recipient="", connector="Partner B"),
            ],
            at,
        )
        chain.checkpoint(at)
    logs.heads(tmp_path).make(logs.NOON + 2 * logs.DAY)
    return tmp_path


def exported(evidence, selection):
    out = io.BytesIO()
    log = EvidenceDirectory(evidence)
    summary = write_json(out, log, selection, "mx1", chosen_segments(log, selection))
    return json.loads(out.getvalue()), summary


DAY = 86400.0
NOON = 1_795_003_200.0


@pytest.mark.parametrize(
    ("wanted", "messages"),
    [
        ({}, "b0 s0 c0 b1 s1 c1 b2 s2 c2"),
        ({"partner": "b.example"}, "b0 s0 c0 b1 s1 c1 b2 s2 c2"),  # c writes to somebody at b
        ({"partner": "sub.b.example"}, "s0 s1 s2"),
        ({"partner": "Sub.b.example., partner b"}, "b0 s0 b1 s1 b2 s2"),
        ({"partner": "nobody.example,"}, ""),
        ({"partner": "partner b"}, "b0 b1 b2"),
        ({"partner": "C.example."}, "c0 c1 c2"),
        ({"domain": "c.example"}, "c0 c1 c2"),
        ({"domain": "Sub.b.example"}, "s0 s1 s2"),
        ({"organization": "Fabrikam"}, "c0 c1 c2"),
        ({"message": "b1"}, "b1"),
        ({"since": NOON + DAY}, "b1 s1 c1 b2 s2 c2"),
        ({"until": NOON + DAY, "partner": "c.example"}, "c0 c1"),
        ({"since": NOON + DAY, "until": NOON + DAY, "domain": "c.example"}, "c1"),
        ({"partner": "nobody.example"}, ""),
        ({"address": "b@b.example"}, ""),  # addresses are not kept
    ],
)
def test_what_is_chosen(logs, evidence, wanted, messages):
    document, summary = exported(evidence, Selection(**wanted))
    audit = audit_export(document, signature_check([logs.pem]))
    found = [body["message"] for _, _, body in audit.chosen if "message" in body]
    assert " ".join(found) == messages
    assert (audit.faults.first, audit.unsigned) == ({}, 0)
    assert summary.messages == set(messages.split())
    assert summary.entries == audit.entries


def test_an_export_says_what_it_is(logs, evidence):
    document, summary = exported(evidence, Selection(partner="Partner B", since=NOON + DAY))
    assert document["selection"] == {"partner": "Partner B", "since": "2026-11-19T12:00:00.000000Z"}
    assert [one["id"] for one in document["keys"]] == [logs.signer.key]
    assert [one["day"] for one in document["heads"]] == ["2026-11-19"]
    assert (summary.entries, summary.first[:10], summary.last[:10]) == (4, "2026-11-19", "2026-11-20")
    assert summary.events == {"SEND": 2, "DRILL": 2}


def test_nothing_of_others_is_in_it(evidence):
    document, _ = exported(evidence, Selection(partner="partner b"))
    text = json.dumps(document)
    assert "c.example" not in text
    assert "fabrikam" not in text


def test_a_summary_counts_transfers_and_what_was_required(evidence):
    summary = Summary()
    for segment in chosen_segments(EvidenceDirectory(evidence), Selection()):
        summary.take(segment)
    assert summary.hops == {("sent", "authenticated"): 3, ("sent", "clear"): 3, ("received", "clear"): 3}
    assert summary.requirements["sent", "Partner B", "authenticated(mx.b.example)"] == 3
    assert summary.versions == {"TLSv1.3": 3, "unencrypted": 6}
    assert summary.unsigned == 0


def test_what_is_not_signed_yet_is_said(logs, evidence):
    logs.chain(evidence).append(logs.events(2, at=NOON + 2 * DAY), NOON + 2 * DAY)
    document, summary = exported(evidence, Selection(partner="b.example"))
    assert summary.unsigned == 2
    assert audit_export(document, signature_check([logs.pem])).unsigned == 2


def test_a_table_for_spreadsheets_has_no_formulas(evidence):
    out = io.StringIO()
    summary = write_csv(out, chosen_segments(EvidenceDirectory(evidence), Selection(partner="partner b")))
    names, *rows = csv.reader(io.StringIO(out.getvalue()))
    assert tuple(names) == CSV_COLUMNS
    assert len(rows) == summary.entries == 6
    row = dict(zip(names, rows[0], strict=True))
    assert row["certificate_subject"] == "'=CMD()"
    assert row["required_by"] == "connector Partner B; dane mx.b.example"
    assert (row["tls_version"], row["protection"], row["number"]) == ("TLSv1.3", "authenticated", "2")
    assert len(row["hash"]) == 64


@pytest.mark.parametrize(
    ("host", "cell"), [("mx;=CMD()", "mx;'=CMD()"), ("\uff1dCMD()", "'\uff1dCMD()"), ("mx;b", "mx;b")]
)
def test_a_name_in_a_table_is_no_formula_wherever_cells_end(logs, tmp_path, host, cell):
    logs.chain(tmp_path).append(logs.events(peer_host=host), NOON)
    out = io.StringIO()
    write_csv(out, chosen_segments(EvidenceDirectory(tmp_path), Selection()))
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert row["peer_host"] == cell


def test_a_table_says_by_whose_anchors_a_chain_is_trusted_and_who_would_have_refused(logs, tmp_path):
    """Else a row has a certificate that nobody trusts, and is authenticated all the same."""
    tls = {
        "version": "TLSv1.3",
        "chain": "chain-incomplete",
        "chains": {"/a.pem": {"status": "chain-incomplete"}, "SHA-256 ab": {"status": "trusted"}},
    }
    detail = {"basis": "certificate", "would_refuse_connector": "bank"}
    logs.chain(tmp_path).append(logs.events(event="RECEIVE", achieved="authenticated", tls=tls, detail=detail), NOON)
    out = io.StringIO()
    write_csv(out, chosen_segments(EvidenceDirectory(tmp_path), Selection()))
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert (row["chain"], row["chains"], row["basis"]) == (
        "chain-incomplete",
        "/a.pem: chain-incomplete; SHA-256 ab: trusted",
        "certificate",
    )
    assert row["would_refuse_connector"] == "bank"


def test_hashed_addresses_and_message_ids_are_found(logs, tmp_path):
    privacy = Privacy(AddressPrivacy.HASH, MessageIds.HASH)
    chain = logs.chain(tmp_path, privacy=privacy)
    chain.append(logs.events(message_id="<1@a.example>"), NOON)
    chain.append(logs.events(recipient="other@b.example"), NOON)
    for wanted in ({"address": "B@b.example"}, {"message": "<1@a.example>"}):
        assert exported(tmp_path, Selection(**wanted))[1].entries == 1


def test_whole_addresses_are_found(logs, tmp_path):
    logs.chain(tmp_path, privacy=Privacy(AddressPrivacy.FULL)).append(logs.events(), NOON)
    assert exported(tmp_path, Selection(address="B@B.example"))[1].entries == 1


def test_an_entry_without_a_time_is_not_chosen():
    assert not Selection().matches({"time": "yesterday"})
