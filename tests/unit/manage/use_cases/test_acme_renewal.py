"""Without an authority: nobody listens at its address. With one it is in tests/system/test_acme.py."""

from __future__ import annotations

import threading

import pytest
import tomlkit
from tests.unit.manage.calls import ANN, Forgetful, run

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases import acme_renewal
from gatepost.manage.use_cases.acme_renewal import (
    CertificateRenewal,
    forget_acme_account,
    get_acme_status,
    get_renewal,
    last_renewal,
    renew_certificates,
)
from gatepost.manage.use_cases.context import Context, Gateway
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.pki.acme.issuer import alone
from gatepost.settings.loader import load
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

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


def renewed(centre, **fields):
    """A renewal that is waited for."""
    return run(centre, renew_certificates, wait=20.0, **fields)


def last(centre):
    return last_renewal(Context(centre, ANN, Forgetful))


def test_what_is_due_is_asked_for_and_then_only_at_once(centre):
    state = renewed(centre)
    assert (state.done, state.names, state.trouble) == (True, [HOST], "")
    (one,) = state.results
    assert (one.names, one.ok) == ([HOST], False)
    assert one.text.startswith(f"{NOWHERE} cannot be reached")
    assert run(centre, get_renewal, id=state.id) == state
    nothing = renewed(centre)
    assert (nothing.done, nothing.names, nothing.results) == (True, [], [])
    assert len(renewed(centre, name=HOST, at_once=True).results) == 1
    (tried,) = renewed(centre, staging="https://127.0.0.1:2/x").results
    assert "127.0.0.1:2/x cannot be reached" in tried.text


def test_what_cannot_be_asked_for(centre, gateway):
    with pytest.raises(Refusal, match=r"'b\.example' is not a name of any configured certificate") as refused:
        renewed(centre, name="b.example")
    assert refused.value.kind is RefusalKind.INPUT
    with pytest.raises(Refusal, match="ACME is off"):
        renewed(gateway)
    assert last(centre) is None
    with alone(centre.data):
        state = renewed(centre, at_once=True)
    assert (state.done, state.results) == (True, [])
    assert "requesting certificates now" in state.trouble
    with pytest.raises(Refusal) as refused:
        run(centre, get_renewal, id="nothing")
    assert refused.value.kind is RefusalKind.MISSING


def test_one_runs_at_a_time_and_its_results_come_one_by_one(centre, monkeypatch):
    go = threading.Event()
    issued = CertificateRenewal([HOST], ok=True, text="certificate x")

    def slow(*given):
        given[-1]([issued])
        assert go.wait(20)
        return [issued]

    monkeypatch.setattr(acme_renewal, "renew", slow)
    state = run(centre, renew_certificates, at_once=True, wait=0.05)
    with pytest.raises(BusyRefusal, match="just now") as busy:
        run(centre, renew_certificates, at_once=True, wait=0.0)
    assert busy.value.kind is RefusalKind.UNREADABLE, "as while another process asks"
    assert (state.done, run(centre, get_renewal, id=state.id, wait=0.05).results) == (False, [issued])
    assert last(centre).id == state.id
    go.set()
    assert run(centre, get_renewal, id=state.id, wait=20.0).done


def test_a_renewal_always_ends(centre, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(acme_renewal, "renew", broken)
    state = renewed(centre)
    assert state.done
    assert "log says what" in state.trouble
    assert "secret" not in state.trouble


# ------------------------------------------------------------------------------------------------ on record


@pytest.fixture
def accounts(centre):
    made = Accounts(Storage(SQLITE, centre.data))
    yield made
    made.close()


def test_what_was_asked_for_is_on_record(centre, accounts):
    renewed(centre, accounts=accounts)
    renewed(centre, accounts=accounts)
    renewed(centre, accounts=accounts, name=HOST, staging="https://127.0.0.1:2/x")
    with pytest.raises(Refusal):
        renewed(centre, accounts=accounts, name="b.example")
    refused, trial, nothing, failed = accounts.audit_events(ANN)
    assert {one.action for one in (refused, trial, nothing, failed)} == {"certificate-renew"}
    assert (failed.outcome, failed.subject) == (AuditOutcome.FAILED, HOST)
    assert failed.detail["result"].startswith(f"{NOWHERE} cannot be reached")
    assert (nothing.outcome, nothing.detail) == (AuditOutcome.DONE, {"result": "nothing is due"})
    assert trial.detail["staging"] == "https://127.0.0.1:2/x"
    assert (refused.outcome, refused.subject) == (AuditOutcome.REFUSED, "b.example")


def test_that_it_was_begun_is_on_record_before_it_ends(centre, accounts, monkeypatch):
    during = []

    def broken(*_):
        during.extend(accounts.audit_events(ANN))
        raise RuntimeError("secret")

    monkeypatch.setattr(acme_renewal, "renew", broken)
    renewed(centre, accounts=accounts)
    (event,) = accounts.audit_events(ANN)
    assert [(one.id, one.outcome, one.subject) for one in during] == [(event.id, "begun", HOST)]
    assert (event.outcome, event.detail) == ("failed", {"why": "The gateway's log says why, under its time."})


# who, address -> what is said
AUTHORITIES = [
    (CERT, "https://127.0.0.1:2/x", RefusalKind.FORBIDDEN, "only an owner may use"),
    (CERT, "http://127.0.0.1:2/x", RefusalKind.INPUT, "is not an https address"),
    (ANN, "x", RefusalKind.INPUT, "is not an https address"),
]


@pytest.mark.parametrize(("who", "url", "kind", "said"), AUTHORITIES)
def test_the_gateway_does_not_go_anywhere_for_anybody(centre, who, url, kind, said):
    with pytest.raises(Refusal) as refused:
        renewed(centre, principal=who, staging=url)
    assert refused.value.kind is kind
    assert said in "; ".join([refused.value.text, *map(str, refused.value.errors)])
    assert last(centre) is None


def test_the_authority_of_the_settings_may_be_tried_by_who_may_change_certificates(centre):
    (one,) = renewed(centre, principal=CERT, staging=NOWHERE).results
    assert one.text.startswith(f"{NOWHERE} cannot be reached")


def test_an_account_is_forgotten_with_what_was_tried(centre, gateway):
    renewed(centre)
    assert run(centre, get_acme_status).certificates[0].failures == 1
    with alone(centre.data), pytest.raises(Refusal, match="requesting certificates now"):
        run(centre, forget_acme_account)
    assert run(centre, forget_acme_account).directory == NOWHERE
    assert run(centre, get_acme_status).certificates[0].failures == 0
    with pytest.raises(Refusal, match="ACME is off"):
        run(gateway, forget_acme_account)
