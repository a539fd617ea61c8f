"""Find organizations whose home is not a node of this gateway's site, as far as the node knows.

Called by `manage.use_cases.change` for the warnings of a change. Only the node with the site's authority knows all
nodes; others know that they are in a site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.connectors.records import Organization
    from gatepost.settings.model import Server
    from gatepost.store.changes import ConfigStore


def unknown_homes(store: ConfigStore, server: Server, organizations: Sequence[Organization]) -> Iterator[str]:
    """Yield a sentence for each of the organizations whose mail waits for a home that does not exist.

    server: this node. Raises StoreFailure; site records that cannot be read say nothing here.
    """
    away = [organization for organization in organizations if organization.home not in {"", server.hostname}]
    if not away:
        return
    from gatepost.pki.site.records import SiteError  # noqa: PLC0415 - only homes need what they import
    from gatepost.pki.site.store import SiteStore  # noqa: PLC0415 - as above

    records = SiteStore(store, None, server)
    try:
        is_member, nodes = records.membership() is not None, records.members()
    except SiteError:
        return
    for organization in away:
        label = f"organization {organization.name}: its home is {organization.home}"
        if not is_member:
            yield (
                f"{label}, but this gateway belongs to no site, so its mail waits; join the site of that node, or "
                "clear home"
            )
        elif nodes is not None and organization.home not in nodes:
            yield f"{label}, which is not a node of this site, so its mail waits; name one of gatepost site status"
