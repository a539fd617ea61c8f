"""Rules across fields and across the parts of an organization: what Exchange refuses when saving.

Applied by `policy.connectors.model.parse` to drafts; a rule is left out where a field that it reads is wrong by itself.
Each text says what contradicts what and how to resolve it. Rules across organizations are in
`policy.connectors.verification`; what is allowed but probably not meant is in `policy.connectors.lint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.policy.connectors import known_by_address
from gatepost.policy.connectors.journal_rules import check_journal
from gatepost.policy.connectors.names import circle_from, covers, network, patterns
from gatepost.policy.connectors.next_hop_rules import check_next_hops
from gatepost.policy.connectors.publication import publication
from gatepost.policy.connectors.recipient_rules import check_validation
from gatepost.policy.connectors.signing_keys import check_keys
from gatepost.policy.connectors.tls_rules import check_inbound, check_outbound
from gatepost.policy.connectors.values import (
    Cleartext,
    ConnectorType,
    DomainType,
    HookType,
    ProfileName,
    PublishedSts,
    RevocationCheck,
    SmtpDaneMode,
    TlsSettings,
    TlsVersion,
)
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.content_hook import ContentHook
    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.reader import OrganizationDraft
    from gatepost.policy.connectors.records import InboundConnector, Mailbox, OutboundConnector
    from gatepost.policy.connectors.resources import PrefixLimits


class _Rule[C](msgspec.Struct, frozen=True):
    """field: where the error is shown. reads: all fields that must be right by themselves before it can be asked."""

    field: str
    reads: frozenset[str]
    broken: Callable[[C], bool]
    message: str


def _rule[C](fields: str, broken: Callable[[C], bool], message: str) -> _Rule[C]:
    names = fields.split()
    return _Rule(names[0], frozenset(names), broken, message)


def _on_premises(connector: InboundConnector | OutboundConnector) -> bool:
    return connector.connector_type is ConnectorType.ON_PREMISES


def _old_version(connector: InboundConnector | OutboundConnector) -> bool:
    version = connector.min_tls_version
    return version is not None and version < TlsVersion.TLS_1_2 and connector.profile is not ProfileName.LEGACY


def _top_level(name: str) -> bool:
    return name.startswith("*.") and "." not in name.removeprefix("*.")


_OLD_VERSION = (
    'TLS 1.0 and 1.1 are off in every other profile; write profile = "legacy" as well, or name TLSv1.2 or newer'
)

_ANY_CERTIFICATE = {TlsSettings.OPPORTUNISTIC, TlsSettings.ENCRYPTION_ONLY}

_INBOUND: tuple[_Rule[InboundConnector], ...] = (
    _rule(
        "sender_domains connector_type",
        lambda connector: not _on_premises(connector) and not connector.sender_domains,
        'a partner connector applies to mail of certain domains; name them, or "*" for all mail',
    ),
    _rule(
        "sender_ip_addresses connector_type tls_sender_certificate_name",
        lambda part: _on_premises(part) and not part.sender_ip_addresses and not part.tls_sender_certificate_name,
        "an on-premises connector knows the organization's servers by tls_sender_certificate_name or by "
        "sender_ip_addresses; write one of them",
    ),
    _rule(
        "restrict_domains_to_certificate tls_sender_certificate_name",
        lambda connector: connector.restrict_domains_to_certificate and not connector.tls_sender_certificate_name,
        "there is no certificate name to restrict to; write tls_sender_certificate_name",
    ),
    _rule(
        "restrict_domains_to_ip_addresses sender_ip_addresses",
        lambda connector: connector.restrict_domains_to_ip_addresses and not connector.sender_ip_addresses,
        "there is no address to restrict to; write sender_ip_addresses",
    ),
    _rule(
        "tls_sender_certificate_name require_tls connector_type",
        lambda part: not _on_premises(part) and bool(part.tls_sender_certificate_name) and not part.require_tls,
        "a partner can show its certificate only over TLS; write require_tls = true, or leave the name out",
    ),
    _rule(
        "match_common_name tls_sender_certificate_name",
        lambda connector: connector.match_common_name and not connector.tls_sender_certificate_name,
        "there is no name to look for in the CN; write tls_sender_certificate_name",
    ),
    _rule(
        "tls_sender_certificate_name connector_type trust_anchors",
        lambda connector: (
            _on_premises(connector)
            and _top_level(connector.tls_sender_certificate_name or "")
            and not connector.trust_anchors
        ),
        "anyone with a certificate for any name in that top-level domain could relay; write *.domain, or trust_anchors "
        "with a CA of your own",
    ),
    _rule(
        "treat_messages_as_internal connector_type",
        lambda connector: connector.treat_messages_as_internal and not _on_premises(connector),
        'a partner\'s mail is never internal; write connector_type = "on-premises", or leave this out',
    ),
    _rule(
        "treat_messages_as_internal cloud_services_mail_enabled",
        lambda connector: connector.treat_messages_as_internal and connector.cloud_services_mail_enabled,
        "cloud_services_mail_enabled says already which mail is internal; leave one of the two out",
    ),
    _rule("min_tls_version profile", _old_version, _OLD_VERSION),
    _rule(
        "min_tls_version require_tls",
        lambda connector: connector.min_tls_version is not None and not connector.require_tls,
        "unencrypted mail would pass while mail over an older TLS is refused; write require_tls = true as well",
    ),
    _rule(
        "revocation_check tls_sender_certificate_name",
        lambda part: part.revocation_check is RevocationCheck.HARD_FAIL and not part.tls_sender_certificate_name,
        "the connector checks no certificate; write tls_sender_certificate_name, or leave this out",
    ),
)

_OUTBOUND: tuple[_Rule[OutboundConnector], ...] = (
    _rule(
        "recipient_domains all_accepted_domains route_all_messages_via_on_premises is_transport_rule_scoped",
        lambda connector: (
            not (
                connector.recipient_domains
                or connector.all_accepted_domains
                or connector.route_all_messages_via_on_premises
            )
            and not connector.is_transport_rule_scoped
        ),
        "the connector would take no mail; name domains, or write is_transport_rule_scoped = true and name it in a "
        "mail flow rule",
    ),
    _rule(
        "is_transport_rule_scoped all_accepted_domains",
        lambda connector: connector.is_transport_rule_scoped and connector.all_accepted_domains,
        "only mail flow rules use the connector then, so it cannot take all accepted domains; leave one of the two out",
    ),
    _rule(
        "is_transport_rule_scoped route_all_messages_via_on_premises",
        lambda connector: connector.is_transport_rule_scoped and connector.route_all_messages_via_on_premises,
        "only mail flow rules use the connector then, so it cannot take all messages; leave one of the two out",
    ),
    _rule(
        "all_accepted_domains connector_type",
        lambda connector: connector.all_accepted_domains and not _on_premises(connector),
        'only an on-premises connector takes them; write connector_type = "on-premises", or name recipient_domains',
    ),
    _rule(
        "route_all_messages_via_on_premises connector_type",
        lambda connector: connector.route_all_messages_via_on_premises and not _on_premises(connector),
        'only an on-premises connector can do this; write connector_type = "on-premises"',
    ),
    _rule(
        "cloud_services_mail_enabled connector_type",
        lambda connector: connector.cloud_services_mail_enabled and not _on_premises(connector),
        'header fields of Exchange go to the organization itself alone; write connector_type = "on-premises"',
    ),
    _rule(
        "sender_rewriting_enabled connector_type",
        lambda connector: connector.sender_rewriting_enabled and not _on_premises(connector),
        'mail that leaves by a partner connector is rewritten anyway; write connector_type = "on-premises", or leave '
        "this out",
    ),
    _rule(
        "use_mx_record smart_hosts",
        lambda connector: not connector.use_mx_record and not connector.smart_hosts,
        "without MX records the connector needs smart_hosts; write at least one",
    ),
    _rule(
        "use_mx_record smart_hosts",
        lambda connector: connector.use_mx_record and bool(connector.smart_hosts),
        "the smart_hosts would never be used; leave this out or write false, or leave smart_hosts out",
    ),
    _rule(
        "tls_domain tls_settings",
        lambda part: part.tls_domain is not None and part.tls_settings is not TlsSettings.DOMAIN_VALIDATION,
        'the name is compared only under tls_settings = "domain-validation"; write that, or leave tls_domain out',
    ),
    _rule(
        "cleartext tls_settings",
        lambda connector: (
            connector.tls_settings is not TlsSettings.OPPORTUNISTIC
            and connector.cleartext not in {None, Cleartext.NEVER}
        ),
        "under this tls_settings nothing ever leaves unencrypted; leave cleartext out",
    ),
    _rule(
        "smtp_dane_mode smart_hosts",
        lambda connector: (
            connector.smtp_dane_mode is SmtpDaneMode.MANDATORY
            and any(smart_host.is_address for smart_host in connector.smart_hosts)
        ),
        "an IP address has no TLSA records, so mail to it would always wait; name the hosts, or do not require DANE",
    ),
    _rule(
        "min_tls_version tls_settings cleartext",
        lambda connector: (
            connector.min_tls_version is not None
            and connector.tls_settings is TlsSettings.OPPORTUNISTIC
            and connector.cleartext is not Cleartext.NEVER
        ),
        "opportunistic TLS cannot demand a version, as it lets mail go unencrypted; write tls_settings = "
        '"encryption-only", or leave this out',
    ),
    _rule("min_tls_version profile", _old_version, _OLD_VERSION),
    _rule(
        "revocation_check tls_settings",
        lambda part: part.revocation_check is RevocationCheck.HARD_FAIL and part.tls_settings in _ANY_CERTIFICATE,
        'under this tls_settings any certificate will do, a revoked one too; write "certificate-validation" or '
        '"domain-validation" there, or leave this out',
    ),
)


_MAILBOX: tuple[_Rule[Mailbox], ...] = (
    _rule(
        "deliver_to_mailbox_and_forward forwarding_smtp_address",
        lambda mailbox: mailbox.deliver_to_mailbox_and_forward and not mailbox.forwarding_smtp_address,
        "nothing is forwarded; write forwarding_smtp_address, or leave this out",
    ),
    _rule(
        "tls_reports delivery",
        lambda mailbox: mailbox.tls_reports and mailbox.delivery != "maildir",
        'reports are read from a Maildir of the gateway; write delivery = "maildir", or leave this out',
    ),
    _rule(
        "tls_reports forwarding_smtp_address",
        lambda mailbox: (
            mailbox.tls_reports and bool(mailbox.forwarding_smtp_address) and not mailbox.deliver_to_mailbox_and_forward
        ),
        "all mail for the mailbox is sent on, and nothing is left to read; write deliver_to_mailbox_and_forward = true",
    ),
)

_MAIL_FLOW: tuple[_Rule[MailFlowRule], ...] = (
    _rule(
        "require_tls route_via_connector encrypt sign journal_to quarantine",
        lambda rule: not rule.acts,
        "the rule would do nothing; write require_tls = true, route_via_connector, quarantine = true, journal_to, or "
        'encrypt = "smime"',
    ),
    _rule(
        "header_contains header_name",
        lambda rule: bool(rule.header_contains) and not rule.header_name,
        "header_contains needs the name of a field; write header_name",
    ),
)

_HOOKS: tuple[_Rule[ContentHook], ...] = (
    _rule(
        "address type",
        lambda hook: (hook.type is HookType.RSPAMD) is not ("://" in hook.address),
        'does not fit the type; rspamd has a URL, "http://127.0.0.1:11333", clamav "HOST:PORT" or "unix:/path"',
    ),
    _rule(
        "settings_id type",
        lambda hook: hook.type is HookType.CLAMAV and bool(hook.settings_id),
        "only rspamd has settings; leave this out",
    ),
    _rule(
        "obey type",
        lambda hook: hook.type is HookType.CLAMAV and "obey" in hook.model_fields_set,
        "ClamAV recommends nothing: it finds something or it does not; leave this out",
    ),
    _rule(
        "trust_anchors address",
        lambda hook: bool(hook.trust_anchors) and not hook.address.startswith("https://"),
        "the gateway checks no certificate there; write an https address, or leave this out",
    ),
)


def check_organization(draft: OrganizationDraft, prefixes: PrefixLimits) -> Iterator[FieldError]:
    """Yield errors across the fields of an organization's connectors, and across its parts."""
    for inbound in draft.inbound:
        yield from _apply(inbound, _INBOUND)
        yield from check_inbound(inbound)
        yield from _wide_networks(inbound, prefixes)
        yield from known_by_address.errors(inbound)
    for outbound in draft.outbound:
        yield from _apply(outbound, _OUTBOUND)
        yield from check_outbound(outbound)
        yield from _client_certificate(outbound)
        yield from check_next_hops(outbound)
    for rule in draft.mail_flow:
        yield from _apply(rule, _MAIL_FLOW)
        yield from _empty_words(rule)
    for hook in draft.hooks:
        yield from _apply(hook, _HOOKS)
    yield from _unknown_connectors(draft)
    yield from _wildcard_domains(draft)
    for domain in draft.domains:
        yield from _policy(domain)
        yield from check_validation(domain)
    for mailbox in draft.mailboxes:
        yield from _apply(mailbox, _MAILBOX)
    yield from _repeated_domains(draft)
    yield from _repeated("address", ((mailbox, mailbox.value.address) for mailbox in draft.mailboxes))
    yield from _aliases(draft)
    yield from _forwarding_circles(draft)
    yield from _repeated("name", ((connector, connector.value.name) for connector in draft.inbound))
    yield from _repeated("name", ((connector, connector.value.name) for connector in draft.outbound))
    yield from _repeated("name", ((rule, rule.value.name) for rule in draft.mail_flow))
    yield from _repeated("name", ((issuer, issuer.value.name) for issuer in draft.oauth))
    yield from _repeated("issuer", ((issuer, issuer.value.issuer) for issuer in draft.oauth))
    yield from _repeated("name", ((hook, hook.value.name) for hook in draft.hooks))
    yield from _repeated("name", ((key, key.value.name) for key in draft.dkim))
    yield from check_keys(draft)
    yield from check_journal(draft)
    yield from _foreign_domains(draft)


