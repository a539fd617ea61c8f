from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

from gatepost.manage.remote.certificate_intake import add_certificate
from gatepost.manage.use_cases.certificate_requests import request_certificate
from gatepost.manage.use_cases.certificates import certificate, everything
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates import authority, request
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.request import Wish

from .conftest import NAME, OWNER, ROOT, new_certificate


def test_one_comes_in_with_its_key(safe, sealed):
    first = add_certificate(safe, new_certificate(note="by hand"))
    assert first.entry == certificate(sealed, first.entry.id).entry
    assert first.entry.state is State.CURRENT
    tried = add_certificate(safe, new_certificate(current=True), dry_run=True)
    assert [one.id for one in tried.deprecated] == [first.entry.id]
    second = add_certificate(safe, new_certificate(ROOT.issue(["other.example"]), current=True))
    assert any("own name" in one for one in second.warnings)


def test_one_for_a_key_that_waits_there(safe, sealed, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    monkeypatch.setitem(request.KEY_TYPES, "ec-p256", lambda: key)
    monkeypatch.setattr(authority, "_key", lambda _: key)  # an authority that signs what was asked for
    waiting, _ = request_certificate(sealed, OWNER, Wish((NAME,)))
    chain, _ = ROOT.issue([NAME])
    assert add_certificate(safe, new_certificate((chain, b""))).entry.state is State.CURRENT
    assert waiting.id not in [one.id for one in everything(sealed, OWNER).requests]


def test_a_bundle_with_a_password(safe):
    chain, key = ROOT.issue([NAME])
    leaf, *above = x509.load_pem_x509_certificates(chain)
    lock = BestAvailableEncryption(b"geheim")
    bundle = pkcs12.serialize_key_and_certificates(b"x", load_key(key, None), leaf, above, lock)
    with pytest.raises(Refusal) as refused:
        add_certificate(safe, new_certificate((bundle, b"")))
    assert [one.path for one in refused.value.errors] == ["password"]
    assert add_certificate(safe, new_certificate((bundle, b""), password=b"geheim")).entry.state is State.CURRENT
    locked = load_key(ROOT.issue([NAME])[1], None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
    with pytest.raises(Refusal, match=r"key\.pem"):
        add_certificate(safe, new_certificate((chain, locked), password=b"wrong"))


def test_what_is_wrong_is_said_by_the_file(safe):
    with pytest.raises(Refusal, match=r"^chain\.pem: no private key is in it"):
        add_certificate(safe, new_certificate((ROOT.issue([NAME])[0], b"")))
    with pytest.raises(Refusal, match=r"^chain\.pem: "):
        add_certificate(safe, new_certificate((b"nonsense", b"")))


def test_what_is_not_sent(safe):
    for given in (
        new_certificate(files=(Path("/etc/shadow"), Path("/etc/shadow"))),
        new_certificate((b"x" * 200_000, b"")),
    ):
        with pytest.raises(Refusal) as refused:
            add_certificate(safe, given)
        assert refused.value.kind is Kind.INPUT
    assert safe.calls == []
