"""`gatepost serve`: checks everything that can be checked, binds the ports, drops privileges, runs the workers."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from OpenSSL.SSL import SSLEAY_VERSION, SSLeay_version

from gatepost.manage.access.schema import ACCESS
from gatepost.manage.cli.lazy import COLLECTIONS
from gatepost.manage.cli.options import (
    BAD_INPUT,
    UNKNOWN,
    current_remote_options,
    ending,
    fail,
    gateway_options,
    loaded_settings,
)
from gatepost.manage.cli.output import _, ours, wants_json
from gatepost.manage.cli.ports import Ports, bind_ports
from gatepost.manage.cli.setup_notice import SETUP_FILE
from gatepost.manage.use_cases.granting import grant_all
from gatepost.manage.web.certificate import ADMIN_FOLDER
from gatepost.net.listener import parse_address
from gatepost.net.openssl_tickets import find_place
from gatepost.node.config_judge import SITE_HOST, answering
from gatepost.node.config_line import ConfigWriter
from gatepost.node.confinement import Confinement
from gatepost.node.database_roles import apart, lets_anybody_in, withheld_secrets
from gatepost.node.evidence import prepare_key, prepare_missing_key, sign_rest
from gatepost.node.logs import set_up
from gatepost.node.passed_sockets import PassedSocketError, PassedSockets
from gatepost.node.privileges import PrivilegeError, drop_privileges, foreign_files, gateway_account, prepare_data_dir
from gatepost.node.registration import Registration
from gatepost.node.roles import forget_login_failures
from gatepost.node.service_manager import ServiceManager
from gatepost.node.shared_pages import share_loaded_objects, use_few_arenas
from gatepost.node.site_secrets import prepare_site, ticket_secrets_of
from gatepost.node.start_checks import start_problems
from gatepost.node.supervisor import Supervisor
from gatepost.node.ticket_secrets import SecretRotation, SharedSecrets
from gatepost.node.worker import run_worker
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError
from gatepost.settings.section import changed_keys
from gatepost.store.changes import ConfigConflict
from gatepost.store.interface import Schema, StoreFailure
from gatepost.store.sqlite.wal_index import hold_indexes
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.node.privileges import Account
    from gatepost.settings.model import Settings


_log = logging.getLogger(__name__)

_ADMIN_CENTRE = "admin centre"
_CHALLENGE_HOST = "challenge host"
_CONFIGURATION_COPY = "configuration copy"
_OWNERS = (_ADMIN_CENTRE, _CONFIGURATION_COPY)  # they write the configuration, and have the role of store.url
_WITHHELD = (*(f"{ACCESS.file}{beside}" for beside in ("", "-wal", "-shm")), ADMIN_FOLDER, SETUP_FILE)
_OPEN_FILES = 65_536
_GRACE = 8.0  # beyond the workers' own drain, before they are killed: they may stand still meanwhile


@click.command()
@gateway_options
@click.option("--check", is_flag=True, help="Only check whether it could start; change nothing.")
def serve(*, check: bool) -> None:
    """Run the gateway in the foreground until SIGTERM or SIGINT. SIGHUP reads certificates and other files again.

    It reports its state to a service manager (sd_notify), and uses the sockets that this passes. With --json it prints
    one object on a line as soon as it serves, and logs in JSON; with --check it prints the findings.

    Exit codes: 0 stopped normally, or it could start, 2 settings, certificates, ports or the store cannot be used
    (every reason is named), 3 the store cannot be reached now.
    """
    _prepare_process()
    manager, passed = _service_manager()
    if wants_json():
        os.environ["GATEPOST_LOG__FORMAT"] = "json"  # here, so that a reload does not take it for a change
    settings = loaded_settings()
    if check:
        from gatepost.manage.cli.doctor import check_start  # noqa: PLC0415 - a start needs none of it

        check_start(settings)
    set_up(settings.log.level, settings.log.format)
    account = _account(settings)
    _check(settings)
    ports = bind_ports(settings, passed)
    _drop_privileges(settings, account)
    tickets = SharedSecrets()
    _prepare_store(settings, tickets)
    registration = _registered(settings.of_workers)
    confinement = Confinement(settings, withheld=_WITHHELD, secrets=withheld_secrets(settings))
    Storage.of(settings).load_worker_modules()
    Storage.of(settings).disconnect()  # nothing of it survives a fork
    workers, work = _processes(settings, ports, registration, tickets, confinement)
    supervisor = Supervisor(
        workers,
        work,
        drain=settings.server.drain + settings.server.drain_replies + _GRACE,
        beside=_confined(settings, ports, workers, confinement, tickets),
        manager=manager,
        listening=_listening(settings, ports),
        on_ready=partial(_print_ready, settings, is_json=wants_json()),
        on_reload=partial(_tell_changes, settings),
        close_ports=partial(_close, [port for port in ports.mail if port not in passed.taken]),  # others are systemd's
        files=confinement.files,
        writer=_config_writer(settings, confinement),
        data=Path(settings.server.data_dir),
    )
    share_loaded_objects()
    status = supervisor.run()
    sign_rest(settings.of_workers)
    registration.end()
    _log.info("stopped")
    sys.exit(status)


def _prepare_process() -> None:
    """Set what holds for this process and those that it forks: they run for long, and hold many connections."""
    gc.freeze()  # what was imported is no garbage: looking through it takes 5 % of a start
    gc.set_threshold(*COLLECTIONS)
    use_few_arenas()
    _raise_open_files()


def _raise_open_files() -> None:
    """Let processes open as many files as they may: shells and service managers begin with 1,024 for select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard < 0 else min(hard, _OPEN_FILES)
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _config_writer(settings: Settings, confinement: Confinement) -> ConfigWriter | None:
    """The writer of the configuration for processes that may not write it; None if they may."""
    if not confinement.withholds_configuration:
        return None
    return ConfigWriter(partial(answering, settings), confinement.writer, without=_OWNERS)