def _apply[C: InboundConnector | OutboundConnector | MailFlowRule | Mailbox | ContentHook](
    draft: Draft[C], rules: Iterable[_Rule[C]]
) -> Iterator[FieldError]:
    for rule in rules:
        if rule.reads.isdisjoint(draft.bad) and rule.broken(draft.value):
            yield draft.error(rule.field, rule.message)


def _wide_networks(draft: Draft[InboundConnector], prefixes: PrefixLimits) -> Iterator[FieldError]:
    for place, text in enumerate(draft.value.sender_ip_addresses):
        parsed = network(text)
        shortest = prefixes.ipv4 if parsed.version == 4 else prefixes.ipv6
        if parsed.prefixlen < shortest:
            yield draft.error(
                f"sender_ip_addresses[{place}]",
                f"{text} is wider than /{shortest} and would trust strangers; write several smaller networks",
            )


def _client_certificate(draft: Draft[OutboundConnector]) -> Iterator[FieldError]:
    """It is named in exactly one way: by a label, or by both files."""
    named = draft.value.client_certificate
    if named is None or "client_certificate" in draft.bad:
        return
    files = {"chain": named.chain, "key": named.key}
    if named.label:
        for field in (field for field, value in files.items() if value):
            said = "the label says which certificate it is; leave this out, or name both files and no label"
            yield draft.error(f"client_certificate.{field}", said)
    elif not any(files.values()):
        yield draft.error("client_certificate", "this names no certificate; write label, or chain and key")
    else:
        for field in (field for field, value in files.items() if not value):
            yield draft.error(f"client_certificate.{field}", "is missing; a certificate in files has a chain and a key")


