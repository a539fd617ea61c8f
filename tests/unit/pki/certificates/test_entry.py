from __future__ import annotations

import json

import pytest

from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State, document_of, entry_id, entry_of
from gatepost.values import replace

LEAF = read_identity(ServerIdentity(*Authority("Root").issue(["mx.contoso.example", "192.0.2.1"]))).leaf
PLAIN = Entry(entry_id(LEAF), LEAF)
ENTRIES = {
    "staged": PLAIN,
    "with everything": replace(
        PLAIN,
        purpose=Purpose.CLIENT,
        organization="contoso",
        label="to the bank",
        state=State.DEPRECATED,
        origin=Origin.FILES,
        key_file="/etc/k.pem",
        chain_file="/etc/c.pem",
        added=1.5,
        since=2.5,
        current_from=3.5,
        current_until=4.5,
        switch_at=5.5,
        replaces=("0011223344556677",),
        must_staple=True,
        told=("bank.example",),
        forced="the old one was stolen",
        held="tlsa: wait",
    ),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_what_is_stored_comes_back(entry):
    document = json.loads(json.dumps(document_of(entry)))
    assert entry_of(entry.id, document) == entry


def test_the_id_is_the_thumbprint_shortened():
    assert LEAF.sha256.startswith(PLAIN.id)
    assert len(PLAIN.id) == 16
    assert PLAIN.key_family == "EC"


@pytest.mark.parametrize(
    "spoilt",
    [{"leaf": {}}, {"state": "unheard-of"}, {"purpose": None}, {"leaf": None}, {"origin": 7}],
    ids=lambda one: next(iter(one)),
)
def test_what_another_version_stored_is_told_apart(spoilt):
    with pytest.raises(ValueError, match=r"stored in a form that this version|is not a valid"):
        entry_of(PLAIN.id, document_of(PLAIN) | spoilt)
