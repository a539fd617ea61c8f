from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.mail.inbound.login import MECHANISMS
from gatepost.mail.inbound.service import InboundService
from gatepost.net.stream import Endpoint
from gatepost.node.roles import ListenerUses, extensions_of, internal_limits, login_secret, services_by_role
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.decisions.handover import ORIGIN_OCTETS
from gatepost.policy.decisions.home import ALONE
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.settings.model import Listener
from gatepost.settings.roles import ListenerRole
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
    uses = ListenerUses(LISTENERS)
    assert uses.of(Endpoint(*local)).role == role
    assert not uses.know_proxies


def test_the_very_address_goes_before_all_addresses_and_those_before_a_name():
    uses = ListenerUses(
        [
            Listener(role="mx", address="mx.a.example:25", xclient_from=["192.0.2.4"]),
            Listener(role="mx", address="192.0.2.1:25", proxy_protocol_from=["192.0.2.3"]),
            Listener(role="mx", address="0.0.0.0:25"),
        ]
    )
    assert uses.know_proxies
    assert "192.0.2.3" in uses.of(Endpoint("192.0.2.1", 25)).proxies
    everywhere = uses.of(Endpoint("192.0.2.2", 25))
    assert not everywhere.proxies
    assert not everywhere.xclient
    assert "192.0.2.4" in uses.of(Endpoint("2001:db8::2", 25)).xclient


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


def test_between_nodes_tls_comes_first_and_whatever_the_other_took_is_taken():
    limits = SmtpLimits()
    offered = extensions_of(ListenerRole.INTERNAL, limits, Directory(Resources()), has_certificate=True)
    assert (offered.starttls, offered.origin, offered.requiretls, offered.auth) == (False, True, True, ())
    assert offered.size > limits.message_bytes
    wider = internal_limits(limits)
    assert (wider.message_bytes, wider.recipients) == (offered.size, limits.recipients)
    assert wider.header_bytes > limits.header_bytes
    assert wider.command_line >= limits.command_line + ORIGIN_OCTETS


def test_an_internal_listener_asks_the_site_and_no_connector():
    credentials = SimpleNamespace(admit=lambda chain, now: (chain, now), nodes=ALONE, renewals=3)
    servers = InboundService(**dict.fromkeys(_required(InboundService)))
    servers.smtp_limits, servers.clock = SmtpLimits(), lambda: 5.0
    services = services_by_role(servers, None, credentials)
    internal = services[ListenerRole.INTERNAL]
    assert internal.implicit_tls
    assert internal.admit((b"x",)) == ((b"x",), 5.0)
    assert internal.nodes() is ALONE
    assert internal.trust() == 3
    assert internal.check_revocation is None
    assert all(one.admit is None for role, one in services.items() if role is not ListenerRole.INTERNAL)


def _required(record):
    return record.__struct_fields__[: -len(record.__struct_defaults__)]
