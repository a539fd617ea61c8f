"""The checker over a real HTTP server on loopback: what it says of a path, and what it asks whom how often."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.exhaustion import no_descriptors
from support.status_authority import NOW, StatusAuthority
from support.web import Web, ok, status

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups import http_exchange
from gatepost.net.lookups.authority_origin import AuthorityOrigin
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.revocation import RevocationChecker
from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict, Revocation
from gatepost.testing.process import free_port

TIME = NOW.timestamp()
KEY_COMPROMISE = x509.ReasonFlags.key_compromise
ROOT = StatusAuthority("Root")
STRANGER = StatusAuthority("Stranger")
ROOTS = {ROOT.certificate.public_bytes(Encoding.DER)}


@dataclass
class Scene:
    """A root, an intermediate and a leaf, whose status is published on `web`.

    crl, ocsp: paths that the leaf names; above: that the intermediate names, served by the root.
    """

    web: Web
    folder: Path | None = None
    crl: tuple[str, ...] = ("/crl",)
    ocsp: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    timeout: float = 5.0
    clock: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        self.authority = StatusAuthority("Intermediate", parent=ROOT, crl=[self.web.url(one) for one in self.above])
        self.leaf = self.authority.leaf(
            crl=[self.web.url(one) if one.startswith("/") else one for one in self.crl],
            ocsp=[self.web.url(one) for one in self.ocsp],
        )
        self.verdict = ChainVerdict(ChainStatus.TRUSTED, "", None, "", self.authority.path(self.leaf))
        self.restart()

    def restart(self) -> Self:
        """What is kept in memory is gone."""
        client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])))
        self.checker = RevocationChecker(client, self.folder, timeout=self.timeout, clock=lambda: self.clock[0])
        return self

    def publish(self, **options: Any) -> None:
        self.web.answers["/crl"] = ok(self.authority.crl(**options))

    def revoke(self) -> None:
        self.publish(revoked={self.leaf.serial_number: KEY_COMPROMISE})

    def respond(self, state: str = "good", **options: Any) -> bytes:
        der = self.authority.response(self.leaf, state, **options)
        self.web.answers["/ocsp"] = ok(der)
        return der

    async def check(self, *, staple: bytes = b"", hours: float = 0.0) -> Revocation:
        self.clock[0] = hours * 3600
        return await self.checker.check(self.verdict, staple=staple, now=TIME + hours * 3600)


def play(act: Callable[[Web], Any]) -> Any:
    async def run() -> Any:
        async with Web() as web:
            return await act(web)

    return asyncio.run(run())


# What is published -> status, source, words of the detail. The scene has a list at /crl and a responder at /ocsp.
CASES: dict[str, tuple[Callable[[Scene], None], str, str, str]] = {
    "good by list": (Scene.publish, "good", "crl", "is not revoked, says http://127.0.0.1"),
    "revoked by list": (Scene.revoke, "revoked", "crl", "was revoked on 20"),
    "on hold": (
        lambda s: s.publish(revoked={s.leaf.serial_number: x509.ReasonFlags.certificate_hold}),
        "revoked",
        "crl",
        "reason certificateHold",
    ),
    "list wins over responder": (lambda s: (s.publish(), s.respond("revoked"))[0], "good", "crl", ""),
    "no list, good by responder": (lambda s: void(s.respond()), "good", "ocsp", "/ocsp"),
    "no list, revoked by responder": (lambda s: void(s.respond("revoked")), "revoked", "ocsp", "/ocsp"),
    "expired list, good by responder": (
        lambda s: (s.publish(hours=(-9, -3)), void(s.respond()))[1],
        "good",
        "ocsp",
        "",
    ),
    "unknown to the responder": (lambda s: void(s.respond("unknown")), "unknown", "", "does not know the certificate"),
    "forged response": (lambda s: void(s.respond(forged=True)), "unknown", "", "its signature is not that"),
    "expired response": (lambda s: void(s.respond(hours=(-9, -3))), "unknown", "", "the OCSP response has expired"),
    "nothing there": (lambda _: None, "unknown", "", "/crl: status 404; http://127.0.0.1"),
    "expired list": (lambda s: s.publish(hours=(-9, -3)), "unknown", "", "the list has expired on"),
    "list of the future": (lambda s: s.publish(hours=(3, 9)), "unknown", "", "the list is of the future"),
    "forged list": (lambda s: s.publish(signer=STRANGER.key), "unknown", "", "its signature is not that"),
    "list of another": (lambda s: s.publish(name=STRANGER.name), "unknown", "", "of another issuer"),
    "junk": (lambda s: s.web.answers.update({"/crl": ok(b"<html>")}), "unknown", "", "the list cannot be read"),
    "truncated": (
        lambda s: s.web.answers.update({"/crl": ok(s.authority.crl()[:-9])}),
        "unknown",
        "",
        "the list cannot be read",
    ),
    "huge": (lambda s: s.web.answers.update({"/crl": ok(b"", length=2**30)}), "unknown", "", "larger than 33554432"),
    "redirection": (
        lambda s: s.web.answers.update({"/crl": status(302, "Location: /x\r\n")}),
        "unknown",
        "",
        "redirects to /x, which is not followed",
    ),
    "slow": (lambda s: s.web.hanging.add("/crl"), "unknown", "", "no whole answer within 1.5 s"),
    "dripping": (lambda s: s.web.dripping.add("/crl"), "unknown", "", "no whole answer within 1.5 s"),
    "slow, but there is a responder": (
        lambda s: (s.web.hanging.add("/crl"), void(s.respond()))[1],
        "good",
        "ocsp",
        "",
    ),
}


def void(_: object) -> None:
    """A value that a case has no use for."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_learnt(name: str) -> None:
    prepare, state, source, words = CASES[name]

    async def act(web: Web) -> Revocation:
        scene = Scene(web, ocsp=("/ocsp",), timeout=3 if "slow" in name or "drip" in name else 5)
        prepare(scene)
        return await scene.check()

    found = play(act)
    assert (found.status, found.source) == (state, source), found
    assert words in found.detail
    assert "CN=mx.partner.example" in found.detail


