"""Turn the records of one connection attempt into tasks of a report. Pure.

Called by `analysis.checks.probe`. Whether something failed is never decided here a second time: the verdict of
`policy.decisions.outbound.judge` decides, and this finds the task that its shortfall belongs to. What falls short of
good practice, but not of the requirement, is a warning.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.analysis.checks import advice
from gatepost.analysis.checks.tasks import PROBE_TASKS, Task, TaskStatus, detail_of, skipped, waiting
from gatepost.mail.outbound.connection import Step, Watch
from gatepost.mail.outbound.contexts import required_anchors
from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Opportunistic, Verdict, floor_text
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.protocols.tls.limits import NO_LIMITS
from gatepost.protocols.tls.names import describe_names, matches
from gatepost.quantity import quantity
from gatepost.texts import own
from gatepost.times import day_text
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.outbound.failure import HopFailure
    from gatepost.mail.outbound.hop import Hop
    from gatepost.policy.decisions.facts import HopFacts


_SOON_DAYS = 14
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_OUR_FAULT = "4.3.5"
_SHOWN_KEYWORDS = 20
_ON_THIS_MACHINE = "the connection stays on this machine"
# Only a chain that is trusted is looked for among the revoked ones.
_TRUSTED = frozenset({ChainStatus.TRUSTED, ChainStatus.REVOKED, ChainStatus.REVOCATION_UNKNOWN})


@dataclass(slots=True)
class Seen(Watch):
    """One attempt as the opener lives it, of which it is the `watch`.

    steps: begun, with the time of a clock that never goes back. transcript, facts: as far as it came. failure: why the
    connection is of no use, None if it is. error: of the operating system, if connecting failed. now: seconds since
    1970. on_step: called as each step begins. listed_by: the domain whose MX named the host, "" for a smart host.
    """

    hop: Hop
    clock: Callable[[], float]
    now: float
    steps: list[tuple[Step, float]] = field(default_factory=list)
    ended: float = 0.0
    transcript: Sequence[str] = ()
    facts: HopFacts | None = None
    verdict: Verdict | None = None
    failure: HopFailure | None = None
    error: BaseException | None = None
    on_step: Callable[[], None] | None = None
    listed_by: str = ""

    def __call__(self, step: Step, /) -> None:
        """A step begins."""
        self.steps.append((step, self.clock()))
        if self.on_step is not None:
            self.on_step()

    def connected(self, transcript: Sequence[str], /) -> None:
        """See `Watch`."""
        self.transcript = transcript

    def secured(self, facts: HopFacts, tls: TlsFacts, /) -> None:
        """See `Watch`."""
        self.facts = replace(facts, tls=tls)

    def judged(self, facts: HopFacts, chain: ChainVerdict, /) -> None:
        """See `Watch`."""
        self.facts = replace(facts, chain=chain)
        self(Step.REVOCATION)

    def end(self) -> None:
        """The attempt is over."""
        self.ended = self.clock()

    def seconds(self, *steps: Step) -> float:
        """The duration of these steps together; a running step counts as 0."""
        ends = [at for _, at in self.steps[1:]] + [self.ended or self.steps[-1][1] if self.steps else 0.0]
        return sum(end - at for (step, at), end in zip(self.steps, ends, strict=True) if step in steps)

    @property
    def last(self) -> Step:
        """The step at which it ended."""
        return self.steps[-1][0] if self.steps else Step.CONNECT

    @property
    def over_tls(self) -> bool:
        """Whether the handshake was done, and the host was greeted again."""
        names = [step for step, _ in self.steps]
        return Step.HANDSHAKE in names and names[-1] is not Step.HANDSHAKE

    @property
    def our_fault(self) -> str:
        """The fault of this machine, "" if the cause was another."""
        failure = self.failure
        return failure.detail if failure and failure.reply.enhanced == _OUR_FAULT else ""

    @property
    def concluded(self) -> Verdict | None:
        """The verdict that ended the attempt, or let it pass."""
        return self.verdict or (self.failure.verdict if self.failure else None)

    @property
    def word(self) -> str:
        """Exchange's word for what is missing, "" if nothing is."""
        verdict = self.concluded
        return verdict.shortfall.message if verdict and verdict.shortfall else ""

    @property
    def chain(self) -> ChainVerdict | None:
        """The chain as it was judged."""
        return self.facts.chain if self.facts else None

    def said(self, command: str) -> list[str]:
        """The host's answer to the first such command, "" for its greeting; without codes."""
        lines = list(self.transcript)
        start = 0
        if command:
            start = next((at + 1 for at, line in enumerate(lines) if line == f"> {command}"), len(lines))
        answer = []
        for line in lines[start:]:
            if not line.startswith("< "):
                break
            answer.append(line[2:])
        return answer


