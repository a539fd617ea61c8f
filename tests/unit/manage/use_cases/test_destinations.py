from __future__ import annotations

import time
from typing import NamedTuple

import msgspec
import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import destinations
from gatepost.manage.use_cases.client import LocalClient, all_items
from gatepost.manage.use_cases.destinations import (
    DestinationActions,
    DestinationsQuery,
    act_on_destinations,
    list_destinations,
)
from gatepost.manage.use_cases.queue_actions import QueueAction
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile

OWNER = Principal("ann", frozenset(Scope))
TENANT = Principal("tim", frozenset(Scope), frozenset({"fabrikam"}))
AUTH, CLEAR = Achieved(TlsLevel(2), MxLevel.NONE), Achieved(TlsLevel(0), MxLevel.NONE)
DAY = 86400.0
FALLEN, GOOD, HOSTS, OTHER = "fallen.example", "good.example", "connector:Bank", "fallen.example of fabrikam"


@pytest.fixture
def seen(gateway):
    now = time.time()
    fell = [(SeenSession("mx", AUTH, now - 9 * DAY, "TLSv1.3"), False), (SeenSession("mx", CLEAR, now - DAY), False)]
    file = DestinationFile(gateway.data / DESTINATIONS_FILE)
    file.write(
        {
            DestinationName("contoso", FALLEN): fell,
            DestinationName("contoso", GOOD): fell[:1],
            DestinationName("fabrikam", "", "Bank"): fell,
            DestinationName("fabrikam", FALLEN): fell,
        }
    )
    file.close()
    return gateway


class Which(NamedTuple):
    domain: str = ""
    organization: str = ""
    connector: str = ""


def remembered(gateway, who, which, *, limit=0, **more):
    return list(all_items(LocalClient(gateway, who).call, list_destinations, query(which, **more), limit))


def query(which, **more):
    return DestinationsQuery(**which._asdict(), **more)


def act(gateway, who, which, action, *, everything=False, dry_run=False):
    request = DestinationActions(action=action, all=everything, **which._asdict())
    return LocalClient(gateway, who).call(act_on_destinations, request, dry_run=dry_run)


def accepted(gateway, who, which, **more):
    return act(gateway, who, which, "accept", **more)


def forgotten(gateway, who, which, **more):
    return act(gateway, who, which, "forget", **more).items


def names(found):
    return [(one.organization, one.name) for one in found]


@pytest.mark.parametrize(
    ("who", "which", "more", "expected"),
    [
        (OWNER, Which(), {}, [("contoso", FALLEN), ("contoso", GOOD), ("fabrikam", HOSTS), ("fabrikam", FALLEN)]),
        (OWNER, Which(), {"limit": 2}, [("contoso", FALLEN), ("contoso", GOOD)]),
        (OWNER, Which(), {"below": True, "limit": 2}, [("contoso", FALLEN), ("fabrikam", HOSTS)]),
        (OWNER, Which("Fallen.Example"), {}, [("contoso", FALLEN), ("fabrikam", FALLEN)]),
        (OWNER, Which(connector="bank"), {}, [("fabrikam", HOSTS)]),
        (OWNER, Which("[192.0.2.1]"), {}, []),
        (TENANT, Which(), {}, [("fabrikam", HOSTS), ("fabrikam", FALLEN)]),
        (TENANT, Which(organization="contoso"), {}, []),
    ],
)
def test_which_are_listed(seen, monkeypatch, who, which, more, expected):
    for chunk in (1, 1000):
        monkeypatch.setattr(destinations, "_CHUNK", chunk)
        assert names(remembered(seen, who, which, **more)) == expected


def test_what_is_behind_a_place(seen):
    whole, after = remembered(seen, OWNER, Which()), ""
    for one in whole:
        page = LocalClient(seen, OWNER).call(list_destinations, query(Which(), limit=1, after=after))
        assert page.items == [one]
        after = page.after
    assert after is None


