"""Proves how the gateway logs in to smart hosts: Dovecot as submission server, Postfix with Cyrus SASL, over real TLS.

The secret goes to a host that proved its name, and to nobody else; where there is no log-in, mail waits and an
administrator is told.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.drills import drill
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import connector, contoso, send
from support.smart_hosts import PASSWORD, USER, AuthorizationServer, DovecotSubmission, postfix_with_sasl

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Sink

BOB = "bob@partner.example"
RELAY = "relay.example"
ENTER = ("connector", "secret", "relay")


class Lab(NamedTuple):
    """Starts what a test needs."""

    running: ExitStack
    gateway: Callable[..., Gateway]
    postfix: Callable[..., Postfix]
    sink: Callable[..., Sink]
    pki: Pki
    certificate: Leaf
    master_key: str

    def dovecot(self, **options: Any) -> tuple[DovecotSubmission, Postfix]:
        """A Dovecot, and the receiver behind it."""
        receiver = self.postfix()
        host = DovecotSubmission(self.certificate, (receiver.host, receiver.port), **options)
        return self.running.enter_context(host), receiver

    def start(self, port: int, *, secret: str = PASSWORD, **fields: Any) -> Gateway:
        """A gateway that sends all mail for others by a smart host on loopback."""
        settings = {
            "store": {"master_key": self.master_key},
            "queue": {"retry": ["2s"], "idle_connection": "1s"},
            "alarms": {"look": "1s"},
        }
        made = self.gateway(self.relaying(port, **fields), settings=settings, anchors=self.pki.root)
        if secret:
            made.cli(*ENTER, "--stdin", given=f"{secret}\n")
        return made

    def relaying(self, port: int, **fields: Any) -> dict[str, Any]:
        """The resources of that gateway."""
        authentication = {"username": USER} | fields.pop("authentication", {})
        secured = {"tls_settings": "domain-validation", "tls_domain": RELAY}
        made = connector("partner.example", f"127.0.0.1:{port}", authentication=authentication, **(secured | fields))
        return contoso(outbound=[made | {"name": "relay"}])


@pytest.fixture
def lab(running, gateway, postfix, sink, pki) -> Lab:
    folder = Folder("key")
    running.callback(folder.remove)
    key = folder.write("master.key", "k" * 40, 0o600)
    certificate = pki.leaf(RELAY, names=[RELAY, "127.0.0.1"])
    return Lab(running, gateway, postfix, sink, pki, certificate, f"file:{key}")


def sent(made: Gateway) -> dict[str, Any]:
    """The row of a message that was sent on."""
    send(made.port, BOB)
    (row, *_) = made.wait_trace(recipient=BOB, event="SEND")
    return row


def waits(made: Gateway) -> dict[str, Any]:
    """The row of a message that was deferred."""
    send(made.port, BOB)
    (row, *_) = made.wait_trace(recipient=BOB, event="DEFER")
    return row


@pytest.mark.parametrize(
    ("mechanisms", "wanted", "said"),
    [
        ("scram-sha-256 plain login", "auto", "SCRAM-SHA-256"),
        ("scram-sha-256-plus scram-sha-256 plain", "auto", "SCRAM-SHA-256-PLUS"),
        ("plain login", "auto", "PLAIN"),
        ("login", "auto", "LOGIN"),
        ("scram-sha-256 plain login", "plain", "PLAIN"),
    ],
    ids=["scram", "scram-plus", "plain", "login", "chosen"],
)
def test_dovecot_takes_mail_after_each_mechanism(lab, mechanisms, wanted, said):
    host, receiver = lab.dovecot(mechanisms=mechanisms)
    made = lab.start(host.port, authentication={"mechanism": wanted})
    row = sent(made)
    assert row["detail"]["login"] == USER
    receiver.wait_mails(1)
    checked = made.cli("connector", "validate", "relay", "--organization", "contoso")
    assert f"as {USER} with {said}" in checked.stdout
    everything = made.cli("trace", "show", str(row["message"])).stdout + made.log() + made.cli("export").stdout
    everything += checked.stdout + made.cli("history").stdout
    for secret in (PASSWORD, base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()):
        assert secret not in everything


@pytest.mark.parametrize("mechanisms", ["SCRAM-SHA-256", "PLAIN", "LOGIN"])
def test_postfix_with_cyrus_sasl_takes_mail(lab, mechanisms):
    receiver = lab.postfix()
    address = receiver.host, receiver.port
    host, folder = postfix_with_sasl(lab.postfix, lab.certificate, address, mechanisms=mechanisms)
    lab.running.callback(folder.remove)
    made = lab.start(host.port)
    sent(made)
    receiver.wait_mails(1)
    assert f"sasl_method={mechanisms}" in host.wait_log("sasl_method")
    host.wait_log(f"sasl_username={USER}")


def test_tls_from_the_first_octet(lab):
    host, receiver = lab.dovecot()
    made = lab.start(host.implicit_port, implicit_tls=True)
    row = sent(made)
    assert row["tls"]["chain"] == "trusted"
    receiver.wait_mails(1)
    assert "TLS begins with the first octet" in made.cli("connector", "validate", "relay").stdout
    drill(made, "relay", expect=0)


def test_a_wrong_password_lets_mail_wait_and_raises_an_alarm_until_it_is_right(lab):
    host, receiver = lab.dovecot(mechanisms="plain")
    made = lab.start(host.port, secret="wrong")
    row = waits(made)
    assert row["reply"].startswith("450 4.7.8 Cannot log in to the next hop: PLAIN was answered with 535 5.7.8")
    assert row["detail"]["login_failure"] == "refused"
    told = wait_until(
        lambda: [one for one in made.cli("alarms", json=True, expect=None).data["alarms"] if "log in" in one["title"]],
        "an alarm",
    )
    assert told[0]["kind"] == "login-refused"
    assert not made.trace(recipient=BOB, event="FAIL")
    made.cli(*ENTER, "--stdin", given=f"{PASSWORD}\n")
    made.wait_trace(recipient=BOB, event="SEND")
    receiver.wait_mails(1)


def test_a_secret_is_sent_to_no_host_that_does_not_prove_its_name(lab):
    liar = lab.pki.leaf("liar.example", names=["liar.example"])
    receiver = lab.postfix()
    host = lab.running.enter_context(DovecotSubmission(liar, (receiver.host, receiver.port)))
    made = lab.start(host.port)
    row = waits(made)
    assert "SubjectMismatch" in row["reply"]
    assert not [line for line in row["detail"]["transcript"] if line.startswith("> AUTH")]
    assert USER not in host.log()


def test_a_secret_entered_for_another_host_is_not_used(lab):
    host, _ = lab.dovecot()
    made = lab.start(host.port)
    trap, _ = lab.dovecot(mechanisms="plain")
    said = made.apply(lab.relaying(trap.port))
    assert "was entered for another destination" in said.stderr
    assert made.cli(*ENTER, "--check", expect=1).stdout == "relay: stale\n"
    made.wait_in_force()
    row = waits(made)
    assert "entered for other smart hosts" in row["detail"]["detail"]
    assert "gateway cannot use its credentials" in row["reply"]
    assert USER not in trap.log()


def test_no_log_in_offered_and_no_secret(lab):
    host = lab.sink(certificate=lab.certificate)
    made = lab.start(host.port, secret="")
    row = waits(made)
    assert "offers no log-in (AUTH)" in row["reply"]
    assert not host.messages


def test_access_tokens_are_fetched_and_renewed(lab):
    server = lab.running.enter_context(AuthorizationServer(lab.pki.leaf("127.0.0.1")))
    host, receiver = lab.dovecot(mechanisms="oauthbearer xoauth2", tokens=server.introspection_port)
    authentication = {"token_url": server.url, "client_id": "gateway", "scope": "smtp.send"}
    made = lab.start(host.port, authentication=authentication)
    sent(made)
    receiver.wait_mails(1)
    assert server.requests == [
        {
            "grant_type": ["client_credentials"],
            "client_id": ["gateway"],
            "client_secret": [PASSWORD],
            "scope": ["smtp.send"],
        }
    ]
    server.good.clear()  # the smart host takes the token no more: another one is fetched for the next attempt
    made.cli("connector", "set", "relay", "authentication.mechanism=xoauth2")
    made.wait_in_force()
    wait_until(lambda: connections(host.port) == 0, "the end of the connection that is open")
    send(made.port, BOB)
    receiver.wait_mails(2)
    assert len(server.requests) == 2
    shown = made.log() + made.cli("trace", "search", json=True).stdout
    assert "token-1" not in shown


def connections(port: int) -> int:
    """How many there are to a port."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(int(line[2].rpartition(":")[2], 16) == port and line[3] == "01" for line in lines)


