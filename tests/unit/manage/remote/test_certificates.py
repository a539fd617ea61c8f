from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.manage.remote import certificates
from gatepost.manage.use_cases import certificates as here
from gatepost.manage.use_cases.certificate_intake import add_certificate
from gatepost.manage.use_cases.certificate_requests import request_certificate
from gatepost.manage.use_cases.certificates import entry_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import Origin, Purpose, State
from gatepost.pki.certificates.request import Wish

from .conftest import OWNER, ROOT, new_certificate


def test_an_inventory_is_the_same(safe, sealed):
    add_certificate(sealed, OWNER, new_certificate())
    add_certificate(sealed, OWNER, new_certificate(note="again"))
    client = new_certificate(ROOT.issue(["c.example"]), client=True, organization="contoso", label="to-bank")
    add_certificate(sealed, OWNER, client)
    request_certificate(sealed, OWNER, Wish(("mx.gate.example",), must_staple=True))
    found = certificates.everything(safe)
    assert found == here.everything(sealed, OWNER)
    assert len(found.entries) == 3
    assert found.requests[0].wish.must_staple
    assert certificates.change_records(safe, 3) == here.change_records(sealed, OWNER, 3)
    number = found.entries[0].id
    assert certificates.details(safe, number[:6]) == here.details(sealed, OWNER, number[:6])


def test_every_field_of_an_entry_comes_back(sealed):
    entry = add_certificate(sealed, OWNER, new_certificate()).entry
    leaf = replace(entry.leaf, dns_names=("a.example", "b.example"), ip_addresses=("192.0.2.1", "2001:db8::1"))
    full = replace(
        entry,
        leaf=leaf,
        purpose=Purpose.CLIENT,
        organization="o",
        label="l",
        state=State.DEPRECATED,
        origin=Origin.FILES,
        key_file="/k",
        chain_file="/c",
        since=2.0,
        current_from=3.0,
        current_until=4.0,
        switch_at=5.0,
        replaces=("x",),
        must_staple=True,
        told=("y.example",),
        forced="f",
        held="h",
    )
    assert certificates.entry_of(entry_record(full, 0.0)) == full


@pytest.mark.parametrize("number", ["nothing", "no/such?one", "", "..", "ab"])
def test_none_of_that_name(safe, sealed, number):
    for refusing in (lambda: certificates.details(safe, number), lambda: here.details(sealed, OWNER, number)):
        with pytest.raises(Refusal, match="certificate list") as refused:
            refusing()
        assert refused.value.kind is Kind.MISSING


def test_a_label_that_is_no_part_of_a_path(safe, sealed):
    client = new_certificate(ROOT.issue(["c.example"]), client=True, organization="contoso", label="to/bank")
    number = add_certificate(sealed, OWNER, client).entry.id
    assert certificates.details(safe, "to/bank")["id"] == number


def test_history_over_several_pages(safe, sealed, monkeypatch):
    for _ in range(3):
        add_certificate(sealed, OWNER, new_certificate())
    monkeypatch.setattr("gatepost.manage.remote.connection._PAGE", 2)
    assert certificates.change_records(safe, 50) == here.change_records(sealed, OWNER, 50)
    assert len([one for one in safe.calls if "certificate_history" in one]) == 2
