"""Certificates asked for at an ACME authority now: by a command that waits, or behind a page, one run at a time.

Whoever asks, this process or another, asks alone (`acme.issuer.alone`).
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from gatepost.administration.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.access.principal import Principal
    from gatepost.acme.issuer import Issuer
    from gatepost.administration.gateway import Gateway

__all__ = ["Renewal", "RenewalRun", "Renewing", "asking_alone", "check_order", "renew"]

_log = logging.getLogger(__name__)


class Renewal(NamedTuple):
    """What came of one list of names. text: a sentence about the certificate that came, or why none did."""

    names: tuple[str, ...]
    ok: bool
    text: str


def renew(
    gateway: Gateway,
    who: Principal,
    name: str = "",
    *,
    at_once: bool = False,
    staging: str = "",
    heard: Callable[[Renewal], None] | None = None,
) -> list[Renewal]:
    """Ask for the certificates that are due, or for those that bear a name; [] if none is due.

    at_once: also if nothing is due, or a failure is being waited out. staging: address of another authority, with
    which all of it is gone through and nothing kept. heard: told of each as it ends. Raises Refusal: INPUT if ACME is
    off or no certificate shall bear the name, UNREADABLE, also while somebody else asks.
    """
    from gatepost.administration.acme_orders import issuer_of  # noqa: PLC0415 - every command has a gateway, few ask

    done = []
    with issuer_of(gateway, who, staging) as (issuer, hosts), asking_alone(gateway):
        for names in _chosen(issuer, hosts, name, at_once=at_once or bool(staging)):
            done.append(_asked(issuer, names, staging=bool(staging)))
            if heard is not None:
                heard(done[-1])
    return done


def check_order(gateway: Gateway, who: Principal, name: str) -> tuple[str, ...]:
    """The names of the certificate that shall bear a name. Raises Refusal, as `renew`, and asks nobody."""
    from gatepost.administration.acme_orders import issuer_of  # noqa: PLC0415 - as above

    with issuer_of(gateway, who) as (issuer, hosts):
        return _chosen(issuer, hosts, name, at_once=True)[0]


@contextmanager
def asking_alone(gateway: Gateway) -> Iterator[None]:
    """While no other process asks. Raises Refusal (UNREADABLE)."""
    from gatepost.acme.issuer import Busy, alone  # noqa: PLC0415 - as above

    try:
        with alone(gateway.data):
            yield
    except (Busy, OSError) as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def _chosen(issuer: Issuer, hosts: Sequence[str], name: str, *, at_once: bool) -> list[tuple[str, ...]]:
    """The lists of names to ask for."""
    from gatepost.acme.schedule import Step  # noqa: PLC0415 - as above

    lists = [one.names for one in issuer.standing(hosts)]
    if name:
        known = lists
        lists = [names for names in lists if name in names]
        if not lists:
            there = "; ".join(", ".join(names) for names in known) or "none"
            raise Refusal(Kind.INPUT, f"{name!r} is in none of the certificates that there shall be: {there}")
    if at_once:
        return lists
    due = {one.names for one in issuer.due(hosts, time.time()) if one.step is Step.ISSUE}
    return [names for names in lists if names in due]


def _asked(issuer: Issuer, names: tuple[str, ...], *, staging: bool) -> Renewal:
    from gatepost.acme.challenges import AcmeFailed  # noqa: PLC0415 - as above
    from gatepost.acme.duty import outcome  # noqa: PLC0415

    try:
        if staging:
            leaf = issuer.rehearse(names)
            return Renewal(names, ok=True, text=f"issued at {issuer.url} by {leaf.issuer}; nothing of it is kept")
        return Renewal(names, ok=True, text=outcome(issuer.issue(names)))
    except AcmeFailed as failure:
        return Renewal(names, ok=False, text=str(failure))


# ------------------------------------------------------------------------------------------------ behind a page


@dataclass(frozen=True, slots=True)
class RenewalRun:
    """One that was begun on a page. begun, ended: seconds since 1970; ended 0.0 while it runs.

    done: what came of it. error: why it could not be tried.
    """

    names: tuple[str, ...]
    who: str
    begun: float
    ended: float = 0.0
    done: tuple[Renewal, ...] = ()
    error: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it is not over."""
        return not self.ended


class Renewing:
    """Asks on a thread, one run at a time; the last run is kept in memory."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: RenewalRun | None = None

    def last(self) -> RenewalRun | None:
        """That which runs, or the last one since this process began; None if there was none."""
        with self._lock:
            return self._last

    def start(
        self, gateway: Gateway, who: Principal, name: str, told: Callable[[RenewalRun], None]
    ) -> RenewalRun | None:
        """Ask for the certificate that shall bear a name, and return at once; None if one is being asked for.

        told: called on the thread when it has ended. Raises Refusal, as `check_order`.
        """
        names = check_order(gateway, who, name)
        with self._lock:
            if self._last is not None and self._last.is_running:
                return None
            self._last = run = RenewalRun(names, who.name, time.time())
        Thread(target=self._run, args=(gateway, who, name, run, told), name="acme renewal", daemon=True).start()
        return run

    def _run(
        self, gateway: Gateway, who: Principal, name: str, run: RenewalRun, told: Callable[[RenewalRun], None]
    ) -> None:
        try:
            run = replace(run, done=tuple(renew(gateway, who, name, at_once=True)))
        except Refusal as refusal:
            run = replace(run, error=refusal.text)
        except Exception:  # noqa: BLE001 - whatever it was: a page waits for the end
            _log.exception("a certificate could not be asked for")
            run = replace(run, error="it could not be asked for; the gateway's log says why")
        run = replace(run, ended=time.time())
        try:
            told(run)
        except Exception:  # noqa: BLE001 - the certificate is there all the same
            _log.exception("what came of a renewal is not on record")
        with self._lock:
            self._last = run
