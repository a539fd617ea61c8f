"""`gatepost store backup`: everything stored, into a new directory or .tar file.

What the caller names is made with the caller's rights, given to the gateway's account, and written by that: data_dir is
never read as root (docs/decisions/0044).
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from gatepost import __version__
from gatepost.manage.cli.language import _, ours, quantity
from gatepost.manage.cli.options import BAD_INPUT, UNKNOWN, ending, fail, gateway_options, local_settings
from gatepost.manage.cli.tables import printed_json
from gatepost.manage.cli.working_sign import working
from gatepost.manage.use_cases.times import stamp, time_text
from gatepost.node.privileges import as_caller
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.backup import Backup, needed_space
from gatepost.store.sqlite.backup_archive import DirectoryTarget, TarTarget
from gatepost.store.sqlite.restore import check_whole
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Settings
    from gatepost.store.sqlite.backup_archive import BackupTarget, Manifest


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--mailboxes/--no-mailboxes",
    default=True,
    help="Whether mail that was delivered into this gateway's own mailboxes (Maildir) is in it. Default: it is.",
)
@gateway_options
def backup(target: Path, *, mailboxes: bool) -> None:
    """Back up everything that the gateway stores into TARGET: a new directory, or one file if the name ends in .tar.

    The gateway goes on serving. TARGET contains the queue with all bodies, configuration, certificates and their sealed
    keys, accounts, the message trace, reports, evidence and mailboxes, each of the same moment as far as mail needs it,
    and a manifest with the SHA-256 of each file. Caches and keys in a token are not in it, and neither is the key of
    store.master_key: keep that apart, because the sealed keys are of no use without it.

    TARGET must not exist; it belongs to the account that owns data_dir, and only that may read it. It is as secret as
    data_dir: it contains mail and keys.

    Exit codes: 0 done, 2 usage error, TARGET exists or its disk has too little room (nothing is written), 3 the data
    cannot be read, or TARGET cannot be written (what was written is removed).
    """
    settings = local_settings()
    require_files(settings, "backup")
    data_dir = Path(settings.server.data_dir)
    try:
        check_whole(data_dir)
        _check(data_dir, target, mailboxes=mailboxes)
        with _new_target(target) as opened, working(_("copying")):
            made = Backup(data_dir, opened, mailboxes=mailboxes, clock=time.time).run(
                version=__version__, hostname=settings.server.hostname
            )
    except StoreFailure as failure:
        fail(UNKNOWN, "%(failure)s; no backup was made", failure=ours(str(failure)))
    printed_json({"path": str(target), **manifest_data(made)})
    _show(settings, target, made)


def require_files(settings: Settings, command: str) -> None:
    """End the command if nothing is in files: then PostgreSQL's own tools are for it."""
    if Storage.of(settings).is_shared:
        fail(
            BAD_INPUT,
            'store %(command)s is for store.url = "sqlite:"; this gateway stores in '
            "PostgreSQL: use its own tools, pg_basebackup with WAL archiving "
            "(docs/several-nodes.md)",
            command=command,
        )


def manifest_data(manifest: Manifest) -> dict[str, Any]:
    """For machines: the manifest without the list of files."""
    return {
        "gatepost_version": manifest.version,
        "hostname": manifest.hostname,
        "began": time_text(manifest.began),
        "ended": time_text(manifest.ended),
        "messages": manifest.messages,
        "deliveries": manifest.deliveries,
        "held": manifest.held,
        "quarantined": manifest.quarantined,
        "mailboxes": manifest.mailboxes,
        "files": len(manifest.files),
        "size": manifest.size,
    }


def not_free(manifest: Manifest) -> str:
    """The deliveries that wait for an administrator: "2 held, 1 in quarantine"."""
    quarantined = _(", %(quarantined)s in quarantine", quarantined=manifest.quarantined) if manifest.quarantined else ""
    return _("%(held)s held%(quarantined)s", held=manifest.held, quarantined=quarantined)


