"""Proves that TLS reports of ours arrive (RFC 8460): by mail and over HTTPS, at another gateway, signed, and once.

Contoso's gateway sends mail to two partners: to a gateway like itself, which takes reports in, and to a sink, which
keeps what it gets for dkimpy. What was counted then becomes yesterday's, so that there is a whole day to report.
"""

from __future__ import annotations

import base64
import email
import gzip
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dkim
import dns.resolver
import pytest
from support.debian import MARK
from support.gateway import Gateway
from support.scenes import connector, contoso, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

HOST = "mx1.contoso.example"
PARTNER, SINK, LATE = "mx1.partner.example", "mx.sink.example", "mx.late.example"
BOX = "tls-reports@partner.example"
SENDING = {
    "send": True,
    "organization_name": "Contoso Hospital",
    "contact": "postmaster@contoso.example",
    "mail_from": "tls@contoso.example",
    "spread": 0,
}


@dataclass(frozen=True, slots=True)
class World:
    """gateway: of Contoso, stopped; yesterday it sent mail to both partners. mails: of the sink's reports."""

    gateway: Gateway
    partner: Gateway
    sink: Sink
    zone: DnsServer
    day: str

    def mails(self) -> list[bytes]:
        return [one.mail.raw for one in self.sink.wait_messages(0) if b"\nTLS-Report-Domain:" in one.mail.raw]

    def sent(self, expect: int | None = 0) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.gateway.cli("report", "sent", json=True, expect=expect).data
        return rows

    def received(self) -> list[dict[str, Any]]:
        run = self.partner.cli("report", "received", json=True, expect=None)
        return run.data if run.status == 0 else []


