"""What sessions cost in the C library's memory: nearly all of it is OpenSSL's, which Python cannot see."""

from __future__ import annotations

import ctypes
import gc

import pytest

from gatepost.net.engine import client_context, server_context
from gatepost.protocols.tls.profile import PROFILES

MANY = 60
NAME = "mx.a.example"


class Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]


@pytest.fixture(scope="module")
def allocated():
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("this C library does not say what it has given out")
    library.mallinfo2.restype = Mallinfo

    def octets():
        gc.collect()
        told = library.mallinfo2()
        return told.uordblks + told.hblkhd

    return octets


@pytest.fixture(scope="module")
def server(pki):
    return server_context([pki.leaf(NAME).identity()], PROFILES["default"], ask_client_certificate=True)


@pytest.fixture(scope="module")
def client():
    return client_context(PROFILES["default"])


def each(allocated, make):
    """Octets that each of many takes, once the first have warmed up what all share."""
    warm = [make() for _ in range(10)]
    before = allocated()
    made = [make() for _ in range(MANY)]
    grown = allocated() - before
    assert len(warm) + len(made) == MANY + 10
    return grown / MANY


def hello(client):
    """A client that waits for its answer, and what it said."""
    ours = client.engine(server_name=NAME)
    ours.start()
    return ours, ours.take_output()


def test_half_a_hello_costs_no_buffers(allocated, server, client):
    """OpenSSL takes 48 KB for a handshake with its first octet, for as long as a slow peer likes."""
    _, whole = hello(client)

    def slow():
        theirs = server.engine()
        assert theirs.feed(whole[: len(whole) // 2]) == b""
        return theirs

    assert each(allocated, slow) < 24 * 1024


def test_a_session_gives_the_buffers_of_its_handshake_back(allocated, server, client):
    def idle():
        ours, said = hello(client)
        theirs = server.engine()
        while theirs.facts is None:
            theirs.feed(said)
            ours.feed(theirs.take_output())
            said = ours.take_output()
        theirs.feed(said + ours.send(b"EHLO c.example\r\n"))
        assert ours.feed(theirs.send(b"250 mx.a.example\r\n") + theirs.take_output()) == b"250 mx.a.example\r\n"
        return theirs

    assert each(allocated, idle) < 31 * 1024
