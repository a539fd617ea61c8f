"""Without an authority: nobody listens at its address. With one it is in tests/system/test_acme.py."""

from __future__ import annotations

import threading
import time

import pytest
import tomlkit

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import Actor, Outcome
from gatepost.manage.use_cases import acme_renewal
from gatepost.manage.use_cases.acme_orders import acme_status
from gatepost.manage.use_cases.acme_renewal import Order, Renewal, Renewing, begin_renewal, forget_account, renew
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.acme.issuer import alone
from gatepost.settings.loader import load

ANN = Principal("ann", frozenset({Scope.OWNER}))
CERT = Principal("cert", frozenset({Scope.CERTIFICATES}))
HOST = "mx.gate.example"
NOWHERE = "https://127.0.0.1:1/directory"


@pytest.fixture
def centre(tmp_path):
    (tmp_path / "master").touch(0o600)
    (tmp_path / "master").write_bytes(bytes(32))
    document = {
        "server": {"hostname": HOST, "data_dir": "data"},
        "store": {"master_key": f"file:{tmp_path / 'master'}"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.05, "attempts": 1},
        "acme": {"directory_url": NOWHERE, "agree_tos": True},
    }
    (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    found = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
    with found.config():
        pass
    return found


def test_what_is_due_is_asked_for_and_then_only_at_once(centre):
    heard = []
    (one,) = renew(centre, ANN, heard=heard.append)
    assert heard == [one]
    assert (one.names, one.ok) == ((HOST,), False)
    assert one.text.startswith(f"{NOWHERE} cannot be reached")
    assert renew(centre, ANN) == []
    assert len(renew(centre, ANN, HOST, at_once=True)) == 1
    (tried,) = renew(centre, ANN, staging="https://127.0.0.1:2/x")
    assert "127.0.0.1:2/x cannot be reached" in tried.text


def test_what_cannot_be_asked_for(centre, gateway):
    with pytest.raises(Refusal, match=r"'b\.example' is in none of the certificates") as refused:
        renew(centre, ANN, "b.example")
    assert refused.value.kind is Kind.INPUT
    with pytest.raises(Refusal, match="ACME is off"):
        renew(gateway, ANN)
    with alone(centre.data), pytest.raises(Refusal, match="asking for certificates just now") as refused:
        renew(centre, ANN, at_once=True)
    assert refused.value.kind is Kind.UNREADABLE


def ended(renewing, centre, name=HOST):
    """A run that was begun and waited for."""
    over, found = threading.Event(), []

    def told(run):
        found.append(run)
        over.set()

    assert renewing.start(centre, ANN, Order(name, at_once=True), told)
    assert over.wait(20)
    return found[0]


def test_behind_a_page_one_runs_at_a_time(centre, monkeypatch):
    renewing, go = Renewing(), threading.Event()
    assert renewing.last() is None

    def slow(*_, heard, **__):
        heard(Renewal((HOST,), ok=True, text="certificate x"))
        assert go.wait(20)

    monkeypatch.setattr(acme_renewal, "renew", slow)
    over = threading.Event()
    order = Order(HOST, at_once=True)
    run = renewing.start(centre, ANN, order, lambda _: over.set())
    assert run.is_running
    assert renewing.start(centre, ANN, order, lambda _: None) is None
    assert renewing.last().is_running
    wait_until(lambda: renewing.find(run.id).done)
    assert renewing.find(run.id, 0.01).is_running, "what has ended so far is told"
    go.set()
    assert over.wait(20)
    found = renewing.find(run.id, 20)
    assert (found.is_running, found.went_well, len(found.done)) == (False, True, 1)


def wait_until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_only_the_last_runs_are_kept(centre, monkeypatch):
    monkeypatch.setattr(acme_renewal, "_KEPT", 2)
    renewing = Renewing()
    ids = []
    for _ in range(3):
        ids.append(ended(renewing, centre).id)
        renewing.find(ids[-1], 20)
    with pytest.raises(Refusal) as refused:
        renewing.find(ids[0])
    assert refused.value.kind is Kind.MISSING
    assert [renewing.find(one).id for one in ids[1:]] == ids[1:]


def test_what_came_of_it_is_kept(centre):
    renewing = Renewing()
    run = ended(renewing, centre)
    assert (run.who, run.names, run.error) == ("ann", (HOST,), "")
    assert [one.ok for one in run.done] == [False]
    with pytest.raises(Refusal):
        renewing.start(centre, ANN, Order("b.example"), lambda _: None)


def test_a_run_always_ends(centre, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(acme_renewal, "renew", broken)
    run = ended(Renewing(), centre)
    assert run.error == "it could not be asked for; the gateway's log says why"
    assert not run.is_running


def test_a_run_that_is_refused_says_why(centre):
    with alone(centre.data):
        assert "asking for certificates just now" in ended(Renewing(), centre).error


# ------------------------------------------------------------------------------------------------ on record


@pytest.fixture
def accounts(centre):
    made = Accounts(centre.data / "access.db")
    yield made
    made.close()


def begun(centre, accounts, order, who=ANN):
    run = begin_renewal(centre, who, order, accounts, Actor(who.name, "192.0.2.1"))
    return centre.renewing.find(run.id, 20)


def test_what_was_asked_for_is_on_record(centre, accounts):
    run = begun(centre, accounts, Order())
    assert (run.names, run.went_well) == ((HOST,), False)
    assert begun(centre, accounts, Order()).names == (), "the failure is waited out"
    begun(centre, accounts, Order(HOST, staging="https://127.0.0.1:2/x"))
    trial, nothing, failed = accounts.audit_events(ANN)
    assert {one.action for one in (trial, nothing, failed)} == {"certificate-renew"}
    assert (failed.outcome, failed.subject) == (Outcome.FAILED, HOST)
    assert failed.detail["result"].startswith(f"{NOWHERE} cannot be reached")
    assert (nothing.outcome, nothing.detail) == (Outcome.DONE, {"result": "nothing is due"})
    assert trial.detail["staging"] == "https://127.0.0.1:2/x"


# who, address -> what is said
AUTHORITIES = [
    (CERT, "https://127.0.0.1:2/x", Kind.FORBIDDEN, "for nobody but an owner"),
    (CERT, "http://127.0.0.1:2/x", Kind.INPUT, "is no https address"),
    (ANN, "x", Kind.INPUT, "is no https address"),
]


@pytest.mark.parametrize(("who", "url", "kind", "said"), AUTHORITIES)
def test_the_gateway_does_not_go_anywhere_for_anybody(centre, accounts, who, url, kind, said):
    with pytest.raises(Refusal) as refused:
        begun(centre, accounts, Order(staging=url), who)
    assert refused.value.kind is kind
    assert said in "; ".join([refused.value.text, *map(str, refused.value.errors)])
    assert centre.renewing.last() is None


def test_the_authority_of_the_settings_may_be_tried_by_who_may_change_certificates(centre, accounts):
    (one,) = begun(centre, accounts, Order(staging=NOWHERE), CERT).done
    assert one.text.startswith(f"{NOWHERE} cannot be reached")


def test_an_account_is_forgotten_with_what_was_tried(centre, gateway):
    renew(centre, ANN)
    assert acme_status(centre, ANN)["certificates"][0]["failures"] == 1
    with alone(centre.data), pytest.raises(Refusal, match="asking for certificates just now"):
        forget_account(centre, ANN)
    assert forget_account(centre, ANN) == NOWHERE
    assert acme_status(centre, ANN)["certificates"][0]["failures"] == 0
    with pytest.raises(Refusal, match="ACME is off"):
        forget_account(gateway, ANN)
