from __future__ import annotations

import time

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Memory, Severity, encoded
from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.alarms import ActiveAlarm, ActiveAlarms, ListAlarms, list_alarms, summary
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.loader import load
from gatepost.values import replace

OWNER = Principal("ann", frozenset(Scope))
CONTOSO = Principal("con", frozenset(Scope), frozenset({"contoso"}))


def alarm(kind, about, severity=Severity.ERROR):
    return Alarm(kind, severity, "", f"about {about}", "Detail.", "Do it.", about, since=1000.0)


FAILING = alarm(AlarmKind.PARTNER_FAILING, "contoso/bank/bank.example", Severity.CRITICAL)
OTHER = alarm(AlarmKind.PARTNER_FAILING, "fabrikam/shop")
OLD = alarm(AlarmKind.QUEUE_AGE, "queue", Severity.WARNING)


def alarms(gateway, principal=OWNER):
    return LocalClient(gateway, principal).call(list_alarms, ListAlarms())


@pytest.fixture
def kept(gateway):
    """What a gateway that ran left behind."""
    with gateway.config() as store:
        standing = tuple(AlarmStatus(one, 1) for one in (OTHER, OLD, FAILING))
        memory = Memory(looked=time.time(), standing=standing)
        store.apply({}, author="test", content={ALARMS_CONTENT: encoded(memory)})
    return gateway


def test_everybody_sees_what_is_about_their_mail_the_gravest_first(kept):
    found = alarms(kept)
    assert [one.about for one in found.alarms] == [FAILING.about, OTHER.about, OLD.about]
    assert [one.about for one in alarms(kept, CONTOSO).alarms] == [FAILING.about]
    assert alarms(kept, Principal("no", frozenset(Scope), frozenset())).alarms == []


def test_a_key_that_is_missing_is_named_once(tmp_path, root):
    """Its alarm says what else would be among what is not known: before there is one, that is where it stands."""
    (tmp_path / "chain.pem").write_bytes(root.certificate_pem)
    settings = (
        f'[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n[[certificate]]\nchain = "{tmp_path}/chain.pem"\n'
    )
    (tmp_path / "gatepost.toml").write_text(f'{settings}key = "{tmp_path}/key.pem"\n')
    gateway = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
    text = f"private key {tmp_path}/key.pem: No such file or directory"
    with gateway.config() as store:
        store.apply({}, author="test")
        assert text in alarms(gateway).unknown
        unusable = replace(alarm(AlarmKind.KEY_UNUSABLE, "mx"), detail=f"{text[:1].upper()}{text[1:]}.")
        content = encoded(Memory(looked=time.time(), standing=(AlarmStatus(unusable, 1),)))
        store.apply({}, author="test", content={ALARMS_CONTENT: content})
    found = alarms(gateway)
    assert [one.detail for one in found.alarms] == [unusable.detail]
    assert text not in found.unknown


def test_a_store_that_cannot_be_read(gateway):
    gateway.data.mkdir()
    (gateway.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    with pytest.raises(Refusal) as refused:
        alarms(gateway)
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_words():
    failing, old = (
        ActiveAlarm(one.kind, one.severity, None, one.about, one.title, one.detail, one.fix, [], one.since)
        for one in (FAILING, OLD)
    )
    found = ActiveAlarms([failing, old], 5.0, ["dns"])
    assert summary(found) == "1 critical alarm, 1 warning: about contoso/bank/bank.example (see gatepost alarms)"
    assert summary(ActiveAlarms([], 5.0, ["dns"])) == "some checks could not run: dns"
    assert summary(ActiveAlarms([], 5.0, [])) == "no alarms"
    assert found.of_certificates() == ActiveAlarms([], 5.0, ["dns"])
    assert found.of_mail() == ActiveAlarms([failing, old], 5.0, [])
