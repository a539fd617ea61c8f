from __future__ import annotations

import pytest
from OpenSSL import SSL

from gatepost.net import openssl_private as private


def test_the_installed_library_does_what_we_need():
    private.self_test()


@pytest.mark.parametrize(
    ("call", "replacement", "words"),
    [
        ("session_reused", lambda _: True, "SSL_session_reused"),
        ("local_certificate", lambda _: 0, "SSL_get_certificate, server"),
        ("take_output", lambda _: b"", "sees no output"),
        ("input_waits", lambda _: 0, "sees no input"),
        ("put_input", lambda *_: None, "sees no input"),
        ("shake_hands", lambda _: True, "SSL_do_handshake ends too early"),
        ("write_records", lambda *_: b"", "sees other octets"),
        ("lend_input", lambda *_: None, "SSL_read gives another text"),
        ("read_records", lambda _: (b"", False), "SSL_read gives another text"),
        ("read_records", lambda _: (b"self-test", False), "SSL_read gives another text"),
        ("set_groups", lambda *_: None, "SSL_CTX_set1_curves_list"),
    ],
)
def test_a_call_that_does_nothing_is_found_out(monkeypatch, call, replacement, words):
    monkeypatch.setattr(private, call, replacement)
    with pytest.raises(private.PrivateCallError, match=words):
        private.self_test()


@pytest.mark.parametrize("call", [private.set_groups, private.set_signature_algorithms])
def test_a_list_that_openssl_does_not_take_is_an_error_and_leaves_none_behind(call):
    with pytest.raises(ValueError, match="no-such-thing"):
        call(SSL.Context(SSL.TLS_CLIENT_METHOD), "no-such-thing")
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()


def test_an_unreadable_library_is_a_refusal_to_start(monkeypatch):
    def fail(*_):
        raise AttributeError("no attribute 'SSL_CTX_set1_curves_list'")

    monkeypatch.setattr(private, "set_groups", fail)
    with pytest.raises(private.PrivateCallError, match="SSL_CTX_set1_curves_list"):
        private.self_test()
