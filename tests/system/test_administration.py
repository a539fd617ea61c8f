"""Proves the commands of an administrator, on a running gateway as on a stopped one, with their exit codes.

Resources: dry run, every error at once and nothing changed, changes in force within two seconds, what is exported can
be applied again. Queue: list, show, hold, release, retry, drop. Trace: search and show. Exit codes: 0 done, 1 a clear
no, 2 bad input, 3 could not tell.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.gateway import Gateway
from support.pace import Pace
from support.raw import RawClient
from support.scenes import ALICE, OWN_SERVERS, STRANGER, connector, contoso, message, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import FixtureError, wait_until
from gatepost.testing.sink import Behaviour, Sink
from gatepost.values import replace

# One fault of each kind; the words that must be said about it.
FAULTS = """
[organization.contoso]
display_nam = "typo"
message_expiration = "soon"

[[organization.contoso.accepted_domain]]
name = "contoso..example"

[[organization.contoso.accepted_domain]]
name = "fabrikam.example"

[[organization.contoso.mailbox]]
address = "ann@elsewhere.example"

[[organization.contoso.inbound_connector]]
name = "open to all"
connector_type = "on-premises"
sender_ip_addresses = ["0.0.0.0/0"]

[[organization.contoso.inbound_connector]]
name = "nobody"
connector_type = "partner"

