"""The rest is in tests/unit/manage/use_cases/test_presentation_places_check.py, which asks through it."""

from __future__ import annotations

import hashlib

import pytest
from tests.unit.manage.use_cases.test_presentation_places_check import OURS, context, listener

from gatepost.analysis.checks.presentation import HandshakeFailed, presented_leaf, server_name
from gatepost.net.identity import read_identity
from gatepost.settings.roles import ListenerRole

__all__ = ["context"]


def test_the_name_to_ask_for(leaf):
    assert server_name(leaf("*.a.example", "mx.a.example"), "us.example") == "mx.a.example"
    assert server_name(leaf("*.a.example"), "us.example") == "us.example"


@pytest.mark.parametrize("profile", ["default", "modern"])
@pytest.mark.parametrize("family", ["EC", "Ed25519"])
def test_the_leaf_is_given_back(context, family, profile):
    with listener(context) as port:
        der = presented_leaf(
            ListenerRole.MX, f"127.0.0.1:{port}", "mx.gate.example", key_family=family, profile=profile
        )
    assert hashlib.sha256(der).hexdigest() == read_identity(OURS).leaf.sha256


@pytest.mark.parametrize(
    ("greeting", "text"),
    [(b"554 no\r\n", "it takes no sessions now"), (b"", "nobody answers"), (b"x" * 70000, "no sessions")],
)
def test_a_listener_that_says_something_else(context, greeting, text):
    with listener(context, greeting) as port, pytest.raises(HandshakeFailed, match=text):
        presented_leaf(ListenerRole.MX, f"127.0.0.1:{port}", "a.example", key_family="EC", profile="default")
