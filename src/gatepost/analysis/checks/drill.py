"""Play an attacker against one outbound connector, through the code that delivers, and measure what left.

Called by `manage.use_cases.drills`. `mail.outbound.deliverer.Deliverer` runs with the real planner, opener, contexts,
pool and policy. Three things stand in place of the world: every name resolves to loopback, every connection leads to a
`analysis.checks.adversary`, and the drill's own authority stands for the trust anchors, so that a good certificate
exists.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import dns.rdata

from gatepost.analysis.checks.adversary import Adversary, Publisher, Seen, StartTls
from gatepost.analysis.checks.attacks import ATTACKER, Attack, DrillPki, Shown, attacks, control
from gatepost.analysis.checks.drill_context import DrillContext, DrillImpossible, make_context
from gatepost.analysis.checks.drill_report import Attempt, DrillReport, Played
from gatepost.mail.model.delivery_result import Disposition, RecipientResult
from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.outbound.connection import OutboundConnection, SmtpTimeouts
from gatepost.mail.outbound.contexts import ClientContexts
from gatepost.mail.outbound.deliverer import Deliverer
from gatepost.mail.outbound.delivery_services import DeliveryServices
from gatepost.mail.outbound.hop import Hop, HopOpener
from gatepost.mail.outbound.login import require_proof
from gatepost.mail.outbound.mailbox import Maildirs
from gatepost.mail.outbound.pool import ConnectionPool
from gatepost.net import dial
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus, Resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.revocation import RevocationChecker
from gatepost.pki.certificates.clients import stored_client_identities
from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.mail.outbound.hop_options import SmartHostLogin
    from gatepost.net.stream import Stream
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import Organization, OutboundConnector
    from gatepost.policy.decisions.requirement import Verdict
    from gatepost.settings.model import Settings
    from gatepost.store.interface import Store


_SECONDS: Final = 14.0  # for the whole drill
_AT_ONCE: Final = 4
_ATTEMPTS: Final = 2  # what may leave only on a later attempt leaves on the second
_STEP: Final = 4.0
_TIMEOUTS: Final = SmtpTimeouts(**dict.fromkeys(SmtpTimeouts.__struct_fields__, _STEP) | {"recipient": 0.1})
_LOOPBACK: Final = "127.0.0.1"
_ANYWHERE: Final = AddressPolicy.of(("0.0.0.0/0", "::/0"))  # nothing leaves this machine: see `connect`


async def run_drill(
    settings: Settings, directory: Directory, organization: Organization, connector: OutboundConnector
) -> DrillReport:
    """The control, then every attack. Raises DrillImpossible; ends within 15 seconds.

    directory: the stored resources. organization, connector: out of it; the connector may be disabled or in rehearsal.
    """
    marker = secrets.token_hex(8)
    context = make_context(directory, organization, connector, profile=settings.tls.profile, marker=marker)
    context, anchors = _with_own_anchors(context, settings.tls.trust_anchors)
    at = time.time()
    try:
        async with asyncio.timeout(_SECONDS), Publisher() as publisher:
            pki = DrillPki(publisher, context.demand.key)
            stage = _Stage(settings, context, pki, marker, asyncio.Semaphore(_AT_ONCE))
            first, played = await _play(stage)
            anchors["drill"] = stage.pki.anchors.identity
            return _meaning(DrillReport(context, at, marker, anchors, first, bool(played), played))
    except TimeoutError as failure:
        detail = f"the drill did not end within {_SECONDS:g} s; try again when the machine is less busy"
        raise DrillImpossible(detail) from failure
    except OSError as failure:
        raise DrillImpossible(f"the drill cannot listen on {_LOOPBACK}: {failure}") from failure


def _meaning(report: DrillReport) -> DrillReport:
    """The report. Raises DrillImpossible if it would say that attacks were held which did not take place."""
    if report.passed and report.void:
        first = report.void[0]
        titles = ", ".join(scenario.attack.title for scenario in report.void)
        detail = f"not carried out: {titles}; the delivery ended before that point: {first.decisive.reply}"
        raise DrillImpossible(f"{detail}; try again when the machine is less busy")
    return report


def _with_own_anchors(context: DrillContext, usual: str) -> tuple[DrillContext, dict[str, str]]:
    """The trust anchors that the drill's own stand in for: SHA-256 by name, and a note if they cannot be read."""
    found: dict[str, str] = {}
    notes: list[str] = []
    for name in {anchor or usual for anchor in getattr(context.requirement, "anchors", ())}:
        try:
            found[name] = TrustAnchors.load(name).identity
        except AnchorsError as error:
            found[name] = ""
            notes.append(f"the connector's own trust anchors cannot be read, REAL MAIL WAITS: {error}")
    return replace(context, notes=(*context.notes, *notes)), found


async def _play(stage: _Stage) -> tuple[Played, tuple[Played, ...]]:
    """The control and the attacks; none if the control did not arrive."""
    shown = [(attack, stage.pki.show(attack.credential, stage.context.names)) for attack in _cast(stage.context)]
    first = await stage.play(*shown[0])
    attempt = first.decisive
    if not attempt.delivered or stage.marker.encode() not in attempt.seen.content:
        return first, ()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stage.play(attack, presented)) for attack, presented in shown[1:]]
    return first, tuple(task.result() for task in tasks)


def _cast(context: DrillContext) -> list[Attack]:
    """The control first. All certificates are made before anything is played, so that revocations are published."""
    chosen = attacks(context.demand)
    if context.connector.implicit_tls:  # no STARTTLS that an attacker could take away, refuse, or answer twice
        chosen = [attack for attack in chosen if attack.starttls in {StartTls.GIVEN, StartTls.BROKEN}]
    return [control(), *chosen]


