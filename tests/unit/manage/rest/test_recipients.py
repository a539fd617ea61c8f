from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.pki.certificates.connector_secrets import SealedSecrets
from gatepost.pki.certificates.directory_secrets import directory_place
from gatepost.pki.certificates.vault import Vault

from .conftest import OWNER

DOMAINS = "/organizations/contoso/accepted_domains"
RECIPIENTS = "/organizations/contoso/recipients/r.example"
PASSWORD = "/organizations/contoso/directory_passwords/r.example"
ANY = {"if-match": "*"}
LISTED = {
    "name": "r.example",
    "type": "internal-relay",
    "recipient_validation": "list",
    "recipients": ["ann@r.example", "bob@r.example"],
}
DIRECTORY = {
    "name": "r.example",
    "type": "internal-relay",
    "recipient_validation": "ldap",
    "recipient_directory": {"urls": ["ldaps://dc.example"], "bind_dn": "cn=gatepost"},
}
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"contoso"}))


@pytest.fixture
def gateway(tmp_path):
    from .conftest import sealed_in  # noqa: PLC0415 - beside the fixture that it replaces

    return sealed_in(tmp_path)


def listed(api):
    return api.call("GET", f"{DOMAINS}/r.example").json["recipients"]


def test_single_addresses_come_and_go_and_the_others_stay(api):
    assert api.call("POST", DOMAINS, LISTED, headers=ANY).status == 201
    api.who = TENANT
    change = {"add": ["cy@r.example", "ANN@r.example"], "remove": ["Bob@r.example", "nobody@r.example"]}
    assert api.call("POST", RECIPIENTS, change, headers=ANY).status == 200
    api.who = OWNER
    assert listed(api) == ["ann@r.example", "cy@r.example"]
    again = api.call("POST", RECIPIENTS, change, headers=ANY)
    assert (again.status, again.json["changes"]) == (200, [])


def test_with_an_error_nothing_changes_and_all_are_named(api):
    api.call("POST", DOMAINS, LISTED, headers=ANY)
    change = {"add": ["cy@r.example", "nobody", "a@elsewhere.example"], "remove": ["@"]}
    answer = api.call("POST", RECIPIENTS, change, headers=ANY)
    assert answer.status == 422
    said = answer.body.decode()
    assert all(text in said for text in ("add[1]", "remove[0]", "a@elsewhere.example is not in r.example"))
    assert listed(api) == LISTED["recipients"]


def test_the_password_of_a_directory_is_the_owners_and_nowhere_to_be_seen(api):
    assert api.call("POST", DOMAINS, DIRECTORY, headers=ANY).status == 201
    assert api.call("GET", PASSWORD).json == {"domain": "r.example", "password": "missing"}
    api.who = TENANT
    assert api.call("PUT", PASSWORD, {"password": "word"}).status == 403
    api.who = OWNER
    put = api.call("PUT", PASSWORD, {"password": "word"})
    assert (put.status, put.json) == (200, {"domain": "r.example", "password": "sealed"})
    vault = Vault.of(api.gateway.settings.store.master_key)
    with api.gateway.config() as store:
        (domain,) = api.gateway.directory().resources.organization("contoso").accepted_domains[-1:]
        place = directory_place("contoso", domain)
        assert SealedSecrets(store.content, vault).read(place) == "word"
        assert b"word" not in store.content(place.name)
    other = {"recipient_directory": {"urls": ["ldaps://evil.example"]}}
    moved = api.call("PATCH", f"{DOMAINS}/r.example", other, headers=ANY)
    assert any("was entered for other servers" in line for line in moved.json["warnings"])
    assert api.call("GET", PASSWORD).json["password"] == "stale"
    assert api.call("DELETE", PASSWORD).json["password"] == "missing"


def test_a_password_goes_with_its_domain_and_needs_a_log_in(api):
    api.call("POST", DOMAINS, DIRECTORY, headers=ANY)
    api.call("PUT", PASSWORD, {"password": "word"})
    assert api.call("PUT", PASSWORD, {"password": ""}).status == 422
    assert api.call("DELETE", f"{DOMAINS}/r.example", headers=ANY).status == 200
    with api.gateway.config() as store:
        assert store.content("directory/contoso/r.example") is None
    api.call("POST", DOMAINS, LISTED, headers=ANY)
    assert api.call("PUT", PASSWORD, {"password": "word"}).status == 422


def test_a_tenant_names_no_directory_and_no_file(api):
    api.who = TENANT
    for fields in (DIRECTORY, LISTED | {"recipients_file": "/etc/passwd"}):
        answer = api.call("POST", DOMAINS, fields, headers=ANY)
        assert answer.status == 422
        assert "only the gateway's owner may write" in answer.body.decode().replace("\\u0027", "'")


GRAPH = {
    "name": "r.example",
    "type": "internal-relay",
    "recipient_validation": "graph",
    "recipient_graph": {"tenant_id": "contoso.example", "client_id": "c"},
}


def test_a_client_secret_is_the_organizations_own(api):
    api.who = TENANT
    assert api.call("POST", DOMAINS, GRAPH, headers=ANY).status == 201
    assert api.call("PUT", PASSWORD, {"password": "word"}).json == {"domain": "r.example", "password": "sealed"}
    assert api.call("GET", PASSWORD).json["password"] == "sealed"
    other = {"recipient_graph": {"tenant_id": "evil.example", "client_id": "c"}}
    moved = api.call("PATCH", f"{DOMAINS}/r.example", other, headers=ANY)
    assert any("the client secret for Microsoft Graph was entered for other" in line for line in moved.json["warnings"])
    assert api.call("GET", PASSWORD).json["password"] == "stale"
    api.who = Principal("token fabrikam", TENANT.scopes, frozenset({"fabrikam"}))
    assert api.call("GET", PASSWORD).status == 404
    assert api.call("PUT", PASSWORD, {"password": "word"}).status == 404
    api.who = TENANT
    assert api.call("DELETE", PASSWORD).json["password"] == "missing"
    assert api.call("DELETE", f"{DOMAINS}/r.example", headers=ANY).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://10.0.0.1", "login_url": "https://login.microsoftonline.com"},
        {"url": "https://graph.microsoft.com.evil.example", "login_url": "https://login.microsoftonline.com"},
        {"login_url": "https://127.0.0.1:8443"},
        {"secret_file": "/etc/passwd"},
    ],
)
def test_a_tenant_names_one_of_microsofts_clouds_and_nothing_else(api, fields):
    api.who = TENANT
    document = GRAPH | {"recipient_graph": GRAPH["recipient_graph"] | fields}
    answer = api.call("POST", DOMAINS, document, headers=ANY)
    assert answer.status == 422
    assert b"only the gateway" in answer.body
    api.who = OWNER
    assert api.call("POST", DOMAINS, document, headers=ANY).status == 201
    api.who = TENANT
    assert api.call("PUT", PASSWORD, {"password": "word"}).status == (200 if "secret_file" in fields else 403)
    moved = {"recipient_graph": GRAPH["recipient_graph"] | fields | {"tenant_id": "evil.example"}}
    assert api.call("PATCH", f"{DOMAINS}/r.example", moved, headers=ANY).status == 422
