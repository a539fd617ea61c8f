"""Load the service's certificates from files, and refuse bad ones with a reason before the port opens; write some.

The inventory with its states (next, current, deprecated) builds on this; here a file is either usable or it is not.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import secrets
import shlex
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.net.named_files import open_to_read
from gatepost.protocols.tls.token_uri import is_token_uri

_MOST: Final = 1 << 20  # octets of a chain, or of a key
_FAILED_SECONDS: Final = 60.0  # that a file which could not be read is not opened by an event loop
_GONE: Final = (errno.ENOENT,) * 2  # the stamp of a pair that is not there
_TICK: Final = 20_000_000  # nanoseconds, twice as long as two changes of a file may have the same time


class CertificateFileError(Exception):
    """A certificate or key file cannot be used; the text says which, why, and what to do."""


class OtherCertificate(CertificateFileError):  # noqa: N818 - it names what was found
    """The files hold another certificate than the one that is asked for. identity: what they hold."""

    def __init__(self, text: str, identity: ServerIdentity) -> None:
        super().__init__(text)
        self.identity = identity


class IdentityFiles:
    """Pairs of files with what they held when they were last as expected: others write them while we run.

    For as long as a renewal is half written, broken, or not approved, what was read before goes on being presented.
    Files that are as they were are not opened again. An event loop would wait for the supervisor, which may have to
    open a file (`net.named_files`) and may be slow: a thread fetches what `changed`, and the loop finds it, or why not.
    """

    def __init__(self) -> None:
        self._good: dict[tuple[Path, Path], ServerIdentity] = {}
        self._fetched: dict[tuple[Path, Path], tuple[object, float, ServerIdentity | CertificateFileError]] = {}
        self._wanted: set[tuple[Path, Path]] = set()

    def load(self, chain: Path, key: Path) -> ServerIdentity:
        """As `load_identity`, from memory if the files are as they were then. Raises CertificateFileError."""
        self._wanted.add((chain, key))
        if (before := self._fetched.get((chain, key))) is not None and before[0] == file_stamp((chain, key)):
            _, at, result = before
            if isinstance(result, ServerIdentity):
                return result
            if time.monotonic() < at + _FAILED_SECONDS:
                raise CertificateFileError(str(result)) from result
        return self.fetch(chain, key)

    def fetch(self, chain: Path, key: Path) -> ServerIdentity:
        """Read a pair and remember it, or why it cannot be read. For a thread. Raises CertificateFileError."""
        stamp = file_stamp((chain, key))
        result: ServerIdentity | CertificateFileError
        try:
            result = load_identity(chain, key)
        except CertificateFileError as error:
            result = error
        if file_stamp((chain, key)) == stamp and not _is_young((chain, key)):
            self._fetched[chain, key] = stamp, time.monotonic(), result
        if isinstance(result, CertificateFileError):
            raise result
        return result

    def holds(self, chain: Path, key: Path) -> bool:
        """Whether a pair could be used once."""
        return (chain, key) in self._good

    def changed(self) -> list[tuple[Path, Path]]:
        """The pairs that are not as they were when they were read, or could not be. It costs a few calls of stat."""
        return [
            pair
            for pair, (stamp, _, result) in list(self._fetched.items())
            if not isinstance(result, ServerIdentity) or file_stamp(pair) != stamp
        ]

    def forget_gone(self) -> None:
        """Forget pairs of which neither file is there any more and that were not loaded since the last call."""
        for pair in list(self._fetched):  # threads add to it meanwhile
            if pair not in self._wanted and file_stamp(pair) == _GONE:
                self._fetched.pop(pair)
                self._good.pop(pair, None)
        self._wanted.clear()

    def read(self, chain: Path, key: Path, wanted: str = "") -> ServerIdentity:
        """Read a pair. wanted: SHA-256 thumbprint (hexadecimal) that its leaf begins with, "" for any.

        If the files cannot be used or hold another certificate, returns the one that they held before; if there is
        none, raises CertificateFileError, or OtherCertificate.
        """
        before = self._good.get((chain, key))
        try:
            identity = self.load(chain, key)
        except CertificateFileError:
            if before is None:
                raise
            identity = before
        if before is not None and not _is(identity, wanted) and _is(before, wanted):
            return before
        self._good[chain, key] = identity
        if not _is(identity, wanted):
            text = f"{chain}: another certificate is in it than {wanted}, whose key is gone with the file"
            raise OtherCertificate(text, identity)
        return identity


def _is(identity: ServerIdentity, wanted: str) -> bool:
    return not wanted or read_identity(identity).leaf.sha256.startswith(wanted)


def file_stamp(pair: tuple[Path, Path]) -> object:
    """Differs when one of the files was written, replaced, or given another mode."""
    stamps: list[object] = []
    for path in pair:
        try:
            status = path.stat()
        except OSError as error:
            stamps.append(error.errno)
        else:
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(stamps)


def _is_young(pair: tuple[Path, Path]) -> bool:
    """Whether one of the files may be written once more without that its times show it."""
    with suppress(OSError):
        return time.time_ns() - max((path.stat().st_ctime_ns for path in pair if path.exists()), default=0) < _TICK
    return True


def load_identity(chain: Path, key: Path) -> ServerIdentity:
    """Read a PEM chain (leaf first) and its private key. The key may be readable by its owner (and group) only.

    key: or the `pkcs11:` URI of one in a token: whoever presents it compares it with the certificate.
    """
    chain_pem = _read(chain, "certificate chain")
    key_pem = str(key).encode() if is_token_uri(str(key)) else load_key(key)
    identity = ServerIdentity(chain_pem, key_pem)
    try:
        read_identity(identity)
    except IdentityError as error:
        raise CertificateFileError(f"certificate {chain} with key {key}: {error}") from error
    return identity


def load_key(path: Path) -> bytes:
    """The content of a private key's file, which may be readable by its owner (and group) only."""
    content = _read(path, "private key")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
        raise CertificateFileError(f"private key {path}: mode {mode:04o} lets others use it; run: chmod 0600 {path}")
    return content


