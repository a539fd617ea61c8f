"""Policies over a real HTTPS server and nameserver on loopback: what is found, kept, asked for again, and said."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.exhaustion import no_descriptors
from support.web import Web, ok, serving, status

from gatepost.net.anchors import TrustAnchors
from gatepost.net.lookups import mtasts
from gatepost.net.lookups.dns import Resolver, asking_for
from gatepost.net.lookups.http import HttpClient, HttpRequest, HttpResponse, https_context
from gatepost.net.lookups.mtasts import PolicyHosts, StsFailure, StsPolicies, StsState
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.places import FairPlaces
from gatepost.net.tasks import spawn
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.mtasts.record import StsRecord
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.testing.pki import Leaf, Pki
from gatepost.values import replace

DOMAIN = "b.example"
HOST = f"mta-sts.{DOMAIN}"
RECORD = f"_mta-sts.{DOMAIN}"
PATH = "/.well-known/mta-sts.txt"
NOW = 1_800_000_000.0
DAY = 86_400.0
TEXT = "Content-Type: text/plain; charset=utf-8\r\n"
FETCH, INVALID, WEBPKI = (
    ResultType.STS_POLICY_FETCH_ERROR,
    ResultType.STS_POLICY_INVALID,
    ResultType.STS_WEBPKI_INVALID,
)


def body(mode: str = "enforce", max_age: int = 604_800, mx: str = "*.b.example") -> bytes:
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n".encode()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def strange_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("strange"), "Strangers")


@pytest.fixture(scope="module")
def leaf(pki: Pki) -> Leaf:
    return pki.leaf(HOST)


@dataclass
class Scene:
    """A domain with its nameserver (`double`) and its policy host (`web`), and the policies that a worker knows."""

    web: Web
    double: Any
    anchors: Path
    folder: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    now: float = NOW
    policies: StsPolicies = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """What is kept in memory is gone."""
        self.policies = self.worker()

    def worker(self, *, fresh: bool = False) -> StsPolicies:
        resolver = Resolver(Nameservers([f"127.0.0.1:{self.double.port}"], timeout=5, attempts=1))
        client = HttpClient(resolver, https_context(TrustAnchors.load(str(self.anchors))))
        hosts = PolicyHosts(**{"timeout": 5.0, "private": True, "port": self.web.port} | self.options)
        return StsPolicies(resolver, client, self.folder, hosts=hosts, clock=lambda: self.now, fresh=fresh)

    def publish(self, record_id: str, content: bytes | None = None, *, headers: str = TEXT) -> None:
        self.double.records[RECORD, "TXT"] = [f'"v=STSv1; id={record_id};"']
        self.web.answers[PATH] = status(503) if content is None else ok(content, headers=headers)

    async def find(self, after: float = 0.0, *, domain: str = DOMAIN, recheck: bool = False) -> StsState:
        """after: seconds since the last question."""
        self.now += after
        return await self.policies.find(domain, now=self.now, recheck=recheck)

    async def refresh(self, after: float = 0.0) -> tuple[StsState, ...]:
        self.now += after
        return await self.policies.refresh_due(now=self.now)

    @property
    def fetches(self) -> int:
        return len(self.web.requests)

    def servfail(self, *, ends: bool = False) -> None:
        self.double.behaviour.pop(RECORD, None) if ends else self.double.behaviour.update({RECORD: "servfail"})


type Play = Callable[..., Any]


@pytest.fixture
def play(nameserver: Callable[..., Any], pki: Pki, leaf: Leaf, tmp_path: Path) -> Play:
    """play(act, …) runs `act(scene)` with everything up and a policy published under id 1."""

    def run[Value](
        act: Callable[[Scene], Awaitable[Value]],
        *,
        certificate: Leaf = leaf,
        context: ssl.SSLContext | None = None,
        anchors: Path = pki.root,
        ttl: int = 0,
        **options: Any,
    ) -> Value:
        async def whole() -> Value:
            records = {(HOST, "A"): ["127.0.0.1"]}
            async with (
                nameserver(records, ttl=ttl, negative_ttl=0) as double,
                Web({}, context=context or serving(certificate)) as web,
            ):
                scene = Scene(web, double, anchors, tmp_path / "cache" / "mta-sts", options)
                scene.publish("1", body())
                try:
                    return await act(scene)
                finally:
                    await scene.policies.close()

        return asyncio.run(whole())

    return run


@pytest.mark.parametrize("mode", StsMode)
def test_a_policy_is_found_and_kept(play: Play, mode: StsMode) -> None:
    async def act(scene: Scene) -> list[tuple[StsState, int]]:
        scene.publish("20260801", body(mode))
        return [(await scene.find(after), scene.fetches) for after in (0, 1, 3600, 6 * DAY)]

    first, *others = play(act)
    state, fetches = first
    assert state.policy is not None
    assert state.policy.mode is mode
    assert state.policy.matches("mx1.b.example")
    assert (state.id, state.origin, state.failure) == ("20260801", "fetched", None)
    assert (state.fetched, state.expires, state.record) == (NOW, NOW + 604_800, StsRecord("20260801"))
    assert state.enforced is (mode is StsMode.ENFORCE)
    assert fetches == 1
    for later, count in others:
        assert (later.policy, later.origin, later.expires, count) == (state.policy, "cache", state.expires, 1)


def test_what_is_served_now_can_be_had_whatever_the_dns_says(play: Play) -> None:
    async def acts(scene: Scene) -> None:
        scene.publish("1", body("testing"))
        scene.double.records.pop((RECORD, "TXT"))
        served = await scene.policies.fetch(DOMAIN)
        assert isinstance(served, StsPolicy)
        assert served.mode is StsMode.TESTING
        scene.web.answers.clear()
        failure = await scene.policies.fetch(DOMAIN)
        assert isinstance(failure, StsFailure)
        assert failure.result_type is FETCH
        assert (await scene.find()).policy is None

    play(acts)


def test_what_is_asked_of_the_policy_host(play: Play) -> None:
    async def act(scene: Scene) -> tuple[list[str], bytes]:
        await scene.find()
        return scene.web.requests, scene.web.heads[0]

    requests, head = play(act)
    assert requests == [f"GET {PATH}"]
    assert f"Host: {HOST}:".encode() in head
    assert b"Accept: text/plain" in head


# How the policy host answers -> the result type and words of the failure.
ANSWERS: dict[str, tuple[bytes, ResultType, str]] = {
    "not there": (status(404), FETCH, "status 404"),
    "down": (status(503), FETCH, "status 503"),
    "no content": (status(204), FETCH, "status 204"),
    "redirection": (status(302, f"Location: https://{HOST}/else\r\n"), FETCH, "which is not followed"),
    "10 MB": (ok(b"mx: a.example\n" * 750_000, headers=TEXT), FETCH, "larger than 65536 bytes"),
    "10 MB, unsized": (ok(b"mx: a.example\n" * 750_000, headers=TEXT, length=-1), FETCH, "larger than 65536 bytes"),
    "compressed": (ok(body(), headers=f"{TEXT}Content-Encoding: gzip\r\n"), FETCH, "compressed"),
    "cut off": (ok(body(), headers=TEXT, length=5000), FETCH, "peer closed connection"),
    "html": (ok(body(), headers="Content-Type: text/html\r\n"), FETCH, "its type is 'text/html', not text/plain"),
    "no type": (ok(body()), FETCH, "its type is not said"),
    "no policy": (ok(b"<html>", headers=TEXT), INVALID, f"{PATH}: line 1: '<html>' is not of the form name: value"),
    "nul": (ok(body() + b"\x00", headers=TEXT), INVALID, "a control character (U+0000)"),
    "another version": (ok(body().replace(b"STSv1", b"STSv2"), headers=TEXT), INVALID, "'STSv2' is not STSv1"),
    "no mx": (ok(body().replace(b"mx:", b"xm:"), headers=TEXT), INVALID, "without an mx"),
    "no HTTP": (b"220 mail.b.example ESMTP\r\n", FETCH, HOST),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_without_a_usable_answer_there_is_no_policy_but_a_reason(play: Play, name: str) -> None:
    answer, kind, words = ANSWERS[name]

    async def act(scene: Scene) -> StsState:
        scene.web.answers[PATH] = answer
        return await scene.find()

    state = play(act)
    assert (state.policy, state.origin, state.enforced) == (None, "", False)
    assert state.record == StsRecord("1")
    assert state.failure.result_type is kind
    assert words in state.failure.detail
    assert len(state.failure.detail) <= 600


@pytest.mark.parametrize("headers", [TEXT, "Content-Type: Text/Plain\r\n", "Content-Type: text/plain ;charset=x\r\n"])
def test_parameters_of_the_media_type_say_nothing(play: Play, headers: str) -> None:
    async def act(scene: Scene) -> StsState:
        scene.publish("1", body(), headers=headers)
        return await scene.find()

    assert play(act).enforced


# A certificate -> words of the failure, "" if it is good.
CERTIFICATES: dict[str, tuple[Callable[[Pki, Pki], Leaf], str]] = {
    "good": (lambda pki, _: pki.leaf(HOST), ""),
    "wildcard": (lambda pki, _: pki.leaf("*.b.example"), ""),
    "among others": (lambda pki, _: pki.leaf("www.b.example", names=["b.example", HOST]), ""),
    "another name": (lambda pki, _: pki.leaf("www.b.example"), "Hostname mismatch"),
    "the domain's name": (lambda pki, _: pki.leaf(DOMAIN), "Hostname mismatch"),
    "wildcard too high": (lambda pki, _: pki.leaf("*.example"), "Hostname mismatch"),
    "in the common name only": (lambda pki, _: pki.leaf(HOST, names=["192.0.2.1"]), "Hostname mismatch"),
    "expired": (lambda pki, _: pki.expired(HOST), "expired"),
    "not yet valid": (lambda pki, _: pki.not_yet_valid(HOST), "not yet valid"),
    "self-signed": (lambda pki, _: pki.self_signed(HOST), "self-signed"),
    "of a stranger": (lambda _, strange: strange.leaf(HOST), "its certificate is not trusted: "),
    "incomplete": (lambda pki, _: pki.leaf(HOST, incomplete=True), "unable to get local issuer"),
    "for clients": (lambda pki, _: pki.leaf(HOST, usages=("client",)), "purpose"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_the_policy_hosts_certificate(play: Play, pki: Pki, strange_pki: Pki, name: str) -> None:
    make, words = CERTIFICATES[name]
    state = play(Scene.find, certificate=make(pki, strange_pki))
    assert state.enforced is (not words)
    if words:
        assert state.failure.result_type is WEBPKI
        assert words in state.failure.detail
        assert HOST in state.failure.detail


def test_an_anchor_need_not_be_a_root(play: Play, pki: Pki) -> None:
    assert play(Scene.find, anchors=pki.intermediate).enforced


def test_an_old_version_of_tls_is_no_question_of_the_certificate(play: Play, leaf: Leaf) -> None:
    context = serving(leaf)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    state = play(Scene.find, context=context)
    assert state.failure.result_type is FETCH


# TXT records -> words of the failure, "" if there is none.
RECORDS: dict[str, tuple[list[str], str]] = {
    "none": ([], ""),
    "others": (['"v=spf1 -all"'], ""),
    "two": (['"v=STSv1; id=1"', '"v=STSv1; id=2"'], "2 TXT records begin with v=STSv1"),
    "broken": (['"v=STSv1; id=*"'], "is not 1 to 32 letters and digits"),
    "another version": (['"v=STSv2; id=1"'], "does not begin with"),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("kept", [False, True], ids=["nothing kept", "kept"])
def test_without_a_usable_record_only_what_is_kept_counts(play: Play, name: str, kept: bool) -> None:
    records, words = RECORDS[name]

    async def act(scene: Scene) -> tuple[StsState, int]:
        if kept:
            await scene.find()
        scene.double.records[RECORD, "TXT"] = records
        if not records:
            scene.double.records.pop((RECORD, "TXT"))
        return await scene.find(61), scene.fetches

    state, fetches = play(act)
    assert state.enforced is kept
    assert state.record is None
    assert fetches == kept
    if words:
        assert state.failure.result_type is INVALID
        assert words in state.failure.detail
    else:
        assert state.failure is None


@pytest.mark.parametrize("kept", [False, True], ids=["nothing kept", "kept"])
def test_a_nameserver_that_fails(play: Play, kept: bool) -> None:
    async def act(scene: Scene) -> StsState:
        if kept:
            await scene.find()
        scene.servfail()
        return await scene.find(61)

    state = play(act)
    assert state.enforced is kept
    assert state.failure.result_type is FETCH
    assert f"{RECORD} TXT" in state.failure.detail
    assert "SERVFAIL" in state.failure.detail


def test_the_strings_of_a_record_are_joined_and_aliases_followed(play: Play) -> None:
    async def act(scene: Scene) -> StsState:
        scene.double.records[RECORD, "CNAME"] = ["_mta-sts.provider.example."]
        scene.double.records["_mta-sts.provider.example", "TXT"] = ['"v=ST" "Sv1; id" "=7"']
        del scene.double.records[RECORD, "TXT"]
        return await scene.find()

    assert play(act).id == "7"


def test_another_id_brings_the_new_policy(play: Play) -> None:
    async def act(scene: Scene) -> list[tuple[str, str, bool, int]]:
        found = [await scene.find()]
        scene.publish("2", body("testing"))
        return [(one.id, one.origin, one.enforced, scene.fetches) for one in [*found, await scene.find(61)]]

    assert play(act) == [("1", "fetched", True, 2), ("2", "fetched", False, 2)]


def test_the_same_id_brings_nothing_new(play: Play) -> None:
    async def act(scene: Scene) -> tuple[StsState, int]:
        await scene.find()
        scene.publish("1", body("none"))
        return await scene.find(3600), scene.fetches

    state, fetches = play(act)
    assert (state.enforced, fetches) == (True, 1)


@pytest.mark.parametrize("answer", ["down", "no policy", "10 MB", "html"])
def test_what_is_kept_outlives_a_failing_update(play: Play, answer: str) -> None:
    async def act(scene: Scene) -> list[tuple[str, ResultType | None, int]]:
        found = []
        for after in (0, 61, 61, 61, 300, 0):
            state = await scene.find(after)
            found.append((state.id, state.failure and state.failure.result_type, scene.fetches))
            if not after:
                scene.publish("2")
                scene.web.answers[PATH] = ANSWERS[answer][0]
        scene.publish("2", body())
        scene.policies.retry()
        state = await scene.find()
        return [*found, (state.id, state.failure and state.failure.result_type, scene.fetches)]

    kind = ANSWERS[answer][1]
    assert play(act) == [
        ("1", None, 1),
        ("1", kind, 2),
        ("1", kind, 2),  # not asked for again for five minutes
        ("1", kind, 2),
        ("1", kind, 3),
        ("1", kind, 3),
        ("2", None, 4),
    ]


def test_a_host_that_fails_is_asked_every_five_minutes_and_for_another_id(play: Play) -> None:
    async def act(scene: Scene) -> list[int]:
        scene.publish("1")
        found = []
        for after in (0, 1, 60, 200, 60):
            await scene.find(after)
            found.append(scene.fetches)
        scene.publish("2")
        await scene.find(61)
        return [*found, scene.fetches]

    assert play(act) == [1, 1, 1, 1, 2, 3]


def test_what_is_kept_outlives_a_restart_of_everything(play: Play) -> None:
    async def act(scene: Scene) -> list[tuple[bool, str]]:
        found = []
        await scene.find()
        for breaks in (lambda: scene.publish("1"), scene.servfail, scene.double.records.clear):
            breaks()
            scene.restart()
            state = await scene.find(DAY)
            found.append((state.enforced, state.origin))
        scene.servfail(ends=True)
        scene.restart()
        state = await scene.find(8 * DAY)
        return [*found, (state.enforced, state.origin)]

    assert play(act) == [(True, "cache")] * 3 + [(False, "")]


def test_without_a_folder_a_restart_forgets(play: Play) -> None:
    async def act(scene: Scene) -> tuple[bool, bool, tuple[StsState, ...]]:
        scene.folder = None
        scene.restart()
        first = await scene.find()
        scene.publish("1")
        scene.restart()
        return first.enforced, (await scene.find()).enforced, await scene.refresh(2 * DAY)

    assert play(act) == (True, False, ())


def test_an_expired_policy_is_not_applied(play: Play) -> None:
    async def act(scene: Scene) -> list[tuple[bool, ResultType | None]]:
        found = []
        for after in (0, 604_800, 61):
            state = await scene.find(after)
            found.append((state.enforced, state.failure and state.failure.result_type))
            scene.publish("1")
        return found

    assert play(act) == [(True, None), (True, None), (False, FETCH)]


def test_an_expired_policy_is_fetched_again_under_the_same_id(play: Play) -> None:
    async def act(scene: Scene) -> StsState:
        await scene.find()
        return await scene.find(604_861)

    state = play(act)
    assert (state.id, state.origin, state.fetched) == ("1", "fetched", NOW + 604_861)


def test_max_age_0_is_applied_and_asked_for_once_a_minute(play: Play) -> None:
    async def act(scene: Scene) -> list[tuple[bool, int]]:
        scene.publish("1", body(max_age=0))
        return [((await scene.find(after)).enforced, scene.fetches) for after in (0, 1, 58, 2)]

    assert play(act) == [(True, 1), (True, 1), (True, 1), (True, 2)]


def test_before_a_message_fails_for_good_the_dns_is_asked_again(play: Play) -> None:
    async def act(scene: Scene) -> list[str]:
        await scene.find()
        scene.publish("2", body())
        return [(await scene.find()).id, (await scene.find(recheck=True)).id]

    assert play(act) == ["1", "2"]


def test_many_at_once_share_one_fetch(play: Play) -> None:
    async def act(scene: Scene) -> tuple[set[bool], int, int]:
        found = await asyncio.gather(*(scene.find() for _ in range(30)))
        return {one.enforced for one in found}, scene.fetches, scene.double.asked.count((RECORD, "TXT", "udp"))

    assert play(act) == ({True}, 1, 1)


async def of(organization: str, scene: Scene, after: float = 0.0, *, domain: str = DOMAIN) -> StsState:
    asking_for.set(organization)
    return await scene.find(after, domain=domain)


def look(organization: str, scene: Scene, **options: Any) -> asyncio.Task[StsState]:
    """What an organization finds, which is given five seconds."""
    return spawn(asyncio.wait_for(of(organization, scene, **options), 5), organization)


@asynccontextmanager
async def questions_wait(scene: Scene, organization: str = "contoso") -> AsyncIterator[None]:
    """Those of an organization, meanwhile: others of its own have all places that it may have."""
    async with AsyncExitStack() as taken:
        for _ in range(75):
            await taken.enter_async_context(scene.policies._resolver._places.place(organization))
        yield


@pytest.mark.parametrize("question", ["for the record", "for the policy host"])
def test_organizations_whose_questions_wait_hold_up_no_others(play: Play, question: str) -> None:
    async def act(scene: Scene) -> tuple[bool, bool]:
        if question == "for the policy host":
            await scene.policies._resolver.query(RECORD, "TXT")
        async with questions_wait(scene):
            waiting = look("contoso", scene)
            await asyncio.sleep(0.05)
            other = await look("fabrikam", scene)
            done = waiting.done()
        await waiting
        return other.enforced, done

    assert play(act, ttl=60) == (True, False)


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(play: Play) -> None:
    async def act(scene: Scene) -> list[str]:
        fetch, fetched, go = scene.policies._client.fetch, asyncio.Event(), asyncio.Event()

        async def slow(request: HttpRequest) -> HttpResponse:
            answer = await fetch(request)
            if asking_for.get() == "contoso":
                fetched.set()
                await go.wait()
            return answer

        scene.policies._client.fetch = slow  # type: ignore[method-assign]
        waiting = look("contoso", scene)
        await fetched.wait()
        scene.publish("2", body("testing"))
        first = await look("fabrikam", scene, after=30)
        go.set()
        found = [first, await waiting, await scene.find(70)]
        scene.restart()
        return [f"{state.id} {state.policy and state.policy.mode}" for state in (*found, await scene.find(1))]

    assert play(act) == ["2 testing"] * 4


def test_an_answer_to_a_later_record_is_newer_whoever_asked_first(play: Play) -> None:
    async def act(scene: Scene) -> list[str]:
        async with questions_wait(scene):
            waiting = look("contoso", scene)
            await asyncio.sleep(0.05)
            first = await look("fabrikam", scene, after=30)
            scene.publish("2", body("testing"))
            scene.now += 30
        return [state.id for state in (first, await waiting, await scene.find(1))]

    assert play(act) == ["1", "2", "2"]


def test_the_time_in_which_our_questions_wait_is_not_the_policy_hosts(play: Play) -> None:
    """Else whoever fills an organization's places, its own users for instance, has its mail leave below a policy."""

    async def act(scene: Scene) -> StsState:
        await scene.policies._resolver.query(RECORD, "TXT")
        async with questions_wait(scene):
            waiting = look("contoso", scene)
            await asyncio.sleep(1.2)
        return await waiting

    state = play(act, ttl=60, timeout=1.0)
    assert (state.enforced, state.failure) == (True, None)


