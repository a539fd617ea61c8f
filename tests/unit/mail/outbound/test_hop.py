from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from support.exhaustion import no_descriptors

from gatepost.mail.outbound.connection import SmtpTimeouts, Step, Watch
from gatepost.mail.outbound.contexts import ClientContexts, has_classical
from gatepost.mail.outbound.failure import REVOCATION_UNKNOWN, HopFailed
from gatepost.mail.outbound.hop import Hop, HopOpener, OpenHop
from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.listener import Listener, bind
from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.published import Published
from gatepost.policy.decisions.requirement import (
    INTERNAL_HOP,
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    Opportunistic,
    Requirement,
    Shortfall,
    Source,
    StsProof,
    TlsLevel,
)
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, Usage
from gatepost.protocols.tls.facts import ChainVerdict, Revocation, TlsFacts
from gatepost.protocols.tls.limits import TlsLimits, limited
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace


@pytest.mark.parametrize(
    ("host", "address", "server_name", "endpoint"),
    [
        ("mx.b.example", "192.0.2.1", "mx.b.example", "192.0.2.1:25"),
        ("192.0.2.1", "192.0.2.1", "", "192.0.2.1:25"),
        ("[192.0.2.1]", "192.0.2.1", "", "192.0.2.1:25"),
        ("2001:db8::1", "2001:db8::1", "", "[2001:db8::1]:25"),
        ("[IPv6:2001:db8::1]", "2001:db8::1", "", "[2001:db8::1]:25"),
    ],
)
def test_names_and_addresses(host: str, address: str, server_name: str, endpoint: str) -> None:
    hop = Hop(host, address, 25, Encrypted(()))
    assert (hop.server_name, hop.endpoint) == (server_name, endpoint)


def opened(world: Any, kit: Any, peer: Any, requirement: Requirement, **fields: Any) -> OpenHop | HopFailed:
    error, revocation = fields.pop("handshake_error", ""), fields.pop("revocation", None)
    on_unknown = fields.pop("on_unknown", lambda _: None)

    async def run() -> OpenHop | HopFailed:
        async with peer:
            world.build()
            opener = HopOpener("gate.example", world.contexts, SmtpTimeouts(), revocation=revocation)
            opener.on_unknown = on_unknown
            hop = Hop("mx.b.example", "127.0.0.1", peer.port, requirement, **fields)
            try:
                found = await opener.open(hop, handshake_error=error)
            except HopFailed as failed:
                return failed
            found.connection.quit()
            return found

    return asyncio.run(run())


@pytest.mark.parametrize(("minimum", "passes"), [("", True), ("TLSv1.2", True), ("TLSv1.3", True)])
def test_a_minimum_version(world: Any, kit: Any, minimum: str, passes: bool) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = opened(world, kit, peer, Encrypted((), min_version=minimum))
    assert isinstance(found, OpenHop) is passes


@pytest.mark.parametrize(
    ("limits", "group"),
    [
        (limited(post_quantum=True), "X25519MLKEM768"),
        (limited(groups=["P-384", "P-256"]), "P-256"),
        (limited(suites=["TLS_CHACHA20_POLY1305_SHA256"]), "X25519MLKEM768"),
    ],
)
def test_only_what_is_allowed_is_offered(world: Any, kit: Any, limits: TlsLimits, group: str) -> None:
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), Encrypted((), limits=limits))
    assert isinstance(found, OpenHop)
    assert found.facts.tls is not None
    assert found.facts.tls.group == group
    assert limits.suites is None or found.facts.tls.suite in limits.suites


def test_where_nothing_is_left_to_offer_mail_waits_with_the_reason(world: Any, kit: Any) -> None:
    limits = limited(groups=["P-256"]).joined(limited(groups=["P-384"]))
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = opened(world, kit, peer, Encrypted((Source("connector", "out"),), limits=limits))
    assert isinstance(found, HopFailed)
    assert found.failure.reply.transient
    assert "connector:out leave nothing to negotiate: no group is left to negotiate" in found.failure.detail


