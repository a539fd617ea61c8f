"""Lint a valid MTA-STS policy: hosts it leaves out, names that match nothing, a lifetime too short.

Used by `protocols.mtasts.publish` for our own policies and, later, by `checks` for a partner's. It changes nothing:
what a sender makes of a policy is RFC 8461's, not ours.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from gatepost.protocols.mtasts.policy import StsMode, covers
from gatepost.protocols.tls.names import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.protocols.mtasts.policy import StsPolicy


SHORT: Final = 86_400  # seconds: a sender refreshes once a day, so that a shorter one is often not there
LONG: Final = 15_778_800  # half a year

type Level = Literal["info", "warn", "fail"]


class LintKind(StrEnum):
    """The kind of a lint warning."""

    HOST_NOT_COVERED = "host-not-covered"
    MX_NEVER_MATCHES = "mx-never-matches"
    MX_UNUSED = "mx-unused"
    MAX_AGE_SHORT = "max-age-short"
    MAX_AGE_LONG = "max-age-long"
    MODE_TESTING = "mode-testing"
    MODE_NONE = "mode-none"


class Lint(msgspec.Struct, frozen=True):
    """One remark. level: "fail", if mail is not delivered because of it. text: what, and what to do."""

    kind: LintKind
    level: Level
    text: str


def lint(policy: StsPolicy, hosts: Sequence[str] = ()) -> tuple[Lint, ...]:
    """Remarks on a policy. hosts: the domain's MX hosts as DNS has them; () if they are not known."""
    return (*_mode(policy), *_hosts(policy, hosts), *_patterns(policy, hosts), *_age(policy))


def _mode(policy: StsPolicy) -> Iterator[Lint]:
    if policy.mode is StsMode.TESTING:
        text = "mode testing protects no mail, it only reports failures; enforce when the reports are clean"
        yield Lint(LintKind.MODE_TESTING, "info", text)
    if policy.mode is StsMode.NONE:
        text = "mode none withdraws MTA-STS; keep it until every older policy's max_age has passed"
        yield Lint(LintKind.MODE_NONE, "info", text)


def _hosts(policy: StsPolicy, hosts: Sequence[str]) -> Iterator[Lint]:
    if policy.mode is StsMode.NONE:
        return
    for host in hosts:
        if policy.matches(host):
            continue
        effect = "is not delivered to" if policy.mode is StsMode.ENFORCE else "is reported as failing"
        near = _near(policy, host)
        hint = f"; {near} stands for one label only" if near else ""
        level: Level = "fail" if policy.mode is StsMode.ENFORCE else "warn"
        text = f"the MX host {host} {effect}: no mx of the policy covers it{hint}; add mx: {_advice(host)}"
        yield Lint(LintKind.HOST_NOT_COVERED, level, text)


def _near(policy: StsPolicy, host: str) -> str:
    """A wildcard that was probably meant to cover `host`, "" if there is none."""
    name = normalise(host)
    return next((mx for mx in policy.mx if mx.startswith("*.") and f".{name}".endswith(mx[1:])), "")


def _advice(host: str) -> str:
    return normalise(host) or host


def _patterns(policy: StsPolicy, hosts: Sequence[str]) -> Iterator[Lint]:
    names = [normalise(host) for host in hosts]
    for pattern in policy.mx:
        if why := _impossible(pattern):
            yield Lint(LintKind.MX_NEVER_MATCHES, "warn", f"mx {pattern} can never match: {why}")
        elif names and not any(covers(pattern, name) for name in names):
            yield Lint(LintKind.MX_UNUSED, "info", f"mx {pattern} covers none of the MX hosts that DNS has now")


def _impossible(pattern: str) -> str:
    """Explain why no MX host can have this name, "" if one can."""
    name = pattern.removeprefix("*.")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return "an MX record names a host, never an address"
    if pattern == name and "." not in name:
        return "MX hosts have whole names, as mail.b.example"
    return ""


def _age(policy: StsPolicy) -> Iterator[Lint]:
    if policy.mode is StsMode.ENFORCE and policy.max_age < SHORT:
        text = (
            f"max_age {policy.max_age} is less than a day: whoever disturbs DNS or HTTPS that long can switch the "
            "policy off; 604800 (a week) or more is usual"
        )
        yield Lint(LintKind.MAX_AGE_SHORT, "warn", text)
    if policy.mode is not StsMode.NONE and policy.max_age > LONG:
        text = f"max_age {policy.max_age} is more than half a year: a sender may apply a wrong policy that long"
        yield Lint(LintKind.MAX_AGE_LONG, "info", text)