STAPLES: dict[str, tuple[Callable[[Scene], bytes], str, str]] = {
    "good": (lambda s: s.respond(), "good", "staple"),
    "revoked": (lambda s: s.respond("revoked"), "revoked", "staple"),
    "unknown": (lambda s: s.respond("unknown"), "revoked", "crl"),
    "expired": (lambda s: s.respond(hours=(-9, -3)), "revoked", "crl"),
    "forged": (lambda s: s.respond(forged=True), "revoked", "crl"),
    "junk": (lambda _: b"junk", "revoked", "crl"),
}


@pytest.mark.parametrize("name", STAPLES)
def test_a_good_staple_saves_the_fetch(name: str) -> None:
    make, state, source = STAPLES[name]

    async def act(web: Web) -> tuple[Revocation, list[str]]:
        scene = Scene(web)
        scene.revoke()
        return await scene.check(staple=make(scene)), web.requests

    found, requests = play(act)
    assert (found.status, found.source) == (state, source)
    assert requests == ([] if source == "staple" else ["GET /crl"])


def test_an_intermediate_counts_as_much_as_the_leaf() -> None:
    async def act(web: Web) -> list[Revocation]:
        scene = Scene(web, above=("/root",))
        scene.publish()
        found = []
        for revoked in ({}, {scene.authority.certificate.serial_number: KEY_COMPROMISE}):
            web.answers["/root"] = ok(ROOT.crl(revoked))
            found.append(await scene.restart().check())
        web.answers.pop("/root")
        return [*found, await scene.restart().check()]

    good, bad, unknown = play(act)
    assert (good.status, bad.status, unknown.status) == ("good", "revoked", "unknown")
    assert "CN=Intermediate" in bad.detail
    assert "CN=Intermediate" in unknown.detail


@pytest.mark.parametrize(
    ("crl", "state", "words"),
    [
        ((), "not-published", "names neither a CRL nor an OCSP responder"),
        (("ldap://directory.example/cn=CA",), "unknown", "sources that cannot be used (ldap address)"),
    ],
)
def test_nothing_is_published(crl: tuple[str, ...], state: str, words: str) -> None:
    async def act(web: Web) -> Revocation:
        return await Scene(web, crl=crl).check()

    found = play(act)
    assert (found.status, found.source) == (state, "")
    assert words in found.detail


def test_a_pinned_leaf_has_nobody_who_could_revoke_it() -> None:
    leaf = ROOT.leaf(crl=["http://127.0.0.1:1/"]).public_bytes(Encoding.DER)

    async def act(web: Web) -> Revocation:
        return await Scene(web).checker.check(ChainVerdict(ChainStatus.TRUSTED, "", None, "", (leaf,)), now=TIME)

    assert play(act) == Revocation("not-published", "the certificate itself is the trust anchor")