[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
tls_settings = "encryption"

[[organization.contoso.outbound_connector]]
name = "Bank"
recipient_domains = ["bank2.example"]
tls_domain = "mx.bank.example"

[[organization.contoso.outbound_connector]]
name = "nowhere"
recipient_domains = ["x.example"]
use_mx_record = false

[[organization.fabrikam.accepted_domain]]
name = "fabrikam.example"
"""
COMPLAINTS = [
    ("display_nam", ""),
    ("message_expiration", "soon"),
    ("accepted_domain[0]", "contoso..example"),
    ("mailbox[0]", "elsewhere.example"),
    ("'open to all'.sender_ip_addresses", "0.0.0.0/0"),
    ("'nobody'.sender_domains", ""),
    ("'bank'.tls_settings", "encryption-only"),
    ("'Bank'.tls_domain", "domain-validation"),
    ("'nowhere'.use_mx_record", "smart_hosts"),
    ("organization.fabrikam", "fabrikam.example"),
]


@pytest.fixture(scope="module")
def office() -> Iterator[Gateway]:
    """A running gateway for tests that do not stop it."""
    with Gateway(contoso(), settings={"queue": {"retry": ["1h"]}}) as running:
        yield running


@pytest.fixture
def stopped(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> Gateway:
    """A stopped gateway with two deferred messages and one that was delivered."""
    partner = sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]), settings={"queue": {"retry": ["1h"]}}
    )
    for recipient in ("bob@partner.example", "carol@partner.example", "ann@contoso.example"):
        send(server.port, recipient, content=message(f"for {recipient}"))
    wait_until(lambda: len(server.trace(event="DEFER")) == 2 and server.trace(event="DELIVER"), "two deferrals")
    server.stop()
    return server


def test_every_error_is_named_at_once_and_nothing_changes(office: Gateway) -> None:
    before = office.cli("export").stdout
    run = office.apply(FAULTS, expect=2)
    assert run.stdout == ""
    for place, words in COMPLAINTS:
        assert any(place in line and words in line for line in run.stderr.splitlines()), (place, words, run.stderr)
    assert "nothing was changed" in run.stderr
    assert "resources.toml" in run.stderr
    assert "Traceback" not in run.stderr
    assert office.cli("export").stdout == before


@pytest.mark.parametrize(
    "text", ["[organization.contoso\n", "organization = 5\n", "colour = 'red'\n", "\xff[x"], ids=repr
)
def test_a_file_that_is_no_resources_is_refused(office: Gateway, text: str) -> None:
    file = office.folder / "broken.toml"
    file.write_bytes(text.encode("latin-1"))
    run = office.cli("apply", "-f", str(file), expect=2)
    assert "broken.toml" in run.stderr
    assert "nothing was changed" in run.stderr


def test_a_dry_run_says_what_would_change_and_changes_nothing(office: Gateway) -> None:
    before = office.cli("export").stdout
    resources = contoso(outbound=[connector("new.example", "mx.new.example:2525", tls_settings="encryption-only")])
    file = office.folder.write("dry.json", json.dumps(resources))
    run = office.cli("apply", "-f", str(file), "--dry-run")
    assert "new.example" in run.stdout
    assert "encryption-only" in run.stdout
    data = office.cli("apply", "-f", str(file), "--dry-run", json=True).data
    assert data["dry_run"] is True
    assert data["changes"]
    assert office.cli("export").stdout == before


def test_export_is_what_apply_takes(gateway: Callable[..., Gateway], pki: Pki) -> None:
    certificate = pki.client("gateway.contoso.example")
    rich = contoso(
        display_name="Contoso Spital Zürich",
        message_expiration="2d",
        cleartext="after-failed-handshake",
        domains=[{"name": "contoso.example"}, {"name": "*.relay.example", "type": "internal-relay"}],
        mailboxes=[ALICE, "jörg@contoso.example"],
        inbound=[OWN_SERVERS, {"name": "lab", "sender_domains": ["lab.example", "*.lab.example"], "priority": 5}],
        outbound=[
            connector(
                "bank.example",
                "mx.bank.example",
                "[2001:db8::1]:2525",
                tls_settings="domain-validation",
                tls_domain="*.bank.example",
                trust_anchors=str(pki.root),
                client_certificate={"chain": str(certificate.chain), "key": str(certificate.key)},
                comment='a "quoted" word',
            )
        ],
    )
    first, second = gateway(rich), gateway()
    text = first.cli("export").stdout
    second.apply(text)
    assert second.cli("export").stdout == text
    assert "nothing to change" in second.apply(text).stdout
    assert tomllib.loads(text) == first.cli("export", json=True).data
    given: dict[str, Any] = rich["organization"]["contoso"]
    exported = tomllib.loads(text)["organization"]["contoso"]
    assert exported["display_name"] == given["display_name"]
    for name, value in given["outbound_connector"][0].items():
        assert exported["outbound_connector"][0][name] == value


def test_a_change_is_in_force_within_two_seconds(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    """A mailbox comes and goes, a connector turns to another host; other organizations stay as they are."""
    one, two = sink(), sink()
    server = gateway(contoso(outbound=[connector("partner.example", one.address)]))
    server.apply({"organization": {"fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]}}})
    assert _takes(server, "new@contoso.example") is False
    for present in (True, False):
        added = ["new@contoso.example"] if present else []
        server.apply(contoso(mailboxes=[ALICE, *added], outbound=[connector("partner.example", two.address)]))
        _within(2.0, lambda wanted=present: _takes(server, "new@contoso.example") is wanted)
    assert set(tomllib.loads(server.cli("export").stdout)["organization"]) == {"contoso", "fabrikam"}
    send(server.port, "bob@partner.example")
    two.wait_messages(1)
    assert one.messages == []
    server.apply(contoso(inbound=[]))
    _within(2.0, lambda: _takes(server, "bob@partner.example", sender=ALICE) is False)


def test_the_queue_of_a_stopped_gateway(stopped: Gateway) -> None:
    _the_queue_in_all_its_commands(stopped)
    stopped.start()
    assert stopped.cli("queue", "list", json=True).data == []


def test_the_queue_of_a_running_gateway(stopped: Gateway) -> None:
    stopped.start()
    _the_queue_in_all_its_commands(stopped)


def _the_queue_in_all_its_commands(server: Gateway) -> None:
    entries = server.cli("queue", "list", json=True).data
    assert {entry["recipients"][0]["address"] for entry in entries} == {"bob@partner.example", "carol@partner.example"}
    assert all("450 4.2.1 Later" in entry["last_error"] for entry in entries)
    table = server.cli("queue", "list").stdout.splitlines()
    assert len(table) == 3
    assert "last error" in table[0]
    bob, carol = sorted(entries, key=lambda entry: str(entry["recipients"]))
    identity = bob["message"]["id"]
    shown = server.cli("queue", "show", identity, "--body").stdout
    assert "bob@partner.example" in shown
    assert "Subject: for bob@partner.example" in shown
    assert "450 4.2.1 Later" in shown
    server.cli("queue", "hold", identity)
    server.cli("queue", "hold", identity, expect=1)
    (held,) = server.cli("queue", "list", "--held", json=True).data
    assert (held["message"]["id"], held["state"]) == (identity, "held")
    server.cli("queue", "retry", identity, expect=1)
    server.cli("queue", "release", identity)
    assert server.cli("queue", "list", "--held", json=True).data == []
    server.cli("queue", "drop", "--recipient", "carol@partner.example", "--reason", "x")
    server.cli("queue", "show", carol["message"]["id"], expect=1)
    server.cli("queue", "show", "no id at all", expect=2)
    server.cli("queue", "drop", "--reason", "x", expect=2)
    server.cli("queue", "drop", "--all", expect=2)
    server.cli("queue", "drop", "--domain", "nowhere.example", "--reason", "x", expect=1)
    asked = server.cli("queue", "drop", "--all", "--reason", "x", expect=2)
    assert "add --yes" in asked.stderr
    dropped = server.cli("queue", "drop", "--all", "--yes", "--reason", "x", json=True).data
    assert [entry["message"]["id"] for entry in dropped] == [identity]
    # One that is being tried at this moment leaves when its attempt ends.
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "an empty queue")
    wanted = {"RECEIVE", "DEFER", "HOLD", "RELEASE", "DROP"}  # what a worker writes comes a moment later
    wait_until(
        lambda: wanted <= {row["event"] for row in server.cli("trace", "show", identity, json=True).data}, f"{wanted}"
    )


def test_hold_release_and_retry_steer_a_running_gateway(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """Held mail stays although it is due; released or retried mail goes at once, hours before its time."""
    partner = sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]), settings={"queue": {"retry": ["1h"]}}
    )
    for name in ("held", "retried"):
        send(server.port, f"{name}@partner.example")
        server.wait_trace(recipient=f"{name}@partner.example", event="DEFER")
    server.cli("queue", "hold", "--recipient", "held@partner.example")
    partner.behaviour = Behaviour()
    server.cli("queue", "retry", "--domain", "partner.example")
    partner.wait_messages(1)
    time.sleep(1.5)
    assert [one.recipients for one in partner.messages] == [("retried@partner.example",)]
    server.cli("queue", "release", "--all")
    partner.wait_messages(2)
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "an empty queue")


def test_a_retry_is_followed_during_an_attempt_and_right_after(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """It does not matter whether the attempt was over, or its deferral stored, when the order came."""
    later = Behaviour(replies={"RCPT": "450 4.2.1 Later"})
    partner = sink(behaviour=replace(later, holds=frozenset({"RCPT"})))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]), settings={"queue": {"retry": ["1h"]}}
    )
    send(server.port, "bob@partner.example")
    wait_until(lambda: partner.counts["RCPT"] == 1, "an attempt")
    server.cli("queue", "retry", "--all")
    time.sleep(1.5)  # a gateway is told within a second
    partner.behaviour = later
    for attempts in range(2, 5):
        wait_until(lambda attempts=attempts: len(server.trace(event="DEFER")) == attempts, f"{attempts} attempts")  # type: ignore[misc]
        server.cli("queue", "retry", "--all")
    wait_until(lambda: partner.counts["RCPT"] == 5, "the last attempt")


def test_dropped_mail_is_never_sent(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    partner = sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]), settings={"queue": {"retry": ["2s"]}}
    )
    send(server.port, "bob@partner.example")
    server.wait_trace(recipient="bob@partner.example", event="DEFER")
    server.cli("queue", "drop", "--all", "--yes", "--reason", "x")
    # One that is being tried at this moment leaves when its attempt ends, with the reply that it gets now.
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "an empty queue")
    partner.behaviour = Behaviour()
    time.sleep(3)
    assert partner.messages == []
    assert server.maildir(ALICE) == []


def test_the_trace_is_searched_by_every_filter(office: Gateway) -> None:
    content = b"Message-ID: <trace.1@client.example>\r\n" + message("find me", sender=STRANGER)
    send(office.port, "ann@contoso.example", sender=STRANGER, content=content)
    (received,) = office.wait_trace(recipient="ann@contoso.example", event="RECEIVE")
    (delivered,) = office.wait_trace(recipient="ann@contoso.example", event="DELIVER")
    assert received["subject"] == "find me"
    assert received["peer_address"] == "127.0.0.1"
    assert received["organization"] == "contoso"
    filters = {
        "message": received["message"],
        "message-id": "<trace.1@client.example>",
        "session": received["session"],
        "sender": STRANGER,
        "recipient": "@contoso.example",
        "organization": "contoso",
        "since": "10m",
    }
    for name, value in filters.items():
        rows = office.cli("trace", "search", f"--{name}", value, json=True).data
        assert [row["event"] for row in rows] == ["DELIVER", "RECEIVE"], name
    assert [row["event"] for row in office.trace(event="deliver", limit="1")] == ["DELIVER"]
    for identity in (received["message"], "<trace.1@client.example>"):
        shown = office.cli("trace", "show", identity, json=True).data
        assert shown == [received, delivered]
    text = office.cli("trace", "show", received["message"]).stdout
    assert "find me" in text
    assert received["session"] in text


# Wrong use -> exit code.
EXITS = {
    "no such command": (["frobnicate"], 2),
    "no such option": (["queue", "list", "--colour"], 2),
    "no file": (["apply"], 2),
    "file is not there": (["apply", "-f", "/nonexistent.toml"], 2),
    "trace finds nothing": (["trace", "search", "--recipient", "nobody@nowhere.example"], 1),
    "trace of an unknown id": (["trace", "show", "0000000000000000"], 1),
    "trace of no event": (["trace", "search", "--event", "EXPLODE"], 2),
    "trace of no time": (["trace", "search", "--since", "yesterday-ish"], 2),
    "queue of an unknown id": (["queue", "show", "0000000000000000"], 1),
    "an empty queue": (["queue", "list"], 0),
    "no such profile": (["tls", "profiles", "medium"], 2),
    "profiles": (["tls", "profiles"], 0),
}


@pytest.mark.parametrize("name", EXITS)
def test_exit_codes(office: Gateway, name: str) -> None:
    words, status = EXITS[name]
    run = office.cli(*words, expect=status)
    assert "Traceback" not in run.stderr
    if status == 2:
        assert run.stderr


def test_settings_that_are_wrong_are_all_named(office: Gateway) -> None:
    """Also by `serve`, which then does not begin to listen."""
    file = office.folder.write(
        "wrong.toml",
        '[server]\nhostname = "no host"\nworkers = -1\n[queue]\nretry = ["soon"]\n[colour]\nred = 1\n',
    )
    for command in (["serve"], ["queue", "list"], ["export"]):
        run = office.cli("--config", str(file), *command, expect=2)
        assert [word for word in ("hostname", "workers", "retry", "colour") if word not in run.stderr] == []
        assert "wrong.toml:2" in run.stderr
        assert run.stdout == ""


def test_serve_says_why_it_cannot(gateway: Callable[..., Gateway], office: Gateway, pki: Pki) -> None:
    """A port that is taken, a key that others may read."""
    leaf = pki.leaf("mx9.contoso.example")
    leaf.key.chmod(0o644)
    taken = [{"role": "mx", "address": office.address}]
    for settings, words in (({"listener": taken}, office.address), ({}, str(leaf.key))):
        certificates = [] if settings else [leaf]
        with pytest.raises(FixtureError, match="ended with 2") as failure:
            gateway(settings=settings, certificates=certificates)
        assert words in str(failure.value)
        assert "Traceback" not in str(failure.value)


def test_the_version_names_interpreter_and_libraries(office: Gateway) -> None:
    text = office.cli("--version").stdout
    for word in ("gatepost ", "CPython 3.", "optimised build", "OpenSSL ", "SQLite 3."):
        assert word in text


def test_the_published_profiles(office: Gateway) -> None:
    default, modern = office.cli("tls", "profiles", "default", "modern", json=True).data
    assert modern["min_version"] == "TLSv1.3"
    assert default["min_version"] == "TLSv1.2"
    assert default["groups"].lstrip("?*").startswith("X25519MLKEM768")
    assert all(suite["forward_secrecy"] for suite in default["suites"])
    assert default["suites"][0] == {
        "name": "TLS_AES_256_GCM_SHA384",
        "key_exchange": "ECDH+MLKEM/192",
        "forward_secrecy": True,
        "cipher": "AES/256",
        "authentication": "ECDSA/128, RSA/112",
        "oldest_version": "TLSv1.3",
    }
    compatible = office.cli("tls", "profiles", "compatible").stdout
    assert "TLS_RSA_WITH_AES_256_GCM_SHA384" in compatible
    assert "TLS_RSA_WITH_AES_256_GCM_SHA384" not in office.cli("tls", "profiles", "default").stdout


def _takes(server: Gateway, recipient: str, *, sender: str = STRANGER) -> bool:
    """Whether RCPT is accepted now, in a session of its own."""
    with RawClient(server.port) as client:
        client.greet()
        assert client.command(f"MAIL FROM:<{sender}>").code == 250
        return client.command(f"RCPT TO:<{recipient}>").code == 250


def _within(seconds: float, condition: Callable[[], bool]) -> None:
    """That it holds so soon on a machine that has nothing else to do."""
    with Pace() as pace:
        wait_until(condition, "the change")
    assert pace.took_less_than(seconds), pace
