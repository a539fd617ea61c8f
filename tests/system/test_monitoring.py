"""Proves that what the gateway tells of itself is true: numbers, lines in the log, alarms, and what is made of them."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic
from support.debian import need
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import STRANGER, connector, contoso, message, send
from support.webhook import WebhookReceiver

from gatepost.events.metrics.catalogue import CATALOGUE, MetricKind
from gatepost.mail.queue.shared_limits import LIMITS_FILE
from gatepost.store.node_failures import FAILURES_FILE
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

ANN = "ann@contoso.example"
BOB = "bob@partner.example"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
SECRET = b"a secret of thirty-two octets !!"


class Scraped(dict[str, dict[frozenset[tuple[str, str]], float]]):
    """Samples by name and labels."""

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(value for found, value in self.get(name, {}).items() if labels.items() <= dict(found).items())


def get(port: int, path: str = "/metrics", accept: str = "") -> str:
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept}), timeout=20) as answer:
        return str(answer.read().decode())


def scrape(port: int) -> Scraped:
    found = Scraped()
    for family in classic(get(port)):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def reaches(port: int, name: str, value: float, **labels: str) -> Scraped:
    """Scrape until the sum is there; it never goes beyond."""

    def there() -> Scraped | None:
        try:
            found = scrape(port)
        except (URLError, OSError):  # the process that serves begins as the workers do
            return None
        assert found.total(name, **labels) <= value
        return found if found.total(name, **labels) == value else None

    return wait_until(there, f"{name} {labels} of {value}", timeout=30)


def settings(port: int, **more: Any) -> dict[str, Any]:
    return {"metrics": {"address": f"127.0.0.1:{port}"}, "server": {"workers": 2}, "log": {"format": "json"}} | more


def test_two_workers_make_one_sum_that_a_killed_one_does_not_lower(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    port = free_port()
    partner = sink(certificate=pki.leaf("mx.partner.example"))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]),
        certificates=[pki.leaf("mx1.contoso.example")],
        settings=settings(port),
    )
    for _ in range(12):
        send(server.port, ANN, sender=STRANGER)
    for _ in range(5):
        send(server.port, BOB, content=message())
    for _ in range(3):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(server.port, "nobody@contoso.example", sender=STRANGER)
    partner.wait_messages(5)
    reaches(port, "gatepost_recipients_total", 5, event="send")
    reaches(port, "gatepost_recipients_total", 3, event="refuse")
    found = reaches(port, "gatepost_recipients_total", 12, event="deliver")
    assert found.total("gatepost_messages_received_total") == 17
    assert found.total("gatepost_refusals_total", code="5.1.1") == 3
    assert found.total("gatepost_tls_verdicts_total", side="outbound", wanted="opportunistic", got="encrypted") == 5
    assert found.total("gatepost_connector_recipients_total", connector="contoso/partner.example", event="send") == 5
    assert found.total("gatepost_delivery_delay_seconds_count") == 17
    assert found.total("gatepost_attempt_seconds_count") == 17
    assert found.total("gatepost_commit_batch_sum") >= 17
    assert 1 <= found.total("gatepost_tls_sessions_total", side="outbound", version="TLSv1.3") <= 5
    wait_until(lambda: scrape(port).total("gatepost_configuration_version", worker="1") >= 1, "the other's numbers")
    wait_until(lambda: scrape(port).total("gatepost_queue_deliveries") == 0, "an empty queue")
    assert wait_until(lambda: ready(port), "both workers") == "ready\n"
    assert get(port, "/healthz") == "ok\n"
    victim = int(json.loads((server.data_dir / "workers" / "0.json").read_text())["pid"])
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: f"runs, process {victim}" not in workers(server), "the worker's end", timeout=30)
    wait_until(lambda: server.cli("status", expect=None).status == 0, "a new worker", timeout=60)
    for _ in range(4):
        send(server.port, ANN, sender=STRANGER)
    found = reaches(port, "gatepost_recipients_total", 16, event="deliver")
    assert found.total("gatepost_messages_received_total") == 21
    server.stop()
    server.start()
    assert (
        reaches(port, "gatepost_recipients_total", 16, event="deliver").total("gatepost_messages_received_total") == 21
    )


def workers(server: Gateway) -> list[str]:
    """What the status says of each."""
    return [one["detail"] for one in server.cli("status", json=True, expect=None).data["workers"]]


def ready(port: int) -> str:
    try:
        return get(port, "/readyz")
    except HTTPError as error:  # 503: a worker has not written its numbers
        with error:
            return ""
    except URLError:
        return ""


def test_the_exposition_and_all_that_is_made_of_it(gateway: Callable[..., Gateway], pki: Pki) -> None:
    """Every metric of the catalogue is served, and dashboard and rules name no other."""
    port = free_port()
    server = gateway(contoso(), certificates=[pki.leaf("mx1.contoso.example")], settings=settings(port))
    send(server.port, ANN, sender=STRANGER, tls=True)
    reaches(port, "gatepost_recipients_total", 1, event="deliver")
    text = get(port)
    opened = get(port, accept="application/openmetrics-text; version=1.0.0")
    assert opened.endswith("# EOF\n")
    families = [{one.name.removesuffix("_info") for one in read} for read in (open_metrics(opened), classic(text))]
    assert families[0] == families[1]
    named = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert named == {one.name for one in CATALOGUE}
    samples = {sample.name for family in classic(text) for sample in family.samples} | named
    assert "gatepost_certificate_expiry_timestamp_seconds" in {
        one.name for one in CATALOGUE if one.kind is MetricKind.GAUGE
    }
    for file in ("alerts.yaml", "grafana-dashboard.json"):
        used = set(re.findall(r"\bgatepost_[a-z_]+", (DOCS / file).read_text()))
        histograms = {f"{one.name}_{end}" for one in CATALOGUE if one.buckets for end in ("bucket", "sum", "count")}
        assert used, file
        assert used <= samples | histograms, file
    json.loads((DOCS / "grafana-dashboard.json").read_text())


def test_promtool_has_nothing_to_say(gateway: Callable[..., Gateway]) -> None:
    need("promtool")
    port = free_port()
    server = gateway(contoso(), settings=settings(port))
    send(server.port, ANN, sender=STRANGER)
    reaches(port, "gatepost_recipients_total", 1, event="deliver")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=get(port), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    rules = subprocess.run(
        ["promtool", "check", "rules", DOCS / "alerts.yaml"], capture_output=True, text=True, check=False
    )
    assert rules.returncode == 0, rules.stdout + rules.stderr


def events(server: Gateway, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == name]


def test_a_line_for_each_message_with_what_was_wanted_of_tls_and_got(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    leaf = pki.leaf("mx.partner.example")
    secure, plain = sink(certificate=leaf), sink()
    forced = connector(
        "partner.example", secure.address, tls_settings="domain-validation", tls_domain="mx.partner.example"
    )
    server = gateway(
        contoso(outbound=[forced, connector("open.example", plain.address)]),
        anchors=pki.root,
        settings={"log": {"format": "json"}},
    )
    for recipient in (BOB, "joe@open.example"):
        send(server.port, recipient, content=message("the secret subject", "the secret body"))
    sent = wait_until(lambda: found if len(found := events(server, "send")) == 2 else None, "two lines")
    by_recipient = {one["to"]: one for one in sent}
    assert by_recipient[BOB]["tls"] == "authenticated:authenticated"
    assert by_recipient[BOB]["version"] == "TLSv1.3"
    assert by_recipient[BOB]["connector"] == "partner.example"
    assert by_recipient["joe@open.example"]["tls"] == "opportunistic:none"
    received = {one["id"]: one for one in events(server, "receive")}
    assert set(received) == {one["id"] for one in sent}
    assert all(one["session"] == received[one["id"]]["session"] and one["ms"] >= 0 for one in sent)
    assert "secret" not in server.log()


@pytest.mark.parametrize("style", ["text", "json", "logfmt"])
def test_a_hostile_peer_writes_no_line_of_its_own(gateway: Callable[..., Gateway], style: str) -> None:
    port = free_port()
    server = gateway(contoso(), settings=settings(port, log={"format": style}))
    odd = ('"\\\x7f\\"x\\ny"', "\u202e\u2028", "x" * 64, '"event=refuse to=\\"x"')
    with RawClient(server.port) as client:
        client.greet('\u202e\x85evil"event":"receive"')
        client.command("EHLO client.example")
        client.command("MAIL FROM:<mallory@elsewhere.example> SMTPUTF8")
        for local_part in odd:
            client.command(f"RCPT TO:<{local_part}@contoso.example>")
    with pytest.raises(smtplib.SMTPException):
        send(server.port, "x" * 1000 + "@contoso.example", sender=STRANGER)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(server.port, "last@contoso.example", sender=STRANGER)
    log = wait_until(lambda: text if "last@contoso.example" in (text := server.log()) else "", "the last refusal")
    lines = log.split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 5000
    assert all(
        "{" in line[:1] or re.match(r"(at=)?\d{4}-\d\d-\d\dT", line) or line.startswith("    ")
        for line in lines
        if line
    )
    assert "evil" not in get(port)


def partner_fails(gateway: Callable[..., Gateway], partner: Sink, pki: Pki, alarms: Mapping[str, Any]) -> Gateway:
    forced = connector(
        "partner.example", partner.address, tls_settings="domain-validation", tls_domain="mx.partner.example"
    )
    return gateway(
        contoso(outbound=[forced]),
        anchors=pki.root,
        settings={
            "alarms": {"look": 1, "partner_failing": 0, "partner_failures": 2, **alarms},
            "queue": {"retry": ["1s"], "idle_connection": "0.001s"},
        },
    )


@pytest.mark.timeout(240)
def test_a_forced_partner_that_fails_is_told_by_every_way_until_it_is_mended(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, running: ExitStack, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_bytes(SECRET + b"\n")
    receiver = running.enter_context(WebhookReceiver(pki.leaf("127.0.0.1"), SECRET))
    receiver.status = 503
    partner = sink(certificate=pki.leaf("mx.impostor.example"))
    server = partner_fails(
        gateway,
        partner,
        pki,
        {
            "mail_to": [ANN],
            "webhook": f"https://127.0.0.1:{receiver.port}/alarms",
            "webhook_secret": f"file:{secret}",
            "webhook_private": True,
        },
    )
    send(server.port, BOB, content=message())
    found = wait_until(lambda: server.cli("alarms", json=True, expect=None).data["alarms"], "an alarm", timeout=60)
    assert [(one["kind"], one["severity"]) for one in found] == [("partner-failing", "critical")]
    assert "certificate-host-mismatch" in found[0]["detail"]
    assert "1 critical alarm: mail to partner.example waits" in server.cli("status").stdout
    assert server.cli("certificate", "alarms", json=True, expect=None).data["alarms"] == []
    wait_until(lambda: receiver.tries, "a post", timeout=60)
    receiver.status = 204
    (mail,) = server.wait_maildir(ANN, timeout=60)
    assert b"mail to partner.example waits" in mail.content
    wait_until(lambda: receiver.events("partner-failing") == ["raised"], "the post that is taken", timeout=60)
    partner.stop()
    mended = sink(certificate=pki.leaf("mx.partner.example"), port=partner.port)
    mended.wait_messages(1, timeout=60)
    wait_until(lambda: server.cli("alarms", json=True, expect=None).data["alarms"] == [], "no alarm", timeout=60)
    wait_until(lambda: receiver.events("partner-failing") == ["raised", "cleared"], "its end", timeout=60)
    assert receiver.faults == []
    log = server.log()
    assert log.count(" alarm: mail to partner.example waits") == 1
    assert "alarm over: mail to partner.example waits" in log
    assert SECRET.decode() not in log


def test_cleartext_where_tls_was_and_a_queue_that_waits(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("mx.partner.example"))
    silent = connector("silent.example", f"127.0.0.1:{free_port()}")
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address), silent]),
        settings={
            "alarms": {"look": 1, "queue_age": "1s"},
            "queue": {"retry": ["1h"], "idle_connection": "0.001s"},
        },
    )
    send(server.port, BOB, content=message())
    partner.wait_messages(1)
    wait_until(lambda: server.cli("destination", "list", json=True, expect=None).data, "the memory")
    partner.stop()
    stripped = sink(port=partner.port)
    send(server.port, BOB, content=message())
    stripped.wait_messages(1)
    send(server.port, "joe@silent.example", content=message())

    def kinds() -> list[tuple[str, str]]:
        return [(one["kind"], one["severity"]) for one in server.cli("alarms", json=True, expect=None).data["alarms"]]

    wait_until(
        lambda: sorted(kinds()) == [("protection-drop", "critical"), ("queue-age", "error")], "both alarms", timeout=60
    )
    shown = server.cli("alarms", expect=1).stdout
    assert "CRITICAL mail to partner.example is no longer protected by TLS" in shown
    assert "gatepost destination show partner.example" in shown


def test_metrics_are_off_unless_written(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso())
    send(server.port, ANN, sender=STRANGER)
    server.wait_maildir(ANN)
    kept = {file.name for file in (server.data_dir / "workers").iterdir()}
    assert kept == {LIMITS_FILE, FAILURES_FILE}
    assert "metrics" not in server.cli("status").stdout


def test_no_resolver_listens(gateway: Callable[..., Gateway]) -> None:
    """It said "it runs, no alarms" while every delivery by MX was deferred."""
    port, nobody = free_port(), free_port()
    server = gateway(
        contoso(mailboxes=[ANN], outbound=[]), nameservers=[f"127.0.0.1:{nobody}"], settings=settings(port)
    )
    where = f"nameserver [127.0.0.1]:{nobody} cannot be reached: Connection refused"
    wait_until(lambda: "NO NAMESERVER ANSWERS" in server.log(), "the line at the start")
    assert where in server.log()
    shown = server.cli("status", expect=1)
    assert where in shown.stdout
    wait_until(lambda: "nameservers-down" in server.cli("alarms", expect=None).stdout, "the alarm")
    assert "1 critical alarm: no nameserver answers" in server.cli("status", expect=1).stdout
    # It takes mail, and all nodes have this fault at once.
    wait_until(lambda: "ready, but no nameserver answers" in ready(port), "it is ready, and says what is wrong")
    send(server.port, "bob@elsewhere.example", sender=ANN)
    # what the message asked for, and who did not answer
    told = f"elsewhere.example MX: {where}"
    wait_until(lambda: told in server.cli("queue", "list", json=True).stdout, "the deferral names it", timeout=30)