@pytest.mark.parametrize(
    "verdict",
    [ChainVerdict(ChainStatus.UNTRUSTED_ROOT, "", None), ChainVerdict(ChainStatus.TRUSTED, "", None)],
    ids=["not trusted", "no path"],
)
def test_a_stranger_makes_us_fetch_nothing(verdict: ChainVerdict) -> None:
    async def act(web: Web) -> None:
        await Scene(web).checker.check(verdict, now=TIME)

    with pytest.raises(ValueError, match="trusted chain"):
        play(act)


def test_a_path_that_cannot_be_read() -> None:
    async def act(web: Web) -> Revocation:
        return await Scene(web).checker.check(ChainVerdict(ChainStatus.TRUSTED, "", None, "", (b"x", b"y")), now=TIME)

    assert play(act).status == "unknown"


def test_many_at_once_share_one_fetch() -> None:
    async def act(web: Web) -> tuple[set[str], list[str]]:
        scene = Scene(web)
        scene.publish()
        found = await asyncio.gather(*(scene.check() for _ in range(20)))
        return {one.status for one in found}, web.requests

    assert play(act) == ({"good"}, ["GET /crl"])


def test_a_list_is_renewed_before_it_ends_or_after_a_day() -> None:
    async def act(web: Web) -> list[tuple[str, int]]:
        scene = Scene(web)
        scene.publish(hours=(-1, 40))
        found = [((await scene.check(hours=hours)).status, len(web.requests)) for hours in (0, 1, 23.9)]
        scene.publish(revoked={scene.leaf.serial_number: KEY_COMPROMISE}, hours=(23, 26))
        for hours in (24.1, 25.4, 25.6):
            if hours == 25.6:
                scene.publish(hours=(25, 30))
            found.append(((await scene.check(hours=hours)).status, len(web.requests)))
        return found

    assert play(act) == [("good", 1), ("good", 1), ("good", 1), ("revoked", 2), ("revoked", 2), ("good", 3)]


def test_an_authority_that_is_away_when_its_list_ends_has_given_the_next_one_before() -> None:
    """With hard-fail mail would wait from the end of the old list until it is back."""

    async def act(web: Web) -> list[str]:
        scene = Scene(web)
        scene.publish(hours=(-1, 1))
        found = [(await scene.check()).status]
        web.answers.clear()
        found.append((await scene.check(hours=0.8)).status)  # away for a moment: the one at hand still holds
        scene.publish(hours=(0.5, 3))
        found.append((await scene.check(hours=0.9)).status)
        web.answers.clear()
        return [*found, (await scene.check(hours=1.1)).status]

    assert play(act) == ["good"] * 4


def test_an_older_list_never_replaces_a_newer_one() -> None:
    """Whoever stands on the way may play back a list of yesterday, which still holds."""

    async def act(web: Web) -> list[str]:
        scene = Scene(web)
        scene.publish(revoked={scene.leaf.serial_number: KEY_COMPROMISE}, hours=(-1, 40))
        found = [(await scene.check()).status]
        scene.publish(hours=(-20, 40))
        return [*found, (await scene.check(hours=25)).status, str(len(web.requests))]

    assert play(act) == ["revoked", "revoked", "2"]


def test_a_dead_host_costs_one_try_a_minute() -> None:
    async def act(web: Web) -> list[tuple[str, int]]:
        scene = Scene(web, ocsp=("/ocsp",))
        found = [((await scene.check(hours=minutes / 60)).status, len(web.requests)) for minutes in (0, 0.5, 0.9, 1.1)]
        scene.publish()
        found.append(((await scene.check(hours=1.5 / 60)).status, len(web.requests)))
        scene.checker.retry()
        found.append(((await scene.check(hours=1.6 / 60)).status, len(web.requests)))
        return found

    assert play(act) == [("unknown", 2), ("unknown", 2), ("unknown", 2), ("unknown", 4), ("unknown", 4), ("good", 5)]