@pytest.fixture(scope="module")
def world(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        zone = stack.enter_context(DnsServer({f"{name} A": ["127.0.0.1"] for name in (PARTNER, SINK, LATE)}, ttl=0))
        https = free_port()
        partner = stack.enter_context(_partner(pki, https))
        sink = stack.enter_context(Sink(hostname=SINK, certificate=pki.leaf(SINK)))
        zone.set(f"_smtp._tls.{PARTNER} TXT", f'"v=TLSRPTv1; rua=https://{PARTNER}:{https}/tls-reports, mailto:{BOX}"')
        zone.set(f"_smtp._tls.{SINK} TXT", '"v=TLSRPTv1; rua=mailto:tls@sink.example"')
        gateway = stack.enter_context(_contoso(pki, partner, sink, zone, tmp_path_factory.mktemp("keys")))
        _publish(gateway, zone)
        for recipient in ("ann@partner.example", "bob@sink.example", "joe@late.example"):
            send(gateway.port, recipient)
            gateway.wait_trace(event="SEND", recipient=recipient, timeout=60)
        gateway.stop()
        yield World(gateway, partner, sink, zone, _yesterday(gateway))


def _partner(pki: Pki, https: int) -> Gateway:
    resources = contoso(domains=[{"name": "partner.example"}], mailboxes=["ann@partner.example"])
    resources["organization"]["contoso"]["mailbox"].append({"address": BOX, "tls_reports": True})
    settings = {"tls_reports": {"address": f"127.0.0.1:{https}"}}
    leaf = pki.leaf(PARTNER)
    return Gateway(resources, hostname=PARTNER, certificates=[leaf], anchors=pki.root, settings=settings)


def _contoso(pki: Pki, partner: Gateway, sink: Sink, zone: DnsServer, folder: Path) -> Gateway:
    master = folder / "master.key"
    master.write_text("m" * 32)
    master.chmod(0o600)
    outbound = [
        connector("partner.example", f"{PARTNER}:{partner.port}"),
        connector("sink.example", f"{SINK}:{sink.port}"),
        connector("late.example", f"{LATE}:{sink.port}"),
    ]
    return Gateway(
        contoso(outbound=outbound),
        nameservers=[zone.address],
        anchors=pki.root,
        settings={
            "tls_reports": SENDING,
            "store": {"master_key": f"file:{master}"},
            "outbound": {"private_policy_hosts": True},
            "server": {"workers": 2},
        },
    )


def _publish(gateway: Gateway, zone: DnsServer) -> None:
    """A key for reports alone, and its record, as an administrator would."""
    made = gateway.cli("dkim", "add", "contoso.example", "--service", "tlsrpt", "--selector", "rep", "--current")
    line = next(one for one in made.stdout.splitlines() if " IN TXT " in one)
    name, _, text = line.partition(". IN TXT ")
    zone.set(f"{name} TXT", text.removeprefix("( ").removesuffix(" )"))


def _yesterday(gateway: Gateway) -> str:
    """Let what was counted have been counted the day before."""
    day = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    for table in ("session_day", "session_policy", "session_failure"):
        statement = f"UPDATE {table} SET day = '{day}'"  # noqa: S608 - ours
        if gateway.is_on_postgres:
            gateway.sql(statement)
        else:
            with closing(sqlite3.connect(gateway.data_dir / "session-counts.db", isolation_level=None)) as database:
                database.execute(statement)
    return day


@pytest.fixture(scope="module")
def reported(world: World) -> World:
    """The same, once the reports of yesterday are sent."""
    shown = world.gateway.cli("report", "send", "--day", world.day, "--dry-run", json=True).data
    assert {one["domain"]: len(one["rua"]) for one in shown} == {PARTNER: 2, SINK: 1, LATE: 0}
    assert world.gateway.cli("report", "send", "--day", world.day, json=True).data["due"] == [LATE, SINK, PARTNER]
    world.gateway.start()
    _all_sent(world, 3)
    return world


@pytest.mark.long
@pytest.mark.timeout(300)
def test_reports_arrive_by_mail_and_over_https_once(reported: World) -> None:
    world = reported
    partner_has_it(world)
    the_mail_is_signed_and_in_the_trace(world)
    for _ in range(2):
        world.gateway.stop()
        nothing_was_counted(world)
        world.gateway.start()
        for domain in (SINK, PARTNER):
            run = world.gateway.cli("report", "send", "--day", world.day, "--domain", domain, expect=1)
            assert "were sent before" in run.stderr
    who_wants_one_now_gets_it(world)
    assert [one["tries"] for one in world.sent()] == [1, 1, 1, 1]
    assert len(world.mails()) == 2
    assert world.received()[0]["reports"] == 1


@pytest.mark.long
@pytest.mark.timeout(300)
def test_parsedmarc_reads_the_mail(reported: World, tmp_path: Path) -> None:
    """A reader that others use. It brings sixty packages, so it is not among the project's own."""
    command = os.environ.get("GATEPOST_PARSEDMARC")
    if not command:
        pytest.skip(f"{MARK}: parsedmarc; install it into a folder of its own, name its program in GATEPOST_PARSEDMARC")
    (tmp_path / "report.eml").write_bytes(wait_until(reported.mails, "the report at the sink", timeout=60)[0])
    words = [command, "--offline", "--silent", "--output", str(tmp_path), str(tmp_path / "report.eml")]
    subprocess.run(words, check=True, timeout=120, capture_output=True)
    (found,) = json.loads((tmp_path / "smtp_tls.json").read_text())
    assert found["organization_name"] == "Contoso Hospital"
    assert found["contact_info"] == "postmaster@contoso.example"
    (policy,) = found["policies"]
    assert (policy["policy_domain"], policy["policy_type"]) == (SINK, "no-policy-found")
    assert (policy["successful_session_count"], policy["failed_session_count"]) == (1, 0)


def _all_sent(world: World, count: int) -> None:
    def done() -> bool:
        return [one["state"] for one in world.sent(None)] == ["sent"] * count

    wait_until(done, "all reports to be sent", timeout=100)


def who_wants_one_now_gets_it(world: World) -> None:
    """So the new process has looked for what is due: what was sent before would have gone again by now."""
    world.zone.set(f"_smtp._tls.{LATE} TXT", '"v=TLSRPTv1; rua=mailto:late@sink.example"')
    world.gateway.cli("report", "send", "--day", world.day, "--domain", LATE)
    _all_sent(world, 4)
    world.gateway.wait_trace(event="SEND", recipient="late@sink.example", timeout=60)


def partner_has_it(world: World) -> None:
    """The other gateway understands it; what comes by mail, too, is the same report, which counts once."""
    wait_until(lambda: "is there already" in world.partner.log(), "both reports to be taken in", timeout=100)
    (one,) = world.received()
    assert (one["reporter"], one["domain"], one["policy"]) == ("Contoso Hospital", PARTNER, "no-policy-found")
    assert (one["reports"], one["passed"], one["failed"]) == (1, 1, 0)


def the_mail_is_signed_and_in_the_trace(world: World) -> None:
    (raw,) = wait_until(world.mails, "the report at the sink", timeout=60)
    assert _verified(world.zone, raw)
    assert not _verified(world.zone, raw.replace(b"TLS-Required: No", b"TLS-Required: no!"))
    mail = email.message_from_bytes(raw)
    assert mail["TLS-Report-Submitter"] == "contoso.example"
    part = next(one for one in mail.walk() if one.get_content_type() == "application/tlsrpt+gzip")
    report = json.loads(gzip.decompress(base64.b64decode(part.get_payload())))
    assert report["policies"][0]["policy"]["policy-domain"] == SINK
    row = next(one for one in world.sent() if one["domain"] == SINK)
    (event,) = world.gateway.wait_trace(event="SEND", recipient="tls@sink.example", timeout=60)
    assert event["message"] == row["message"]
    assert event["detail"]["dkim"] == ["contoso.example/rep rsa-sha256"]
    assert event["sender"] == ""


def _verified(zone: DnsServer, raw: bytes) -> bool:
    """As dkimpy judges reports: strictly, by a key whose record is for them."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], zone.port

    def text(name: bytes, **_: Any) -> bytes:
        (record,) = resolver.resolve(name.decode(), "TXT")
        return b"".join(record.strings)

    try:
        return bool(dkim.DKIM(raw, tlsrpt="strict").verify(dnsfunc=text))
    except dkim.ValidationError:
        return False


def nothing_was_counted(world: World) -> None:
    """Sessions that carried reports are in no report."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    run = world.gateway.cli("report", "tlsrpt", "--day", today, expect=1)
    assert "no TLS sessions were counted" in run.stderr