def findings(seen: Seen, resolve: Task) -> tuple[Task, ...]:
    """All tasks of PROBE_TASKS, and "REQUIRETLS" and "Log in" where asked for. resolve: the first, done before."""
    tasks = [resolve]
    for name in PROBE_TASKS[1:]:
        task, stop = _MAKERS[name](seen)
        tasks.append(task)
        if task.status is TaskStatus.FAILED:
            stop = f"{name} failed"
        if stop:
            tasks += skipped(PROBE_TASKS[len(tasks) :], stop)
            break
    tasks += _requiretls(seen)
    tasks += _log_in(seen)
    failure = seen.failure
    if (
        failure is not None
        and failure.verdict is not None
        and all(task.status is not TaskStatus.FAILED for task in tasks)
    ):
        # A demand that no task knows yet: what would make mail wait must not look like a success.
        tasks[len(PROBE_TASKS) - 1] = Task(PROBE_TASKS[-1], TaskStatus.FAILED, failure.text)
    return tuple(tasks)


def so_far(seen: Seen, resolve: Task) -> tuple[Task, ...]:
    """The same while the attempt goes on: what has ended, what runs, what comes later. resolve: as above."""
    name = "Certificate" if seen.over_tls and seen.last is Step.HELLO else _RUNNING[seen.last]
    place = PROBE_TASKS.index(name)
    ended = [_MAKERS[probe_task](seen)[0] for probe_task in PROBE_TASKS[1:place]]
    return (resolve, *ended, Task(name, TaskStatus.RUNNING, ""), *waiting(PROBE_TASKS[place + 1 :]))


_RUNNING = {
    Step.CONNECT: "Connect",
    Step.GREETING: "EHLO",
    Step.HELLO: "EHLO",
    Step.STARTTLS: "STARTTLS",
    Step.HANDSHAKE: "TLS handshake",
    Step.REVOCATION: "Revocation",
    Step.LOGIN: "Revocation",
}


# Each maker gives its task, and why nothing can come after it though it did not fail, "" if something can.
type _Made = tuple[Task, str]


def _connect(seen: Seen) -> _Made:
    hop, seconds = seen.hop, seen.seconds(Step.CONNECT)
    if seen.failure is None or seen.last is not Step.CONNECT:
        return Task("Connect", TaskStatus.SUCCEEDED, hop.endpoint, seconds=seconds), ""
    error = seen.error
    number = error.errno if isinstance(error, OSError) else None
    # asyncio's text says "[Errno 111] Connect call failed"; a time-out has its own, with the seconds.
    if seen.our_fault:
        return Task("Connect", TaskStatus.FAILED, seen.our_fault, advice.LOCAL_FAULT, seconds), ""
    detail = f"{hop.endpoint}: {os.strerror(number) if number else seen.failure.detail}"
    no_way = number in _NO_WAY
    if no_way and ":" in hop.address:
        return Task(
            "Connect", TaskStatus.WARNING, detail, advice.NO_IPV6, seconds
        ), "this machine has no route to IPv6 addresses"
    refused = isinstance(error, ConnectionRefusedError)
    what = advice.NO_ROUTE if no_way else advice.connect_advice(hop, seen.listed_by, refused=refused)
    return Task("Connect", TaskStatus.FAILED, detail, what, seconds), ""


