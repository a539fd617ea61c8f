from __future__ import annotations

import pytest
from support.clock import Clock

from gatepost.mail.queue.allowance import HopLimit
from gatepost.mail.queue.backlog import Backlog
from gatepost.mail.queue.hop_queue import HopQueue
from gatepost.mail.queue.lane_budget import LaneBudget, LaneLine, share
from gatepost.mail.queue.shared_limits import DividedLimits


@pytest.mark.parametrize(("limit", "workers"), [(20, 1), (20, 2), (20, 3), (7, 4), (1000, 64)])
def test_the_shares_of_all_workers_are_the_limit(limit, workers):
    shares = [share(limit, index, workers) for index in range(workers)]
    assert sum(shares) == limit
    assert max(shares) - min(shares) <= 1


def test_no_worker_is_left_without_a_lane():
    assert [share(2, index, 4) for index in range(4)] == [1, 1, 1, 1]


def budget(total=100, per_next_hop=20):
    clock = Clock(0.0)
    return LaneBudget(total, per_next_hop, clock), clock


def test_lanes_in_all_and_to_one_next_hop():
    lanes, _ = budget(3, 2)
    freed = []
    lanes.tell(freed.append)
    lanes.take("a")
    lanes.take("a")
    assert not lanes.allows("a")
    assert lanes.allows("b")
    assert not lanes.exhausted
    lanes.take("b")
    assert lanes.exhausted
    lanes.release("a")
    assert (lanes.lanes("a"), lanes.lanes("b"), lanes.running, freed) == (1, 1, 2, ["a"])
    lanes.release("a")
    lanes.release("b")
    assert lanes.lanes("a") == lanes.running == 0


def test_a_next_hop_that_turns_connections_away_gets_fewer_lanes():
    lanes, _ = budget()
    for _ in range(8):
        lanes.take("a")
    lanes.turned_away("a")
    assert lanes.limit("a") == 7
    lanes.turned_away("a")
    assert (lanes.limit("a"), lanes.allows("a"), lanes.limit("b")) == (6, False, 20)
    for _ in range(10):
        lanes.turned_away("a")
    assert lanes.limit("a") == 1


def test_it_gets_them_back_step_by_step():
    lanes, clock = budget(per_next_hop=9)
    for _ in range(9):
        lanes.take("a")
    for _ in range(5):
        lanes.turned_away("a")
    assert lanes.limit("a") == 4
    lanes.answered("a")
    lanes.answered("b")
    assert lanes.limit("a") == 4
    limits = []
    for _ in range(5):
        clock.now += 10
        lanes.answered("a")
        lanes.answered("a")
        limits.append(lanes.limit("a"))
    assert limits == [5, 6, 7, 8, 9]
    assert not lanes._reduced


def test_what_is_remembered_is_bounded():
    lanes, _ = budget()
    for number in range(1500):
        lanes.turned_away(str(number))
    assert len(lanes._reduced) == 1000
    assert (lanes.limit("0"), lanes.limit("1499")) == (20, 1)


def test_the_limit_of_a_next_hop_changes_while_lanes_run():
    budget = LaneBudget(10, 2, lambda: 0.0)
    budget.take("a")
    budget.take("a")
    assert not budget.allows("a")
    budget.resize(3)
    assert budget.allows("a")
    budget.resize(1)
    assert not budget.allows("a")
    assert budget.limit("b") == 1


TWO = "[organization.contoso]\n[organization.fabrikam]\n"


@pytest.mark.parametrize(("total", "most"), [(1000, 750), (100, 75), (4, 3), (3, 2), (2, 1), (1, 1)])
def test_where_there_are_others_one_organization_has_three_quarters(directory, total, most):
    lanes, _ = budget(total)
    for _ in range(total):
        lanes.organizations.begin("contoso")
    lanes.use(directory(TWO))
    for _ in range(total - most):
        assert "contoso" in lanes.organizations
        lanes.organizations.end("contoso")
    assert "contoso" in lanes.organizations
    assert ("fabrikam" in lanes.organizations) == (total == 1)
    lanes.organizations.end("contoso")
    assert "contoso" not in lanes.organizations
    lanes.organizations.begin("contoso")
    lanes.use(directory("[organization.contoso]\n"))
    assert ("contoso" in lanes.organizations) == (total == 1)


def test_two_organizations_leave_lanes_to_a_third(directory):
    lanes, _ = budget(1000)
    lanes.use(directory(TWO + "[organization.adatum]\n"))
    for name in ("contoso", "fabrikam"):
        while name not in lanes.organizations:
            lanes.organizations.begin(name)
    assert "adatum" not in lanes.organizations
    assert lanes.organizations.free == 63


def test_what_is_shared_out_is_divided_when_lanes_are(directory):
    lanes, _ = budget(1000)
    before = lanes.share_out(4)
    before.begin("contoso", 3)
    assert ("contoso" in before, before.divided) == (False, False)
    lanes.use(directory(TWO))
    assert "contoso" in before
    assert lanes.share_out(4).divided
    lanes.use(directory("[organization.contoso]\n"))
    assert "contoso" not in before


def hop(*destinations):
    queue = HopQueue(destinations[0])
    for destination in destinations:
        queue.rotation.put(Backlog(destination, ""))
    return queue


def test_organizations_take_turns_in_the_line_and_those_that_are_full_wait():
    full = set()
    line = LaneLine(full)
    assert not line
    assert line.next() is None
    many = [hop(f"large/{number}.example") for number in range(3)]
    shared, few = hop("large/both.example", "small/both.example"), hop("small/a.example")
    for each in (*many, shared, few, few):
        line.stand(each)
    assert (len(line), shared.queued) == (6, {"large", "small"})
    assert [line.next() for _ in range(3)] == [many[0], shared, many[1]]
    assert shared.queued == {"large"}
    full.add("large")
    assert line
    assert [line.next(), line.next()] == [few, None]
    assert not line
    assert len(line) == 2
    full.clear()
    assert [line.next(), line.next(), line.next()] == [many[2], shared, None]
    assert (shared.queued, few.queued, len(line)) == (set(), set(), 0)


class Places(DividedLimits):
    scarce = False

    def is_scarce(self, most):
        return self.scarce


def test_limits_of_connectors_at_a_next_hop(monkeypatch):
    limit = HopLimit("o/c", "connector c", 3)
    without, _ = budget()
    assert without.allowance("a", limit) is None
    lanes = LaneBudget(100, 20, Clock(0.0), limits=Places(lambda: (0, 1)))
    assert lanes.allowance("a", None) is None
    allowance = lanes.allowance("a", limit)
    assert lanes.allowance("a", HopLimit("o/c", "connector c", 2)) is allowance
    assert allowance.limit.connections == 2
    lanes.take("a")
    allowance.admit(100.0)
    assert (lanes.idle("a"), lanes.idle("b")) == (1, 20)
    lanes.allowance("a", HopLimit("o/rate", "connector rate", 0, 60))
    assert lanes.idle("a") == 1
    ended = []
    lanes.end_idle = ended.append
    lanes.leave("b")
    lanes.leave("a")
    monkeypatch.setattr(Places, "scarce", True)
    lanes.leave("a")
    assert ended == ["a"]
    monkeypatch.setattr("gatepost.mail.queue.lane_budget._LIMITED", 2)
    lanes.allowance("b", limit)
    lanes.allowance("c", limit)
    assert lanes.allowance("a", limit) is allowance
