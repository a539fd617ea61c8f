from __future__ import annotations

import asyncio

from gatepost.mail.model.message import Recipient
from gatepost.mail.queue.hop_queue import BATCH_RECIPIENTS, EACH_ITS_OWN, HopQueue, LaneKey, hosts_of


def put(make, hop, destination, *numbers, terms=""):
    backlog = hop.backlog(destination, terms)
    for number in numbers:
        hop.add(backlog, make.delivery(number, destination=destination))
    return backlog


def test_the_hosts_of_a_next_hop_are_without_the_source_address():
    assert hosts_of("mx.example:25 from 192.0.2.9") == hosts_of("mx.example:25") == "mx.example:25"


def test_destinations_get_their_turns(make):
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/large.example", *range(1, 100))
    put(make, hop, "contoso/small.example", 200)
    taken = [number for _ in range(4) for number in ids(hop.take(0.0))]
    assert taken == [1, 200, 2, 3]
    assert hop.size == 96


def test_what_may_not_be_tried_is_passed_over_until_it_may(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1, 2)
    backlog.gate.fail(make.silence, 10.0, "contoso")
    assert hop.take(5.0) is None
    hop.rotation.put(backlog)
    assert ids(hop.take(10.0)) == [1]
    assert hop.take(10.0) is None  # the probe runs
    hop.ended(backlog, 10.0)
    assert ids(hop.take(10.0)) == [2]


def ids(turn):
    return [delivery.id for delivery in turn.deliveries]


def test_remove(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1, 2)
    assert hop.remove(backlog, 3) is None
    assert hop.remove(backlog, 2).id == 2
    assert (hop.size, list(backlog.ready)) == (1, [1])


def test_it_is_forgotten_only_when_nothing_is_known(make):
    hop = HopQueue("relay.example:25")
    assert hop.forgettable(0.0)
    for name, value in [("lanes", 1), ("leasing", True), ("queued", True), ("hungry", {"x": ""}), ("sated", {"x": ""})]:
        before = getattr(hop, name)
        setattr(hop, name, value)
        assert not hop.forgettable(0.0), name
        setattr(hop, name, before)
    backlog = put(make, hop, "contoso/a.example", 1)
    assert not hop.forgettable(0.0)
    hop.take(0.0)
    hop.ended(backlog, 0.0)
    assert hop.forgettable(0.0)
    hop.gate.fail(make.silence, 10.0, "contoso")
    assert not hop.forgettable(10.0)


def test_each_destination_may_be_a_next_hop_of_its_own(make):
    delivery = make.delivery(1)
    key = LaneKey("contoso/partner.example")
    assert EACH_ITS_OWN.known(delivery) == EACH_ITS_OWN.usual(delivery.destination) == key
    assert asyncio.run(EACH_ITS_OWN.find(delivery)) == key
    assert EACH_ITS_OWN.only_hop(delivery.destination) == key.next_hop


def test_what_is_not_ready_is_not_taken_out_twice(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1)
    assert hop.remove(backlog, 2) is None
    assert hop.size == 1
    assert hop.remove(backlog, 1).id == 1
    assert hop.remove(backlog, 1) is None
    assert hop.size == 0


def test_an_attempt_that_ends_with_nothing_left_gives_no_turn(make):
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/a.example", 1)
    ((backlog, _),) = hop.take(0.0).members
    hop.ended(backlog, 0.0)
    assert not hop.rotation
    assert hop.backlogs == {}


def test_a_backlog_is_made_once_for_its_destination_and_terms():
    hop = HopQueue("relay.example:25")
    backlog = hop.backlog("contoso/a.example", "")
    assert hop.backlog("contoso/a.example", "") is backlog
    assert hop.backlog("contoso/a.example", "by rule") is not backlog


# ------------------------------------------------------------------------------------------- what is tried together


def domains(make, hop, *numbers, batch="message 1", recipients=1):
    """One delivery for each of some domains."""
    for number in numbers:
        destination = f"contoso/d{number}.example"
        addresses = [Recipient(f"u{place}@d{number}.example") for place in range(recipients)]
        hop.add(hop.backlog(destination, ""), make.delivery(number, *addresses, destination=destination), batch)


def test_a_batch_is_taken_together(make):
    hop = HopQueue("relay.example:25")
    domains(make, hop, 1, 2, 3)
    domains(make, hop, 4, batch="message 2")
    domains(make, hop, 5, 6, batch=None)
    turns = [hop.take(0.0) for _ in range(4)]
    assert [ids(turn) for turn in turns] == [[1, 2, 3], [4], [5], [6]]
    assert [turn.batch for turn in turns] == ["message 1", "message 2", None, None]
    assert hop.take(0.0) is None
    assert (hop.size, hop.batches) == (0, {})
    for turn in turns:
        for backlog, _ in turn.members:
            assert backlog.running == 1
            hop.ended(backlog, 0.0)
    assert hop.forgettable(0.0)


def test_a_batch_is_no_larger_than_a_transaction_may_be(make):
    hop = HopQueue("relay.example:25")
    domains(make, hop, *range(1, 8), recipients=30)
    assert [ids(hop.take(0.0)) for _ in range(3)] == [[1, 2, 3], [4, 5, 6], [7]]
    domains(make, hop, 1, recipients=BATCH_RECIPIENTS)
    domains(make, hop, 2)
    assert [ids(hop.take(0.0)) for _ in range(2)] == [[1], [2]]


