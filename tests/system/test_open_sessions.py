"""Proves that a session which stays open goes by the configuration in force at each MAIL, not by that of its start.

Own servers and partners keep sessions open for an hour: what an administrator tightens or takes away counts for their
next message.
"""

from __future__ import annotations

import copy
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.raw import RawClient, RawReply
from support.scenes import ALICE, STRANGER, connector, contoso, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

HOST = "mx1.contoso.example"
OUTSIDE = "bob@partner.example"
BRANCH, OFFICE = "127.0.7.7", "*.contoso.example"

Resources = dict[str, Any]


def _resources(next_hop: Sink) -> Resources:
    return contoso(
        inbound=[
            {"name": "branch", "connector_type": "on-premises", "sender_ip_addresses": [BRANCH]},
            {"name": "office", "connector_type": "on-premises", "tls_sender_certificate_name": OFFICE},
            {"name": "lab", "sender_domains": ["lab.example"], "require_tls": False},
        ],
        outbound=[connector("partner.example", next_hop.address)],
    )


def _inbound(resources: Resources, name: str) -> dict[str, Any]:
    (found,) = [one for one in resources["organization"]["contoso"]["inbound_connector"] if one["name"] == name]
    assert isinstance(found, dict)
    return found


def _set(name: str, **fields: Any) -> Callable[[Resources], None]:
    return lambda resources: _inbound(resources, name).update(fields)


def _without(name: str) -> Callable[[Resources], None]:
    def change(resources: Resources) -> None:
        resources["organization"]["contoso"]["inbound_connector"].remove(_inbound(resources, name))

    return change


@contextmanager
def _started(pki: Pki, anchors: Path | None = None) -> Iterator[tuple[Gateway, Resources, Leaf]]:
    with ExitStack() as stack:
        resources = _resources(stack.enter_context(Sink()))
        leaf = pki.leaf(HOST)
        running = stack.enter_context(Gateway(resources, certificates=[leaf], anchors=anchors or pki.root))
        yield running, resources, pki.client("mail.contoso.example")


@pytest.fixture(scope="module")
def world(pki: Pki) -> Iterator[tuple[Gateway, Resources, Leaf]]:
    with _started(pki) as started:
        yield started


def _deliver(client: RawClient, sender: str, recipient: str) -> RawReply:
    """The last reply: to the end of a message that was taken, or to the command that was refused."""
    for line, code in ((f"MAIL FROM:<{sender}>", 250), (f"RCPT TO:<{recipient}>", 250), ("DATA", 354)):
        reply = client.command(line)
        if reply.code != code:
            client.command("RSET")
            return reply
    return client.command("Subject: in an open session\r\n\r\nHello.\r\n.")


def _session(running: Gateway, who: str, certificate: Leaf) -> RawClient:
    client = RawClient(running.port, source=BRANCH if who == "branch" else "127.0.7.9")
    client.greet()
    if who == "office":
        client.starttls(certificate=certificate)
        client.command("EHLO mail.contoso.example")
    return client


