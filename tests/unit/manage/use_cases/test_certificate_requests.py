from __future__ import annotations

import pytest
from cryptography import x509
from tests.unit.manage.calls import run

from gatepost.manage.use_cases.certificate_requests import checked_spec, get_certificate_request, request_certificate
from gatepost.manage.use_cases.certificates import certificate_listing
from gatepost.manage.use_cases.inventory import history
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import CertificateRequestSpec, Purpose
from gatepost.pki.certificates.request import KEY_TYPES

NAME = "mx.gate.example"
CLIENT = {"client": True, "organization": "contoso", "label": "to-bank"}

# names -> as they are written
NAMES = [
    (("MX.Gate.Example", NAME), (NAME,)),
    (("bücher.example",), ("xn--bcher-kva.example",)),
    (("*.gate.example", NAME), ("*.gate.example", NAME)),
]


@pytest.mark.parametrize(("names", "expected"), NAMES)
def test_names_are_written_once_and_as_a_certificate_bears_them(gateway, names, expected):
    assert checked_spec(gateway, CertificateRequestSpec(names, must_staple=True)) == CertificateRequestSpec(
        expected, must_staple=True
    )


# the request, the kind of refusal, the field
WRONG = [
    ({"names": [NAME], "key": "dsa"}, RefusalKind.INPUT, "key"),
    ({"names": [NAME], "key": ""}, RefusalKind.INPUT, "key"),
    ({"names": []}, RefusalKind.INPUT, "names"),
    ({"names": ["a b"]}, RefusalKind.INPUT, "names"),
    ({"names": [""]}, RefusalKind.INPUT, "names"),
    ({"names": ["*"]}, RefusalKind.INPUT, "names"),
    ({"names": [NAME, "x" * 64 + ".example"]}, RefusalKind.INPUT, "names"),
    ({"names": ["a.example\nb.example"]}, RefusalKind.INPUT, "names"),
    ({"names": [NAME], "organization": "contoso"}, RefusalKind.INPUT, "organization"),
    ({"client": True}, RefusalKind.INPUT, "organization"),
    ({"client": True, "organization": "nobody", "label": "x"}, RefusalKind.MISSING, None),
]


@pytest.mark.parametrize(("given", "kind", "field"), WRONG)
def test_what_is_wrong_is_said_by_field_and_no_key_is_made(sealed, given, kind, field):
    with pytest.raises(Refusal) as refused:
        run(sealed, request_certificate, **given)
    assert refused.value.kind is kind
    assert [one.path for one in refused.value.errors][:1] == ([field] if field else [])
    assert certificate_listing(sealed).requests == ()


@pytest.mark.parametrize("key", KEY_TYPES)
def test_what_is_sent_has_the_names_and_proves_the_key(sealed, key):
    made = run(sealed, request_certificate, names=[NAME, "mail.gate.example"], key=key)
    read = x509.load_pem_x509_csr(made.csr.encode())
    assert read.is_signature_valid
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME, "mail.gate.example"]
    assert run(sealed, get_certificate_request, request=made.request.id) == made
    assert made.request.key == key
    (change,) = history(sealed, 9)
    assert (change.author, change.name, change.before) == ("ann", made.request.id, None)


def test_without_a_master_key_nothing_can_be_sealed(gateway):
    with pytest.raises(Refusal, match=r"no store\.master_key is set") as refused:
        run(gateway, request_certificate, names=[NAME])
    assert refused.value.kind is RefusalKind.INPUT
    assert certificate_listing(gateway).requests == ()


def test_a_client_identity_needs_no_name(sealed):
    made = run(sealed, request_certificate, **CLIENT)
    assert (made.request.purpose, made.request.label) == (Purpose.CLIENT, "to-bank")
    assert x509.load_pem_x509_csr(made.csr.encode()).is_signature_valid


def test_no_key_is_in_the_store_in_clear(sealed):
    run(sealed, request_certificate, names=[NAME])
    for path in sealed.data.rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes()
