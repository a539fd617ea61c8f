"""Checks how well mail to a domain, or to one host, would be protected: jobs that run for up to a minute and a half.

What is checked and what it means is `analysis.checks.partner`'s. Here: by which settings, how long, and where the
gateway lets itself be sent by whoever asks. `gatepost check` makes one on its own machine, without a gateway.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.partner import Bounds, Checker
from gatepost.analysis.checks.partner_report import PartnerCheck, check_record
from gatepost.manage.access.principal import Principal, Scope, may_reach_private_addresses
from gatepost.manage.use_cases.declaration import InQuery, Items, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.jobs import Job, Jobs, Wait
from gatepost.manage.use_cases.name_lookup import visible
from gatepost.manage.use_cases.refusal import Refusal, wrong_field
from gatepost.net.anchors import AnchorsError
from gatepost.net.lookups.mtasts import PolicyHosts
from gatepost.net.lookups.validator import ValidatorError
from gatepost.policy.connectors.names import domain_name, host_port
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.settings.model import DnsValidation, Settings


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="checks")
MAIL_PORTS: Final = (25, 465, 587)
"""Ports of a host that is no smart host of ours."""
_SMTP: Final = 25
_STEPS: Final = 6  # of the time for one step is what a whole host gets: DNS, connect, greeting, TLS, EHLO, revocation
_SECONDS: Final = 15.0


type _Text = Annotated[str, Meta(max_length=1000)]
type Watch = Callable[[PartnerCheck], None]


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """Target of a check: a domain (A-labels) by its MX hosts where port is 0, else a host."""

    name: str
    port: int = 0

    @property
    def text(self) -> str:
        """As people write it."""
        if not self.port:
            return self.name
        host = f"[{self.name}]" if ":" in self.name else self.name
        return host if self.port == _SMTP else f"{host}:{self.port}"

    @property
    def kind(self) -> str:
        """Either "partner" or "host"."""
        return "host" if self.port else "partner"

    @property
    def organization(self) -> str:
        """Nobody's."""
        return ""


