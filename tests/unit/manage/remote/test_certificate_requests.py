from __future__ import annotations

import pytest
from cryptography import x509

from gatepost.manage.remote.certificate_requests import request_certificate
from gatepost.manage.use_cases import certificates
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.request import Wish

from .conftest import NAME


def test_a_key_waits_there(safe, sealed):
    made, csr = request_certificate(safe, Wish((NAME, NAME.upper()), must_staple=True))
    kept, pem = certificates.request(sealed, made.id)
    assert (made, csr) == (kept, pem)
    names = x509.load_pem_x509_csr(csr).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [NAME]
    client, _ = request_certificate(safe, Wish((), "ec-p384", Purpose.CLIENT, "contoso", "to-bank"))
    assert client.wish == Wish((), "ec-p384", Purpose.CLIENT, "contoso", "to-bank")
    tried, _ = request_certificate(safe, Wish((NAME,)), dry_run=True)
    with pytest.raises(Refusal):
        certificates.request(sealed, tried.id)


@pytest.mark.parametrize("wish", [Wish(()), Wish((NAME,), "dsa"), Wish((NAME,), organization="contoso")])
def test_what_is_refused(safe, wish):
    with pytest.raises(Refusal) as refused:
        request_certificate(safe, wish)
    assert refused.value.kind is Kind.INPUT


def test_without_a_master_key_nothing_waits(there):
    with pytest.raises(Refusal, match="master_key"):
        request_certificate(there, Wish((NAME,)))