def test_who_is_taken_along_needs_no_turn_and_costs_others_none(make):
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/d2.example", *range(10, 20))
    domains(make, hop, 1, 2)
    assert ids(hop.take(0.0)) == [10]
    assert ids(hop.take(0.0)) == [1, 2]
    assert ids(hop.take(0.0)) == [11]


def test_no_batch_passes_a_closed_gate_nor_a_probe(make):
    hop = HopQueue("relay.example:25")
    domains(make, hop, 1, 2, 3)
    hop.backlog("contoso/d2.example", "").gate.fail(make.silence, 10.0, "contoso")
    assert ids(hop.take(5.0)) == [1, 3]
    assert hop.take(5.0) is None
    assert list(hop.batches) == ["message 1"]
    domains(make, hop, 4)
    assert ids(hop.take(10.0)) == [4, 2]


def test_what_is_taken_out_leaves_its_batch(make):
    hop = HopQueue("relay.example:25")
    domains(make, hop, 1, 2, 3)
    assert hop.remove(hop.backlog("contoso/d2.example", ""), 2).id == 2
    assert ids(hop.take(0.0)) == [1, 3]


def test_what_a_limit_does_not_admit_leaves_the_rotation(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1)
    put(make, hop, "contoso/b.example", 2)
    assert ids(hop.take(0.0, lambda candidate: candidate is not backlog)) == [2]
    assert hop.take(0.0) is None
    assert list(hop.paused) == [backlog]
    hop.resume()
    assert (ids(hop.take(0.0)), hop.paused) == ([1], {})


def test_the_next_turn_can_be_given_also_to_what_waits_for_a_limit(make):
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/a.example", 1)
    backlog = put(make, hop, "contoso/b.example", 2)
    assert ids(hop.take(0.0, lambda candidate: candidate is not backlog)) == [1]
    put(make, hop, "contoso/a.example", 3)
    assert hop.take(0.0, lambda _: False) is None
    hop.put_first(backlog)
    assert [ids(hop.take(0.0)) for _ in range(2)] == [[2], [3]]


def test_the_probe_of_a_next_hop_is_mail_that_did_not_fail_by_itself(make):
    """A message upsets its server, which is then away for others: these must not wait behind it at each probe."""
    hop = HopQueue("relay.example:25")
    poisoned = put(make, hop, "contoso/a.example", 1)
    put(make, hop, "fabrikam/b.example", 2)
    poisoned.gate.fail(make.silence, 10.0, "contoso")
    hop.gate.fail(make.silence, 10.0, "fabrikam")
    assert ids(hop.take(10.0)) == [2]
    assert ids(hop.take(10.0)) == [1]


def test_organizations_take_turns_with_the_first_probe(make):
    """One has mail for many domains that upsets the hosts, so that another's mail always comes second, to nobody."""
    hop = HopQueue("relay.example:25")
    put(make, hop, "contoso/a.example", 1)
    put(make, hop, "fabrikam/b.example", 2)
    first = []
    for opening in range(4):
        hop.gate.fail(make.silence, 10.0 * opening, "fabrikam")
        turns = [hop.take(10.0 * opening) for _ in range(2)]
        first += ids(turns[0])
        for turn in turns:
            hop.ended(turn.members[0][0], 10.0 * opening)
        put(make, hop, "contoso/a.example", 1)  # all that is due is leased again, in the same order
        put(make, hop, "fabrikam/b.example", 2)
    assert first == [1, 2, 1, 2]
    hop.gate.recover()
    assert not hop.gate.probes


def test_where_an_organization_has_no_turn_the_probe_is_anothers(make):
    hop = HopQueue("relay.example:25")
    poisoned = put(make, hop, "contoso/a.example", 1)
    put(make, hop, "fabrikam/b.example", 2)
    poisoned.gate.fail(make.silence, 10.0, "contoso")
    hop.gate.fail(make.silence, 10.0, "fabrikam")
    assert ids(hop.take(10.0, full={"fabrikam"})) == [1]


def test_after_the_first_probe_organizations_take_turns_as_ever(make):
    """Who came later was probed less: not all of its mail, each refused for itself, is tried before others'."""
    hop = HopQueue("relay.example:25")
    for _ in range(3):
        hop.gate.fail(make.silence, 10.0, "fabrikam")
        hop.gate.probe("fabrikam")
    hop.gate.fail(make.silence, 10.0, "fabrikam")
    for number in range(6):
        put(make, hop, f"contoso/d{number}.example", number + 1)
    put(make, hop, "fabrikam/b.example", 7)
    tried = []
    for _ in range(3):
        turn = hop.take(20.0)
        (backlog, _), *_ = turn.members
        tried += ids(turn)
        backlog.gate.fail(make.silence, 60.0, backlog.organization)
        hop.ended(backlog, 20.0)
    assert tried == [1, 7, 2]


def test_each_probe_of_a_destination_is_another_message(make):
    hop = HopQueue("relay.example:25")
    backlog = put(make, hop, "contoso/a.example", 1, 2, 3)
    probed = []
    for attempt in range(5):
        (number,) = ids(hop.take(20.0 * attempt))
        probed.append(number)
        backlog.gate.fail(make.silence, 20.0 * attempt + 10, "contoso")
        hop.ended(backlog, 20.0 * attempt)
        put(make, hop, "contoso/a.example", number)
        for other in sorted(backlog.ready):  # all come back from the store in their order
            backlog.ready.move_to_end(other)
    assert probed == [1, 2, 3, 1, 2]
