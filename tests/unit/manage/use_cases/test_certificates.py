from __future__ import annotations

import time

import msgspec
import pytest
from tests.unit.manage.calls import add_entry, run

from gatepost.manage.use_cases.certificate_import import add_certificate
from gatepost.manage.use_cases.certificate_removal import remove_certificate
from gatepost.manage.use_cases.certificate_requests import get_certificate_request, request_certificate
from gatepost.manage.use_cases.certificates import (
    certificate,
    certificate_detail,
    certificate_of,
    chain_links,
    change_of,
    common_name,
    get_inventory,
    history,
    in_order,
    key_place,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import Origin, Purpose, State
from gatepost.store.changes import Change
from gatepost.values import replace

NAME = "mx.gate.example"
DAY = 86400.0


def test_all_that_there_is(sealed, root):
    server = add_entry(sealed, root)
    client = add_entry(sealed, root, "c.example", client=True, organization="contoso", label="to-bank")
    waiting = run(sealed, request_certificate, names=[NAME]).request
    found = run(sealed, get_inventory)
    assert {(one.id, one.purpose, one.label) for one in found.certificates} == {
        (server.id, "server", ""),
        (client.id, "client", "to-bank"),
    }
    assert found.requests == [waiting]
    assert run(sealed, get_certificate_request, request=waiting.id.upper()).request == waiting
    assert (found.directories, found.trouble) == ([], [])
    assert b"PRIVATE KEY" not in msgspec.json.encode(found)


def test_one_in_full(sealed, root):
    chain, key = root.issue([NAME])
    entry = certificate(
        sealed, run(sealed, add_certificate, chain=chain.decode(), key=key.decode()).certificate.id
    ).entry
    shown = certificate(sealed, entry.id[:8])
    assert (shown.entry, shown.chain) == (entry, chain)
    detail = certificate_detail(shown.entry, shown.chain, time.time())
    assert detail.tlsa == f"3 1 1 {entry.leaf.spki_sha256}"
    assert (detail.key_is, detail.days_left) == ("encrypted in the store", 89)
    assert [one.sha256 for one in detail.chain] == [entry.leaf.sha256]
    assert certificate_detail(shown.entry, b"", time.time()).chain == []
    assert key.splitlines()[1] not in msgspec.json.encode(detail)


@pytest.mark.parametrize("number", ["", "abc", "nothing", "0" * 64])
def test_what_is_not_there(sealed, root, number):
    add_entry(sealed, root)
    with pytest.raises(Refusal) as refused:
        certificate(sealed, number)
    assert refused.value.kind is RefusalKind.MISSING
    with pytest.raises(Refusal) as refused:
        run(sealed, get_certificate_request, request=number)
    assert refused.value.kind is RefusalKind.MISSING


def test_who_changed_what(sealed, root):
    first, second = add_entry(sealed, root, note="by hand"), add_entry(sealed, root)
    run(sealed, remove_certificate, certificate=second.id, note="a mistake")
    records = [change_of(one) for one in history(sealed, 9)]
    assert [(one.id, one.change) for one in records] == [
        (second.id, "removed"),
        (second.id, "added as next"),
        (first.id, "added as current"),
    ]
    assert {one.kind for one in records} == {"certificate"}
    assert (records[-1].author, records[-1].note, records[-1].names) == ("ann", "by hand", [NAME])
    assert [one.name for one in history(sealed, 1)] == [second.id]
    assert [one.name for one in history(sealed, 9, first.id)] == [first.id]
    assert history(sealed, 9, "none") == []


# before, after -> what was done
WHAT = [
    (None, {"state": "next"}, "added as next"),
    (None, {"names": ["a.example"]}, "added"),
    (None, None, "added"),
    ({"state": "next"}, None, "removed"),
    ({"state": "next"}, {"state": "current"}, "next -> current"),
    ({"state": "next", "label": "a", "note": ""}, {"state": "next", "label": "b", "note": "x"}, "changed label, note"),
    ({"state": "next"}, {"state": "next", "new": 1}, "changed new"),
]


@pytest.mark.parametrize(("before", "after", "what"), WHAT)
def test_what_a_change_did(before, after, what):
    assert change_of(Change(1, 2.0, "ann", "", "certificate_request", "x", before, after)).change == what


# document -> names
@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"leaf": {"dns_names": ["a.example"], "subject": "CN=b"}}, ["a.example"]),
        ({"leaf": {"dns_names": [], "subject": "CN=b"}}, ["CN=b"]),
        ({"names": ["c.example"]}, ["c.example"]),
        ({}, []),
    ],
)
def test_whose_names_a_change_bears(document, names):
    assert change_of(Change(1, 2.0, "ann", "", "certificate", "x", None, document)).names == names


def test_current_beside_next_beside_deprecated_and_the_newest_first(entry):
    made = [entry(f"{at}{state}", state=state, since=at) for at in (1.0, 2.0) for state in State]
    client = replace(made[0], id="client", purpose=Purpose.CLIENT)
    found = in_order([client, *made], Purpose.SERVER)
    order = [State.CURRENT] * 2 + [State.NEXT] * 2 + [State.DEPRECATED] * 2 + [State.RETIRED] * 2
    assert [one.state for one in found] == order
    assert [one.since for one in found] == [2.0, 1.0] * 4
    assert in_order([client, *made], Purpose.CLIENT) == [client]


# fields of an entry -> where its key is
KEYS = [
    ({"origin": Origin.UPLOAD}, "encrypted in the store"),
    ({"origin": Origin.UPLOAD, "state": State.RETIRED}, "not kept"),
    ({"origin": Origin.SETTINGS, "key_file": "/etc/hostname"}, "in its file /etc/hostname"),
    ({"origin": Origin.SETTINGS, "key_file": "/etc/no-such.key"}, "missing: /etc/no-such.key"),
    ({"origin": Origin.FILES}, "not kept"),
]


@pytest.mark.parametrize(("fields", "words"), KEYS)
def test_where_a_key_is(entry, fields, words):
    assert key_place(entry("a", **fields)) == words


def test_times_that_are_not_known_are_null(entry):
    one = certificate_of(entry("a"), 0.0)
    assert {one.added, one.since, one.current_from, one.current_until, one.switch_at} == {None}
    assert certificate_of(entry("a"), 1e11 + 1).days_left == -1, "it has expired"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CN=Test CA", "Test CA"),
        ("CN=outer,O=Contoso\\, Inc.", "outer"),
        ("O=Contoso", "O=Contoso"),
        ("no name at all", "no name at all"),
        ("", ""),
        ("CN=<b>,C=", "CN=<b>,C="),
    ],
)
def test_a_common_name_or_all_of_it(name, shown):
    assert common_name(name) == shown


@pytest.mark.parametrize(
    "chain", [b"", b"x", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_chain_of_nothing_or_of_what_is_none(chain):
    assert chain_links(chain) == []
