"""The parameters of main.cf that become no resource: irrelevant ones, and those that need manual work.

A table for `analysis.migration.postfix`. What stands in none of its parts is reported as unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Read by the import, or by the parts that it is made of.
READ = _names(
    """
    always_bcc maximal_queue_lifetime mydestination mydomain myhostname mynetworks mynetworks_style
    parent_domain_matches_subdomains relay_domains relay_recipient_maps relayhost smtp_enforce_tls smtp_tls_CAfile
    smtp_tls_CApath
    smtp_tls_cert_file smtp_tls_chain_files smtp_tls_eccert_file smtp_tls_eckey_file smtp_tls_enforce_peername
    smtp_tls_fingerprint_cert_match smtp_tls_key_file smtp_tls_mandatory_protocols smtp_tls_policy_maps
    smtp_tls_protocols smtp_tls_secure_cert_match smtp_tls_security_level smtp_tls_trust_anchor_file
    smtp_tls_verify_cert_match smtp_use_tls smtpd_enforce_tls smtpd_tls_mandatory_protocols transport_maps
    recipient_bcc_maps sender_bcc_maps
    virtual_alias_domains virtual_mailbox_domains compatibility_level config_directory inet_protocols smtp_bind_address
    smtp_bind_address6 smtp_helo_name smtp_sasl_auth_enable smtp_sasl_mechanism_filter smtp_sasl_password_maps
    smtp_sasl_security_options smtp_sasl_tls_security_options smtp_tls_wrappermode
    """
)

# How Postfix's own programs work, what they log and where their files are.
IGNORED = re.compile(
    r"""
    (?!(default|smtp)_destination_(concurrency_limit|rate_delay)$|smtpd_client_(message|recipient)_rate_limit$)
    (?:
    .*_(directory|loglevel|timeout|delay|path|owner|group|checks_size_limit|cache|cache_database|session_cache_.*|service_name
       |process_limit|concurrency_.*|destination_.*_limit|random_.*|interval|dirs|verbosity|code|debug|style)
    | (alias_database|append_at_myorigin|append_dot_mydomain|biff|best_mx_transport|command_time_limit|daemon_.*
       |debug_peer_.*|debugger_command|default_database_type|default_privs|delay_warning_time|disable_vrfy_command|export_environment|html_.*
       |import_environment|in_flow_delay|internal_mail_filter_classes|mail_(name|version|spool.*)|mailq_.*|manpage_.*
       |maximal_backoff_time|minimal_backoff_time|multi_instance.*|myorigin|newaliases_.*|notify_classes|qmgr_.*|queue_run_delay
       |readme_.*|recipient_delimiter|sample_.*|sendmail_.*|setgid_group|smtp_sasl_(type|path|auth_.*|tls_verified_.*)|smtp_tls_(note_starttls_offer
       |connection_reuse|dane_insecure_mx_policy|session_cache.*|fingerprint_digest|scert_verifydepth|per_site_.*|force_insecure.*)
       |smtp_dns_support_level|smtp_address_preference|smtp_host_lookup|smtpd_banner|smtpd_helo_required|soft_bounce|strict_.*
       |smtpd_(delay_reject|client_.*_limit|error_.*|hard_error_limit|soft_error_limit|junk_command_limit|forbid_.*)
       |smtpd_tls_(auth_only|received_header|ask_ccert|ccert_verifydepth|session_cache.*|dh.*|eecdh_grade|fingerprint_digest|always_.*)
       |smtputf8_.*|syslog_.*|tls_(random_.*|preempt_cipherlist|ssl_options|eecdh_(strong|ultra)_curve)
       |unknown_.*|bounce_queue_lifetime|mailbox_size_limit|shlib_directory|meta_directory|milter_(default_action|protocol|.*_macros))
    )
    """,
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Lost:
    """Parameters that are not carried over. why: and what to do. harmless: values that ask for nothing."""

    names: re.Pattern[str]
    why: str
    harmless: frozenset[str] = frozenset({"no", "none", "0"})


def _lost(names: str, why: str, harmless: str = "no none 0") -> Lost:
    return Lost(re.compile("|".join(names.split()), re.ASCII), why, frozenset(harmless.split()))


_SETTING = "a setting of the server, not a resource: write {} in gatepost.toml"

# Who stands in front of Postfix and names the client: written for all services, or for one in master.cf.
IN_FRONT = (
    _lost(
        "smtpd_upstream_proxy_protocol postscreen_upstream_proxy_protocol",
        _SETTING.format("proxy_protocol_from = [ADDRESSES] in the [[listener]]")
        + ", with those of the load balancer; Postfix does not know them, and believes every client of the port",
        "",
    ),
    _lost(
        "smtpd_authorized_xclient_hosts",
        _SETTING.format('xclient_from = [ADDRESSES] in the [[listener]] with role = "mx"')
        + ", with addresses or networks, never names",
        "",
    ),
    _lost("smtpd_authorized_xforward_hosts", "XFORWARD changes what is logged alone, and is not taken", ""),
)

LOST = (
    _lost("message_size_limit", _SETTING.format("[limits] message_bytes = {value}")),
    _lost(
        "(default|smtp)_destination_concurrency_limit",
        _SETTING.format("[queue] connections_per_destination = {value}") + ", or max_connections in a connector",
        "20 $default_destination_concurrency_limit",
    ),
    _lost(
        "(default|smtp)_destination_rate_delay",
        "write max_messages_per_minute in the outbound connectors, 60 divided by the seconds of the delay",
        "0 0s $default_destination_rate_delay",
    ),
    _lost(
        "smtpd_client_(message|recipient)_rate_limit",
        "own servers are limited by the day: write messages_per_day or recipients_per_day in on-premises connectors",
    ),
    _lost("inet_interfaces", _SETTING.format("a [[listener]]"), "all loopback-only localhost"),
    _lost(
        "smtpd_tls_(chain_files|cert_file|key_file|eccert_file|eckey_file) tls_server_sni_maps",
        _SETTING.format("a [[certificate]] with chain and key"),
    ),
    _lost(
        "smtpd_tls_(CAfile|CApath)",
        _SETTING.format("[tls] trust_anchors") + ", or trust_anchors in an inbound connector",
    ),
    _lost(
        "smtpd_tls_security_level",
        "the listener offers TLS as soon as it has a [[certificate]]",
        "may encrypt none no",
    ),
    _lost("smtpd_use_tls", "the listener offers TLS as soon as it has a [[certificate]]", "yes no"),
    _lost(
        "smtpd_tls_(ciphers|protocols|mandatory_ciphers|exclude_ciphers|mandatory_exclude_ciphers)",
        "versions and cipher suites are chosen by the profile of the listener: gatepost tls profiles",
        "no medium high >=tlsv1.2",
    ),
    _lost(
        "smtp_tls_(ciphers|mandatory_ciphers|exclude_ciphers|mandatory_exclude_ciphers)",
        "cipher suites are chosen by the profile of the connector: gatepost tls profiles",
        "medium high",
    ),
    _lost(
        "tls_eecdh_auto_curves",
        "connectors that demand TLS get these groups; other mail and the listener negotiate those of the profile",
    ),
    _lost(
        "tls_(medium|high)_cipherlist",
        "connectors that demand TLS of this grade get these cipher suites, if the list names nothing but suites; other "
        "mail and the listener negotiate those of the profile",
    ),
    _lost("tls_ffdhe_auto_groups", "no such group is negotiated in TLS 1.3: gatepost tls profiles"),
    _lost(
        "smtpd_tls_req_ccert",
        "certificates are asked for, and demanded by connectors: restrict_domains_to_certificate",
    ),
    _lost(
        "smtp_tls_per_site", "obsolete since Postfix 2.3; move its entries to smtp_tls_policy_maps, and import again"
    ),
    _lost("smtp_tls_servername", "the name that is sent (SNI) is always that of the next hop", "no hostname nexthop"),
    _lost(
        "smtp_tls_dcert_file smtp_tls_dkey_file smtpd_tls_dcert_file smtpd_tls_dkey_file",
        "DSA certificates are obsolete",
    ),
    _lost(
        "smtpd_sasl_.* broken_sasl_auth_clients",
        "users log in at a [[listener]] with role submission or submissions; give mailboxes a password, "
        "gatepost mailbox password, or write an [[oauth_issuer]]",
    ),
    _lost(
        "sender_dependent_.*_maps smtp_sender_dependent_authentication",
        "connectors go by recipient; write a mail flow rule with senders and route_via_connector",
    ),
    _lost("(smtp_)?fallback_relay default_transport relay_transport", "write an outbound connector", "smtp relay"),
    _lost(
        "relay_clientcerts relay_ccerts",
        "servers are known by a name in their certificate: tls_sender_certificate_name",
    ),
    _lost(
        "virtual_alias_maps virtual_maps alias_maps",
        "aliases are not read; write them as aliases of a [[mailbox]], and what goes elsewhere as its "
        "forwarding_smtp_address",
    ),
    _lost(
        "canonical_maps recipient_canonical_maps sender_canonical_maps generic_maps smtp_generic_maps masquerade_.*"
        " relocated_maps luser_relay",
        "addresses are not rewritten here; keep it on the server behind the gateway",
    ),
    _lost(
        "virtual_(mailbox|uid|gid|minimum|transport).* mailbox_.* home_mailbox local_.* mail_spool.*",
        "mailboxes are written one by one as [[mailbox]], with maildir or LMTP as delivery",
    ),
    _lost(
        "smtpd_(client|helo|sender|recipient|relay|data|end_of_data|etrn)_restrictions smtpd_restriction_classes"
        " check_.* address_verify_.* .*reject_list.* smtpd_.*_maps",
        "relay rights are given by on-premises connectors, and demands on senders made by partner connectors",
    ),
    _lost(
        "content_filter smtpd_proxy_.* .*milters receive_override_options",
        "rspamd and ClamAV are asked by a [[content_hook]]; other filters are not called here",
    ),
    _lost(
        ".*_checks",
        "patterns are not looked for here; demands of TLS by header are mail flow rules, and the rest is a rule of "
        "rspamd, which a [[content_hook]] asks",
    ),
    *IN_FRONT,
    _lost(
        "postscreen_.* rbl_.* dnsblog_.*",
        "strangers are looked up in lists by rspamd, which a [[content_hook]] asks",
    ),
    _lost("proxy_interfaces", "addresses of the machine are settings of the server"),
)
