from __future__ import annotations

import pytest
from cryptography import x509
from support.chains import Made, pem
from support.status_authority import StatusAuthority
from support.table_scene import AIA, CRL, HOST, INTERMEDIATE, OCSP, OLD, OLD_ROOT, ROOT, ROOTS, certificate, chain, der

from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.published import MAX_ROWS, Found, events
from gatepost.values import replace

RSA = certificate(kind="rsa", organization="Contoso Corporation")
EC = certificate(organization="Contoso Corporation")
NEXT = certificate()
BEFORE = certificate(OLD, organization="Contoso Corporation", unit="Mail")


@pytest.fixture(scope="module")
def whole(entry, table):
    return table(
        (entry(NEXT, State.NEXT, switch_at=900.0), chain(NEXT)),
        (entry(BEFORE, State.DEPRECATED, current_from=1.0, current_until=500.0), chain(BEFORE, OLD)),
        (entry(RSA, current_from=500.0), chain(RSA)),
        (entry(EC, current_from=600.0), chain(EC)),
        (entry(certificate(), State.RETIRED), b""),
        (entry(certificate(), purpose=Purpose.CLIENT, organization="contoso"), b""),
    )


def test_current_stands_before_next_and_deprecated(whole):
    found = [(row.state, row.columns.der, row.root, row.missing) for row in whole.rows]
    assert found == [
        (State.CURRENT, EC.der, "Test Root R1", ""),
        (State.CURRENT, RSA.der, "Test Root R1", ""),
        (State.NEXT, NEXT.der, "Test Root R1", ""),
        (State.DEPRECATED, BEFORE.der, "Old Root", ""),
    ]


def test_the_attributes_of_the_published_table(whole):
    current, old = whole.rows[1], whole.rows[3]
    columns = current.columns
    assert (columns.name, columns.organization, columns.organization_unit) == (HOST, "Contoso Corporation", "")
    assert columns.key_text == "RSA, 2048 bits"
    assert old.columns.organization_unit == "Mail"
    times = [(row.valid_from, row.valid_until, row.planned) for row in whole.rows]
    assert times == [(600.0, 0.0, 0.0), (500.0, 0.0, 0.0), (0.0, 0.0, 900.0), (1.0, 500.0, 0.0)]


def test_the_tlsa_records_are_for_mail_hosts(entry, table, whole):
    (current, *_) = whole.rows
    assert current.tlsa == (f"_25._tcp.{HOST}. IN TLSA 3 1 1 {current.columns.facts.spki_sha256}",)
    wild = certificate(names=("*.contoso.example", "contoso.example"))
    (row,) = table((entry(wild), chain(wild))).rows
    assert [one.partition(" ")[0] for one in row.tlsa] == [f"_25._tcp.{HOST}.", "_25._tcp.contoso.example."]
    (row,) = table((entry(wild), chain(wild)), hostname="mx.other.example").rows
    assert [one.partition(" ")[0] for one in row.tlsa] == ["_25._tcp.contoso.example."]


def test_authorities_are_shown_once_roots_first(whole):
    found = [(one.columns.name, one.is_root, one.sent, one.states) for one in whole.authorities]
    assert found == [
        ("Test Root R1", True, False, (State.CURRENT, State.NEXT)),
        ("Old Root", True, False, (State.DEPRECATED,)),
        ("Test CA G2", False, True, (State.CURRENT, State.NEXT)),
        ("Old CA", False, True, (State.DEPRECATED,)),
    ]
    assert [len(whole.roots), len(whole.intermediates)] == [2, 2]


