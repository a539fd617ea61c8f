"""What is refused before an issuer is asked. Log-in at an issuer that answers is in the system tests."""

from __future__ import annotations

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.web.application import application
from gatepost.settings.loader import load

ANN = Principal("ann", ROLES[Role.OWNER])
STRANGER = {"authorization": ""}
SETTINGS = """
[server]
hostname = "mx.gate.example"
data_dir = "data"

[dns]
nameservers = ["127.0.0.1:1"]

[oidc]
issuer = "https://127.0.0.1:1/realms/staff"
client_id = "gatepost"
timeout = 1

[[oidc.group]]
name = "mail-owners"
role = "owner"
"""


@pytest.fixture
def trusting(centre, tmp_path):
    """The same with an issuer, where nobody answers; its address is not public."""
    file = tmp_path / "trusting.toml"
    file.write_text(SETTINGS)
    centre.accounts.add_user("ann", Role.OWNER, "correct horse battery", actor=Actor("root"))
    centre.app = application(Gateway(load(str(file), {})), centre.accounts, ROUTES, HANDLERS)
    return centre


def why(centre):
    """Of refused log-ins, the newest first."""
    events = centre.accounts.audit_events(ANN, AuditFilter(action="log-in"))
    assert all(event.outcome is AuditOutcome.REFUSED and event.who == "" for event in events)
    return [event.detail["why"] for event in events]


@pytest.mark.parametrize("path", ["/login/issuer", "/login/issuer/answer?code=x&state=y"])
def test_without_an_issuer_there_is_nothing(centre, path):
    assert centre.get(path, **STRANGER).status == 404
    assert "/login/issuer" not in centre.get("/login", **STRANGER).text


def test_the_way_is_shown_where_there_is_one(trusting):
    assert 'href="/login/issuer?next=%2Fqueue"' in trusting.get("/login?next=%2Fqueue", **STRANGER).text


def test_an_issuer_that_cannot_be_asked(trusting):
    answer = trusting.get("/login/issuer", **STRANGER)
    assert answer.status == 422
    assert "cannot be used now; log in with a local account" in answer.words
    assert "127.0.0.1" not in answer.words, "strangers learn nothing of our network"
    (told,) = why(trusting)
    assert "127.0.0.1" in told


def test_whoever_fails_often_is_not_even_tried(trusting):
    path = "/login/issuer/answer?code=x&state=y"
    answers = [trusting.get(path, **STRANGER) for _ in range(8)]
    assert [one.status for one in answers] == [422] * 6 + [429] * 2
    assert "Too many failed attempts; wait 10 s" in answers[-1].words
    assert len(why(trusting)) == 6


@pytest.mark.parametrize("cookie", ["", "__Host-gatepost-issuer=", "__Host-gatepost-issuer=e30.AAAA", "other=1"])
def test_an_answer_to_what_nobody_began(trusting, cookie):
    answer = trusting.get("/login/issuer/answer?code=x&state=y", **STRANGER, cookie=cookie)
    assert answer.status == 422
    assert "__Host-gatepost=" not in answer.headers.get("set-cookie", "")
    assert why(trusting) == ["it was not started in this browser, or too long ago"]
