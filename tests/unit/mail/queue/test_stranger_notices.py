from __future__ import annotations

import pytest

from gatepost.events.metrics.counts import Counts
from gatepost.mail.queue.stranger_notices import LIMIT_ADDRESS, LIMIT_ORGANIZATION, NoticesToStrangers, is_from_stranger
from gatepost.policy.connectors.values import StrangerNotices


class World:
    def __init__(self, choice):
        self.now, self.counts = 7200.0, Counts()
        self.notices = NoticesToStrangers(lambda _: StrangerNotices(choice), lambda: self.now, self.counts)

    def withheld(self, message, organization="contoso", *, failed=True):
        return self.notices.withheld(message, organization, failed=failed)


@pytest.fixture
def strangers(make):
    def message(reverse_path="joe@partner.example", **fields):
        return make.message(
            reverse_path=reverse_path, **{"direction": "incoming", "inbound": {"basis": "none"}} | fields
        )

    return message


@pytest.mark.parametrize(
    ("direction", "inbound", "stranger"),
    [
        ("incoming", {"basis": "none"}, True),
        ("incoming", {"basis": "sender"}, True),
        ("incoming", {}, True),
        ("incoming", {"basis": "certificate"}, False),
        ("incoming", {"basis": "address"}, False),
        ("originating", {"basis": "none"}, False),
        ("incoming", {"basis": "node", "handover": {"basis": "none"}}, True),
        ("incoming", {"basis": "node", "handover": {"basis": "certificate"}}, False),
    ],
)
def test_a_stranger_is_who_was_not_identified_where_the_mail_came_in(strangers, direction, inbound, stranger):
    assert is_from_stranger(strangers(direction=direction, inbound=inbound)) is stranger


def test_who_is_known_gets_every_notice(strangers):
    world = World("withheld")
    assert world.withheld(strangers(inbound={"basis": "certificate"})) == ""
    assert World("send").withheld(strangers()) == ""


@pytest.mark.parametrize("failed", [True, False])
def test_withheld_is_every_notice_and_counted(strangers, failed):
    world = World("withheld")
    assert world.withheld(strangers(), failed=failed) == "withheld: by notices_to_strangers of the organization"
    assert not world.notices.is_limited(strangers(), "contoso")
    assert world.counts.numbers == {("gatepost_notices_withheld_total", "withheld"): 1}


def test_limited_is_failures_alone_a_few_in_an_hour_to_an_address(strangers):
    world = World("limited")
    assert "only failures" in world.withheld(strangers(), failed=False)
    said = [world.withheld(strangers(address)) for address in ("joe@p.example", "JOE@p.example") * 2]
    assert said[:LIMIT_ADDRESS] == [""] * LIMIT_ADDRESS
    assert said[3] == "withheld: the address had 3 notices in this hour"
    assert world.withheld(strangers("eve@p.example")) == ""
    world.now += 3600
    assert world.withheld(strangers("joe@p.example")) == ""
    assert world.notices.is_limited(strangers(), "contoso")
    assert not world.notices.is_limited(strangers(direction="originating"), "contoso")


def test_limited_is_so_many_in_an_hour_for_an_organization(strangers):
    world = World("limited")
    said = [world.withheld(strangers(f"{number}@p.example")) for number in range(LIMIT_ORGANIZATION + 1)]
    assert said == [""] * LIMIT_ORGANIZATION + ["withheld: strangers had 60 notices in this hour"]
    assert world.withheld(strangers(), "fabrikam") == ""
