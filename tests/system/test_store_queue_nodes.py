"""The queue that nodes share in PostgreSQL: take-over, fencing, and a server that is away, read-only or slow."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.detour import Detour
from support.postgres import Postgres
from support.queue_site import (
    INLINE,
    PARTNER,
    Events,
    PostgresSite,
    accept,
    commit,
    deferred,
    delivery_of,
    eventually,
    message_of,
    read,
    settled,
)

from gatepost.mail.model.queue_id import format_id
from gatepost.net.tasks import spawn
from gatepost.store.interface import OutcomeUnknown, QueueFilter, Settlement, Store, StoreBusy, StoreFailure
from gatepost.store.postgres import owners, queue_rows
from gatepost.store.postgres.queue import PostgresStore

pytestmark = pytest.mark.timeout(180)  # all of them take two minutes and a half: what takes long begins first

COPIES = """
INSERT INTO queue_message SELECT m.id + i, m.size, m.big, m.alone, m.organization, m.sender, m.facts, m.body
FROM queue_message AS m, generate_series(1, {last}) AS i WHERE m.id = {message};
INSERT INTO queue_delivery SELECT d.message + i, d.id + i, d.destination, d.next_at, d.owner, d.held, d.dropped,
    d.returned, d.attempts, d.expires_at, d.last_error, d.recipients
FROM queue_delivery AS d, generate_series(1, {last}) AS i WHERE d.message = {message}
"""
FAILS_AGAIN = """
CREATE TABLE brought (message bigint, id bigint);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO brought VALUES (NEW.message, NEW.id); NEW.next_at := 5000; RETURN NEW; END $$;
CREATE TRIGGER fails BEFORE UPDATE ON queue_delivery FOR EACH ROW WHEN (NEW.next_at = 100) EXECUTE FUNCTION fail()
"""
QUICK = 5.0  # seconds of silence after which a process of these tests has ended


@pytest.fixture
def site(postgres: Postgres, tmp_path: Path) -> PostgresSite:
    return PostgresSite(tmp_path, postgres)


async def everything(store: Store) -> dict[int, str]:
    """All mail that waits, by id: its subject."""
    found = {}
    for work in await store.destinations():
        for delivery in await store.lease(work.destination, 100_000, time.time() + 10_000):
            found[delivery.message.id] = delivery.message.subject
    return found


# ------------------------------------------------------------------------------------------- shared by nodes


def test_nodes_share_deferred_mail_and_give_out_different_ids(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open(node="a") as a, site.open(node="b") as b:
            made = [await deferred(a) for _ in range(20)]
            found = await asyncio.gather(*[store.lease(PARTNER, 7, time.time()) for store in (a, b, a, b)])
            leased = [delivery.id for batch in found for delivery in batch]
            assert sorted(leased) == sorted(delivery.id for delivery in made)
            assert {delivery.owner for delivery in found[0]} != {delivery.owner for delivery in found[1]}
            await settled(a, *found[0], *found[2])
            await settled(b, *found[1], *found[3])
            assert site.count("message") == 0
            ids = [store.new_id() for store in (a, b) for _ in range(1000)]
            assert len(set(ids)) == 2000
            await eventually(lambda: (a.position, b.position) == ((0, 2), (1, 2)))

    asyncio.run(main())


@pytest.mark.parametrize(
    "break_it",
    [
        "UPDATE queue_message SET facts = replace(facts, '\"contoso\"', '[\"contoso\"]') WHERE id = {}",
        "UPDATE queue_message SET facts = '' WHERE id = {}",
        "UPDATE queue_delivery SET recipients = '[{{}}]' WHERE message = {}",
    ],
)
def test_mail_that_a_node_cannot_read_waits_alone(
    site: PostgresSite, break_it: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a newer release, or written by a worker that was taken over: what was leased with it must not stay behind."""

    async def main() -> None:
        async with site.open(node="a") as a:
            made = [await deferred(a) for _ in range(3)]
            broken = made[1].message.id
            site.sql(break_it.format(broken))
            leased = await a.lease(PARTNER, 7, time.time())
            assert sorted(one.id for one in leased) == sorted(one.id for one in (made[0], made[2]))
            assert site.sql("SELECT message FROM queue_delivery WHERE owner IS NULL") == str(broken)
            assert await a.lease(PARTNER, 7, time.time() + 60) == []
            assert format_id(broken) in caplog.text

            entries = {entry.delivery.message.id: entry for entry in site.admin().entries(QueueFilter())}
            assert set(entries) == {one.message.id for one in made}
            shown = entries[broken]
            assert (shown.state, shown.delivery.organization) == ("deferred", "contoso")
            assert "this release cannot read" in shown.delivery.last_error
            assert site.admin().unreadable() == (1, broken)
            stored = site.sql(
                "SELECT facts, recipients FROM queue_message JOIN queue_delivery ON message = queue_message.id"
            )
            for action in ("hold", "release", "retry"):
                getattr(site.admin(), action)(QueueFilter(message=format_id(broken)), author="olga")
            assert (
                site.sql(
                    "SELECT facts, recipients FROM queue_message JOIN queue_delivery ON message = queue_message.id"
                )
                == stored
            )
            assert site.admin().unreadable() == (1, broken)
            dropped = Events()
            site.admin(dropped).drop(QueueFilter(message=format_id(broken)), author="olga")
            assert site.count("message") == 2
            assert site.admin().unreadable() == (0, 0)
            assert [event.message for event in dropped.events] == [format_id(broken)]

    asyncio.run(main())


