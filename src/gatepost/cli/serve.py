"""`gatepost serve`: checks everything that can be checked, binds the ports, drops privileges, runs the workers."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost.certificates.files import CertificateFileError, load_identities
from gatepost.cli.options import BAD_INPUT, config_option, fail, settings_of
from gatepost.lookup.configured import check_validation
from gatepost.lookup.validator import ValidatorError
from gatepost.net.chain import AnchorsError, TrustAnchors
from gatepost.net.listener import bind
from gatepost.net.openssl_private import PrivateCallError, self_test
from gatepost.node.logs import set_up
from gatepost.node.policy_host import run_policy_host
from gatepost.node.supervisor import Supervisor
from gatepost.node.worker import run_worker
from gatepost.settings.model import ListenerRole

if TYPE_CHECKING:
    import socket

    from gatepost.settings.model import Settings

__all__ = ["serve"]

_GRACE = 5.0  # beyond the workers' own drain, before they are killed


@click.command()
@config_option
def serve(config: str | None) -> None:
    """Run the gateway in the foreground until SIGTERM or SIGINT. SIGHUP reads certificates again.

    Exit codes: 0 ended in order, 2 settings, certificates or ports cannot be used (every reason is named).
    """
    settings = settings_of(config)
    set_up(settings.log.level, settings.log.format)
    _check(settings)
    mail, policies = _bind(settings)
    _drop_privileges(settings)
    workers = settings.server.workers or len(os.sched_getaffinity(0))

    def work(index: int, lifeline: int) -> int:
        _close(policies)
        return run_worker(settings, index, workers, mail, lifeline)

    def serve_policies(lifeline: int) -> int:
        _close(mail)
        return run_policy_host(settings, policies, lifeline)

    beside = {"policy host": serve_policies} if policies else {}
    sys.exit(Supervisor(workers, work, drain=settings.server.drain + _GRACE, beside=beside).run())


def _check(settings: Settings) -> None:
    errors = []
    if not settings.listeners:
        errors.append('no [[listener]]: write one, such as role = "mx" and address = "0.0.0.0:25"')
    errors.extend(
        f"[[listener]] {listener.address}: role {str(listener.role)!r} is not in this version; only mx is"
        for listener in settings.listeners
        if listener.role is not ListenerRole.MX
    )
    try:
        self_test()
    except PrivateCallError as error:
        errors.append(f"the installed pyOpenSSL cannot be used: {error}; install the locked version")
    try:
        load_identities([(Path(one.chain), Path(one.key)) for one in settings.certificates])
    except CertificateFileError as error:
        errors.append(str(error))
    try:
        TrustAnchors.load(settings.tls.trust_anchors)
    except AnchorsError as error:
        errors.append(f"tls.trust_anchors: {error}")
    try:
        check_validation(settings.dns)
    except ValidatorError as error:
        errors.append(f'dns.validate = "local": {error}')
    if errors:
        fail(BAD_INPUT, "\n".join(errors))


def _bind(settings: Settings) -> tuple[list[socket.socket], list[socket.socket]]:
    """The sockets for mail, and those where policies are served."""
    try:
        mail = [one for listener in settings.listeners for one in bind(listener.address)]
        policies = bind(settings.mta_sts.address) if settings.mta_sts.address else []
    except OSError as error:
        fail(BAD_INPUT, error.strerror or str(error))
    return mail, policies


def _close(sockets: list[socket.socket]) -> None:
    """Those of another process, of which this one was given copies."""
    for one in sockets:
        one.close()


def _drop_privileges(settings: Settings) -> None:
    """From root to server.user, for good. The data directory must already be that account's."""
    if not settings.server.user:
        return
    try:
        account = pwd.getpwnam(settings.server.user)
        group = grp.getgrnam(settings.server.group).gr_gid if settings.server.group else account.pw_gid
    except KeyError as error:
        fail(BAD_INPUT, f"server.user, server.group: {error}")
    try:
        os.initgroups(account.pw_name, group)
        os.setgid(group)
        os.setuid(account.pw_uid)
    except PermissionError:
        fail(BAD_INPUT, f"server.user: only root can become {settings.server.user}; start as root or leave it empty")
