"""Proves delivery to mailboxes: Dovecot over LMTP and read back over IMAP, aliases, sub-addresses, forwarding with SRS.

Each recipient has its own fate, a server that dies in the middle costs no message, and one on another machine must
prove who it is.
"""

from __future__ import annotations

import smtplib
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from support.debian import need
from support.dovecot import Dovecot
from support.gateway import Gateway
from support.scenes import ALICE, STRANGER, connector, contoso, message, outcomes, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import EXTENSIONS, Behaviour, Sink

type Start[T] = Callable[..., T]

ANN, BOB, GHOST = "ann@contoso.example", "bob@contoso.example", "ghost@contoso.example"
AWAY, BOTH = "away@contoso.example", "both@contoso.example"
OUTSIDE = "home@provider.example"
OFTEN = {"queue": {"retry": ["1s"]}}


@pytest.fixture
def dovecot(running: ExitStack) -> Callable[..., Dovecot]:
    """dovecot(users, ...) starts a Dovecot; see `support.dovecot.Dovecot`."""
    need("root", "dovecot", "dovecot-lmtp")
    return lambda users, **options: running.enter_context(Dovecot(users, **options))


def with_mailboxes(*mailboxes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    resources = contoso(**fields)
    resources["organization"]["contoso"]["mailbox"] = [{"address": ALICE}, *mailboxes]
    return resources


def test_each_recipient_has_its_own_fate_at_dovecot(gateway: Start[Gateway], dovecot: Start[Dovecot]) -> None:
    store = dovecot([ANN, BOB])
    server = gateway(
        with_mailboxes(
            {"address": ANN, "aliases": ["info@contoso.example"], "delivery": f"lmtp:127.0.0.1:{store.port}"},
            {"address": BOB, "delivery": f"lmtp:unix:{store.socket}"},
            {"address": GHOST, "delivery": f"lmtp:127.0.0.1:{store.port}"},  # Dovecot does not know it
            subaddress_separator="+",
        )
    )
    to = ["Info@contoso.example", "ann+Box@contoso.example", "nobody@contoso.example", GHOST, BOB]
    refused = send(server.port, to, content=message("to many"))
    assert list(refused) == ["nobody@contoso.example"]
    assert refused["nobody@contoso.example"][1].startswith(b"5.1.1")

    found = outcomes(server, {to[0]: "DELIVER", to[1]: "DELIVER", GHOST: "FAIL", BOB: "DELIVER"})
    assert found[GHOST]["reply"].startswith("550 5.1.1")
    assert found[BOB]["detail"]["mailbox"] == f"lmtp:unix:{store.socket}"
    for user, folder in ((ANN, "INBOX"), (ANN, "Box"), (BOB, "INBOX")):
        (mail,) = store.wait_mails(user, 1, folder)
        assert mail.field("Subject") == "to many"
    (notice,) = wait_until(lambda: server.maildir(ALICE), "the notice")
    assert GHOST in notice.body.decode()


def test_an_lmtp_server_elsewhere_must_prove_who_it_is(
    gateway: Start[Gateway], dovecot: Start[Dovecot], dns_server: Start[DnsServer], pki: Pki
) -> None:
    name = "store.contoso.example"
    names = dns_server({f"{name} A": ["127.0.0.1"], f"other.{name} A": ["127.0.0.1"]})
    store = dovecot([ANN, BOB, GHOST], certificate=pki.leaf(name, key="rsa"))
    bare = dovecot([GHOST])
    server = gateway(
        with_mailboxes(
            {"address": ANN, "delivery": f"lmtp:{name}:{store.port}"},
            {"address": BOB, "delivery": f"lmtp:other.{name}:{store.port}"},
            {"address": GHOST, "delivery": f"lmtp:{name}:{bare.port}"},
        ),
        nameservers=[names.address],
        anchors=pki.root,
    )
    assert send(server.port, [ANN, BOB, GHOST]) == {}
    found = outcomes(server, {ANN: "DELIVER", BOB: "DEFER", GHOST: "DEFER"})
    assert found[ANN]["achieved"] == "none/authenticated"
    assert found[ANN]["requirement"] == f"authenticated({name})"
    assert found[BOB]["reply"].startswith("450 4.7.320")
    assert found[GHOST]["reply"].startswith("450 4.4.317")
    assert len(store.wait_mails(ANN, 1)) == 1
    assert store.mails(BOB) == []
    assert bare.mails(GHOST) == []


class _Dying(socketserver.StreamRequestHandler):
    """An LMTP server that dies in the middle of its answers to the first message, and does well from then on."""

    taken: ClassVar[list[str]] = []
    deaths: ClassVar[list[int]] = []

    def handle(self) -> None:
        self.say("220 double LMTP")
        recipients: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
            if verb == "LHLO":
                self.say("250-double\r\n250 PIPELINING")
            elif verb == "DATA":
                self.say("354 go on")
                if not self.take(recipients):
                    return
                recipients = []
            else:
                self.say("250 2.0.0 good")

    def take(self, recipients: list[str]) -> bool:
        while self.rfile.readline() != b".\r\n":
            pass
        for number, recipient in enumerate(recipients):
            if number == 1 and not self.deaths:
                self.deaths.append(1)
                return False
            self.taken.append(recipient)
            self.say("250 2.0.0 saved")
        return True

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def dying() -> Iterator[int]:
    """The port of a server as `_Dying` is."""
    _Dying.taken.clear()
    _Dying.deaths.clear()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Dying) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_server_that_dies_among_its_answers_costs_nothing(gateway: Start[Gateway], dying: int) -> None:
    boxes = ({"address": address, "delivery": f"lmtp:127.0.0.1:{dying}"} for address in (ANN, BOB, GHOST))
    server = gateway(with_mailboxes(*boxes), settings=OFTEN)
    assert send(server.port, [ANN, BOB, GHOST]) == {}
    assert len(outcomes(server, dict.fromkeys((ANN, BOB, GHOST), "DELIVER"))) == 3
    assert _Dying.deaths == [1]
    assert sorted(_Dying.taken) == [ANN, BOB, GHOST]  # who had its answer is not served again


