"""Confine a process that talks to the network to what it needs: the files that it may change, and system calls.

`manage.cli.serve` calls it in each process that it forks, before anything of the process runs. What the kernel lacks is
left out, with a line in the log and a finding of `gatepost doctor`: mail is not stopped for it (docs/decisions/0121).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.node.file_line import SettingsFiles
from gatepost.node.landlock import OLDEST, Access, landlock_version, restrict_files
from gatepost.node.system_calls import deny_system_calls, is_filter_known
from gatepost.settings.acme import Challenge
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import make_directory
from gatepost.store.sqlite.wal_index import hold_indexes
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatepost.settings.model import Settings


WORK: Final = "made"
"""The directory below data_dir for files of a moment: a confined process has no /tmp."""

_FOLDERS: Final = (WORK, "cache", "maildir", "tls-reports-inbox")
_FILES: Final = ("own-connection",)
_NULL: Final = "/dev/null"
_LARGEST: Final = 16 << 20  # bytes of a file that settings or resources may name, with much to spare

_log = logging.getLogger(__name__)


class Means(msgspec.Struct, frozen=True):
    """The means of a kernel. landlock: its version, 0 if too old or off. filters: whether calls are filtered."""

    landlock: int
    filters: bool

    @classmethod
    def here(cls) -> Means:
        """Those of the running kernel."""
        version = landlock_version()
        return cls(version if version >= OLDEST else 0, is_filter_known())

    @property
    def missing(self) -> str:
        """The limits that are missing, as a text; "" if none is."""
        lacks = [] if self.landlock else ["files (no Landlock: it needs Linux 5.19, and to be in the kernel's lsm=)"]
        lacks += [] if self.filters else ["system calls (no filter for this architecture)"]
        return " and ".join(lacks)


class Confinement:
    """The limits of the processes of a gateway. withheld: names in data_dir that only the admin centre uses.

    secrets: names there of what only processes with the role of `store.url` read.

    Made before the processes are forked, as the account that they run as.
    """

    def __init__(self, settings: Settings, *, withheld: Sequence[str], secrets: Sequence[str] = ()) -> None:
        self._settings = settings
        self._data = Path(settings.server.data_dir).resolve()
        self._withheld = frozenset(withheld)
        self._secrets = frozenset(secrets)
        self._writes: list[Path] = []
        self._written: list[Path] = []  # with the configuration
        self._held: list[int] = []  # an index that no process but the writer may make anew
        self._means = Means.here() if settings.server.confine else Means(0, filters=False)
        if not settings.server.confine:
            _log.warning("processes are not confined, because server.confine is false")
        elif self._means.missing:
            _log.warning("processes are not confined in their use of %s", self._means.missing)
        if self._means.landlock and (unlisted := unlisted_directories(self._data)):
            text = (
                "this account cannot list %s: of what is there, it can read only the program and files of the settings"
            )
            _log.warning(text + "; chmod o+r %s, or keep data_dir elsewhere", unlisted[0], unlisted[0])
        if self._means.landlock:
            self._prepare()

    def _prepare(self) -> None:
        """Make the files that a confined process cannot make."""
        try:
            for name in _FOLDERS:
                make_directory(self._data / name)
            for name in _FILES:
                os.close(os.open(self._data / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            storage = Storage.of(self._settings)
            self._writes, self._written = storage.prepare_worker_files(), storage.configuration_files()
            if self._written:
                self._held = hold_indexes(self._data, self._written[-1].name)
                storage.make_index()  # readers could not make the one that was emptied
        except (OSError, StoreFailure) as error:
            _log.warning("processes are not confined in their use of files: %s; the next start tries again", error)
            self._means = Means(0, self._means.filters)
        self._writes += [self._data / name for name in (*_FOLDERS, *_FILES)]

    @property
    def files(self) -> SettingsFiles | None:
        """The files that confined processes may have opened by the supervisor, None if they may open all themselves."""
        names = [name for name in _named_files(self._settings) if name.startswith("/")]
        return SettingsFiles(names, str(self._data)) if self._means.landlock else None

    @property
    def withholds_configuration(self) -> bool:
        """Whether workers may not write the configuration, and ask a writer (`node.config_line`)."""
        return bool((self._means.landlock and self._written) or self._settings.store.worker_url)

    def writer(self) -> None:
        """Confine this process, which changes the configuration, or the node's copy of it, and nothing else."""
        rules = self._of_workers(self._written, self._withheld)
        self._apply(rules, executes=bool(self._settings.pkcs11.module), isolated=True)

    def worker(self, index: int) -> None:
        """Confine this process, a worker."""
        self._apply(self._of_workers(self._writes), executes=runs_programs(self._settings, index), isolated=True)

    def host(self, port: int = 0) -> None:
        """Confine this process, which serves something small to the network, as a worker. port: that it still binds."""
        rules = self._of_workers(self._writes)
        self._apply(rules, executes=runs_programs(self._settings), isolated=True, port=port)

    def admin_centre(self) -> None:
        """Confine this process, which serves pages and REST: it changes all that is stored, and nothing else.

        It looks whether other processes live, and a drill listens on loopback.
        """
        rules = self._around() | {str(self._data): Access.CHANGE}
        self._apply(rules, executes=runs_programs(self._settings), isolated=False)

    def _apply(self, rules: dict[str, Access], *, executes: bool, isolated: bool, port: int = 0) -> None:
        """executes: it starts programs of the operator, which need files of their own."""
        if self._means.landlock:
            tempfile.tempdir = str(self._data / WORK)
            os.environ["SQLITE_TMPDIR"] = tempfile.tempdir
        try:
            if self._means.filters:
                deny_system_calls(execute=executes)
            if self._means.landlock and not executes:
                restrict_files(rules, isolated=isolated, port=port)
        except OSError as error:
            _log.error("process %d is not confined: %s", os.getpid(), error)

    def _of_workers(self, writes: Iterable[Path], withheld: frozenset[str] | None = None) -> dict[str, Access]:
        """withheld: what is left out; all that can be, if it is not given."""
        rules, without = self._around(), self._withheld | self._secrets if withheld is None else withheld
        for entry in _children(self._data):
            if entry.name not in without:
                rules[str(Path(entry).resolve()) if entry.is_symlink() else entry.path] = Access.READ
        return rules | {str(path.resolve()): Access.CHANGE for path in writes}

    def _around(self) -> dict[str, Access]:
        """Everything outside of data_dir may be read, as far as the account may."""
        rules = dict.fromkeys(_surroundings(self._data), Access.READ)
        if unlisted_directories(self._data):
            rules |= dict.fromkeys(self._needed(), Access.READ)
        return rules | {"/": Access.READ_DIR, _NULL: Access.READ | Access.WRITE_FILE}

    def _needed(self) -> Iterator[str]:
        """The program and the files of the settings, by name, without what data_dir lies in."""
        library, package = Path(os.__file__).parent, Path(__file__).parents[1]
        program = [sys.prefix, sys.base_prefix, str(library), str(package), *sys.path]
        for path in (Path(name).resolve() for name in (*program, *_named_files(self._settings)) if name):
            if not self._data.is_relative_to(path) and not path.is_relative_to(self._data):
                yield str(path)