def test_a_requirement_has_a_lesser_way_only_where_classical_groups_are_allowed() -> None:
    assert has_classical(Encrypted(()))
    assert has_classical(Encrypted((), limits=limited(groups=["X25519MLKEM768", "P-256"])))
    assert not has_classical(Encrypted((), limits=limited(post_quantum=True)))
    assert not has_classical(Encrypted((), limits=limited(groups=["P-256"])))
    assert not has_classical(Encrypted((), limits=TlsLimits(groups=())))


def test_a_rehearsal_uses_its_own_anchors(world: Any, kit: Any) -> None:
    from gatepost.pki.certificates.authority import Authority  # noqa: PLC0415 - only here

    other = world.root / "other.pem"
    other.write_bytes(Authority("Another root").certificate_pem)
    trial = Authenticated((), (Identity((), str(other)),))
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), Opportunistic(()), rehearsed=trial)
    assert isinstance(found, OpenHop)
    assert found.facts.chain is not None
    assert not found.facts.chain.trusted, "the record says the same as the rehearsal"
    assert found.verdict.achieved.tls is TlsLevel.AUTHENTICATED, "by the server's own anchors, as before the rehearsal"
    assert found.rehearsal is not None
    assert found.rehearsal.shortfall is not None
    assert found.rehearsal.shortfall.result_type == "certificate-not-trusted"


def test_the_record_says_of_the_chain_what_the_rehearsal_says(world: Any, kit: Any) -> None:
    """The server's own anchors know nothing of a partner's private authority."""
    from gatepost.pki.certificates.authority import Authority  # noqa: PLC0415 - only here

    partner = Authority("Partner")
    (anchors := world.root / "partner.pem").write_bytes(partner.certificate_pem)
    identity = ServerIdentity(*partner.issue(["mx.b.example"]))
    context = server_context([identity], PROFILES["default"], ask_client_certificate=False)
    trial = Authenticated((), (Identity(("mx.b.example",), str(anchors)),))
    found = opened(world, kit, kit.Peer(tls=context), Opportunistic(()), rehearsed=trial)
    assert isinstance(found, OpenHop)
    assert found.facts.chain is not None
    assert found.facts.chain.trusted
    assert found.verdict.achieved.tls is TlsLevel.AUTHENTICATED
    assert found.rehearsal is not None
    assert found.rehearsal.passed


def test_a_rehearsal_whose_anchors_cannot_be_read(world: Any, kit: Any) -> None:
    trial = Authenticated((), (Identity((), "/nowhere/anchors.pem"),))
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), Opportunistic(()), rehearsed=trial)
    assert isinstance(found, OpenHop)
    assert found.rehearsal is not None
    assert not found.rehearsal.passed


def test_a_rehearsal_of_plaintext(world: Any, kit: Any) -> None:
    found = opened(world, kit, kit.Peer(), Opportunistic(()), rehearsed=Encrypted(()))
    assert isinstance(found, OpenHop)
    assert found.rehearsal is not None
    assert not found.rehearsal.passed


def test_unreadable_server_anchors_do_not_stop_opportunistic_mail(world: Any, kit: Any) -> None:
    from gatepost.mail.outbound.contexts import ClientContexts  # noqa: PLC0415 - only here

    peer = kit.Peer(tls=world.identity("mx.b.example"))

    async def run() -> OpenHop:
        async with peer:
            opener = HopOpener("gate.example", ClientContexts("/nowhere", lambda: 1.0), SmtpTimeouts())
            found = await opener.open(Hop("mx.b.example", "127.0.0.1", peer.port, Opportunistic(())))
            found.connection.quit()
            return found

    found = asyncio.run(run())
    assert found.facts.tls is not None
    assert found.facts.chain is None


class Checker:
    """Says what it is told to, and remembers whom it was asked about."""

    def __init__(self, status: str) -> None:
        self.revocation = Revocation(status, f"it is {status}", "crl")  # type: ignore[arg-type] # a table of cases
        self.asked: list[tuple[int, bytes]] = []

    async def check(self, verdict: Any, *, staple: bytes, now: float) -> Revocation:
        assert now > 1e9
        self.asked.append((len(verdict.path), staple))
        return self.revocation