def _ehlo(seen: Seen) -> _Made:
    seconds = seen.seconds(Step.GREETING, Step.HELLO)
    banner, lines = " / ".join(seen.said("")), seen.said(_hello(seen))
    failure = seen.failure
    implicit = seen.hop.options.implicit_tls
    in_time = seen.last in {Step.GREETING, Step.HELLO} and (implicit or not seen.over_tls)
    if failure is not None and failure.verdict is None and in_time and not seen.our_fault:
        what = advice.greeting_advice(seen.hop, failure, seen.listed_by)
        return Task("EHLO", TaskStatus.FAILED, _failed(failure, banner), what, seconds), ""
    if implicit and not lines:
        return Task("EHLO", TaskStatus.SKIPPED, "it comes after the TLS handshake, which failed"), ""
    keywords = [line.partition(" ")[2] for line in lines[1:]]
    shown = ", ".join(keywords[:_SHOWN_KEYWORDS]) or "no extensions"
    more = f" and {len(keywords) - _SHOWN_KEYWORDS} more" if len(keywords) > _SHOWN_KEYWORDS else ""
    return Task("EHLO", TaskStatus.SUCCEEDED, detail_of(banner, f"offers {shown}{more}"), seconds=seconds), ""


def _hello(seen: Seen) -> str:
    return "LHLO" if seen.hop.lmtp else "EHLO"


def _failed(failure: HopFailure, banner: str) -> str:
    if failure.loss is not None or not failure.detail.startswith("in reply to"):
        return f"{failure.detail}, after the greeting {banner!r}" if banner else failure.detail
    return f"{failure.reply.text} {failure.detail}"


def _starttls(seen: Seen) -> _Made:
    seconds = seen.seconds(Step.STARTTLS)
    names = [step for step, _ in seen.steps]
    if seen.hop.options.implicit_tls:
        return Task("STARTTLS", TaskStatus.SKIPPED, "TLS begins with the first octet (implicit_tls)"), ""
    if Step.STARTTLS not in names and not seen.our_fault:
        keywords = tuple(line.partition(" ")[2].upper() for line in seen.said(_hello(seen))[1:])
        required = seen.failure is not None
        if seen.hop.lmtp and not required:
            return Task("STARTTLS", TaskStatus.SKIPPED, "not offered, and not needed on this machine"), _ON_THIS_MACHINE
        status = TaskStatus.FAILED if required else TaskStatus.WARNING
        what = advice.no_starttls(seen.hop, keywords, required=required)
        asks = "LMTP between machines" if seen.hop.lmtp else "the connector"
        detail = detail_of("not offered", f"{asks} asks for {describe(seen.hop.requirement)}")
        return Task("STARTTLS", status, detail, what, seconds), "the connection is unencrypted"
    if seen.failure is not None and seen.last is Step.STARTTLS:
        reply = " / ".join(seen.said("STARTTLS")) or seen.failure.detail
        return Task("STARTTLS", TaskStatus.FAILED, reply, advice.starttls_refused(reply), seconds), ""
    detail = " / ".join(seen.said("STARTTLS")) or "offered"
    return Task("STARTTLS", TaskStatus.SUCCEEDED, detail, seconds=seconds), ""


def _handshake(seen: Seen) -> _Made:
    seconds = seen.seconds(Step.HANDSHAKE)
    name, facts, failure = "TLS handshake", seen.facts, seen.failure
    if seen.our_fault and not seen.over_tls:
        return Task(name, TaskStatus.FAILED, seen.our_fault, advice.LOCAL_FAULT, seconds), ""
    if facts is None or facts.tls is None:
        if seen.our_fault:  # what it said is in the certificate's task
            return Task(name, TaskStatus.SUCCEEDED, _noted(seen), seconds=seconds), ""
        error = (facts.handshake_error if facts else "") or (_failed(failure, "") if failure else "")
        expected = _floor(seen)
        what = advice.handshake_advice(error, ours=seen.hop.certificate is not None, limited=_is_limited(seen))
        return Task(name, TaskStatus.FAILED, detail_of(error, expected), what, seconds), ""
    tls = facts.tls
    detail = f"{tls.version}, {tls.suite}, " + (tls.group or "no forward secrecy")
    if seen.word in advice.FLOORS:
        what = advice.FLOORS[seen.word]
        return Task(name, TaskStatus.FAILED, detail_of(detail, _floor(seen)), what, seconds), ""
    if facts.classical is not None:
        detail = detail_of(detail, f"the server does not answer post-quantum key exchange ({facts.classical.why})")
        return Task(name, TaskStatus.WARNING, detail, advice.CLASSICAL_ONLY, seconds), ""
    return Task(name, TaskStatus.SUCCEEDED, detail, seconds=seconds), ""