def test_forwarded_mail_its_notice_and_its_loop(gateway: Start[Gateway], sink: Start[Sink]) -> None:
    peer = sink()
    server = gateway(
        with_mailboxes(
            {"address": AWAY, "forwarding_smtp_address": OUTSIDE},
            {"address": BOTH, "forwarding_smtp_address": OUTSIDE, "deliver_to_mailbox_and_forward": True},
            outbound=[connector(domain, peer.address) for domain in ("provider.example", "elsewhere.example")],
        )
    )
    assert send(server.port, [AWAY, BOTH], sender=STRANGER, content=message("news", sender=STRANGER)) == {}
    forwarded = peer.wait_messages(2)
    assert {one.recipients for one in forwarded} == {(OUTSIDE,)}
    assert len(wait_until(lambda: server.maildir(BOTH), "the copy that is kept")) == 1
    assert server.maildir(AWAY) == []
    (path,) = {one.reverse_path for one in forwarded}
    assert path.startswith("SRS0=")
    assert path.endswith("=elsewhere.example=mallory@contoso.example")
    (mine,) = (one for one in forwarded if one.data.startswith(b"Delivered-To: away@"))
    assert "ORCPT=rfc822;away@contoso.example" in " ".join(mine.parameters)
    row = outcomes(server, {OUTSIDE: "SEND"})[OUTSIDE]
    assert row["detail"]["forwarded_by"] in {AWAY, BOTH}
    assert row["detail"]["reverse_path"] == path

    # A notice for the address goes to who sent the message; nothing else, and no invented address, is taken.
    assert send(server.port, path.lower(), sender="", content=message("notice")) == {}
    notice = peer.wait_messages(3)[-1]
    assert (notice.reverse_path, notice.recipients) == ("", (STRANGER,))
    for sender, to, status in ((STRANGER, path, b"5.7.1"), ("", path.replace("=mallory", "=m"), b"5.1.1")):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(server.port, to, sender=sender)
        assert refused.value.recipients[to][1].startswith(status)

    # What comes back to the mailbox that sent it on goes no second round.
    with pytest.raises(smtplib.SMTPDataError) as loop:
        send(server.port, AWAY, sender=STRANGER, content=mine.data)
    assert loop.value.smtp_code == 554
    assert b"5.4.6" in bytes(loop.value.smtp_error)


def test_a_forwarded_message_keeps_its_requiretls(gateway: Start[Gateway], sink: Start[Sink], pki: Pki) -> None:
    leaf = pki.leaf("mx.provider.example")
    offers = Behaviour(extensions=(*EXTENSIONS, "REQUIRETLS"))
    willing, unwilling = sink(certificate=leaf, behaviour=offers), sink(certificate=leaf)
    secure = {"tls_settings": "domain-validation", "tls_domain": "mx.provider.example"}
    server = gateway(
        with_mailboxes(
            {"address": AWAY, "forwarding_smtp_address": OUTSIDE},
            {"address": BOTH, "forwarding_smtp_address": "home@unwilling.example"},
            outbound=[
                connector("provider.example", willing.address, **secure),
                connector("unwilling.example", unwilling.address, **secure),
            ],
        ),
        certificates=[pki.leaf("mx1.contoso.example")],
        anchors=pki.root,
    )
    assert send(server.port, [AWAY, BOTH], sender=STRANGER, tls=True, mail=["REQUIRETLS"]) == {}
    found = outcomes(server, {OUTSIDE: "SEND", "home@unwilling.example": "FAIL"})
    assert found["home@unwilling.example"]["reply"].startswith("550 5.7.30")
    (kept,) = willing.wait_messages(1)
    assert "REQUIRETLS" in " ".join(kept.parameters)
    assert kept.tls
    assert unwilling.messages == []


def test_who_has_no_mailbox_here_is_refused_or_goes_on_premises(gateway: Start[Gateway], sink: Start[Sink]) -> None:
    hq = sink()
    on_premises = {
        "name": "hq",
        "connector_type": "on-premises",
        "all_accepted_domains": True,
        "smart_hosts": [hq.address],
    }
    server = gateway(
        with_mailboxes(
            {"address": "cloud@hybrid.example"},
            domains=[{"name": "contoso.example"}, {"name": "hybrid.example", "type": "internal-relay"}],
            outbound=[on_premises],
        )
    )
    refused = send(
        server.port,
        ["Cloud@hybrid.example", "desk@hybrid.example", "SRS0=x@hybrid.example", "no@contoso.example"],
        sender=STRANGER,
    )
    assert {address: reply[1][:5] for address, reply in refused.items()} == {"no@contoso.example": b"5.1.1"}
    (relayed,) = hq.wait_messages(1)
    assert set(relayed.recipients) == {"desk@hybrid.example", "SRS0=x@hybrid.example"}
    assert len(wait_until(lambda: server.maildir("cloud@hybrid.example"), "the copy for the mailbox here")) == 1
