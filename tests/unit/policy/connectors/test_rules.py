from __future__ import annotations

import tomllib
from collections.abc import Sequence

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.resources import PrefixLimits

OWN = '[organization.o]\n[[organization.o.accepted_domain]]\nname = "o.example"\n'
INBOUND = OWN + '[[organization.o.inbound_connector]]\nname = "c"\n'
OUTBOUND = OWN + '[[organization.o.outbound_connector]]\nname = "c"\n'
PARTNER = INBOUND + 'sender_domains = ["p.example"]\n'
PREMISES = INBOUND + 'connector_type = "on-premises"\nsender_ip_addresses = ["192.0.2.1"]\n'
TO_PARTNER = OUTBOUND + 'recipient_domains = ["p.example"]\n'
BOTH = "the label says which certificate it is; leave this out, or name both files and no label"
MISSING = "is missing; a certificate in files has a chain and a key"
TO_PREMISES = OUTBOUND + 'connector_type = "on-premises"\nrecipient_domains = ["o.example"]\n'


def errors_of(text: str, prefixes: PrefixLimits | None = None) -> list[tuple[str, str]]:
    try:
        parse(tomllib.loads(text), prefixes=prefixes)
    except ResourceErrors as errors:
        return [(error.path.removeprefix("organization.o."), error.message) for error in errors.errors]
    return []


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (INBOUND, "sender_domains", "name them, or"),
        (INBOUND + 'connector_type = "on-premises"', "sender_ip_addresses", "write one of them"),
        (PARTNER + "restrict_domains_to_certificate = true", "restrict_domains_to_certificate", "no certificate name"),
        (PARTNER + "restrict_domains_to_ip_addresses = true", "restrict_domains_to_ip_addresses", "no address"),
        (
            PARTNER + 'tls_sender_certificate_name = "p.example"\nrequire_tls = false',
            "tls_sender_certificate_name",
            "only over TLS",
        ),
        (PARTNER + "match_common_name = true", "match_common_name", "no name to look for"),
        # P6: treat_messages_as_internal with a partner, or beside cloud_services_mail_enabled
        (PARTNER + "treat_messages_as_internal = true", "treat_messages_as_internal", "never internal"),
        (
            PREMISES + "treat_messages_as_internal = true\ncloud_services_mail_enabled = true",
            "treat_messages_as_internal",
            "leave one of the two out",
        ),
        (PARTNER + 'min_tls_version = "TLSv1.1"', "min_tls_version", 'write profile = "legacy"'),
        (PREMISES + 'min_tls_version = "TLSv1.3"', "min_tls_version", "write require_tls = true"),
        (PARTNER + 'revocation_check = "hard-fail"', "revocation_check", "checks no certificate"),
        (
            PREMISES + 'tls_sender_certificate_name = "*.example"',
            "tls_sender_certificate_name",
            "any name in that top-level domain could relay",
        ),
    ],
)
def test_inbound_connectors_that_exchange_would_not_save(text: str, field: str, why: str) -> None:
    ((path, message),) = errors_of(text)
    assert path == f"inbound_connector[0] 'c'.{field}"
    assert why in message


