from __future__ import annotations

import pytest
from OpenSSL import SSL

from gatepost.net import openssl_tickets as module
from gatepost.net.openssl_tickets import KEYS, find_place, slot_of


@pytest.fixture
def anew():
    """Nothing is known of the library, and whatever a test makes of it is forgotten."""
    find_place.cache_clear()
    yield
    find_place.cache_clear()


def context():
    return SSL.Context(SSL.TLS_SERVER_METHOD)


def test_the_installed_library_keeps_its_keys_where_they_are_looked_for(anew):
    place = find_place()
    assert place is not None
    assert place > 0
    assert slot_of(context()) is not None


def test_a_ticket_bears_the_name_that_was_set(anew):
    workshop = module._Workshop()
    server = workshop._server()
    slot_of(server).set(b"N" * 16 + b"k" * (KEYS - 16))
    assert b"N" * 16 in module._encoded(workshop._shake(server).session)


def test_addresses_that_are_none_are_no_crash():
    assert module._peek(0, 8) == b""
    assert module._peek(0xDEADBEEF00000000, 8) == b""


def test_a_place_of_something_else_is_not_taken(anew):
    """A copy of the name without its keys, as another version of the library might have it."""
    workshop = module._Workshop()
    server = workshop._server()
    encoded = module._encoded(workshop._shake(server).session)
    memory = module._peek(module._address(server), module._REACH)
    (right,) = [place for place in module._names(memory, encoded) if workshop._proves(server, place, encoded)]
    assert not any(workshop._proves(server, place, encoded) for place in range(0, 1024, 8) if place != right)


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("_names", lambda *_: iter(())),  # no name of a ticket in the SSL_CTX
        ("_names", lambda *_: iter((8, 16))),  # names, but no keys behind them
        ("_peek", lambda *_: b""),  # our memory cannot be read
        ("_encoded", lambda _: b"no session"),
    ],
)
def test_without_proof_nothing_is_ever_set(anew, monkeypatch, name, replacement):
    monkeypatch.setattr(module, name, replacement)
    assert find_place() is None
    assert slot_of(context()) is None


@pytest.mark.parametrize(
    "failure", [AttributeError("no attribute 'i2d_SSL_SESSION'"), OSError(24, "no files"), SSL.Error([])]
)
def test_a_library_that_cannot_be_asked_is_no_proof(anew, monkeypatch, failure):
    def fail(*_):
        raise failure

    monkeypatch.setattr(module, "_encoded", fail)
    assert find_place() is None


def test_a_handshake_without_a_session_is_no_proof(anew, monkeypatch):
    monkeypatch.setattr(SSL.Connection, "get_session", lambda _: None)
    assert find_place() is None


def test_keys_that_make_no_difference_are_no_proof(anew, monkeypatch):
    monkeypatch.setattr(module.TicketKeySlot, "set", lambda *_: None)
    assert find_place() is None


def test_a_slot_whose_keys_cannot_be_read_is_none(anew, monkeypatch):
    workshop = module._Workshop()
    real = module._peek
    monkeypatch.setattr(module, "_peek", lambda address, size: b"" if size == 64 else real(address, size))
    assert workshop.resumes(568) is False
