"""One gateway as its administrators see it: its settings, its resources, its files. Every function here begins with it.

Made once by a process that answers many (the admin centre), or for one command. May be used by several threads at a
time: what is kept is immutable and swapped whole, and stores are opened by whoever needs one. Everything blocks; call
it on a thread from an event loop.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, overload

from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from gatepost.manage.use_cases.acme_renewal import Renewing
    from gatepost.manage.use_cases.behind import Behind
    from gatepost.manage.use_cases.check_runs import CheckRuns
    from gatepost.manage.use_cases.dns_checks import Sights
    from gatepost.manage.use_cases.listening import Listening
    from gatepost.manage.use_cases.report_counts import ReportCounts
    from gatepost.manage.use_cases.resolving import Resolving
    from gatepost.manage.use_cases.turns import Turns
    from gatepost.manage.use_cases.verdicts import TraceVerdicts
    from gatepost.manage.use_cases.verifying import Verifying
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.logins.throttle import Throttle
    from gatepost.settings.model import Settings
    from gatepost.store.trace_hours import TraceHours


# ruff: noqa: PLC0415 - a part of the gateway is imported when it is first asked for: see `_Part`

_WORTH: Final = 20.0  # an answer that took a second to find is good enough for so many


class _Part[T]:
    """A part of a gateway, made and imported when it is first asked for: a command needs one of them, or none.

    They import half of the program. Threads get the same one.
    """

    def __init__(self, make: Callable[[Gateway], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, gateway: None, owner: type[Gateway]) -> Self: ...
    @overload
    def __get__(self, gateway: Gateway, owner: type[Gateway]) -> T: ...
    def __get__(self, gateway: Gateway | None, owner: type[Gateway]) -> Self | T:
        """Once for each gateway: what is kept in it is found before this."""
        if gateway is None:
            return self
        with gateway.making:
            kept = vars(gateway)
            if self._name not in kept:
                kept[self._name] = self._make(gateway)
            made: T = kept[self._name]
            return made


class Gateway:
    """settings: of the server. data: its data directory. making: held while one of its parts is made."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = Path(settings.server.data_dir)
        self.making = RLock()
        self._directory: Directory | None = None

    @_Part
    def verdicts(self) -> TraceVerdicts:
        """What its connectors did, by the trace."""
        from gatepost.manage.use_cases.verdicts import TraceVerdicts

        return TraceVerdicts(self.data / "trace")

    @_Part
    def counts(self) -> ReportCounts:
        """How mail was protected, by the trace."""
        from gatepost.manage.use_cases.report_counts import ReportCounts

        return ReportCounts(self.data / "trace")

    @_Part
    def hours(self) -> TraceHours:
        """What was traced in each hour."""
        from gatepost.store.trace_hours import TraceHours

        return TraceHours(self.data / "trace")

    @_Part
    def behind(self) -> Behind:
        """Answers that take longer than a page may."""
        from gatepost.manage.use_cases.behind import Behind

        return Behind(self.counts.counting, worth=_WORTH)

    @_Part
    def listening(self) -> Listening:
        """Whether its listeners answer."""
        from gatepost.manage.use_cases.listening import Listening

        return Listening(self.settings)

    @_Part
    def resolving(self) -> Resolving:
        """Whether its nameservers answer."""
        from gatepost.manage.use_cases.resolving import Resolving

        return Resolving(self.settings)

    @_Part
    def checks(self) -> CheckRuns:
        """Checks of partners, as they run."""
        from gatepost.manage.use_cases.check_runs import CheckRuns

        return CheckRuns()

    @_Part
    def gates(self) -> Turns:
        """Turns at looking at the gates of a changeover."""
        from gatepost.manage.use_cases.turns import Turns

        return Turns(4, 2, "other looks at gates are under way: look again when one of them has ended")

    @_Part
    def proofs(self) -> Turns:
        """Turns at looking up TXT records that prove domains."""
        from gatepost.manage.use_cases.turns import Turns

        return Turns(4, 1, "other domains are being looked up: try again when that has ended")

    @_Part
    def proof_lookups(self) -> Throttle:
        """How often one was looked up."""
        from gatepost.policy.logins.throttle import Throttle

        return Throttle(time.monotonic, free=5, longest=300.0)

    @_Part
    def sights(self) -> Sights:
        """What the DNS was seen to say of our own domains."""
        from gatepost.manage.use_cases.dns_checks import Sights

        return Sights()

    @_Part
    def verifying(self) -> Verifying:
        """Of its evidence log."""
        from gatepost.manage.use_cases.verifying import Verifying

        return Verifying(self.data)

    @_Part
    def renewing(self) -> Renewing:
        """Its certificates, by ACME."""
        from gatepost.manage.use_cases.acme_renewal import Renewing

        return Renewing()

    @contextmanager
    def config(self) -> Iterator[ConfigStore]:
        """The configuration store, closed afterwards. Raises Refusal (UNREADABLE) if it cannot be opened or fails."""
        try:
            with closing(ConfigStore(self.data / "config.db")) as store:
                yield store
        except StoreFailure as failure:
            raise Refusal(Kind.UNREADABLE, f"{self.data}: {failure}") from failure

    def directory(self) -> Directory:
        """The resources as they are stored, which a running gateway has in force; parsed once for each version.

        Raises Refusal (UNREADABLE) if they cannot be read, or not be used by this version.
        """
        from gatepost.policy.connectors.grants import STORED_KINDS

        with self.config() as store:
            known = self._directory
            if known is not None and known.version == store.version():
                return known
            return self.understood(store, *store.load(*STORED_KINDS))

    def understood(self, store: ConfigStore, version: int, document: Mapping[str, Any]) -> Directory:
        """The same of what was just read of the store, with its grants.

        Raises Refusal (UNREADABLE) if it cannot be used by this version.
        """
        known = self._directory
        if known is not None and known.version == version:
            return known
        from gatepost.store.directory import stored_directory

        try:
            self._directory = stored_directory(store, version, document, self.settings.limits.prefixes())
        except ResourceErrors as errors:
            text = f"{self.data}: the stored resources cannot be used by this version: {errors}"
            raise Refusal(Kind.UNREADABLE, text) from errors
        return self._directory
