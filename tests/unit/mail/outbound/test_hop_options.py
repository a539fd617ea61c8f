from __future__ import annotations

import pytest

from gatepost.mail.outbound.hop_options import NO_OPTIONS, HopOptions, SourceUnusable, hop_options
from gatepost.policy.connectors.grants import UNGRANTED_PATH
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.connectors.values import AddressFamily

BOTH = ("192.0.2.1", "2001:db8::1")
URL = "https://a.example/t"


def connector(**fields):
    return OutboundConnector.model_validate({"name": "c", "smart_hosts": ["a.example"]} | fields)


def test_most_connectors_say_nothing_of_it():
    assert hop_options(None, "o") is NO_OPTIONS
    assert hop_options(connector(), "o") is NO_OPTIONS
    assert (NO_OPTIONS.usable(BOTH), NO_OPTIONS.source(BOTH[0]), NO_OPTIONS.source("/run/lmtp")) == (BOTH, None, None)


@pytest.mark.parametrize(
    ("options", "usable", "sources"),
    [
        (HopOptions(family=AddressFamily.IPV4), BOTH[:1], (None, None)),
        (HopOptions(family=AddressFamily.IPV6), BOTH[1:], (None, None)),
        (HopOptions(source_ipv4="192.0.2.9"), BOTH[:1], ("192.0.2.9", None)),
        (HopOptions(source_ipv6="::1"), BOTH[1:], (None, "::1")),
        (HopOptions(source_ipv4="192.0.2.9", source_ipv6="::1"), BOTH, ("192.0.2.9", "::1")),
        (HopOptions(family=AddressFamily.IPV6, source_ipv6="::1"), BOTH[1:], (None, "::1")),
    ],
)
def test_which_addresses_are_called_and_from_where(options, usable, sources):
    assert options.usable(BOTH) == usable
    assert tuple(map(options.source, BOTH)) == sources


def test_an_address_that_the_owner_did_not_grant_is_not_used():
    with pytest.raises(SourceUnusable, match="no owner of the gateway has granted"):
        HopOptions(source_ipv6=UNGRANTED_PATH).usable(BOTH)


def test_log_ins_of_two_connectors_are_never_the_same():
    login = {"authentication": {"username": "u"}, "tls_settings": "domain-validation"}
    one = hop_options(connector(**login), "contoso")
    assert one == hop_options(connector(**login), "contoso")
    for other in (
        hop_options(connector(**login), "fabrikam"),
        hop_options(connector(**login, name="d"), "contoso"),
        hop_options(connector(**login, tls_domain="b.example"), "contoso"),
        hop_options(connector(**(login | {"authentication": {"username": "v"}})), "contoso"),
    ):
        assert other != one
    assert str(one.login) == "connector 'c' of contoso"


def test_a_token_endpoint_that_a_tenant_wrote_is_bounded():
    written = connector(authentication={"username": "u", "client_id": "c", "token_url": URL})
    assert hop_options(written, "o").login.bounded is False
    ungranted = written.with_ungranted(frozenset({("authentication.token_url", URL)}), {})
    assert hop_options(ungranted, "o").login.bounded is True
