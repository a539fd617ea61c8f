"""Decide what a journal copy requires of its next hop: TLS, and proof that the host is the one that is meant.

`policy.decisions.published` joins it to all that is asked of the host otherwise. Pure. The connector was checked when
it was saved (`policy.connectors.journal_rules`); this holds whatever it says by the time the copy leaves. A copy for
which no host is fit waits: none of the shortfalls is for good.
"""

from __future__ import annotations

from ipaddress import ip_address

from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.requirement import Authenticated, Identity, Requirement, Shortfall, Source

_SOURCE = Source("journal")
_STATUS = "4.7.10"
_TITLE = "Encryption needed (journal)"


def journal_demand(requirement: Requirement, host: str, domain: str, *, here: bool) -> Authenticated | Shortfall | None:
    """The requirement in addition to `requirement`; None if the copy does not leave this machine.

    A certificate name that the connector expects, TLSA records and MTA-STS policies are proof enough. Else the host
    bears its own name, which must then be known. domain: the one whose MX record names the host without proof, else "".
    """
    if here or host.startswith("/"):
        return None
    if isinstance(requirement, Authenticated) and (proofs := tuple(filter(_names_host, requirement.proofs))):
        return Authenticated((_SOURCE,), proofs, requirement.profile, revocation=RevocationCheck.NONE)
    if domain:
        return _unknown(
            host,
            f"the host proved to be that of {domain}",
            f"an MX record that neither DNSSEC nor MTA-STS proves, and no connector that proves {domain}",
        )
    if _is_address(host):
        return _unknown(host, "a host with a name to prove", f"{host}, an IP address, and no name in the connector")
    return Authenticated((_SOURCE,), (Identity((host,)),), requirement.profile, revocation=RevocationCheck.NONE)


def _names_host(proof: object) -> bool:
    return not isinstance(proof, Identity) or bool(proof.names)


def _unknown(host: str, expected: str, presented: str) -> Shortfall:
    detail = (
        f"Expected: {expected}. Presented: {presented}. Journal mail leaves only over verified TLS: write "
        f'tls_settings = "domain-validation" in the outbound connector that takes it to {host}. Set by journal.'
    )
    return Shortfall(None, _STATUS, "JournalNeedsVerifiedTls", detail, _TITLE)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        return False
    return True
