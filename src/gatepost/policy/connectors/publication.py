"""The MTA-STS policies of our own accepted domains, made from the resources (RFC 8461).

Used by `node.policy_host`, which serves them, by `gatepost domain mta-sts`, and by `policy.connectors.rules` and
`policy.connectors.lint`, so that what is saved can be served. The text itself is made in `protocols.mtasts.publish`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import PublishedSts
from gatepost.protocols.mtasts.policy import StsMode
from gatepost.protocols.mtasts.publish import StsPublication, policy_host, publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.records import Organization


def publication(domain: AcceptedDomain, hostname: str, *, hosts: Sequence[str] = ()) -> StsPublication | None:
    """The MTA-STS policy to publish for a domain, None if there is none; a pending domain never has one.

    hostname: the gateway's own, which the policy names where no mta_sts_mx is written. hosts: the MX hosts that DNS
    has, for the remarks. Raises ValueError with a sentence if no sender could use the policy.
    """
    if domain.mta_sts is PublishedSts.NOT_PUBLISHED or not domain.verified:
        return None
    mode = StsMode(domain.mta_sts.value)
    own = () if mode is StsMode.NONE else (hostname,)
    return publish(domain.name, mode, domain.mta_sts_mx or own, int(domain.mta_sts_max_age), hosts=hosts)


def publications(organizations: Sequence[Organization], hostname: str) -> dict[str, StsPublication]:
    """All that is published, by the name of the host that serves it: "mta-sts.contoso.example"."""
    made = (publication(domain, hostname) for organization in organizations for domain in organization.accepted_domains)
    return {
        policy_host(sts_publication.domain): sts_publication for sts_publication in made if sts_publication is not None
    }


def to_do(before: Sequence[Organization], after: Sequence[Organization], hostname: str) -> Iterator[str]:
    """Yield the DNS changes to make after a change of resources: a sentence for each domain whose policy changes."""
    old, new = publications(before, hostname), publications(after, hostname)
    for host, published in new.items():
        if host not in old or old[host].record != published.record:
            line = published.zone_line
            yield f"{published.domain}: once the gateway serves the policy, add its TXT record to the zone: {line}"
    for host, published in old.items():
        if host not in new and published.policy.mode is not StsMode.NONE:
            yield (
                f"{published.domain}: senders keep the policy for up to {format_duration(published.policy.max_age)} "
                'after they fetched it, and obey it all that time; withdraw it with mta_sts = "none" first'
            )