@pytest.mark.parametrize(
    ("table", "errors"),
    [
        ('{ chain = "c.pem", key = "k.pem" }', []),
        ('{ label = "to-bank" }', []),
        ("{}", [("", "this names no certificate; write label, or chain and key")]),
        ('{ chain = "c.pem" }', [(".key", MISSING)]),
        ('{ key = "k.pem" }', [(".chain", MISSING)]),
        ('{ chain = "c.pem", key = "k.pem", label = "to-bank" }', [(".chain", BOTH), (".key", BOTH)]),
        ("{ label = 5 }", [(".label", "5 must be a text in quotes")]),
    ],
)
def test_a_client_certificate_is_named_in_one_way(table: str, errors: list[tuple[str, str]]) -> None:
    found = errors_of(f"{TO_PARTNER}client_certificate = {table}")
    assert found == [(f"outbound_connector[0] 'c'.client_certificate{field}", why) for field, why in errors]


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (OUTBOUND, "recipient_domains", "would take no mail"),
        (TO_PARTNER + "all_accepted_domains = true", "all_accepted_domains", "only an on-premises connector"),
        (
            TO_PARTNER + "route_all_messages_via_on_premises = true",
            "route_all_messages_via_on_premises",
            "only an on-premises connector",
        ),
        (
            TO_PARTNER + "cloud_services_mail_enabled = true",
            "cloud_services_mail_enabled",
            "go to the organization itself alone",
        ),
        (TO_PARTNER + "sender_rewriting_enabled = true", "sender_rewriting_enabled", "is rewritten anyway"),
        (TO_PARTNER + "use_mx_record = false", "use_mx_record", "needs smart_hosts"),
        (TO_PARTNER + 'use_mx_record = true\nsmart_hosts = ["a.example"]', "use_mx_record", "never be used"),
        (TO_PARTNER + 'tls_domain = "p.example"', "tls_domain", '"domain-validation"; write that'),
        (
            TO_PARTNER + 'tls_settings = "certificate-validation"\ntls_domain = "p.example"',
            "tls_domain",
            '"domain-validation"; write that',
        ),
        (
            TO_PARTNER + 'tls_settings = "encryption-only"\ncleartext = "only-if-not-offered"',
            "cleartext",
            "nothing ever leaves unencrypted",
        ),
        (
            TO_PARTNER + 'smtp_dane_mode = "mandatory"\nsmart_hosts = ["mx.p.example", "[2001:db8::1]"]',
            "smtp_dane_mode",
            "an IP address has no TLSA records",
        ),
        (TO_PARTNER + 'min_tls_version = "TLSv1.3"', "min_tls_version", "cannot demand a version"),
        (
            TO_PARTNER + 'tls_settings = "encryption-only"\nmin_tls_version = "TLSv1.0"',
            "min_tls_version",
            'write profile = "legacy"',
        ),
        *(
            (
                TO_PREMISES + f"is_transport_rule_scoped = true\n{takes} = true",
                "is_transport_rule_scoped",
                "only mail flow rules use the connector then",
            )
            for takes in ("all_accepted_domains", "route_all_messages_via_on_premises")
        ),
        *(
            (TO_PARTNER + f'revocation_check = "hard-fail"\n{settings}', "revocation_check", "a revoked one too")
            for settings in ("", 'tls_settings = "encryption-only"')
        ),
    ],
)
def test_outbound_connectors_that_cannot_be_meant(text: str, field: str, why: str) -> None:
    ((path, message),) = errors_of(text)
    assert path == f"outbound_connector[0] 'c'.{field}"
    assert why in message


@pytest.mark.parametrize(
    "text",
    [
        PARTNER,
        PREMISES,
        TO_PARTNER,
        TO_PREMISES,
        INBOUND + 'connector_type = "on-premises"\ntls_sender_certificate_name = "*.o.example"',
        PREMISES + "treat_messages_as_internal = true",
        PREMISES + 'require_tls = true\nmin_tls_version = "TLSv1.3"',
        PARTNER + 'min_tls_version = "TLSv1.0"\nprofile = "legacy"',
        PARTNER + 'restrict_domains_to_certificate = true\ntls_sender_certificate_name = "*.p.example"',
        TO_PREMISES + "cloud_services_mail_enabled = true\nsender_rewriting_enabled = true",
        TO_PREMISES + "all_accepted_domains = true\nroute_all_messages_via_on_premises = true",
        TO_PARTNER + 'smart_hosts = ["192.0.2.1"]\nuse_mx_record = false\ntls_settings = "domain-validation"',
        TO_PARTNER + 'tls_settings = "domain-validation"\ntls_domain = "*.p.example"\ncleartext = "never"',
        TO_PARTNER + 'cleartext = "never"\nmin_tls_version = "TLSv1.3"',
        TO_PARTNER + 'smtp_dane_mode = "none"\nmta_sts_mode = "none"',
        TO_PARTNER + 'smtp_dane_mode = "mandatory"',
    ],
)
def test_what_may_be_saved(text: str) -> None:
    assert errors_of(text) == []


@pytest.mark.parametrize(
    ("addresses", "places"),
    [
        (["198.51.100.0/24", "198.51.100.7", "2001:db8::/48", "2001:db8::1"], []),
        (["198.51.100.0/23"], [0]),  # P5
        (["198.51.100.1", "0.0.0.0/0", "2001:db8::/32"], [1, 2]),
    ],
)
def test_networks_are_not_too_wide(addresses: Sequence[str], places: list[int]) -> None:
    text = INBOUND + f'connector_type = "on-premises"\nsender_ip_addresses = {list(addresses)}\n'
    assert [path for path, _ in errors_of(text)] == [
        f"inbound_connector[0] 'c'.sender_ip_addresses[{place}]" for place in places
    ]
    assert errors_of(text, PrefixLimits(ipv4=0, ipv6=0)) == []


