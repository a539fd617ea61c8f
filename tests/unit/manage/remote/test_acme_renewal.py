from __future__ import annotations

import pytest
import tomlkit

from gatepost.manage.remote import acme_renewal
from gatepost.manage.remote.acme_renewal import forget_account, renew
from gatepost.manage.use_cases import acme_renewal as here
from gatepost.manage.use_cases.acme_renewal import Renewal
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.settings.loader import load

from .conftest import NAME, OWNER

NOWHERE = "https://127.0.0.1:1/dir"


@pytest.fixture
def ordering(safe, tmp_path):
    """A gateway with an authority at which nobody listens."""
    file = tmp_path / "gatepost.toml"
    document = tomlkit.parse(file.read_text(encoding="utf-8"))
    document["acme"] = {"agree_tos": True, "directory_url": NOWHERE}
    document["dns"] = {"nameservers": ["127.0.0.1:1"], "timeout": 0.05, "attempts": 1}
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    safe.api.gateway = safe.api._app.state.gateway = Gateway(load(str(file), {}))
    return safe


def test_what_came_of_it_is_the_same(ordering):
    heard = []
    done = renew(ordering, heard=heard.append)
    assert done == heard
    (one,) = done
    assert (one.names, one.ok) == ((NAME,), False)
    assert one.text.startswith(f"{NOWHERE} cannot be reached")
    assert renew(ordering) == []
    assert renew(ordering, NAME, at_once=True) == here.renew(ordering.api.gateway, OWNER, NAME, at_once=True)
    staging = "https://127.0.0.1:2/x"
    assert renew(ordering, staging=staging) == here.renew(ordering.api.gateway, OWNER, staging=staging)


def test_what_cannot_be_asked_for(ordering, safe):
    with pytest.raises(Refusal, match="in none of the certificates") as refused:
        renew(ordering, "b.example")
    assert refused.value.kind is Kind.INPUT
    with here._asking_alone(ordering.api.gateway):
        for ask in (renew, forget_account):
            with pytest.raises(Refusal, match="just now") as refused:
                ask(ordering)
            assert refused.value.kind is Kind.UNREADABLE


def test_off(safe):
    for ask in (renew, forget_account):
        with pytest.raises(Refusal, match="ACME is off") as refused:
            ask(safe)
        assert refused.value.kind is Kind.INPUT


def test_the_account_is_forgotten(ordering):
    assert forget_account(ordering) == NOWHERE


class Slow:
    """Answers that come one after the other."""

    url = "https://gate.example"

    def __init__(self, *states):
        self.states = list(states)

    def call(self, *_, **__):
        return type("Answer", (), {"value": {"id": "x", "trouble": "", **self.states.pop(0)}})

    get = call


FIRST, SECOND = ({"names": [one], "ok": True, "text": f"certificate {one}"} for one in "ab")


def test_each_is_told_once_as_it_ends(monkeypatch):
    heard = []
    slow = Slow(
        {"done": False, "results": []},
        {"done": False, "results": [FIRST]},
        {"done": True, "results": [FIRST, SECOND]},
    )
    assert renew(slow, heard=heard.append) == heard
    assert heard == [Renewal(("a",), ok=True, text="certificate a"), Renewal(("b",), ok=True, text="certificate b")]
    monkeypatch.setattr(acme_renewal, "_MOST", -1)
    with pytest.raises(Refusal, match="still asking"):
        renew(Slow({"done": False, "results": []}))
