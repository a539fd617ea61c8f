"""Keep the password of the role that may write all from processes that talk to the network, which have another role.

They are forked from the supervisor and read most files of their account. So the supervisor connects to PostgreSQL with
their role alone (`apart`), and the files with the secrets of `store.url` are in the data directory, where
`node.confinement` leaves them out (docs/decisions/0146).
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from gatepost.node.confinement import Means, runs_programs
from gatepost.node.machine_findings import DoctorFinding, Level
from gatepost.settings.store_url import SQLITE, secret_files, without_secrets
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.settings.model import Settings


_HOME: Final = (".pgpass", ".pg_service.conf", ".postgresql")  # that libraries look for in the account's home
_VARIABLES: Final = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY")

_log = logging.getLogger(__name__)


def withheld_secrets(settings: Settings) -> tuple[str, ...]:
    """The names in the data directory that processes with the role of workers may not read."""
    if not settings.store.worker_url:
        return ()
    return (*(Path(path).name for path in secret_files(settings.store.url).values()), *_HOME)


def secret_problems(settings: Settings) -> Iterator[str]:
    """Yield a text for each secret of store.url that workers could read: where it is, and what helps."""
    if not settings.store.worker_url:
        return
    data = Path(settings.server.data_dir).resolve()
    theirs = {Path(path).resolve() for path in secret_files(settings.store.worker_url).values()}
    for name, path in secret_files(settings.store.url).items():
        place = Path(path).resolve()
        if place in theirs:
            yield f"store.worker_url: has the {name} of store.url ({path}); give it one of its own"
        elif Path(path).is_symlink() or place.parent != data:
            yield (
                f"store.url: workers may read {name} {path}, and with store.worker_url they must not; move it into "
                f"{settings.server.data_dir}"
            )
    for place in theirs:
        if place.parent == data and place.name in withheld_secrets(settings):
            yield f"store.worker_url: workers may not read {place}; keep it under another name"
    for place in _at_home(data):
        yield f"workers may read {place}, where libraries look for passwords; move it into {settings.server.data_dir}"
    for name in _VARIABLES:
        if name in os.environ:
            yield f"the environment has {name}, which all processes read; with store.worker_url name files in store.url"


def _at_home(data: Path) -> Iterator[Path]:
    """Files with secrets in the account's home, unless that is the data directory. Root's are not the account's."""
    try:
        home = Path.home()
    except RuntimeError:  # an account without one, as in a container that runs under any number
        return
    if os.geteuid() and home.resolve() != data:
        yield from (home / name for name in _HOME if os.access(home / name, os.R_OK))


def role_findings(settings: Settings) -> Iterator[DoctorFinding]:
    """Whether workers have a role of their own in PostgreSQL, with just their rights."""
    store, area = settings.store, "store.worker_url"
    if store.url == SQLITE:
        return
    if not store.worker_url:
        text = "workers have the role of store.url: a fault in one lets it change configuration, accounts and tokens"
        yield DoctorFinding(area, Level.WARN, text, "give them a role of their own (docs/several-nodes.md)")
        return
    try:
        Storage.of(settings).check_workers()
        remarks = Storage.of(settings).remarks_on_workers()
        Storage.of(settings.of_workers).check(())
        is_open = lets_anybody_in(settings)
    except StoreFailure as failure:
        text, _, fix = str(failure).removeprefix(f"{area}: ").partition(". ")
        yield DoctorFinding(area, Level.FAIL if failure.final else Level.UNKNOWN, text, fix)
        return
    for text, fix in remarks:
        yield DoctorFinding(area, Level.WARN, text, fix)
    if runs_programs(settings, 0) or not (settings.server.confine and Means.here().landlock):
        text = "workers have a role of their own, and can read the files with the secrets of store.url"
        yield DoctorFinding(area, Level.WARN, text, "let processes be confined, without acme.dns_hook and [pkcs11]")
    elif is_open:
        text = "the server takes the role of store.url without a password, also from workers"
        yield DoctorFinding(area, Level.WARN, text, "let pg_hba.conf demand one: scram-sha-256")
    else:
        yield DoctorFinding(area, Level.PASS, "workers have a role of their own, with just the rights of workers")


def lets_anybody_in(settings: Settings) -> bool:
    """Whether the server takes the role of store.url without a secret, as by peer or trust: from workers, too.

    Raises StoreFailure if that cannot be told.
    """
    if "service" in dict(parse_qsl(urlsplit(settings.store.url).query)):
        return False  # the password may be in the service file, without which there is no address
    nowhere = str(Path(settings.server.data_dir) / "made" / "no-such-file")
    store = settings.store.replaced(url=without_secrets(settings.store.url, nowhere), worker_url="")
    return Storage.of(settings.replaced(store=store)).lets_in()


def apart(work: Callable[[], object]) -> None:
    """Run `work` in a process of its own, whose memory nobody inherits; if that fails, end this one as it did."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os._exit(_status(work))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(status if status > 0 else 1)


def _status(work: Callable[[], object]) -> int:
    status: object = 0
    try:
        work()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001 - the child must end here, whatever it was
        _log.exception("the start failed")
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status if isinstance(status, int) else 1
