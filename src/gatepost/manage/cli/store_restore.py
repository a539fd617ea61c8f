"""`gatepost store restore`: a backup into an empty data directory."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.language import _, ngettext, ours, quantity
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, ending, fail, gateway_options, local_settings
from gatepost.manage.cli.store_backup import manifest_data, not_free, require_files
from gatepost.manage.cli.tables import printable, printed_json, say
from gatepost.manage.cli.working_sign import working
from gatepost.manage.use_cases.times import stamp
from gatepost.node.privileges import as_caller
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.backup_archive import DirectorySource, TarSource, UnusableBackup
from gatepost.store.sqlite.restore import NotEmpty, Restore, check_empty, stored_contents, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.pki.certificates.vault import Vault
    from gatepost.store.sqlite.backup_archive import BackupSource, Manifest

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Restore. Without it the command only says what it would do.")
@click.option(
    "--hold",
    is_flag=True,
    help="Hold all restored mail, so that the gateway sends none of it until: gatepost queue release --all. For "
    "drills, and to look before mail is sent a second time.",
)
@gateway_options
def restore(source: Path, *, yes: bool, hold: bool) -> None:
    """Restore SOURCE, a directory or .tar file that `store backup` made, into the empty data directory.

    First everything is compared with the manifest; a backup that was cut off or damaged is refused. Then the command
    says what restoring means for mail: what the backup has in its queue is delivered, again if it was delivered since;
    what the gateway accepted since is lost. Without --yes it ends there and nothing is changed.

    If store.master_key is set, it must be the key that sealed the keys in the backup.

    Exit codes: 0 restored (or, without --yes, it could be), 1 the backup is not whole, or has another master key,
    2 usage error, or data_dir is not empty, 3 something cannot be read or written. Except for 0, nothing is changed.
    """
    settings = local_settings()
    require_files(settings, "restore")
    data_dir = Path(settings.server.data_dir)
    vault = _vault(settings.store.master_key)
    try:
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
    except UnusableBackup as refused:
        fail(
            NO, printable(_("%(source)s: %(refused)s; nothing was restored", source=source, refused=ours(str(refused))))
        )
    except NotEmpty as refused:
        fail(BAD_INPUT, str(refused))
    except StoreFailure as failure:
        fail(UNKNOWN, printable(_("%(failure)s; nothing was restored", failure=ours(str(failure)))))
    printed_json({"restored": yes, "held_all": hold, **manifest_data(manifest)})
    if not yes:
        say("nothing was changed; to restore, add --yes", err=True)


def _vault(master_key: str) -> Vault | None:
    from gatepost.pki.certificates.vault import Vault, VaultError  # noqa: PLC0415 - the other commands do without

    try:
        return Vault.of(master_key)
    except VaultError as error:
        fail(BAD_INPUT, "store.master_key: %(error)s; nothing was changed", error=ours(str(error)))


@contextmanager
def _opened(source: Path) -> Iterator[BackupSource]:
    """Ends the command if there is nothing to open."""
    with ending(BAD_INPUT, OSError, place=f"{source}: "), as_caller():
        is_directory = source.is_dir()
        file = None if is_directory else source.open("rb")
    if file is None:
        yield DirectorySource(source, as_caller)
        return
    with file:
        yield TarSource(file)


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
        raise UnusableBackup(
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


def _explain(manifest: Manifest, now: float, *, hold: bool) -> None:
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
        "valid again: users, passwords, passkeys and API tokens that were removed or changed since; look at "
        "gatepost user list and gatepost token list. Everybody logs in anew"
    )


def _span(seconds: float) -> str:
    """A time span in its two largest units."""
    days, rest = divmod(int(seconds), _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes, left = divmod(rest, _MINUTE)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