def _empty_words(draft: Draft[MailFlowRule]) -> Iterator[FieldError]:
    for place, word in enumerate(draft.value.header_contains):
        if not word.strip():
            said = "an empty text tests nothing; write a word, or leave header_contains out to test for the field"
            yield draft.error(f"header_contains[{place}]", said)


def _unknown_connectors(draft: OrganizationDraft) -> Iterator[FieldError]:
    """Rules that name a connector which the organization does not have. Case does not matter."""
    if any("name" in connector.bad for connector in draft.outbound):
        return  # it may be the one that is meant
    names = {connector.value.name.lower(): connector.value.name for connector in draft.outbound}
    for rule in draft.mail_flow:
        wanted = rule.value.route_via_connector
        if "route_via_connector" not in rule.bad and wanted and wanted.lower() not in names:
            import difflib  # noqa: PLC0415 - for mistakes alone

            near = difflib.get_close_matches(wanted.lower(), names, n=1)
            hint = f"did you mean {names[near[0]]!r}?" if near else _KNOWN_CONNECTORS[bool(names)]
            hint = hint.format(", ".join(sorted(map(repr, names.values()))))
            yield rule.error(
                "route_via_connector", f"the organization has no outbound connector {wanted!r}; {own(hint)}"
            )


_KNOWN_CONNECTORS = {True: "the organization has {}", False: "add it first"}


