from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.names import SmartHost
from gatepost.policy.connectors.record_base import owned_marker
from gatepost.policy.connectors.records import (
    AcceptedDomain,
    InboundConnector,
    Mailbox,
    Organization,
    OutboundConnector,
)


def test_defaults_are_exchanges_where_it_says_them() -> None:
    inbound, outbound = InboundConnector(name="in"), OutboundConnector(name="out")
    assert (inbound.enabled, inbound.mode, inbound.connector_type) == (True, "enforce", "partner")
    assert (inbound.restrict_domains_to_certificate, inbound.restrict_domains_to_ip_addresses) == (False, False)
    assert (outbound.tls_settings, outbound.smtp_dane_mode, outbound.mta_sts_mode) == ("opportunistic",) * 3
    assert (outbound.use_mx_record, outbound.all_accepted_domains) == (True, False)
    assert Organization(name="o").cleartext == "only-if-not-offered"
    assert AcceptedDomain(name="x.example").type == "authoritative"


@pytest.mark.parametrize(("connector_type", "require_tls"), [("partner", True), ("on-premises", False)])
def test_a_partner_must_use_tls_unless_it_is_said_otherwise(connector_type: str, *, require_tls: bool) -> None:
    fields = {"name": "x", "connector_type": connector_type}
    assert InboundConnector.model_validate(fields).require_tls is require_tls
    assert InboundConnector.model_validate(fields | {"require_tls": not require_tls}).require_tls is not require_tls


def test_smart_hosts_replace_mx_records() -> None:
    connector = OutboundConnector.model_validate({"name": "x", "smart_hosts": ["a.example", "[::1]:26"]})
    assert connector.smart_hosts == (SmartHost("a.example"), SmartHost("::1", 26))
    assert connector.use_mx_record is False


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("Ann@Contoso.Example", "Ann@contoso.example"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ('"a b"@contoso.example', '"a b"@contoso.example'),
    ],
)
def test_a_mailbox_keeps_its_local_part_and_has_one_form_of_domain(written: str, address: str) -> None:
    assert Mailbox(address=written).address == address


@pytest.mark.parametrize("written", ["ann", "@contoso.example", "ann@", "ann@[192.0.2.1]", "ann@x@y", "a b@c.example"])
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match=r"not a mail address|is an address literal"):
        Mailbox(address=written)


@pytest.mark.parametrize(
    ("written", "delivery"),
    [
        ("maildir", "maildir"),
        ("lmtp:Store.example:24", "lmtp:store.example:24"),
        ("lmtp:127.0.0.1:25", "lmtp:127.0.0.1:25"),
        ("lmtp:[::1]:24", "lmtp:[::1]:24"),
        ("lmtp:unix:/run/dovecot/lmtp", "lmtp:unix:/run/dovecot/lmtp"),
    ],
)
def test_ways_of_delivery(written: str, delivery: str) -> None:
    assert Mailbox(address="a@b.example", delivery=written).delivery == delivery


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("mbox", "choose"),
        ("lmtp:store.example", "needs a port"),
        ("lmtp:", "needs a port"),
        ("lmtp:a:x", "from 1"),
        ("lmtp:unix:lmtp", "absolute path"),
    ],
)
def test_other_ways_are_refused(written: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Mailbox(address="a@b.example", delivery=written)


def test_where_mail_is_forwarded_to() -> None:
    assert Mailbox(address="a@b.example").forwarding_smtp_address == ""
    assert (
        Mailbox(address="a@b.example", forwarding_smtp_address="X@C.Example").forwarding_smtp_address == "X@c.example"
    )
    with pytest.raises(ValidationError, match="not a mail address"):
        Mailbox(address="a@b.example", forwarding_smtp_address="x")


@pytest.mark.parametrize("name", ["Contoso", "con toso", "-x", "x-", "", "x" * 64, "a/b", "..", "straße"])
def test_an_organization_has_a_name_that_is_safe_in_file_names(name: str) -> None:
    with pytest.raises(ValidationError):
        Organization(name=name)


def test_no_certificate_name_takes_in_everybody() -> None:
    with pytest.raises(ValidationError, match="would match every domain"):
        InboundConnector(name="x", tls_sender_certificate_name="*")
    with pytest.raises(ValidationError, match="would match every domain"):
        OutboundConnector(name="x", tls_domain="*")
    with pytest.raises(ValidationError, match="would match every domain"):
        AcceptedDomain(name="*")


def test_expiration_is_read_as_a_duration_with_bounds() -> None:
    assert Organization.model_validate({"name": "o", "message_expiration": "12h"}).message_expiration == 43200
    with pytest.raises(ValidationError, match="1s to 14d"):
        Organization.model_validate({"name": "o", "message_expiration": "15d"})


def test_every_field_says_what_it_means() -> None:
    for model in (AcceptedDomain, InboundConnector, Mailbox, Organization, OutboundConnector):
        assert all(field.description for field in model.model_fields.values()), model


def test_a_home_is_the_host_name_of_a_node_or_nothing() -> None:
    assert Organization(name="o").home == ""
    assert Organization.model_validate({"name": "o", "home": "MX2.Contoso.Example"}).home == "mx2.contoso.example"
    with pytest.raises(ValidationError):
        Organization.model_validate({"name": "o", "home": "192.0.2.1:25"})


@pytest.mark.parametrize(
    ("delivery", "access"),
    [("maildir", None), ("lmtp:unix:/run/lmtp", Access.MACHINE), ("lmtp:10.0.0.1:24", Access.NETWORK)],
)
def test_where_mail_is_delivered_needs_a_grant_if_it_leaves_the_gateway(delivery: str, access: Access | None) -> None:
    marker = owned_marker(Mailbox.model_fields["delivery"])
    assert marker is not None
    assert marker.access(delivery) is access


@pytest.mark.parametrize(
    ("fields", "skips"), [({}, False), ({"ef_skip_last_ip": True}, True), ({"ef_skip_ips": ["192.0.2.1"]}, True)]
)
def test_hops_are_skipped_by_either_field(fields: dict[str, object], skips: bool) -> None:
    assert InboundConnector.model_validate({"name": "c"} | fields).skips_hops is skips
