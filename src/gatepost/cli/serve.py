"""`gatepost serve`: checks everything that can be checked, binds the ports, drops privileges, runs the workers."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import sys
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from gatepost.administration.granting import grant_all
from gatepost.certificates.files import CertificateFileError, load_identities
from gatepost.certificates.vault import VaultError
from gatepost.cli.options import BAD_INPUT, config_option, fail, settings_of
from gatepost.connectors.errors import ResourceErrors
from gatepost.lookup.configured import check_validation
from gatepost.lookup.validator import ValidatorError
from gatepost.net.chain import AnchorsError, TrustAnchors
from gatepost.net.listener import bind
from gatepost.net.openssl_private import PrivateCallError, self_test
from gatepost.node.alarm_post import webhook_secret
from gatepost.node.challenge_host import run_challenge_host
from gatepost.node.logs import set_up
from gatepost.node.policy_host import run_policy_host
from gatepost.node.site_host import run_site_host
from gatepost.node.supervisor import Supervisor
from gatepost.node.worker import run_worker
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from gatepost.settings.model import Settings

__all__ = ["serve"]

_log = logging.getLogger(__name__)

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
    ports = _bind(settings)
    _drop_privileges(settings)
    _grant(settings)
    workers = settings.server.workers or len(os.sched_getaffinity(0))

    def work(index: int, lifeline: int) -> int:
        ports.keep(ports.mail)
        return run_worker(settings, index, workers, ports.mail, lifeline)

    beside = _beside(settings, ports, workers)
    sys.exit(Supervisor(workers, work, drain=settings.server.drain + _GRACE, beside=beside).run())


class _Ports(NamedTuple):
    """What was bound: mail; policies and the table, by address; ACME; nodes of the site; metrics; the admin centre."""

    mail: list[socket.socket]
    public: dict[str, list[socket.socket]]
    tokens: list[socket.socket]
    nodes: list[socket.socket]
    metrics: list[socket.socket]
    admin: list[socket.socket]

    def keep(self, own: list[socket.socket]) -> None:
        """Close those of other processes, of which this one was given copies."""
        for one in (*self.mail, *self.shared, *self.tokens, *self.nodes, *self.metrics, *self.admin):
            if one not in own:
                one.close()

    @property
    def shared(self) -> list[socket.socket]:
        """Those for policies and the table."""
        return [one for sockets in self.public.values() for one in sockets]


def _beside(settings: Settings, ports: _Ports, workers: int) -> dict[str, Callable[[int], int]]:
    """The processes that are no workers, by name."""

    def serve_public(lifeline: int) -> int:
        ports.keep(ports.shared)
        return run_policy_host(settings, ports.public, lifeline)

    def serve_tokens(lifeline: int) -> int:
        ports.keep(ports.tokens)
        return run_challenge_host(settings, ports.tokens, lifeline)

    def serve_nodes(lifeline: int) -> int:
        ports.keep(ports.nodes)
        return run_site_host(settings, ports.nodes, lifeline)

    def serve_metrics(lifeline: int) -> int:
        from gatepost.node.metrics_host import run_metrics_host  # noqa: PLC0415 - its library is for this process alone

        ports.keep(ports.metrics)
        return run_metrics_host(settings, ports.metrics, workers, lifeline)

    def serve_admin(lifeline: int) -> int:
        from gatepost.cli.admin_centre import run_admin_centre  # noqa: PLC0415 - pages are for this process alone

        ports.keep(ports.admin)
        return run_admin_centre(settings, ports.admin, lifeline)

    found: dict[str, Callable[[int], int]] = {}
    found |= {"policy host": serve_public} if ports.public else {}
    found |= {"challenge host": serve_tokens} if ports.tokens else {}
    found |= {"site host": serve_nodes} if ports.nodes else {}
    found |= {"metrics host": serve_metrics} if ports.metrics else {}
    found |= {"admin centre": serve_admin} if ports.admin else {}
    return found


def _grant(settings: Settings) -> None:
    """Once, after an upgrade: what stands in the resources counts as granted by the gateway's owner.

    What cannot be read is for the workers to say.
    """
    with suppress(StoreFailure, ResourceErrors, ConfigConflict):
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            names = grant_all(store, settings.limits.prefixes())
        if names:
            text = "files, sockets and hosts that resources of %s name count as granted by the gateway's owner: %s"
            _log.info(text, ", ".join(names), "they stood here before this version asked who wrote them")


def _check(settings: Settings) -> None:
    errors = []
    if not settings.listeners:
        errors.append('no [[listener]]: write one, such as role = "mx" and address = "0.0.0.0:25"')
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
    errors.extend(_acme_errors(settings))
    errors.extend(_otel_errors(settings))
    try:
        if settings.alarms.webhook:
            webhook_secret(settings.alarms.webhook_secret)
    except VaultError as error:
        errors.append(f"alarms.webhook_secret: {error}")
    if errors:
        fail(BAD_INPUT, "\n".join(errors))


def _acme_errors(settings: Settings) -> Iterator[str]:
    """What would keep every certificate from being asked for."""
    if not settings.acme.is_on:
        return
    if find_spec("acme") is None:
        yield "[acme] needs a Python package that is missing; install gatepost with its extra: gatepost[acme]"
    try:
        TrustAnchors.load(settings.acme.trust_anchors)
    except AnchorsError as error:
        yield f"acme.trust_anchors: {error}"


def _otel_errors(settings: Settings) -> Iterator[str]:
    """What would keep every span from being sent."""
    if not settings.otel.endpoint:
        return
    try:
        from gatepost.node.span_export import receiver_secret  # noqa: PLC0415 - its libraries are an extra
    except ImportError:
        yield "[otel] needs Python packages that are missing; install gatepost with its extra: gatepost[otel]"
        return
    try:
        if settings.otel.secret:
            receiver_secret(settings.otel)
    except VaultError as error:
        yield f"otel.secret: {error}"


def _bind(settings: Settings) -> _Ports:
    try:
        mail = [one for listener in settings.listeners for one in bind(listener.address)]
        public = {address: bind(address) for address in settings.public_addresses.values()}
        tokens = bind(settings.acme.served_at) if settings.acme.served_at else []
        nodes = bind(settings.site.address) if settings.site.address else []
        metrics = bind(settings.metrics_address) if settings.metrics_address else []
        admin = _bind_admin(settings)
    except OSError as error:
        fail(BAD_INPUT, error.strerror or str(error))
    return _Ports(mail, public, tokens, nodes, metrics, admin)


def _bind_admin(settings: Settings) -> list[socket.socket]:
    """Mail does not wait for a port that nobody chose: where its default is taken, there is no admin centre."""
    if not settings.admin.address:
        return []
    try:
        return bind(settings.admin.address)
    except OSError as error:
        if "address" in settings.admin.model_fields_set:
            raise
        _log.warning("there is no admin centre: %s; write [admin] address in the settings", error.strerror or error)
        return []


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
