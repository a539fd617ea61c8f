"""Proves that `dns.validate = "local"` tells proven answers from unsigned and forged ones, by libunbound in process.

The same zones as for a nameserver that validates: NSD serves them, Unbound only carries the answers, and what it says
of their authenticity is not looked at. Event loops of both kinds, many questions at once, servers that say nothing, and
mail that obeys what was proven.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import select
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.debian import need
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.scenes import connector, contoso, outcomes, send

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.unbound import UnboundContext, UnboundError
from gatepost.net.lookups.validator import Validator, ValidatorError
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Sink

GOOD, JUNK = "030101" + "ab" * 32, "03010100"
CROWD = 200

# (zone, name, type) -> status, authentic, names in order, number of records
ANSWERS = {
    "secure": ("mx.good.test", "A", "ok", True, ["mx.good.test"], 1),
    "alias": ("alias.good.test", "A", "ok", True, ["alias.good.test", "mx.good.test"], 1),
    "alias to an unsigned zone": ("away.good.test", "A", "ok", False, ["away.good.test", "mx.plain.test"], 1),
    "no such type": ("mx.good.test", "AAAA", "no-data", True, ["mx.good.test"], 0),
    "no such name": ("nobody.good.test", "A", "nxdomain", True, ["nobody.good.test"], 0),
    "alias to no name": ("dead.good.test", "A", "nxdomain", True, ["dead.good.test", "nobody.good.test"], 0),
    "any TLSA record": ("_25._tcp.mx.good.test", "TLSA", "ok", True, ["_25._tcp.mx.good.test"], 2),
    "500 TLSA records": ("_25._tcp.crowd.good.test", "TLSA", "ok", True, ["_25._tcp.crowd.good.test"], 100),
    "unsigned": ("mx.plain.test", "A", "ok", False, ["mx.plain.test"], 1),
    "no such unsigned name": ("nobody.plain.test", "A", "nxdomain", False, ["nobody.plain.test"], 0),
}
# (name, type) -> what is wrong with it
BOGUS = {
    ("_25._tcp.mx.forged.test", "TLSA"): "signature crypto failed",
    ("mx.forged-absence.test", "AAAA"): "signature crypto failed .* NSEC",
    ("nobody.forged-absence.test", "A"): "signature crypto failed .* NSEC",
    ("mx.wrong-key.test", "A"): "DS hash mismatches key .* for key wrong-key.test",
}


@pytest.fixture(params=[asyncio, uvloop], ids=["asyncio", "uvloop"], scope="module")
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    need("libunbound")
    return request.param.run


def made_zones(records: list[str]) -> dict[str, Zone]:
    host = ["mx A 127.0.0.1", *[f"{owner}.mx TLSA {data}" for owner, data in (one.split(" TLSA ") for one in records)]]
    return {
        "good": Zone(
            [
                *host,
                f"_25._tcp.mx TLSA {JUNK}",
                "alias CNAME mx",
                "away CNAME mx.plain.test.",
                "dead CNAME nobody",
                *[f"_25._tcp.crowd TLSA 030101{number:064x}" for number in range(500)],
                *[f"n{number} A 127.0.0.1" for number in range(CROWD)],
            ]
        ),
        "plain": Zone(host, unsigned=True),
        "forged": Zone(host, forged=["TLSA"]),
        "forged-absence": Zone(host, forged=["NSEC"]),
        "wrong-key": Zone(host, wrong_ds=True),
    }


@pytest.fixture(scope="module")
def leaf(strange_pki: Pki) -> Leaf:
    """Of an authority that nobody trusts: only the DNS vouches for it."""
    return strange_pki.self_signed("elsewhere.example")


@pytest.fixture(scope="module")
def partner(leaf: Leaf) -> Iterator[Sink]:
    with Sink(certificate=leaf, hostname="mx.good.test") as sink:
        yield sink


@pytest.fixture(scope="module")
def lab(signed_dns: Callable[..., SignedDns], partner: Sink, leaf: Leaf) -> SignedDns:
    need("libunbound")
    spki = leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    own = f"_{partner.port}._tcp TLSA 030101{hashlib.sha256(spki).hexdigest()}"
    return signed_dns(made_zones([f"_25._tcp TLSA {GOOD}", own]))


@pytest.fixture
def silent() -> Iterator[str]:
    """A nameserver that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taker.getsockname()[1]}"


async def used[T](
    use: Callable[[Resolver], Awaitable[T]], forwarder: str, anchors: Path, *, seconds: float = 60.0
) -> T:
    async with Resolver(Validator([forwarder], str(anchors), timeout=seconds)) as resolver:
        return await use(resolver)