def _wildcard_domains(draft: OrganizationDraft) -> Iterator[FieldError]:
    for domain in draft.domains:
        if domain.value.name.startswith("*.") and domain.value.type is not DomainType.INTERNAL_RELAY:
            yield domain.error(
                "name",
                'recipients in every subdomain cannot all be known here; write type = "internal-relay", or each '
                "subdomain",
            )


def _policy(draft: Draft[AcceptedDomain]) -> Iterator[FieldError]:
    """An MTA-STS policy that nobody would ask for, or that no sender could read."""
    domain = draft.value
    if draft.bad & {"name", "mta_sts", "mta_sts_mx", "mta_sts_max_age"} or domain.mta_sts is PublishedSts.NOT_PUBLISHED:
        return
    if domain.name.startswith("*."):
        yield draft.error("mta_sts", _EXACT_DOMAINS)
        return
    try:
        publication(domain, "mx.example")  # the gateway's own name is a setting; any will do to see whether it is right
    except ValueError as error:
        yield draft.error("mta_sts_mx" if domain.mta_sts_mx else "mta_sts", f"no sender could use the policy: {error}")


_EXACT_DOMAINS = (
    "senders ask for a policy by the recipient domain's exact name, never by one above (RFC 8461 section 3.4); write "
    "the subdomains that get mail one by one, each with its mta_sts"
)


