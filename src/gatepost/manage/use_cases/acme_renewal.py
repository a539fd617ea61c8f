"""Certificates asked for at an ACME authority now: by a command that waits, or behind a page or call, one at a time.

Whoever asks, this process or another, asks alone (`pki.acme.issuer.alone`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Outcome
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.access.records import Actor
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.acme.issuer import Issuer


_log = logging.getLogger(__name__)

_KEPT: Final = 20  # runs whose end can be asked for


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
    from gatepost.manage.use_cases.acme_orders import issuer_of  # noqa: PLC0415 - every command has a gateway, few ask

    done = []
    with issuer_of(gateway, who, staging) as (issuer, hosts), _asking_alone(gateway):
        for names in _chosen(issuer, hosts, name, at_once=at_once or bool(staging)):
            done.append(_asked(issuer, names, staging=bool(staging)))
            if heard is not None:
                heard(done[-1])
    return done


def forget_account(gateway: Gateway, who: Principal) -> str:
    """Forget the account at the authority, with its key, and what was tried; certificates stay. Returns the authority.

    Raises Refusal: INPUT if ACME is off, UNREADABLE, also while somebody asks.
    """
    from gatepost.manage.use_cases.acme_orders import issuer_of  # noqa: PLC0415 - as above

    with issuer_of(gateway, who) as (issuer, _), _asking_alone(gateway):
        issuer.forget()
        return issuer.url


@contextmanager
def _asking_alone(gateway: Gateway) -> Iterator[None]:
    """While no other process asks. Raises Refusal (UNREADABLE)."""
    from gatepost.pki.acme.issuer import Busy, alone  # noqa: PLC0415 - as above

    try:
        with alone(gateway.data):
            yield
    except (Busy, OSError) as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


def _chosen(issuer: Issuer, hosts: Sequence[str], name: str, *, at_once: bool) -> list[tuple[str, ...]]:
    """The lists of names to ask for."""
    from gatepost.pki.acme.schedule import Step  # noqa: PLC0415 - as above

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
    from gatepost.pki.acme.challenges import AcmeFailed  # noqa: PLC0415 - as above
    from gatepost.pki.acme.duty import outcome  # noqa: PLC0415

    try:
        if staging:
            leaf = issuer.rehearse(names)
            return Renewal(names, ok=True, text=f"issued at {issuer.url} by {leaf.issuer}; nothing of it is kept")
        return Renewal(names, ok=True, text=outcome(issuer.issue(names)))
    except AcmeFailed as failure:
        return Renewal(names, ok=False, text=str(failure))


# ------------------------------------------------------------------------------------------------ behind a page


class Order(NamedTuple):
    """What is to be asked for, as `renew` takes it."""

    name: str = ""
    at_once: bool = False
    staging: str = ""


@dataclass(frozen=True, slots=True)
class RenewalRun:
    """One that was begun on a page or by a call. names: all that the certificates shall bear, () if none is due.

    begun, ended: seconds since 1970; ended 0.0 while it runs. done: what came of it so far. error: why it could not be
    tried. id: to ask for it by.
    """

    names: tuple[str, ...]
    who: str
    begun: float
    ended: float = 0.0
    done: tuple[Renewal, ...] = ()
    error: str = ""
    id: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it is not over."""
        return not self.ended

    @property
    def went_well(self) -> bool:
        """Whether it was tried, and every certificate came."""
        return not self.error and all(one.ok for one in self.done)