def _processes(
    settings: Settings, ports: Ports, registration: Registration, tickets: SharedSecrets, confinement: Confinement
) -> tuple[int, Callable[[int, int], int]]:
    """The number of worker processes, and what each runs."""
    workers, settings = settings.server.workers or len(os.sched_getaffinity(0)), settings.of_workers

    def work(index: int, lifeline: int) -> int:
        ports.keep(ports.mail)
        prepare_missing_key(settings)
        confinement.worker(index)
        return run_worker(settings, (index, workers), ports.mail, lifeline, registration.node, tickets)

    return workers, work


def _service_manager() -> tuple[ServiceManager, PassedSockets]:
    """Who started us, if it wants to know how we are, and the sockets that it bound for us."""
    try:
        return ServiceManager.from_environment(os.environ), PassedSockets.from_environment(os.environ)
    except (OSError, ValueError) as error:
        fail(BAD_INPUT, f"NOTIFY_SOCKET, WATCHDOG_USEC: {error}")
    except PassedSocketError as error:
        fail(BAD_INPUT, str(error))


def _close(ports: list[socket.socket]) -> None:
    """Refuse connections, for all processes that share these sockets."""
    for port in ports:
        with suppress(OSError):
            port.shutdown(socket.SHUT_RDWR)


def _listening(settings: Settings, ports: Ports) -> str:
    """What is served where, for the log."""
    places = [f"{listener.role} at {listener.address}" for listener in settings.listeners]
    places += [f"{name} at {address}" for name, address in settings.public_addresses.items()]
    places += [f"ACME challenges at {settings.acme.served_at}"] if ports.tokens else []
    places += [f"the site at {settings.site.address}"] if ports.nodes else []
    places += [f"metrics at {settings.metrics_address}"] if ports.metrics else []
    places += [f"admin centre at {settings.admin.address}"] if ports.admin else []
    return ", ".join(places)


def _print_ready(settings: Settings, missing: list[str], *, is_json: bool) -> None:
    """Print where the gateway serves, for a program that started it. One that reads no more is no reason to end."""
    if not is_json:
        return
    ready = {
        "hostname": settings.server.hostname,
        "process": os.getpid(),
        "data_dir": settings.server.data_dir,
        "listeners": [{"role": listener.role, "address": listener.address} for listener in settings.listeners],
        "admin": settings.admin.address or None,
        "metrics": settings.metrics_address or None,
        "missing": missing,
    }
    with suppress(OSError):
        click.echo(msgspec.json.encode(ready))


def _tell_changes(settings: Settings) -> None:
    """Log what the settings file says by now and the gateway does not do before a restart, or what is wrong with it."""
    try:
        changed = changed_keys(settings, load(current_remote_options().config, os.environ))
    except SettingsError as error:
        for problem in error.problems:
            _log.error("the settings file cannot be used; the gateway goes on with its settings: %s", problem)
        return
    if changed:
        _log.warning("settings that changed in the file take effect at the next start: %s", ", ".join(changed))


def _registered(settings: Settings) -> Registration:
    """The entry among the nodes of the site; ends the command if another one has its name."""
    try:
        return Registration(settings)
    except StoreFailure as failure:
        fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))


