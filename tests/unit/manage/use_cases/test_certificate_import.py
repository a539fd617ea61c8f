from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key
from tests.unit.manage.calls import run

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import certificate_import, certificate_removal
from gatepost.manage.use_cases.certificate_import import add_certificate, watch_directory
from gatepost.manage.use_cases.certificate_requests import get_certificate_request, request_certificate
from gatepost.manage.use_cases.certificates import certificate, certificate_listing, key_place
from gatepost.manage.use_cases.inventory import history
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import Origin, Purpose, State

NAME = "mx.gate.example"


def new(pair, **more):
    chain, key = (one.decode() for one in pair)
    return {"chain": chain, "key": key, **more}


def refused(gateway, given):
    with pytest.raises(Refusal) as caught:
        run(gateway, add_certificate, **given)
    return caught.value


def test_the_first_is_current_and_the_second_is_staged(sealed, root):
    added = run(sealed, add_certificate, **new(root.issue([NAME]), note="by hand"))
    entry = added.certificate
    assert (entry.state, entry.origin, added.deprecated, added.warnings) == (State.CURRENT, Origin.UPLOAD, [], [])
    assert run(sealed, add_certificate, **new(root.issue([NAME]))).certificate.state == State.NEXT
    third = run(sealed, add_certificate, **new(root.issue([NAME]), current=True))
    assert (third.certificate.state, third.deprecated) == (State.CURRENT, [entry.id])
    assert [one.id for one in third.certificates] == [third.certificate.id, entry.id]
    assert [(one.author, one.note) for one in history(sealed, 9, entry.id)][-1] == ("ann", "by hand")


@pytest.fixture
def meanwhile(sealed, monkeypatch):
    """Whoever looks at the certificates in a module is overtaken once: somebody else changes something then."""

    def overtake(module):
        look, busy = module.listed_certificates, [1]

        def overtaken(*given):
            found = look(*given)
            for number in busy:
                with sealed.config() as store:
                    store.apply({"organization": {f"o{number}": {}}}, author="bob")
            busy.clear()
            return found

        monkeypatch.setattr(module, "listed_certificates", overtaken)

    return overtake


def test_what_others_change_meanwhile_is_in_nobodys_way(sealed, root, meanwhile):
    meanwhile(certificate_import)
    current = run(sealed, add_certificate, **new(root.issue([NAME]))).certificate
    assert current.state == State.CURRENT
    staged = run(sealed, add_certificate, **new(root.issue([NAME]))).certificate
    meanwhile(certificate_removal)
    removed = run(sealed, certificate_removal.remove_certificate, certificate=staged.id)
    assert removed.text == f"{staged.id}: removed"
    assert [one.id for one in certificate_listing(sealed).entries] == [current.id]


def test_a_dry_run_stores_nothing(sealed, root):
    added = run(sealed, add_certificate, dry_run=True, **new(root.issue([NAME])))
    assert added.certificate.state == State.CURRENT
    assert certificate_listing(sealed).entries == ()


def test_what_is_wrong_is_said_by_field(sealed, root):
    good, other = root.issue([NAME]), root.issue([NAME])
    cases = {
        "chain": new((b"nonsense", b"")),
        "key": new((good[0], other[1])),
        "label": new(good, client=True, organization="contoso"),
        "organization": new(good, organization="contoso"),
    }
    for path, given in cases.items():
        error = refused(sealed, given)
        assert (error.kind, [one.path for one in error.errors]) == (RefusalKind.INPUT, [path])
    assert [one.path for one in refused(sealed, new((good[0], b""))).errors] == ["key"]
    assert refused(sealed, new((good[0], b"-----BEGIN PRIVATE KEY-----\nx"))).errors[0].path == "key"
    assert certificate_listing(sealed).entries == ()
    run(sealed, add_certificate, **new(good))
    again = refused(sealed, new(good))
    assert (again.kind, again.errors[0].message) == (RefusalKind.CONFLICT, "exists already and is current")
    lost = refused(sealed, new(root.issue([f"x.{NAME}"]), current=False, client=True, organization="no", label="x"))
    assert lost.kind is RefusalKind.MISSING


def test_no_refusal_repeats_a_key(sealed, root):
    chain, key = root.issue([NAME])
    broken = key[:-60] + b"A" * 30 + key[-30:]
    said = refused(sealed, new((chain, broken)))
    lines = [line for line in key.decode().splitlines() if len(line) > 40 and "-----" not in line]
    assert lines
    assert not [line for line in lines if line in said.text + str(said.errors)]


def test_a_key_with_a_password(sealed, root):
    chain, key = root.issue([NAME])
    locked = load_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim"))
    assert refused(sealed, new((chain, locked))).errors[0].path == "password"
    assert refused(sealed, new((chain, locked), password="wrong")).errors[0].path == "password"
    added = run(sealed, add_certificate, **new((chain, locked), password="geheim"))
    assert certificate(sealed, added.certificate.id).chain == chain