def test_a_rule_is_silent_where_a_field_that_it_reads_is_wrong() -> None:
    errors = errors_of(TO_PARTNER + 'use_mx_record = true\nsmart_hosts = ["a:0"]\ntls_domain = "x.example"')
    assert [path for path, _ in errors] == [
        "outbound_connector[0] 'c'.smart_hosts[0]",
        "outbound_connector[0] 'c'.tls_domain",
    ]


def test_a_wildcard_domain_is_relayed() -> None:
    wildcard = '[[organization.o.accepted_domain]]\nname = "*.o.example"\n'
    ((path, message),) = errors_of(OWN + wildcard)
    assert path == "accepted_domain[1] '*.o.example'.name"
    assert 'write type = "internal-relay"' in message
    assert errors_of(OWN + wildcard + 'type = "internal-relay"') == []


@pytest.mark.parametrize("kind", ["inbound_connector", "outbound_connector"])
def test_names_of_connectors_are_unique_whatever_their_case(kind: str) -> None:
    domains = "sender_domains" if kind.startswith("in") else "recipient_domains"
    text = OWN + "".join(
        f'[[organization.o.{kind}]]\nname = "{name}"\n{domains} = ["p.example"]\n' for name in ("Bank", "bank", "shop")
    )
    ((path, message),) = errors_of(text)
    assert path == f"{kind}[1] 'bank'.name"
    assert f"organization.o.{kind}[0] 'Bank'" in message


def test_one_name_may_serve_both_directions() -> None:
    assert errors_of(PARTNER + TO_PARTNER.removeprefix(OWN)) == []


def test_nameless_connectors_are_not_told_to_share_a_name() -> None:
    text = OWN + '[[organization.o.inbound_connector]]\nsender_domains = ["*"]\n' * 2
    assert [path for path, _ in errors_of(text)] == ["inbound_connector[0].name", "inbound_connector[1].name"]


def test_a_mailbox_is_written_once_and_in_an_own_domain() -> None:
    boxes = "".join(
        f'[[organization.o.mailbox]]\naddress = "{one}"\n' for one in ("a@o.example", "A@O.example", "a@x.example")
    )
    first, second = errors_of(OWN + boxes)
    assert first[0] == "mailbox[1] 'A@O.example'.address"
    assert second[0] == "mailbox[2] 'a@x.example'.address"
    assert "x.example is not an accepted domain of the organization" in second[1]


def test_associated_domains_are_own_ones() -> None:
    ((path, message),) = errors_of(PARTNER + 'associated_accepted_domains = ["o.example", "x.example"]')
    assert path == "inbound_connector[0] 'c'.associated_accepted_domains[1]"
    assert "x.example" in message


def test_a_domain_is_accepted_once() -> None:
    with pytest.raises(ResourceErrors) as refused:
        parse(tomllib.loads(OWN + '[[organization.o.accepted_domain]]\nname = "O.example."\n'))
    (error,) = refused.value.errors
    assert error.path == "organization.o.accepted_domain[1] 'O.example.'.name"
    assert "o.example is accepted already, by organization.o.accepted_domain[0] 'o.example'" in error.message


def test_two_wrong_domains_are_not_one_domain_twice() -> None:
    text = OWN + '[[organization.o.accepted_domain]]\nname = "a b"\n[[organization.o.accepted_domain]]\nname = "c d"\n'
    assert [path for path, _ in errors_of(text)] == ["accepted_domain[1] 'a b'.name", "accepted_domain[2] 'c d'.name"]


RULE = TO_PARTNER + '[[organization.o.mail_flow_rule]]\nname = "r"\n'


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (
            RULE,
            "require_tls",
            "would do nothing; write require_tls = true, route_via_connector, quarantine",
        ),
        (RULE + 'require_tls = true\nheader_contains = ["x"]', "header_contains", "write header_name"),
        (
            RULE + 'require_tls = true\nheader_name = "Subject"\nheader_contains = ["x", " "]',
            "header_contains[1]",
            "an empty text tests nothing",
        ),
        (RULE + 'route_via_connector = "cc"', "route_via_connector", "no outbound connector 'cc'; did you mean 'c'?"),
        (
            RULE + 'route_via_connector = "hq"',
            "route_via_connector",
            "no outbound connector 'hq'; the organization has 'c'",
        ),
        (
            RULE.replace(TO_PARTNER, OWN) + 'route_via_connector = "hq"',
            "route_via_connector",
            "'hq'; add it first",
        ),
    ],
)
def test_mail_flow_rules_that_cannot_be_meant(text: str, field: str, why: str) -> None:
    ((path, message),) = errors_of(text)
    assert path == f"mail_flow_rule[0] 'r'.{field}"
    assert why in message


