from __future__ import annotations

from gatepost.policy.connectors.lint import warnings

OWN = '[organization.o]\n{}[[organization.o.accepted_domain]]\nname = "o.example"\n'
MAILBOX = OWN + '[[organization.o.mailbox]]\naddress = "a@o.example"\n{}'
SERVER = OWN + '[[organization.o.inbound_connector]]\nname = "c"\nconnector_type = "on-premises"\n'
SERVER += 'sender_ip_addresses = ["192.0.2.1"]\n{}'
PARTNER = OWN + '[[organization.o.inbound_connector]]\nname = "c"\nsender_domains = ["p.example"]\n{}'


def found(resources, text):
    return [line for line in warnings(resources(text)) if "_per_day" in line]


def test_a_limit_above_that_of_the_organization_has_no_effect(resources):
    assert found(resources, MAILBOX.format("user_messages_per_day = 5\n", "messages_per_day = 5\n")) == [
        (
            "mailbox a@o.example of o: messages_per_day = 5 has no effect, "
            "as user_messages_per_day of the organization is 5"
        )
    ]
    assert found(resources, MAILBOX.format("user_messages_per_day = 5\n", "messages_per_day = 4\n")) == []
    (line,) = found(resources, SERVER.format("server_recipients_per_day = 5\n", "recipients_per_day = 9\n"))
    assert "server_recipients_per_day of the organization is 5" in line


def test_recipients_that_end_before_messages(resources):
    (line,) = found(resources, MAILBOX.format("", "messages_per_day = 5\nrecipients_per_day = 4\n"))
    assert "as recipients_per_day is lower" in line
    assert found(resources, MAILBOX.format("", "messages_per_day = 5\nrecipients_per_day = 5\n")) == []


def test_partners_have_none(resources):
    (line,) = found(resources, PARTNER.format("", "messages_per_day = 5\n"))
    assert line.endswith("act on on-premises connectors only; leave them out")
    assert found(resources, PARTNER.format("", "")) == []
