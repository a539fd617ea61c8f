"""A validation that a tenant starts finds out nothing of another organization, by its guesses or by ids of sessions."""

from __future__ import annotations

import json
import time

import pytest
from tests.unit.manage.calls import run

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.connector_views import view_connector
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.validation_runs import start_validation

TENANT = Principal("tim", frozenset(Scope) - {Scope.OWNER}, frozenset({"contoso"}))
MINE = {"name": "mine", "connector_type": "partner", "sender_domains": ["p.example"]}
RESOURCES = {
    "contoso": {"accepted_domain": [{"name": "c.example"}], "inbound_connector": [MINE]},
    "fabrikam": {
        "accepted_domain": [{"name": "f.example"}],
        "inbound_connector": [
            {"name": "Secret deal", "connector_type": "partner", "sender_domains": ["q.example"], "require_tls": True},
            {"name": "hidden", "connector_type": "on-premises", "sender_ip_addresses": ["203.0.113.77"]},
        ],
    },
}
SECRETS = ("fabrikam", "Secret deal", "hidden", "ceo@q.example")


@pytest.fixture
def shared(gateway):
    with gateway.config() as store:
        store.apply({"organization": RESOURCES}, author="ann")
    row = TraceEvent(
        at=time.time(), event="RECEIVE", organization="fabrikam", direction="incoming", connector="Secret deal",
        session="5e551", message="0123456789abcdef", sender="ceo@q.example", recipient="boss@f.example",
        peer_address="203.0.113.9:25",
    )  # fmt: skip
    gateway.storage.trace().write("0", [row])
    return gateway


def client(address, sender, recipient):
    return {"ip": address, "reverse_path": sender, "forward_path": recipient}


# a client that nobody knows in place of one that another organization knows, all else alike
GUESSES = [
    (client("203.0.113.9", "x@q.example", "boss@f.example"), client("203.0.113.9", "x@r.example", "boss@f.example")),
    (client("203.0.113.77", "x@f.example", "z@e.example"), client("203.0.113.78", "x@f.example", "z@e.example")),
    (client("203.0.113.77", "x@p.example", "a@c.example"), client("203.0.113.78", "x@p.example", "a@c.example")),
]


@pytest.mark.parametrize(("known", "unknown"), GUESSES)
def test_guesses_tell_what_they_would_without_the_other_organization(shared, known, unknown):
    results = []
    for guess in (known, unknown):
        state = run(shared, start_validation, principal=TENANT, organization="contoso", connector="mine", **guess)
        (task,) = [task for task in state.result["tasks"] if task["name"] == "Presented"]
        said = json.dumps(task)
        assert [secret for secret in SECRETS if secret in said] == []
        for name in ("ip", "reverse_path", "forward_path"):
            said = said.replace(guess[name], name).replace(guess[name].partition("@")[2] or "-", name)
        results.append(said)
    assert results[0] == results[1]


@pytest.mark.parametrize("identity", ["5e551", "0123456789abcdef"])
def test_a_session_of_another_organization_is_not_there(shared, identity):
    fields = {"organization": "contoso", "connector": "mine", "session": identity}
    with pytest.raises(Refusal) as refused:
        run(shared, start_validation, principal=TENANT, **fields)
    assert refused.value.errors[0].message == f"the message trace has no message or session {identity}"
    state = run(shared, start_validation, **fields)
    assert [task["status"] for task in state.result["tasks"] if task["name"] == "Replay"] == ["failed"]


def test_what_the_owner_decides_anew_of_anothers_mail_is_not_kept_for_the_tenant(shared):
    fields = {"organization": "contoso", "connector": "mine"}
    run(shared, start_validation, **fields)
    state = run(shared, start_validation, **fields, session="5e551")
    assert "ceo@q.example" in json.dumps(state.result)
    assert "the connector's organization does not see" in state.result["notes"][0]
    view = run(shared, view_connector, principal=TENANT, organization="contoso", direction="inbound", name="mine")
    assert view.validation is not None
    assert [secret for secret in (*SECRETS, "203.0.113.9") if secret in json.dumps(view.validation)] == []
