"""Without an authority: nobody listens at its address. With one it is in tests/system/test_acme.py."""

from __future__ import annotations

import threading

import pytest
import tomlkit

from gatepost.access.principal import Principal, Scope
from gatepost.acme.issuer import alone
from gatepost.administration import acme_renewal
from gatepost.administration.acme_renewal import Renewal, Renewing, check_order, renew
from gatepost.administration.gateway import Gateway
from gatepost.administration.refusal import Kind, Refusal
from gatepost.settings.loader import load

ANN = Principal("ann", frozenset({Scope.OWNER}))
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
        check_order(centre, ANN, "b.example")
    assert refused.value.kind is Kind.INPUT
    assert check_order(centre, ANN, HOST) == (HOST,)
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

    assert renewing.start(centre, ANN, name, told)
    assert over.wait(20)
    return found[0]


def test_behind_a_page_one_runs_at_a_time(centre, monkeypatch):
    renewing, go = Renewing(), threading.Event()
    assert renewing.last() is None

    def slow(*_, **__):
        assert go.wait(20)
        return [Renewal((HOST,), ok=True, text="certificate x")]

    monkeypatch.setattr(acme_renewal, "renew", slow)
    over = threading.Event()
    assert renewing.start(centre, ANN, HOST, lambda _: over.set()).is_running
    assert renewing.start(centre, ANN, HOST, lambda _: None) is None
    assert renewing.last().is_running
    go.set()
    assert over.wait(20)


def test_what_came_of_it_is_kept(centre):
    renewing = Renewing()
    run = ended(renewing, centre)
    assert (run.who, run.names, run.error) == ("ann", (HOST,), "")
    assert [one.ok for one in run.done] == [False]
    with pytest.raises(Refusal):
        renewing.start(centre, ANN, "b.example", lambda _: None)


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
