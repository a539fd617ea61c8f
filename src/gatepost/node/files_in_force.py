"""The files that resources and `tls.trust_anchors` name, as they were when they could be read last.

Made by `node.lookups`, one for a worker, and used by whatever needs what is in them. A file that breaks while the
worker runs takes nothing away: what it held stays in force, and `node.assembly` reads no file again until all can be
used that could be before. Certificates of the settings and of the inventory are with `node.certificate_manager`.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import msgspec

from gatepost.analysis.checks.named_files import (
    ANCHORS,
    CERTIFICATE,
    KEY,
    UNUSABLE,
    Content,
    NamedFile,
    Source,
    misfit,
    named_files,
    read_source,
)
from gatepost.net.anchors import SYSTEM, TrustAnchors
from gatepost.policy.connectors.trust_anchors import is_pem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gatepost.net.identity import ServerIdentity
    from gatepost.policy.connectors.records import Organization


_WRITTEN: Final = 64  # trust anchors that are kept of those that resources have as PEM, which changes only with them
_SYSTEM: Final = (ANCHORS, SYSTEM)


class UnusableFiles(Exception):  # noqa: N818 - it names what was found
    """Files cannot be used that could be before; a line for each, with the reason. No secret is in it."""


class FileReading(msgspec.Struct, frozen=True):
    """The contents of files. named: all that are named, with the resources that do, which are none for the settings."""

    named: Mapping[Source, tuple[NamedFile, ...]]
    contents: Mapping[Source, Content]


class FilesInForce:
    """server: `tls.trust_anchors`. What could not be read yet is read each time that it is needed, until it can be."""

    def __init__(self, server: str) -> None:
        self._server = (ANCHORS, server)
        self._named: Mapping[Source, tuple[NamedFile, ...]] = {}
        self._contents: dict[Source, Content] = {}
        self._written = lru_cache(_WRITTEN)(TrustAnchors.load)

    def anchors(self, name: str) -> TrustAnchors:
        """Trust anchors by their name: "system", a FILE, a DIR, or PEM. Raises AnchorsError."""
        return self._written(name) if is_pem(name) else cast("TrustAnchors", self._content((ANCHORS, name)))

    def identity(self, chain: str, key: str) -> ServerIdentity:
        """A client certificate with its key. Raises IdentityError."""
        return cast("ServerIdentity", self._content((CERTIFICATE, chain, key)))

    def key(self, path: Path) -> bytes:
        """A private key of DKIM. Raises CertificateFileError."""
        return cast("bytes", self._content((KEY, str(path))))

    def newly_named(self, organizations: Iterable[Organization]) -> FileReading:
        """The files that these resources are the first to name, if they can be read, for `use`. For a thread."""
        named = self._all_named(organizations)
        contents = {}
        for source in named:
            if source in self._contents or source == _SYSTEM != self._server:
                continue
            with suppress(*UNUSABLE):  # whoever needs it says so, and an alarm
                contents[source] = read_source(source)
        return FileReading(named, contents)

    def use(self, reading: FileReading) -> None:
        """These resources are in force: forget what nothing names any more."""
        known = {**reading.contents, **self._contents}
        self._named = reading.named
        self._contents = {source: content for source, content in known.items() if source in reading.named}

    def read_again(self) -> FileReading:
        """The files as they are now, for `renew`. For a thread. Raises UnusableFiles."""
        contents, lost = {}, []
        for source, users in self._named.items():
            before = self._contents.get(source)
            if before is None and source == _SYSTEM:
                continue  # nobody needed it so far, and it is large
            try:
                contents[source] = now = read_source(source)
                why = misfits(now, users) if now != before else ""
            except UNUSABLE as failure:
                why = str(failure)
            if why and before is not None:
                lost.append(f"{users[0].path if users else 'tls.trust_anchors'}: {why}")
        if lost:
            raise UnusableFiles("\n".join(lost))
        return FileReading(self._named, contents)

    def renew(self, reading: FileReading) -> None:
        """From now on these contents count."""
        self._contents |= {source: content for source, content in reading.contents.items() if source in self._named}

    def _all_named(self, organizations: Iterable[Organization]) -> dict[Source, tuple[NamedFile, ...]]:
        """The system's bundle is always among them: what names it is not told."""
        named: dict[Source, tuple[NamedFile, ...]] = {self._server: (), _SYSTEM: ()}
        for user in named_files(organizations):
            if (source := user.source) and not is_pem(user.anchors):
                named[source] = (*named.get(source, ()), user)
        return named

    def _content(self, source: Source) -> Content:
        """Raises one of UNUSABLE."""
        content = self._contents.get(source)
        if content is None:
            content = read_source(source)
            if source in self._named:
                self._contents[source] = content
        return content


def misfits(content: Content, users: Iterable[NamedFile]) -> str:
    """Why what a file holds is not what one of its users needs, "" if all can use it."""
    return next(filter(None, (misfit(content, user) for user in users)), "")