NONE, SOFT, HARD = RevocationCheck
REVOCATIONS = [
    # requirement's revocation, what is learnt, how the chain ends, whether it passes
    (SOFT, "good", "trusted", True),
    (HARD, "good", "trusted", True),
    (SOFT, "revoked", "revoked", False),
    (HARD, "revoked", "revoked", False),
    (SOFT, "unknown", "trusted", True),
    (HARD, "unknown", "revocation-unknown", False),
    (HARD, "not-published", "trusted", True),
    (NONE, "revoked", "trusted", True),
    (None, "revoked", "trusted", True),
]


@pytest.mark.parametrize(("check", "status", "chain", "passes"), REVOCATIONS)
def test_revoked_certificates(
    world: Any, kit: Any, check: RevocationCheck | None, status: str, chain: str, passes: bool
) -> None:
    checker = Checker(status)
    requirement = (
        Opportunistic(()) if check is None else Authenticated((), (Identity(("mx.b.example",)),), revocation=check)
    )
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = opened(world, kit, peer, requirement, revocation=checker)
    assert isinstance(found, OpenHop) is passes
    facts = found.facts if isinstance(found, OpenHop) else found.failure.facts
    assert facts is not None
    assert facts.chain is not None
    assert facts.chain.status == chain
    asked = check in {SOFT, HARD}
    assert facts.chain.revocation == (checker.revocation if asked else None)
    assert checker.asked == ([(2, b"")] if asked else [])
    if isinstance(found, HopFailed):
        assert (found.failure.reply.code, found.failure.reply.enhanced) == (450, "4.7.320")
        assert f"it is {status}" in found.failure.detail
        assert peer.said("MAIL") == 0


@pytest.mark.parametrize("proof", [Identity(("mx.b.example",)), StsProof("b.example", "mx.b.example")])
@pytest.mark.parametrize(
    ("check", "revocation", "waits"),
    [
        (HARD, Revocation("unknown", "no answer"), True),
        (SOFT, Revocation("unknown", "no answer"), False),
        (HARD, Revocation("revoked", "it is"), False),
        (HARD, Revocation("unknown", "nothing was stapled", demanded=True), False),
    ],
)
def test_what_waits_as_nobody_can_tell_is_told_and_known_by_its_last_error(
    world: Any, kit: Any, proof: Any, check: RevocationCheck, revocation: Revocation, waits: bool
) -> None:
    """A chain whose server must staple is not asked about: no list helps it."""
    checker, awaited = Checker("unknown"), []
    checker.revocation = revocation
    requirement = Authenticated((), (proof,), revocation=check)
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = opened(world, kit, peer, requirement, revocation=checker, on_unknown=awaited.append)
    assert [(chain.trusted, len(chain.path)) for chain in awaited] == ([(True, 2)] if waits else [])
    if waits:
        assert isinstance(found, HopFailed)
        assert found.failure.reply.text.startswith(REVOCATION_UNKNOWN)
    elif isinstance(found, HopFailed) and not revocation.demanded:
        assert not found.failure.reply.text.startswith(REVOCATION_UNKNOWN)


def test_hard_fail_passes_nobody_where_nobody_can_be_asked(world: Any, kit: Any) -> None:
    requirement = Authenticated((), (Identity(("mx.b.example",)),), revocation=HARD)
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), requirement)
    assert isinstance(found, HopFailed)
    assert "Message=RevocationUnknown" in found.failure.reply.text
    assert "revocation was not checked" in found.failure.detail


def test_an_untrusted_chain_is_not_asked_about(world: Any, kit: Any) -> None:
    from gatepost.pki.certificates.authority import Authority  # noqa: PLC0415 - only here

    other = world.root / "other.pem"
    other.write_bytes(Authority("Another root").certificate_pem)
    checker = Checker("good")
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    assert isinstance(
        opened(world, kit, peer, Authenticated((), (Identity((), str(other)),)), revocation=checker), HopFailed
    )
    assert checker.asked == []


def test_a_rehearsal_asks_for_revocation_too(world: Any, kit: Any) -> None:
    checker = Checker("revoked")
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    trial = Authenticated((), (Identity(("mx.b.example",)),))
    found = opened(world, kit, peer, Opportunistic(()), rehearsed=trial, revocation=checker)
    assert isinstance(found, OpenHop)
    assert found.facts.chain is not None
    assert found.facts.chain.trusted
    assert found.rehearsal is not None
    assert found.rehearsal.shortfall is not None
    assert "it is revoked" in found.rehearsal.shortfall.detail