def test_what_a_record_says(seen):
    (one,) = remembered(seen, OWNER, Which(FALLEN, "contoso"))
    assert (one.best, one.below) == ("none/authenticated", ["mx"])
    (host,) = one.hosts
    assert (host.last, host.expected, host.tls_version) == ("none/none", "none/authenticated", "")
    assert set(host.seen) == {"encrypted", "authenticated"}
    assert "expected" not in msgspec.to_builtins(remembered(seen, OWNER, Which(GOOD))[0].hosts[0])


def test_what_fell_is_accepted(seen):
    planned = accepted(seen, OWNER, Which(FALLEN, "contoso"), dry_run=True)
    assert (names(planned.items), planned.retried) == ([("contoso", FALLEN)], 0)
    assert remembered(seen, OWNER, Which(FALLEN, "contoso"))[0].below == ["mx"], "nothing was changed"
    done = accepted(seen, OWNER, Which(FALLEN, "contoso"))
    assert (done.items[0].below, done.items[0].best) == ([], "none/none")
    with pytest.raises(Refusal) as refused:
        accepted(seen, OWNER, Which(FALLEN, "contoso"))
    assert refused.value.kind is RefusalKind.CONFLICT
    assert len(accepted(seen, OWNER, Which(), everything=True).items) == 2


def test_held_mail_is_tried_again(seen, monkeypatch):
    asked = []

    def apply(_, who, action, wanted):
        asked.append((who, action, wanted))
        return ["a delivery", "another"]

    monkeypatch.setattr(destinations, "apply_action", apply)
    assert accepted(seen, TENANT, Which(), everything=True).retried == 4
    assert sorted((wanted.organization, wanted.domain, wanted.held) for _, _, wanted in asked) == [
        ("fabrikam", "", True),
        ("fabrikam", FALLEN, True),
    ]
    assert {(who, action) for who, action, _ in asked} == {(TENANT, QueueAction.RETRY)}


def test_what_is_forgotten(seen):
    assert names(forgotten(seen, OWNER, Which(GOOD), dry_run=True)) == [("contoso", GOOD)]
    assert names(forgotten(seen, OWNER, Which(GOOD))) == [("contoso", GOOD)]
    assert names(forgotten(seen, TENANT, Which(), everything=True)) == [("fabrikam", HOSTS), ("fabrikam", FALLEN)]
    assert names(remembered(seen, OWNER, Which())) == [("contoso", FALLEN)], "a tenant forgets its own alone"


@pytest.mark.parametrize("do", [accepted, forgotten])
@pytest.mark.parametrize(
    ("who", "which", "kind", "text"),
    [
        (OWNER, Which(), RefusalKind.INPUT, "name the destination"),
        (OWNER, Which(organization="contoso"), RefusalKind.INPUT, "name the destination"),
        (OWNER, Which("no domain"), RefusalKind.INPUT, "no domain"),
        (OWNER, Which(FALLEN), RefusalKind.INPUT, "contoso, fabrikam; or that it is for all of them"),
        (OWNER, Which("nobody.example"), RefusalKind.MISSING, "nothing is recorded for nobody.example"),
        (OWNER, Which(connector="none"), RefusalKind.MISSING, "connector none"),
        (TENANT, Which(FALLEN, "contoso"), RefusalKind.MISSING, "nothing is recorded"),
    ],
)
def test_what_is_not_done(seen, do, who, which, kind, text):
    with pytest.raises(Refusal, match=text) as refused:
        do(seen, who, which)
    assert refused.value.kind is kind
    assert len(remembered(seen, OWNER, Which())) == 4


def test_a_file_that_cannot_be_read(gateway):
    gateway.data.mkdir(parents=True)
    (gateway.data / DESTINATIONS_FILE).write_bytes(b"no database, but long enough to be read as one " * 100)
    with pytest.raises(Refusal) as refused:
        remembered(gateway, OWNER, Which())
    assert refused.value.kind is RefusalKind.UNREADABLE
