from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors import lint as traps
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.resources import Resources

Build = Callable[[str], Resources]

OWN = '[[organization.o.accepted_domain]]\nname = "o.example"\n'
RELAY = '[[organization.o.accepted_domain]]\nname = "{}"\ntype = "internal-relay"\n'
INBOUND = '[[organization.o.inbound_connector]]\nname = "in"\n'
PREMISES = INBOUND + 'connector_type = "on-premises"\n'


def outbound(name: str, fields: str) -> str:
    return f'[[organization.o.outbound_connector]]\nname = "{name}"\n{fields}\n'


def premises_at(organization: str, network: str, more: str = "") -> str:
    return (
        f'[[organization.{organization}.inbound_connector]]\nname = "net"\nconnector_type = "on-premises"\n'
        f'sender_ip_addresses = ["{network}"]\n{more}\n'
    )


ON_PREMISES = 'connector_type = "on-premises"\nsmart_hosts = ["hq.o.example"]\n'
HOME = ON_PREMISES + "all_accepted_domains = true\n"
CROSSING = ON_PREMISES + 'recipient_domains = ["p.example"]\ncloud_services_mail_enabled = true\n'
VALIDATED = 'tls_settings = "domain-validation"\ntls_domain = "hq.o.example"\n'
SHOWN = 'client_certificate = { label = "hybrid" }\n'
CENTRAL = ON_PREMISES + "route_all_messages_via_on_premises = true\n"
POSTMASTER = '[[organization.o.mailbox]]\naddress = "postmaster@o.example"\n'
SENT = 'senders = ["o.example"]\n'


def rule(fields: str, conditions: str = 'recipients = ["p.example"]\n') -> str:
    return f'[[organization.o.mail_flow_rule]]\nname = "r"\n{conditions}\n{fields}\n'


