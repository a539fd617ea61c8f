from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress

import pytest

from gatepost.net import listener as module
from gatepost.net import proxy_header
from gatepost.net.dial import connect
from gatepost.net.listener import ConnectionQuota, Listener, bind, drain, network_of, parse_address, source_of
from gatepost.net.stream import Endpoint, Loss, LossKind
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.facts import Introduction, Teller

OPEN = ConnectionQuota(0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:25", ("127.0.0.1", 25)),
        ("[::1]:587", ("::1", 587)),
        ("mx.a.example:0", ("mx.a.example", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "25", ":25", "host", "host:", "host:x", "host:65536", "host:-1", "host:²", "::1:25"]
)
def test_what_is_no_address_is_said_to_be_none(text):
    with pytest.raises(ValueError, match=r"host:port|in brackets"):
        bind(text)


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {address}: Address already in use"):
            bind(address)


def test_an_unknown_host_is_named():
    with pytest.raises(OSError, match=r"cannot listen on host\.invalid:25"):
        bind("host.invalid:25")


def test_ipv6_is_ipv6_alone():
    try:
        sockets = bind("[::]:0")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert [each.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for each in sockets] == [1]
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("no:address", "no:address"),
    ],
)
def test_sources(host, expected):
    assert source_of(host) == expected


async def until(condition):
    while not condition():  # noqa: ASYNC110 - a listener knows no event of ours
        await asyncio.sleep(0.01)


async def listening(accept, refuse, **limits):
    sockets = bind("127.0.0.1:0")
    listener = Listener(sockets, accept, refuse=refuse, **limits)
    await listener.start()
    port = sockets[0].getsockname()[1]

    async def dial(source=None):
        return await connect("127.0.0.1", port, timeout=5, source=source)

    return listener, dial


def test_limits_in_all_and_for_each_source(run, peer):
    async def talk():
        served, refused = [], []

        def refuse(stream, reason):
            refused.append(reason)
            peer(stream)
            stream.write(b"421 " + reason.encode() + b"\r\n")
            stream.close()

        listener, dial = await listening(lambda stream: served.append(peer(stream)), refuse, total=3, per_source=2)
        clients = []
        for source, reason in (
            ("127.0.0.1", ""),
            ("127.0.0.1", ""),
            ("127.0.0.1", "too many connections from 127.0.0.1"),
            ("127.0.0.2", ""),
            ("127.0.0.3", "too many connections"),
        ):
            client = peer(await dial(source))
            if reason:
                assert (await client.ends()).kind is LossKind.CLOSED
                assert client.data == b"421 " + reason.encode() + b"\r\n"
                assert refused.pop() == reason
            else:
                client.stream.write(b"hello")
                await served[-1].reads(b"hello")
                clients.append(client)
        assert listener.connections == 3
        clients[0].stream.close()
        await served[0].ends()
        client = peer(await dial("127.0.0.1"))
        client.stream.write(b"again")
        await served[-1].reads(b"again")
        assert (listener.connections, refused) == (3, [])
        for each in (*clients, client):
            each.stream.close()
        await asyncio.gather(*(each.ends() for each in served))
        assert listener.connections == 0
        assert listener._by_source == {}
        assert listener._refused == set()
        listener.stop()

    run(talk())


def test_our_own_checks_count_for_no_limit_but_are_refused_with_all_others(run, peer):
    async def talk():
        served, refused = [], []

        def refuse(stream, reason):
            refused.append(reason)
            peer(stream)
            stream.close()

        listener, dial = await listening(
            lambda stream: served.append(peer(stream)),
            refuse,
            per_source=1,
            is_own=lambda _: False,
        )
        first = peer(await dial("127.0.0.1"))
        first.stream.write(b"a")
        await served[0].reads(b"a")
        listener._is_own = lambda _: True
        check = peer(await dial("127.0.0.1"))
        check.stream.write(b"b")
        await served[1].reads(b"b")
        assert (listener.connections, refused) == (1, [])
        check.stream.close()
        await served[1].ends()
        assert (listener.connections, listener._own) == (1, set())
        listener.refusal = "being drained"
        turned_away = peer(await dial("127.0.0.1"))
        await turned_away.ends()
        assert refused == ["being drained"]
        first.stream.close()
        await served[0].ends()
        assert listener.connections == 0
        listener.stop()

    run(talk())