class CheckPartner(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """domain: whose MX hosts are looked at; an address in it does as well."""

    domain: _Text
    wait: Annotated[Wait, InQuery()] = 20.0


class CheckHost(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """host: "HOST" or "HOST:PORT"; port 25 unless written."""

    host: _Text
    wait: Annotated[Wait, InQuery()] = 20.0


class ShowCheck(msgspec.Struct, kw_only=True):
    """The check to show, and how long to wait for its result."""

    id: Annotated[str, Meta(description="Of the check, as its beginning answered.")]
    wait: Wait = 20.0


class CheckState(msgspec.Struct, frozen=True):
    """A check. result: as far as it came, as `gatepost check --json` prints it. trouble: why it ended without one."""

    id: str
    target: str
    kind: str
    done: bool
    trouble: str
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class PartnerCheckPlan:
    """One check that may be made: of whom, by which settings, how far."""

    target: CheckTarget
    settings: Settings
    bounds: Bounds


@use_case("POST /checks/partner", status=201, action="check-partner")
def check_partner(context: Context, request: CheckPartner) -> UseCaseReply[CheckState]:
    """Check whether mail to a domain would be delivered safely.

    Hosts are reached at public addresses only, unless the token may make connectors for the gateway.
    """
    return _started(context, request.domain, request.wait, is_host=False)


@use_case("POST /checks/host", status=201, action="check-host")
def check_host(context: Context, request: CheckHost) -> UseCaseReply[CheckState]:
    """Check whether mail to one host would be delivered safely.

    Other ports than 25, 465 and 587 are for smart hosts of connectors that are seen.
    """
    return _started(context, request.host, request.wait, is_host=True)


def _started(context: Context, text: str, wait: float, *, is_host: bool) -> UseCaseReply[CheckState]:
    context.audit.describe(subject=text.strip())
    target = target_of(text, host=is_host)
    context.audit.describe(subject=target.text)
    wanted = plan_check(context.gateway, context.principal, target)
    job: Job[CheckTarget, PartnerCheck] = context.kept(Jobs).start(
        target, context.principal, lambda progress: run_check(wanted, progress)
    )
    job.wait(wait)
    return UseCaseReply(_state(job), location=f"/checks/{job.id}")


@use_case("GET /checks/{id}")
def show_check(context: Context, request: ShowCheck) -> CheckState:
    """A check, as far as it came."""
    job = context.kept(Jobs).find(request.id, context.principal, CheckTarget)
    job.wait(request.wait)
    return _state(job)


class FollowCheck(msgspec.Struct, kw_only=True):
    """Choose one check."""

    id: str


@use_case()
def follow_check(context: Context, request: FollowCheck) -> Job[CheckTarget, PartnerCheck]:
    """A check, to be followed as it goes."""
    return context.kept(Jobs).find(request.id, context.principal, CheckTarget)


class ListRecentChecks(msgspec.Struct, kw_only=True):
    """The newest."""


@use_case()
def list_recent_checks(
    context: Context,
    request: ListRecentChecks,  # noqa: ARG001 - the newest
) -> Items[Job[CheckTarget, PartnerCheck]]:
    """The newest checks of partners and hosts."""
    return Items(context.kept(Jobs).recent(context.principal, CheckTarget))


def _state(job: Job[CheckTarget, PartnerCheck]) -> CheckState:
    done = job.done  # before the rest: with it comes all that there is to see
    result = check_record(job.result) if job.result is not None else None
    return CheckState(job.id, job.subject.text, job.subject.kind, done, job.trouble, result)


def target_of(text: str, *, host: bool = False) -> CheckTarget:
    """Parse a target: a domain or an address in it, or with host HOST[:PORT]. Raises Refusal (INPUT)."""
    field, said = "host" if host else "domain", text.strip()
    if not said:
        raise _wrong(field, f"enter a {field}")
    try:
        if host:
            return CheckTarget(*host_port(said, _SMTP))
        return CheckTarget(domain_name(said.rpartition("@")[2]))
    except ValueError as error:
        raise _wrong(field, str(error)) from error


def plan_check(gateway: Gateway, principal: Principal, target: CheckTarget) -> PartnerCheckPlan:
    """A check as they may make it. Raises Refusal (INPUT) for a port that is none of mail.

    Smart hosts that the gateway's owner wrote into their connectors may be anywhere. Others are reached at addresses
    that tenants may reach, unless they may make connectors for the whole gateway; and on ports of mail, or one that a
    connector of theirs names.
    """
    named = _smart_host(gateway, principal, target)
    inside = may_reach_private_addresses(principal) or named is _Named.BY_OWNER
    if target.port and not inside and named is _Named.NOT and target.port not in MAIL_PORTS:
        ports = ", ".join(map(str, MAIL_PORTS))
        raise _wrong(
            "host", f"port {target.port} is none of mail; the ports {ports} are, and those of your smart hosts"
        )
    settings = adjusted(gateway.settings, _SECONDS)
    bounds = bounds_of(_SECONDS, private=gateway.settings.outbound.private_policy_hosts)
    own = target.port in (0, *MAIL_PORTS)  # no other service of this machine
    return PartnerCheckPlan(target, settings, replace(bounds, bounded=not inside, own=own))


def run_check(plan: PartnerCheckPlan, watch: Watch | None = None) -> PartnerCheck:
    """Make the check; takes seconds, up to a minute and a half where hosts do not answer. watch: told as it goes.

    Raises Refusal (INPUT), with the setting that is to blame as its field.
    """

    async def run() -> PartnerCheck:
        checker = _checker(plan, watch)
        try:
            if plan.target.port:
                return await checker.host(plan.target.name, plan.target.port)
            return await checker.partner(plan.target.name)
        finally:
            await checker.close()

    return asyncio.run(run())


def adjusted(
    settings: Settings,
    timeout: float,
    *,
    nameservers: Sequence[str] = (),
    validation: DnsValidation | None = None,
    anchors: str = "",
) -> Settings:
    """The settings with no step of a check longer than `timeout` seconds; the rest in place of theirs, if given."""
    dns: dict[str, Any] = {"timeout": min(timeout, settings.dns.timeout)}
    if validation is not None:
        dns["validation"] = validation
    if nameservers:
        dns["nameservers"] = nameservers
    waits = dict.fromkeys(("connect_timeout", "greeting_timeout", "hello_timeout", "handshake_timeout"), timeout)
    tls: dict[str, Any] = {"revocation_timeout": min(timeout, settings.tls.revocation_timeout)}
    if anchors:
        tls["trust_anchors"] = anchors
    return settings.replaced(
        dns=settings.dns.replaced(**dns),
        outbound=settings.outbound.replaced(**waits),
        tls=settings.tls.replaced(**tls),
    )


def bounds_of(timeout: float, *, private: bool) -> Bounds:
    """Limits of a check. private: the MTA-STS policy host may be at any address."""
    return Bounds(timeout * _STEPS, policy_hosts=PolicyHosts(timeout=timeout, private=private))


def _checker(plan: PartnerCheckPlan, watch: Watch | None) -> Checker:
    try:
        return Checker(plan.settings, plan.bounds, watch)
    except AnchorsError as error:
        raise _wrong("anchors", str(error)) from error
    except ValidatorError as error:
        raise _wrong("validate", str(error)) from error
    except ValueError as error:
        raise _wrong("nameserver", str(error)) from error


class _Named(Enum):
    """Whether connectors name a host and port, and who wrote that."""

    NOT = auto()
    BY_TENANT = auto()
    BY_OWNER = auto()


def _smart_host(gateway: Gateway, principal: Principal, target: CheckTarget) -> _Named:
    granted = [
        ("smart_hosts", str(host)) not in connector.ungranted
        for organization in visible(gateway.directory().resources, principal).organizations
        for connector in organization.outbound_connectors
        for host in connector.smart_hosts
        if target.port and (host.host, host.port) == (target.name, target.port)
    ]
    if not granted:
        return _Named.NOT
    return _Named.BY_OWNER if any(granted) else _Named.BY_TENANT


def _wrong(field: str, text: str) -> Refusal:
    return wrong_field(field, text, f"{field}: {text}")