@pytest.mark.parametrize(
    "text",
    [
        RULE + "require_tls = true",
        RULE + 'route_via_connector = "C"',
        RULE + 'require_tls = true\nheader_name = "Subject"',
        RULE + 'require_tls = true\nheader_name = "Subject"\nheader_contains = ["secret"]',
        OUTBOUND + "is_transport_rule_scoped = true",
        TO_PARTNER + "is_transport_rule_scoped = true",
        TO_PARTNER + 'revocation_check = "hard-fail"\ntls_settings = "certificate-validation"',
        TO_PARTNER + 'revocation_check = "none"',
        PARTNER + 'revocation_check = "none"',
        PARTNER + 'revocation_check = "hard-fail"\ntls_sender_certificate_name = "p.example"',
    ],
)
def test_rules_and_what_they_use_may_be_saved(text: str) -> None:
    assert errors_of(text) == []


HOOK = OWN + '[[organization.o.content_hook]]\nname = "h"\ntype = "{}"\naddress = "{}"\n'
CLAMAV = HOOK.format("clamav", "127.0.0.1")
RSPAMD = HOOK.format("rspamd", "http://127.0.0.1:11333")


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (HOOK.format("clamav", "http://127.0.0.1"), "address", "does not fit the type"),
        (HOOK.format("rspamd", "127.0.0.1"), "address", "does not fit the type"),
        (CLAMAV + 'settings_id = "x"', "settings_id", "only rspamd has settings"),
        (CLAMAV + 'obey = ["reject"]', "obey", "ClamAV recommends nothing"),
        (RSPAMD + 'trust_anchors = "/x"', "trust_anchors", "write an https address"),
    ],
)
def test_content_hooks_that_cannot_be_meant(text: str, field: str, why: str) -> None:
    ((path, message),) = errors_of(text)
    assert path == f"content_hook[0] 'h'.{field}"
    assert why in message


def test_content_hooks_that_may_be_saved_and_one_name_twice() -> None:
    assert errors_of(CLAMAV) == errors_of(RSPAMD + 'settings_id = "x"\nobey = ["reject"]') == []
    assert errors_of(HOOK.format("rspamd", "https://s.example") + 'trust_anchors = "/x"') == []
    ((path, _),) = errors_of(CLAMAV + RSPAMD.removeprefix(OWN))
    assert path == "content_hook[1] 'h'.name"


def test_a_connector_without_a_usable_name_may_be_the_one_that_a_rule_names() -> None:
    wrong = errors_of(RULE.replace('name = "c"', 'name = ""') + 'route_via_connector = "hq"')
    assert [path for path, _ in wrong] == ["outbound_connector[0] ''.name"]


def test_a_rule_with_a_wrong_connector_name_is_told_so_once() -> None:
    wrong = errors_of(RULE + "require_tls = true\nroute_via_connector = 7")
    assert [path for path, _ in wrong] == ["mail_flow_rule[0] 'r'.route_via_connector"]


POLICY = '[organization.o]\n[[organization.o.accepted_domain]]\nname = "{}"\ntype = "internal-relay"\n{}\n'


@pytest.mark.parametrize(
    ("name", "fields", "field", "why"),
    [
        (
            "*.o.example",
            'mta_sts = "testing"',
            "mta_sts",
            "senders ask for a policy by the recipient domain's exact name",
        ),
        (
            "o.example",
            f'mta_sts = "enforce"\nmta_sts_mx = {[f"m{n}.example" for n in range(501)]}',
            "mta_sts_mx",
            "501",
        ),
        (".".join(["a" * 60] * 4 + ["b"]), 'mta_sts = "none"', "mta_sts", "is too long: _mta-sts."),
    ],
)
def test_a_policy_that_no_sender_could_use(name: str, fields: str, field: str, why: str) -> None:
    ((path, message),) = errors_of(POLICY.format(name, fields))
    assert path.endswith(f".{field}")
    assert why.replace("501", "more than 500 mx") in message


