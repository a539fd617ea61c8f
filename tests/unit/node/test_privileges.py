"""The account of data_dir. Where privileges are given up, in a process of its own, as they do not come back."""

from __future__ import annotations

import os
import pickle
import pwd
import stat
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

from gatepost.node import privileges
from gatepost.node.privileges import (
    Account,
    PrivilegeError,
    act_as,
    as_caller,
    drop_privileges,
    foreign_files,
    gateway_account,
    prepare_data_dir,
)
from gatepost.settings.model import Server

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
PYTHON = Path(sys.base_prefix)
with_open_python = pytest.mark.skipif(
    not all(folder.stat().st_mode & stat.S_IXOTH for folder in (PYTHON, *PYTHON.parents)),
    reason=f"others cannot read {PYTHON}, as where root installed a Python for itself",
)
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def place():
    """A directory that every account can pass, as /var/lib is."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def nobody():
    return Account("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,), "/nonexistent")


def server(data_dir="/no/such", **fields):
    return Server(hostname="mx.gate.example", data_dir=str(data_dir), **fields)


def in_a_process(work):
    """What `work` returns in a process of its own; what it raises is the text."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = work()
        except PrivilegeError as error:
            result = str(error)
        except BaseException:  # noqa: BLE001 - the child ends here
            result = traceback.format_exc()
        os.write(theirs, pickle.dumps(result))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        result = pickle.loads(file.read())  # noqa: S301 - our own
    os.waitpid(child, 0)
    return result


def owner(path):
    return path.stat(follow_symlinks=False).st_uid


# who it is


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_anybody_else_stays_who_they_are():
    own = pwd.getpwuid(os.geteuid())
    assert gateway_account(server()).uid == own.pw_uid
    assert gateway_account(server(user=own.pw_name)).uid == own.pw_uid
    with pytest.raises(PrivilegeError, match="only root can become root"):
        gateway_account(server(user="root"))


@as_root
@with_open_python
def test_an_account_other_than_root_cannot_become_another(nobody, place):
    def work():
        drop_privileges(nobody, place)
        assert gateway_account(server(user="nobody")).name == gateway_account(server()).name == "nobody"
        return gateway_account(server(user="daemon"))

    assert in_a_process(work).startswith("server.user: only root can become daemon; this is nobody: start as root, or")


def permitted():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm")]
    return int(line.split()[1], 16)


@as_root
@with_open_python
@pytest.mark.parametrize("filtered", [False, True], ids=["given up", "a filter forbids capset"])
def test_an_account_with_capabilities_gives_them_up(nobody, place, filtered):
    """As a service manager starts it: an ordinary account, with capabilities for its ports."""

    class Filter:
        prctl = privileges._libc().prctl

        @staticmethod
        def capset(*_):
            return -1

    def work():
        privileges._libc().prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
        os.setgroups([])
        os.setresgid(nobody.gid, nobody.gid, nobody.gid)
        os.setresuid(nobody.uid, nobody.uid, nobody.uid)
        before = permitted()
        if filtered:
            privileges._libc = lambda: Filter
        drop_privileges(nobody, place)
        return before > 0, permitted() == 0

    assert in_a_process(work) == (True, not filtered)


@as_root
def test_roots_account_is_the_one_that_is_written(place):
    os.chown(place, 12345, 12345)
    account = gateway_account(server(place, user="nobody", group="daemon"))
    assert (account.name, account.uid, account.gid) == ("nobody", NOBODY.pw_uid, 1)
    assert 1 in account.groups
    assert gateway_account(server(place, user="root")).uid == 0


@as_root
def test_else_the_one_that_the_data_belongs_to(place):
    os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    assert gateway_account(server(place)).name == "nobody"
    os.chown(place, 12345, 12345)
    assert gateway_account(server(place)) == Account("12345", 12345, 12345, (12345,))


@as_root
def test_else_gatepost_where_it_exists(place, monkeypatch):
    monkeypatch.setattr(privileges, "DEFAULT_ACCOUNT", "nobody")
    for data_dir in (place, place / "none"):
        assert gateway_account(server(data_dir)).name == "nobody"


@as_root
def test_else_root_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(privileges, "DEFAULT_ACCOUNT", "no-such-account")
    with pytest.raises(PrivilegeError, match="the gateway needs an account of its own") as refused:
        gateway_account(server())
    assert "useradd --system" in str(refused.value)
    assert 'user = "root" runs everything as root' in str(refused.value)


@as_root
@pytest.mark.parametrize("fields", [{"user": "no-such-user"}, {"user": "nobody", "group": "no-such-group"}])
def test_accounts_that_are_not_there(fields):
    with pytest.raises(
        PrivilegeError, match=r"^server\.(user|group): there is no (account|group) no-such.*\. Make it: "
    ):
        gateway_account(server(**fields))


# the directory


@as_root
def test_the_directory_is_made_for_the_account(place, nobody):
    path = place / "lib" / "gatepost"
    prepare_data_dir(nobody, path)
    prepare_data_dir(nobody, path)
    assert (owner(path), stat.S_IMODE(path.stat().st_mode)) == (NOBODY.pw_uid, 0o700)
    assert (owner(path.parent), stat.S_IMODE(path.parent.stat().st_mode)) == (0, 0o755)


@as_root
def test_an_empty_one_of_roots_is_handed_over(place, nobody):
    path = place / "data"
    path.mkdir(mode=0o755)
    prepare_data_dir(nobody, path)
    assert (owner(path), stat.S_IMODE(path.stat().st_mode)) == (NOBODY.pw_uid, 0o700)


