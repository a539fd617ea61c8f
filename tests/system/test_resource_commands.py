"""Proves that an organization can be built, changed and taken down by commands alone, on a gateway that runs.

Every change is soon in force. Commands that change the same organization at the same time lose nothing.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from support.gateway import Gateway
from support.scenes import ALICE, connector, contoso, message, send

from gatepost.net.own_addresses import interface_addresses
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port
from gatepost.testing.sink import Sink

BOB = "bob@partner.example"


def change(gateway: Gateway, *commands: str) -> None:
    """Run them, and wait until the last one is in force."""
    for command in commands:
        gateway.cli(*command.split())
    gateway.wait_in_force()


def test_a_whole_organization_by_commands_alone(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("mail.partner.example"))
    running = gateway(anchors=pki.root)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(running.port, ALICE)

    change(
        running,
        "organization add contoso display_name=Contoso",
        "domain add contoso.example",
        "mailbox add alice@contoso.example",
        "mailbox add postmaster@contoso.example",
        "connector add inbound own connector_type=on-premises sender_ip_addresses=127.0.0.1/32",
        f"connector add outbound partner recipient_domains=partner.example smart_hosts={partner.address} "
        "tls_settings=encryption-only",
    )
    assert send(running.port, [ALICE, BOB], content=message("first")) == {}
    assert running.wait_maildir(ALICE)[0].field("Subject") == "first"
    (received,) = partner.wait_messages(1)
    assert (received.recipients, received.tls) == ((BOB,), "TLSv1.3")

    # a name that the partner's certificate does not bear: nothing leaves
    change(running, "connector set partner tls_settings=domain-validation tls_domain=other.example")
    send(running.port, BOB, content=message("second"))
    (row,) = running.wait_trace(recipient=BOB, event="DEFER")
    assert "SubjectMismatch" in str(row)
    assert len(partner.messages) == 1

    # the right name, and what waits is sent
    change(running, "connector set partner tls_domain=*.partner.example")
    running.cli("queue", "retry", "--all")
    assert partner.wait_messages(2)[1].mail.field("Subject") == "second"


def test_parts_are_renamed_and_removed_under_way(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    partner = sink()
    running = gateway(contoso(mailboxes=[ALICE], outbound=[connector("partner.example", partner.address)]))

    # renamed, and named by a rule: still the same way; then it cannot be removed
    change(
        running,
        "rule add all route_via_connector=partner.example senders=contoso.example",
        "connector set partner.example name=renamed",
    )
    send(running.port, BOB, content=message("first"))
    assert partner.wait_messages(1)[0].mail.field("Subject") == "first"
    refused = running.cli("connector", "remove", "renamed", expect=2)
    assert "mail flow rule 'all' of contoso: route_via_connector" in refused.stderr

    change(running, "rule remove all", "connector remove renamed", "mailbox remove alice@contoso.example")
    send(running.port, BOB, content=message("second"))
    assert len(running.wait_trace(recipient=BOB, event="DEFER")) == 1
    assert len(partner.messages) == 1

    # the mail that waits is counted when its organization goes
    assert "warning: queued of contoso: 1 delivery;" in running.cli("organization", "remove", "contoso").stderr
    assert running.cli("organization", "list", json=True).data == []
    assert [row["version"] for row in running.cli("history", json=True).data] == [7, 6, 5, 4, 3, 2, 1]
    running.wait_in_force()
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(running.port, ALICE)


def test_commands_at_the_same_time_lose_nothing(gateway: Callable[..., Gateway]) -> None:
    running = gateway("[organization.contoso]\n[[organization.contoso.accepted_domain]]\nname = 'contoso.example'\n")
    commands = [
        *(("mailbox", "add", f"user{number}@contoso.example") for number in range(4)),
        ("organization", "set", "contoso", "display_name=Contoso"),
        ("domain", "add", "new.example"),
    ]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda words: running.cli(*words), commands))
    shown = running.cli("organization", "show", "contoso", json=True).data
    assert sorted(shown["parts"]["mailbox"]) == [f"user{number}@contoso.example" for number in range(4)]
    assert shown["parts"]["accepted_domain"] == ["contoso.example", "new.example"]
    assert shown["table"]["display_name"] == "Contoso"
    assert running.cli("history", json=True).data[0]["version"] == 1 + len(commands)
    running.wait_in_force()
    assert send(running.port, [f"user{number}@contoso.example" for number in range(4)], sender="a@b.example") == {}


def test_the_commands_work_while_the_gateway_is_stopped(gateway: Callable[..., Gateway]) -> None:
    running = gateway("")
    assert "Running" in running.cli("status").stderr
    running.stop()
    stopped = running.cli("status", json=True, expect=1).data
    assert [one["ok"] for one in stopped["listeners"] + stopped["workers"]] == [False, False]
    change_first = ["organization add contoso", "domain add contoso.example", "mailbox add ann@contoso.example"]
    for command in change_first:
        running.cli(*command.split())
    assert [row["address"] for row in running.cli("mailbox", "list", json=True).data] == ["ann@contoso.example"]
    running.start()
    assert send(running.port, "ann@contoso.example", sender="a@b.example") == {}
    assert len(running.wait_maildir("ann@contoso.example")) == 1


def test_a_smart_host_that_is_the_gateway_itself_is_warned_of(gateway: Callable[..., Gateway]) -> None:
    running = gateway(contoso())
    added = running.cli(
        *f"connector add outbound loop recipient_domains=x.example smart_hosts=127.0.0.1:{running.port}".split()
    )
    assert f"the smart host 127.0.0.1:{running.port} is a listener of this gateway" in added.stdout + added.stderr


def test_so_is_one_at_an_address_of_an_interface_if_the_listener_has_all_of_them(running: ExitStack) -> None:
    addresses = sorted(interface_addresses() - {"::1"}, key=lambda address: address.startswith("127."))
    local = next(address for address in addresses if ":" not in address)
    port = free_port()
    server = Gateway(contoso(), settings={"listener": [{"role": "mx", "address": f"0.0.0.0:{port}"}]})
    server.ports = {"mx": port}
    running.enter_context(server)
    added = server.cli(*f"connector add outbound loop recipient_domains=x.example smart_hosts={local}:{port}".split())
    assert f"the smart host {local}:{port} is a listener of this gateway" in added.stdout + added.stderr