@pytest.mark.parametrize(("says", "handshake"), [("!close", ""), ("450 4.3.2 not after TLS", "")])
def test_a_peer_that_ends_after_tls(world: Any, kit: Any, says: str, handshake: str) -> None:
    first = "250-peer\n250 STARTTLS"
    peer = kit.Peer(tls=world.identity("mx.b.example"), says={"EHLO": [first, says]})
    found = opened(world, kit, peer, Encrypted(()))
    assert isinstance(found, HopFailed)
    assert found.handshake == handshake


REQUIRETLS = Authenticated((Source("requiretls"),), (Identity(("mx.b.example",)),), requiretls=True)


@pytest.mark.parametrize(
    ("starttls", "text"),
    [
        ("454 4.7.0 not now", "450 4.4.317"),  # the peer says that it may pass
        ("!close", "450 4.4.317"),
        ("501 5.5.4 never", "550 5.7.10"),
        ("!break", "550 5.7.10"),
    ],
)
def test_what_may_pass_does_not_fail_a_message_with_requiretls(world: Any, kit: Any, starttls: str, text: str) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"), says={"STARTTLS": [starttls]})
    found = opened(world, kit, peer, REQUIRETLS)
    assert isinstance(found, HopFailed)
    assert found.failure.reply.text.startswith(text)


@pytest.mark.parametrize(
    ("before", "after", "offered"),
    [("", "250-peer\n250 REQUIRETLS", True), ("250-REQUIRETLS\n", "250 peer", False)],
)
def test_requiretls_counts_under_tls_only(world: Any, kit: Any, before: str, after: str, offered: bool) -> None:
    says = {"EHLO": [f"250-peer\n{before}250 STARTTLS", after]}
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example"), says=says), REQUIRETLS)
    if offered:
        assert isinstance(found, OpenHop)
        assert found.facts.requiretls_offered
    else:
        assert isinstance(found, HopFailed)
        assert found.failure.reply.text.startswith("550 5.7.30 REQUIRETLS needed")


def test_a_server_that_refuses_our_missing_certificate(world: Any, kit: Any) -> None:
    """TLS 1.3 says so only after the client has finished: still a failed handshake."""
    from OpenSSL import SSL  # noqa: PLC0415 - only here

    context = world.identity("mx.b.example")
    context._base.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    found = opened(world, kit, kit.Peer(tls=context), Opportunistic(()))
    assert isinstance(found, HopFailed)
    assert found.handshake
    assert found.failure.result_type == "validation-failure"


def test_a_replacement_in_clear_still_obeys_the_requirement(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = opened(world, kit, peer, Encrypted(()), handshake_error="it broke")
    assert isinstance(found, HopFailed)
    assert "it broke" in found.failure.detail
    assert peer.said("STARTTLS") == 0


def test_cancelling_while_opening_leaves_no_connection(world: Any, kit: Any) -> None:
    async def run() -> None:
        async with kit.Peer(says={"GREETING": "!silent"}) as peer:
            world.build()
            opener = HopOpener("gate.example", world.contexts, SmtpTimeouts())
            hop = Hop("mx.b.example", "127.0.0.1", peer.port, Opportunistic(()))
            opening = asyncio.get_running_loop().create_task(opener.open(hop))
            await peer.sees(lambda: peer.connections)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await peer.sees(lambda: peer.connections[0].lost_by)

    asyncio.run(run())


def test_each_step_is_told_as_it_begins(world: Any, kit: Any) -> None:
    steps: list[str] = []

    class Looking(Watch):
        def __call__(self, step: Step) -> None:
            steps.append(step)

        def connected(self, transcript: Sequence[str]) -> None:
            self.transcript = transcript

        def secured(self, facts: HopFacts, tls: TlsFacts) -> None:
            assert facts.tls is None
            steps.append(tls.version)

        def judged(self, facts: HopFacts, chain: ChainVerdict) -> None:
            assert facts.tls is not None
            steps.append(chain.status)

    async def run() -> None:
        async with kit.Peer(tls=world.identity("mx.b.example")) as peer:
            world.build()
            opener = HopOpener("gate.example", world.contexts, SmtpTimeouts(), revocation=Checker("good"))  # type: ignore[arg-type] # a stand-in
            hop = Hop("mx.b.example", "127.0.0.1", peer.port, Authenticated((), (Identity(("mx.b.example",)),)))
            opened = await opener.open(hop, watch=looking)
            assert looking.transcript == opened.connection.transcript
            opened.connection.quit()

    looking = Looking()
    asyncio.run(run())
    assert steps == ["connect", "greeting", "hello", "starttls", "handshake", "TLSv1.3", "hello", "trusted"]


def test_a_fault_of_ours_says_where_it_showed_and_what_was_said(world: Any, kit: Any) -> None:
    strict = Authenticated((), (Identity((), "/nowhere/roots.pem"),))
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), strict)
    assert isinstance(found, HopFailed)
    assert (found.failure.host, found.failure.reply.enhanced) == ("mx.b.example", "4.3.5")
    assert "[LastAttemptedServerName=mx.b.example]" in found.failure.reply.text
    assert found.failure.transcript[0] == "< 220 peer ESMTP"


