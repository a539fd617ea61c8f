from __future__ import annotations

import pytest
from cryptography import x509

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.certificate_requests import checked_wish, request_certificate
from gatepost.manage.use_cases.certificates import history, listing, request, request_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.request import KEY_TYPES, Wish

ANN = Principal("ann", frozenset({Scope.OWNER}))
NAME = "mx.gate.example"
CLIENT = {"purpose": Purpose.CLIENT, "organization": "contoso", "label": "to-bank"}

# names -> as they are written
NAMES = [
    (("MX.Gate.Example", NAME), (NAME,)),
    (("bücher.example",), ("xn--bcher-kva.example",)),
    (("*.gate.example", NAME), ("*.gate.example", NAME)),
]


@pytest.mark.parametrize(("names", "expected"), NAMES)
def test_names_are_written_once_and_as_a_certificate_bears_them(gateway, names, expected):
    assert checked_wish(gateway, Wish(names, must_staple=True)) == Wish(expected, must_staple=True)


# the wish, the kind of refusal, the field
WRONG = [
    (Wish((NAME,), "dsa"), Kind.INPUT, "key"),
    (Wish((NAME,), ""), Kind.INPUT, "key"),
    (Wish(()), Kind.INPUT, "names"),
    (Wish(("a b",)), Kind.INPUT, "names"),
    (Wish(("",)), Kind.INPUT, "names"),
    (Wish(("*",)), Kind.INPUT, "names"),
    (Wish((NAME, "x" * 64 + ".example")), Kind.INPUT, "names"),
    (Wish(("a.example\nb.example",)), Kind.INPUT, "names"),
    (Wish((NAME,), organization="contoso"), Kind.INPUT, "organization"),
    (Wish((), purpose=Purpose.CLIENT), Kind.INPUT, "organization"),
    (Wish((), purpose=Purpose.CLIENT, organization="nobody", label="x"), Kind.MISSING, None),
]


@pytest.mark.parametrize(("wish", "kind", "field"), WRONG)
def test_what_is_wrong_is_said_by_field_and_no_key_is_made(sealed, wish, kind, field):
    with pytest.raises(Refusal) as refused:
        request_certificate(sealed, ANN, wish)
    assert refused.value.kind is kind
    assert [one.path for one in refused.value.errors][:1] == ([field] if field else [])
    assert listing(sealed).requests == ()


@pytest.mark.parametrize("key", KEY_TYPES)
def test_what_is_sent_has_the_names_and_proves_the_key(sealed, key):
    waiting, csr = request_certificate(sealed, ANN, Wish((NAME, "mail.gate.example"), key))
    read = x509.load_pem_x509_csr(csr)
    assert read.is_signature_valid
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME, "mail.gate.example"]
    assert request(sealed, waiting.id) == (waiting, csr)
    assert request_record(waiting)["key"] == key
    (change,) = history(sealed, 9)
    assert (change.author, change.name, change.before) == ("ann", waiting.id, None)


def test_without_a_master_key_nothing_can_be_sealed(gateway):
    with pytest.raises(Refusal, match=r"no store\.master_key is set") as refused:
        request_certificate(gateway, ANN, Wish((NAME,)))
    assert refused.value.kind is Kind.INPUT
    assert listing(gateway).requests == ()


def test_a_client_identity_needs_no_name(sealed):
    waiting, csr = request_certificate(sealed, ANN, Wish((), **CLIENT))
    assert (waiting.wish.purpose, waiting.wish.label) == (Purpose.CLIENT, "to-bank")
    assert x509.load_pem_x509_csr(csr).is_signature_valid


def test_no_key_is_in_the_store_in_clear(sealed):
    request_certificate(sealed, ANN, Wish((NAME,)))
    for path in sealed.data.rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes()