FORCED = outbound("forced", 'recipient_domains = ["*.p.example"]\ntls_settings = "encryption-only"')


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            RELAY.format("*.o.example") + outbound("home", HOME),
            "the gateway accepts and forwards mail to every name under it",
        ),
        (RELAY.format("o.example"), "no outbound connector takes its mail"),
        (
            RELAY.format("o.example") + outbound("x", 'recipient_domains = ["o.example"]\nenabled = false'),
            "no outbound connector takes its mail",
        ),
        (OWN + '[[organization.o.mailbox]]\naddress = "ann@o.example"\n', "there is no postmaster@o.example"),
        (
            outbound("x", CROSSING + SHOWN),
            "sends header fields for the organization's own Exchange to any server that answers",
        ),
        (outbound("x", CROSSING + VALIDATED + SHOWN + 'mode = "rehearse"'), "sends header fields"),
        (outbound("x", CROSSING + VALIDATED), "only of a gateway that shows its certificate; write client_certificate"),
        (
            outbound("x", HOME + 'recipient_domains = ["*"]'),
            "takes all mail to the Internet too",
        ),
        (
            outbound("x", 'recipient_domains = ["p.example"]\ntls_settings = "domain-validation"'),
            "must have the recipient domain's own name",
        ),
        (
            outbound("x", 'recipient_domains = ["*"]\nsmart_hosts = ["a.example"]\ntls_settings = "domain-validation"'),
            "must have the smart host's own name",
        ),
        (
            outbound("x", 'recipient_domains = ["*"]\ntls_settings = "domain-validation"\ntls_domain = "*.example"'),
            "tls_domain *.example covers a whole top-level domain",
        ),
        (
            outbound("b", 'recipient_domains = ["p.example"]') + outbound("a", 'recipient_domains = ["p.example"]'),
            "'a' and 'b' of o both name p.example; 'a' wins by its name",
        ),
        (
            outbound("b", HOME) + outbound("a", HOME),
            "'a' and 'b' of o both take all accepted domains; 'a' wins by its name",
        ),
        (
            FORCED + outbound("trial", 'recipient_domains = ["a.p.example"]\nmode = "rehearse"'),
            "'trial' of o is in rehearsal and may take mail from 'forced', whose encryption-only is then not enforced",
        ),
        (
            FORCED + outbound("trial", 'recipient_domains = ["*"]\nmode = "rehearse"'),
            "is in rehearsal and may take mail from 'forced'",
        ),
        (
            FORCED + outbound("trial", CENTRAL),
            "'trial' of o takes all mail first, so 'forced' and its encryption-only apply only",
        ),
        (OWN + POSTMASTER + outbound("home", HOME), "never reach outbound connector 'home'"),
        (
            OWN + POSTMASTER + outbound("home", ON_PREMISES + 'recipient_domains = ["*.o.example"]'),
            "never reach outbound connector 'home'; write type = \"internal-relay\"",
        ),
        (
            outbound("x", 'connector_type = "on-premises"\nroute_all_messages_via_on_premises = true'),
            "so nothing goes on-premises; write smart_hosts",
        ),
        (outbound("x", 'connector_type = "on-premises"\nall_accepted_domains = true'), "so mail loops; write smart_"),
        *(
            (
                outbound("wide", f'recipient_domains = ["{wide}"]\npriority = 5')
                + outbound("narrow", f'recipient_domains = ["{narrow}"]'),
                f"'narrow' by its priority 5, so the latter never gets mail to {narrow}; make the priorities equal",
            )
            for wide, narrow in (("*", "*.p.example"), ("*.example", "p.example"), ("*.p.example", "p.example"))
        ),
        (
            outbound("x", 'is_transport_rule_scoped = true\nrecipient_domains = ["p.example"]')
            + rule('route_via_connector = "X"'),
            "so its recipient_domains have no effect; put them into the rule",
        ),
        (outbound("x", "is_transport_rule_scoped = true"), "no enabled mail flow rule names it"),
        (
            outbound("x", "is_transport_rule_scoped = true") + rule('route_via_connector = "x"\nenabled = false'),
            "no enabled mail flow rule names it",
        ),
        (
            outbound("x", 'recipient_domains = ["p.example"]\nenabled = false') + rule('route_via_connector = "x"'),
            "outbound connector 'x' is disabled, so the mail waits and expires; enable it",
        ),
        (
            outbound("x", 'recipient_domains = ["p.example"]\nmode = "rehearse"\ntls_settings = "encryption-only"')
            + rule('route_via_connector = "x"'),
            "outbound connector 'x' is in rehearsal, so its encryption-only is not enforced",
        ),
        (
            outbound("x", ON_PREMISES + "is_transport_rule_scoped = true") + rule('route_via_connector = "x"', SENT),
            "mail that comes back from on-premises there again by 'x', so mail loops",
        ),
        (rule("require_tls = true", ""), "it has no condition and applies to all mail"),
        (rule("require_tls = true", 'except_senders = ["*"]'), '"*" as an exception excludes every message; remove'),
        (rule("require_tls = true", 'except_recipients = ["*"]'), '"*" as an exception excludes every message; remove'),
        (
            rule('require_tls = true\nmode = "rehearse"\nstop_rule_processing = true'),
            "in rehearsal it does not stop other rules; with",
        ),
        (premises_at("a", "192.0.2.0/24") + premises_at("b", "192.0.2.7"), "a and b share addresses: 192.0.2.0/24"),
    ],
)
def test_a_trap_is_told(resources: Build, text: str, warning: str) -> None:
    found = warnings(resources(text))
    assert len(found) == 1, found
    assert warning in found[0]


