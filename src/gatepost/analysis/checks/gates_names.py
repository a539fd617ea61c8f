"""Check that a staged certificate covers every name that partners look for. Pure.

The names: the gateway's own, those of the certificates that it replaces, the MX hosts of our accepted domains as the
DNS has them, and what our MTA-STS policies promise (RFC 8461 section 4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.analysis.checks.gates import GateCheck, GateFinding
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.lifecycle import after_switch, is_covered, lost_names, names_of
from gatepost.protocols.mtasts.policy import StsMode, covers
from gatepost.protocols.mtasts.publish import policy_host
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.pki.certificates.entry import Entry
    from gatepost.protocols.mtasts.publish import StsPublication


_SHOWN = 8


class Expected(msgspec.Struct, frozen=True):
    """A name that partners look for. why: half a sentence. ours: it is certain that it is this gateway's."""

    name: str
    why: str
    ours: bool = False


def expected_names(
    hostname: str, hosts: Mapping[str, Sequence[str] | str], policies: Sequence[StsPublication], *, served: bool
) -> tuple[Expected, ...]:
    """hosts: of the MX records of each accepted domain; a str is why they are not known. served: policies are."""
    by_name = {hostname: Expected(hostname, "the gateway's own name (server.hostname)", ours=True)}
    for domain, names in hosts.items():
        for name in () if isinstance(names, str) else names:
            by_name.setdefault(name, Expected(name, f"MX host of {domain}"))
    for policy in policies:
        for pattern in policy.policy.mx if policy.policy.mode is not StsMode.NONE else ():
            if not pattern.startswith("*."):
                by_name.setdefault(pattern, Expected(pattern, f"in the MTA-STS policy of {policy.domain}"))
        if served:
            name = policy_host(policy.domain)
            by_name.setdefault(name, Expected(name, f"host of the MTA-STS policy of {policy.domain}"))
    return tuple(by_name.values())


def our_hosts(entry: Entry, hostname: str, hosts: Mapping[str, Sequence[str] | str]) -> dict[str, bool]:
    """Names that the certificate covers: whether mail is known to come there, as to the gateway's own and MX hosts.

    It may come to every other name that stands in it, too: of some domain the MX records may not be known.
    """
    listed = (name for names in hosts.values() if not isinstance(names, str) for name in names)
    result = {name: True for name in (hostname, *listed) if is_covered(name, [entry])}
    for name in entry.leaf.dns_names:
        if not name.startswith("*."):
            result.setdefault(name, False)
    return result


def names_findings(
    entry: Entry,
    entries: Mapping[str, Entry],
    expected: Sequence[Expected],
    hosts: Mapping[str, Sequence[str] | str],
    policies: Sequence[StsPublication],
) -> Iterator[GateFinding]:
    """Everything there is to say about names. Of a client certificate there is nothing to cover."""
    if entry.purpose is Purpose.CLIENT:
        yield GateFinding(GateCheck.NAMES, Mark.INFO, f"a client certificate, for {entry.label or entry.organization}")
        return
    before = [
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and candidate.purpose is entry.purpose
    ]
    after = after_switch(entry, entries)
    lost = lost_names(entry, entries)
    covered = [candidate for candidate in expected if is_covered(candidate.name, after)]
    if lost:
        shown = ", ".join(lost[:_SHOWN])
        fix = "Get a certificate with all names, or add another certificate for the missing names."
        yield GateFinding(
            GateCheck.NAMES, Mark.FAIL, f"it lacks names of the current certificate: {shown}", _borne(entry), fix
        )
    for expectation in expected:
        if expectation not in covered and expectation.name not in lost:
            yield _uncovered(entry, expectation, lost=is_covered(expectation.name, before))
    if covered:
        shown = ", ".join(f"{expectation.name} ({own(expectation.why)})" for expectation in covered[:_SHOWN])
        yield GateFinding(GateCheck.NAMES, Mark.PASS, f"covered: {shown}", _borne(entry))
    for domain, names in hosts.items():
        if isinstance(names, str):
            text = f"the MX hosts of {domain} cannot be looked up, so it is not known whether they are covered"
            # What the current ones cover stays covered, or it is told above: then it is no worse than now.
            mark = Mark.UNKNOWN if lost or not before else Mark.WARN
            yield GateFinding(GateCheck.NAMES, mark, text, names, "Try again; check [dns] in the settings.")
    yield from _promised(after, hosts, policies)


def _borne(entry: Entry) -> str:
    names = names_of(entry)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it is for {', '.join(names[:_SHOWN]) or 'no name'}{more}"


def _uncovered(entry: Entry, one: Expected, *, lost: bool) -> GateFinding:
    fix = f"Get a certificate with {one.name} as subjectAltName, or add another certificate for that name."
    if lost:
        return GateFinding(
            GateCheck.NAMES, Mark.FAIL, f"{one.name} would no longer be covered ({own(one.why)})", _borne(entry), fix
        )
    if one.ours:
        return GateFinding(
            GateCheck.NAMES, Mark.FAIL, f"{one.name} is not covered ({own(one.why)})", _borne(entry), fix
        )
    text = f"{one.name} is not covered, neither before nor after the switch ({own(one.why)})"
    return GateFinding(
        GateCheck.NAMES, Mark.WARN, text, fix=f"If that host is this gateway: {own(fix[0].lower() + fix[1:])}"
    )


def _promised(
    after: Sequence[Entry], hosts: Mapping[str, Sequence[str] | str], policies: Sequence[StsPublication]
) -> Iterator[GateFinding]:
    """Senders that obey a policy deliver to the MX hosts that it allows, if their certificates bear those names."""
    for policy in policies:
        names = hosts.get(policy.domain, ())
        if isinstance(names, str) or policy.policy.mode is StsMode.NONE:
            continue
        allowed = [name for name in names if any(covers(pattern, name) for pattern in policy.policy.mx)]
        if allowed and not any(is_covered(name, after) for name in allowed):
            text = (
                f"it covers no MX host that the MTA-STS policy of {policy.domain} allows: {', '.join(allowed[:_SHOWN])}"
            )
            mark = Mark.FAIL if policy.policy.mode is StsMode.ENFORCE else Mark.WARN
            fix = "Get a certificate with one of these names; otherwise senders that obey the policy stop delivering."
            yield GateFinding(GateCheck.NAMES, mark, text, f"mode of the policy: {policy.policy.mode}", fix)
