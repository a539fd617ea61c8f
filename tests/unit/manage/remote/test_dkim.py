from __future__ import annotations

import pytest

from gatepost.analysis.checks.dkim_record import RecordSight, Seen
from gatepost.manage.remote import dkim, dkim_changes
from gatepost.manage.use_cases import dkim as here
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.dkim import KeySelection
from gatepost.manage.use_cases.dkim_changes import NewKey, Rotation
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.values import DkimAlgorithm

from .conftest import OWNER

ED = DkimAlgorithm.ED25519_SHA256
NAME = "a._domainkey.contoso.example"
WISH = Wish("ann", "by REST")


@pytest.fixture
def gateway(keyed):
    return keyed


@pytest.fixture
def seen(monkeypatch):
    found = [RecordSight(Seen.MISSING, "nothing")]

    async def sight(*_):
        return found[0]

    monkeypatch.setattr(here, "seen_record", sight)
    return found


def add(there, selector="a", **more):
    return dkim_changes.add_key(there, NewKey("contoso.example", selector=selector, **{"algorithm": ED} | more), WISH)


def test_lists_are_the_same(there, seen):
    assert add(there).name == NAME
    add(there, "b", current=True)
    own = there.api.gateway
    assert dkim.dkim_keys(there) == here.dkim_keys(own, OWNER)
    selection = KeySelection("contoso", selector="b", state="current")
    assert dkim.dkim_keys(there, selection, check=True) == here.dkim_keys(own, OWNER, selection, check=True)
    assert dkim.dkim_key(there, NAME, check=True) == here.dkim_key(own, OWNER, NAME, check=True)
    with pytest.raises(Refusal) as refused:
        dkim.dkim_key(there, "x._domainkey.contoso.example")
    assert refused.value.kind is Kind.MISSING


def test_a_key_is_let_sign_and_refused_alike(there, seen):
    add(there)
    with pytest.raises(Refusal) as refused:
        dkim_changes.rotate_keys(there, Rotation("contoso.example"), WISH)
    assert (refused.value.kind, refused.value.options) == (Kind.CONFLICT, ("force",))
    assert refused.value.errors[0].path == NAME
    assert refused.value.text == "nothing was changed; a reason overrides it, and is kept"
    outcome = dkim_changes.rotate_keys(there, Rotation("contoso.example", force="at night"), WISH)
    assert [change.after for change in outcome.changes] == ["current"]
    with pytest.raises(Refusal) as refused:
        dkim_changes.rotate_keys(there, Rotation("contoso.example"), WISH)
    assert refused.value.kind is Kind.INPUT


def test_private_keys_are_sent_and_files_are_not(there):
    pem = made_key(ED)
    add(there, pem=pem, source="k.pem")
    assert dkim.import_key(there, NAME, "", pem, "k.pem") == NAME
    with pytest.raises(Refusal, match="has not the private half"):
        dkim.import_key(there, NAME, "contoso", made_key(ED), "k.pem")
    calls = len(there.calls)
    with pytest.raises(Refusal, match="one of the gateway's own machine"):
        add(there, "b", pem=pem, source="k.pem", key_file="/k.pem")
    assert len(there.calls) == calls


def test_a_dry_run(there):
    tried = dkim_changes.add_key(
        there, NewKey("news.contoso.example", algorithm=ED), Wish("ann", dry_run=True, since=1.0)
    )
    assert tried.outcome.dry_run
    assert dkim.dkim_keys(there) == []
    with pytest.raises(Refusal, match="no organization accepts"):
        dkim_changes.add_key(there, NewKey("other.example"), WISH)