def test_zero_is_no_limit(run, peer):
    async def talk():
        served = []
        listener, dial = await listening(lambda stream: served.append(peer(stream)), None, total=0, per_source=0)
        clients = [peer(await dial()) for _ in range(20)]
        await until(lambda: listener.connections == 20)
        for each in clients:
            each.stream.close()
        await asyncio.gather(*(each.ends() for each in served))
        listener.stop()

    run(talk())


def test_a_flood_of_refused_clients_is_dropped_without_a_word(run, peer, monkeypatch):
    monkeypatch.setattr(module, "_MAX_REFUSED", 2)

    async def talk():
        kept = []
        listener, dial = await listening(None, lambda stream, _: kept.append(peer(stream)), total=0, per_source=-1)
        clients = [peer(await dial()) for _ in range(5)]
        dropped = [await client.ends() for client in clients[2:]]
        assert {loss.kind for loss in dropped} <= {LossKind.CLOSED, LossKind.RESET}
        assert len(kept) == 2
        for each in clients[:2]:
            each.stream.close()
        await asyncio.gather(*(each.ends() for each in kept))
        assert listener.connections == 0
        listener.stop()

    run(talk())


def test_stopping_leaves_open_connections_alone(run, peer):
    async def talk():
        served = []
        listener, dial = await listening(lambda stream: served.append(peer(stream)), None)
        client = peer(await dial())
        client.stream.write(b"one")
        await asyncio.sleep(0.02)
        listener.stop()
        listener.stop()
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await dial()
        client.stream.write(b"two")
        await served[0].reads(b"onetwo")
        client.stream.close()
        await served[0].ends()

    run(talk())


@pytest.mark.parametrize(
    ("bound_to", "dialled"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.7"), ("[::]", "::1")]
)
def test_both_ends_are_those_of_the_connection(run, peer, bound_to, dialled):
    """What a socket is bound to is our end, and the kernel is asked only where that is any address."""

    async def talk():
        sockets, served = bind(f"{bound_to}:0"), asyncio.Queue()
        listener = Listener(sockets, lambda stream: served.put_nowait(peer(stream)), refuse=lambda *_: None)
        await listener.start()
        port = sockets[0].getsockname()[1]
        client = peer(await connect(dialled, port, timeout=5))
        server = await served.get()
        assert server.stream.local == client.stream.peer == Endpoint(dialled, port)
        assert server.stream.peer == client.stream.local
        listener.stop()
        client.stream.close()
        await server.ends()

    run(talk())


def test_several_sockets_are_served(run, peer):
    async def talk():
        served = asyncio.Queue()
        sockets = bind("127.0.0.1:0") + bind("127.0.0.1:0")
        listener = Listener(sockets, lambda stream: served.put_nowait(peer(stream)), refuse=lambda *_: None)
        await listener.start()
        for each in sockets:
            client = peer(await connect("127.0.0.1", each.getsockname()[1], timeout=5))
            client.stream.write(b"x")
            server = await served.get()
            await server.reads(b"x")
            client.stream.close()
            await server.ends()
        listener.stop()

    run(talk())


def test_draining_waits_for_who_is_there_and_no_longer_than_it_may(run, peer):
    async def talk():
        served = []
        listener, dial = await listening(lambda stream: served.append(peer(stream)), None, total=0, per_source=0)
        client = peer(await dial())
        client.stream.write(b"hello")
        await until(lambda: listener.connections == 1)
        await drain([listener], 0.1)
        assert listener.connections == 1
        with pytest.raises(ConnectionRefusedError):
            await dial()
        ending = spawn(drain([listener], 30), "drain")
        await asyncio.sleep(0.1)
        assert not ending.done()
        client.stream.close()
        await served[0].ends()
        await asyncio.wait_for(ending, 10)
        assert listener.connections == 0

    run(talk())


# The PROXY protocol


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("2001:db8:1:2::/64", "20010db80001::/48"),
        ("2001:db8:1:2::9", "20010db80001::/48"),
        ("203.0.113.9", ""),
        ("no:address", ""),
    ],
)
def test_the_network_of_a_source(source, network):
    assert network_of(source) == network


