"""The account that owns data_dir: the gateway runs as it, and commands that root gives act as it.

`manage.cli.serve` changes to it for good once the ports are bound. A command that root gives (`manage.cli.options`)
acts as it from before it touches data_dir, so that whatever it makes there belongs to the account, and so that nothing
the account put there (a symbolic link, say) leads root anywhere. Nothing is given away afterwards by its path. What the
caller names itself, a file to read or to write, is opened `as_caller` (docs/decisions/0044).
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Iterator

    from gatepost.settings.model import Server


DEFAULT_ACCOUNT: Final = "gatepost"
"""The account that root becomes where the settings name none."""

_PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_LINUX_CAPABILITY_VERSION_3: Final = 0x20080522  # linux/capability.h
_UNCHANGED: Final = -1  # of setfsuid and setfsgid: only tell
_MOST_LOOKED_AT: Final = 20_000  # files of data_dir whose owner is looked at when the gateway starts
_MAKE: Final = "useradd --system --user-group --home-dir /var/lib/gatepost --shell /usr/sbin/nologin"


class PrivilegeError(Exception):
    """The gateway or a command cannot act as the account it should; the text says which, and what to do."""


class Account(msgspec.Struct, frozen=True):
    """An account of this machine. name: or its number, where it has none. groups: with the supplementary ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def gateway_account(server: Server) -> Account:
    """The account that is to own data_dir and to read and write there.

    For root that is `server.user`, else whom data_dir belongs to, else `gatepost`; anybody else is it already. Raises
    PrivilegeError if root has none: running everything as root must be asked for.
    """
    own = os.geteuid()
    if own != 0:
        account = _by_number(own)
        if server.user and _by_name(server).uid != own:
            raise PrivilegeError(
                f"server.user: only root can become {server.user}; this is {account.name}: start as root, or as "
                f"{server.user}"
            )
        return account
    if server.user:
        return _by_name(server)
    owner = _owner(Path(server.data_dir))
    if owner:
        return _by_number(owner)
    with suppress(KeyError):
        return _account(pwd.getpwnam(DEFAULT_ACCOUNT), server.group)
    raise PrivilegeError(
        "server.user: this is root, and the gateway needs an account of its own. Make one, which is found by its name: "
        f'{_MAKE} {DEFAULT_ACCOUNT}\n  or write user = "ACCOUNT" under [server]; user = "root" runs everything as root'
    )


def prepare_data_dir(account: Account, path: Path) -> None:
    """Make the data directory for the account if it is not there, and make sure that it belongs to it.

    Raises PrivilegeError if it belongs to somebody else, or cannot be made. One of root's with nothing in it is handed
    over.
    """
    try:
        if os.geteuid() == 0:
            _make_for(account, path)
        owner = path.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return  # an ordinary account makes it by and by; who cannot will say so
    except OSError as error:
        raise PrivilegeError(f"server.data_dir: {path}: {error.strerror}") from error
    if owner != account.uid:
        theirs = _by_number(owner).name
        wrong = f"server.data_dir: {path} belongs to {theirs}, and the gateway runs as {account.name}. "
        chown = f"Give it to that account: chown -R {account.name}: {path}\n  or "
        if may_make_in(account, path):  # a volume of a container, which belongs to root
            raise PrivilegeError(f"{wrong}{chown}name a directory in it, which the gateway makes: {path}/data")
        raise PrivilegeError(f'{wrong}{chown}run the gateway as its owner: user = "{theirs}" under [server]')


def may_make_in(account: Account, path: Path) -> bool:
    """Whether this process is the account, which may make files in the directory, whoever owns it."""
    return 0 != account.uid == os.geteuid() and os.access(path, os.W_OK | os.X_OK, effective_ids=True)


def foreign_files(account: Account, path: Path) -> list[str]:
    """Files below the data directory that belong to somebody else, as commands of root once left them.

    No link is followed, and at most 20,000 files are looked at.
    """
    found: list[str] = []
    waiting, looked_at = [str(path)], 0
    while waiting and looked_at < _MOST_LOOKED_AT:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                looked_at += 1
                if entry.stat(follow_symlinks=False).st_uid != account.uid:
                    found.append(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return sorted(found)


def drop_privileges(account: Account, data_dir: Path) -> None:
    """Become the account for good, with its groups, its home and files for itself alone. Nothing leads back.

    Raises PrivilegeError if this machine does not let us, or the account cannot reach the program or data_dir.
    """
    os.umask(0o077)
    if account.uid != os.geteuid():
        try:
            os.setgroups(account.groups)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        except OSError as error:
            raise PrivilegeError(f"server.user: cannot become {account.name}: {error.strerror}") from error
        os.environ |= _environment(account)
    if account.uid != 0:
        _give_up_capabilities()
    forbid_new_privileges()
    _check_reach(account, data_dir)


def _give_up_capabilities() -> None:
    """Those that a service manager left to an ordinary account, for the ports. No process needs one now.

    Where a filter forbids capset(2), which our unit's does, programs that we start get none of them at least.
    """
    import ctypes  # noqa: PLC0415 - as `_libc`

    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    if _libc().capset(header, (ctypes.c_uint32 * 6)()) and _libc().prctl(
        _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0
    ):
        raise PrivilegeError(f"capabilities: {os.strerror(ctypes.get_errno())}")


def forbid_new_privileges() -> None:
    """No program that this process or its children start gains privileges by its file, setuid or else (prctl(2))."""
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        from ctypes import get_errno  # noqa: PLC0415 - as `_libc`

        raise PrivilegeError(f"no_new_privs: {os.strerror(get_errno())}")


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # noqa: PLC0415 - most commands need it for nothing

    return ctypes.CDLL(None, use_errno=True)


def act_as(account: Account, data_dir: Path) -> Callable[[], None]:
    """Act as the account from now on, as root may; returns what makes us root again.

    Raises PrivilegeError as `drop_privileges` does. All threads act as the account.
    """
    groups, gid = os.getgroups(), os.getegid()
    if account.uid == os.geteuid():
        return lambda: None
    environment = {name: os.environ.get(name) for name in _environment(account)}

    def back() -> None:
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)

    try:
        os.setgroups(account.groups)
        os.setegid(account.gid)
        os.seteuid(account.uid)
    except OSError as error:
        raise PrivilegeError(f"server.user: cannot become {account.name}: {error.strerror}") from error
    os.environ |= _environment(account)  # a library that looks into root's home is not let in
    try:
        _check_reach(account, data_dir)
    except PrivilegeError:
        back()
        raise
    return back


