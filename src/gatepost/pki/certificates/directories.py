"""Watched directories: find pairs of chain and key that other programs keep there.

Registered by `gatepost certificate add --directory`, read by `pki.certificates.watch`. Only their paths are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.store.changes import ConfigStore


_KIND: Final = "certificate_directory"
_MOST: Final = 200
_CERTBOT: Final = ("fullchain.pem", "privkey.pem")
_CHAINS: Final = frozenset({".pem", ".crt", ".cer"})


class WatchedDirectories:
    """store: where they are registered, with who did it."""

    def __init__(self, store: ConfigStore) -> None:
        self._store = store

    def paths(self) -> list[Path]:
        """Those that are registered, in the order of their names."""
        _, document = self._store.load(_KIND)
        return [Path(name) for name in sorted(document.get(_KIND, {}))]

    def add(self, path: Path, *, author: str, note: str = "") -> int:
        """Register one; its pairs are taken up within seconds. Returns the version. Raises StoreFailure."""
        return self._store.apply({_KIND: {str(path): {}}}, author=author, note=note)

    def remove(self, path: Path, *, author: str, note: str = "") -> int:
        """Look there no more; what was taken up stays. Raises StoreFailure."""
        return self._store.apply({_KIND: {str(path): None}}, author=author, note=note)


def pairs_in(directory: Path) -> list[tuple[Path, Path]]:
    """Chain and key of each certificate in a directory, at most 200. Raises OSError if it cannot be listed.

    Known are certbot's layout (fullchain.pem and privkey.pem, here or in a directory below, such as live/NAME) and
    files of one name: NAME.pem, NAME.crt or NAME.cer beside NAME.key.
    """
    names = sorted(directory.iterdir())
    pairs = [*_certbot(directory), *(pair for name in names if name.is_dir() for pair in _certbot(name))]
    for key in names:
        if key.suffix == ".key":
            chains = [name for name in names if name.stem == key.stem and name.suffix in _CHAINS]
            pairs += [(chain, key) for chain in chains[:1]]
    return pairs[:_MOST]


def _certbot(directory: Path) -> Iterator[tuple[Path, Path]]:
    chain, key = (directory / name for name in _CERTBOT)
    if chain.exists() and key.exists():
        yield chain, key
