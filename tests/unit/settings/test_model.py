from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.resources import PrefixLimits
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.settings.model import Oauth, Settings
from gatepost.settings.section import SectionError
from gatepost.settings.traffic import Limits


def settings(**sections: Any) -> Settings:
    document = {"server": {"hostname": "mx.example"}, **sections}
    return Settings(**document)


def test_only_the_host_name_has_no_default() -> None:
    own = settings()
    assert own.server.hostname == "mx.example"
    assert (own.listeners, own.certificates) == ((), ())
    with pytest.raises(SectionError):
        Settings()


def test_defaults_are_those_of_the_contract_and_of_exchange() -> None:
    own = settings()
    assert (own.server.data_dir, own.server.workers) == ("/var/lib/gatepost", 0)
    assert (own.dns.nameservers, own.dns.trust_ad) == (("127.0.0.1:53",), True)
    assert (own.tls.profile, own.tls.trust_anchors) == ("default", "system")
    assert (own.admin.address, own.metrics.address) == ("127.0.0.1:8443", "127.0.0.1:9464")
    assert (own.queue.retry, own.queue.message_expiration, own.queue.delay_notice) == ((900, 900, 3600), 86400, 14400)
    assert own.queue.connections_per_destination == 20


def test_limits_of_a_session_are_those_of_the_smtp_core() -> None:
    assert Limits().smtp() == SmtpLimits()
    assert Limits(recipients=200, message_bytes=1 << 20).smtp() == SmtpLimits(recipients=200, message_bytes=1 << 20)
    assert Limits(sender_ip_prefix=16, sender_ip6_prefix=32).prefixes() == PrefixLimits(16, 32)
    assert Limits().prefixes() == PrefixLimits()


@pytest.mark.parametrize(
    ("section", "key", "written", "value"),
    [
        ("server", "postmaster", "Postmaster@Example.test", "Postmaster@Example.test"),
        ("server", "postmaster", "", ""),
        ("dns", "nameservers", ["192.0.2.1", "[2001:db8::1]:5353", "2001:db8::2"], None),
        ("limits", "idle_timeout", "90s", 90),
        ("limits", "message_bytes", "20MB", 20 << 20),
        ("queue", "retry", ["5m", 30], (300, 30)),
        ("queue", "delay_notice", 0, 0),
        ("tls", "profile", "modern", "modern"),
        ("store", "url", "sqlite:", "sqlite:"),
        ("log", "format", "json", "json"),
    ],
)
def test_what_people_write(section: str, key: str, written: object, value: object) -> None:
    expected = ("192.0.2.1:53", "[2001:db8::1]:5353", "[2001:db8::2]:53") if value is None else value
    fields = {key: written} | ({"hostname": "mx.example"} if section == "server" else {})
    assert getattr(getattr(settings(**{section: fields}), section), key) == expected


@pytest.mark.parametrize(
    ("section", "fields", "why"),
    [
        ("server", {"hostname": "mx_é!"}, "is not a domain"),
        ("server", {"hostname": "mx.example", "postmaster": "nobody"}, "is not a mail address"),
        ("server", {"hostname": "mx.example", "data_dir": ""}, "at least 1"),
        ("store", {"url": "postgresql://gatepost:secret@127.0.0.1/db"}, "has a password in it"),
        ("store", {"url": "sqlite"}, "is not a store"),
        ("dns", {"nameservers": []}, "at least 1"),
        ("dns", {"nameservers": ["dns.example"]}, "write the IP address of the nameserver"),
        ("listener", [{"role": "smtp", "address": "127.0.0.1:25"}], "'mx'"),
        ("listener", [{"role": "mx", "address": "127.0.0.1"}], "needs a port"),
        ("limits", {"recipients": 10}, "out of range: 100 to 1000000"),
        ("limits", {"connections": 0}, "out of range"),
        ("queue", {"retry": []}, "at least 1"),
        ("queue", {"retry": ["0s"]}, "out of range: 1s to 24h"),
        ("listenr", [], "did you mean 'listener'?"),
    ],
)
def test_what_is_refused(section: str, fields: object, why: str) -> None:
    with pytest.raises(SectionError) as refused:
        settings(**{section: fields})
    assert why in str(refused.value)


def test_every_key_says_what_it_means() -> None:
    for section in Settings.settings.values():
        assert section.description
    for model in (
        Limits,
        *(type(getattr(settings(), name)) for name in ("server", "store", "dns", "queue", "outbound")),
    ):
        assert all(one.description for one in model.settings.values()), model


def test_defaults() -> None:
    own = Oauth()
    assert (own.private_issuers, own.timeout, own.keys_kept) == (False, 10, 86400)


@pytest.mark.parametrize("fields", [{"timeout": 0}, {"timeout": "2m"}, {"keys_kept": "1m"}, {"private_issuers": "yes"}])
def test_what_is_out_of_range(fields: dict[str, object]) -> None:
    with pytest.raises(SectionError):
        Oauth(**fields)
