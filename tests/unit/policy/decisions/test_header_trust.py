from __future__ import annotations

import pytest

from gatepost.policy.decisions.header_trust import header_trust
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.protocols.message.organization_headers import Crossing
from gatepost.values import replace

TEXT = """
[organization.o]
accepted_domain = [{ name = "o.example" }, { name = "branch.o.example" }, { name = "exchange.o.example" }]
[[organization.o.inbound_connector]]
name = "exchange"
connector_type = "on-premises"
tls_sender_certificate_name = "exchange.o.example"
sender_ip_addresses = ["192.0.2.0/24"]
cloud_services_mail_enabled = true
[[organization.o.inbound_connector]]
name = "old"
connector_type = "on-premises"
tls_sender_certificate_name = "old.o.example"
[[organization.o.inbound_connector]]
name = "groupware"
connector_type = "on-premises"
sender_ip_addresses = ["198.51.100.0/24"]
treat_messages_as_internal = true
[[organization.o.inbound_connector]]
name = "partner"
sender_domains = ["p.example"]
require_tls = false
cloud_services_mail_enabled = true
[organization.f]
accepted_domain = [{ name = "f.example" }]
"""
STRIPPED, PROMOTED = Crossing.STRIPPED, Crossing.PROMOTED
OUTSIDE = ("x@b.example",)


@pytest.mark.parametrize(
    ("names", "ip", "sender", "recipients", "crossing", "internal"),
    [
        (["exchange.o.example"], "", "a@o.example", OUTSIDE, PROMOTED, False),
        (["exchange.o.example"], "", "a@b.example", OUTSIDE, PROMOTED, False),
        (["exchange.o.example"], "", "", ("a@o.example", "x@b.example"), PROMOTED, False),
        # An address proves too little: whoever else has it could say anything.
        ([], "192.0.2.7", "a@o.example", OUTSIDE, STRIPPED, False),
        (["old.o.example"], "", "a@o.example", OUTSIDE, STRIPPED, False),
        # The connector's word, for its own organization's senders alone.
        ([], "198.51.100.7", "a@o.example", OUTSIDE, STRIPPED, True),
        ([], "198.51.100.7", "a@branch.o.example", ("a@o.example", "x@b.example"), STRIPPED, True),
        ([], "198.51.100.7", "a@b.example", ("a@o.example",), STRIPPED, False),
        ([], "198.51.100.7", "a@f.example", ("a@o.example",), STRIPPED, False),
        ([], "", "a@p.example", ("a@o.example",), STRIPPED, False),
        ([], "", "a@o.example", ("a@o.example", "a@f.example"), STRIPPED, False),
    ],
)
def test_who_may_say_what(  # noqa: PLR0917 - a row of the table
    directory, session, chain, path, names, ip, sender, recipients, crossing, internal
):
    facts = session(*([ip] if ip else []), chain=chain(*names) if names else None)
    here = directory(TEXT)
    verdicts = [decide_recipient(here, facts, path(sender), path(one)) for one in recipients]
    assert all(verdict.accepted for verdict in verdicts)
    trust = header_trust(here, facts, path(sender), verdicts)
    assert (trust.crossing, trust.internal) == (crossing, internal)


def test_all_recipients_must_agree(directory, session, chain, path):
    """One whose verdict has another connector, or none, speaks for none of them."""
    here, facts = directory(TEXT), session(chain=chain("exchange.o.example"))
    first = decide_recipient(here, facts, path("a@o.example"), path("x@b.example"))
    other = decide_recipient(here, session(), path("a@o.example"), path("a@o.example"))
    trust = header_trust(here, facts, path("a@o.example"), [first, other])
    assert trust.crossing is STRIPPED
    old = decide_recipient(here, session(chain=chain("old.o.example")), path("a@o.example"), path("x@b.example"))
    assert header_trust(here, facts, path("a@o.example"), [first, old]).crossing is STRIPPED


def test_a_user_is_internal_and_may_say_nothing_of_it(directory, session, path):
    facts = replace(session(), user="ann@o.example", mechanism="PLAIN")
    trust = header_trust(directory(TEXT), facts, path("ann@o.example"), [])
    assert (trust.crossing, trust.internal) == (STRIPPED, True)


def test_what_another_node_of_the_site_let_through_is_let_through(directory, session, path):
    facts = replace(session(), node="mx2.o.example")
    trust = header_trust(directory(TEXT), facts, path("ann@o.example"), [])
    assert (trust.crossing, trust.internal) == (None, False)
