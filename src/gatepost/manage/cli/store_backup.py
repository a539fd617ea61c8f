"""`gatepost store backup|restore`: everything stored, into a directory or .tar file, and from there again.

What the caller names is made with the caller's rights, given to the gateway's account, and written by that: data_dir is
never read as root (docs/decisions/0044).
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from gatepost import __version__
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, fail, gateway_options, local_settings, working
from gatepost.manage.cli.output import _, ngettext, printable, printed_json, quantity, say
from gatepost.manage.use_cases.times import stamp, time_text
from gatepost.node.privileges import as_caller
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite import backup_archive
from gatepost.store.sqlite.backup import Backup, needed_space
from gatepost.store.sqlite.restore import NotEmpty, Restore, check_empty, check_whole, stored_contents, verify
from gatepost.store.storage import Storage
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.pki.certificates.vault import Vault
    from gatepost.settings.model import Settings


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--mailboxes/--no-mailboxes",
    default=True,
    help="Include mail in this gateway's own mailboxes (Maildir). Default: yes.",
)
@gateway_options
def backup(target: Path, *, mailboxes: bool) -> None:
    """Back up everything that the gateway stores into TARGET: a new directory, or one file if the name ends in .tar.

    The gateway goes on serving. TARGET contains the queue with all bodies, configuration, certificates and their sealed
    keys, accounts, the message trace, reports, evidence and mailboxes, all from one moment as far as mail needs that,
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
    with ending(UNKNOWN, StoreFailure, text=N_("%(error)s; no backup was made")):
        check_whole(data_dir)
        _check(data_dir, target, mailboxes=mailboxes)
        with _new_target(target) as opened, working(_("copying")):
            made = Backup(data_dir, opened, mailboxes=mailboxes, clock=time.time).run(
                version=__version__, hostname=settings.server.hostname
            )
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


def manifest_data(manifest: backup_archive.Manifest) -> dict[str, Any]:
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


def not_free(manifest: backup_archive.Manifest) -> str:
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
            fail(BAD_INPUT, "%(parent)s is not a directory; make it first", parent=parent)
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
def _new_target(target: Path) -> Iterator[backup_archive.BackupTarget]:
    """The target, empty, private and the account's; removed if the backup is not made."""
    work = target.with_name(f"{target.name}.work")  # of a .tar: the copy of one database at a time
    is_tar, file = _is_tar(target), None
    try:
        file = _make(target, is_tar=is_tar)
        if is_tar:
            _make(work, is_tar=False)
        _check_reach(work if is_tar else target)
        yield backup_archive.TarTarget(file, work) if file else backup_archive.DirectoryTarget(target)
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


def _show(settings: Settings, target: Path, made: backup_archive.Manifest) -> None:
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


_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Restore. Without it the command only says what it would do.")
@click.option(
    "--hold",
    is_flag=True,
    help="Hold all restored mail, so that the gateway sends none of it until: gatepost queue release --all. Use it "
    "for drills, or to check before mail is sent a second time.",
)
@gateway_options
def restore(source: Path, *, yes: bool, hold: bool) -> None:
    """Restore SOURCE, a directory or .tar file that `store backup` made, into the empty data directory.

    First everything is compared with the manifest; a backup that was cut off or damaged is refused. Then the command
    says what restoring means for mail: mail in the backup's queue is delivered, a second time if it was delivered
    since; mail that the gateway accepted since is lost. Without --yes the command stops there and changes nothing.

    If store.master_key is set, it must be the key that sealed the keys in the backup.

    Exit codes: 0 restored (or, without --yes, it could be), 1 the backup is not whole, or has another master key,
    2 usage error, or data_dir is not empty, 3 something cannot be read or written. Except for 0, nothing is changed.
    """
    settings = local_settings()
    require_files(settings, "restore")
    data_dir = Path(settings.server.data_dir)
    vault = _vault(settings.store.master_key)
    unusable = N_("%(source)s: %(error)s; nothing was restored")
    with (
        ending(UNKNOWN, StoreFailure, text=N_("%(error)s; nothing was restored")),
        ending(NO, backup_archive.UnusableBackup, text=unusable, source=source),
        ending(BAD_INPUT, NotEmpty),
    ):
        check_empty(data_dir)
        with _opened(source) as opened:
            with working(_("comparing with the manifest")):
                manifest = verify(opened)
            _explain(manifest, time.time(), hold=hold)
            if yes:
                keys = _KeyCheck(vault)
                with working(_("restoring")):
                    Restore(opened, manifest, data_dir, hold=hold, check=keys).run()
                say(
                    "restored %(files)s to %(data_dir)s",
                    err=True,
                    files=quantity(len(manifest.files), "file"),
                    data_dir=data_dir,
                )
                keys.explain()
    printed_json({"restored": yes, "held_all": hold, **manifest_data(manifest)})
    if not yes:
        say("nothing was changed; to restore, add --yes", err=True)