def load_identities(pairs: Sequence[tuple[Path, Path]]) -> list[ServerIdentity]:
    """Every configured pair, or one error that names all that are wrong."""
    identities, errors = [], []
    for chain, key in pairs:
        try:
            identities.append(load_identity(chain, key))
        except CertificateFileError as error:
            errors.append(str(error))
    if errors:
        raise CertificateFileError("\n".join(errors))
    return identities


def write_whole(path: Path, content: bytes, mode: int = 0o600, own: Callable[[Path], object] = lambda _: None) -> None:
    """Write a file whole or not at all, whatever the umask. own: gives it to its owner. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        own(draft)
        draft.chmod(mode)  # last: its group must not read it before it is the right one
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _permission(path: Path) -> str:
    """What lets this process read a file."""
    try:
        account, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    except KeyError:  # as in a container
        account, group = str(os.geteuid()), str(os.getegid())
    file = shlex.quote(str(path))
    return f"let the account {account} pass its folders and read it: chgrp {group} {file} && chmod 0640 {file}"


def _read(path: Path, what: str) -> bytes:
    """Bounded, and of files alone: the event loop of a worker would wait for a pipe that nobody writes to."""
    try:
        with os.fdopen(open_to_read(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CertificateFileError(f"{what} {path}: it is not a regular file")
            content = file.read(_MOST + 1)
    except PermissionError as error:
        raise CertificateFileError(f"{what} {path}: {error.strerror}; {_permission(path)}") from error
    except OSError as error:
        raise CertificateFileError(f"{what} {path}: {error.strerror}") from error
    if len(content) > _MOST:
        raise CertificateFileError(f"{what} {path}: it is larger than {_MOST} bytes; is it the right file?")
    return content