def test_two_nodes_that_end_the_last_deliveries_at_once_leave_no_message(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open(node="a") as a, site.open(node="b") as b:
            for _ in range(30):
                message = message_of(a)
                both = [delivery_of(a, message, "ann@one.example"), delivery_of(a, message, "joe@two.example")]
                await commit(a, message, both)
                a.settle([Settlement(both[1], both[1].recipients, 1.0)])
                await a.flushed()
                (other,) = await b.lease("contoso/two.example", 5, time.time())
                await asyncio.gather(settled(a, both[0]), settled(b, other))
            await eventually(lambda: site.count("message") == 0)

    asyncio.run(main())


def test_others_hear_of_deferred_mail_that_nobody_looks_after(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open(node="b") as b:
            async with site.open(node="a") as a:
                waiting = await deferred(a, next_at=time.time() + 1)
                await accept(a, "joe@fresh.example")
            heard = site.owner(b).work
            wanted = {waiting.destination, "contoso/fresh.example"}
            await eventually(lambda: wanted <= {one.destination for one in heard}, 15)

    asyncio.run(main())


def test_mail_is_accepted_while_what_is_due_too_late_is_brought_forward(site: PostgresSite) -> None:
    """As at a start after `queue.retry` was shortened: with a million deliveries it takes a while."""
    copies = 16 * queue_rows.BRING_FORWARD_ROWS

    def late() -> int:
        return int(site.sql("SELECT count(*) FROM queue_delivery WHERE next_at > 100"))

    async def main() -> None:
        async with site.open() as store:
            delivery = await deferred(store, next_at=5000.0)
            site.sql(COPIES.format(message=delivery.message.id, last=copies))
            store.bring_forward(100.0)
            await eventually(lambda: late() <= copies)
            await accept(store, "bob@fresh.example")
            assert late() > 0, "the message waited for all of it"
            await eventually(lambda: late() == 0, 60)
            assert await store.earliest(PARTNER) == 100.0

    asyncio.run(main())


def test_what_fails_again_meanwhile_is_not_brought_forward_again(site: PostgresSite) -> None:
    """Else mail for zones that are broken would be tried without end, once nameservers answered again."""
    copies = 3 * queue_rows.BRING_FORWARD_ROWS

    def late() -> int:
        return int(site.sql("SELECT count(*) FROM queue_delivery WHERE next_at > 100"))

    async def main() -> None:
        async with site.open() as store:
            delivery = await deferred(store, next_at=5000.0)
            site.sql(COPIES.format(message=delivery.message.id, last=copies))
            site.sql("UPDATE queue_delivery SET last_error = '450 4.4.312 DNS query failed'")
            site.sql(FAILS_AGAIN)
            store.bring_forward(100.0, "450 4.4.312 ")
            await eventually(lambda: int(site.sql("SELECT count(*) FROM brought")) > copies)
            await asyncio.sleep(0.3)
            assert (
                site.sql("SELECT max(times) FROM (SELECT count(*) AS times FROM brought GROUP BY message, id)") == "1"
            )
            assert late() == copies + 1

    asyncio.run(main())


def test_a_stop_does_not_wait_for_what_is_brought_forward(site: PostgresSite) -> None:
    """The next start goes on with it."""

    async def main() -> None:
        async with site.open() as store:
            delivery = await deferred(store, next_at=5000.0)
            site.sql(COPIES.format(message=delivery.message.id, last=3 * queue_rows.BRING_FORWARD_ROWS))
            store.bring_forward(100.0)
        assert int(site.sql("SELECT count(*) FROM queue_delivery WHERE next_at > 100")) > 0

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- ended, fenced

PROCESS = textwrap.dedent("""
    import asyncio, hashlib, os, random, sys, time
    from pathlib import Path
    from gatepost.mail.model.message import Delivery, Message, Recipient
    from gatepost.store.interface import Settlement
    from gatepost.store.postgres.queue import PostgresSettings, PostgresStore
    from gatepost.store.sqlite.schema import StoreSettings

    class Trace:
        dropped = 0
        def add(self, events): pass
        def close(self): pass

    async def main(url, path, seed, expiry):
        store = await PostgresStore.open(
            url, path, node=f"node{seed}", worker=0, trace=Trace(),
            settings=PostgresSettings(local=StoreSettings(free_space_mark=0), expiry=expiry),
        )
        loop = asyncio.get_running_loop()
        chance = random.Random(seed)
        print("ready", flush=True)

        async def sender():
            while True:
                content = chance.randbytes(chance.choice([700, 4096, 50_000, 400_000, 1_500_000]))
                body = store.body()
                for first in range(0, len(content), 65536):
                    if (wait := body.write(content[first : first + 65536])) is not None:
                        await wait
                message = Message(store.new_id(), "contoso", time.time(), "bob@contoso.example")
                message.subject = hashlib.sha256(content).hexdigest()
                recipients = [Recipient("a@partner.example")]
                delivery = Delivery(store.new_id(), message, "contoso/partner.example", recipients)
                done = loop.create_future()
                store.accept(message, [delivery], body, done.set_result)
                if (failure := await done) is not None:
                    await asyncio.sleep(0.1)
                    continue
                os.write(1, b"accepted %d\\n" % message.id)
                fate = chance.random()
                if fate < 0.3:
                    os.write(1, b"delivered %d\\n" % message.id)
                    store.settle([Settlement(delivery, [])])
                elif fate < 0.5:
                    store.settle([Settlement(delivery, delivery.recipients, time.time() + 900)])

        await asyncio.gather(*[sender() for _ in range(12)])

    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
""")


class Process:
    """A process of its own that takes mail, and ends some of it at once."""

    def __init__(self, site: PostgresSite, seed: int) -> None:
        place = str(site.path / f"node{seed}" / "spool")
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, site.url, place, str(seed), str(QUICK)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._lines: list[bytes] = []
        assert self._process.stdout.readline() == b"ready\n", self.kill()

    def wait_for(self, lines: int) -> None:
        assert self._process.stdout is not None
        self._lines += [self._process.stdout.readline() for _ in range(lines)]

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> str:
        """End it at once; returns what it complained of."""
        self._process.kill()
        output, errors = self._process.communicate()
        self._lines += output.splitlines()
        return errors.decode()

    def said(self, word: str) -> set[int]:
        return {int(line.split()[1]) for line in self._lines if line.startswith(word.encode()) and line.split()[1:]}


def test_the_mail_of_a_killed_process_is_taken_over_whole(site: PostgresSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what it wrote of bodies that never became messages goes."""
    monkeypatch.setattr(owners, "_LATE", 2)

    async def main() -> None:
        async with site.open(node="other", expiry=QUICK) as store:
            processes = [await asyncio.to_thread(Process, site, seed) for seed in (1, 2)]
            for process in processes:
                await asyncio.to_thread(process.wait_for, 150)
            complaints = [process.kill() for process in processes]
            killed = time.monotonic()
            await eventually(lambda: site.sql("SELECT count(*) FROM queue_delivery WHERE owner IS NOT NULL") == "0", 60)
            assert time.monotonic() - killed < 45, "soon after the time that is set"
            await eventually(
                lambda: {one.destination for one in site.owner(store).work} == {PARTNER}, 60
            )  # it is told then
            kept = await everything(store)
            accepted = processes[0].said("accepted") | processes[1].said("accepted")
            delivered = processes[0].said("delivered") | processes[1].said("delivered")
            assert len(accepted) > 100
            assert accepted - delivered <= set(kept), "nothing acknowledged is lost"
            for number in list(kept)[::5]:
                assert await body_hash(store, number) == kept[number]
            print(f"{len(accepted)} acknowledged, 0 lost, {len(delivered & set(kept))} would be delivered twice")
            assert complaints == ["", ""] or all("synchronous_commit" in text for text in complaints)
            unused = "SELECT count(*) FROM queue_chunk WHERE body NOT IN (SELECT big FROM queue_message WHERE big > 0)"
            await eventually(lambda: site.count("loose_body") == 0 and site.sql(unused) == "0", 60)
            await eventually(lambda: site.sql("SELECT count(*) FROM queue_owner WHERE swept") == "2", 60)

    asyncio.run(main())


async def body_hash(store: Store, number: int) -> str:
    import hashlib  # noqa: PLC0415 - here alone

    return hashlib.sha256(await read(store, number)).hexdigest()


def test_a_zombie_is_fenced_and_begins_anew(site: PostgresSite) -> None:
    """A process that was stopped for longer than the others wait goes on afterwards, and loses nothing of theirs."""

    async def main() -> None:
        async with site.open(node="other", expiry=QUICK) as store:
            process = await asyncio.to_thread(Process, site, 3)
            await asyncio.to_thread(process.wait_for, 100)
            process.pause()
            await eventually(lambda: site.sql("SELECT count(*) FROM queue_owner WHERE ended IS NOT NULL") == "1", 60)
            await eventually(lambda: site.sql("SELECT count(*) FROM queue_delivery WHERE owner IS NOT NULL") == "0", 60)
            mine = await everything(store)
            assert mine
            process.resume()
            await asyncio.to_thread(process.wait_for, 100)
            errors = process.kill()
            assert "silent for too long" in errors
            there = site.sql("SELECT id FROM queue_message").split()
            # What it had no answer for when it was stopped counts as refused, and it removes that itself.
            taken = process.said("accepted") & set(mine)
            assert taken
            assert taken <= set(map(int, there)), "what another process owns is not settled by the zombie"

    asyncio.run(main())


def test_a_settlement_counts_only_while_the_delivery_is_ones_own(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open(node="a") as a, site.open(node="b") as b:
            first, second = await accept(a), await accept(a, "joe@other.example")
            large = delivery_of(a, message_of(a))
            epoch = first.owner
            body = a.body()
            if (wait := body.write(b"x" * (INLINE + 1))) is not None:
                await wait
            # No turn of the loop in between: with its next sign of life the process would find out, and begin anew.
            site.sql("UPDATE queue_owner SET ended = now() WHERE node = 'a'")
            with pytest.raises(StoreBusy, match="silent for too long"):
                await accept(a)
            results: list[StoreFailure | None] = []
            a.accept(large.message, [large], body, results.append)
            await eventually(lambda: len(site.owner(b).work) >= 2)
            (leased,) = await b.lease(first.destination, 5, time.time() + 1)
            assert leased.id == first.id
            notice = message_of(a, reverse_path="")
            notices = [(notice, [delivery_of(a, notice)], b"a DSN\r\n")]
            a.settle([Settlement(first, []), Settlement(second, [], notices=notices)])
            await eventually(lambda: a.failure is None)
            await a.flushed()
            assert site.owner(a).disownments == 1
            assert site.owner(a).offered == [], "no notice for what another process tries"
            found = {entry.delivery.id for entry in site.admin().entries(QueueFilter())} - {large.id}
            assert found == {first.id, second.id}
            fresh = await accept(a)
            assert fresh.owner != epoch
            await settled(a, fresh)
            await settled(b, leased)

    asyncio.run(main())


def test_a_process_that_was_heard_of_in_the_future_is_silent(site: PostgresSite) -> None:
    """A standby whose clock is behind took over, and the process died with the primary: no hour is waited for it."""

    async def main() -> None:
        async with site.open(node="alive"):
            connection = await asyncpg.connect(site.url)
            try:
                dead = await owners.register(connection, owners.OwnerIdentity("dead", 0, "data of it"))
                assert await owners.end_silent(connection, 15.0) == []
                site.sql("UPDATE queue_owner SET beat = beat + interval '1 hour' WHERE node = 'dead'")
                assert await owners.end_silent(connection, 15.0) == [(dead.epoch, "dead", 0)]
            finally:
                await connection.close()

    asyncio.run(main())


CLOCK = """
CREATE SCHEMA clock;
CREATE TABLE clock.set AS SELECT interval '0' AS ahead;
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
    AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM clock.set';
ALTER DATABASE {database} SET search_path = public, clock, pg_catalog
"""


@pytest.mark.parametrize("ahead", ["1 hour", "-1 hour"])
def test_nobody_is_silent_because_the_clock_of_the_server_was_set(own: PostgresSite, ahead: str) -> None:
    async def main() -> None:
        own.sql(CLOCK.format(database=own.database))
        async with own.open(node="a", expiry=QUICK) as a, own.open(node="b", expiry=QUICK) as b:
            await asyncio.sleep(QUICK * 2)  # now silence counts
            for _ in range(5):  # each time others beat first by chance
                own.sql(f"UPDATE clock.set SET ahead = ahead + interval '{ahead}'")  # noqa: S608 - it is ours
                await asyncio.sleep(QUICK / 2)
            assert own.sql("SELECT count(*) FROM queue_owner WHERE ended IS NULL") == "2"
            assert (own.owner(a).disownments, own.owner(b).disownments) == (0, 0)
            own.sql(
                "INSERT INTO queue_owner (place, epoch, node, worker, installation, last_id)"
                " VALUES (9, nextval('queue_epoch'), 'dead', 0, '', 0)"
            )
            await eventually(lambda: own.sql("SELECT node FROM queue_owner WHERE ended IS NOT NULL") == "dead", 30)

    asyncio.run(main())


def test_a_process_that_starts_again_takes_up_its_mail_at_once(site: PostgresSite) -> None:
    async def main() -> None:
        process = await asyncio.to_thread(Process, site, 4)
        await asyncio.to_thread(process.wait_for, 30)
        process.kill()
        async with site.open(node="node4", expiry=60.0):
            # Not after this silence, as others would. What the server still commits for the dead one is seen at the
            # next look, a fifth of it later.
            await eventually(lambda: site.sql("SELECT count(*) FROM queue_delivery WHERE owner IS NOT NULL") == "0", 45)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- the server


@pytest.fixture
def own(start_postgres: Callable[..., Postgres], tmp_path: Path) -> PostgresSite:
    """A site with a server of its own."""
    return PostgresSite(tmp_path, start_postgres(durable=True))


class Load:
    """Mail in and out without a pause, and what became of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.accepted: set[int] = set()
        self.settled: set[int] = set()
        self.refused = 0
        self.stopped = False
        self.longest = 0.0
        self.accepted_at = time.monotonic()

    async def run(self) -> None:
        await asyncio.gather(*[self._send(number) for number in range(10)])

    async def _send(self, number: int) -> None:
        while not self.stopped:
            begun = time.monotonic()
            size = (INLINE + 1) if number == 0 else 4000
            try:
                delivery = await accept(self._store, body=b"x" * size)
            except StoreBusy:
                self.longest = max(self.longest, time.monotonic() - begun)
                self.refused += 1
                await asyncio.sleep(0.05)
                continue
            self.accepted_at = time.monotonic()
            self.accepted.add(delivery.message.id)
            if (wait := self._store.held_up()) is not None:
                await wait
            if number % 2:
                self._store.settle([Settlement(delivery, [])])
                self.settled.add(delivery.message.id)


def holds_up(store: Store) -> bool:
    """Whether no delivery is begun."""
    if (written := store.held_up()) is not None:
        written.close()  # type: ignore[attr-defined]  # a coroutine
    return written is not None


async def stop(load: Load, running: asyncio.Task[None], store: Store) -> None:
    load.stopped = True
    await running
    await store.flushed()


def stored(site: PostgresSite) -> set[int]:
    return {int(line) for line in site.sql("SELECT id FROM queue_message").split()}


async def found_after(site: PostgresSite, store: Store) -> set[int]:
    await eventually(lambda: store.failure is None)
    return stored(site)


def test_a_server_that_is_stopped_under_load_loses_nothing(own: PostgresSite) -> None:
    async def main() -> None:
        async with own.open() as store:
            load = Load(store)
            running = spawn(load.run(), "load")
            for stopping in (own.server.stop, own.server.kill):
                await asyncio.sleep(1)
                await asyncio.to_thread(stopping)
                await eventually(lambda: store.failure is not None)
                waiting = spawn(store.earliest(PARTNER), "earliest")
                await asyncio.sleep(2)
                assert not waiting.done(), "the queue manager waits"
                assert holds_up(store)
                with pytest.raises(StoreBusy):
                    await read(store, 1)
                await asyncio.to_thread(own.server.start)
                back = time.monotonic()
                await eventually(lambda back=back: load.accepted_at > back + 0.1, 30)
                await waiting
            await stop(load, running, store)
            assert load.refused > 10
            assert load.longest < 15, "nobody waits for as long as a process may be silent"
            assert await found_after(own, store) == load.accepted - load.settled
            print(f"{len(load.accepted)} accepted, {load.refused} refused, the longest refusal {load.longest:.1f} s")

    asyncio.run(main())


BREAK = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'gatepost queue%'"


def test_broken_connections_under_load_lose_nothing_and_leave_nothing(own: PostgresSite) -> None:
    async def main() -> None:
        async with own.open() as store:
            load = Load(store)
            running = spawn(load.run(), "load")
            for _ in range(10):
                await asyncio.sleep(0.4)
                await asyncio.to_thread(own.sql, BREAK)
            await asyncio.sleep(1)
            await stop(load, running, store)
            kept = load.accepted - load.settled
            await eventually(lambda: store.failure is None)
            await eventually(lambda: stored(own) == kept)
            assert load.refused

    asyncio.run(main())


def test_a_read_only_server_accepts_nothing_and_all_goes_on_afterwards(own: PostgresSite) -> None:
    async def main() -> None:
        async with own.open() as store:
            delivery = await accept(store)
            own.sql("ALTER SYSTEM SET default_transaction_read_only = on")
            own.sql("SELECT pg_reload_conf()")
            await eventually(lambda: store.failure is not None)
            assert store.failure is not None
            assert not store.failure.final
            begun = time.monotonic()
            with pytest.raises(StoreBusy):
                await accept(store)
            assert time.monotonic() - begun < 4
            store.settle([Settlement(delivery, [])])
            await asyncio.sleep(0.1)
            assert holds_up(store)
            administrator = await asyncpg.connect(own.url, server_settings={"default_transaction_read_only": "off"})
            await administrator.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await administrator.execute("SELECT pg_reload_conf()")
            await administrator.close()
            await store.flushed()
            await eventually(lambda: store.failure is None, 30)
            await accept(store)
            assert own.count("message") == 1

    asyncio.run(main())


def test_what_a_slow_server_holds_up_is_not_accepted(own: PostgresSite) -> None:
    """A lock that somebody holds stands for a server that does not answer."""

    async def main() -> None:
        async with own.open(expiry=6.0) as store:
            await accept(store)
            blocker = await asyncpg.connect(own.url)
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("LOCK TABLE queue_message IN ACCESS EXCLUSIVE MODE")
            begun = time.monotonic()
            with pytest.raises(StoreBusy):
                await accept(store)
            assert time.monotonic() - begun < 15
            await transaction.rollback()
            await blocker.close()
            await eventually(lambda: store.failure is None, 30)
            await accept(store)
            await eventually(lambda: own.count("message") == 2)
            await asyncio.sleep(0.2)
            assert own.count("message") == 2

    asyncio.run(main())


def test_a_lease_of_which_nothing_was_heard_is_given_back(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open(expiry=QUICK) as store:
            delivery = await deferred(store)
            wire = store._later  # type: ignore[attr-defined]
            run = wire.run

            async def lost(work: Any, doing: str) -> Any:
                result = await run(work, doing)
                if doing == "lease":
                    wire.run = run
                    raise OutcomeUnknown("nothing was heard")
                return result

            wire.run = lost
            assert await store.lease(PARTNER, 5, time.time()) == []
            await eventually(lambda: site.sql("SELECT count(*) FROM queue_delivery WHERE owner IS NULL") == "1")
            (again,) = await store.lease(PARTNER, 5, time.time() + 1)
            assert again.id == delivery.id

    asyncio.run(main())


def test_a_node_that_is_cut_off_as_it_begins_keeps_no_other_from_its_mail(own: PostgresSite) -> None:
    """It has the table of the owners locked just then, and its connection ends for the server only with a time-out."""

    async def main() -> None:
        async with own.open(expiry=6.0) as store:
            await accept(store)
            with Detour(own.server.host, own.server.port, silent_at=b"INSERT INTO queue_owner") as detour:
                url = own.url.replace(f":{own.server.port}/", f":{detour.port}/")
                with pytest.raises(StoreBusy):
                    await own.start(node="b", url=url, expiry=6.0)
                cut = time.monotonic()
                await eventually(lambda: store.failure is None)
                await asyncio.sleep(3.5)  # the next sign of life would have to wait
                await eventually(lambda: store.failure is None)
                await accept(store)
                assert own.owner(store).disownments == 0, "its signs of life did not wait for the other"
                assert time.monotonic() - cut < 20

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- durability


def test_without_a_standby_replicated_mail_is_refused_at_the_start(own: PostgresSite) -> None:
    async def start() -> None:
        async with own.open(replicated=True):
            pass

    with pytest.raises(StoreFailure, match="no synchronous standby: set synchronous_standby_names"):
        asyncio.run(start())
    own.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    own.sql("ALTER SYSTEM SET synchronous_commit = off")
    own.sql("SELECT pg_reload_conf()")
    with pytest.raises(StoreFailure, match="synchronous_commit = off"):
        asyncio.run(start())


def test_mail_is_acknowledged_when_the_standby_has_it(start_postgres: Callable[..., Postgres], tmp_path: Path) -> None:
    options = {"synchronous_commit": "on", "wal_receiver_status_interval": "1s"}
    primary = start_postgres(options=options)
    standby = start_postgres(options=options, standby_of=primary)
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    site = PostgresSite(tmp_path, primary)

    async def main() -> None:
        async with site.open(replicated=True, expiry=6.0) as store:
            kept = await accept(store, body=b"x" * (INLINE + 1))
            standby.stop()
            with pytest.raises(StoreBusy):
                await accept(store)
            assert store.failure is not None
            standby.start()
            await eventually(lambda: store.failure is None, 60)
            after = await accept(store)

            def there() -> set[int]:
                return {int(line) for line in standby.sql("SELECT id FROM queue_message", site.database).split()}

            # Nothing is left of what was refused.
            await eventually(lambda: there() == {kept.message.id, after.message.id}, 30)
            await asyncio.sleep(0.5)
            assert there() == {kept.message.id, after.message.id}

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- indexes


STATEMENTS = (
    "COMMIT",
    "WITH_NOTICES",
    "REMOVE_DONE",
    "LEASE",
    "EARLIEST",
    "BODY",
    "READ_CHUNK",
    "OVERDUE",
    "BRING_FORWARD",
    "BRING_FAILED_FORWARD",
)


def test_every_statement_of_the_happy_path_goes_by_an_index(site: PostgresSite) -> None:
    async def fill() -> None:
        async with site.open() as store:
            for _ in range(3):
                await deferred(store)

    asyncio.run(fill())

    def plan_of(statement: str) -> str:
        return site.sql(f"{queue_rows.SESSION}; EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}")

    plans = {name: plan_of(getattr(queue_rows, name)) for name in STATEMENTS}
    for name, plan in plans.items():
        scans = set(relations(json.loads(plan), "Seq Scan"))
        assert not scans & {"queue_message", "queue_delivery", "queue_chunk"}, (name, scans)
    assert "queue_due" in plans["LEASE"]
    assert "queue_due" in plans["EARLIEST"]
    assert "queue_due_time" in plans["OVERDUE"]
    assert "queue_due_time" in plans["BRING_FORWARD"]
    assert "queue_delivery_pkey" in plans["BRING_FAILED_FORWARD"]
    assert "queue_owned" in plan_of(owners._TAKE_OVER)


def relations(plan: Any, node: str) -> list[str]:
    """The tables that nodes of a kind read."""
    if isinstance(plan, list):
        return [name for part in plan for name in relations(part, node)]
    if not isinstance(plan, dict):
        return []
    mine = [plan["Relation Name"]] if plan.get("Node Type") == node else []
    return mine + [name for part in plan.values() for name in relations(part, node)]


def test_fresh_mail_is_in_no_index_of_deferred_mail(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open() as store:
            for _ in range(50):
                await settled(store, await accept(store))
            entries = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'queue_due'"
            assert site.sql(entries) == "0"
            sizes = "SELECT pg_relation_size('queue_due') + pg_relation_size('queue_due_time')"
            assert int(site.sql(sizes)) == 2 * 8192

    asyncio.run(main())


# ------------------------------------------------------------------------------------------- who waits for a rest


def test_an_order_of_an_administrator_waits_for_no_rest(site: PostgresSite) -> None:
    """Where the server is slow, leases and deferrals rest three times as long as they took, up to a second each."""

    async def main() -> None:
        async with site.open() as store:
            assert isinstance(store, PostgresStore)
            retries = store._retries
            delivery = await deferred(store, next_at=time.time() + 3600)
            retries._rest(600, is_pause=True)
            await asyncio.to_thread(site.admin().retry, QueueFilter(), author="me")
            await eventually(lambda: site.owners[id(store)].notices)
            leased = await asyncio.wait_for(store.lease(PARTNER, 1, time.time() + 1), 30)
            assert [each.id for each in leased] == [delivery.id]
            retries._rest(600, is_pause=True)
            retries.hurry()
            assert retries._rest_until > time.monotonic() + 500, "orders by the thousand leave rests to new mail"
            retries._hurried = 0.0
            retries._rest(600)
            retries.hurry()
            assert retries._rest_until > time.monotonic() + 500, "what failed is not tried at once"
            retries._rest(0)

    asyncio.run(main())


def test_nobody_waits_for_a_server_that_is_away_once_the_process_is_to_stop(site: PostgresSite) -> None:
    async def main() -> None:
        async with site.open() as store:
            assert isinstance(store, PostgresStore)
            store._flusher.available.note_away(StoreBusy("on purpose"))
            questions = [spawn(store.lease(PARTNER, 1, time.time()), "lease"), spawn(store.destinations(), "all")]
            await asyncio.sleep(0)
            store.stop_leasing()
            for question in questions:
                with pytest.raises(StoreFailure, match="the store is closed"):
                    await asyncio.wait_for(question, 30)

    asyncio.run(main())
