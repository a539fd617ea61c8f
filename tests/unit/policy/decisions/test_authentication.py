from __future__ import annotations

from typing import Any

import pytest

from gatepost.policy.connectors.values import AuthenticationResults
from gatepost.policy.decisions.authentication import authenticated_by, forged_ids
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.inbound import decide_recipient

TEXT = """
[organization.o]
authentication_results = "gateway"
home = "home.example"
accepted_domain = [{ name = "o.example" }, { name = "second.example" }]
[[organization.o.inbound_connector]]
name = "own"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.7/32"]
[organization.p]
accepted_domain = [{ name = "p.example" }]
"""
STRANGER, OWN = "203.0.113.9", "192.0.2.7"
GATEWAY, NONE = AuthenticationResults.GATEWAY, AuthenticationResults.NONE
ALL = {"mx.example", "me.example", "other.example", "placed.example", "home.example"}
NODES = Nodes("me.example", "site", {"placed.example": ("192.0.2.1", 1)}, frozenset({"other.example"}))


@pytest.mark.parametrize(
    ("ip", "recipient", "expected", "forged"),
    [
        (STRANGER, "x@o.example", GATEWAY, True),
        (STRANGER, "x@p.example", NONE, False),
        (OWN, "x@o.example", NONE, True),
        (OWN, "x@p.example", NONE, True),
        (OWN, "x@internet.test", NONE, True),
    ],
)
def test_who_authenticates(
    directory: Any, session: Any, path: Any, ip: str, recipient: str, expected: AuthenticationResults, *, forged: bool
) -> None:
    here = directory(TEXT)
    verdict = decide_recipient(here, session(ip), path("a@o.example"), path(recipient))
    assert verdict.accepted
    assert verdict.authentication is expected
    assert forged_ids(here, session(ip), [verdict], "MX.example", NODES) == (ALL if forged else set())


def test_mail_of_a_neighbours_server_is_authenticated(directory: Any, session: Any, path: Any) -> None:
    here = directory(TEXT.replace("[organization.p]", '[organization.p]\nauthentication_results = "rspamd"'))
    verdict = decide_recipient(here, session(OWN), path("a@o.example"), path("x@p.example"))
    assert (verdict.direction, verdict.authentication) == ("originating", AuthenticationResults.RSPAMD)
    assert authenticated_by(("p", "originating"), here.organization("p")) is NONE
    assert authenticated_by(("p", "incoming"), None) is NONE


def test_recipients_who_differ_come_apart(directory: Any, session: Any, path: Any) -> None:
    here = directory(TEXT)
    first = decide_recipient(here, session(STRANGER), path("a@b.example"), path("x@o.example"))
    again = decide_recipient(here, session(STRANGER), path("a@b.example"), path("x@second.example"), first=first)
    assert again.accepted
    other = decide_recipient(here, session(STRANGER), path("a@b.example"), path("x@p.example"), first=first)
    assert other.reply.enhanced == "4.5.3"
    assert other.reasons[-1] == "this recipient's mail is authenticated by others than the first recipient's"


def test_another_node_has_taken_them_out(directory: Any, session: Any, path: Any) -> None:
    here = directory(TEXT)
    verdict = decide_recipient(here, session(STRANGER), path("a@b.example"), path("x@o.example"))
    assert forged_ids(here, session(STRANGER, node="n"), [verdict], "mx.example", NODES) == frozenset()
