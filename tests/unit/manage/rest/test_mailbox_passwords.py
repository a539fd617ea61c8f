from __future__ import annotations

import logging

import pytest

from gatepost.mail.inbound.credentials import Credential, content_name
from gatepost.manage.access.principal import Principal, Scope
from gatepost.policy.logins.passwords import verify

from .conftest import OWNER

PATH = "/organizations/contoso/mailbox_passwords/ann@contoso.example"
WORD = "correct horse"
TENANT = Principal("token contoso", frozenset({Scope.CONNECTORS}), frozenset({"contoso"}))
OTHER = Principal("token fabrikam", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
READER = Principal("reader", frozenset({Scope.READ, Scope.QUEUE, Scope.CERTIFICATES}))


def stored(api):
    with api.gateway.config() as store:
        return Credential.decode(store.content(content_name("ann@contoso.example")))


def test_it_is_set_and_removed_and_nowhere_to_be_seen(api, caplog):
    api.who = TENANT
    with caplog.at_level(logging.DEBUG):
        set_ = api.call("PUT", PATH.replace("ann@", "ANN@"), {"password": WORD})
    assert (set_.status, set_.json) == (200, {"address": "ann@contoso.example", "can_log_in": True})
    assert verify(WORD, stored(api).argon2)
    assert WORD not in caplog.text
    removed = api.call("DELETE", PATH)
    assert removed.json == {"address": "ann@contoso.example", "can_log_in": False}
    assert stored(api) is None
    second, first = api.accounts.audit_events(OWNER)
    assert {one.action for one in (first, second)} == {"mailbox-password"}
    assert (first.who, first.organization, first.subject) == ("token contoso", "contoso", "ANN@contoso.example")
    assert (first.detail, second.detail) == ({}, {"removed": True})


@pytest.mark.parametrize(("who", "status"), [(OTHER, 404), (READER, 403), (None, 401)])
def test_who_may_not_sets_none(api, who, status):
    api.who = who
    assert api.call("PUT", PATH, {"password": WORD}).status == status
    assert api.call("DELETE", PATH).status == status
    assert stored(api) is None


@pytest.mark.parametrize(
    ("path", "body", "status", "paths"),
    [
        (PATH, {"password": "short"}, 422, ["password"]),
        (PATH, {"password": 12345678}, 422, ["password"]),
        (PATH, {}, 422, ["password"]),
        (PATH, {"password": WORD, "colour": 1}, 422, ["colour"]),
        (PATH.replace("ann", "nobody"), {"password": WORD}, 404, []),
        (PATH.replace("ann@contoso", "liz@fabrikam"), {"password": WORD}, 404, []),
    ],
)
def test_what_is_refused(api, path, body, status, paths):
    answer = api.call("PUT", path, body)
    assert (answer.status, answer.paths) == (status, paths)
    assert WORD not in answer.body.decode()
    assert WORD not in str([one.detail for one in api.accounts.audit_events(OWNER)])
    assert stored(api) is None