@dataclass(frozen=True, slots=True)
class _Stage:
    """The common parts of all attacks of a drill. slots: the number of attacks at one time."""

    settings: Settings
    context: DrillContext
    pki: DrillPki
    marker: str
    slots: asyncio.Semaphore

    async def play(self, attack: Attack, shown: Shown) -> Played:
        """Deliver to an adversary of its own, twice unless the message left at once: an attacker can wait."""
        marker = self.marker.encode()
        implicit = self.context.connector.implicit_tls
        adversary = Adversary(attack.starttls, shown.context(attack), marker=marker, implicit=implicit)
        attempts: list[Attempt] = []
        async with self.slots, adversary, AsyncExitStack() as stack:
            deliverer, pool = self._deliverer(attack, adversary, stack)
            for number in range(1, _ATTEMPTS + 1):
                outcome = await deliverer.deliver(self._delivery(number))
                pool.close()
                (result,) = outcome.results
                attempts.append(_attempt(number, result, await adversary.take()))
                if attempts[-1].delivered or attempts[-1].seen.leaked:
                    break
        return Played(attack, attack.promise(self.context.demand), shown.facts, tuple(attempts))

    def _deliverer(
        self, attack: Attack, adversary: Adversary, stack: AsyncExitStack
    ) -> tuple[Deliverer, ConnectionPool]:
        settings, hostname = self.settings, self.settings.server.hostname

        async def connect(host: str, port: int, *, timeout: float, policy: object) -> Stream:  # noqa: ASYNC109 - as in net.dial
            del host, port, policy  # wherever the way leads, the adversary sits on it
            return await dial.connect(_LOOPBACK, adversary.port, timeout=timeout)

        identity = partial(stored_client_identities, settings)
        contexts = ClientContexts(
            settings.tls.trust_anchors, time.time, load=lambda _spec: self.pki.anchors, identity=identity
        )
        # Lists are published under an address, so that this resolver is never asked.
        revocation = RevocationChecker(HttpClient(Resolver(Nameservers([_LOOPBACK]))), None, timeout=_STEP)
        stack.push_async_callback(revocation.close)
        maildirs = Maildirs(Path(settings.server.data_dir) / "maildir", hostname, time.time)
        stack.callback(maildirs.close)
        pool = ConnectionPool()
        stack.callback(pool.close)
        opener = HopOpener(hostname, contexts, _TIMEOUTS, connect, revocation=revocation, tenants=_ANYWHERE)
        opener.logins = _MadeUpLogins()
        services = DeliveryServices(
            cast("Store", None),  # asked for bodies that are not in memory: this one is
            MailRouter(_Names(redirected=attack.redirected), random.Random(0)),  # noqa: S311 - an order, no secret
            maildirs,
            contexts,
            opener,
            pool,
            profile=settings.tls.profile,
        )
        return Deliverer(self.context.directory, services), pool

    def _delivery(self, number: int) -> Delivery:
        """The same message each time; it differs from any other of the world by its marker."""
        context = self.context
        body = (
            f"From: <{context.sender}>\r\nTo: <{context.recipient}>\r\nSubject: gatepost drill {self.marker}\r\n"
            f"Message-ID: <{self.marker}@drill.invalid>\r\n\r\n"
            f"The content of a drill ({self.marker}). Nobody but the control must ever see this line.\r\n"
        ).encode()
        message = Message(1, context.organization, time.time(), context.sender, len(body), message_id=self.marker)
        destination = f"{context.organization}/{context.recipient.partition('@')[2]}"
        return Delivery(1, message, destination, [Recipient(context.recipient)], attempts=number - 1, body=body)


def _attempt(number: int, result: RecipientResult, seen: Seen) -> Attempt:
    reply = result.reply.text
    return Attempt(
        number,
        result.disposition is Disposition.DELIVERED,
        reply,
        _word(reply),
        str(result.detail.get("result_type", "")),
        seen,
    )


def _word(reply: str) -> str:
    """Exchange's word in a last error ("UntrustedRoot"), "" if there is none (exchange.md section 7.3)."""
    message = reply.partition("[Message=")[2]
    no_tls = "STARTTLS is required to send mail"
    return no_tls if message.startswith(no_tls) else message.partition(" ")[0]


class _MadeUpLogins:
    """Logs in as deliveries do, with a secret that is none: the connector's own is never read for a drill."""

    async def log_in(self, hop: Hop, login: SmartHostLogin, connection: OutboundConnection, verdict: Verdict) -> None:
        """See `mail.outbound.hop.LoginService`."""
        require_proof(hop, verdict)
        await connection.auth("PLAIN", f"\0{login.authentication.username}\0a made-up password".encode())


class _Names:
    """The DNS as the attacker wants it: every host is at loopback; redirected, every host and MX is the attacker's."""

    def __init__(self, *, redirected: bool) -> None:
        self._redirected = redirected

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        """See `net.lookups.mx.Queries`."""
        match rdtype:
            case "MX":
                host = ATTACKER if self._redirected else f"mx.{name}" if len(name) < 250 else name
                return _answer(rdtype, f"10 {host}.", name)
            case "A" if self._redirected:
                return _answer(rdtype, _LOOPBACK, name, ATTACKER)
            case "A":
                return _answer(rdtype, _LOOPBACK, name)
            case _:
                return DnsAnswer(DnsStatus.NO_DATA, (), False, 0, (name,))


def _answer(rdtype: str, text: str, *names: str) -> DnsAnswer:
    return DnsAnswer(DnsStatus.OK, (dns.rdata.from_text("IN", rdtype, text),), False, 0, names)
