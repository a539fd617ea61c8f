from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import CertificateBuilder, load_pem_x509_certificate

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.presented import presented, refused_by_tls, settings_identities
from gatepost.pki.certificates.vault import Vault
from gatepost.store.changes import ConfigStore
from gatepost.values import replace

AUTHORITY = Authority("Presented Root")
OLD, NEW = (ServerIdentity(*AUTHORITY.issue(["mx.a.example"])) for _ in range(2))


@pytest.fixture
def inventory(tmp_path):
    store = ConfigStore(tmp_path / "data" / "config.db")
    yield Inventory(store, None)
    store.close()


def write(path, identity):
    chain, key = path / "chain.pem", path / "key.pem"
    chain.write_bytes(identity.chain_pem)
    key.write_bytes(identity.key_pem)
    key.chmod(0o600)
    return chain, key


def record(inventory, pair, **fields):
    files = {"origin": Origin.SETTINGS, "chain_file": str(pair[0]), "key_file": str(pair[1]), "state": State.CURRENT}
    entry = replace(entry_from(OLD, now=1.0), **files | fields)
    inventory.record(entry, OLD.chain_pem, note="found")
    return entry


def test_a_file_counts_as_it_was_until_its_renewal_is_recorded(inventory, tmp_path):
    pair = write(tmp_path, OLD)
    assert settings_identities(inventory, [pair]) == [OLD]
    record(inventory, pair)
    write(tmp_path, NEW)
    assert settings_identities(inventory, [pair]) == [OLD]
    pair[1].write_bytes(b"half")
    assert settings_identities(inventory, [pair]) == [OLD]


@pytest.mark.parametrize(("state", "found"), [(State.CURRENT, [NEW]), (State.DEPRECATED, []), (State.NEXT, [])])
def test_a_file_that_was_renewed_while_nothing_ran(inventory, tmp_path, state, found):
    pair = write(tmp_path, NEW)
    record(inventory, pair, state=state)
    assert settings_identities(inventory, [pair]) == found


@pytest.mark.parametrize(("origin", "found"), [(Origin.FILES, [NEW]), (Origin.SETTINGS, [])])
def test_added_files_that_were_renewed_while_nothing_ran(inventory, tmp_path, origin, found):
    record(inventory, write(tmp_path, NEW), origin=origin)
    assert presented(inventory, []) == found


def test_all_files_that_cannot_be_used_are_named(inventory, tmp_path):
    wrong = [(tmp_path / f"{name}.pem", tmp_path / f"{name}.key") for name in "ab"]
    with pytest.raises(CertificateFileError, match=r"a\.pem: No such file(.|\n)*b\.pem: No such file"):
        settings_identities(inventory, wrong)


def test_a_wrong_master_key_never_means_no_starttls(inventory, tmp_path):
    """Nothing can be presented though something is current: whoever starts must not go on without TLS."""
    sealed = Inventory(inventory._store, Vault(b"1" * 32))
    sealed.add(replace(entry_from(NEW, now=1.0), state=State.CURRENT), NEW, author="ann")
    wrong = Inventory(inventory._store, Vault(b"2" * 32))
    with pytest.raises(CertificateFileError, match="the master key is not the one that it was sealed with"):
        presented(wrong, [])
    with pytest.raises(CertificateFileError, match=r"store\.master_key"):
        presented(inventory, [])
    assert presented(wrong, [OLD]) == [OLD]
    assert presented(sealed, []) == [NEW]


def test_what_a_listener_takes():
    assert refused_by_tls(OLD, "modern") == ""
    assert "cannot be read" in refused_by_tls(ServerIdentity(OLD.chain_pem, b""), "default")


@pytest.mark.parametrize("curve", [ec.SECP256K1, ec.SECP224R1, ec.BrainpoolP256R1], ids=lambda curve: curve.name)
def test_a_key_on_a_curve_that_no_client_takes_is_none_for_listeners(curve):
    key, leaf = ec.generate_private_key(curve()), load_pem_x509_certificate(OLD.chain_pem)
    builder = CertificateBuilder(leaf.issuer, leaf.subject, key.public_key(), 1)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    chain = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    identity = ServerIdentity(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "no client can complete a handshake with it" in refused_by_tls(identity, "default")