def test_proven_unsigned_and_missing_are_told_apart(run: Callable[..., Any], lab: SignedDns) -> None:
    async def use(resolver: Resolver) -> dict[str, Any]:
        return {case: await resolver.query(name, kind) for case, (name, kind, *_) in ANSWERS.items()}

    found = run(used(use, lab.address, lab.anchor))
    told = {case: (one.status, one.authentic, list(one.names), len(one.records)) for case, one in found.items()}
    assert told == {case: tuple(expected) for case, (_, _, *expected) in ANSWERS.items()}
    assert found["500 TLSA records"].left_out == 400
    assert {record.to_generic().data.hex() for record in found["any TLSA record"].records} == {GOOD, JUNK}
    assert found["secure"].ttl in range(1, 61)
    assert found["no such name"].ttl in range(6)  # of the SOA


def test_forged_answers_are_refused_with_what_is_wrong(run: Callable[..., Any], lab: SignedDns) -> None:
    async def use(resolver: Resolver) -> None:
        for (name, kind), why in BOGUS.items():
            with pytest.raises(
                LookupFailed, match=f"{name} {kind}: DNSSEC .* forged or badly signed: .*{why}"
            ) as caught:
                await resolver.query(name, kind)
            assert (caught.value.bogus, caught.value.temporary) == (True, True)
        assert (await resolver.query("mx.good.test", "A")).authentic  # one bad zone spoils no other

    run(used(use, lab.address, lab.anchor))


def test_two_hundred_questions_at_once(run: Callable[..., Any], lab: SignedDns) -> None:
    async def use(resolver: Resolver) -> list[Any]:
        return await asyncio.gather(*(resolver.query(f"n{number}.good.test", "A") for number in range(CROWD)))

    assert [one.authentic for one in run(used(use, lab.address, lab.anchor))] == [True] * CROWD


