"""Proves by what passes on the wire that nodes speak nothing but TLS 1.3 with each other, from the first byte on.

Two network namespaces with one link between them stand for two machines; every frame on it is kept. The nodes find each
other at the usual port.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.gateway import Gateway
from support.namespaces import Capture, TwoMachines, inside
from support.scenes import STRANGER, message, send
from support.site_scene import KEY, KEY_VARIABLE, MX1, MX2, SITE, organizations

from gatepost.testing.process import wait_until

ANN, BOB = "ann@contoso.example", "bob@fabrikam.example"
PORT, JOINING = 8445, 8444
HANDSHAKE, APPLICATION = 22, 23
RECORDS = {20, 21, HANDSHAKE, APPLICATION}
TLS_1_3, SUPPORTED_VERSIONS = 0x0304, 43
SECRET = "Diagnosis 4711 strictly confidential"
TOLD = (b"EHLO", b"MAIL FROM", b"RCPT TO", b"220 ", b"250 ", b"XGATEPOST", b"Received:", ANN.encode(), BOB.encode())


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[TwoMachines, Gateway, Gateway]]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv(KEY_VARIABLE, KEY)
        two = stack.enter_context(TwoMachines())
        nodes = []
        for own, other, name, space in ((0, 1, MX1, two.left), (1, 0, MX2, two.right)):
            site = {"node": [{"name": MX2 if name == MX1 else MX1, "address": two.addresses[other]}]}
            listeners = [
                {"role": "mx", "address": "127.0.0.1:2525"},
                {"role": "internal", "address": f"{two.addresses[own]}:{PORT}"},
            ]
            joining = {"address": f"{two.addresses[0]}:{JOINING}"} if name == MX1 else {}
            settings = {"store": {"master_key": f"env:{KEY_VARIABLE}"}, "listener": listeners, "site": site | joining}
            node = Gateway(organizations(), hostname=name, settings=settings, namespace=space)
            stack.callback(node.remove)
            nodes.append(node)
        left, right = nodes
        left.cli("site", "init", "--name", SITE)
        left.start()
        token = left.cli("site", "token", "--for", MX2).stdout.strip()
        right.cli("site", "join", f"{two.addresses[0]}:{JOINING}", "--token", token)
        right.start()
        left.wait_in_force()  # from here on its workers know the other
        yield two, left, right


def records(content: bytes) -> list[tuple[int, bytes]]:
    """The TLS records that a flow consists of; AssertionError where it is anything else."""
    found, place = [], 0
    while place < len(content):
        kind, version, length = struct.unpack_from("!BHH", content, place)
        assert kind in RECORDS, content[place : place + 80]
        assert version in {0x0301, 0x0303}
        assert length <= 16384 + 256
        place += 5 + length
        assert place <= len(content), "the last record is not whole"
        found.append((kind, content[place - length : place]))
    return found


def version_of(server_hello: bytes) -> int:
    """What the ServerHello says in its extension (RFC 8446 section 4.2.1)."""
    assert server_hello[0] == 2
    place = 4 + 2 + 32
    place += 1 + server_hello[place] + 2 + 1 + 2
    while place < len(server_hello):
        kind, length = struct.unpack_from("!HH", server_hello, place)
        if kind == SUPPORTED_VERSIONS:
            return int(struct.unpack_from("!H", server_hello, place + 4)[0])
        place += 4 + length
    return 0


def test_only_tls_1_3_passes_between_the_nodes(machines: tuple[TwoMachines, Gateway, Gateway]) -> None:
    two, left, right = machines
    with Capture(two.left, two.link) as capture:
        large = message(SECRET) + b"0123456789abcdef\r\n" * 30_000
        inside(two.left, lambda: send(2525, ANN, sender=STRANGER, content=large))
        right.wait_maildir(ANN, timeout=60)
        inside(two.right, lambda: send(2525, BOB, sender=STRANGER, content=message(SECRET)))
        left.wait_maildir(BOB, timeout=60)
        left.stop()  # ends the connections, so that every flow is whole
        right.stop()
        wait_until(lambda: len({port for flow in capture.flows for port in flow if port != PORT}) >= 2, "both ways")
    assert right.maildir(ANN)[0].field("Subject") == SECRET
    flows = capture.flows
    assert all(PORT in flow for flow in flows)
    assert sum(len(flow.content) for flow in flows.values()) > len(large)
    for (source, _), flow in flows.items():
        found = records(flow.content)
        assert found[0][0] == HANDSHAKE  # no greeting, no EHLO, no STARTTLS
        if source == PORT:
            assert version_of(found[0][1]) == TLS_1_3
            assert {kind for kind, _ in found[1:]} <= {20, APPLICATION}  # certificates are hidden, too
    seen = b"".join(capture.raw)
    assert MX2.encode() in seen  # the server's name in ClientHello: the capture does see what is in clear
    assert not [word for word in (*TOLD, SECRET.encode(), b"0123456789abcdef") if word in seen]