def test_a_host_that_keeps_silent_costs_its_time_once() -> None:
    async def act(web: Web) -> tuple[float, int, int]:
        scene = Scene(web, timeout=0.4)
        web.hanging.add("/crl")
        begin = time.monotonic()
        await scene.check()
        took, asked = time.monotonic() - begin, len(web.requests)
        await scene.check()
        return took, asked, len(web.requests)

    took, first, second = play(act)
    assert took > 0.15
    assert second <= max(first, 1), "it is not asked again"


def test_the_time_of_a_check_is_bounded_whatever_is_named() -> None:
    async def act(web: Web) -> tuple[Revocation, float]:
        scene = Scene(web, crl=("/a", "/b", "/c", "/d"), timeout=1.5)
        web.hanging.update(scene.crl)
        begin = time.monotonic()
        return await scene.check(), time.monotonic() - begin

    found, seconds = play(act)
    assert found.status == "unknown"
    assert "no answer within 1.5 s" in found.detail
    assert seconds < 4.5, "not four times that"


def test_a_list_at_hand_is_used_while_its_host_is_down() -> None:
    async def act(web: Web) -> list[str]:
        scene = Scene(web)
        scene.publish(hours=(-1, 48))
        found = [(await scene.check()).status]
        web.answers.clear()
        found += [(await scene.check(hours=hours)).status for hours in (25, 25.01, 47.9)]
        last = await scene.check(hours=49)
        return [*found, last.status, str("status 404" in last.detail)]

    assert play(act) == ["good", "good", "good", "good", "unknown", "True"]


def test_a_restart_does_not_fetch_again(tmp_path: Path) -> None:
    async def act(web: Web) -> tuple[list[str], list[str]]:
        scene = Scene(web, folder=tmp_path / "cache" / "crl")
        scene.revoke()
        found = [(await scene.check()).status]
        web.answers.clear()
        (file,) = (tmp_path / "cache" / "crl").iterdir()
        os.utime(file, (TIME, TIME))  # the scene's now, which is a while ago where many tests ran before
        found.append((await scene.restart().check()).status)
        assert file.stat().st_mode & 0o077 == 0
        file.write_bytes(b"somebody was here")
        found.append((await scene.restart().check()).status)
        return found, web.requests

    assert play(act) == (["revoked", "revoked", "unknown"], ["GET /crl", "GET /crl"])