@pytest.mark.parametrize(
    "text",
    [
        OWN
        + PREMISES
        + 'tls_sender_certificate_name = "*.o.example"\ncloud_services_mail_enabled = true\n'
        + outbound("x", CROSSING + VALIDATED + SHOWN),
        "",
        OWN,
        OWN + '[[organization.o.mailbox]]\naddress = "Postmaster@o.example"\n',
        RELAY.format("o.example") + outbound("x", 'recipient_domains = ["*.o.example"]'),
        FORCED,
        FORCED + outbound("other", 'recipient_domains = ["q.example"]\nmode = "rehearse"'),
        outbound("a", 'recipient_domains = ["p.example"]') + outbound("b", 'recipient_domains = ["q.example"]'),
        outbound("a", 'recipient_domains = ["p.example"]\npriority = 1')
        + outbound("b", 'recipient_domains = ["p.example"]'),
        outbound(
            "x", 'recipient_domains = ["p.example"]\ntls_settings = "domain-validation"\ntls_domain = "*.p.example"'
        ),
        outbound("wide", 'recipient_domains = ["*"]\npriority = 5')
        + outbound("all", 'recipient_domains = ["*"]\npriority = 6'),
        outbound("p", 'recipient_domains = ["p.example"]\npriority = 5') + outbound("all", 'recipient_domains = ["*"]'),
        outbound("q", 'recipient_domains = ["*.q.example"]\npriority = 5') + FORCED,
        RELAY.format("o.example") + POSTMASTER + outbound("home", HOME),
        OWN + POSTMASTER + outbound("home", ON_PREMISES + 'recipient_domains = ["q.example"]'),
        OWN + POSTMASTER + outbound("x", 'recipient_domains = ["o.example"]'),
        outbound("x", "is_transport_rule_scoped = true\nenabled = false"),
        outbound("x", "is_transport_rule_scoped = true") + rule('route_via_connector = "X"'),
        # what only rules use takes no part among the domains
        FORCED
        + outbound("x", 'is_transport_rule_scoped = true\nmode = "rehearse"')
        + rule('route_via_connector = "x"\nrequire_tls = true'),
        rule("require_tls = true"),
        rule("require_tls = true", 'header_name = "X-Secret"'),
        rule("require_tls = true", 'except_recipients = ["o.example"]'),
        rule("require_tls = true\nstop_rule_processing = true", SENT),
        outbound("x", CENTRAL) + rule('route_via_connector = "x"', SENT),
        outbound("x", ON_PREMISES + "is_transport_rule_scoped = true") + rule('route_via_connector = "x"'),
        premises_at("a", "192.0.2.0/24") + premises_at("b", "192.0.3.7"),
        premises_at("a", "192.0.2.0/24") + premises_at("b", "2001:db8::7"),
        premises_at("a", "192.0.2.0/24") + premises_at("b", "192.0.2.7", "enabled = false"),
        premises_at("a", "192.0.2.0/24") + premises_at("a", "192.0.2.7").replace('"net"', '"other"'),
    ],
)
def test_what_is_meant_gives_no_warning(resources: Build, text: str) -> None:
    assert warnings(resources(text)) == []


def test_a_rehearsal_of_all_accepted_domains_takes_over_another_such_connector(resources: Build) -> None:
    home = 'connector_type = "on-premises"\nall_accepted_domains = true\n'
    text = outbound("a", home + 'mode = "rehearse"') + outbound("b", home + 'tls_settings = "encryption-only"')
    assert [one for one in warnings(resources(text)) if "'a' of o is in rehearsal" in one]


def test_a_rehearsal_that_routes_everything_takes_over_all_others(resources: Build) -> None:
    central = 'connector_type = "on-premises"\nroute_all_messages_via_on_premises = true\nmode = "rehearse"'
    found = warnings(resources(FORCED + outbound("central", central)))
    assert any("is in rehearsal and may take mail from 'forced'" in one for one in found)


def test_every_pair_that_shares_addresses_is_told_once(resources: Build) -> None:
    networks = {"a": "192.0.2.0/24", "b": "192.0.2.7", "c": "192.0.2.0/25", "d": "192.0.3.0/24", "e": "2001:db8::/64"}
    text = "".join(premises_at(organization, one) for organization, one in networks.items())
    found = [one.partition(" share")[0] for one in warnings(resources(text))]
    assert found == ["a and c", "a and b", "c and b"]


def test_of_many_that_share_an_address_each_is_told_of_a_few_others(resources: Build) -> None:
    many = 300
    text = "".join(premises_at(f"o{number}", "192.0.2.0/24") for number in range(many))
    found = [one for one in warnings(resources(text)) if "share addresses" in one]
    assert many - 1 <= len(found) <= 3 * many
    for number in range(many):
        assert any(f"o{number} " in one for one in found)