def runs_programs(settings: Settings, index: int | None = None) -> bool:
    """Whether a process starts programs, or loads a module of a token's vendor, which uses files of its own.

    index: of a worker, any of which asks for certificates where nodes share a store, else the first one.
    """
    hook = settings.acme.is_on and settings.acme.challenge is Challenge.DNS_01
    asks = index is not None and (index == 0 or Storage.of(settings).is_shared)
    return bool(settings.pkcs11.module) or (hook and asks)


def unlisted_directories(data_dir: Path) -> list[Path]:
    """Directories above data_dir that this account passes and cannot list: it does not know what lies in them."""
    return [path for path in data_dir.resolve().parents if not os.access(path, os.R_OK, effective_ids=True)]


def _named_files(settings: Settings) -> Iterator[str]:
    """Files of the settings that are read again while a process runs; each may be another one by then."""
    for pair in settings.certificates:
        yield from (pair.chain, pair.key)
    yield from (settings.admin.chain, settings.admin.key)
    yield from (settings.tls.trust_anchors, settings.acme.trust_anchors, settings.oidc.trust_anchors)
    secrets = (settings.store.master_key, settings.acme.eab_mac_key, settings.alarms.webhook_secret)
    for reference in (*secrets, settings.otel.secret, settings.oidc.client_secret):
        yield reference.removeprefix("file:")


def _surroundings(directory: Path) -> Iterator[str]:
    """All that is not on the way to a directory: what lies beside it, and beside each directory above it.

    But no large file: while a process is allowed one, its room on the disk is not given back when it is deleted.
    """
    for path in (directory, *directory.parents[:-1]):
        for entry in _children(path.parent):
            if entry.name != path.name and not _is_large(entry):
                yield entry.path


def _is_large(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size > _LARGEST
    return False


def _children(directory: Path) -> Iterable[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(directory) as entries:
        return list(entries)
    return []