def _check(data_dir: Path, target: Path, *, mailboxes: bool) -> None:
    """End the command if the target cannot be used."""
    if not data_dir.is_dir():
        fail(BAD_INPUT, "server.data_dir: %(data_dir)s does not exist; there is nothing to back up", data_dir=data_dir)
    with as_caller():
        if os.path.lexists(target):
            fail(BAD_INPUT, "%(target)s exists; a backup never overwrites anything: name a new one", target=target)
        parent = target.resolve().parent
        if not parent.is_dir():
            fail(BAD_INPUT, "%(parent)s is no directory; make it first", parent=parent)
        space = os.statvfs(parent)
    if parent.is_relative_to(data_dir.resolve()):
        fail(BAD_INPUT, "%(target)s is in data_dir; choose a place outside, best on another disk", target=target)
    free, needed = (
        space.f_bavail * space.f_frsize,
        needed_space(data_dir, mailboxes=mailboxes, is_tar=_is_tar(target)),
    )
    if free < needed:
        fail(
            BAD_INPUT,
            "%(parent)s has %(free)s free, and the backup needs up to %(needed)s; make room, "
            "or choose another place. Nothing was written",
            parent=parent,
            free=_mebibytes(free),
            needed=_mebibytes(needed),
        )


def _is_tar(target: Path) -> bool:
    return target.suffix == ".tar"


@contextmanager
def _new_target(target: Path) -> Iterator[BackupTarget]:
    """The target, empty, private and the account's; removed if the backup is not made."""
    work = target.with_name(f"{target.name}.work")  # of a .tar: the copy of one database at a time
    is_tar, file = _is_tar(target), None
    try:
        file = _make(target, is_tar=is_tar)
        if is_tar:
            _make(work, is_tar=False)
        _check_reach(work if is_tar else target)
        yield TarTarget(file, work) if file else DirectoryTarget(target)
    except BaseException:
        _remove(target)
        raise
    finally:
        if file:
            file.close()
        if is_tar:
            _remove(work)


def _make(path: Path, *, is_tar: bool) -> BinaryIO | None:
    """Raises StoreFailure if it is there, or cannot be made."""
    account = os.geteuid(), os.getegid()
    with ending(BAD_INPUT, OSError, place=f"{path}: "), as_caller():
        if is_tar:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchown(descriptor, *account)
            return os.fdopen(descriptor, "r+b")
        path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fchown(descriptor, *account)
        finally:
            os.close(descriptor)
    return None


def _check_reach(path: Path) -> None:
    """The account writes there itself, so it must be let through each directory above."""
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        fail(
            BAD_INPUT,
            "%(path)s: the gateway's account cannot reach it; choose a place below "
            "directories that it may pass, such as /var/backups. Nothing was written",
            path=path,
        )


def _remove(path: Path) -> None:
    with suppress(OSError), as_caller():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _show(settings: Settings, target: Path, made: Manifest) -> None:
    files = f"{quantity(len(made.files), 'file')}, {_mebibytes(made.size)}"
    deliveries = quantity(made.deliveries, "delivery", "deliveries")
    lines = [
        _("backed up to %(target)s: %(files)s, as of %(began)s", target=target, files=files, began=stamp(made.began)),
        _(
            "queue: %(messages)s, %(deliveries)s, %(held)s",
            messages=quantity(made.messages, "message"),
            deliveries=deliveries,
            held=not_free(made),
        ),
    ]
    if not made.mailboxes:
        lines.append(_("mailboxes are not in it (--no-mailboxes)"))
    lines.append(
        _(
            "the key of store.master_key (%(kind)s) is not in it: keep it apart, because the "
            "sealed keys are of no use without it",
            kind=settings.store.master_key.partition(":")[0],
        )
        if settings.store.master_key
        else _("files that the settings name (certificates, keys) are not in it: keep them with the settings")
    )
    lines.append(_("it is as secret as data_dir: it contains mail and keys"))
    for line in lines:
        click.echo(line, err=True)


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