@pytest.mark.parametrize(
    ("fields", "hostname", "warning"),
    [
        ('mta_sts_mx = ["mx.o.example"]', "mx.o.example", "mta_sts_mx has no effect, as no policy is published"),
        ('mta_sts = "enforce"\nmta_sts_mx = ["mx.p.example"]', "mx.o.example", "its policy leaves out mx.o.example"),
        ('mta_sts = "enforce"\nmta_sts_mx = ["*.example"]', "mx.example", "allows every host right below a top-level"),
        ('mta_sts = "testing"\nmta_sts_mx = ["mx"]', "", "mx mx can never match: MX hosts have whole names"),
    ],
)
def test_a_trap_of_a_served_policy_is_told(resources: Build, fields: str, hostname: str, warning: str) -> None:
    (found,) = warnings(resources(OWN + fields), hostname)
    assert found.startswith("accepted domain o.example of o: ")
    assert warning in found


@pytest.mark.parametrize(
    ("fields", "hostname"),
    [
        ('mta_sts = "enforce"', "mx.o.example"),
        ('mta_sts = "enforce"\nmta_sts_mx = ["*.o.example"]', "mx.o.example"),
        ('mta_sts = "enforce"\nmta_sts_mx = ["mx.p.example"]', ""),
        ('mta_sts = "testing"\nmta_sts_mx = ["mx.p.example"]', "mx.o.example"),
        ('mta_sts = "none"', "mx.o.example"),
    ],
)
def test_a_served_policy_that_is_meant_gives_no_warning(resources: Build, fields: str, hostname: str) -> None:
    assert warnings(resources(OWN + fields), hostname) == []


@pytest.mark.parametrize(("enabled", "count"), [("true", 1), ("false", 0)])
def test_an_oauth_issuer_without_scopes(resources: Build, enabled: str, count: int) -> None:
    issuer = '[[organization.o.oauth_issuer]]\nname = "idp"\nissuer = "https://idp.example"\naudiences = ["smtp"]\n'
    found = warnings(resources(f"{issuer}enabled = {enabled}\n"))
    assert [text.partition(":")[0] for text in found] == ["OAuth issuer 'idp' of o"] * count


@pytest.mark.parametrize(
    ("kind", "address", "told"),
    [
        ("clamav", "192.0.2.1", "go to 192.0.2.1 unencrypted"),
        ("rspamd", "http://spam.example:11333", "go to spam.example unencrypted"),
        ("rspamd", "https://spam.example", ""),
        ("rspamd", "http://localhost:11333", ""),
        ("clamav", "127.0.0.1", ""),
        ("clamav", "unix:/run/clamav/clamd.ctl", ""),
    ],
)
def test_content_that_leaves_the_machine_in_clear_is_told(resources: Build, kind: str, address: str, told: str) -> None:
    hook = f'[[organization.o.content_hook]]\nname = "h"\ntype = "{kind}"\naddress = "{address}"\n'
    found = warnings(resources(OWN + hook))
    assert [told in one for one in found] == [True] * bool(told)
    assert warnings(resources(OWN + hook + "enabled = false")) == []


DKIM = '[[organization.o.dkim_key]]\nname = "{}._domainkey.o.example"\nalgorithm = "{}-sha256"\nstate = "{}"\n'


def test_a_domain_that_signs_with_ed25519_alone(resources: Build) -> None:
    alone = OWN + DKIM.format("e", "ed25519", "current")
    (said,) = [one for one in warnings(resources(alone + DKIM.format("r", "rsa", "next"))) if "DKIM" in one]
    assert said.startswith("DKIM keys of o.example of o: the gateway signs with Ed25519 alone")
    for text in (alone + DKIM.format("r", "rsa", "current"), OWN + DKIM.format("e", "ed25519", "next")):
        assert not [one for one in warnings(resources(text)) if "DKIM" in one]


def test_a_pending_domain_is_told_and_nothing_else_of_it(resources: Build) -> None:
    text = OWN + 'verified = false\nmta_sts_mx = ["*.example"]\n[[organization.o.mailbox]]\naddress = "x@o.example"\n'
    assert warnings(resources(text)) == [
        (
            "accepted domain o.example of o: it is pending: until it is verified, the gateway accepts no mail for it, "
            "and its mailboxes, aliases and DKIM keys have no effect"
        )
    ]