@contextmanager
def as_caller() -> Iterator[None]:
    """Open files as who gave the command: what they name may be readable, or writable, by them alone.

    Of this thread alone (setfsuid(2)), and only while a command acts as another account; nothing else changes.
    """
    real, acting = os.getuid(), os.geteuid()
    if real == acting:
        yield
        return
    group = os.getegid()
    _libc().setfsgid(os.getgid())
    _libc().setfsuid(real)
    try:
        yield
    finally:
        _libc().setfsuid(acting)
        _libc().setfsgid(group)
        if _libc().setfsuid(_UNCHANGED) != acting or _libc().setfsgid(_UNCHANGED) != group:
            os._exit(1)  # nothing may go on with more rights than it should have


# ---------------------------------------------------------------------------------------------- accounts


def _environment(account: Account) -> dict[str, str]:
    return {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}


def _by_name(server: Server) -> Account:
    try:
        entry = pwd.getpwnam(server.user)
    except KeyError:
        raise PrivilegeError(
            f"server.user: there is no account {server.user}. Make it: {_MAKE} {server.user}"
        ) from None
    try:
        return _account(entry, server.group)
    except KeyError:
        raise PrivilegeError(
            f"server.group: there is no group {server.group}. Make it: groupadd --system {server.group}"
        ) from None


def _by_number(uid: int) -> Account:
    try:
        return _account(pwd.getpwuid(uid), "")
    except KeyError:  # a container with a user of its own
        return Account(str(uid), uid, uid, (uid,))


def _account(found: pwd.struct_passwd, group: str) -> Account:
    gid = grp.getgrnam(group).gr_gid if group else found.pw_gid
    return Account(found.pw_name, found.pw_uid, gid, tuple(os.getgrouplist(found.pw_name, gid)), found.pw_dir)


def _owner(path: Path) -> int:
    """The owner of a file; 0 for root, and where there is no file."""
    try:
        return path.stat().st_uid
    except OSError:
        return 0


def _check_reach(account: Account, data_dir: Path) -> None:
    """The account must come through to its data, and to programs: much is imported only when it is needed."""
    package = Path(__file__).parents[1]
    for what, path in (("server.data_dir", data_dir), ("the program", package), ("Python", Path(os.__file__).parent)):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            closed = first_closed(path)
            way = f"; {closed} does not let it through: chmod o+x {closed}" if closed else ""
            other = "keep it elsewhere" if what == "server.data_dir" else "install it elsewhere, such as in /opt"
            raise PrivilegeError(
                f"{what}: the account {account.name} cannot read {path}: {error.strerror}{way}, or {other}"
            ) from error


def first_closed(path: Path) -> Path | None:
    """The uppermost directory on the way to a path that this account may not pass; None if there is none."""
    for directory in reversed(path.absolute().parents):
        if not os.access(directory, os.X_OK, effective_ids=True):
            return directory if directory.is_dir() else None
    return None


# ---------------------------------------------------------------------------------------------- the directory


def _make_for(account: Account, path: Path) -> None:
    """As root: make the directory, or take an empty one of root's, and give it to the account by its descriptor."""
    parent = _open_parent(path)
    try:
        if not _exists(path.name, parent):
            _check_safe(account, path.parent, os.fstat(parent))
            os.mkdir(path.name, 0o700, dir_fd=parent)
        _hand_over(account, path, parent)
    finally:
        os.close(parent)


def _exists(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _check_safe(account: Account, path: Path, above: os.stat_result) -> None:
    """Root makes nothing where a third account could put something else in its place."""
    open_to_all = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX
    if above.st_uid not in {0, account.uid} or open_to_all:
        raise PrivilegeError(
            f"server.data_dir: others than root can change {path}, and so what is made in it; choose a directory below "
            "one of root's"
        )


def _open_parent(path: Path) -> int:
    """The directory above, which is made, for all to pass, if it is not there. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(path.parent, flags)
    except FileNotFoundError:
        above = _open_parent(path.parent)
    try:
        os.mkdir(path.parent.name, 0o755, dir_fd=above)
        made = os.open(path.parent.name, flags | os.O_NOFOLLOW, dir_fd=above)
    finally:
        os.close(above)
    os.fchmod(made, 0o755)
    return made


def _hand_over(account: Account, path: Path, parent: int) -> None:
    try:
        own = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            return  # a link to somewhere else: who made it sees to the owner
        raise
    try:
        if account.uid and os.fstat(own).st_uid == 0 and not os.listdir(own):  # noqa: PTH208 - a descriptor
            os.fchmod(own, 0o700)
            os.fchown(own, account.uid, account.gid)
            os.fsync(parent)
    finally:
        os.close(own)