def _noted(seen: Seen) -> str:
    """The handshake as the transcript notes it: "(TLSv1.3 TLS_AES_256_GCM_SHA384)"."""
    return next((line[3:-1] for line in seen.transcript if line.startswith("> (")), "")


def _is_limited(seen: Seen) -> bool:
    """Whether the connector offers less than its profile has."""
    requirement = seen.hop.requirement
    return isinstance(requirement, Encrypted | Authenticated) and requirement.limits != NO_LIMITS


def _floor(seen: Seen) -> str:
    floor = floor_text(seen.hop.requirement)
    return f"expected: {floor}" if floor else ""


def _certificate(seen: Seen) -> _Made:
    if seen.our_fault:
        return Task("Certificate", TaskStatus.FAILED, seen.our_fault, advice.LOCAL_FAULT), ""
    chain = seen.chain
    shown = _described(chain.leaf, seen.now) if chain and chain.leaf else ""
    dane = seen.facts.dane if seen.facts else None
    if dane is not None and not (dane.authenticated and required_anchors(seen.hop.requirement)):
        status = TaskStatus.SUCCEEDED if dane.authenticated else TaskStatus.FAILED
        what = "" if dane.authenticated else advice.DANE
        return Task("Certificate", status, detail_of(f"DANE: {dane.detail}", shown), what), ""
    if chain is None:
        detail = "not checked: the trust anchors of this gateway cannot be read"
        return Task("Certificate", TaskStatus.WARNING, detail, advice.LOCAL_FAULT), detail
    if chain.status not in _TRUSTED:
        status = TaskStatus.WARNING if _demands_no_certificate(seen) else TaskStatus.FAILED
        detail = detail_of(f"{chain.status}: {own(chain.detail)}", shown)
        return Task("Certificate", status, detail, advice.certificate_advice(chain, lmtp=seen.hop.lmtp)), ""
    detail = detail_of(f"trusted: {own(_anchor(chain))}", shown)
    days = _days(chain.leaf.not_after, seen.now) if chain.leaf else 0
    if days < _SOON_DAYS:
        return Task("Certificate", TaskStatus.WARNING, detail, advice.ends_soon(days)), ""
    return Task("Certificate", TaskStatus.SUCCEEDED, detail), ""


def _demands_no_certificate(seen: Seen) -> bool:
    return isinstance(seen.hop.requirement, Opportunistic | Encrypted)


def _anchor(chain: ChainVerdict) -> str:
    return f"the chain leads to {chain.anchor}" if chain.anchor else chain.detail


def _days(until: float, now: float) -> int:
    return math.floor((until - now) / 86400)


def _described(leaf: CertificateFacts, now: float) -> str:
    days = _days(leaf.not_after, now)
    left = f"{quantity(days, 'day')} left" if days >= 0 else f"{quantity(-days, 'day')} ago"
    return detail_of(
        leaf.subject,
        f"issued by {leaf.issuer}",
        f"for the names {describe_names(leaf)}",
        f"{leaf.key}, until {day_text(leaf.not_after)} ({left})",
        f"SHA-1 {leaf.sha1.upper()}",
        f"SHA-256 {leaf.sha256.upper()}",
    )


