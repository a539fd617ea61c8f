from __future__ import annotations

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.outbound.arc import ArcSealing
from gatepost.mail.outbound.dkim import DkimSigning
from gatepost.mail.outbound.organization_headers import OrganizationHeaders
from gatepost.node.content import SecretContent, content_steps
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.settings.model import Settings
from gatepost.store.changes import ConfigStore


def directory(**fields):
    return Directory(parse({"organization": {"contoso": fields}}))


def delivery(*addresses):
    message = Message(1, "contoso", 1.0, "ann@contoso.example")
    return Delivery(2, message, "contoso/b.example", [Recipient(one) for one in addresses])


RULE = {"name": "r", "header_name": "X-Label", "header_contains": ["secret"], "encrypt": "smime"}
ORIGINAL = b"X-Label: very secret\r\nSubject: x\r\n\r\nX-Label: no field\r\n"


@pytest.mark.parametrize(
    ("fields", "original", "secret"),
    [
        ({}, ORIGINAL, False),
        ({"mail_flow_rule": [RULE]}, ORIGINAL, True),
        ({"mail_flow_rule": [RULE]}, b"Subject: x\r\n\r\nX-Label: secret\r\n", False),
        ({"mail_flow_rule": [RULE | {"mode": "rehearse"}]}, ORIGINAL, False),
        ({"outbound_connector": [{"name": "c", "recipient_domains": ["b.example"], "encrypt": "smime"}]}, b"", True),
        ({"outbound_connector": [{"name": "c", "recipient_domains": ["d.example"], "encrypt": "smime"}]}, b"", False),
    ],
)
def test_whose_notices_hold_no_content(fields, original, secret):
    assert SecretContent(lambda: directory(**fields))(delivery("bob@b.example"), original) is secret


def test_what_is_in_force_counts():
    current = [directory()]
    asked = SecretContent(lambda: current[0])
    assert not asked(delivery("bob@b.example"), ORIGINAL)
    current[0] = directory(mail_flow_rule=[RULE])
    assert asked(delivery("bob@b.example"), ORIGINAL)


def test_header_fields_go_first_and_signature_and_seal_come_last(tmp_path):
    settings = Settings(server={"hostname": "mx1.contoso.example", "data_dir": str(tmp_path)})
    steps = content_steps(settings, ConfigStore(tmp_path / "config.db"), None)._steps  # nothing is signed here
    assert isinstance(steps[0], OrganizationHeaders)
    assert [type(step) for step in steps[-2:]] == [DkimSigning, ArcSealing]
