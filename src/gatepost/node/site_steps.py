"""The changes of a site's records that a process may ask for: a node's renewal, one that joins, and what has expired.

Called by `node.config_judge`. `pki.site` makes these changes; here is what they may be, as a process that was taken
over may ask for others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.decoding import converted
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.pki.site.membership import checked_grant
from gatepost.pki.site.records import Membership, Node, NodeGrant, SiteError, SiteState
from gatepost.pki.site.site import REPEAT_SECONDS, SKEW_SECONDS, Site, least_pause
from gatepost.pki.site.store import AUTHORITY, KINDS, MEMBERSHIP, NODE, TOKEN, SiteStore, membership_places
from gatepost.store.config_requests import RequestDenied

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore

    type Documents = Mapping[str, Mapping[str, dict[str, Any] | None]]
    type Contents = Mapping[str, bytes | None]


_NAME: Final = 255  # characters of a node's name
_DIGITS: Final = 64  # of a SHA-256 thumbprint
_LEAST_PAUSE: Final = 0.5  # seconds, of the shortest lifetime that settings allow


def is_of_site(kinds: Collection[str], contents: Contents) -> bool:
    """Whether a request changes records of the site, or removes an authority's key."""
    if not kinds:
        return bool(contents) and all(place.startswith(f"{AUTHORITY}/") for place in contents)
    return set(kinds) <= set(KINDS)


def _are_times(*times: float) -> bool:
    """JSON has no NaN and no infinity: the record could not be read again."""
    return all(map(math.isfinite, times))