def _name(seen: Seen) -> _Made:
    chain = seen.chain
    leaf = chain.leaf if chain else None
    if chain is None or leaf is None:
        return Task("Name", TaskStatus.SKIPPED, "there is no certificate with a name"), ""
    requirement = seen.hop.requirement
    required = list(requirement.names) if isinstance(requirement, Authenticated) else []
    presented = f"the certificate is for {describe_names(leaf)}"
    if not required and seen.facts and seen.facts.dane and seen.facts.dane.authenticated:
        return Task("Name", TaskStatus.SKIPPED, detail_of("DANE verifies the server", presented)), ""
    if not required and not seen.hop.server_name:
        return Task("Name", TaskStatus.SKIPPED, detail_of("the next hop is named by its address", presented)), ""
    expected = required or [(seen.hop.host,)]
    borne = [next((name for name in names if matches(name, leaf)), "") for names in expected]
    if all(borne):
        return Task("Name", TaskStatus.SUCCEEDED, f"{' and '.join(borne)} is among the names of the certificate"), ""
    missing = expected[borne.index("")]
    detail = f"expected {' or '.join(missing)}, and {presented}"
    if required:
        return Task("Name", TaskStatus.FAILED, detail, advice.name_advice(missing, chain, lmtp=seen.hop.lmtp)), ""
    return Task("Name", TaskStatus.WARNING, detail_of(detail, "the connector does not ask for a name")), ""


def _revocation(seen: Seen) -> _Made:
    chain, requirement, seconds = seen.chain, seen.hop.requirement, seen.seconds(Step.REVOCATION)
    revocation = chain.revocation if chain else None
    if chain is not None and chain.status in {ChainStatus.REVOKED, ChainStatus.REVOCATION_UNKNOWN}:
        return Task("Revocation", TaskStatus.FAILED, chain.detail, advice.certificate_advice(chain), seconds), ""
    if not isinstance(requirement, Authenticated) or not requirement.anchors:
        return Task("Revocation", TaskStatus.SKIPPED, f"not asked for under {describe(requirement)}"), ""
    if requirement.revocation is RevocationCheck.NONE:
        return Task("Revocation", TaskStatus.SKIPPED, 'the connector has revocation_check = "none"'), ""
    if revocation is None:
        return Task("Revocation", TaskStatus.SKIPPED, "not checked: this check cannot look up the status of chains"), ""
    if revocation.status == "unknown":
        return Task("Revocation", TaskStatus.WARNING, revocation.text, advice.revocation_advice(), seconds), ""
    return Task("Revocation", TaskStatus.SUCCEEDED, revocation.text, seconds=seconds), ""


def _requiretls(seen: Seen) -> list[Task]:
    """Only a message can ask for it (RFC 8689), so most checks have nothing to say of it."""
    requirement = seen.hop.requirement
    if not isinstance(requirement, Authenticated) or not requirement.requiretls:
        return []
    if seen.facts is None or seen.facts.tls is None:
        return [Task("REQUIRETLS", TaskStatus.SKIPPED, "it counts only after STARTTLS, which was not reached")]
    if seen.facts.requiretls_offered:
        return [Task("REQUIRETLS", TaskStatus.SUCCEEDED, "offered after STARTTLS")]
    return [Task("REQUIRETLS", TaskStatus.FAILED, "not offered after STARTTLS", advice.REQUIRETLS)]


def _log_in(seen: Seen) -> list[Task]:
    """Only of connectors that log in to their smart hosts."""
    login, failure = seen.hop.options.login, seen.failure
    if login is None:
        return []
    if failure is not None and failure.login is not None:
        return [Task("Log in", TaskStatus.FAILED, failure.detail, advice.LOG_IN, seen.seconds(Step.LOGIN))]
    if failure is not None:
        return [Task("Log in", TaskStatus.SKIPPED, "the secret is sent only once all else succeeded")]
    mechanism = next((line.split()[2] for line in seen.transcript if line.startswith("> AUTH ")), "")
    detail = f"as {login.authentication.username} with {mechanism}"
    return [Task("Log in", TaskStatus.SUCCEEDED, detail, seconds=seen.seconds(Step.LOGIN))]


_MAKERS: dict[str, Callable[[Seen], _Made]] = {
    "Connect": _connect,
    "EHLO": _ehlo,
    "STARTTLS": _starttls,
    "TLS handshake": _handshake,
    "Certificate": _certificate,
    "Name": _name,
    "Revocation": _revocation,
}
