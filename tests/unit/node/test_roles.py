from __future__ import annotations

import pytest

from gatepost.connectors.match import Directory
from gatepost.connectors.model import Resources
from gatepost.inbound.login import MECHANISMS
from gatepost.net.stream import Endpoint
from gatepost.node.roles import extensions_of, login_secret, role_of
from gatepost.settings.model import Listener, ListenerRole
from gatepost.smtp.limits import SmtpLimits
from gatepost.store.changes import ConfigStore

LISTENERS = [
    Listener(role="mx", address="0.0.0.0:25"),
    Listener(role="mx", address="[::]:25"),
    Listener(role="submission", address="localhost:587"),
    Listener(role="submissions", address="192.0.2.1:465"),
    Listener(role="mx", address="192.0.2.2:465"),
    Listener(role="submissions", address="[2001:db8::1]:2525"),
    Listener(role="submission", address="[2001:db8::2]:2525"),
]


@pytest.mark.parametrize(
    ("local", "role"),
    [
        (("192.0.2.9", 25), "mx"),
        (("2001:db8::9", 25), "mx"),
        (("127.0.0.1", 587), "submission"),
        (("::1", 587), "submission"),
        (("192.0.2.1", 465), "submissions"),
        (("192.0.2.2", 465), "mx"),
        (("2001:db8::1", 2525), "submissions"),
        (("2001:db8::2", 2525), "submission"),
        (("127.0.0.1", 40000), "mx"),
    ],
)
def test_the_role_of_a_connection(local, role):
    assert role_of(LISTENERS, Endpoint(*local)) == role


@pytest.mark.parametrize(
    ("role", "has_certificate", "starttls", "auth"),
    [
        ("mx", True, True, ()),
        ("mx", False, False, ()),
        ("submission", True, True, MECHANISMS),
        ("submission", False, False, MECHANISMS),
        ("submissions", True, False, MECHANISMS),
    ],
)
def test_what_a_role_offers(role, has_certificate, starttls, auth):
    offered = extensions_of(ListenerRole(role), SmtpLimits(), Directory(Resources()), has_certificate=has_certificate)
    assert (offered.starttls, offered.auth) == (starttls, auth)


def test_the_secret_is_made_once_and_in_no_history(tmp_path):
    first, second = ConfigStore(tmp_path / "config.db"), ConfigStore(tmp_path / "config.db")
    secret = login_secret(first)
    assert len(secret) == 32
    assert login_secret(second) == login_secret(first) == secret
    assert first.history() == []
    first.close()
    second.close()