@pytest.mark.parametrize(("stranger", "most"), [(True, 5), (False, 8)])
def test_strangers_of_one_ipv6_network_have_five_times_what_a_source_has(run, peer, stranger, most):
    async def talk():
        served, refused = asyncio.Queue(), []
        listener, dial = await listening(
            lambda stream: served.put_nowait(peer(stream)),
            lambda stream, reason: refused.append((peer(stream), reason)),
            quota=lambda _: ConnectionQuota(0, 1, stranger=stranger),
            proxies=lambda _: {"127.0.0.2"},
        )
        hosts = [f"2001:db8:1:{number}::1" for number in range(8)] + ["2001:db8:2::1", "192.0.2.7"]
        clients = []
        for number, host in enumerate(hosts, 1):
            clients.append(peer(await dial("127.0.0.2")))
            family, here = ("TCP6", "2001:db8::25") if ":" in host else ("TCP4", "192.0.2.25")
            clients[-1].stream.write(f"PROXY {family} {host} {here} 4711 25\r\n".encode())
            await until(lambda number=number: served.qsize() + len(refused) == number)
        assert served.qsize() == most + 2
        assert {reason for _, reason in refused} <= {
            f"too many connections from the network of 2001:db8:1:{number}::/64" for number in range(5, 8)
        }
        for client in clients:
            client.stream.close()
        await until(lambda: not listener._by_source)
        listener.stop()

    run(talk())


@pytest.mark.parametrize("pieces", [1, 1000])
def test_a_proxy_names_the_client_that_counts(run, peer, pieces):
    async def talk():
        served = asyncio.Queue()
        refused = []
        listener, dial = await listening(
            lambda stream: served.put_nowait(peer(stream)),
            lambda stream, reason: refused.append((peer(stream), reason)),
            per_source=1,
            proxies=lambda _: {"127.0.0.2"},
        )
        header = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 25\r\nEHLO x\r\n"
        clients = [peer(await dial("127.0.0.2")) for _ in range(2)]
        await until(lambda: listener.connections == 2)
        assert listener._by_source == {}
        for start in range(0, len(header), pieces):
            clients[0].stream.write(header[start : start + pieces])
            await asyncio.sleep(0)
        server = await served.get()
        assert str(server.stream.peer) == "[203.0.113.9]:4711"
        assert server.stream.introduction == Introduction(Teller.PROXY, "127.0.0.2")
        await server.reads(b"EHLO x\r\n")
        clients[1].stream.write(header)
        await until(lambda: refused)
        ((last, reason),) = refused
        assert reason == "too many connections from 203.0.113.9"
        assert listener._by_source == {"203.0.113.9": 1}
        for each in clients:
            each.stream.close()
        await asyncio.gather(server.ends(), last.ends())
        assert (listener.connections, listener._by_source, listener._counted) == (0, {}, {})
        listener.stop()

    run(talk())


def test_a_proxys_own_connection_is_its_own_and_others_send_no_header(run, peer):
    async def talk():
        served = asyncio.Queue()
        listener, dial = await listening(
            lambda stream: served.put_nowait(peer(stream)), None, proxies=lambda _: {"127.0.0.2"}
        )
        for source, said in (("127.0.0.2", b"PROXY UNKNOWN\r\nx"), ("127.0.0.3", b"x")):
            client = peer(await dial(source))
            client.stream.write(said)
            server = await served.get()
            assert (server.stream.peer.host, server.stream.introduction) == (source, None)
            await server.reads(b"x")
            client.stream.close()
            await server.ends()
        assert listener.connections == 0
        listener.stop()

    run(talk())