@pytest.mark.parametrize(
    "fields", ["", 'mta_sts = "not-published"', 'mta_sts = "none"', 'mta_sts = "enforce"\nmta_sts_mx = ["*.b.example"]']
)
def test_a_policy_that_senders_can_use(fields: str) -> None:
    assert errors_of(POLICY.format("o.example", fields)) == []


def test_a_wrong_field_of_a_policy_is_told_once() -> None:
    assert len(errors_of(POLICY.format("*.o.example", 'mta_sts = "always"'))) == 1


MAILBOX = OWN + '[[organization.o.mailbox]]\naddress = "ann@o.example"\n'
SECOND = '[[organization.o.mailbox]]\naddress = "bob@o.example"\n'


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (MAILBOX + 'aliases = ["x@b.example"]', "aliases[0]", "b.example is not an accepted domain"),
        (MAILBOX + 'aliases = ["Ann@o.example"]', "aliases[0]", "'Ann@o.example' is taken already, by"),
        (MAILBOX + 'aliases = ["i@o.example", "I@o.example"]', "aliases[1]", "mailbox[0] 'ann@o.example'.aliases[0]"),
        (MAILBOX + 'aliases = ["bob@o.example"]\n' + SECOND, "aliases[0]", "mailbox[1] 'bob@o.example'"),
        (MAILBOX + "deliver_to_mailbox_and_forward = true", "deliver_to_mailbox_and_forward", "nothing is forwarded"),
        (
            MAILBOX + 'aliases = ["i@o.example"]\nforwarding_smtp_address = "I@o.example"',
            "forwarding_smtp_address",
            "loop: ann@o.example -> ann@o.example",
        ),
    ],
)
def test_mailboxes_that_contradict_themselves(text: str, field: str, why: str) -> None:
    ((path, message),) = errors_of(text)
    assert path == f"mailbox[0] 'ann@o.example'.{field}"
    assert why in message


def test_mailboxes_that_forward_to_each_other() -> None:
    third = '[[organization.o.mailbox]]\naddress = "eve@o.example"\nforwarding_smtp_address = "ann@o.example"\n'
    text = MAILBOX + 'forwarding_smtp_address = "bob@o.example"\n' + SECOND
    assert errors_of(text + third) == []
    found = errors_of(text + 'forwarding_smtp_address = "ann@o.example"\n' + third)
    assert [message.partition(";")[0] for _, message in found] == [
        "mail would go in a loop: ann@o.example -> bob@o.example -> ann@o.example",
        "mail would go in a loop: bob@o.example -> ann@o.example -> bob@o.example",
    ]


def test_an_address_that_is_wrong_by_itself_takes_no_name() -> None:
    text = OWN + '[[organization.o.mailbox]]\naddress = "ann"\n' + SECOND + 'aliases = ["ann@o.example"]\n'
    assert [path for path, _ in errors_of(text)] == ["mailbox[0] 'ann'.address"]


MANY = 20_000  # what takes the square of it takes longer than a test may


def forwarding(to: Sequence[int]) -> dict[str, object]:
    mailboxes = [
        {"address": f"a{number}@o.example", "forwarding_smtp_address": f"a{other}@o.example"}
        for number, other in enumerate(to)
    ]
    return {"organization": {"o": {"accepted_domain": [{"name": "o.example"}], "mailbox": mailboxes}}}


def test_a_long_chain_of_forwarding_is_followed_once() -> None:
    mailboxes = parse(forwarding(range(1, MANY + 1))).organizations[0].mailboxes
    assert len(mailboxes) == MANY


def test_of_a_long_circle_each_mailbox_names_a_part() -> None:
    with pytest.raises(ResourceErrors) as errors:
        parse(forwarding([1, 2, *range(3, 1000), 2]))
    texts = [error.message for error in errors.value.errors]
    assert len(texts) == 998, "the first two only lead into it"
    assert texts[0] == (
        "mail would go in a loop: a2@o.example -> a3@o.example -> a4@o.example -> a5@o.example -> a6@o.example -> "
        "a7@o.example -> a8@o.example -> a9@o.example -> a10@o.example -> a11@o.example -> … -> a2@o.example; "
        "remove one step, or leave this out"
    )
    assert "loop: a999@o.example -> a2@o.example ->" in texts[-1]
