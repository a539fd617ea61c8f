from __future__ import annotations

import time
from threading import Event

import pytest

from gatepost.manage.use_cases import evidence_audit
from gatepost.manage.use_cases.verifying import Verifying
from gatepost.store.evidence_files import evidence_directory


def ended(verifying):
    for _ in range(1500):
        run = verifying.last()
        if run is not None and not run.is_running:
            return run
        time.sleep(0.02)
    raise AssertionError("it does not end")


def test_the_log_is_verified_behind_who_asks(gateway, logs):
    assert gateway.verifying.last() is None
    directory = evidence_directory(gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    chain.append(logs.events(3, at=time.time(), message="m"), time.time())
    chain.checkpoint(time.time())
    gateway.verifying.start()
    run = ended(gateway.verifying)
    assert (run.found.verified, run.error) == (True, "")
    assert run.ended >= run.begun


def test_one_at_a_time(tmp_path, monkeypatch):
    begun, go_on = [], Event()

    def slow(*_, **__):
        begun.append(1)
        go_on.wait(30)
        raise OSError("the disk")

    monkeypatch.setattr(evidence_audit, "verify_log", slow)
    verifying = Verifying(tmp_path)
    verifying.start()
    verifying.start()
    assert verifying.last().is_running
    go_on.set()
    run = ended(verifying)
    assert (run.found, run.error, len(begun)) == (None, "the disk", 1)


@pytest.mark.parametrize(
    ("error", "said"), [(None, "there is no evidence log"), (RuntimeError("secret"), "log says why")]
)
def test_why_it_could_not_be(tmp_path, monkeypatch, error, said):
    if error is not None:
        monkeypatch.setattr(evidence_audit, "verify_log", lambda *_, **__: (_ for _ in ()).throw(error))
    verifying = Verifying(tmp_path)
    verifying.start()
    found = ended(verifying).error
    assert said in found
    assert "secret" not in found
