from __future__ import annotations

import pytest

from gatepost.manage.pages.connector_draft import draft_of, entries, problems, table_of
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.resources import PrefixLimits

OWNER = parse(
    {
        "organization": {
            "contoso": {
                "accepted_domain": [{"name": "contoso.example"}],
                "outbound_connector": [{"name": "Bank", "recipient_domains": ["bank.example"]}],
            }
        }
    }
).organizations[0]
TO_PARTNER = {
    "scenario": "to-partner",
    "name": "bank-out",
    "use": "domains",
    "recipient_domains": "bank.example\n*.bank.example",
    "routing": "smart-hosts",
    "smart_hosts": "mx.bank.example:2525, mx2.bank.example",
    "tls_settings": "domain-validation",
    "tls_domain": "mx.bank.example",
    "smtp_dane_mode": "mandatory",
    "comment": "for the bank",
}
WITH_PASSWORD = {"login": "password", "username": "gate@contoso.example", "mechanism": "auto"}
WITH_TOKEN = WITH_PASSWORD | {
    "login": "token",
    "client_id": "gate",
    "token_url": "https://login.example/token",
    "scope": "mail",
}
_OUT = {
    "connector_type": "partner",
    "recipient_domains": ["bank.example", "*.bank.example"],
    "smart_hosts": ["mx.bank.example:2525", "mx2.bank.example"],
    "tls_settings": "domain-validation",
    "tls_domain": "mx.bank.example",
    "smtp_dane_mode": "mandatory",
    "comment": "for the bank",
}
TABLES = [
    (
        TO_PARTNER | WITH_PASSWORD | {"implicit_tls": "on"},
        _OUT | {"implicit_tls": True, "authentication": {"username": "gate@contoso.example"}},
    ),
    (
        TO_PARTNER | WITH_PASSWORD | {"mechanism": "plain"},
        _OUT | {"authentication": {"username": "gate@contoso.example", "mechanism": "plain"}},
    ),
    (
        TO_PARTNER | WITH_TOKEN,
        _OUT
        | {
            "authentication": {
                "username": "gate@contoso.example",
                "client_id": "gate",
                "token_url": "https://login.example/token",
                "scope": "mail",
            }
        },
    ),
    # what was answered for smart hosts has no effect by MX
    (
        TO_PARTNER | WITH_PASSWORD | {"routing": "mx", "implicit_tls": "on"},
        {name: value for name, value in _OUT.items() if name != "smart_hosts"},
    ),
    (
        TO_PARTNER,
        {
            "connector_type": "partner",
            "recipient_domains": ["bank.example", "*.bank.example"],
            "smart_hosts": ["mx.bank.example:2525", "mx2.bank.example"],
            "tls_settings": "domain-validation",
            "tls_domain": "mx.bank.example",
            "smtp_dane_mode": "mandatory",
            "comment": "for the bank",
        },
    ),
    (
        TO_PARTNER | {"smtp_dane_mode": "", "comment": "", "min_key_exchange": "on"},
        {
            "connector_type": "partner",
            "recipient_domains": ["bank.example", "*.bank.example"],
            "smart_hosts": ["mx.bank.example:2525", "mx2.bank.example"],
            "tls_settings": "domain-validation",
            "tls_domain": "mx.bank.example",
            "min_key_exchange": "post-quantum",
        },
    ),
    (
        TO_PARTNER | {"use": "rules", "routing": "mx", "tls_settings": "encryption-only", "comment": ""},
        {
            "connector_type": "partner",
            "is_transport_rule_scoped": True,
            "tls_settings": "encryption-only",
            "smtp_dane_mode": "mandatory",
        },
    ),
    (
        {
            "scenario": "to-own",
            "use": "accepted",
            "smart_hosts": "hq.contoso.example",
            "tls_settings": "certificate-validation",
            "cloud_services_mail_enabled": "on",
        },
        {
            "connector_type": "on-premises",
            "all_accepted_domains": True,
            "smart_hosts": ["hq.contoso.example"],
            "tls_settings": "certificate-validation",
            "cloud_services_mail_enabled": True,
        },
    ),
    (
        {"scenario": "from-partner", "sender_domains": "bank.example", "sender_ip_addresses": "192.0.2.1"},
        {"connector_type": "partner", "sender_domains": ["bank.example"], "require_tls": False},
    ),
    (
        {
            "scenario": "from-partner",
            "sender_domains": "bank.example",
            "require_tls": "on",
            "restrict_domains_to_certificate": "on",
            "tls_sender_certificate_name": "mail.bank.example",
            "restrict_domains_to_ip_addresses": "on",
            "sender_ip_addresses": "192.0.2.1 192.0.2.2",
        },
        {
            "connector_type": "partner",
            "sender_domains": ["bank.example"],
            "restrict_domains_to_certificate": True,
            "tls_sender_certificate_name": "mail.bank.example",
            "restrict_domains_to_ip_addresses": True,
            "sender_ip_addresses": ["192.0.2.1", "192.0.2.2"],
        },
    ),
    (
        {
            "scenario": "from-own",
            "known_by": "certificate",
            "tls_sender_certificate_name": "mail.contoso.example",
            "sender_ip_addresses": "192.0.2.1",
            "require_tls": "on",
            "cloud_services_mail_enabled": "on",
        },
        {
            "connector_type": "on-premises",
            "tls_sender_certificate_name": "mail.contoso.example",
            "require_tls": True,
            "cloud_services_mail_enabled": True,
        },
    ),
    (
        {
            "scenario": "from-own",
            "known_by": "address",
            "tls_sender_certificate_name": "mail.contoso.example",
            "sender_ip_addresses": "192.0.2.1",
            "cloud_services_mail_enabled": "on",
        },
        {"connector_type": "on-premises", "sender_ip_addresses": ["192.0.2.1"]},
    ),
]


