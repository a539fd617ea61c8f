"""The root stores that a certificate is checked against: this machine's, Mozilla's, and a named one.

Used by `analysis.checks.chain` and `analysis.checks.roots`. Mozilla's list is the copy that the distribution's
ca-certificates package holds beside the store in force: an administrator may take roots out of the store, not out of it
(docs/decisions).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from gatepost.analysis.checks.chain_facts import Store
from gatepost.net.anchors import SYSTEM, AnchorsError, TrustAnchors

OWN: Final = "this machine's store"
MOZILLA: Final = "Mozilla's list"
_MOZILLA_FOLDER: Final = Path("/usr/share/ca-certificates/mozilla")  # Debian, Ubuntu, Alpine


class RootStores(msgspec.Struct, frozen=True):
    """anchors: what is trusted here, and its name for sentences. A store that cannot be read is the reason instead."""

    name: str
    anchors: TrustAnchors
    system: TrustAnchors | str
    mozilla: TrustAnchors | str

    @classmethod
    def load(cls, anchors: str = SYSTEM, mozilla: Path = _MOZILLA_FOLDER) -> RootStores:
        """Read them. anchors: "system", a file or a directory. Raises AnchorsError if that cannot be used."""
        system = _loaded(SYSTEM)
        listed: TrustAnchors | str = f"{mozilla} is not on this machine"
        if mozilla.is_dir():
            listed = _loaded(str(mozilla))
        if anchors != SYSTEM:
            return cls(anchors, TrustAnchors.load(anchors), system, listed)
        if isinstance(system, str):
            raise AnchorsError(system)
        return cls(OWN, system, system, listed)

    @property
    def is_given(self) -> bool:
        """Whether a store other than this machine's decides."""
        return self.name != OWN

    def named(self) -> Iterator[tuple[str, TrustAnchors | str]]:
        """All of them: this machine's, Mozilla's, the given one."""
        yield OWN, self.system
        yield MOZILLA, self.mozilla
        if self.is_given:
            yield self.name, self.anchors

    def certificates(self) -> tuple[bytes, ...]:
        """Everything that is in some store, DER."""
        return tuple(der for _, store in self.named() if isinstance(store, TrustAnchors) for der in store.certificates)

    def holding(self, der: bytes) -> tuple[Store, ...]:
        """The stores, each with whether it holds a certificate."""
        return tuple(
            Store(name, missing=store) if isinstance(store, str) else Store(name, der in store, len(store))
            for name, store in self.named()
        )

    def is_private(self, der: bytes) -> bool:
        """Whether a root is trusted here and not by the whole world: it may name addresses of our own network."""
        public = isinstance(self.system, TrustAnchors) and der in self.system
        return self.is_given and der in self.anchors and not public


def _loaded(spec: str) -> TrustAnchors | str:
    try:
        return TrustAnchors.load(spec)
    except AnchorsError as failure:
        return str(failure)