@contextmanager
def stalling(address: str, name: bytes, times: int) -> Iterator[str]:
    """A nameserver in front of another one, which does not answer the first few questions for a name."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as front:
        front.bind(("127.0.0.1", 0))

        def serve() -> None:
            left, clients = times, {}
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as behind:
                behind.connect((host.strip("[]"), int(port)))
                while True:  # the other one drops questions that take it too long
                    if behind in select.select([front, behind], [], [])[0]:
                        answer = behind.recv(4096)
                        front.sendto(answer, clients[answer[:2]])
                        continue
                    question, client = front.recvfrom(4096)
                    if not question:
                        return
                    if name in question and left:
                        left -= 1
                        continue
                    clients[question[:2]] = client
                    behind.send(question)

        thread = threading.Thread(target=serve)
        thread.start()
        own = front.getsockname()
        try:
            yield f"{own[0]}:{own[1]}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", own)
            thread.join()


def test_a_forwarder_that_stands_still_for_a_while_is_asked_again(run: Callable[..., Any], lab: SignedDns) -> None:
    async def use(resolver: Resolver) -> bool:
        for number in range(10, 30):  # now it is known to answer at once
            assert (await resolver.query(f"n{number}.good.test", "A")).authentic
        return (await resolver.query("n2.good.test", "A")).authentic

    with stalling(lab.address, b"\x02n2", 5) as address:
        assert run(used(use, address, lab.anchor))


def test_who_does_not_answer_is_given_up(run: Callable[..., Any], lab: SignedDns, silent: str) -> None:
    async def use(resolver: Resolver) -> None:
        for _ in range(2):
            with pytest.raises(
                LookupFailed, match=r"good.test A: there was no answer within 0\.3 s, resolved through"
            ) as caught:
                await resolver.query("good.test", "A")
            assert (caught.value.bogus, caught.value.temporary) == (False, True)

    run(used(use, silent, lab.anchor, seconds=0.3))


def test_an_answer_without_signatures_is_no_unsigned_zone(
    run: Callable[..., Any], lab: SignedDns, dns_server: Any
) -> None:
    """Who carries answers and drops the signatures cannot make a signed zone pass for an unsigned one."""
    stripping = dns_server({"mx.good.test A": ["127.0.0.66"]}, authentic=True)

    async def use(resolver: Resolver) -> None:
        with pytest.raises(LookupFailed) as caught:
            await resolver.query("mx.good.test", "A")
        assert caught.value.bogus

    run(used(use, stripping.address, lab.anchor))


def test_closing_ends_what_is_asked(run: Callable[..., Any], lab: SignedDns, silent: str) -> None:
    async def scene() -> None:
        validator = Validator([silent], str(lab.anchor), timeout=30)
        resolver = Resolver(validator)
        waiting = asyncio.ensure_future(resolver.query("good.test", "A"))  # noqa: TID251 - awaited here
        await asyncio.sleep(0.05)
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await resolver.close()  # twice does no harm
        with pytest.raises(LookupFailed, match="the resolver is closed"):
            await resolver.query("other.test", "A")

    run(scene())


def test_the_library_says_what_it_cannot_do(run: Callable[..., Any], lab: SignedDns, tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(UnboundError, match=r"libunbound: \w+"):
            UnboundContext([("no-such-option", "1")], [], [])
        context = UnboundContext([], [], ["test. IN DS 1 13 2 00"])
        try:
            with pytest.raises(UnboundError, match="libunbound: syntax error"):
                await context.resolve("a" * 70 + ".test", 1)
        finally:
            waiting = asyncio.ensure_future(context.resolve("good.test", 1))  # noqa: TID251 - awaited here
            await asyncio.sleep(0)
            context.close()
        with pytest.raises(UnboundError, match="the resolver was closed"):
            await waiting
        with pytest.raises(ValidatorError, match=r"No such file or directory; dns.trust_anchor_file must name"):
            Validator([], str(tmp_path / "none"), timeout=1)

    run(scene())


def test_a_fault_while_a_result_is_taken_stays_here(
    lab: SignedDns, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gatepost.net.lookups.unbound._copied", lambda _: 1 / 0)

    async def use(resolver: Resolver) -> None:
        with pytest.raises(LookupFailed, match="no answer within"):
            await resolver.query("mx.good.test", "A")

    asyncio.run(used(use, lab.address, lab.anchor, seconds=0.5))
    assert "a result of libunbound is lost" in caplog.text


def test_a_library_that_ended_is_not_asked_for_ever(
    lab: SignedDns, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(resolver: Resolver) -> None:
        library = resolver._asker._context._library
        monkeypatch.setattr(library, "ub_process", lambda _: -5)
        for said in ("the resolver was closed", "the resolver is closed"):
            with pytest.raises(LookupFailed, match=said):
                await resolver.query("mx.good.test", "A")

    asyncio.run(used(use, lab.address, lab.anchor))
    assert "libunbound ended (" in caplog.text


@pytest.mark.timeout(400)
def test_ten_thousand_questions_leave_nothing_behind(lab: SignedDns) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096

    async def scene() -> int:
        validator = Validator([lab.address], str(lab.anchor), timeout=60)
        context = validator._context
        try:
            for _ in range(1000):
                await context.resolve("_25._tcp.crowd.good.test", 52)
            before = resident()
            for _ in range(10_000):
                assert (await context.resolve("_25._tcp.mx.good.test", 52)).secure
            assert not context._waiting
            return resident() - before
        finally:
            await validator.close()

    assert asyncio.run(scene()) < 2 << 20  # a leak of one answer each would be 5 MB


def settings(lab: SignedDns) -> dict[str, Any]:
    return {"dns": {"validate": "local", "trust_anchor_file": str(lab.anchor), "nameservers": [lab.address]}}


@pytest.fixture
def local_gateway(gateway: Callable[..., Gateway], lab: SignedDns, partner: Sink, pki: Pki) -> Gateway:
    hosts = [connector(f"{zone}.example", f"mx.{zone}.test:{partner.port}") for zone in ("good", "forged", "plain")]
    return gateway(contoso(outbound=hosts), anchors=pki.root, settings=settings(lab))


def test_mail_obeys_what_was_proven_here(local_gateway: Gateway, partner: Sink) -> None:
    wanted = {"bob@good.example": "SEND", "bob@forged.example": "DEFER", "bob@plain.example": "SEND"}
    for recipient in wanted:
        send(local_gateway.port, recipient)
    events = outcomes(local_gateway, wanted)
    good, forged, plain = (events[recipient] for recipient in wanted)
    assert good["achieved"] == "none/authenticated", good
    assert "dane:mx.good.test" in good["detail"]["requirement_sources"]
    assert forged["reply"].startswith("450 4.7.324"), forged
    assert forged["result_type"] == "dnssec-invalid"
    assert "signature crypto failed" in forged["detail"]["dane"]["detail"]
    assert plain["achieved"] == "none/encrypted", plain
    assert len(partner.messages) == 2
    # The authority knows no root here: that validation was tried is all that can be shown.
    untried = "DNSSEC could not be tried on the root, and mail may wait for look-ups"
    wait_until(lambda: untried in local_gateway.log(), "what came of the first question")
    log = local_gateway.log()
    assert "DNSSEC: libunbound " in log
    assert "validates in this process, through [127.0.0.1]:" in log
    assert "DANE is off" not in log

    live = local_gateway.cli("explain", "--from", "alice@contoso.example", "--to", "bob@forged.example", "--ip",
                             "127.0.0.1", "--live", expect=None)  # fmt: skip
    assert "signature crypto failed" in live.stdout + live.stderr
    validated = local_gateway.cli("connector", "validate", "forged.example", json=True, expect=1)
    assert "signature crypto failed" in json.dumps(validated.data)


def test_a_check_validates_by_itself(local_gateway: Gateway, partner: Sink) -> None:
    run = local_gateway.cli("check", "host", f"mx.good.test:{partner.port}", "-v", json=True)
    assert run.data["verdict"] == "deliver"
    refused = local_gateway.cli("check", "host", f"mx.forged.test:{partner.port}", json=True, expect=1)
    assert "signature crypto failed" in refused.stdout
    assert "DNSSEC validation fails" in refused.stdout
    believed = local_gateway.cli("check", "host", f"mx.good.test:{partner.port}", "--validate", "nameserver", json=True)
    assert believed.data["verdict"] == "deliver"
