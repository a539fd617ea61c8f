"""Make the resolver that the settings ask for, for workers and for every command that needs DNS.

Called by `node.assembly`, `checks` and, before the first worker is forked, by `manage.cli.serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.unbound import UnboundError, load
from gatepost.net.lookups.validator import Validator, ValidatorError, read_anchors
from gatepost.settings.model import Dns, DnsValidation

if TYPE_CHECKING:
    from gatepost.net.lookups.question import DnsTransport


def configured_resolver(settings: Dns) -> Resolver:
    """Made as the settings say; call it where the event loop runs, and close it in the end.

    Raises ValidatorError if it cannot validate as it is to, ValueError if a nameserver cannot be parsed.
    """
    return Resolver(_asker(settings))


def check_validation(settings: Dns) -> None:
    """Whether a resolver could be made, without making one. Raises ValidatorError."""
    if settings.validation is not DnsValidation.LOCAL:
        return
    try:
        load()
    except UnboundError as error:
        raise ValidatorError(str(error)) from None
    read_anchors(settings.trust_anchor_file)


def _asker(settings: Dns) -> DnsTransport:
    match settings.validation:
        case DnsValidation.NAMESERVER:
            return Nameservers(
                settings.nameservers,
                timeout=settings.timeout,
                attempts=settings.attempts,
                trust_ad=settings.trust_ad,
                trusted=settings.trusted,
            )
        case DnsValidation.LOCAL:
            # Only configured ones: the default is the place of a resolver that this one stands in for.
            named = settings.nameservers if "nameservers" in settings.written else ()
            return Validator(named, settings.trust_anchor_file, timeout=settings.timeout * settings.attempts)
