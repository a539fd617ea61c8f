"""What keeps a gateway from starting; the sentences for each are tested with `gatepost serve`, which says them."""

from __future__ import annotations

import pytest

from gatepost.node import start_checks
from gatepost.node.start_checks import start_problems
from gatepost.settings.model import Certificate, Listener, Server, Settings, Store, Tls

SERVER = Server(hostname="mx.gate.example")
LISTENERS = (Listener(role="mx", address="127.0.0.1:0"),)


def problems(**sections):
    return list(start_problems(Settings(server=SERVER, listener=LISTENERS, **sections)))


def test_a_good_machine_has_none():
    assert problems() == []


@pytest.mark.parametrize(
    ("sections", "begin"),
    [
        ({"certificate": (Certificate(chain="/no/chain", key="/no/key"),)}, "certificate chain /no/chain: No such"),
        ({"tls": Tls(trust_anchors="/no/anchors")}, "tls.trust_anchors: /no/anchors: "),
        ({"store": Store(master_key="file:/no/key")}, "store.master_key: master key /no/key: No such file"),
        (
            {"store": Store(master_key="env:NO_SUCH_KEY")},
            "store.master_key: env:NO_SUCH_KEY: there is no such",
        ),
    ],
)
def test_each_problem_names_its_setting(sections, begin):
    (found,) = problems(**sections)
    assert found.startswith(begin)


def test_a_library_that_is_not_the_locked_one(monkeypatch):
    def fails():
        raise start_checks.PrivateCallError("it is another")

    monkeypatch.setattr(start_checks, "self_test", fails)
    assert problems() == ["the installed pyOpenSSL cannot be used: it is another; install the locked version"]
