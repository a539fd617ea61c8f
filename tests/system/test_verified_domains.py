"""Proves that an organization gets no mail of another by accepting its names: only a domain that is verified counts.

Organization a is the thief, with a token of its own; b is who is robbed. Everything goes over REST, by commands with
that token, or over pages, to a gateway that runs and takes mail.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser
from support.admin import AdminCentre, running
from support.browser import DESKTOP, context
from support.debian import need
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.scenes import STRANGER, message

from gatepost.manage.cli import main
from gatepost.store.storage import Storage
from gatepost.testing.name_server import DnsServer
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Sink

A = "/api/v1/organizations/a"
ANY = {"If-Match": "*"}
ANN = "ann@b.example"
RELAY = "internal-relay"


def resources(*, inner: str = "127.0.0.1:9") -> dict[str, Any]:
    relay = {"name": "inner", "connector_type": "on-premises", "all_accepted_domains": True, "smart_hosts": [inner]}
    return {
        "organization": {
            "a": {"accepted_domain": [{"name": "a.example"}], "mailbox": [{"address": "x@a.example"}]},
            "b": {
                "accepted_domain": [{"name": "b.example", "type": RELAY}],
                "mailbox": [{"address": ANN}],
                "outbound_connector": [relay],
            },
            "c": {"accepted_domain": [{"name": "c.example"}], "outbound_connector": [relay]},
        }
    }


def received(port: int, *recipients: str) -> dict[str, int]:
    """The reply to each recipient of a message from a stranger."""
    found = {}
    with smtplib.SMTP("127.0.0.1", port, "client.example", 30, ("127.0.0.2", 0)) as client:
        for one in recipients:
            client.ehlo_or_helo_if_needed()
            client.mail(STRANGER)
            found[one] = client.rcpt(one)[0]
            client.rset()
    return found


def delivered(port: int, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, "client.example", 30, ("127.0.0.2", 0)) as client:
        client.sendmail(STRANGER, [recipient], message(sender=STRANGER))


class World:
    """A gateway, what its nameserver knows, and the token of organization a."""

    def __init__(self, centre: AdminCentre, zone: DnsServer, folder: Path) -> None:
        self.centre, self.zone = centre, zone
        self.token = centre.token("read", "connectors", name="of-a", organizations=("a",))
        self._file = folder / "token"
        self._file.touch(mode=0o600)
        self._file.write_text(f"{self.token}\n", encoding="ascii")

    @property
    def port(self) -> int:
        return self.centre.gateway.port

    def call(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        status, _, told = self.centre.call(f"{A}{path}", self.token, method, body, ANY if method != "GET" else None)
        return status, told

    def command(self, *words: str) -> tuple[int, str]:
        """From afar, with the token."""
        ca = str(self.centre.gateway.data_dir / "admin" / "certificate.pem")
        there = ("--server", self.centre.url, "--token-file", str(self._file), "--ca", ca)
        done = CliRunner().invoke(main, [*there, *words])
        return done.exit_code, done.output

    def clean(self) -> None:
        """Leave only a.example to a."""
        first = {"accepted_domain": [{"name": "a.example"}], "mailbox": [{"address": "x@a.example"}]}
        assert self.call("", "PUT", first)[0] == 200


@pytest.fixture(scope="module")
def module_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        zone = stack.enter_context(DnsServer({}, ttl=0))

        centre = stack.enter_context(running(resources(), nameservers=[zone.address]))
        yield World(centre, zone, tmp_path_factory.mktemp("domains"))


@pytest.fixture
def world(module_world: World) -> Iterator[World]:
    yield module_world
    module_world.clean()


def problems(told: Any) -> str:
    return " ".join(f"{one['path']}: {one['message']}" for one in told.get("errors", [])) or told.get("detail", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("b.example", "b.example is accepted already on this gateway"),
        ("*.b.example", "*.b.example covers a domain that is accepted already on this gateway"),
        ("*.example", "covers a whole top-level domain"),
        ("com", "covers a whole top-level domain"),
        ("a.*", "a wildcard may only come first"),
        ("*", "would match every domain"),
    ],
)
def test_what_belongs_to_another_or_to_everybody_is_refused(world: World, name: str, said: str) -> None:
    """Written as verified, as part of the whole organization, as another name, and by a command, too."""
    assert world.call("/accepted_domains", "POST", {"name": "a2.example"})[0] == 201
    domain = {"name": name, "type": RELAY}
    ways = [
        world.call("/accepted_domains", "POST", domain),
        world.call("/accepted_domains", "POST", domain | {"verified": True}),
        world.call("", "PUT", {"accepted_domain": [{"name": "a.example"}, domain]}),
        world.call("/accepted_domains/a2.example", "PATCH", {"name": name, "type": RELAY}),
    ]
    for status, told in ways:
        assert status == 422, told
        assert said in problems(told)
        assert "organization.b" not in problems(told)
    code, output = world.command("domain", "add", name, "--organization", "a", f"type={RELAY}")
    assert (code, said in output) == (2, True), output
    assert [one["name"] for one in world.call("/accepted_domains")[1]["items"]] == ["a.example", "a2.example"]


@pytest.mark.parametrize("name", ["gmail.test", "*.new.example", "xn--bcher-kva.example"])
def test_a_domain_that_a_tenant_adds_is_pending_and_takes_no_mail(world: World, name: str) -> None:
    bare = name.removeprefix("*.")
    status, told = world.call("/accepted_domains", "POST", {"name": name, "type": RELAY, "verified": True})
    assert status == 201
    record = world.call(f"/domains/{name}/verification")[1]
    assert record["record"]["name"] == f"_gatepost.{bare}"
    assert any(record["zone"] in note for note in told["notes"])
    assert world.call("/mailboxes", "POST", {"address": f"ann@{bare}", "aliases": [f"info@{bare}"]})[0] == 201
    assert world.call(f"/accepted_domains/{name}")[1]["verified"] is False
    assert world.command("domain", "list")[1].splitlines()[-1].split()[-1] == "pending"
    world.centre.gateway.wait_in_force()
    replies = received(world.port, f"ann@{bare}", f"info@{bare}", f"postmaster@{bare}", "x@a.example")
    assert set(replies.values()) == {550, 250}
    assert replies["x@a.example"] == 250
    status, told = world.call(f"/mailbox_passwords/ann@{bare}", "PUT", {"password": "correct horse"})
    assert (status, "not verified" in told["detail"]) == (409, True)
    assert world.command("mailbox", "password", f"ann@{bare}", "--remove")[0] == 2


def test_mail_of_another_organization_stays_with_it(world: World) -> None:
    """Point by point what a tenant did: a pattern over the domain, a mailbox that forwards, a name that is new."""
    assert world.call("/accepted_domains", "POST", {"name": "*.b.example", "type": RELAY})[0] == 422
    thief = {"address": ANN, "forwarding_smtp_address": "x@a.example"}
    assert world.call("/mailboxes", "POST", thief)[0] == 422
    # Before b has its second domain, a waits there.
    assert world.call("/accepted_domains", "POST", {"name": "*.later.example", "type": RELAY})[0] == 201
    first = {"address": "ann@later.example", "forwarding_smtp_address": "x@a.example"}
    assert world.call("/mailboxes", "POST", first)[0] == 201
    gateway = world.centre.gateway
    gateway.cli("domain", "add", "later.example", "--organization", "b")
    gateway.wait_in_force()
    # b's domain has no mailboxes yet: what a wrote there must not make its recipients known, or unknown.
    assert received(world.port, "joe@later.example", "ann@later.example") == {
        "joe@later.example": 250,
        "ann@later.example": 250,
    }
    gateway.cli("mailbox", "add", "ann@later.example", "--organization", "b")
    gateway.wait_in_force()
    delivered(world.port, "ann@later.example")
    gateway.wait_maildir("ann@later.example")
    assert gateway.maildir("x@a.example") == []
    assert received(world.port, "joe@later.example")["joe@later.example"] == 550
    (row,) = gateway.wait_trace(recipient="ann@later.example", event="DELIVER")
    assert row["organization"] == "b"
    # Nor does a see the mail, nor set the password, nor take b's password away with its own mailbox.
    gateway.cli("mailbox", "password", "ann@later.example", "--stdin", "--organization", "b", given="correct horse\n")
    assert world.call("/mailbox_passwords/ann@later.example", "PUT", {"password": "wrong battery"})[0] == 409
    assert world.call("/mailboxes/ann@later.example", "DELETE")[0] == 200
    with closing(Storage(gateway.store_url, gateway.data_dir).configuration()) as store:
        assert b'"b"' in (store.content("password/ann@later.example") or b"")
    status, _, told = world.centre.call("/api/v1/trace?recipient=ann@later.example", world.token)
    assert (status, told["items"]) == (200, [])
    for part in ("mailbox", "domain"):
        name = "ann@later.example" if part == "mailbox" else "later.example"
        gateway.cli(part, "remove", name, "--organization", "b")


def publish(world: World, name: str) -> str:
    record = world.call(f"/domains/{name}/verification")[1]["record"]
    world.zone.records[f"{record['name']} TXT"] = ['"v=other"', f'"{record["text"]}"']
    return str(record["text"])


def test_the_txt_record_proves_a_domain(world: World) -> None:
    assert world.call("/accepted_domains", "POST", {"name": "*.proved.example", "type": RELAY})[0] == 201
    world.zone.failures["_gatepost.proved.example"] = "SERVFAIL"
    status, told = world.call("/domains/*.proved.example/verify", "POST")
    assert (status, "could not be looked up" in told["detail"]) == (503, True)
    del world.zone.failures["_gatepost.proved.example"]
    world.zone.records["_gatepost.proved.example TXT"] = ['"gatepost-verification=somebody elses"']
    status, told = world.call("/domains/*.proved.example/verify", "POST")
    assert status == 409
    for part in ("TXT _gatepost.proved.example was looked up", "somebody elses", "_gatepost.proved.example. IN TXT"):
        assert part in told["detail"]
    assert told["seen"] == ["gatepost-verification=somebody elses"]
    code, output = world.command("domain", "verify", "*.proved.example")
    assert (code, "is not verified" in output) == (1, True)
    publish(world, "*.proved.example")
    status, told = world.call("/domains/*.proved.example/verify?dry_run=true", "POST")
    assert (status, world.call("/accepted_domains/*.proved.example")[1]["verified"]) == (200, False)
    code, output = world.command("domain", "verify", "*.proved.example", "--note", "bought it")
    assert code == 0, output
    assert world.call("/accepted_domains/*.proved.example?defaults=true")[1]["verified"] is True
    # What the pattern covers needs no proof of its own; a pattern above does.
    assert world.call("/accepted_domains", "POST", {"name": "x.proved.example"})[0] == 201
    assert world.call("/accepted_domains/x.proved.example?defaults=true")[1]["verified"] is True
    assert world.call("/mailboxes", "POST", {"address": "joe@x.proved.example"})[0] == 201
    assert world.call("/mailbox_passwords/joe@x.proved.example", "PUT", {"password": "correct horse"})[0] == 200
    world.centre.gateway.wait_in_force()
    delivered(world.port, "joe@x.proved.example")
    world.centre.gateway.wait_maildir("joe@x.proved.example")
    (event,) = world.centre.gateway.cli("audit", "--action", "domain-verify", "--outcome", "done", json=True).data[:1]
    assert (event["who"], event["subject"]) == ("token of-a", "*.proved.example")
    notes = [one["note"] for one in world.centre.gateway.cli("history", json=True).data]
    assert "bought it" in notes
    # Nobody else may have it now.
    (refused,) = [world.centre.gateway.cli("domain", "add", "y.proved.example", "--organization", "b", expect=2)]
    assert "y.proved.example is covered by *.proved.example of organization.a" in refused.stderr


def test_a_record_of_another_organization_proves_nothing(world: World) -> None:
    assert world.call("/accepted_domains", "POST", {"name": "shared.example"})[0] == 201
    gateway = world.centre.gateway
    gateway.cli("domain", "add", "shared.example", "--organization", "b", "verified=false")
    theirs = gateway.cli("domain", "verify", "shared.example", "--organization", "b", "--record").stdout
    ours = world.call("/domains/shared.example/verification")[1]
    assert ours["zone"] != theirs.strip()
    name, _, text = theirs.strip().partition(". IN TXT ")
    world.zone.records[f"{name} TXT"] = [text]
    assert world.call("/domains/shared.example/verify", "POST")[0] == 409
    gateway.cli("domain", "verify", "shared.example", "--organization", "b")
    # Now a's own record comes too late.
    world.zone.records[f"{name} TXT"] = [f'"{ours["record"]["text"]}"']
    status, told = world.call("/domains/shared.example/verify", "POST")
    assert (status, "is accepted already on this gateway" in problems(told)) == (422, True)
    gateway.cli("domain", "remove", "shared.example", "--organization", "b")


def test_look_ups_are_bounded(world: World) -> None:
    assert world.call("/accepted_domains", "POST", {"name": "often.example"})[0] == 201
    found = [world.call("/domains/often.example/verify", "POST")[0] for _ in range(8)]
    assert found[:5] == [409] * 5
    assert 503 in found or 429 in found or found.count(409) == 8, found
    status, told = world.call("/domains/often.example/verify", "POST")
    assert "looked up too often" in told["detail"], (status, told)


def test_the_owner_needs_no_proof(world: World) -> None:
    assert world.call("/accepted_domains", "POST", {"name": "owned.example"})[0] == 201
    gateway = world.centre.gateway
    assert "verified=true" in gateway.cli("domain", "verify", "owned.example", expect=1).stderr
    gateway.cli("domain", "set", "owned.example", "verified=true")
    assert world.call("/accepted_domains/owned.example?defaults=true")[1]["verified"] is True
    # Nor does it lose that by what its organization writes, unless it becomes another name.
    assert world.call("/accepted_domains/owned.example", "PATCH", {"verified": False, "type": RELAY})[0] == 200
    assert world.call("/accepted_domains/owned.example?defaults=true")[1]["verified"] is True
    assert world.call("/accepted_domains/owned.example", "PATCH", {"name": "*.owned.example"})[0] == 200
    assert world.call("/accepted_domains/*.owned.example")[1]["verified"] is False


def test_a_page_shows_what_is_pending_and_verifies_it(world: World, browser: Browser) -> None:
    need("chromium")
    gateway = world.centre.gateway
    words = ("user", "add", "tina", "--role", "administrator", "--organization", "a", "--password-stdin")
    gateway.cli(*words, given="correct horse battery\n")
    with context(browser, viewport=DESKTOP) as (opened, complaints):
        page = opened.new_page()
        world.centre.log_in(page, "/domains/new", name="tina", password="correct horse battery")
        page.get_by_label("Name", exact=True).fill("b.example")
        page.get_by_role("button", name="Save").first.click()
        page.get_by_text("is accepted already on this gateway").first.wait_for()
        page.get_by_label("Name", exact=True).fill("page.example")
        page.get_by_role("button", name="Save").first.click()
        page.wait_for_url("**/domains/view/a/page.example")
        page.get_by_text("Pending: the gateway does not accept mail for this domain yet.").wait_for()
        page.get_by_role("button", name="Verify").click()
        page.get_by_text("is not verified: TXT _gatepost.page.example was looked up").wait_for()
        publish(world, "page.example")
        page.get_by_role("button", name="Verify").click()
        page.get_by_text("page.example is verified.").wait_for()
        assert page.get_by_role("button", name="Verify").count() == 0
        page.goto(f"{world.centre.url}/domains/edit/a/page.example")
        assert page.get_by_label("Verified").count() == 0
        complaints.messages = [one for one in getattr(complaints, "messages", []) if "40" not in one]
    gateway.cli("user", "remove", "tina")


def test_nsd_and_unbound_prove_it(gateway: Callable[..., Gateway]) -> None:
    """With real servers, before the gateway was ever started, and after a restart."""
    need("nsd", "unbound")
    zones: dict[str, Any] = {}
    signed = SignedDns(zones)
    server = Gateway(nameservers=[signed.address])
    try:
        server.apply(resources())
        server.cli("domain", "add", "proof.test", "--organization", "a", "verified=false")
        line = server.cli("domain", "verify", "proof.test", "--record").stdout.strip()
        text = line.partition("IN TXT ")[2]
        zones["proof"] = Zone([f"_gatepost TXT {text}"])
        with signed, server:
            assert server.cli("domain", "verify", "proof.test", "--record").stdout.strip() == line
            server.cli("domain", "verify", "proof.test")
            wait_until(lambda: received(server.port, "x@proof.test")["x@proof.test"] == 250, "it takes mail")
    finally:
        server.remove()


def test_what_an_earlier_version_stored_goes_to_who_had_it_first(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """a came later with the pattern: b keeps its domain, and mail for what only a had waits."""
    inner = sink()
    server = Gateway()
    thief = {
        "accepted_domain": [{"name": "a.example"}, {"name": "*.b.example", "type": RELAY}],
        "mailbox": [{"address": "postmaster@b.example"}],
    }
    server.apply(resources(inner=inner.address))
    with closing(Storage(server.store_url, server.data_dir).configuration()) as store:
        store.apply({"organization": {"a": thief}}, author="an earlier version")
    with server:
        found = received(server.port, ANN, "postmaster@b.example", "x@sub.b.example", "x@a.example")
        assert found == {ANN: 250, "postmaster@b.example": 250, "x@sub.b.example": 451, "x@a.example": 250}
        delivered(server.port, "postmaster@b.example")
        assert inner.wait_messages(1)[0].recipients == ("postmaster@b.example",)
        assert server.maildir("postmaster@b.example") == []
        status = server.cli("status", expect=None)
        assert "*.b.example of a overlaps b.example of b" in status.stdout + status.stderr
        alarms = server.cli("alarms", expect=None, json=True).data["alarms"]
        assert [one["kind"] for one in alarms if one["kind"] == "domain-conflict"] == ["domain-conflict"]
        # Something else may be changed, the conflict may not grow, and it can be ended.
        server.cli("organization", "set", "a", "display_name=A")
        more = server.cli("domain", "add", "y.b.example", "--organization", "b", expect=2)
        assert "y.b.example is covered by *.b.example of organization.a" in more.stderr
        server.cli("mailbox", "remove", "postmaster@b.example", "--organization", "a")
        server.cli("domain", "remove", "*.b.example", "--organization", "a")
        server.cli("domain", "add", "sub.b.example", "--organization", "b", f"type={RELAY}")
        wait_until(lambda: received(server.port, "x@sub.b.example")["x@sub.b.example"] == 250, "it is over")
        alarms = server.cli("alarms", expect=None, json=True).data["alarms"]
        assert [one for one in alarms if one["kind"] == "domain-conflict"] == []


def test_where_history_cannot_tell_neither_has_it_and_nothing_is_returned(gateway: Callable[..., Gateway]) -> None:
    both = resources()
    both["organization"]["a"]["accepted_domain"].append({"name": "*.b.example", "type": RELAY})
    server = Gateway()
    with closing(Storage(server.store_url, server.data_dir).configuration()) as store:
        store.apply(both, author="an earlier version")
    with server:
        assert received(server.port, ANN, "x@sub.b.example", "x@a.example") == {
            ANN: 451,
            "x@sub.b.example": 451,
            "x@a.example": 250,
        }
        server.cli("domain", "remove", "*.b.example", "--organization", "a")
        wait_until(lambda: received(server.port, ANN)[ANN] == 250, "b has its domain back")