def test_a_client_secret_that_is_refused(lab):
    server = lab.running.enter_context(AuthorizationServer(lab.pki.leaf("127.0.0.1"), secret="another"))
    host, _ = lab.dovecot(mechanisms="oauthbearer", tokens=server.introspection_port)
    made = lab.start(host.port, authentication={"token_url": server.url, "client_id": "gateway"})
    row = waits(made)
    assert row["detail"]["login_failure"] == "refused"
    assert "status 401" in row["detail"]["detail"]


def test_a_name_and_an_address_of_ones_own(lab):
    host = lab.postfix()
    own = {"hello_name": "out.contoso.example", "source_ipv4_address": "127.0.0.9"}
    made = lab.gateway(contoso(outbound=[connector("partner.example", host.address, **own)]))
    sent(made)
    (mail,) = host.wait_mails(1)
    assert "out.contoso.example" in mail.raw.decode()
    host.wait_log("[127.0.0.9]")


def test_a_source_address_of_another_machine(lab):
    host = lab.sink()
    made = lab.gateway(contoso(outbound=[connector("partner.example", host.address, source_ipv4_address="192.0.2.7")]))
    row = waits(made)
    assert row["reply"].startswith("450 4.3.5")
    assert "source address 192.0.2.7 of the connector is none of this machine" in row["detail"]["detail"]
    made.apply(contoso(outbound=[connector("partner.example", host.address, address_family="ipv6")]))
    made.wait_in_force()
    send(made.port, "eve@partner.example")
    (row,) = made.wait_trace(recipient="eve@partner.example", event="DEFER")
    assert "no address of the family" in row["detail"]["detail"]