def test_a_name_that_is_not_ours_and_a_client_of_an_organization(sealed, root):
    prepared = run(sealed, add_certificate, **new(root.issue(["other.example"])))
    assert any("own name mx.gate.example" in one for one in prepared.warnings)
    given = new(root.issue(["client.example"]), client=True, organization="contoso", label="to-bank")
    entry = run(sealed, add_certificate, **given).certificate
    assert (entry.purpose, entry.organization, entry.label) == (Purpose.CLIENT, "contoso", "to-bank")


def test_without_a_master_key_no_request_is_made(gateway):
    with pytest.raises(Refusal, match=r"no store\.master_key") as caught:
        run(gateway, request_certificate, names=[NAME])
    assert caught.value.kind is RefusalKind.INPUT


def test_requests_and_what_is_wrong_with_them(sealed):
    made = run(sealed, request_certificate, names=[NAME.upper(), NAME])
    assert made.request.names == [NAME]
    assert run(sealed, get_certificate_request, request=made.request.id) == made
    cases = {
        "names": {"names": []},
        "key": {"names": [NAME], "key": "dsa"},
        "organization": {"names": [NAME], "organization": "contoso"},
    }
    for path, given in {**cases, "names ": {"names": ["a b"]}}.items():
        with pytest.raises(Refusal) as caught:
            run(sealed, request_certificate, **given)
        assert [one.path for one in caught.value.errors] == [path.strip()]
    with pytest.raises(Refusal) as caught:
        run(sealed, get_certificate_request, request="0123456789abcdef")
    assert caught.value.kind is RefusalKind.MISSING


def test_a_directory_that_is_none(sealed, tmp_path):
    found = run(sealed, watch_directory, directory=str(tmp_path), note="certbot")
    assert found.pairs == found.usable == found.troubles == []
    assert certificate_listing(sealed).directories == (str(tmp_path),)
    with pytest.raises(Refusal):
        run(sealed, watch_directory, directory=str(tmp_path / "none"))


URI = "pkcs11:object=mx;token=my%20gateway"
STORED = "pkcs11:token=my%20gateway;object=mx"


@pytest.fixture
def a_token(monkeypatch):
    """A token that has every key; returns what was tried. The real one is in tests/system/test_tokens.py."""
    tried = []

    def problem(identity):
        tried.append(identity.key_pem)
        return ""

    monkeypatch.setattr(certificate_import, "problem_of", problem)
    return tried


def test_a_key_in_a_token_is_named_and_not_stored(gateway, root, a_token):
    chain, _ = root.issue([NAME])
    added = run(gateway, add_certificate, chain=chain.decode(), key=f" {URI}\n").certificate
    assert (added.state, added.key_file, added.chain_file) == (State.CURRENT, STORED, "")
    assert a_token == [STORED.encode()]
    assert key_place(certificate(gateway, added.id).entry) == f"in the token: {STORED}"
    with certificate_import.inventory_of(gateway) as inventory:
        identity = inventory.identity(inventory.find(added.id))
    assert (identity.key_pem, identity.in_token) == (STORED.encode(), True)
    assert identity.chain_pem.startswith(b"-----BEGIN CERTIFICATE-----")
    encoded = base64.b64encode(root.issue(["other.gate.example"])[0]).decode()
    more = {"encoding": "base64", "key": base64.b64encode(URI.encode()).decode()}
    assert run(gateway, add_certificate, chain=encoded, **more).certificate.key_file == STORED


def test_a_key_in_a_token_needs_the_settings(gateway, root):
    chain, _ = root.issue([NAME])
    why = refused(gateway, {"chain": chain.decode(), "key": URI})
    assert why.kind is RefusalKind.INPUT
    assert [str(error) for error in why.errors] == ["key: pkcs11.module is not set in the settings of this machine"]


def test_a_pin_in_the_uri_is_refused_and_not_repeated(gateway, root, a_token):
    chain, _ = root.issue([NAME])
    why = refused(gateway, {"chain": chain.decode(), "key": f"{URI}?pin-value=4711"})
    assert "the PIN has its place in [pkcs11] pin" in str(why.errors[0])
    assert "4711" not in f"{why}{why.errors}"
    assert a_token == []


def test_a_tenant_names_no_key_of_the_token(gateway, root, a_token):
    chain, _ = root.issue([NAME])
    tenant = Principal("tina", frozenset(Scope) - {Scope.OWNER}, frozenset({"contoso"}))
    with pytest.raises(Refusal) as caught:
        run(
            gateway,
            add_certificate,
            principal=tenant,
            chain=chain.decode(),
            key=URI,
            organization="contoso",
            client=True,
        )
    assert (caught.value.kind, a_token) == (RefusalKind.FORBIDDEN, [])
