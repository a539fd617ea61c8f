"""Compare each new connection with the history of its destination: pass, warn, or hold.

Called by `mail.outbound.deliverer` when a connection is about to carry mail, after policy found it good enough: memory
only ever makes stricter. What is a drop says `policy.decisions.destination_history`; `store.destinations` keeps what
was seen. One look for each connection and destination: over a kept connection it costs a message nothing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from gatepost.mail.outbound.failure import HopFailed, fell_below, local_fault
from gatepost.policy.connectors.values import ProtectionDrop
from gatepost.policy.decisions.destination_history import (
    DestinationName,
    Drop,
    SeenSession,
    classical_still,
    describe_drop,
    drop,
    due_to_warn,
    expected,
    seen,
)
from gatepost.policy.decisions.requirement import MxLevel
from gatepost.policy.decisions.routes import MxRoute, Route, SmartHosts
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Recipient
    from gatepost.mail.outbound.hop import Hop, OpenHop
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.facts import ClassicalOnly
    from gatepost.store.destinations import WorkerDestinations


_log = logging.getLogger(__name__)
_SMTP = 25
_HOSTS = 10_000  # addresses whose handshakes are remembered
_COMPLAIN = 60.0  # seconds between two lines about a memory that cannot be read


def remembered_as(route: Route, organization: str, recipients: Sequence[Recipient]) -> DestinationName | None:
    """The name by which the history of a route's connections is kept for an organization's mail, None for no history.

    Of mail that another organization routes its own one remembers what the domain did.
    """
    if not isinstance(route, SmartHosts | MxRoute):
        return None
    if route.sender is not None:
        address = recipients[0].address
        domain = route.domain if isinstance(route, MxRoute) else address.rpartition("@")[2].lower()
        return DestinationName(organization, domain, "")
    if isinstance(route, SmartHosts):
        return DestinationName(organization, "", route.connector.name)
    return DestinationName(organization, route.domain, route.connector.name if route.connector else "")


def holds_below(directory: Directory, route: Route, organization: str, recipients: Sequence[Recipient]) -> bool:
    """Whether mail of an organization waits where a connection falls short of what is remembered."""
    if not isinstance(route, SmartHosts | MxRoute):
        return False
    owners = [directory.organization(name) for name in {organization, route.connector_owner}]
    holds = any(owner is not None and owner.protection_drop is ProtectionDrop.HOLD for owner in owners)
    return holds and not all(recipient.released for recipient in recipients)


class DestinationMemory:
    """clock: seconds since 1970. dnssec: whether our resolver can tell what DNSSEC proves (see `Resolver.dane_off`)."""

    def __init__(self, store: WorkerDestinations, clock: Callable[[], float], *, dnssec: bool = True) -> None:
        self._store = store
        self._clock = clock
        self._dnssec = dnssec
        self._complained = 0.0
        self._classical: OrderedDict[str, ClassicalOnly | None] = OrderedDict()

    def classical(self, name: DestinationName | None, hop: Hop) -> ClassicalOnly | None:
        """Why a host is to be offered classical groups only, None if it is to be offered all.

        By its address it is the same host for all destinations; what this worker did not see itself stands with the
        destination. A memory that cannot be read costs a handshake that is left unanswered.
        """
        if hop.endpoint in self._classical:
            return classical_still(self._classical[hop.endpoint], self._clock())
        if name is None:
            return None
        try:
            known = self._store.find(name).hosts.get(_label(hop))
        except StoreFailure as failure:
            self._complain(failure)
            return None
        return classical_still(known.classical, self._clock()) if known is not None else None

    def shook_hands(self, opened: OpenHop) -> None:
        """Remember which groups a new connection was offered."""
        if opened.facts.tls is None:
            return
        self._classical[opened.hop.endpoint] = opened.facts.classical
        self._classical.move_to_end(opened.hop.endpoint)
        if len(self._classical) > _HOSTS:
            self._classical.popitem(last=False)

    def lost_proof(self, name: DestinationName, opened: OpenHop) -> bool:
        """Whether DNSSEC proved a destination's MX records before, and now less is proven of them or of the host.

        Compared once a connection, before `recall` does it.
        """
        if name in opened.drops or not self._dnssec:
            return False
        try:
            known = self._store.find(name)
        except StoreFailure:  # `recall` says so
            return False
        wanted, now = expected(known, _label(opened.hop), self._clock()).achieved, opened.verdict.achieved
        return wanted.mx is MxLevel.DNSSEC and (now.mx < wanted.mx or now.tls < wanted.tls)

    def recall(self, name: DestinationName, opened: OpenHop, *, hold: bool) -> Drop | None:
        """The drop of a connection below the history of a destination, None without one.

        hold: whether a drop keeps mail back, and so the memory must be readable. Raises HopFailed if it is not. Without
        hold mail goes on as if nothing was remembered.
        """
        known = opened.drops.get(name, self)
        if known is None or (known is not self and not hold):
            return opened.drops[name]
        # A drop that holds mail is looked at anew each time: an administrator may have accepted it a moment ago.
        try:
            fallen = self._look(name, opened, first=known is self, hold=hold)
        except StoreFailure as failure:
            self._complain(failure)
            if hold:
                why = "what the destination was seen to do cannot be read, and mail is held below it"
                raise HopFailed(local_fault(f"{why}: {failure}").at(opened.hop.host, opened.hop.endpoint)) from failure
            return None
        opened.drops[name] = fallen
        return fallen

    def barred(self, fallen: Drop, opened: OpenHop) -> HopFailed:
        """The failure of a connection that no mail is sent over."""
        failure = fell_below(fallen, opened.facts, opened.verdict, tuple(opened.connection.transcript))
        return HopFailed(failure)

    def _look(self, name: DestinationName, opened: OpenHop, *, first: bool, hold: bool) -> Drop | None:
        remembered, session = self._store.find(name), self._session(opened)
        fallen = drop(remembered, session)
        warn = fallen is not None and due_to_warn(remembered, fallen, session.at)
        if fallen is not None and warn:
            _log.warning(
                "%s of %s protects connections less than before%s. %s `gatepost destination show` says more; `accept`"
                " takes it as it is",
                name,
                name.organization,
                "; mail for it is held" if hold else "",
                describe_drop(fallen),
            )
        if warn or (first and seen(remembered, session) is not remembered):
            self._store.note(name, session, logged=warn)
        return fallen

    def _session(self, opened: OpenHop) -> SeenSession:
        facts = opened.facts
        return SeenSession(
            _label(opened.hop),
            opened.verdict.achieved,
            self._clock(),
            facts.tls.version if facts.tls else "",
            tls_known=facts.tls is None or facts.chain is not None,
            mx_known=self._dnssec,
            classical=facts.classical,
        )

    def _complain(self, failure: StoreFailure) -> None:
        now = self._clock()
        if not self._complained <= now < self._complained + _COMPLAIN:
            self._complained = now
            _log.error("what destinations were seen to do cannot be read: %s", failure)


def _label(hop: Hop) -> str:
    """A host as a destination remembers it: by name, and port unless it is 25."""
    return hop.host if hop.port == _SMTP else f"{hop.host}:{hop.port}"