def _auxiliary_processes(settings: Settings, ports: Ports, workers: int) -> dict[str, Callable[[int], int]]:
    """The processes that are no workers, by name."""

    def serve_public(lifeline: int) -> int:
        from gatepost.node.policy_host import run_policy_host  # noqa: PLC0415 - mail does not wait for what it imports

        ports.keep(ports.shared)
        return run_policy_host(settings, ports.public, lifeline)

    def serve_tokens(lifeline: int) -> int:
        from gatepost.node.challenge_host import run_challenge_host  # noqa: PLC0415 - as above

        ports.keep(ports.tokens)
        return run_challenge_host(settings, ports.tokens, lifeline)

    def serve_nodes(lifeline: int) -> int:
        from gatepost.node.site_host import run_site_host  # noqa: PLC0415 - as above

        ports.keep(ports.nodes)
        return run_site_host(settings, ports.nodes, lifeline)

    def serve_metrics(lifeline: int) -> int:
        from gatepost.node.metrics_host import run_metrics_host  # noqa: PLC0415 - its library is for this process alone

        ports.keep(ports.metrics)
        return run_metrics_host(settings, ports.metrics, workers, lifeline)

    result: dict[str, Callable[[int], int]] = {}
    result |= {"policy host": serve_public} if ports.public else {}
    result |= {_CHALLENGE_HOST: serve_tokens} if settings.acme.served_at else {}
    result |= {SITE_HOST: serve_nodes} if ports.nodes else {}
    result |= {"metrics host": serve_metrics} if ports.metrics else {}
    return result


def _owner_processes(settings: Settings, ports: Ports, workers: int) -> dict[str, Callable[[int], int]]:
    """The processes that have the role of store.url, by name."""

    def serve_admin(lifeline: int) -> int:
        from gatepost.manage.cli.admin_centre import run_admin_centre  # noqa: PLC0415 - pages are for this process alone

        ports.keep(ports.admin)
        return run_admin_centre(settings, ports.admin, lifeline)

    def keep_copy(lifeline: int) -> int:
        from gatepost.node.configuration_copy import run_configuration_copy  # noqa: PLC0415 - few nodes need it

        ports.keep([])
        return run_configuration_copy(settings, workers, lifeline)

    result: dict[str, Callable[[int], int]] = {}
    result |= {_ADMIN_CENTRE: serve_admin} if ports.admin else {}
    result |= {_CONFIGURATION_COPY: keep_copy} if settings.store.worker_url else {}
    return result


def _confined(
    settings: Settings, ports: Ports, workers: int, confinement: Confinement, tickets: SharedSecrets
) -> dict[str, Callable[[int], int]]:
    """The same; each confines itself, and closes the keys of session tickets, which are for workers alone."""
    processes = _auxiliary_processes(settings.of_workers, ports, workers) | _owner_processes(settings, ports, workers)

    def run(name: str, process: Callable[[int], int], lifeline: int) -> int:
        tickets.close()
        others = {_ADMIN_CENTRE: confinement.admin_centre, _CONFIGURATION_COPY: confinement.writer}
        if not ports.tokens and settings.acme.served_at:  # it takes the port once it is free
            others[_CHALLENGE_HOST] = partial(confinement.host, parse_address(settings.acme.served_at)[1])
        others.get(name, confinement.host)()
        return process(lifeline)

    return {name: partial(run, name, process) for name, process in processes.items()}


def _prepare_store(settings: Settings, tickets: SharedSecrets) -> None:
    """Check the store, and have ready what the workers have in common. tickets: gets the secrets of session tickets."""
    forget_login_failures(Path(settings.server.data_dir))
    if not settings.store.worker_url:
        _check_store(settings)
        hold_indexes(Path(settings.server.data_dir))
        _fill_store(settings, tickets)
        return
    hold_indexes(Path(settings.server.data_dir))
    apart(lambda: _as_owner(settings, tickets))
    _check_store(settings.of_workers)


def _as_owner(settings: Settings, tickets: SharedSecrets) -> None:
    """Do what needs the role of store.url, in a process that nobody is forked from."""
    try:
        Storage.of(settings).prepare(_shared_tables())
        if lets_anybody_in(settings):
            text = "PostgreSQL takes the role of store.url without a password, also from workers: let %s demand one"
            _log.warning(text, "pg_hba.conf")
        for remark in Storage.of(settings).remarks_on_workers():
            _log.warning("store.worker_url: %s. %s", *remark)
    except StoreFailure as failure:
        fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))
    _fill_store(settings, tickets)


def _fill_store(settings: Settings, tickets: SharedSecrets) -> None:
    _try_token_keys(settings)
    _prepare_site(settings, tickets)
    _grant(settings)
    _check_store(settings)  # of a start and a restore that begin at once, at least one sees the other


