from __future__ import annotations

import pytest

from gatepost.pki.certificates.connector_secrets import (
    SealedSecrets,
    SecretError,
    SecretState,
    connector_place,
    content_name,
    destination_of,
    places,
)
from gatepost.pki.certificates.vault import Vault
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.store.interface import StoreFailure

VAULT = Vault(b"k" * 32)
WORD = "correct, horse = battery"
FIELDS = {
    "name": "Relay",
    "smart_hosts": ["a.example:587", "b.example:587"],
    "tls_settings": "domain-validation",
    "tls_domain": "a.example",
    "authentication": {"username": "u"},
}


def connector(**fields):
    return OutboundConnector.model_validate(FIELDS | fields)


def stored(made, vault=VAULT, secret=WORD):
    content = SealedSecrets({}.get, vault).sealed(connector_place("contoso", made), secret)
    return SealedSecrets(content.get, vault)


def read(secrets, made, organization="contoso"):
    return secrets.read(connector_place(organization, made))


def test_a_secret_is_sealed_and_opened():
    made = connector()
    secrets = stored(made)
    assert read(secrets, made) == WORD
    assert secrets.state(connector_place("contoso", made)) is SecretState.SEALED
    assert secrets.state(connector_place("fabrikam", made)) is SecretState.MISSING
    assert WORD.encode() not in b"".join(
        SealedSecrets({}.get, VAULT).sealed(connector_place("contoso", made), WORD).values()
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"smart_hosts": ["a.example:587", "evil.example:587"]},
        {"smart_hosts": ["a.example:587"]},
        {"smart_hosts": ["a.example:588", "b.example:587"]},
        {"tls_domain": "evil.example"},
        {"trust_anchors": "/etc/evil.pem"},
        {"authentication": {"username": "u", "client_id": "c", "token_url": "https://evil.example/t"}},
    ],
)
def test_it_goes_nowhere_else(fields):
    secrets = stored(connector())
    moved = connector(**fields)
    assert secrets.state(connector_place("contoso", moved)) is SecretState.STALE
    with pytest.raises(SecretError, match="entered for other smart hosts"):
        read(secrets, moved)


def test_nor_by_a_hand_in_the_store():
    moved = connector(tls_domain="evil.example")
    (sealed,) = SealedSecrets({}.get, VAULT).sealed(connector_place("contoso", connector()), WORD).values()
    forged = destination_of(moved).encode() + b"\n" + sealed.partition(b"\n")[2]
    with pytest.raises(SecretError, match="master key is not the one"):
        read(SealedSecrets({content_name("contoso", "relay"): forged}.get, VAULT), moved)
    with pytest.raises(SecretError, match="master key is not the one"):
        read(SealedSecrets({content_name("fabrikam", "relay"): sealed}.get, VAULT), connector(), "fabrikam")


def test_the_order_of_hosts_and_the_user_make_no_difference():
    other = connector(smart_hosts=["b.example:587", "a.example:587"], authentication={"username": "v"})
    assert read(stored(connector()), other) == WORD


def test_what_is_missing_is_said():
    made = connector()
    with pytest.raises(SecretError, match=r"no secret is stored; enter it: gatepost connector secret Relay$"):
        read(SealedSecrets({}.get, VAULT), made)
    content = SealedSecrets({}.get, VAULT).sealed(connector_place("contoso", made), WORD)
    with pytest.raises(SecretError, match="master_key is not set"):
        read(SealedSecrets(content.get, None), made)
    with pytest.raises(SecretError, match="stored only sealed"):
        SealedSecrets({}.get, None).sealed(connector_place("contoso", made), WORD)

    def broken(_name):
        raise StoreFailure("gone")

    with pytest.raises(SecretError, match="the store cannot be read"):
        read(SealedSecrets(broken, VAULT), made)


@pytest.mark.parametrize("secret", ["", "a\nb", "a\x7f", "ü" * 600])
def test_what_no_host_can_take_is_refused_without_being_repeated(secret):
    with pytest.raises(SecretError) as refused:
        SealedSecrets({}.get, VAULT).sealed(connector_place("contoso", connector()), secret)
    assert not secret or secret not in str(refused.value)


def test_a_secret_in_a_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{WORD}\r\nmore\n")
    file.chmod(0o600)
    made = connector(authentication={"username": "u", "secret_file": str(file)})
    secrets = SealedSecrets({}.get, None)
    assert secrets.state(connector_place("contoso", made)) is SecretState.FILE
    assert read(secrets, made) == WORD
    file.write_bytes(b"\xff\n")
    with pytest.raises(SecretError, match="not UTF-8"):
        read(secrets, made)
    file.write_text("\n")
    with pytest.raises(SecretError, match="is empty"):
        read(secrets, made)
    file.chmod(0o644)
    with pytest.raises(SecretError, match="lets others use it"):
        read(secrets, made)
    file.unlink()
    with pytest.raises(SecretError, match="No such file"):
        read(secrets, made)


def test_it_is_found_by_its_connector():
    own = {"name": "Relay", "authentication": {"username": "u"}}
    filed = {"name": "Relay", "authentication": {"username": "u", "secret_file": "/etc/s"}}
    for connector in (own, own | {"name": "relay"}):
        assert places("contoso", {"outbound_connector": [connector]}) == {"login/contoso/relay"}
    for document in ({}, {"outbound_connector": [filed, {"name": "Relay"}]}, None):
        assert places("contoso", document) == set()