def test_a_policy_and_a_connector_may_trust_different_authorities(world: Any, kit: Any) -> None:
    from gatepost.pki.certificates.authority import Authority  # noqa: PLC0415 - only here

    other = world.root / "other.pem"
    other.write_bytes(Authority("Another root").certificate_pem)
    policy = StsProof("b.example", "mx.b.example")
    for anchors, met in ((str(world.root / "anchors.pem"), True), (str(other), False)):
        asked = Authenticated((), (policy, Identity(("mx.b.example",), anchors)))
        found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), asked)
        assert isinstance(found, OpenHop) is met
        if isinstance(found, HopFailed):
            assert found.failure.reply.text.startswith("450 4.7.320 ")


def test_tlsa_records_need_no_trust_anchors_that_can_be_read(world: Any, kit: Any) -> None:
    wrong = Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32))
    proof = DaneProof(Records((wrong,)), ("tlsa.b.example",))
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    asked = Authenticated((Source("dane", "tlsa.b.example"),), (proof,))
    hop = Hop("mx.b.example", "127.0.0.1", 25, asked)
    assert hop.server_name == "tlsa.b.example"
    failed = opened(world, kit, peer, asked)
    assert isinstance(failed, HopFailed)
    assert failed.failure.result_type == "tlsa-invalid"
    assert failed.failure.facts is not None
    assert failed.failure.facts.tls is not None
    assert failed.failure.facts.tls.server_name == "tlsa.b.example"
    contexts = ClientContexts("/nowhere/anchors.pem", lambda: 5.0)
    assert contexts.judge(asked, failed.failure.facts.tls, "") is None


def test_anchors_that_could_not_be_opened_are_read_when_descriptors_are_there_again(
    world: Any, kit: Any, tmp_path: Path
) -> None:
    found = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), Opportunistic(()))
    assert isinstance(found, OpenHop)
    assert found.facts.tls is not None
    path = tmp_path / "anchors.pem"
    path.write_bytes(world.authority.certificate_pem)
    contexts, requirement = ClientContexts(str(path), time.time), Authenticated((), (Identity(()),))
    with no_descriptors(), pytest.raises(HopFailed) as short:
        contexts.judge(requirement, found.facts.tls, "")
    assert short.value.failure.reply.text.startswith("450 4.3.5")
    verdict = contexts.judge(requirement, found.facts.tls, "")
    assert verdict is not None


@pytest.mark.parametrize(
    ("requirement", "always", "asked"),
    [
        (Opportunistic(()), False, False),
        (Opportunistic(()), True, True),  # whoever checks a host wants to see it
        (Authenticated((), (Identity(()),)), False, True),
        (Authenticated((), (Identity(()),), revocation=RevocationCheck.NONE), False, False),
        (Authenticated((), (StsProof("b.example", "mx.b.example"),), revocation=RevocationCheck.NONE), False, False),
    ],
)
def test_who_is_asked_for_a_stapled_response(requirement: Requirement, always: bool, asked: bool) -> None:
    contexts = ClientContexts("/nowhere/anchors.pem", lambda: 5.0, staple=always)
    assert contexts.context(requirement, None).asks_for_staple is asked