DOMAINS = st.lists(st.sampled_from(["a.test", "b.a.test", "c.test", "*.a.test", "*"]), min_size=1, max_size=2)
CONNECTORS = st.lists(
    st.fixed_dictionaries(
        {
            "recipient_domains": DOMAINS,
            "priority": st.integers(1, 2),
            "mode": st.sampled_from(["enforce", "rehearse"]),
            "tls_settings": st.sampled_from(["opportunistic", "encryption-only"]),
        }
    ),
    max_size=5,
)


@given(CONNECTORS)
def test_no_pair_that_has_a_trap_is_left_out(tables):
    named = [{"name": f"c{place}", **table} for place, table in enumerate(tables)]
    (one,) = parse({"organization": {"o": {"outbound_connector": named}}}).organizations
    placed = one.outbound_connectors
    trapped = [pair for pair in combinations(placed, 2) if list(traps._pair(*pair, one))]
    assert [pair for pair in traps._related(placed) if pair in trapped] == trapped


def test_of_many_connectors_few_are_held_against_each_other():
    named = [{"name": f"c{place}", "recipient_domains": [f"d{place // 2}.test"]} for place in range(1000)]
    (one,) = parse({"organization": {"o": {"outbound_connector": named}}}).organizations
    assert len(list(traps._related(one.outbound_connectors))) == 500


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ("", True),
        ('type = "rspamd"\naddress = "http://127.0.0.1:11333"', False),
        ('type = "rspamd"\naddress = "http://127.0.0.1:11333"\nenabled = false', True),
        ('type = "rspamd"\naddress = "http://127.0.0.1:11333"\ndirection = "outbound"', True),
        ('type = "rspamd"\naddress = "http://127.0.0.1:11333"\nchange_header = false', True),
        ('type = "rspamd"\naddress = "http://127.0.0.1:11333"\nmode = "rehearse"', True),
        ('type = "clamav"\naddress = "127.0.0.1"', True),
    ],
)
def test_results_that_nobody_adds(resources, more, warned):
    hook = f'[[organization.o.content_hook]]\nname = "h"\n{more}\n' if more else ""
    found = warnings(resources('[organization.o]\nauthentication_results = "rspamd"\n' + OWN + hook))
    assert any("mail gets no results" in one for one in found) is warned


def connectors(count: int, **fields: object) -> dict[str, object]:
    """Named c0, c1, …; a text with {} in it has the number there."""
    return {
        "organization": {
            "o": {
                "accepted_domain": [{"name": "o.example"}],
                "outbound_connector": [
                    {
                        "name": f"c{number}",
                        "smart_hosts": ["mx.p.example"],
                        "recipient_domains": [f"p{number}.example"],
                        **fields,
                    }
                    for number in range(count)
                ],
            }
        }
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"recipient_domains": ["p.example"]},
        {"mode": "rehearse"},
        {"recipient_domains": ["*.p.example"]},
        {"connector_type": "on-premises", "recipient_domains": [], "all_accepted_domains": True},
    ],
    ids=["one domain", "rehearsal", "wildcards", "all accepted domains"],
)
def test_of_hundreds_that_may_take_mail_from_each_other_not_all_pairs_are_compared(fields: dict[str, object]) -> None:
    said = warnings(parse(connectors(700, **fields)))
    assert len([text for text in said if "not all pairs were compared" in text]) == 1


def test_of_thousands_that_stand_apart_all_are_compared() -> None:
    assert not [text for text in warnings(parse(connectors(2_000))) if "compared" in text]


@pytest.mark.parametrize("second", [{"priority": 200}, {"mode": "rehearse"}], ids=["covered", "rehearsal"])
def test_long_lists_of_domains_are_compared_in_one_pass(second: dict[str, object]) -> None:
    document = connectors(2, tls_settings="encryption-only")
    first, other = document["organization"]["o"]["outbound_connector"]  # type: ignore[index] # it is made above
    first["recipient_domains"] = [f"*.p{number}.example" for number in range(20_000)]
    other |= {"recipient_domains": [f"a.q{number}.example" for number in range(20_000)], **second}
    assert warnings(parse(document)) == []
    other["recipient_domains"].append("a.p7.example")
    assert [text for text in warnings(parse(document)) if "c0" in text and "c1" in text]


def test_a_domain_that_is_named_again_and_again_is_looked_at_once() -> None:
    assert warnings(parse(connectors(1, recipient_domains=["p.example"] * 100_000))) == []