def test_a_folder_that_cannot_be_used_costs_a_fetch(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    async def act(web: Web) -> str:
        scene = Scene(web, folder=tmp_path / "file")
        scene.publish()
        return (await scene.check()).status

    assert play(act) == "good"


def test_an_answer_of_a_responder_is_kept_while_it_holds() -> None:
    async def act(web: Web) -> list[tuple[str, int]]:
        scene = Scene(web, crl=(), ocsp=("/ocsp",))
        scene.respond()
        found = [((await scene.check(hours=hours)).status, len(web.requests)) for hours in (0, 0.9)]
        scene.respond("revoked", hours=(1, None))
        found += [((await scene.check(hours=hours)).status, len(web.requests)) for hours in (1.1, 1.2, 1.3)]
        return found

    assert play(act) == [("good", 1), ("good", 1), ("revoked", 2), ("revoked", 2), ("revoked", 3)]


def test_an_authority_of_the_whole_world_names_no_address_of_ours() -> None:
    """A private authority may publish within our network; one that the system trusts must not make us call there.

    Which those are is read again at SIGHUP: a root that was added counts from then on.
    """
    system = [TrustAnchors([ROOT.certificate.public_bytes(Encoding.DER)], "system")]

    async def act(web: Web) -> tuple[Revocation, list[str], Revocation, Revocation]:
        scene = Scene(web)
        scene.checker._load = lambda _: system[0]
        scene.publish()
        found, requests = await scene.check(), list(web.requests)
        system[0] = TrustAnchors([StatusAuthority("Other").certificate.public_bytes(Encoding.DER)], "system")
        kept = await scene.check()
        scene.checker.retry()
        return found, requests, kept, await scene.check()

    found, requests, kept, renewed = play(act)
    assert found.status == kept.status == "unknown"
    assert "is not a public address" in found.detail
    assert requests == []
    assert renewed.status == "good"


@pytest.mark.parametrize(("networks", "status", "asked"), [((), "unknown", 0), (("127.0.0.0/8",), "good", 1)])
@pytest.mark.parametrize("path", ["crl", "ocsp"])
def test_an_authority_of_a_tenant_leads_only_where_tenants_may_reach(
    path: str, networks: tuple[str, ...], status: str, asked: int
) -> None:
    """Whoever makes the authority says in its certificates what the gateway is to call."""

    async def act(web: Web) -> tuple[Revocation, list[str]]:
        scene = Scene(web, crl=("/crl",) if path == "crl" else (), ocsp=("/ocsp",) if path == "ocsp" else ())
        scene.publish()
        scene.respond()
        scene.checker._tenants = AddressPolicy.of(networks)
        scene.checker.origin = cast("AuthorityOrigin", SimpleNamespace(is_tenants=ROOTS.__contains__))
        return await scene.check(), web.requests

    found, requests = play(act)
    assert (found.status, len(requests)) == (status, asked)
    assert ("tenants_may_reach" in found.detail) is (status == "unknown")


@pytest.mark.parametrize("path", ["crl", "ocsp"])
def test_without_descriptors_nothing_is_learnt_and_it_is_asked_for_again(path: str) -> None:
    async def act(web: Web) -> tuple[Revocation, Revocation]:
        scene = Scene(web, crl=("/crl",) if path == "crl" else (), ocsp=("/ocsp",) if path == "ocsp" else ())
        scene.publish()
        scene.respond()
        other = Scene(web, crl=("/other",))  # loads what a first request loads
        await other.check()
        scene.checker._lists._client = scene.checker._responders._client = other.checker._lists._client
        scene.checker._system = frozenset()
        with no_descriptors():
            short = await scene.check()
        return short, await scene.check()

    short, later = play(act)
    assert (short.status, later.status) == ("unknown", "good")
    assert "Too many open files" in short.detail


def test_while_no_file_can_be_opened_every_authority_may_be_one_of_the_whole_world(tmp_path: Path) -> None:
    """Else a public authority, whoever asked it for a certificate, could lead us into our own network."""

    async def act(web: Web) -> tuple[Revocation, list[str], Revocation]:
        scene = Scene(web, folder=tmp_path)
        scene.publish()
        assert http_exchange  # is loaded: without descriptors it could not be
        with no_descriptors():
            short = await scene.check()
        return short, list(web.requests), await scene.check()

    short, requests, later = play(act)
    assert (short.status, requests, later.status) == ("unknown", [], "good")
    assert "is not a public address" in short.detail


def test_a_machine_without_roots_of_its_own() -> None:
    def missing(_: str) -> TrustAnchors:
        raise AnchorsError("none")

    async def act(web: Web) -> str:
        scene = Scene(web)
        scene.checker._load = missing
        scene.publish()
        return (await scene.check()).status

    assert play(act) == "good"


def test_closing_stops_what_is_under_way() -> None:
    async def act(web: Web) -> float:
        scene = Scene(web, ocsp=("/ocsp",), timeout=30)
        web.hanging.update({"/crl", "/ocsp"})
        waiting = asyncio.ensure_future(scene.check())  # noqa: TID251
        while not web.requests:  # noqa: ASYNC110 - a server that knows no event of ours
            await asyncio.sleep(0.01)
        begin = time.monotonic()
        await scene.checker.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return time.monotonic() - begin

    assert play(act) < 20


def test_a_closed_port_is_no_surprise() -> None:
    async def act(web: Web) -> Revocation:
        return await Scene(web, crl=(f"http://127.0.0.1:{free_port()}/crl",)).check()

    found = play(act)
    assert found.status == "unknown"


MUST = [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]


@pytest.mark.parametrize(
    ("staple", "status", "demanded"), [(b"", "unknown", True), (None, "good", False), (b"good", "good", False)]
)
def test_a_certificate_that_must_come_with_a_response(staple: bytes | None, status: str, demanded: bool) -> None:
    async def act(web: Web) -> Revocation:
        scene = Scene(web, ocsp=("/ocsp",))
        scene.leaf = scene.authority.leaf(ocsp=[web.url("/ocsp")], more=MUST)
        scene.verdict = ChainVerdict(ChainStatus.TRUSTED, "", None, "", scene.authority.path(scene.leaf))
        der = scene.respond()
        scene.publish()
        return await scene.checker.check(scene.verdict, staple=der if staple == b"good" else staple, now=TIME)

    found = play(act)
    assert (found.status, found.demanded) == (status, demanded)
    verdict = ChainVerdict(ChainStatus.TRUSTED, "", None).checked(found, hard_fail=False)
    assert verdict.trusted is (status == "good")