def _repeated(key: str, named: Iterable[tuple[Draft[Any], str]]) -> Iterator[FieldError]:
    """Names that two parts of one kind share. Case does not tell them apart."""
    first: dict[str, str] = {}
    for draft, name in named:
        if key not in draft.bad and (known := first.setdefault(name.lower(), draft.path)) != draft.path:
            yield draft.error(key, f"{name!r} is taken already, by {known}; give each its own")


def _repeated_domains(draft: OrganizationDraft) -> Iterator[FieldError]:
    first: dict[str, str] = {}
    for domain in (candidate for candidate in draft.domains if "name" not in candidate.bad):
        known = first.setdefault(domain.value.name, domain.path)
        if known != domain.path:
            text = f"{domain.value.name} is accepted already, by {known}; a domain belongs to one organization, once"
            yield domain.error("name", text)


def _aliases(draft: OrganizationDraft) -> Iterator[FieldError]:
    """Aliases that are taken already: by a mailbox, or by an alias."""
    taken = {mailbox.value.address.lower(): mailbox.path for mailbox in draft.mailboxes if "address" not in mailbox.bad}
    for mailbox in draft.mailboxes:
        for place, alias in enumerate(mailbox.value.aliases):
            here = f"{mailbox.path}.aliases[{place}]"
            if (known := taken.setdefault(alias.lower(), here)) != here:
                yield mailbox.error(f"aliases[{place}]", f"{alias!r} is taken already, by {known}; give each its own")


def _forwarding_circles(draft: OrganizationDraft) -> Iterator[FieldError]:
    """Mailboxes whose mail comes back to them by forwarding alone."""
    known = {
        address.lower(): mailbox.value
        for mailbox in draft.mailboxes
        if "address" not in mailbox.bad
        for address in (mailbox.value.address, *mailbox.value.aliases)
    }
    passed, circles = set[int](), dict[int, tuple[list[str], int]]()  # by mailbox: the circle that it is in, and where
    for mailbox in draft.mailboxes:
        way, at = [], known.get(mailbox.value.address.lower())
        while at is not None and id(at) not in passed:
            passed.add(id(at))
            way.append(at)
            at = known.get(at.forwarding_smtp_address.lower())
        circle = way[next((place for place, box in enumerate(way) if box is at), len(way)) :]
        circles |= {id(box): ([each.address for each in circle], place) for place, box in enumerate(circle)}
    for mailbox in draft.mailboxes:
        if id(mailbox.value) in circles:
            turn = circle_from(*circles[id(mailbox.value)])
            text = f"mail would go in a loop: {' -> '.join((*turn,))}; remove one step, or leave this out"
            yield mailbox.error("forwarding_smtp_address", text)


def _foreign_domains(draft: OrganizationDraft) -> Iterator[FieldError]:
    """Mailboxes and connectors that name a domain which the organization does not accept."""
    accepted = {domain.value.name for domain in draft.domains if "name" not in domain.bad}
    for mailbox in draft.mailboxes:
        aliases = ((f"aliases[{place}]", alias) for place, alias in enumerate(mailbox.value.aliases))
        for key, address in (("address", mailbox.value.address), *aliases):
            if accepted.isdisjoint(patterns(domain := address.rpartition("@")[2])):
                yield mailbox.error(key, _NOT_ACCEPTED.format(domain, draft.own.path))
    for connector in draft.inbound:
        for place, name in enumerate(connector.value.associated_accepted_domains):
            if not any(covers(pattern, name) for pattern in accepted):
                key = f"associated_accepted_domains[{place}]"
                yield connector.error(key, _NOT_ACCEPTED.format(name, draft.own.path))


_NOT_ACCEPTED = "{} is not an accepted domain of the organization; add it under [[{}.accepted_domain]], or correct it"