def test_of_two_sets_of_records_both_must_be_satisfied(world: Any, kit: Any) -> None:
    """No domain asks for that; a requirement can."""
    sets = [
        DaneProof(
            Records((Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes([n] * 32)),)), ("a.example",)
        )
        for n in range(2)
    ]
    failed = opened(world, kit, kit.Peer(tls=world.identity("mx.b.example")), Authenticated((), tuple(sets)))
    assert isinstance(failed, HopFailed)
    assert failed.failure.reply.enhanced == "4.7.323"


def test_a_demand_for_dane_in_rehearsal(world: Any, kit: Any) -> None:
    missing = Shortfall(ResultType.DANE_REQUIRED, "4.7.323", "DaneRequired", "")
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = opened(world, kit, peer, Opportunistic(()), rehearsed=Encrypted(()), published=Published(on_trial=missing))
    assert isinstance(found, OpenHop)
    assert found.rehearsal is not None
    assert found.rehearsal.shortfall == missing


class _Node:
    """Speaks SMTP inside TLS from the first byte, as the internal listener of a node."""

    def __init__(self, context: Any, *, greeting: bytes = b"220 mx2\r\n", extensions: bytes = b"REQUIRETLS") -> None:
        self._context, self._greeting, self._extensions = context, greeting, extensions
        self.heard = b""
        self.port = 0

    async def __aenter__(self) -> Self:
        sockets = bind("127.0.0.1:0")
        self.port = sockets[0].getsockname()[1]
        self._listener = Listener(sockets, self._opened, refuse=lambda *_: None)
        await self._listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.stop()

    def _opened(self, stream: Any) -> None:
        self._stream = stream
        stream.attach(self)
        stream.start_tls(self._context)

    def secured(self, _facts: Any) -> None:
        self._stream.write(self._greeting)

    def received(self, data: bytes) -> None:
        self.heard += data
        self._stream.write(b"250-mx2\r\n250 " + self._extensions + b"\r\n" if data[:4] == b"EHLO" else b"221 bye\r\n")

    def lost(self, _loss: Any) -> None:
        """Nobody minds."""


PROOF = Authenticated((INTERNAL_HOP,), (Identity(("mx.b.example",)),), revocation=RevocationCheck.NONE)


def test_a_node_is_spoken_to_over_tls_alone(world: Any, kit: Any) -> None:
    node = _Node(world.identity("mx.b.example"))
    found = opened(world, kit, node, replace(PROOF, requiretls=True), internal=True)
    assert isinstance(found, OpenHop)
    assert found.facts.requiretls_offered
    assert found.connection.transcript[0].startswith("> (TLSv1.3")
    assert node.heard.startswith(b"EHLO gate.example")


@pytest.mark.parametrize(
    ("names", "words", "code", "detail"),
    [
        (("other.example",), {}, "450 4.7.320", "SubjectMismatch"),
        (("mx.b.example",), {"extensions": b"PIPELINING"}, "450 4.7.30", "RequireTlsNotOffered"),
        (
            ("mx.b.example",),
            {"greeting": b"554 5.7.1 not you\r\n"},
            "450 4.7.1",
            "refused to talk to us: 554 5.7.1 not you",
        ),
    ],
)
def test_a_node_that_does_not_prove_itself_or_does_not_want_us(
    world: Any, kit: Any, names: tuple[str, ...], words: dict[str, Any], code: str, detail: str
) -> None:
    node = _Node(world.identity(*names), **words)
    found = opened(world, kit, node, replace(PROOF, requiretls=True), internal=True)
    assert isinstance(found, HopFailed)
    assert found.failure.reply.text.startswith(code)
    assert detail in found.failure.reply.text
    assert names == ("mx.b.example",) or node.heard == b""  # nothing is said to who is not the node


def test_a_node_without_tls_is_none(world: Any, kit: Any) -> None:
    found = opened(world, kit, kit.Peer(), PROOF, internal=True)
    assert isinstance(found, HopFailed)
    assert found.failure.reply.text.startswith("450 4.4.317")
    assert found.failure.facts is not None
    assert found.failure.facts.handshake_error