# chain file, roots at hand -> root, missing issuer, names of authorities
OTHER, CA, R1 = der(StatusAuthority("Test Root R1")), "Test CA G2", "Test Root R1"
ROOT_NAME, CA_NAME = "CN=Test Root R1", "CN=Test CA G2"
PLACES = {
    "the root is in the store": ([INTERMEDIATE], ROOTS, R1, "", [R1, CA]),
    "the root is sent": ([INTERMEDIATE, ROOT], (), R1, "", [R1, CA]),
    "the root is nowhere": ([INTERMEDIATE], (), "", ROOT_NAME, [CA]),
    "another root of that name": ([INTERMEDIATE], (OTHER,), "", ROOT_NAME, [CA]),
    "nothing but the leaf": ([], ROOTS, "", CA_NAME, []),
    "the intermediate is in the store": ([], (*ROOTS, der(INTERMEDIATE)), R1, "", [R1, CA]),
    "what does not belong there": ([OLD, INTERMEDIATE], ROOTS, R1, "", [R1, "Old CA", CA]),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_the_root_is_found(name, entry, table):
    above, roots, root, missing, authorities = PLACES[name]
    pair = entry(EC), pem(EC.certificate, *(one.certificate for one in above))
    made = table(pair, roots=roots)
    (row,) = made.rows
    assert (row.root, row.missing) == (root, missing)
    assert [one.columns.name for one in made.authorities] == authorities
    shown = {one.columns.facts.sha256 for one in made.authorities}
    assert shown >= set(row.path)
    sent = {one.columns.name: one.sent for one in made.authorities}
    assert all(sent[name] for name in ("Test CA G2",) if name in sent and INTERMEDIATE in above)


def test_a_self_signed_certificate_is_its_own_root(entry, table):
    lone = StatusAuthority("lone.example")
    made = Made(lone.certificate, lone.key)
    found = table((entry(made), pem(lone.certificate)))
    assert (found.rows[0].root, found.rows[0].path) == ("lone.example", ())
    assert [(one.columns.name, one.is_root, one.sent) for one in found.authorities] == [("lone.example", True, True)]


def test_endpoints_and_what_a_firewall_must_let_out(whole):
    found = whole
    assert (found.endpoints("crl"), found.endpoints("ocsp"), found.endpoints("aia")) == ((CRL,), (OCSP,), (AIA,))
    assert found.firewall == (
        Found("crl.ca.example", 80, ("crl",)),
        Found("ocsp.ca.example", 80, ("ocsp",)),
        Found("secure.ca.example", 80, ("aia",)),
    )


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("http://a.example:8080/x", [("a.example", 8080)]),
        ("HTTP://A.example", [("a.example", 80)]),
        ("http://[::1/x", []),
        ("http:///x", []),
        ("http://a.example:99999/", []),
    ],
)
def test_addresses_that_nobody_can_call(url, places, entry, table):
    odd = StatusAuthority("Odd", crl=[url])
    made = certificate(odd)
    found = table((entry(made), pem(made.certificate, odd.certificate)))
    names = {(one.host, one.port) for one in found.firewall if one.purposes == ("crl",)}
    assert names - {("crl.ca.example", 80)} == set(places)


def test_a_chain_that_cannot_be_read_is_named(entry, table):
    found = table((entry(EC), b"nothing"), (entry(RSA), chain(RSA)))
    assert found.lost == (entry(EC).id,)
    assert [row.columns.der for row in found.rows] == [RSA.der]


def test_a_name_in_a_chain_that_cannot_be_read(entry, table):
    """It is read only when it is asked for, and then no page would be made at all."""
    broken = der(INTERMEDIATE).replace(CA.encode(), b"\xff" + CA.encode()[1:])
    found = table((entry(EC), pem(EC.certificate, x509.load_der_x509_certificate(broken))))
    assert found.lost == (entry(EC).id,)


def test_no_more_than_fifty_of_a_state_are_shown(entry, table):
    pairs = [
        (entry(EC, State.DEPRECATED, id=f"{number:016x}", current_until=float(number)), chain(EC))
        for number in range(MAX_ROWS + 3)
    ]
    found = table(*pairs, (entry(RSA), chain(RSA)))
    assert (len(found.rows), found.left_out) == (MAX_ROWS + 1, 3)
    assert found.rows[1].valid_until == MAX_ROWS + 2


# what happened


def test_events_are_changes_of_state_of_server_certificates(entry, change):
    one = entry(EC, State.NEXT)
    current = replace(one, state=State.CURRENT, current_from=200.0)
    client = replace(entry(RSA), purpose=Purpose.CLIENT)
    changes = [
        change(500.0, None, current),
        change(400.0, replace(current, told=("bank.example",)), current),
        change(300.0, client),
        change(200.0, current, one),
        change(100.0, one),
    ]
    assert [(it.at, it.state, it.before, it.name) for it in events(changes)] == [
        (200.0, State.CURRENT, State.NEXT, HOST),
        (100.0, State.NEXT, None, HOST),
    ]
    changes[3].after["state"] = "of another version"
    assert [it.at for it in events(changes)] == [100.0]


def test_changed_is_when_something_that_is_shown_did(entry, table, change):
    one = entry(EC, State.NEXT)
    planned, told = replace(one, switch_at=900.0), replace(one, switch_at=900.0, told=("bank.example",))
    first, second, third = change(100.0, one), change(200.0, planned, one), change(300.0, told, planned)
    assert table(changes=[third, second, first]).changed == 200.0
    assert table(changes=[change(400.0, None, told), third, second, first]).changed == 400.0
    assert table().changed == 0.0


def test_the_root_that_is_valid_is_taken(whole):
    assert OLD_ROOT.certificate.subject != ROOT.certificate.subject
    assert whole == replace(whole)
