from __future__ import annotations

import time
from threading import Event

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import evidence, evidence_audit
from gatepost.manage.use_cases.catalogue import declared_in
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

DAY = 86_400.0
ALL = Principal("ann", frozenset({Scope.READ}))


class Accounts:
    """In place of what keeps the audit."""

    def record(self, *_, **__):
        pass


def run(case, gateway, who=ALL, **request):
    return execute(case, Context(gateway, who, Accounts), case.request(**request))


def test_heads_and_keys(gateway, log, logs):
    first, second = run(evidence.list_heads, gateway).items
    assert run(evidence.list_heads, gateway, since=second.day).items == [second]
    assert first.writers["0"]["number"] == 5
    (key,) = run(evidence.list_keys, gateway).items
    assert (key.id, key.pem) == (logs.signer.key, logs.pem.decode())
    assert run(evidence.get_kept_days, gateway)[0] == first.day


def test_nothing_yet(gateway):
    assert (run(evidence.list_heads, gateway).items, run(evidence.list_keys, gateway).items) == ([], [])
    assert run(evidence.get_kept_days, gateway) == ("", "")
    assert run(evidence.get_verification, gateway).begun == 0.0


def test_a_stored_key_that_cannot_be_read_is_told_beside_the_others(gateway, log):
    (log / "keys").joinpath("x.pem").write_bytes(b"no key")
    assert [bool(key.id) for key in run(evidence.list_keys, gateway).items] == [True, False]


@pytest.mark.parametrize("case", [one for one in declared_in(evidence) if one is not evidence.get_kept_days])
def test_what_is_about_all_mail_is_not_for_who_sees_some_of_it(gateway, case):
    with pytest.raises(Refusal) as refused:
        run(case, gateway, Principal("o", frozenset({Scope.READ}), frozenset({"another"})))
    assert refused.value.kind is RefusalKind.FORBIDDEN


# the verification


def ended(gateway):
    for _ in range(1500):
        found = run(evidence.get_verification, gateway)
        if found.begun and not found.running:
            return found
        time.sleep(0.02)
    raise AssertionError("it does not end")


def test_the_log_is_verified_behind_who_asks(gateway, log):
    assert run(evidence.verify_own_log, gateway).begun
    found = ended(gateway)
    assert (found.verified, found.error, found.found["entries"]) == (True, "", 15)
    assert found.lines
    assert found.ended >= found.begun


def test_one_at_a_time(gateway, monkeypatch):
    begun, go_on = [], Event()

    def slow(*_, **__):
        begun.append(1)
        go_on.wait(30)
        raise OSError("the disk")

    monkeypatch.setattr(evidence_audit, "verify_stored_log", slow)
    assert run(evidence.verify_own_log, gateway).running
    assert run(evidence.verify_own_log, gateway).running
    go_on.set()
    found = ended(gateway)
    assert (found.found, found.verified, found.error, len(begun)) == ({}, None, "the disk", 1)
    run(evidence.verify_own_log, gateway)
    ended(gateway)
    assert len(begun) == 2


@pytest.mark.parametrize(
    ("error", "said"), [(None, "there is no evidence log"), (RuntimeError("secret"), "log says what")]
)
def test_why_it_could_not_be(gateway, monkeypatch, error, said):
    if error is not None:
        monkeypatch.setattr(evidence_audit, "verify_stored_log", lambda *_, **__: (_ for _ in ()).throw(error))
    run(evidence.verify_own_log, gateway)
    found = ended(gateway).error
    assert said in found
    assert "secret" not in found
