from __future__ import annotations

import logging

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.pki.certificates.connector_secrets import SealedSecrets, connector_place, content_name
from gatepost.pki.certificates.vault import Vault

from .conftest import OWNER

CONNECTORS = "/organizations/contoso/outbound_connectors"
PATH = "/organizations/contoso/connector_secrets/relay"
WORD = "correct, horse = battery"
LOGIN = {
    "name": "relay",
    "recipient_domains": ["*"],
    "smart_hosts": ["relay.example"],
    "tls_settings": "domain-validation",
    "authentication": {"username": "u"},
}
ANY = {"if-match": "*"}
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
OTHER = Principal("token fabrikam", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
READER = Principal("reader", frozenset({Scope.READ, Scope.QUEUE, Scope.CERTIFICATES}))


@pytest.fixture
def gateway(tmp_path):
    from .conftest import sealed_in  # noqa: PLC0415 - beside the fixture that it replaces

    return sealed_in(tmp_path)


def stored(api):
    with api.gateway.config() as store:
        return store.content(content_name("contoso", "relay"))


def test_it_is_sealed_changed_and_removed_and_nowhere_to_be_seen(api, caplog):
    assert api.call("POST", CONNECTORS, LOGIN, headers=ANY).status == 201
    assert api.call("GET", PATH).json == {"connector": "relay", "secret": "missing"}
    api.who = TENANT
    with caplog.at_level(logging.DEBUG):
        put = api.call("PUT", PATH.replace("relay", "RELAY"), {"secret": WORD})
    assert (put.status, put.json) == (200, {"connector": "relay", "secret": "sealed"})
    api.who = OWNER
    assert api.call("GET", PATH).json == {"connector": "relay", "secret": "sealed"}
    vault = Vault.of(api.gateway.settings.store.master_key)
    with api.gateway.config() as store:
        (made,) = api.gateway.directory().resources.organization("contoso").outbound_connectors[-1:]
        assert SealedSecrets(store.content, vault).read(connector_place("contoso", made)) == WORD
    moved = api.call("PATCH", f"{CONNECTORS}/relay", {"smart_hosts": ["evil.example"]}, headers=ANY)
    assert any("was entered for another destination" in line for line in moved.json["warnings"])
    assert api.call("GET", PATH).json["secret"] == "stale"
    answers = [api.call("GET", f"{CONNECTORS}/relay"), api.call("GET", "/resources"), moved, put]
    everything = b"".join(answer.body for answer in answers).decode() + caplog.text
    everything += str([(one.detail, one.subject) for one in api.accounts.audit_events(OWNER)])
    assert WORD not in everything
    assert api.call("DELETE", PATH).json == {"connector": "relay", "secret": "missing"}
    assert stored(api) is None


def test_it_goes_with_its_connector(api):
    api.call("POST", CONNECTORS, LOGIN, headers=ANY)
    api.call("PUT", PATH, {"secret": WORD})
    assert stored(api)
    assert api.call("DELETE", f"{CONNECTORS}/relay", headers=ANY).status == 200
    assert stored(api) is None


@pytest.mark.parametrize(("who", "status"), [(OTHER, 404), (READER, 403), (None, 401)])
def test_who_may_not_sets_none(api, who, status):
    api.call("POST", CONNECTORS, LOGIN, headers=ANY)
    api.who = who
    assert api.call("PUT", PATH, {"secret": WORD}).status == status
    assert api.call("DELETE", PATH).status == status
    assert stored(api) is None


@pytest.mark.parametrize(
    ("path", "body", "status", "paths"),
    [
        (PATH, {"secret": ""}, 422, ["secret"]),
        (PATH, {"secret": "a\nb"}, 422, ["secret"]),
        (PATH, {"secret": "x" * 2000}, 422, ["secret"]),
        (PATH, {}, 422, ["secret"]),
        (PATH.replace("relay", "nobody"), {"secret": WORD}, 404, []),
    ],
)
def test_what_is_refused(api, path, body, status, paths):
    api.call("POST", CONNECTORS, LOGIN, headers=ANY)
    answer = api.call("PUT", path, body)
    assert (answer.status, answer.paths) == (status, paths)
    assert stored(api) is None


def test_a_connector_that_does_not_log_in_needs_none(api):
    api.call("POST", CONNECTORS, {key: value for key, value in LOGIN.items() if key != "authentication"}, headers=ANY)
    answer = api.call("PUT", PATH, {"secret": WORD})
    assert (answer.status, answer.paths) == (422, ["connector"])