def test_giving_up_does_not_stop_the_others(play: Play) -> None:
    async def act(scene: Scene) -> bool:
        async with asyncio.TaskGroup() as group:
            one, other = (group.create_task(scene.find()) for _ in range(2))
            await asyncio.sleep(0)
            one.cancel()
        return other.result().enforced

    assert play(act) is True


def test_a_host_that_keeps_silent_costs_its_time_once(play: Play) -> None:
    async def act(scene: Scene) -> tuple[float, StsState, int, int]:
        scene.web.hanging.add(PATH)
        begin = time.monotonic()
        state = await scene.find()
        took, first = time.monotonic() - begin, scene.fetches
        await scene.find(61)
        return took, state, first, scene.fetches

    took, state, first, second = play(act, timeout=0.4)
    assert "no whole answer within 0.4 s" in state.failure.detail
    assert state.failure.result_type is FETCH
    assert took > 0.3
    assert second <= max(first, 1), "it is not asked again"


def test_a_delivery_does_not_wait_long_for_a_newer_policy(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtasts, "_PATIENCE_SECONDS", 0.3)

    async def act(scene: Scene) -> tuple[float, StsState]:
        await scene.find()
        scene.publish("2", body())
        scene.web.hanging.add(PATH)
        begin = time.monotonic()
        state = await scene.find(61)
        return time.monotonic() - begin, state

    took, state = play(act)
    assert took < 3
    assert (state.id, state.enforced) == ("1", True)
    assert state.failure == StsFailure(FETCH, "the policy of id 2 is not there after 0.3 s", ours=True)


