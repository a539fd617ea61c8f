from __future__ import annotations

import io

import pytest

from gatepost.analysis.reports import evidence_pdf as module
from gatepost.analysis.reports.evidence_export import Selection, chosen_segments
from gatepost.analysis.reports.evidence_pdf import Log, write_pdf
from gatepost.pki.certificates.evidence_key import public_key_id
from gatepost.store.evidence_files import EvidenceDirectory
from gatepost.store.evidence_keys import kept_keys
from gatepost.store.evidence_log import read_heads

CERTIFICATE = {
    "subject": "CN=мх.пример",
    "issuer": "CN=CA",
    "names": [],
    "serial": "1",
    "sha256": "e2" * 32,
    "not_before": 0,
    "not_after": 2e9,
    "key": "EC-P-256",
}


@pytest.fixture
def evidence(logs, tmp_path):
    chain = logs.chain(tmp_path)
    logs.keep_key(tmp_path)
    tls = {"version": "TLSv1.3", "group": "X25519", "chain": "trusted", "certificate": CERTIFICATE}
    chain.append(
        [
            *logs.events(30, achieved="none/authenticated", tls=tls, requirement="authenticated"),
            *logs.events(achieved="none/none", recipient="孙@例子.example", peer_host="<b>&amp;\ud800\x07"),
            *logs.events(event="RECEIVE", achieved="encrypted", tls=tls),
            *logs.events(event="DRILL", message="", sender="", recipient="", reply="drill passed"),
        ],
        logs.NOON,
    )
    chain.checkpoint(logs.NOON)
    logs.heads(tmp_path).make(logs.NOON + logs.DAY)
    return tmp_path


def written(evidence, selection=None, **options):
    selection = selection or Selection()
    out = io.BytesIO()
    keys = [public_key_id(one) for one in kept_keys(evidence)]
    log = Log("mx1.contoso.example", keys, list(read_heads(EvidenceDirectory(evidence)).days.values()))
    summary = write_pdf(out, log, selection, chosen_segments(EvidenceDirectory(evidence), selection), **options)
    return out.getvalue(), summary


def test_a_document_is_written_whatever_the_letters(logs, evidence):
    chosen = Selection(partner="b.example", since=logs.NOON - 1, until=logs.NOON + 1)
    data, summary = written(evidence, chosen, proof=("proof.json", "ab" * 32))
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert summary.entries == 31  # not that to a domain of other letters, nor the drill
    assert data.count(b"/Type /Page\n") > 1


def test_without_entries_there_is_a_document_too(evidence):
    data, summary = written(evidence, Selection(partner="nobody.example"))
    assert data.startswith(b"%PDF-")
    assert summary.entries == 0


def test_before_the_first_start_there_is_a_document_too(tmp_path):
    data, summary = written(tmp_path)
    assert data.startswith(b"%PDF-")
    assert summary.entries == 0


def test_many_entries_are_bounded(evidence, monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 5)
    few, summary = written(evidence)
    assert summary.entries == 33
    assert few.count(b"/Type /Page\n") < written(evidence)[0].count(b"/Type /Page\n") + 1


def test_what_the_font_lacks_is_named(monkeypatch):
    monkeypatch.setattr(module, "_FONTS", module._FONTS[-1:])
    print_ = module._Printer(*module._fonts())
    assert print_.plain("é\u5b59\x07\ud800") == "éU+5B59??"


def test_without_any_font_it_is_said(monkeypatch):
    monkeypatch.setattr(module, "_FONTS", (("/nowhere.ttf", "/nowhere.ttf"),))
    with pytest.raises(OSError, match="font"):
        module._fonts()


@pytest.mark.parametrize(
    ("basis", "shown"), [("certificate", "trusted"), ("sender", "untrusted-root"), ("", "untrusted-root")]
)
def test_a_certificate_by_which_a_connector_knew_the_client_is_trusted(basis, shown):
    """Whatever the gateway's own trust anchors say of it."""
    body = {"basis": basis, "chain": "untrusted-root", "certificate": CERTIFICATE}
    assert module._certificate(body).startswith(f"{shown}: ")