def _prepare_site(settings: Settings, tickets: SharedSecrets) -> None:
    """Have ready what the workers have in common. tickets: gets the secrets for session tickets."""
    if find_place() is None:
        text = "clients cannot resume TLS sessions with other workers and nodes: the ticket keys of %s were not found"
        _log.warning(text, SSLeay_version(SSLEAY_VERSION).decode("ascii", "replace"))
    try:
        prepare_site(settings)
        with closing(Storage.of(settings).configuration()) as store:
            SecretRotation(tickets, ticket_secrets_of(settings, store)).look()
        _prepare_evidence_key(settings)
    except StoreFailure as failure:
        fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))
    except CertificateFileError as error:
        fail(BAD_INPUT, str(error))
    except OSError as error:
        fail(BAD_INPUT, f"{error.filename or settings.server.data_dir}: {error.strerror}")


def _prepare_evidence_key(settings: Settings) -> None:
    """Have the key of the evidence log ready, where no worker may write. Raises CertificateFileError or OSError."""
    if unused := prepare_key(settings):
        text = "evidence: keys that workers may have written are not used: %d, such as %s; docs/evidence.md says more"
        _log.warning(text, len(unused), unused[0])


def _shared_tables() -> Sequence[Schema]:
    from gatepost.manage.use_cases.stored_schemas import SCHEMAS  # noqa: PLC0415 - files have none

    return SCHEMAS


def _check_store(settings: Settings) -> None:
    """End the command if the store cannot be used: a restore is not complete, or PostgreSQL says no or is away."""
    storage = Storage.of(settings)
    try:
        storage.check(_shared_tables() if storage.is_shared else ())
    except StoreFailure as failure:
        fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))


def _grant(settings: Settings) -> None:
    """Once, after an upgrade: what stands in the resources counts as granted by the gateway's owner.

    What cannot be read is for the workers to say.
    """
    with suppress(StoreFailure, ResourceErrors, ConfigConflict):
        with closing(Storage.of(settings).configuration()) as store:
            names = grant_all(store, settings.limits.prefixes())
        if names:
            text = "files, sockets and hosts in the resources of %s count as granted by the gateway's owner: %s"
            _log.info(text, ", ".join(names), "they were written before this version required grants")


def _check(settings: Settings, account: str = "") -> None:
    """End the command with all that is wrong. account: the one for which it is wrong, if it is not its caller's."""
    lines = [ours(line) for problem in start_problems(settings) for line in problem.splitlines()]
    if lines:
        if account:
            lines = [_("as %(account)s: %(line)s", account=account, line=line) for line in lines]
        fail(BAD_INPUT, "\n".join(lines))


def _try_token_keys(settings: Settings) -> None:
    """Try all keys in tokens once, before many processes do; end the command if one of the settings cannot be used."""
    if not settings.pkcs11.module:
        return
    from gatepost.pki.certificates.inventory import Inventory  # noqa: PLC0415 - few have keys in tokens
    from gatepost.pki.certificates.token_check import try_at_start  # noqa: PLC0415 - as above

    pairs = [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]
    with closing(Storage.of(settings).configuration()) as store:
        problems = try_at_start(Inventory(store, None), pairs)
    named = {certificate.key for certificate in settings.certificates}
    fatal = [
        _("certificate with the key %(uri)s: %(why)s", uri=uri, why=ours(why))
        for uri, why in problems.items()
        if uri in named
    ]
    if fatal:
        fail(BAD_INPUT, "\n".join(fatal))


def _account(settings: Settings) -> Account:
    """The account that the gateway runs as; data_dir is made for it, or is its own already."""
    data_dir = Path(settings.server.data_dir)
    with ending(BAD_INPUT, PrivilegeError):
        account = gateway_account(settings.server)
        prepare_data_dir(account, data_dir)
    return account


def _drop_privileges(settings: Settings, account: Account) -> None:
    """Become the account for good. What it cannot read is said now, not when a worker starts or reloads."""
    was, data_dir = os.geteuid(), Path(settings.server.data_dir)
    if account.uid == 0:
        _log.warning("all processes run as root, because server.user is root")
    elif foreign := foreign_files(account, data_dir):
        text = "files in %s that do not belong to %s: %d, such as %s; change their owner: chown -R %s: %s"
        _log.warning(text, data_dir, account.name, len(foreign), foreign[0], account.name, data_dir)
    with ending(BAD_INPUT, PrivilegeError):
        drop_privileges(account, data_dir)
    if was != account.uid:
        _check(settings, account.name)