def _vault(master_key: str) -> Vault | None:
    from gatepost.pki.certificates.vault import Vault, VaultError  # noqa: PLC0415 - the other commands do without

    with ending(BAD_INPUT, VaultError, text=N_("store.master_key: %(error)s; nothing was changed")):
        return Vault.of(master_key)


@contextmanager
def _opened(source: Path) -> Iterator[backup_archive.BackupSource]:
    """Ends the command if there is nothing to open."""
    with ending(BAD_INPUT, OSError, place=f"{source}: "), as_caller():
        is_directory = source.is_dir()
        file = None if is_directory else source.open("rb")
    if file is None:
        yield backup_archive.DirectorySource(source, as_caller)
        return
    with file:
        yield backup_archive.TarSource(file)


class _KeyCheck:
    """Whether the master key opens what is sealed in the restored files."""

    def __init__(self, vault: Vault | None) -> None:
        self._vault = vault
        self._sealed = 0

    def __call__(self, restored: Path) -> None:
        """Raises UnusableBackup if it opens nothing of it."""
        from gatepost.pki.certificates.vault import SEALED, VaultError  # noqa: PLC0415 - as above

        secrets = stored_contents(restored, SEALED)
        self._sealed = len(secrets)
        if self._vault is None or not secrets:
            return
        for place, sealed in secrets.items():
            try:
                self._vault.open(sealed, place)
            except VaultError:
                continue
            return
        raise backup_archive.UnusableBackup(
            _(
                "store.master_key is not the key that sealed the %(keys)s in it: put that one in "
                "its place. If it is lost, remove store.master_key from the settings, restore, "
                "and replace the certificates",
                keys=quantity(len(secrets), "key"),
            )
        )

    def explain(self) -> None:
        """Print what is left to do about the key."""
        if self._sealed and self._vault is None:
            click.echo(
                ngettext(
                    "%(num)s key in it is sealed: set store.master_key to the key of then before the gateway starts",
                    "%(num)s keys in it are sealed: set store.master_key to the key of then before the gateway starts",
                    self._sealed,
                ),
                err=True,
            )


def _explain(manifest: backup_archive.Manifest, now: float, *, hold: bool) -> None:
    """What restoring means for mail."""
    since = stamp(manifest.began)
    age = _span(max(0.0, now - manifest.began))
    deliveries = quantity(manifest.deliveries, "delivery", "deliveries")
    waits = (
        _("all of it will be held, until: gatepost queue release --all")
        if hold
        else _("the gateway delivers it at its next try")
    )
    waits += _("; what is in quarantine stays there") if manifest.quarantined else ""
    made = _(
        "backup of %(hostname)s, gatepost %(version)s, as of %(since)s (%(age)s ago)",
        hostname=manifest.hostname,
        version=manifest.version,
        since=since,
        age=age,
    )
    lines = [
        _("%(made)s: %(files)s, whole", made=made, files=quantity(len(manifest.files), "file")),
        _(
            "queue: %(messages)s, %(deliveries)s, %(held)s; %(waits)s",
            messages=quantity(manifest.messages, "message"),
            deliveries=deliveries,
            held=not_free(manifest),
            waits=waits,
        ),
        _(
            "delivered twice: what was delivered since %(since)s, at most %(deliveries)s",
            since=since,
            deliveries=deliveries,
        ),
        _(
            "lost: mail that was accepted since %(since)s (%(age)s) and not delivered yet; its senders got 250",
            since=since,
            age=age,
        ),
        _(
            "back to then: configuration, accounts, reports, trace, evidence (it does not have "
            "heads that you kept since)"
        ),
    ]
    lines.append(_accounts())
    if not manifest.mailboxes:
        lines.append(_("mailboxes are not in it: mail that was delivered into them is not restored"))
    for line in lines:
        click.echo(printable(line), err=True)


def _accounts() -> str:
    return _(
        "valid again: users, passwords, passkeys, API tokens, and nodes and join tokens of a site that were removed, "
        "used or changed since; look at gatepost user list, gatepost token list and gatepost site status. Everybody "
        "logs in anew"
    )


def _span(seconds: float) -> str:
    """A time span in its two largest units."""
    days, rest = divmod(int(seconds), _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes, left = divmod(rest, _MINUTE)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