@pytest.mark.parametrize(("answers", "table"), TABLES)
def test_answers_make_a_connector_that_is_right(answers, table):
    draft = draft_of(answers)
    assert table_of(draft) == table
    named = {"name": "new", **table}
    parse({"organization": {"contoso": {"accepted_domain": [{"name": "a.example"}], draft.scenario.kind.key: [named]}}})


@pytest.mark.parametrize(
    ("mode", "more"), [("enforce", {}), ("rehearse", {"mode": "rehearse"}), ("disabled", {"enabled": False})]
)
def test_it_can_be_saved_in_three_ways(mode, more):
    draft = draft_of(TO_PARTNER)
    assert table_of(draft, mode) == table_of(draft) | more


PROBLEMS = [
    ({}, "name", {}),
    ({"name": ""}, "name", {"name": "Enter a name."}),
    ({"name": "bank"}, "name", {"name": "Outbound connector 'bank' already exists. Choose another name."}),
    ({"recipient_domains": ""}, "use", {"recipient_domains": "Enter at least one domain."}),
    ({"use": ""}, "use", {"use": "Choose when to use the connector."}),
    ({"use": "rules", "recipient_domains": ""}, "use", {}),
    ({"routing": ""}, "routing", {"routing": "Choose how to route messages."}),
    ({"routing": "mx", "smart_hosts": ""}, "routing", {}),
    ({"smart_hosts": ""}, "routing", {"smart_hosts": "Enter at least one host."}),
    ({"tls_settings": ""}, "security", {"tls_settings": "Choose a TLS requirement."}),
    (
        {"smart_hosts": "a.example:0 b..example"},
        "routing",
        {
            "smart_hosts": "'a.example:0': the port must be a number from 1 to 65535. "
            "'b..example' is not a domain: each part between its dots must have 1 to 63 letters, digits or hyphens"
        },
    ),
    ({"smart_hosts": ""}, "security", {}),
    (
        {"scenario": "from-own", "known_by": "address"},
        "use",
        {"sender_ip_addresses": "Enter at least one address."},
    ),
    (
        {"scenario": "from-own"},
        "use",
        {"tls_sender_certificate_name": "Enter the name that the certificate must have."},
    ),
    ({"scenario": "from-partner"}, "use", {"sender_domains": "Enter at least one domain."}),
    (
        {"scenario": "from-partner", "sender_domains": "a.example", "restrict_domains_to_certificate": "on"},
        "security",
        {"tls_sender_certificate_name": "Enter the name that the certificate must have."},
    ),
]