class SiteSteps:
    """store, vault: of the gateway. now: seconds since 1970."""

    def __init__(self, settings: Settings, store: ConfigStore, vault: Vault | None, now: float) -> None:
        self._hostname = settings.server.hostname
        self._pause = least_pause(settings.site.node_lifetime)
        self._records = SiteStore(store, vault, settings.server)
        self._vault = vault
        self._now = now

    def check(self, documents: Documents, contents: Contents, *, for_nodes: bool) -> None:
        """Raise RequestDenied for what is no such change. for_nodes: the process gives nodes their certificates."""
        try:
            state = self._records.state()
            allowed = (
                self._is_join(documents, contents, state) if for_nodes else self._is_own(documents, contents, state)
            )
        except (SiteError, VaultError, msgspec.MsgspecError) as error:
            raise RequestDenied(str(error)) from error
        if not allowed:
            raise RequestDenied(f"records of the site do not change so: {', '.join(sorted(documents))}")

    def _is_join(self, documents: Documents, contents: Contents, state: SiteState) -> bool:
        """One node renews, or joins with a token, which is used up."""
        nodes, tokens = documents.get(NODE, {}), documents.get(TOKEN, {})
        if contents or set(documents) - {NODE, TOKEN} or len(nodes) != 1 or not state.authorities:
            return False
        ((name, document),) = nodes.items()
        if not tokens:
            return name in state.nodes and self._is_renewed(name, document, state)
        return len(tokens) == 1 and self._is_used(name, tokens, state) and self._is_entered(name, document, state)

    def _is_used(self, name: str, tokens: Mapping[str, dict[str, Any] | None], state: SiteState) -> bool:
        ((number, after),) = tokens.items()
        token = state.tokens.get(number)
        if token is None or after is not None or token.expires <= self._now:
            return False
        return token.node == name or (not token.node and not state.is_taken(name, self._now))

    def _is_entered(self, name: str, document: dict[str, Any] | None, state: SiteState) -> bool:
        """The record of a node begins, also of one that is known, as its certificate has expired."""
        after = self._certified(name, document, state)
        return after is not None and len(after.thumbprints) == 1 and abs(after.joined - self._now) <= SKEW_SECONDS

    def _is_renewed(self, name: str, document: dict[str, Any] | None, state: SiteState) -> bool:
        """The record of a node has a new certificate, and one that it had as the one before it."""
        after, before = self._certified(name, document, state), state.nodes.get(name)
        if after is None:
            return False
        if before is None:
            return len(after.thumbprints) == 1
        repeated = after.admission != "" and self._now - before.joined < REPEAT_SECONDS
        was_ahead = before.renewed > self._now + SKEW_SECONDS
        if not repeated and not was_ahead and after.renewed - before.renewed < self._pause:
            return False
        if after.admission not in {"", before.admission}:
            return False
        is_next = len(after.thumbprints) == 2 and after.thumbprints[1] in before.thumbprints
        return is_next and after.joined == before.joined

    def _certified(self, name: str, document: dict[str, Any] | None, state: SiteState) -> Node | None:
        """The record of a node with a certificate of just now, None if it is none."""
        if document is None:
            return None
        node = converted(document, Node)
        texts = {*node.thumbprints, node.admission}
        is_one = (
            node.name == name
            and len(name) <= _NAME
            and _are_times(node.joined, node.renewed, node.not_after)
            and abs(node.renewed - self._now) <= SKEW_SECONDS
            and len(node.thumbprints) in {1, 2}
            and all(len(text) <= _DIGITS for text in texts)
            and node.authority in {authority.id for authority in state.authorities}
        )
        return node if is_one else None

    def _is_own(self, documents: Documents, contents: Contents, state: SiteState) -> bool:
        """The record or the membership of this node has a new certificate, or what has expired goes."""
        if set(documents) == {NODE} and set(documents[NODE]) == {self._hostname} and not contents:
            return bool(state.authorities) and self._is_renewed(self._hostname, documents[NODE][self._hostname], state)
        if set(documents) == {MEMBERSHIP}:
            return self._is_membership(documents[MEMBERSHIP], contents, state)
        records, gone = Site(self._records).expired(state, self._now)
        removed = {(kind, name): after for kind, group in documents.items() for name, after in group.items()}
        return removed.items() <= records.items() and contents.items() <= gone.items()

    def _is_membership(
        self, documents: Mapping[str, dict[str, Any] | None], contents: Contents, state: SiteState
    ) -> bool:
        """The node has a new certificate of its site, which leads to the roots that came with it.

        Whether those are the site's can only be known to the process that asked it, or where the authority is kept.
        """
        name, before = self._records.name, self._records.kept_under()
        known = self._records.membership()
        is_first = known is None or known.node != self._hostname
        member, document = self._first(state) if is_first else known, documents.get(name)
        others = {number: after for number, after in documents.items() if number != name}
        if member is None or document is None or others != ({} if before == name else {before: None}):
            return False
        after = converted(document, Membership)
        if (after.site, after.node, after.address) != (member.site, member.node, member.address):
            return False
        if len(after.sha256) > _DIGITS or not _are_times(after.issued, after.not_after):
            return False
        places = membership_places(name)
        key, certificate, roots = (contents.get(place) or b"" for place in places)
        gone = {} if before == name else dict.fromkeys(membership_places(before))
        pause = max(_LEAST_PAUSE, least_pause(member.not_after - member.issued))
        if member.issued <= self._now + SKEW_SECONDS and after.issued - member.issued < pause:
            return False
        if is_first and roots != Site(self._records).roots_pem(state):
            return False
        is_whole = contents == gone | dict(zip(places, (key, certificate, roots), strict=True))
        return (
            is_whole and abs(after.issued - self._now) <= SKEW_SECONDS and self._is_good(after, key, certificate, roots)
        )

    def _first(self, state: SiteState) -> Membership | None:
        """Of a node that certifies itself: in a database that it shares, or by another name than before."""
        known = self._records.membership()
        is_elsewhere = known is not None and known.address != ""
        is_ours = self._records.store.is_shared or known is not None
        if is_elsewhere or not is_ours or self._hostname not in state.nodes or not state.authorities:
            return None
        return Membership(state.authorities[0].site, self._hostname, "", "", 0.0, 0.0)

    def _is_good(self, member: Membership, key: bytes, certificate: bytes, roots: bytes) -> bool:
        """Whether a certificate is for the node and its sealed key. Raises SiteError, VaultError."""
        if self._vault is None:
            return False
        grant = NodeGrant(member.site, certificate, roots)
        place, _, _ = membership_places(self._records.name)
        checked_grant(grant, self._vault.open(key, place), member.node, self._now)
        return True