RELAY, LAB = (ALICE, OUTSIDE), ("carol@lab.example", ALICE)
NO_TLS, NOBODY = (530, "5.7.0"), (550, "5.7.64")
# The client, what it sends, what is changed, and the reply from then on.
CASES: dict[str, tuple[str, tuple[str, str], Callable[[Resources], None], tuple[int, str]]] = {
    "an own server's TLS is required": ("branch", RELAY, _set("branch", require_tls=True), NO_TLS),
    "a partner's TLS is required": ("lab", LAB, _set("lab", require_tls=True), NO_TLS),
    "a partner is held to its addresses": (
        "lab",
        LAB,
        _set("lab", restrict_domains_to_ip_addresses=True, sender_ip_addresses=["192.0.2.0/24"]),
        (550, "5.7.51"),
    ),
    "the address is removed": ("branch", RELAY, _set("branch", sender_ip_addresses=["127.0.7.8"]), NOBODY),
    "the connector of an address is disabled": ("branch", RELAY, _set("branch", enabled=False), NOBODY),
    "the connector of an address is deleted": ("branch", RELAY, _without("branch"), NOBODY),
    "the connector of a certificate is disabled": ("office", RELAY, _set("office", enabled=False), NOBODY),
    "a certificate must lead elsewhere": ("office", RELAY, _set("office", trust_anchors="system"), NOBODY),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_next_message_of_an_open_session_goes_by_the_new_rule(
    world: tuple[Gateway, Resources, Leaf], case: str
) -> None:
    running, resources, certificate = world
    who, envelope, change, expected = CASES[case]
    running.apply(resources)
    running.wait_in_force()
    with _session(running, who, certificate) as client:
        first = _deliver(client, *envelope)
        assert (first.code, first.enhanced) == (250, "2.0.0")
        changed = copy.deepcopy(resources)
        change(changed)
        running.apply(changed)
        running.wait_in_force()
        later = _deliver(client, *envelope)
        assert (later.code, later.enhanced) == expected
        running.apply(resources)
        running.wait_in_force()
        again = _deliver(client, *envelope)
        assert (again.code, again.enhanced) == (250, "2.0.0"), "and by the one after that"


def test_when_an_organization_is_removed_its_servers_and_recipients_are_nobody_s(pki: Pki) -> None:
    """On a gateway of its own: the name of an organization that was removed cannot be used again."""
    cases = {"branch": RELAY, "office": RELAY, "stranger": (STRANGER, ALICE)}
    with ExitStack() as stack:
        running, _, certificate = stack.enter_context(_started(pki))
        clients = {who: stack.enter_context(_session(running, who, certificate)) for who in cases}
        assert [_deliver(clients[who], *envelope).code for who, envelope in cases.items()] == [250] * 3
        running.cli("organization", "remove", "contoso")
        running.wait_in_force()
        replies = [_deliver(clients[who], *envelope) for who, envelope in cases.items()]
        assert [(reply.code, reply.enhanced) for reply in replies] == [NOBODY] * 3


def test_a_certificate_counts_no_more_once_its_authority_is_taken_out_of_the_trust_anchors(
    pki: Pki, tmp_path: Path
) -> None:
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(pki.root.read_bytes())
    with _started(pki, anchors) as (running, _, certificate), _session(running, "office", certificate) as client:
        assert _deliver(client, *RELAY).code == 250
        anchors.write_bytes(pki.leaf("another.example").certificate.read_bytes())
        os.kill(running.pid, signal.SIGHUP)
        wait_until(lambda: "trust anchors were read again" in running.log(), "the trust anchors are read again")
        later = _deliver(client, *RELAY)
        assert (later.code, later.enhanced) == NOBODY


def test_files_that_break_take_nothing_away_at_sighup_or_a_change_and_count_again_once_mended(
    pki: Pki, tmp_path: Path
) -> None:
    """Clients and partners are known as before, in open and in new sessions, and an alarm names each file."""
    office, own = pki.client("mail.contoso.example"), pki.client("mx1.contoso.example")
    names = ("server.pem", "office.pem", "bank.pem", "own.pem", "own.key")
    server, to_office, to_bank, chain, key = files = [tmp_path / name for name in names]
    for file, source in zip(files, (pki.root,) * 3 + (own.chain, own.key), strict=True):
        file.write_bytes(source.read_bytes())
        file.chmod(0o600)
    proven = {"tls_settings": "domain-validation", "tls_domain": "mail.bank.example", "trust_anchors": str(to_bank)}
    proven["client_certificate"] = {"chain": str(chain), "key": str(key)}
    with ExitStack() as stack:
        bank = stack.enter_context(Sink(certificate=pki.leaf("mail.bank.example"), client_anchors=pki.root))
        resources = _resources(bank)
        resources["organization"]["contoso"]["outbound_connector"].append(
            connector("bank.example", bank.address, **proven)
        )
        _set("office", trust_anchors=str(to_office))(resources)
        lab = {"tls_sender_certificate_name": OFFICE, "restrict_domains_to_certificate": True}
        _set("lab", require_tls=True, **lab)(resources)
        running = Gateway(resources, certificates=[pki.leaf(HOST)], anchors=server, settings={"alarms": {"look": "1s"}})
        stack.enter_context(running)
        opened = stack.enter_context(_session(running, "office", office))

        def alarms() -> set[str]:
            found = running.cli("alarms", json=True, expect=None).data["alarms"]
            return {alarm["about"] for alarm in found if alarm["kind"] == "file-unusable"}

        def all_are_known() -> None:
            with _session(running, "office", office) as fresh:
                for client in (opened, fresh):
                    for envelope in (RELAY, LAB, (ALICE, "bob@bank.example")):
                        reply = _deliver(client, *envelope)
                        assert (reply.code, reply.enhanced) == (250, "2.0.0")
            wait_until(lambda: not running.cli("queue", "list", json=True).data, "all is delivered")

        def sighup(said: str) -> None:
            before = running.log().count(said)
            os.kill(running.pid, signal.SIGHUP)
            wait_until(lambda: running.log().count(said) > before, f"{said!r} after SIGHUP\n{running.log()}")

        all_are_known()
        for file in files:
            good = file.read_bytes()
            file.write_bytes(b"half a renewal")
            sighup("no file was read again, and all stay in use as they were: ")
            all_are_known()
            changed = copy.deepcopy(resources)
            _set("branch", comment=file.name)(changed)
            running.apply(changed)
            running.wait_in_force()
            all_are_known()
            wait_until(alarms, "the alarm", timeout=60)
            assert "file" in running.cli("status", expect=None).stdout
            file.write_bytes(good)
            sighup("trust anchors were read again")
            all_are_known()
        assert not running.trace(event="DEFER")
        wait_until(lambda: not alarms(), "the end of the alarms", timeout=60)


def test_a_key_that_others_may_read_stays_in_use_and_is_not_taken_up_again(pki: Pki, tmp_path: Path) -> None:
    """An alarm names each; SIGHUP keeps both, a start refuses the server's, and mail waits for a partner's."""
    server, own = pki.leaf(HOST), pki.client("mx1.contoso.example")
    keys = [tmp_path / "server.key", tmp_path / "own.key"]
    for file, source in zip(keys, (server.key, own.key), strict=True):
        file.write_bytes(source.read_bytes())
        file.chmod(0o600)
    certificate = {"chain": str(own.chain), "key": str(keys[1])}
    with ExitStack() as stack:
        bank = stack.enter_context(Sink(certificate=pki.leaf("mail.bank.example"), client_anchors=pki.root))
        proven = {"tls_settings": "domain-validation", "tls_domain": "mail.bank.example"}
        outbound = connector("bank.example", bank.address, client_certificate=certificate, **proven)
        settings = {"alarms": {"look": "1s"}, "certificate": [{"chain": str(server.chain), "key": str(keys[0])}]}
        running = stack.enter_context(Gateway(contoso(outbound=[outbound]), anchors=pki.root, settings=settings))

        def kinds() -> set[str]:
            found = running.cli("alarms", json=True, expect=None).data["alarms"]
            return {alarm["kind"] for alarm in found if "lets others use it" in alarm["detail"]}

        for file in keys:
            file.chmod(0o644)
        wait_until(lambda: kinds() == {"key-unusable", "file-unusable"}, "the alarms", timeout=120)
        os.kill(running.pid, signal.SIGHUP)
        wait_until(lambda: "no file was read again" in running.log(), "SIGHUP")
        with RawClient(running.port) as client:
            client.greet()
            client.starttls()
        send(running.port, "first@bank.example")
        bank.wait_messages(1)
        running.stop()
        refused = running.cli("serve", "--check", expect=2)
        assert "server.key: mode 0644 lets others use it" in " ".join(refused.stdout.split())
        keys[0].chmod(0o600)
        running.start()
        send(running.port, "second@bank.example")
        (row,) = running.wait_trace(recipient="second@bank.example", event="DEFER")
        assert "own.key: mode 0644 lets others use it" in str(row)
        keys[1].chmod(0o600)
        running.cli("queue", "retry", "--all")
        bank.wait_messages(2)


def test_a_certificate_counts_no_more_once_it_has_expired(world: tuple[Gateway, Resources, Leaf], pki: Pki) -> None:
    running, resources, _ = world
    running.apply(resources)
    running.wait_in_force()
    ends = time.time() + 8.0
    certificate = pki.leaf("mail.contoso.example", usages=("client",), days=(-1, 8 / 86400))
    with _session(running, "office", certificate) as client:
        assert _deliver(client, *RELAY).code == 250
        time.sleep(max(0.0, ends + 1.0 - time.time()))
        later = _deliver(client, *RELAY)
        assert (later.code, later.enhanced) == NOBODY


def test_a_connection_in_use_is_not_kept_beyond_the_trust_anchors_that_it_was_judged_by(
    pki: Pki, tmp_path: Path
) -> None:
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(pki.root.read_bytes())
    proven = {"tls_settings": "domain-validation", "tls_domain": "mail.bank.example"}
    with ExitStack() as stack:
        partner = stack.enter_context(Sink(certificate=pki.leaf("mail.bank.example")))
        bank = connector("bank.example", partner.address, trust_anchors=str(anchors), **proven)
        running = stack.enter_context(Gateway(contoso(outbound=[bank])))
        partner.behaviour = Behaviour(holds=frozenset({"."}))
        send(running.port, "first@bank.example")
        wait_until(lambda: partner.counts["DATA"] + partner.counts["BDAT"], "the first message is on its way")
        anchors.write_bytes(pki.leaf("another.example").certificate.read_bytes())
        os.kill(running.pid, signal.SIGHUP)
        wait_until(lambda: "trust anchors were read again" in running.log(), "the trust anchors are read again")
        partner.behaviour = Behaviour()
        partner.wait_messages(1)
        send(running.port, "second@bank.example")
        (row,) = running.wait_trace(recipient="second@bank.example", event="DEFER")
        assert row["reply"].startswith("450 4.7.320")
        assert (len(partner.messages), partner.counts["CONNECT"]) == (1, 2)


def test_of_a_hundred_messages_of_a_session_none_goes_by_the_old_rule(world: tuple[Gateway, Resources, Leaf]) -> None:
    running, resources, certificate = world
    running.apply(resources)
    running.wait_in_force()
    changed = copy.deepcopy(resources)
    _without("branch")(changed)
    with _session(running, "branch", certificate) as client:
        codes = []
        for number in range(100):
            if number in {40, 70}:
                running.apply(changed if number == 40 else resources)
                running.wait_in_force()
            codes.append(_deliver(client, *RELAY).code)
    assert codes == [250] * 40 + [550] * 30 + [250] * 30


def test_a_kept_connection_takes_no_mail_under_a_tightened_rule() -> None:
    """It is unencrypted; then TLS is required, and the host has none."""
    with ExitStack() as stack:
        partner = stack.enter_context(Sink())
        bank = connector("bank.example", partner.address)
        running = stack.enter_context(Gateway(contoso(outbound=[bank])))
        for subject in ("first", "second"):
            send(running.port, f"{subject}@bank.example")
            running.wait_trace(recipient=f"{subject}@bank.example", event="SEND")  # the connection waits again
        assert partner.counts["CONNECT"] == 1
        running.apply(contoso(outbound=[bank | {"tls_settings": "encryption-only"}]))
        running.wait_in_force()
        send(running.port, "third@bank.example")
        (row,) = running.wait_trace(recipient="third@bank.example", event="DEFER")
        assert row["reply"].startswith("450 4.4.317")
        assert (len(partner.messages), partner.counts["CONNECT"]) == (2, 2)