@pytest.mark.parametrize(("answers", "step", "found"), PROBLEMS)
def test_what_is_missing_is_said_in_its_own_step(answers, step, found):
    assert problems(draft_of(TO_PARTNER | answers), step, OWNER, PrefixLimits()) == found


@pytest.mark.parametrize(
    ("answers", "fields"),
    [
        (WITH_PASSWORD, set()),
        (WITH_PASSWORD | {"username": ""}, {"username"}),
        (WITH_PASSWORD | {"tls_settings": "certificate-validation"}, {"login"}),
        (WITH_PASSWORD | {"tls_settings": "certificate-validation", "routing": "mx"}, set()),
        (WITH_TOKEN, set()),
        (WITH_TOKEN | {"client_id": "", "token_url": ""}, {"client_id", "token_url"}),
        (WITH_TOKEN | {"token_url": "http://login.example/"}, {"token_url"}),
        ({"implicit_tls": "on"}, set()),
        ({"implicit_tls": "on", "tls_settings": "opportunistic"}, {"implicit_tls"}),
    ],
)
def test_a_log_in_needs_what_proves_the_host(answers, fields):
    given = TO_PARTNER | {"smtp_dane_mode": ""} | answers
    assert set(problems(draft_of(given), "security", OWNER, PrefixLimits())) == fields


def test_a_secret_is_no_answer():
    """All answers are in the address of each page."""
    assert "secret" not in draft_of(TO_PARTNER | WITH_PASSWORD | {"secret": "correct horse"}).answers


@pytest.mark.parametrize(
    ("answers", "step", "field"),
    [
        ({"recipient_domains": "good.example\nbad..example"}, "use", "recipient_domains"),
        ({"smart_hosts": "host:99999"}, "routing", "smart_hosts"),
        ({"tls_domain": "https://x"}, "security", "tls_domain"),
        ({"name": "x" * 65}, "name", "name"),
        (
            {"scenario": "from-own", "known_by": "address", "sender_ip_addresses": "10.0.0.0/8"},
            "use",
            "sender_ip_addresses",
        ),
    ],
)
def test_what_is_wrong_is_said_by_the_model(answers, step, field):
    draft = draft_of(TO_PARTNER | answers)
    assert list(problems(draft, step, OWNER, PrefixLimits())) == [field]
    others = [one for one in draft.scenario.steps if one != step]
    assert not any(field in problems(draft, one, OWNER, PrefixLimits()) for one in others)


def test_nothing_is_kept_that_nobody_asked():
    draft = draft_of({"scenario": "to-partner", "csrf": "x", "step": "use", "name": "  a  ", "comment": "c" * 9000})
    assert draft.answers == {"scenario": "to-partner", "name": "a", "comment": "c" * 8000}
    assert draft_of({"scenario": "none"}).scenario is None
    assert draft_of({}).fields_of("name") == ()
    assert draft.fields_of("nowhere") == ()


def test_of_very_many_wrong_entries_the_first_are_said():
    draft = draft_of(TO_PARTNER | {"recipient_domains": "\n".join(f"b{at}!" for at in range(1000))})
    said = problems(draft, "use", OWNER, PrefixLimits())["recipient_domains"]
    assert "'b19!'" in said
    assert "'b20!'" not in said
    assert said.endswith(". And 980 more.")


def test_steps_that_were_answered_are_known():
    draft = draft_of(TO_PARTNER).with_done("name").with_done("use").with_done("name")
    assert draft.done == ("use", "name")


def test_entries_stand_in_lines_or_between_commas():
    assert entries(" a.example,b.example\n\nc.example; a.example ") == ["a.example", "b.example", "c.example"]


def test_post_quantum_key_exchange_needs_tls():
    """The same question for each way, and the same answer where nothing demands TLS."""
    draft = draft_of(TO_PARTNER | {"tls_settings": "opportunistic", "tls_domain": "", "min_key_exchange": "on"})
    assert (
        "Opportunistic TLS cannot demand this" in problems(draft, "security", OWNER, PrefixLimits())["min_key_exchange"]
    )
    known = {"scenario": "from-own", "name": "hq", "known_by": "address", "sender_ip_addresses": "192.0.2.1"}
    draft = draft_of(known | {"min_key_exchange": "on"})
    assert "require_tls = true" in problems(draft, "security", OWNER, PrefixLimits())["min_key_exchange"]
