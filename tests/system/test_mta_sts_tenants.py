"""Proves that one organization's mail for silent MTA-STS policy hosts keeps no mail of another.

NSD and Unbound serve the names, one HTTPS server all policies, and a real gateway sends to a real server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.debian import need
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.policy_host import PolicyHost
from support.process import loopback
from support.scenes import OWN_SERVERS, contoso, message, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Sink

MX, POLICIES = loopback("31.1"), loopback("31.2")
JOE = "joe@fabrikam.example"
PLACES = 500  # for fetches, in a worker
MORE = 100  # silent hosts than places
GOOD, SILENT = "good.test", [f"d{number}.silent.test" for number in range(PLACES + MORE)]
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmax_age: 86400\r\n"


@pytest.fixture(scope="module")
def policies(pki: Pki) -> Iterator[PolicyHost]:
    need("root")
    names = [f"mta-sts.{domain}" for domain in (GOOD, *SILENT)]
    host = PolicyHost(pki.leaf("policies.test", names=names), {names[0]: POLICY}, address=POLICIES, port=443)
    host.silent = frozenset(names[1:])
    with host:
        yield host


@pytest.fixture(scope="module")
def partner(pki: Pki) -> Iterator[Sink]:
    with Sink(host=MX, port=25, certificate=pki.leaf("mx.good.test"), hostname="mx.good.test") as sink:
        yield sink


def records(*labels: str) -> list[str]:
    """Of domains with a policy, each behind a host name of its own."""
    found = []
    for label in labels:
        below = "" if label == "@" else f".{label}"
        found += [f"{label} MX 10 mx{below}", f"mx{below} A {MX}", f"mta-sts{below} A {POLICIES}"]
        found.append(f'_mta-sts{below} TXT "v=STSv1; id=1;"')
    return found


def test_silent_policy_hosts_of_one_organization_keep_no_others_mail(
    gateway: Callable[..., Gateway], signed_dns: Callable[..., SignedDns], policies: PolicyHost, partner: Sink, pki: Pki
) -> None:
    """Not even to a domain for which the first has mail, too. Each leaves under the policy."""
    labels = [domain.partition(".")[0] for domain in SILENT]
    zones = {"good": Zone(records("@"), unsigned=True), "silent": Zone(records(*labels), unsigned=True)}
    resources = contoso()
    resources["organization"]["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "inbound_connector": [OWN_SERVERS],
    }
    settings = {"outbound": {"private_policy_hosts": True}, "server": {"workers": 1}}
    server = gateway(resources, nameservers=[signed_dns(zones).address], anchors=pki.root, settings=settings)
    send(server.port, [f"u@{domain}" for domain in SILENT])
    wait_until(lambda: len(policies.requests) >= PLACES * 3 // 4, "contoso has its part of the places", timeout=60)
    asked = len(policies.requests)
    send(server.port, f"first@{GOOD}")
    send(server.port, f"second@{GOOD}", sender=JOE, content=message(sender=JOE))
    wait_until(lambda: any(f"second@{GOOD}" in one.recipients for one in partner.messages), "fabrikam's mail")
    assert len(policies.requests) - asked < MORE, "it did not wait until contoso had places for all"
    policies.speak()
    events = outcomes(server, {f"first@{GOOD}": "SEND", f"second@{GOOD}": "SEND"})
    assert {event["achieved"] for event in events.values()} == {"mta-sts/authenticated"}
