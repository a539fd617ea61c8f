"""Open the site's records for the `site` commands, and end a command that cannot do its work."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, fail
from gatepost.manage.cli.output import ours
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.pki.site.records import JoinRefused, SiteError, SiteRefusal, SiteUnreachable
from gatepost.pki.site.store import SiteStore
from gatepost.policy.connectors.names import domain_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Settings


@contextmanager
def opened(settings: Settings, *, keys: bool = True) -> Iterator[SiteStore]:
    """The records of a data directory; ends the command, with what to do, if something of it cannot be used.

    keys: whether the master key is needed, which not everybody may read who may look.
    """
    if keys and not settings.store.master_key:
        fail(
            BAD_INPUT,
            "store.master_key is not set, and keys of a site are stored only sealed; set it (docs/certificates.md)",
        )
    try:
        with store_and_vault(Gateway(settings), keys=keys) as (store, vault):
            yield SiteStore(store, vault, settings.server)
    except SiteUnreachable as failure:
        fail(UNKNOWN, str(failure))
    except JoinRefused as refused:
        fail(UNKNOWN if refused.reason in {SiteRefusal.BUSY, SiteRefusal.EARLY} else NO, str(refused))
    except SiteError as error:
        fail(BAD_INPUT, str(error))


def checked_host(option: str, text: str) -> str:
    """A host name as certificates have it; ends the command if it is none."""
    try:
        return domain_name(text)
    except ValueError as error:
        fail(BAD_INPUT, f"{option}: {ours(str(error))}")
