"""`gatepost.testing` for others: the examples of docs/testing.md as they stand, each defect, zones, the plugin."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from cryptography import x509
from support.debian import need
from support.dnssec import STUB, UNBOUND, answers
from support.gateway import Gateway
from support.process import Child

from gatepost.testing.name_server import DnsServer
from gatepost.testing.partner import Defect, Partner
from gatepost.testing.pki import Pki
from gatepost.testing.process import FixtureError, Folder, free_port, greets, wait_until
from gatepost.testing.resources import organization
from gatepost.testing.signed_zone import SignedZones, Zone
from gatepost.testing.sink import Behaviour

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/testing.md"


def blocks() -> list[str]:
    """The examples of the page, which are one file."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_a_partner_with_another_name_takes_twelve_lines() -> None:
    assert "Defect.WRONG_NAME" in blocks()[0]
    assert blocks()[0].count("\n") <= 12


def test_the_examples_of_the_page_run_with_the_plugin_as_installed(tmp_path: Path) -> None:
    """In a process of their own, whose fixtures come by the entry point alone."""
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks()))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    without = [word for name in ("cacheprovider", "anyio", "schemathesis") for word in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", *without]
    done = subprocess.run([*command, tmp_path], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


# Mistakes in a test that would make it one of nothing, or wait for nothing.
MISTAKES: dict[str, tuple[Callable[[Pki], object], str]] = {
    "a verb that is none": (
        lambda _: Behaviour(replies={"RCTP": "450 4.2.1 later"}),
        "'RCTP' is no point of a session",
    ),
    "a verb in lower case": (lambda _: Behaviour(drops=frozenset({"rcpt"})), "'rcpt' is no point of a session"),
    "a treatment of STARTTLS": (lambda _: Behaviour(starttls="none"), "starttls is 'none', not one of offer, absent"),
    "a partner without a domain": (lambda pki: Partner(pki, "localhost"), "a partner 'localhost' has no domain"),
    "a key": (lambda pki: pki.leaf("a.example", key="dsa"), "key is 'dsa', not one of ecdsa"),
    "a usage": (lambda pki: pki.leaf("a.example", usages=("serve",)), "usages has 'serve', not one of server, client"),
    "a name without a type": (
        lambda _: DnsServer({"b.example": ["127.0.0.1"]}),
        "'b.example' is a name without a type",
    ),
    "a failure": (lambda _: DnsServer({}, failures={"b.example": "SERVFIAL"}), "'SERVFIAL' is no failure"),
    "a record": (
        lambda _: SignedZones({"b.example": Zone(["@ MX 10 mail", "mail A 127.0.0.300"])}),
        "zone b.example., 'mail 60 IN A 127.0.0.300': ",
    ),
    "records that cannot be together": (
        lambda _: SignedZones({"b.example": Zone(["a CNAME b", "a A 127.0.0.1"])}),
        "'a 60 IN CNAME b' and 'a 60 IN A 127.0.0.1': ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_test_is_told_with_what_it_is(mistake: str, pki: Pki) -> None:
    make, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=re.escape(message)):
        make(pki)


def test_a_sink_that_cannot_listen_says_so_at_once(pki: Pki) -> None:
    with Partner(pki, "mail.b.example") as partner:
        begun = time.monotonic()
        with pytest.raises(OSError, match=f"cannot listen on {partner.address}: .*in use"):
            Partner(pki, "mail.c.example", port=partner.port).start()
        assert time.monotonic() - begun < 30, "it waits a minute for a sink that neither listens nor says why"


def test_a_partner_that_cannot_listen_leaves_nothing_running(pki: Pki) -> None:
    """A thread that goes on keeps the process of the test from its end."""
    with Partner(pki, "mail.b.example") as partner:
        before = set(threading.enumerate())
        with (
            pytest.raises(OSError, match="in use"),
            Partner(pki, "mail.c.example", Defect.REVOKED, port=partner.port),
        ):
            pass
        assert set(threading.enumerate()) <= before


def test_messages_that_do_not_come_are_told_with_what_came(pki: Pki) -> None:
    with Partner(pki, "mail.b.example") as partner:
        assert greets(partner.port)
        with pytest.raises(FixtureError, match=r"fewer than 2 messages came to 127\S+: 0, of .*'CONNECT': 1"):
            partner.wait_messages(2, timeout=0.1)


def test_a_name_may_be_longer_than_a_common_name(pki: Pki) -> None:
    name = f"mail.{'a' * 60}.example"
    leaf = pki.leaf(name)
    assert leaf.x509.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == name[:64]


def test_the_plugin_imports_nothing_before_a_test_asks() -> None:
    (point,) = importlib.metadata.entry_points(group="pytest11", name="gatepost")
    probe = (
        "import sys; import pytest; before = set(sys.modules); import gatepost.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    assert point.value == "gatepost.testing.plugin"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gatepost", "gatepost.testing", "gatepost.testing.plugin"]


# What the gateway says of each defect to a connector that requires the partner's name.
REPLIES = {
    Defect.NO_STARTTLS: "450 4.4.317",
    Defect.STARTTLS_REFUSED: "450 4.4.317",
    Defect.STARTTLS_CUT: "450 4.4.317",
    Defect.BROKEN_HANDSHAKE: "450 4.4.317",
    Defect.OLD_TLS: "450 4.4.317",
    Defect.WRONG_NAME: "450 4.7.320",
    Defect.EXPIRED: "450 4.7.320",
    Defect.NOT_YET_VALID: "450 4.7.320",
    Defect.SELF_SIGNED: "450 4.7.320",
    Defect.UNKNOWN_AUTHORITY: "450 4.7.320",
    Defect.INCOMPLETE_CHAIN: "450 4.7.320",
    Defect.WRONG_USAGE: "450 4.7.320",
    Defect.WEAK_KEY: "450 4.7.320",
    Defect.REVOKED: "450 4.7.320",
}


def test_each_defect_is_met_and_named(gateway: Callable[..., Gateway], pki: Pki) -> None:
    """A partner without one gets the message; each other one gets nothing, and the trace says why."""
    with ExitStack() as stack:
        partners = {defect: stack.enter_context(Partner(pki, f"mail.{defect}.example", defect)) for defect in Defect}
        connectors = [partner.connector(revocation_check="soft-fail") for partner in partners.values()]
        server = gateway(organization(*connectors))
        server.send(*(f"bob@{partner.domain}" for partner in partners.values()))
        partners[Defect.NONE].wait_messages(1)
        rows = wait_until(
            lambda: len(found := server.trace(event="DEFER")) >= len(REPLIES) and found, "a row for each defect"
        )
        replies = {row["recipient"].partition("@")[2]: row["reply"] for row in rows}
        assert {defect: replies[f"{defect}.example"][:11] for defect in REPLIES} == REPLIES
        assert [defect for defect, partner in partners.items() if partner.messages] == [Defect.NONE]


def test_mistakes_in_a_test_are_not_passed_over(gateway: Callable[..., Gateway], pki: Pki) -> None:
    with pytest.raises(ValueError, match="'expird' is not a valid Defect"):
        Partner(pki, "mail.partner.example", "expird")  # type: ignore[arg-type]
    assert Partner(pki, "mail.partner.example", "revoked").certificate.name  # type: ignore[arg-type]
    with pytest.raises(FixtureError, match="No such option '--evnt'"):
        gateway(organization()).trace(evnt="SEND")


def test_dane_finds_the_key_of_a_signed_zone(gateway: Callable[..., Gateway], pki: Pki) -> None:
    with Partner(pki, "mail.bank.example") as partner:
        records = ["mail A 127.0.0.1", partner.tlsa]
        connector = partner.connector(smart_hosts=[f"mail.bank.example:{partner.port}"], tls_settings="opportunistic")
        with SignedZones({"bank.example": Zone(records)}) as zones:
            gateway(organization(connector), nameservers=[zones.address]).send("bob@bank.example")
            assert partner.wait_messages(1)[0].tls == "TLSv1.3"
        assert f"_{partner.port}._tcp.mail.bank.example" in {query.name for query in zones.queries}


def ask(zones: SignedZones, name: str, kind: str, *, dnssec: bool = False) -> dns.message.Message:
    """What the nameserver of some zones answers."""
    query = dns.message.make_query(name, kind, want_dnssec=dnssec)
    return dns.query.udp_with_fallback(query, "127.0.0.1", port=zones.port, timeout=5)[0]


PLAIN = ["@ MX 10 mail", "mail A 127.0.0.1", "alias CNAME mail", "_25._tcp.mail TLSA 3 1 1 " + "ab" * 32]


def test_a_signed_zone_is_authentic() -> None:
    with SignedZones({"partner.example": Zone(PLAIN), "plain.example": Zone(PLAIN, unsigned=True)}) as zones:
        for name, kind in (("partner.example", "MX"), ("alias.partner.example", "A"), ("no.partner.example", "A")):
            assert ask(zones, name, kind).flags & dns.flags.AD, name
        assert len(ask(zones, "alias.partner.example", "A").answer) == 2
        assert ask(zones, "no.partner.example", "A").rcode() == dns.rcode.NXDOMAIN
        assert ask(zones, "mail.partner.example", "AAAA").rcode() == dns.rcode.NOERROR
        assert ask(zones, "_tcp.mail.partner.example", "A").rcode() == dns.rcode.NOERROR  # there is something below it
        assert ask(zones, "elsewhere.example", "A").rcode() == dns.rcode.SERVFAIL
        plain = ask(zones, "plain.example", "MX")
        assert plain.answer
        assert not plain.flags & dns.flags.AD


@pytest.mark.parametrize("plan", [Zone(PLAIN, forged=["MX"]), Zone(PLAIN, wrong_ds=True)], ids=["signature", "key"])
def test_a_forged_zone_is_not_answered(plan: Zone) -> None:
    with SignedZones({"partner.example": plan}) as zones:
        assert ask(zones, "partner.example", "MX").rcode() == dns.rcode.SERVFAIL
        assert (ask(zones, "mail.partner.example", "A").rcode() == dns.rcode.SERVFAIL) == plan.wrong_ds


def test_another_validator_agrees() -> None:
    """Unbound, which knows the key of the zone, finds answers, aliases and denials authentic."""
    need("unbound")
    port, folder = free_port(), Folder("unbound")
    with SignedZones({"partner.test": Zone(PLAIN), "forged.test": Zone(PLAIN, forged=["A", "NSEC"])}) as zones:
        places = {"folder": folder.path, "port": port, "authority": zones.port, "also": "", "explains": "no"}
        stubs = "".join(STUB.format(name=str(zone.origin)[:-1], authority=zones.port) for zone in zones.zones)
        folder.write("anchor", "".join(f"{zone.origin} IN DS {zone.delegation}\n" for zone in zones.zones))
        conf = folder.write("unbound.conf", UNBOUND.format_map(places) + stubs)
        program = shutil.which("unbound", path="/usr/sbin:/usr/bin")
        assert program
        child = Child([program, "-c", conf], folder / "log")

        def answer_to(question: dns.message.Message) -> dns.message.Message | None:
            with suppress(dns.exception.Timeout):
                return dns.query.udp(question, "127.0.0.1", 5, port)
            return None

        def seen(name: str, kind: str) -> tuple[str, bool]:
            question = dns.message.make_query(name, kind, want_dnssec=True)
            answer = wait_until(lambda: answer_to(question), f"an answer about {name}")
            return dns.rcode.to_text(answer.rcode()), bool(answer.flags & dns.flags.AD)

        try:
            child.wait_ready(lambda: answers(port))
            assert seen("partner.test", "MX") == ("NOERROR", True)
            assert seen("alias.partner.test", "A") == ("NOERROR", True)
            assert seen("_25._tcp.mail.partner.test", "TLSA") == ("NOERROR", True)
            assert seen("mail.partner.test", "AAAA") == ("NOERROR", True)
            assert seen("_tcp.mail.partner.test", "A") == ("NOERROR", True)
            assert seen("nobody.partner.test", "A") == ("NXDOMAIN", True)
            assert seen("mail.forged.test", "A") == ("SERVFAIL", False)
            assert seen("nobody.forged.test", "A") == ("SERVFAIL", False)
        finally:
            child.stop()
            folder.remove()


def test_the_files_of_a_pki_go_with_it() -> None:
    with Pki() as pki:
        assert pki.leaf("mail.partner.example").key.stat().st_mode & 0o777 == 0o600
    assert not pki.folder.exists()
