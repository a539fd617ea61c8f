"""The resolver of whoever asks the DNS for an administrator, as a worker would ask; and whether anybody answers it."""

from __future__ import annotations

import asyncio
import time
from threading import Lock
from typing import TYPE_CHECKING, Final

from gatepost.manage.use_cases.listener_checks import ServiceStatus
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.net.lookups.configured import configured_resolver
from gatepost.settings.model import DnsValidation

if TYPE_CHECKING:
    from gatepost.net.lookups.dns import Resolver
    from gatepost.settings.model import Settings


_PATIENCE: Final = 5.0  # seconds for a look
_FRESH: Final = 2.0  # seconds for which a look is good enough


class ResolverCheck:
    """Whether the nameservers of the settings answer this process. For any thread that runs no event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._looked = float("-inf")
        self._found = ServiceStatus("", ok=False, detail="")

    def run(self) -> ServiceStatus:
        """Ask, unless somebody just did. Raises nothing for what they answer."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH:
                self._found = self._run()
                self._looked = time.monotonic()
            return self._found

    def _run(self) -> ServiceStatus:
        dns = self._settings.dns
        named = "nameservers" in dns.written or dns.validation is not DnsValidation.LOCAL
        name = ", ".join(dns.nameservers) if named else "root servers"
        try:
            trouble = asyncio.run(self._trouble())
        except TimeoutError:
            trouble = f"no answer within {_PATIENCE:g} s"
        except Refusal as refusal:
            trouble = refusal.text
        return ServiceStatus(name, ok=not trouble, detail=trouble or "answers")

    async def _trouble(self) -> str:
        async with asyncio.timeout(_PATIENCE), resolver_of(self._settings) as resolver:
            return await resolver.trouble(self._settings.server.hostname)


def resolver_of(settings: Settings) -> Resolver:
    """Made of the settings where the event loop runs, to be closed. Raises Refusal (INPUT) if none can be made."""
    try:
        return configured_resolver(settings.dns)
    except ValueError as error:  # ValidatorError is one
        raise Refusal(RefusalKind.INPUT, f"[dns]: {error}") from error