def test_what_one_organization_had_no_time_to_fetch_is_not_said_to_others(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had not waits for it once a minute."""
    monkeypatch.setattr(mtasts, "_PATIENCE_SECONDS", 0.3)

    async def act(scene: Scene) -> list[tuple[str, bool]]:
        await scene.find()
        scene.publish("2", body("testing"))
        scene.web.hanging.add(PATH)
        states = [await look("contoso", scene, after=61)]
        scene.web.hanging.discard(PATH)
        states += [await look(organization, scene) for organization in ("contoso", "fabrikam", "contoso")]
        return [(state.id, state.failure is None) for state in states]

    assert play(act) == [("1", False), ("1", False), ("2", True), ("2", True)]


async def silence(scene: Scene, organization: str, *, asked: int) -> list[asyncio.Task[StsState]]:
    """Its look-ups of d1.example to d8.example, whose policy host keeps silent, once that was asked so often in all."""
    scene.web.hanging.add(PATH)
    found = []
    for number in range(1, 9):
        domain = f"d{number}.example"
        scene.double.records[f"mta-sts.{domain}", "A"] = ["127.0.0.1"]
        scene.double.records[f"_mta-sts.{domain}", "TXT"] = ['"v=STSv1; id=1"']
        found.append(spawn(of(organization, scene, domain=domain), domain))
    while scene.fetches < asked:  # noqa: ASYNC110 - a server that knows no event of ours
        await asyncio.sleep(0.01)
    return found


@pytest.fixture
def four_places(monkeypatch: pytest.MonkeyPatch, play: Play, pki: Pki) -> Play:
    """Plays with four places for fetches, and a certificate for the hosts of `silence`."""
    monkeypatch.setattr(mtasts, "_FETCHES", 4)
    certificate = pki.leaf(HOST, names=[HOST, *(f"mta-sts.d{number}.example" for number in range(1, 9))])
    return lambda act, **options: play(act, certificate=certificate, **options)


def test_silent_policy_hosts_of_one_organization_keep_no_others_mail(four_places: Play) -> None:
    """Nor do they where it has asked for the same domain before, and waits for a place."""

    async def act(scene: Scene) -> tuple[bool, bool, bool]:
        waiting = await silence(scene, "contoso", asked=3)
        waiting.append(spawn(of("contoso", scene), "contoso"))
        scene.web.hanging.discard(PATH)
        other = await look("fabrikam", scene)
        ended = any(task.done() for task in waiting)
        known = await look("contoso", scene)
        return other.enforced, ended, known.enforced

    assert four_places(act, timeout=20.0) == (True, False, True)


def test_what_is_known_of_a_policy_host_needs_no_place(four_places: Play) -> None:
    async def act(scene: Scene) -> tuple[StsState, StsState]:
        scene.publish("1")
        first = await look("fabrikam", scene)
        await silence(scene, "contoso", asked=4)
        return first, await look("contoso", scene, after=61)

    first, later = four_places(act, timeout=20.0)
    assert "status 503" in first.failure.detail
    assert later == first


@pytest.mark.parametrize("end", ["their time is over", "they are stopped"])
def test_fetches_that_wait_leave_no_place_taken(four_places: Play, end: str) -> None:
    async def act(scene: Scene) -> int:
        found = await silence(scene, "contoso", asked=3) + await silence(scene, "fabrikam", asked=4)
        if end == "they are stopped":
            await scene.policies.close()
        await asyncio.wait(found)
        return scene.policies._places.free

    assert four_places(act, timeout=2.0) == 4


@contextmanager
def crowded(scene: Scene) -> Iterator[None]:
    """No place for a fetch meanwhile, and little patience to wait for one."""
    policies, hosts = scene.policies, scene.policies._hosts
    policies._places, policies._hosts = FairPlaces(0), replace(hosts, timeout=0.2)
    yield
    policies._places, policies._hosts = FairPlaces(1), hosts


def test_too_many_fetches_wait_for_an_end(play: Play) -> None:
    """That there was no place for a fetch says nothing of the domain, and the next to ask may find one."""

    async def act(scene: Scene) -> list[StsState]:
        with crowded(scene):
            first = await scene.find()
        return [first, await scene.find()]

    first, later = play(act)
    assert "too many other policies" in first.failure.detail
    assert (first.is_unknown, later.is_unknown, later.enforced) == (True, False, True)


def test_where_there_is_no_place_the_policy_at_hand_counts(play: Play) -> None:
    async def act(scene: Scene) -> list[StsState]:
        await scene.find()
        scene.publish("2", body("testing"))
        with crowded(scene):
            states = [await scene.find(61), await scene.find()]
        return [*states, await scene.find(61)]

    *states, later = play(act)
    assert [(state.id, state.enforced, state.is_unknown) for state in states] == [("1", True, False)] * 2
    assert states[0].failure.ours
    assert (later.id, later.failure) == ("2", None)


@pytest.mark.parametrize(
    ("places", "ours", "text"), [(2, False, "no whole answer within 2 s"), (1, True, "too many other policies")]
)
def test_where_places_run_short_a_silent_host_does_not_keep_its_own_for_long(
    play: Play, monkeypatch: pytest.MonkeyPatch, places: int, ours: bool, text: str
) -> None:
    monkeypatch.setattr(mtasts, "_FETCHES", places)
    monkeypatch.setattr(mtasts, "_BUSY_SECONDS", 0.3)

    async def act(scene: Scene) -> list[StsState]:
        scene.web.hanging.add(PATH)
        first = await scene.find()
        scene.web.hanging.discard(PATH)
        monkeypatch.setattr(mtasts, "_BUSY_SECONDS", 5.0)
        return [first, await scene.find()]

    first, later = play(act, timeout=2.0)
    assert text in first.failure.detail
    assert (first.failure.ours, first.is_unknown, later.enforced) == (ours, ours, ours)


@pytest.mark.parametrize("missing", ["socket for the policy host", "socket for the nameserver", "file in the cache"])
def test_without_descriptors_the_policy_is_unknown_and_soon_asked_for_again(play: Play, missing: str) -> None:
    """Whoever uses up our descriptors must not have mail leave below a policy."""

    async def act(scene: Scene) -> list[StsState]:
        if missing == "file in the cache":
            await scene.find()
            scene.double.records.pop((RECORD, "TXT"))  # as an attacker has it: no other way leads to the policy
            scene.restart()
        await scene.policies._client._loaded()
        await scene.policies._resolver.query(HOST, "A")
        if missing != "socket for the nameserver":
            await scene.policies._resolver.query(RECORD, "TXT")
        with no_descriptors():
            first = await scene.find()
        return [first, await scene.find()]

    first, later = play(act, ttl=60)
    assert (first.is_unknown, first.failure.ours, first.failure.result_type) == (True, True, FETCH)
    assert "Too many open files" in first.failure.detail
    assert (later.is_unknown, later.enforced) == (False, True)


def test_without_descriptors_the_policy_in_memory_counts(play: Play) -> None:
    async def act(scene: Scene) -> StsState:
        await scene.find()
        scene.publish("2", body("testing"))
        await scene.policies._resolver.query(RECORD, "TXT")
        with no_descriptors():
            return await scene.find(61)

    state = play(act)
    assert (state.id, state.enforced, state.is_unknown, state.failure.ours) == ("1", True, False, True)


def test_only_public_addresses_are_called(play: Play) -> None:
    async def act(scene: Scene) -> tuple[StsState, int]:
        return await scene.find(), scene.fetches

    state, fetches = play(act, private=False)
    assert "is at 127.0.0.1, which is not a public address" in state.failure.detail
    assert fetches == 0


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("B.Example.", "b.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("sub.b.example", "sub.b.example"),
        ("[192.0.2.1]", ""),
        ("192.0.2.1", ""),
        ("2001:db8::1", ""),
        ("*.b.example", ""),
        ("..", ""),
        ("", ""),
        ("../../etc/passwd", ""),
        (f"{'x' * 63}.{'x' * 63}.{'x' * 63}.{'x' * 61}", None),
    ],
)
def test_which_domain_is_asked_for(play: Play, domain: str, expected: str | None) -> None:
    async def act(scene: Scene) -> tuple[StsState, list[str]]:
        scene.double.records.clear()
        return await scene.find(domain=domain), [name for name, kind, _ in scene.double.asked if kind == "TXT"]

    state, asked = play(act)
    assert state == StsState(expected or domain)
    assert asked == ([f"_mta-sts.{expected}"] if expected else [])


def test_workers_share_what_they_fetch(play: Play) -> None:
    async def act(scene: Scene) -> list[tuple[str, str, int]]:
        first, second = scene.policies, scene.worker()
        found = []
        for record_id in ("1", "2"):
            scene.publish(record_id, body())
            scene.now += 61
            for worker in (first, second):
                state = await worker.find(DOMAIN, now=scene.now)
                found.append((state.id, state.origin, scene.fetches))
        return found

    assert play(act) == [("1", "fetched", 1), ("1", "cache", 1), ("2", "fetched", 2), ("2", "cache", 2)]


# What happens before the refresh -> id and origin after it, the failure's type, fetches.
REFRESHES: dict[str, tuple[Callable[[Scene], Any], list[tuple[str, str, ResultType | None]], int]] = {
    "the same": (lambda _: None, [("1", "fetched", None)], 2),
    "another id": (lambda scene: scene.publish("2", body()), [("2", "fetched", None)], 2),
    "nameserver fails": (Scene.servfail, [("1", "fetched", None)], 2),
    "host is down": (lambda scene: scene.publish("1"), [("1", "cache", FETCH)], 2),
    "no policy": (lambda scene: scene.publish("1", b"x"), [("1", "cache", INVALID)], 2),
    "withdrawn": (lambda scene: scene.double.records.pop((RECORD, "TXT")), [("1", "cache", None)], 1),
    "two records": (
        lambda scene: scene.double.records[RECORD, "TXT"].append('"v=STSv1; id=2"'),
        [("1", "cache", INVALID)],
        1,
    ),
}


@pytest.mark.parametrize("name", REFRESHES)
def test_what_would_expire_is_refreshed(play: Play, name: str, caplog: pytest.LogCaptureFixture) -> None:
    happens, expected, fetches = REFRESHES[name]

    async def act(scene: Scene) -> tuple[tuple[StsState, ...], tuple[StsState, ...], int, StsState]:
        await scene.find()
        early = await scene.refresh(DAY / 2)
        happens(scene)
        scene.restart()
        late = await scene.refresh(DAY)
        return early, late, scene.fetches, await scene.find()

    with caplog.at_level(logging.WARNING, logger="gatepost.net.lookups.mtasts"):
        early, late, asked, after = play(act)
    assert early == ()
    assert [(one.id, one.origin, one.failure and one.failure.result_type) for one in late] == expected
    assert asked == fetches
    assert after.enforced
    assert after.expires == (NOW if late[0].origin == "cache" else NOW + 1.5 * DAY) + 604_800
    said = [record.getMessage() for record in caplog.records]
    assert bool(said) is (late[0].failure is not None)
    assert all(f"the policy of {DOMAIN} cannot be refreshed: " in one for one in said)


def test_a_withdrawn_policy_is_refreshed_without_a_word(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> tuple[StsState, ...]:
        scene.publish("1", body("none"))
        await scene.find()
        scene.publish("1")
        return await scene.refresh(2 * DAY)

    with caplog.at_level(logging.WARNING, logger="gatepost.net.lookups.mtasts"):
        (state,) = play(act)
    assert state.failure.result_type is FETCH
    assert caplog.records == []


def test_a_policy_of_a_short_life_is_refreshed_at_half_of_it(play: Play) -> None:
    async def act(scene: Scene) -> list[int]:
        scene.publish("1", body(max_age=3600))
        await scene.find()
        return [len(await scene.refresh(after)) for after in (1799, 2, 60)]

    assert play(act) == [0, 1, 0]


def test_a_policy_that_nobody_uses_runs_out(play: Play) -> None:
    async def act(scene: Scene) -> list[int]:
        scene.publish("1", body(max_age=31_557_600))
        await scene.find()
        found = [len(await scene.refresh(20 * DAY)) for _ in range(2)]
        await scene.find()
        scene.restart()
        return [*found, len(await scene.refresh(DAY)), len(await scene.refresh(DAY))]

    assert play(act) == [1, 0, 1, 1]


def test_what_was_refreshed_counts_at_once(play: Play) -> None:
    async def act(scene: Scene) -> list[str]:
        await scene.find()
        found = [(await scene.find(2 * DAY)).id]
        scene.publish("2", body())
        await scene.refresh()
        return [*found, (await scene.find()).id]

    assert play(act) == ["1", "2"]


def test_a_refresh_ends_and_begins_with_what_ends_first(play: Play, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtasts, "_REFRESHES", 1)
    certificate = pki.leaf("d.example", names=[f"mta-sts.d{number}.example" for number in (1, 2, 3)])

    async def act(scene: Scene) -> list[list[str]]:
        for number in (2, 1, 3):
            domain = f"d{number}.example"
            scene.double.records[f"mta-sts.{domain}", "A"] = ["127.0.0.1"]
            scene.double.records[f"_mta-sts.{domain}", "TXT"] = ['"v=STSv1; id=1"']
            scene.publish("1", body(max_age=number * 604_800))
            await scene.find(domain=domain)

        def slow(_: bytes) -> bytes:
            scene.now += 400  # of the ten minutes
            return ok(body(), headers=TEXT)

        scene.web.answers[PATH] = slow
        scene.now += 2 * DAY
        return [[one.domain for one in await scene.refresh()] for _ in range(3)]

    assert play(act, certificate=certificate) == [["d1.example", "d2.example"], ["d3.example"], []]


def test_hosts_that_keep_silent_do_not_keep_others_from_being_refreshed(
    play: Play, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred and sixty took the ten minutes of each call, as their policies ended first."""
    monkeypatch.setattr(mtasts, "_REFRESHES", 1)
    certificate = pki.leaf("d.example", names=[f"mta-sts.d{number}.example" for number in (1, 2)])

    async def act(scene: Scene) -> list[list[str]]:
        for number in (1, 2):
            domain = f"d{number}.example"
            scene.double.records[f"mta-sts.{domain}", "A"] = ["127.0.0.1"]
            scene.double.records[f"_mta-sts.{domain}", "TXT"] = ['"v=STSv1; id=1"']
            scene.publish("1", body(max_age=number * 604_800))
            await scene.find(domain=domain)

        def answers(_: bytes) -> bytes:
            silent = b"mta-sts.d1." in scene.web.heads[-1]
            scene.now += 700 if silent else 0
            return status(503) if silent else ok(body(), headers=TEXT)

        scene.web.answers[PATH] = answers
        scene.now += DAY
        return [[one.domain for one in await scene.refresh(3600)] for _ in range(3)]

    assert play(act, certificate=certificate) == [["d1.example"], ["d2.example", "d1.example"], ["d1.example"]]


def test_a_change_of_the_mode_is_noted(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> None:
        await scene.find()
        scene.publish("2", body("none"))
        await scene.find(61)

    with caplog.at_level(logging.INFO, logger="gatepost.net.lookups.mtasts"):
        play(act)
    assert "the policy of b.example changed from enforce to none" in caplog.text


def test_closing_ends_what_is_under_way(play: Play) -> None:
    async def act(scene: Scene) -> float:
        scene.web.hanging.add(PATH)
        begin = time.monotonic()
        waiting = asyncio.get_running_loop().create_task(scene.find())
        while not scene.fetches:  # noqa: ASYNC110 - a server that knows no event of ours
            await asyncio.sleep(0.01)
        await scene.policies.close()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        return time.monotonic() - begin

    assert play(act, timeout=30.0) < 25


def test_domains_without_a_policy_do_not_fill_the_memory(play: Play) -> None:
    async def act(scene: Scene) -> tuple[int, int]:
        for number in range(300):
            await scene.find(domain=f"d{number}.example")
        return scene.policies._seen._held, len(scene.policies._memory)

    held, memory = play(act)
    assert held <= 4 * 1024 * 1024
    assert memory == 0


def test_a_check_fetches_anew_and_falls_back_on_what_the_gateway_keeps(play: Play) -> None:
    async def act(scene: Scene) -> None:
        policy = (await scene.find()).policy
        assert policy is not None
        assert scene.folder is not None
        (kept,) = scene.folder.iterdir()
        before = kept.read_bytes(), kept.stat().st_mtime_ns
        scene.now += DAY
        scene.policies = scene.worker(fresh=True)
        assert ((await scene.find()).origin, scene.fetches) == ("fetched", 2)
        scene.publish("2")
        scene.policies = scene.worker(fresh=True)
        state = await scene.find()
        assert (state.policy, state.id, state.origin, state.failure is None) == (policy, "1", "cache", False)
        assert (kept.read_bytes(), kept.stat().st_mtime_ns) == before, "it leaves no mark"

    play(act)