@pytest.mark.parametrize(
    ("said", "why"), [(b"EHLO x\r\n", "does not begin with a PROXY header"), (b"PROXY", "no whole PROXY header")]
)
def test_a_proxy_without_a_header_is_dropped_without_a_word(run, peer, monkeypatch, caplog, said, why):
    monkeypatch.setattr(proxy_header, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(module, "_COMPLAINTS", 2)

    async def talk():
        listener, dial = await listening(None, None, proxies=lambda _: {"127.0.0.2"})
        for _ in range(4):
            client = peer(await dial("127.0.0.2"))
            client.stream.write(said)
            await client.ends()
        await until(lambda: (listener.connections, listener._counted) == (0, {}))
        listener.stop()

    run(talk())
    told = [record.getMessage() for record in caplog.records if why in record.getMessage()]
    assert 1 <= len(told) <= 4
    assert told[0].startswith("a connection from 127.0.0.2, which must send a PROXY header, is dropped: it")


def test_complaints_are_bounded_and_counted(monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    complaints = module._Complaints()
    for _ in range(12):
        complaints.say("it lies")
    now[0] = 101.0
    complaints.say("it lies again")
    told = [record.getMessage() for record in caplog.records]
    assert told == ["it lies"] * 10 + ["2 more such lines were left out", "it lies again"]


def test_proxies_that_say_nothing_count_among_all(run, peer):
    async def talk():
        listener, dial = await listening(None, None, total=1, proxies=lambda _: {"127.0.0.2"})
        first = peer(await dial("127.0.0.2"))
        await until(lambda: listener.connections == 1)
        assert (await peer(await dial("127.0.0.2")).ends()).kind in {LossKind.CLOSED, LossKind.RESET}
        first.stream.close()
        await until(lambda: listener.connections == 0)
        listener.stop()

    run(talk())


def test_a_client_that_is_named_later_counts_instead_of_who_named_it(run, peer):
    async def talk():
        served = []
        listener, dial = await listening(lambda stream: served.append(peer(stream)), None, per_source=2)
        clients = [peer(await dial("127.0.0.2")) for _ in range(2)]
        await until(lambda: len(served) == 2)
        introduction = Introduction(Teller.XCLIENT, "127.0.0.2")
        one, other = (each.stream for each in served)
        assert listener.introduce(one, Endpoint("203.0.113.9", 7), introduction) == ""
        assert listener.introduce(one, Endpoint("203.0.113.9", 8), introduction) == ""
        assert listener.introduce(other, Endpoint("203.0.113.9", 9), introduction) == ""
        assert listener._by_source == {"203.0.113.9": 2}
        third = peer(await dial("127.0.0.2"))
        await until(lambda: len(served) == 3)
        told = listener.introduce(served[2].stream, Endpoint("203.0.113.9", 9), introduction)
        assert told == "too many connections from 203.0.113.9"
        assert (one.peer.port, one.introduction, served[2].stream.introduction) == (8, introduction, None)
        for each in (*clients, third):
            each.stream.close()
        await asyncio.gather(*(each.ends() for each in served))
        assert listener._by_source == {}
        listener.stop()

    run(talk())


def test_who_is_dropped_gets_a_reset_and_costs_no_stream(run, peer):
    def dropped(port):
        with socket.create_connection(("127.0.0.1", port), 5, source_address=("127.0.0.2", 0)) as client:
            client.recv(1)

    async def talk():
        served = []
        (sock,) = bind("127.0.0.1:0")
        listener = Listener(
            [sock],
            lambda stream: served.append(peer(stream)),
            refuse=None,
            quota=lambda host: ConnectionQuota(0, 0, "too many", drops=True) if host == "127.0.0.2" else OPEN,
        )
        await listener.start()
        port = sock.getsockname()[1]
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(dropped, port)
        assert listener.connections == 0
        client = await connect("127.0.0.1", port, timeout=5)
        async with asyncio.timeout(5):
            while not served:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        peer(client)
        client.abort(Loss(LossKind.CLOSED, ""))
        async with asyncio.timeout(5):
            while listener.connections:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        listener.stop()

    run(talk())


class Counted(socket.socket):
    """A listening socket that counts how often it was asked for a connection."""

    asked = 0

    def accept(self):
        type(self).asked += 1
        return super().accept()


@pytest.mark.parametrize("together", [1, 3])
def test_as_many_connections_are_taken_as_wait(run, peer, monkeypatch, together):
    monkeypatch.setattr(Counted, "asked", 0)

    async def talk():
        (bound,) = bind("127.0.0.1:0")
        served = []
        sock = Counted(fileno=bound.detach())
        listener = Listener([sock], lambda stream: served.append(peer(stream)), refuse=None)
        clients = [socket.create_connection(sock.getsockname(), 5) for _ in range(together)]
        await listener.start()
        async with asyncio.timeout(5):
            while len(served) < together:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        for client in clients:
            client.close()
        assert Counted.asked == together
        listener.stop()

    run(talk())


def test_a_process_without_descriptors_accepts_again_later(run, peer, monkeypatch, caplog):
    class Full(socket.socket):
        tries = 0

        def accept(self):
            Full.tries += 1
            if Full.tries == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def talk():
        monkeypatch.setattr(module, "_PAUSE", 0.05)
        (bound,) = bind("127.0.0.1:0")
        served = []
        sock = Full(fileno=bound.detach())
        listener = Listener([sock], lambda stream: served.append(peer(stream)), refuse=None)
        await listener.start()
        client = await connect("127.0.0.1", sock.getsockname()[1], timeout=5)
        async with asyncio.timeout(5):
            while not served:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        assert Full.tries >= 2
        assert "no connection can be accepted: [Errno 24] Too many open files" in caplog.text
        peer(client)
        client.abort(Loss(LossKind.CLOSED, ""))
        async with asyncio.timeout(5):
            while listener.connections:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        listener.stop()

    run(talk())


def test_half_of_the_files_are_kept_for_files(run, peer, monkeypatch, caplog):
    async def talk():
        monkeypatch.setattr(module, "_PAUSE", 0.05)
        limits = iter([(20, 20), (20, 20), (-1, -1)])
        monkeypatch.setattr(module.resource, "getrlimit", lambda _: next(limits))
        sockets = bind("127.0.0.1:0")
        port, served = sockets[0].getsockname()[1], []
        filled = [socket.socket() for _ in range(10)]  # a new one has a number above these
        listener = Listener(sockets, lambda stream: served.append(peer(stream)), refuse=None)
        await listener.start()
        for _ in range(2):
            with suppress(ConnectionResetError):  # before it knows that it is connected
                dropped = peer(await connect("127.0.0.1", port, timeout=5))
                await dropped.until(lambda dropped=dropped: dropped.loss)
        client = peer(await connect("127.0.0.1", port, timeout=5))
        async with asyncio.timeout(5):
            while not served:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        assert "connections and files have half of the 20 that the process may open" in caplog.text
        for sock in filled:
            sock.close()
        client.stream.abort(Loss(LossKind.CLOSED, ""))
        await served[0].until(lambda: served[0].loss)
        listener.stop()

    run(talk())


def test_strangers_leave_files_to_known_clients(run, peer, monkeypatch, caplog):
    async def talk():
        monkeypatch.setattr(module.resource, "getrlimit", lambda _: (400, 400))
        served, filled = [], [socket.socket()]
        while filled[-1].fileno() < 185:  # nine tenths of half of 400 are 180
            filled.append(socket.socket())
        listener, dial = await listening(
            lambda stream: served.append(peer(stream)),
            None,
            quota=lambda host: ConnectionQuota(0, 0, stranger=host == "127.0.0.2"),
        )
        with suppress(ConnectionResetError):  # before it knows that it is connected
            dropped = peer(await dial("127.0.0.2"))
            await dropped.until(lambda: dropped.loss)
        client = peer(await dial("127.0.0.1"))  # at once: nothing rests
        await until(lambda: served)
        assert [each.stream.peer.host for each in served] == ["127.0.0.1"]
        assert "a connection of an unknown client is dropped: connections and files have nearly half of the 400" in (
            caplog.text
        )
        for sock in filled:
            sock.close()
        client.stream.abort(Loss(LossKind.CLOSED, ""))
        await served[0].until(lambda: served[0].loss)
        listener.stop()

    run(talk())