@as_root
def test_one_with_roots_files_is_not(place, nobody):
    (place / "config.db").touch()
    with pytest.raises(PrivilegeError, match="belongs to root, and the gateway runs as nobody") as refused:
        prepare_data_dir(nobody, place)
    assert f"chown -R nobody: {place}" in str(refused.value)
    assert owner(place) == 0


@as_root
@pytest.mark.parametrize("account", [Account("root", 0, 0), Account("daemon", 1, 1)])
def test_nor_is_that_of_another(place, account):
    os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    with pytest.raises(PrivilegeError, match=r'(?s)belongs to nobody, and .*user = "nobody"'):
        prepare_data_dir(account, place)


@as_root
def test_no_link_leads_root_anywhere(place, nobody):
    theirs, target = place / "theirs", place / "target"
    theirs.mkdir()
    target.mkdir(mode=0o755)
    os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid)
    (theirs / "data").symlink_to(target)
    with pytest.raises(PrivilegeError, match="belongs to root"):
        prepare_data_dir(nobody, theirs / "data")
    assert (owner(target), stat.S_IMODE(target.stat().st_mode)) == (0, 0o755)


@as_root
def test_root_makes_nothing_where_others_could_replace_it(place, nobody):
    os.chown(place, 12345, 12345)
    with pytest.raises(PrivilegeError, match="others than root can change"):
        prepare_data_dir(nobody, place / "data")
    assert not (place / "data").exists()


def test_what_cannot_be_made_is_left_to_who_uses_it(place):
    (place / "file").touch()
    prepare_data_dir(Account("me", os.geteuid(), os.getegid()), place / "file" / "below")


@as_root
def test_files_of_others_are_found_without_following_links(place, nobody):
    for name in ("own", "own/below", "roots"):
        (place / name).mkdir()
    (place / "own" / "below" / "t.db").touch()
    (place / "own" / "link").symlink_to("/etc")
    (place / "roots" / "inner").touch()
    for name in ("own", "own/below", "own/link"):
        os.chown(place / name, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    assert foreign_files(nobody, place) == [str(place / "own/below/t.db"), str(place / "roots")]


# becoming it


@as_root
@with_open_python
def test_privileges_are_dropped_for_good(place, nobody):
    def work():
        drop_privileges(nobody, place)
        for back in (os.seteuid, os.setuid):
            try:
                back(0)
            except PermissionError:
                continue
            return "it came back"
        new = subprocess.run(["grep", "NoNewPrivs", "/proc/self/status"], capture_output=True, text=True, check=True)
        mask = os.umask(0)
        return os.getresuid(), os.getresgid(), os.getgroups(), os.environ["HOME"], mask, new.stdout.split()

    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    assert in_a_process(work) == (
        (uid, uid, uid),
        (gid, gid, gid),
        [gid],
        "/nonexistent",
        0o077,
        ["NoNewPrivs:", "1"],
    )


def test_who_stays_gains_nothing_new_either(place):
    def work():
        drop_privileges(Account("me", os.geteuid(), os.getegid()), place)
        return "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(encoding="ascii"), os.geteuid()

    assert in_a_process(work) == (True, os.geteuid())


@as_root
def test_an_account_that_cannot_come_through_is_told_where(place, nobody):
    data = place / "roots" / "data"
    data.mkdir(parents=True)
    data.parent.chmod(0o700)
    for change in (drop_privileges, act_as):
        told = in_a_process(lambda change=change: change(nobody, data))
        assert told == (
            f"server.data_dir: the account nobody cannot read {data}: Permission denied; {data.parent} does not let it "
            f"through: chmod o+x {data.parent}, or keep it elsewhere"
        )


@as_root
@with_open_python
def test_what_a_command_makes_belongs_to_the_account_and_only_what_is_named_is_the_callers(place, nobody):
    secret = place / "secret"
    secret.write_text("roots", encoding="ascii")
    secret.chmod(0o600)
    os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    reports = place / "reports"
    reports.mkdir(mode=0o700)

    def work():
        back = act_as(nobody, place)
        (place / "t.db").touch()
        seen = [os.geteuid(), os.getgroups()]
        for attempt in (secret.read_text, (reports / "r").touch):
            try:
                attempt()
            except PermissionError:
                seen.append("refused")
        with as_caller():
            seen.append(secret.read_text())
            (reports / "r.csv").touch()
        try:
            secret.read_text()
        except PermissionError:
            seen.append("refused again")
        back()
        with as_caller():
            return [*seen, os.geteuid(), os.getegid(), secret.read_text()]

    assert in_a_process(work) == [
        NOBODY.pw_uid, [NOBODY.pw_gid], "refused", "refused", "roots", "refused again", 0, 0, "roots",
    ]  # fmt: skip
    assert (owner(place / "t.db"), owner(reports / "r.csv")) == (NOBODY.pw_uid, 0)


@as_root
@with_open_python
def test_a_command_has_the_home_of_the_account_while_it_acts_as_it(place, nobody, monkeypatch):
    """The library of PostgreSQL looks into it, and root's is closed to the account."""
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.delenv("LOGNAME", raising=False)
    os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)

    def work():
        back = act_as(nobody, place)
        acting = [os.environ["HOME"], os.environ["USER"], os.environ["LOGNAME"]]
        back()
        return [*acting, os.environ["HOME"], os.environ.get("LOGNAME")]

    assert in_a_process(work) == [NOBODY.pw_dir, "nobody", "nobody", "/root", None]


@as_root
def test_a_container_that_takes_the_right_away_is_said(nobody, place, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    for change in (drop_privileges, act_as):
        told = in_a_process(lambda change=change: change(nobody, place))
        assert told == "server.user: cannot become nobody: Operation not permitted"
