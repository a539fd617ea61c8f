"""Lint resources for `gatepost apply`, `doctor` and the admin centre: warnings about what is probably not meant."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors import oauth, tls_rules, values
from gatepost.policy.connectors.content_hook import scanner_host
from gatepost.policy.connectors.inbound_lint import lint_inbound
from gatepost.policy.connectors.names import Network, covers, is_this_machine, network, patterns
from gatepost.policy.connectors.next_hop_rules import lint_next_hops
from gatepost.policy.connectors.publication import publication
from gatepost.policy.connectors.quarantine_rules import lint_quarantine
from gatepost.policy.connectors.recipient_rules import warn_of_validation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector
    from gatepost.policy.connectors.resources import Resources


_OVERLAPS: Final = 3  # networks of others that are named for each
_COMPARED: Final = 300_000  # connectors and domains of pairs, in an organization: about a second
_SAID: Final = 1000  # sentences about pairs, in an organization


def warnings(resources: Resources, hostname: str = "") -> list[str]:
    """Everything to think about again, one sentence each, in the order of the resources.

    hostname: the gateway's own, "" if it is not known.
    """
    result: list[str] = []
    for organization in resources.organizations:
        result.extend(_domains(organization))
        for domain in (
            accepted_domain for accepted_domain in organization.accepted_domains if accepted_domain.verified
        ):
            result.extend(_policy(domain, f"accepted domain {domain.name} of {organization.name}", hostname))
        result.extend(lint_inbound(organization))
        for outbound in organization.outbound_connectors:
            if outbound.enabled:
                label = f"outbound connector {outbound.name!r} of {organization.name}"
                result.extend(_outbound(outbound, label))
                result.extend(tls_rules.lint(outbound, label, inbound=False))
        result.extend(_pairs(organization))
        result.extend(_rules(organization))
        for issuer in organization.oauth_issuers:
            if issuer.enabled:
                result.extend(oauth.lint(issuer, f"OAuth issuer {issuer.name!r} of {organization.name}"))
        result.extend(lint_limits(organization))
        result.extend(_hooks(organization))
        result.extend(lint_quarantine(organization))
        result.extend(_authentication(organization))
        result.extend(_dkim(organization))
    result.extend(_shared_addresses(resources))
    return result


def _placed(organization: Organization) -> list[OutboundConnector]:
    """The connectors that take mail by its domain, as `policy.connectors.directory` has them."""
    return [
        connector
        for connector in organization.outbound_connectors
        if connector.enabled and not connector.is_transport_rule_scoped
    ]


def _domains(organization: Organization) -> Iterator[str]:
    addresses = {box.address.lower() for box in organization.mailboxes}
    populated = {address.rpartition("@")[2] for address in addresses}
    for domain in organization.accepted_domains:
        label = f"accepted domain {domain.name} of {organization.name}"
        if not domain.verified:
            yield (
                f"{label}: it is pending: until it is verified, the gateway accepts no mail for it, and its mailboxes, "
                "aliases and DKIM keys have no effect"
            )
            continue
        if domain.name.startswith("*.") and domain.recipient_validation is values.RecipientValidation.NONE:
            yield f"{label}: the gateway accepts and forwards mail to every name under it, misspelt ones too"
        if domain.type is values.DomainType.INTERNAL_RELAY and not _is_routed(domain.name, organization):
            yield (
                f"{label}: no outbound connector takes its mail, so mail without a mailbox here goes by MX, which may "
                "lead back here; name the domain in an on-premises connector with smart_hosts"
            )
        yield from warn_of_validation(domain, addresses, label)
        if domain.type is values.DomainType.AUTHORITATIVE and domain.name in populated:
            yield from _authoritative(domain.name, organization, label)
            if f"postmaster@{domain.name}" not in addresses:
                yield f"{label}: there is no postmaster@{domain.name}, which RFC 5321 section 4.5.1 requires"


def _policy(domain: AcceptedDomain, label: str, hostname: str) -> Iterator[str]:
    """The MTA-STS policy that is served for it."""
    made = publication(domain, hostname or "mx.example")
    if made is None:
        if domain.mta_sts_mx:
            yield f"{label}: mta_sts_mx has no effect, as no policy is published; write mta_sts"
        return
    yield from (f"{label}: {remark.text}" for remark in made.remarks if remark.level != "info")
    if hostname and domain.mta_sts is values.PublishedSts.ENFORCE and not made.policy.matches(hostname):
        yield (
            f"{label}: its policy leaves out {hostname}, this gateway: senders that obey it do not deliver here; add "
            "it to mta_sts_mx, unless other hosts are the MX"
        )
    for pattern in domain.mta_sts_mx:
        if pattern.startswith("*.") and "." not in pattern[2:]:
            yield f"{label}: mta_sts_mx {pattern} allows every host right below a top-level domain; name the hosts"


def _authoritative(domain: str, organization: Organization, label: str) -> Iterator[str]:
    """Hybrid: recipients elsewhere bounce here and never reach the connector that leads to them."""
    for connector in _placed(organization):
        if connector.connector_type is values.ConnectorType.ON_PREMISES and (
            connector.all_accepted_domains or any(covers(pattern, domain) for pattern in connector.recipient_domains)
        ):
            yield (
                f"{label}: recipients without a mailbox here are refused and never reach outbound connector "
                f'{connector.name!r}; write type = "internal-relay" if they have one on-premises'
            )


def _is_routed(domain: str, organization: Organization) -> bool:
    bare = domain.removeprefix("*.")
    return any(
        connector.all_accepted_domains
        or connector.route_all_messages_via_on_premises
        or any(covers(pattern, bare) for pattern in connector.recipient_domains)
        for connector in _placed(organization)
    )


def _outbound(connector: OutboundConnector, label: str) -> Iterator[str]:
    if connector.all_accepted_domains and "*" in connector.recipient_domains:
        yield f'{label}: with all_accepted_domains, "*" takes all mail to the Internet too'
    if connector.is_transport_rule_scoped and connector.recipient_domains:
        yield f"{label}: only mail flow rules use it, so its recipient_domains have no effect; put them into the rule"
    yield from _by_mx(connector, label)
    yield from lint_next_hops(connector, label)
    if connector.tls_settings is values.TlsSettings.DOMAIN_VALIDATION and connector.tls_domain is None:
        expected = "the smart host's own name" if connector.smart_hosts else "the recipient domain's own name"
        yield f"{label}: without tls_domain the certificate must have {expected}"
    if connector.tls_domain is not None and "." not in connector.tls_domain.removeprefix("*."):
        yield f"{label}: tls_domain {connector.tls_domain} covers a whole top-level domain"
    if connector.cloud_services_mail_enabled:
        yield from _cross_premises(connector, label)


def _cross_premises(connector: OutboundConnector, label: str) -> Iterator[str]:
    """Warn where Exchange may not believe what cloud_services_mail_enabled tells it (exchange.md section 9.4)."""
    if connector.tls_settings is not values.TlsSettings.DOMAIN_VALIDATION or connector.mode is values.Mode.REHEARSE:
        yield (
            f"{label}: cloud_services_mail_enabled sends header fields for the organization's own Exchange to any "
            'server that answers; write tls_settings = "domain-validation" and tls_domain, in force'
        )
    if connector.client_certificate is None:
        yield (
            f"{label}: Exchange believes the header fields of cloud_services_mail_enabled only of a gateway that shows "
            "its certificate; write client_certificate"
        )


def _by_mx(connector: OutboundConnector, label: str) -> Iterator[str]:
    if not connector.use_mx_record:
        return
    if connector.route_all_messages_via_on_premises:
        yield f"{label}: it sends each message to its own domain's MX, so nothing goes on-premises; write smart_hosts"
    if connector.all_accepted_domains:
        yield (
            f"{label}: it sends to the MX of accepted domains, which usually is this gateway, so mail loops; write "
            "smart_hosts"
        )


def _pairs(organization: Organization) -> Iterator[str]:
    """Traps of any two connectors; who has thousands that may take mail from each other is told that some are left."""
    left, said = _COMPARED, 0
    for connector, other in _related(sorted(_placed(organization), key=lambda each: (each.priority, each.name))):
        left -= 1 + len(connector.recipient_domains) + len(other.recipient_domains)
        if left < 0 or said >= _SAID:
            yield (
                f"{organization.name} has so many outbound connectors that may take mail from each other that not all "
                "pairs were compared; make them fewer, or name fewer domains in each"
            )
            break
        yield from (sentences := list(_pair(connector, other, organization)))
        said += len(sentences)


def _related(placed: Sequence[OutboundConnector]) -> Iterator[tuple[OutboundConnector, OutboundConnector]]:
    """The pairs, in order, of which one may take mail from the other: of thousands of connectors almost none.

    They name one domain both, or take all accepted ones both; or one takes more than it names, or is in rehearsal.
    """
    far = {place for place, connector in enumerate(placed) if _reaches_far(connector)}
    naming: dict[str, list[int]] = {}
    for place, connector in enumerate(placed):
        for domain in dict.fromkeys(_named(connector)):
            naming.setdefault(domain, []).append(place)
    for place, connector in enumerate(placed):
        others = range(len(placed)) if place in far else far.union(*(naming[each] for each in set(_named(connector))))
        for other in sorted(each for each in others if each > place):
            yield connector, placed[other]


def _named(connector: OutboundConnector) -> tuple[str, ...]:
    """Where a connector stands: its domains, and "" for all accepted ones."""
    return (*connector.recipient_domains, *([""] if connector.all_accepted_domains else []))


def _reaches_far(connector: OutboundConnector) -> bool:
    every = connector.route_all_messages_via_on_premises or connector.mode is values.Mode.REHEARSE
    return every or any(domain.startswith("*") for domain in connector.recipient_domains)


def _pair(first: OutboundConnector, second: OutboundConnector, organization: Organization) -> Iterator[str]:
    """Traps of two connectors, the first of which goes before the second where they stand at the same place."""
    shared = sorted(set(first.recipient_domains) & set(second.recipient_domains))
    if shared and first.priority == second.priority:
        yield (
            f"outbound connectors {first.name!r} and {second.name!r} of {organization.name} both name "
            f"{', '.join(shared)}; {first.name!r} wins by its name, give them priorities"
        )
    if first.all_accepted_domains and second.all_accepted_domains and first.priority == second.priority:
        yield (
            f"outbound connectors {first.name!r} and {second.name!r} of {organization.name} both take all accepted "
            f"domains; {first.name!r} wins by its name, give them priorities"
        )
    if first.priority < second.priority and (covered := _covered(first, second)):
        yield (
            f"outbound connector {first.name!r} of {organization.name} goes before {second.name!r} by its priority "
            f"{first.priority}, so the latter never gets mail to {', '.join(covered)}; make the priorities equal, and "
            "the more specific domain decides"
        )
    for connector, other in ((first, second), (second, first)):
        if connector.mode is values.Mode.REHEARSE and _forces(other) and _may_take_over(connector, other):
            yield (
                f"outbound connector {connector.name!r} of {organization.name} is in rehearsal and may take mail from "
                f"{other.name!r}, whose {other.tls_settings} is then not enforced for it"
            )
        if connector.route_all_messages_via_on_premises and _forces(other) and not other.all_accepted_domains:
            yield (
                f"outbound connector {connector.name!r} of {organization.name} takes all mail first, so {other.name!r} "
                f"and its {other.tls_settings} apply only to mail that comes back from there"
            )


def _covered(first: OutboundConnector, second: OutboundConnector) -> list[str]:
    """The domains of `second` that a less specific one of `first` takes in whole."""
    wides = frozenset(first.recipient_domains)
    return sorted(
        narrow
        for narrow in second.recipient_domains
        if any(wide in wides and _wider(wide, narrow) for wide in patterns(narrow.removeprefix("*.")))
    )


def _wider(one: str, other: str) -> bool:
    """Whether the first pattern is less specific than the second."""
    if one == "*":
        return other != "*"
    return one != other and (one.startswith("*.") and len(one) - 2 <= len(other.removeprefix("*.")))


def _rules(organization: Organization) -> Iterator[str]:
    connectors = {connector.name.lower(): connector for connector in organization.outbound_connectors}
    named = set()
    for rule in organization.mail_flow_rules:
        if rule.enabled:
            label = f"mail flow rule {rule.name!r} of {organization.name}"
            yield from _rule(rule, label)
            if (route := connectors.get(rule.route_via_connector.lower())) is not None:
                named.add(route.name)
                yield from _route(rule, route, label)
    for connector in organization.outbound_connectors:
        if connector.enabled and connector.is_transport_rule_scoped and connector.name not in named:
            yield (
                f"outbound connector {connector.name!r} of {organization.name}: no enabled mail flow rule names it, "
                "so it takes no mail; write route_via_connector in a rule"
            )


def _authentication(organization: Organization) -> Iterator[str]:
    if organization.authentication_results is values.AuthenticationResults.RSPAMD and not any(
        hook.enabled
        and hook.type is values.HookType.RSPAMD
        and hook.direction is not values.HookDirection.OUTBOUND
        and hook.change_header
        and hook.mode is values.Mode.ENFORCE
        for hook in organization.content_hooks
    ):
        yield (
            f'{organization.name}: authentication_results = "rspamd", and no content hook of type rspamd adds header '
            "fields to inbound mail, so that mail gets no results; add such a hook with change_header and mode = "
            '"enforce", or write authentication_results = "gateway"'
        )


def _hooks(organization: Organization) -> Iterator[str]:
    for hook in organization.content_hooks:
        host = scanner_host(hook.address)
        if hook.enabled and not hook.address.startswith("https://") and not is_this_machine(host):
            yield (
                f"content hook {hook.name!r} of {organization.name}: whole messages go to {host} unencrypted; run the "
                "scanner on this machine, give rspamd an https address, or put a tunnel between the two"
            )


def _dkim(organization: Organization) -> Iterator[str]:
    current = [key for key in organization.dkim_keys if key.state is values.DkimState.CURRENT]
    rsa = {key.domain for key in current if key.algorithm is values.DkimAlgorithm.RSA_SHA256}
    for domain in sorted({key.domain for key in current} - rsa):
        yield (
            f"DKIM keys of {domain} of {organization.name}: the gateway signs with Ed25519 alone, which many receivers "
            f"do not verify; add an RSA key too: gatepost dkim add {domain}"
        )


def _rule(rule: MailFlowRule, label: str) -> Iterator[str]:
    if not (rule.senders or rule.recipients or rule.header_name or rule.except_senders or rule.except_recipients):
        yield f"{label}: it has no condition and applies to all mail; name senders, recipients or a header_name"
    if "*" in rule.except_senders or "*" in rule.except_recipients:
        yield f'{label}: "*" as an exception excludes every message; remove it'
    if rule.mode is values.Mode.REHEARSE and rule.stop_rule_processing:
        yield f'{label}: in rehearsal it does not stop other rules; with mode = "enforce" it will'


def _route(rule: MailFlowRule, connector: OutboundConnector, label: str) -> Iterator[str]:
    if not connector.enabled:
        yield f"{label}: outbound connector {connector.name!r} is disabled, so the mail waits and expires; enable it"
    if rule.mode is values.Mode.ENFORCE and connector.mode is values.Mode.REHEARSE and not rule.require_tls:
        yield (
            f"{label}: outbound connector {connector.name!r} is in rehearsal, so its {connector.tls_settings} is not "
            "enforced for mail that another one may have protected; write require_tls = true in the rule to keep TLS"
        )
    on_premises = connector.connector_type is values.ConnectorType.ON_PREMISES
    if on_premises and not connector.route_all_messages_via_on_premises and not rule.recipients:
        yield (
            f"{label}: it sends mail that comes back from on-premises there again by {connector.name!r}, so mail "
            "loops; add recipients, or an exception for that mail"
        )


def _forces(connector: OutboundConnector) -> bool:
    return connector.mode is values.Mode.ENFORCE and connector.tls_settings is not values.TlsSettings.OPPORTUNISTIC


def _may_take_over(connector: OutboundConnector, other: OutboundConnector) -> bool:
    """Whether some domain of `other` is one of `connector` as well."""
    if connector.route_all_messages_via_on_premises or (connector.all_accepted_domains and other.all_accepted_domains):
        return True
    return _takes_in(connector, other) or _takes_in(other, connector)


def _takes_in(connector: OutboundConnector, other: OutboundConnector) -> bool:
    wides = frozenset(connector.recipient_domains)
    return any(not wides.isdisjoint(patterns(each.removeprefix("*."))) for each in other.recipient_domains)


def _shared_addresses(resources: Resources) -> Iterator[str]:
    """Networks of on-premises connectors of different organizations that overlap (exchange.md section 5.1).

    Of one that overlaps with those of many, the narrowest around it are named: all pairs would be the square of them.
    """
    held = [
        (network(text), organization.name, connector.name)
        for organization in resources.organizations
        for connector in organization.inbound_connectors
        if connector.enabled and connector.connector_type is values.ConnectorType.ON_PREMISES
        for text in connector.sender_ip_addresses
    ]
    # Two networks overlap only if one holds the other: in this order, those around the next one are at hand.
    held.sort(key=lambda row: (row[0].version, int(row[0].network_address), row[0].prefixlen))
    around: list[tuple[Network, str, str]] = []
    for its, other, other_name in held:
        while around and not (around[-1][0].version == its.version and around[-1][0].overlaps(its)):
            around.pop()
        others = islice((each for each in reversed(around) if each[1] != other), _OVERLAPS)
        for own, owner, name in reversed(list(others)):
            yield (
                f"{owner} and {other} share addresses: {own} of connector {name!r} and {its} of {other_name!r}; "
                "only the sender's domain then tells whose mail it is; distinguish the servers by certificate"
            )
        around.append((its, other, other_name))


def lint_limits(organization: Organization) -> Iterator[str]:
    """Limits that have no effect, a sentence each."""
    for mailbox in organization.mailboxes:
        label = f"mailbox {mailbox.address} of {organization.name}"
        ceiling = organization.user_messages_per_day, organization.user_recipients_per_day
        yield from _daily(mailbox, label, ceiling, "user")
    for connector in organization.inbound_connectors:
        label = f"inbound connector {connector.name!r} of {organization.name}"
        if connector.connector_type is values.ConnectorType.ON_PREMISES:
            ceiling = organization.server_messages_per_day, organization.server_recipients_per_day
            yield from _daily(connector, label, ceiling, "server")
        elif connector.messages_per_day or connector.recipients_per_day:
            yield f"{label}: messages_per_day and recipients_per_day act on on-premises connectors only; leave them out"


def _daily(part: Mailbox | InboundConnector, label: str, ceiling: tuple[int, int], kind: str) -> Iterator[str]:
    for noun, own, most in zip(
        ("messages", "recipients"), (part.messages_per_day, part.recipients_per_day), ceiling, strict=True
    ):
        if most and own >= most:
            yield (
                f"{label}: {noun}_per_day = {own} has no effect, as {kind}_{noun}_per_day of the organization is {most}"
            )
    if part.messages_per_day and 0 < part.recipients_per_day < part.messages_per_day:
        yield f"{label}: messages_per_day has no effect, as recipients_per_day is lower"