class Renewing:
    """Asks on a thread, one run at a time; the last runs are kept in memory. For any thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._runs: OrderedDict[str, RenewalRun] = OrderedDict()

    def last(self) -> RenewalRun | None:
        """That which runs, or the last one since this process began; None if there was none."""
        with self._changed:
            return next(reversed(self._runs.values()), None)

    def find(self, identity: str, seconds: float = 0.0) -> RenewalRun:
        """The run with that id, once it is over or so long was waited. Raises Refusal (MISSING)."""
        with self._changed:
            if identity not in self._runs:
                raise Refusal(Kind.MISSING, f"there is no such run; the last {_KEPT} are kept")
            self._changed.wait_for(lambda: not self._runs[identity].is_running, seconds)
            return self._runs[identity]

    def start(
        self, gateway: Gateway, who: Principal, order: Order, told: Callable[[RenewalRun], None]
    ) -> RenewalRun | None:
        """Ask for certificates, and return at once; None if others are being asked for.

        told: called on the thread when it has ended. Raises Refusal, as `renew`.
        """
        names = _ordered(gateway, who, order)
        with self._changed:
            before = next(reversed(self._runs.values()), None)
            if before is not None and before.is_running:
                return None
            run = RenewalRun(names, who.name, time.time(), id=secrets.token_urlsafe(16))
            self._runs[run.id] = run
            while len(self._runs) > _KEPT:
                self._runs.popitem(last=False)
        Thread(target=self._run, args=(gateway, who, order, run, told), name="acme renewal", daemon=True).start()
        return run

    def _run(
        self, gateway: Gateway, who: Principal, order: Order, run: RenewalRun, told: Callable[[RenewalRun], None]
    ) -> None:
        def heard(one: Renewal) -> None:
            self._keep(replace(self._runs[run.id], done=(*self._runs[run.id].done, one)))

        try:
            renew(gateway, who, order.name, at_once=order.at_once, staging=order.staging, heard=heard)
            run = self._runs[run.id]
        except Refusal as refusal:
            run = replace(self._runs[run.id], error=refusal.text)
        except Exception:  # noqa: BLE001 - whatever it was: a page waits for the end
            _log.exception("a certificate could not be asked for")
            run = replace(self._runs[run.id], error="it could not be asked for; the gateway's log says why")
        run = replace(run, ended=time.time())
        try:
            told(run)
        except Exception:  # noqa: BLE001 - the certificate is there all the same
            _log.exception("what came of a renewal is not on record")
        self._keep(run)

    def _keep(self, run: RenewalRun) -> None:
        with self._changed:
            self._runs[run.id] = run
            self._changed.notify_all()


def begin_renewal(gateway: Gateway, who: Principal, order: Order, accounts: Accounts, by: Actor) -> RenewalRun | None:
    """Begin to ask for certificates behind a page or a call; None if others are being asked for.

    accounts, by: for the audit, written in the end. Raises Refusal: as `renew`, and FORBIDDEN to who may not
    do everything for an authority that neither the settings name nor everybody knows: the gateway goes there.
    """
    _check_authority(gateway, who, order.staging)

    def told(run: RenewalRun) -> None:
        result = run.error or "; ".join(one.text for one in run.done) or "nothing is due"
        detail = {"result": result} | ({"staging": order.staging} if order.staging else {})
        outcome = Outcome.DONE if run.went_well else Outcome.FAILED
        subject = run.names[0] if run.names else order.name
        accounts.record(by, "certificate-renew", outcome=outcome, subject=subject, detail=detail)

    return gateway.renewing.start(gateway, who, order, told)


def _check_authority(gateway: Gateway, who: Principal, url: str) -> None:
    from gatepost.settings.acme import LETS_ENCRYPT_STAGING, acme_directory  # noqa: PLC0415 - as above

    try:
        acme_directory(url)
    except ValueError as error:
        raise Refusal(Kind.INPUT, "Nothing was asked for.", [FieldError("staging", str(error))]) from error
    if url not in {"", LETS_ENCRYPT_STAGING, gateway.settings.acme.directory_url} and Scope.OWNER not in who.scopes:
        text = f"the gateway goes to {url} for nobody but an owner; {LETS_ENCRYPT_STAGING} and the authority of the "
        raise Refusal(Kind.FORBIDDEN, f"{text}settings are for everybody who may change certificates")


def _ordered(gateway: Gateway, who: Principal, order: Order) -> tuple[str, ...]:
    """The names that will be asked for. Raises Refusal, as `renew`, and asks nobody."""
    from gatepost.manage.use_cases.acme_orders import issuer_of  # noqa: PLC0415 - as above

    with issuer_of(gateway, who, order.staging) as (issuer, hosts):
        lists = _chosen(issuer, hosts, order.name, at_once=order.at_once or bool(order.staging))
        return tuple(name for names in lists for name in names)
