from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.migration.postfix import convert
from gatepost.analysis.migration.postfix_config import named_files
from gatepost.analysis.migration.postfix_lost import READ
from gatepost.analysis.migration.report import Imported, ImportRefused, ImportResult
from gatepost.policy.connectors.model import parse

FULL = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6

smtpd_tls_cert_file=/etc/ssl/certs/mx.pem
smtpd_tls_key_file=/etc/ssl/private/mx.key
smtpd_tls_security_level=encrypt
smtpd_tls_mandatory_protocols = >=TLSv1.2

smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
smtp_tls_policy_maps = hash:/etc/postfix/tls_policy

smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mx.contoso.example
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = $myhostname, contoso.example, localhost
virtual_mailbox_domains = fabrikam.example
relay_domains = hash:/etc/postfix/relay
relayhost =
transport_maps = hash:/etc/postfix/transport
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128 192.0.2.0/28
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
maximal_queue_lifetime = 2d
message_size_limit = 20480000
"""
FILES = {
    "/etc/postfix/relay": ("hq.example OK\n", ""),
    "/etc/postfix/transport": ("hq.example smtp:[hq.example]:2525\n", ""),
    "/etc/postfix/tls_policy": ("[hq.example]:2525 encrypt\nbank.example secure\n", ""),
}


def imported(main: str, files: dict[str, tuple[str | None, str]] | None = None, **more: str) -> Imported:
    result = convert(main, files or {}, **more)
    parse(result.document)
    return result


def own(result: Imported) -> dict[str, object]:
    return result.document["organization"][result.organization]


def told(result: Imported, outcome: ImportResult) -> list[str]:
    return [f"{one.setting}: {one.detail}" for one in result.findings if one.outcome is outcome]


def test_a_debian_gateway():
    result = imported(FULL, FILES)
    assert result.organization == "contoso"
    assert own(result) == {
        "message_expiration": "2d",
        "cleartext": "after-failed-handshake",
        "accepted_domain": [
            {"name": "mx.contoso.example", "type": "authoritative"},
            {"name": "contoso.example", "type": "authoritative"},
            {"name": "fabrikam.example", "type": "authoritative"},
            {"name": "*.hq.example", "type": "internal-relay"},
        ],
        "inbound_connector": [
            {
                "name": "mynetworks",
                "connector_type": "on-premises",
                "require_tls": True,
                "sender_ip_addresses": ["127.0.0.1", "::1", "192.0.2.0/28"],
            },
            {
                "name": "everybody",
                "connector_type": "partner",
                "sender_domains": ["*"],
                "require_tls": True,
                "min_tls_version": "TLSv1.2",
            },
        ],
        "outbound_connector": [
            {
                "name": "to hq.example:2525",
                "connector_type": "partner",
                "recipient_domains": ["hq.example"],
                "smart_hosts": ["hq.example:2525"],
                "tls_settings": "encryption-only",
            },
            {
                "name": "to bank.example",
                "connector_type": "partner",
                "recipient_domains": ["bank.example"],
                "tls_settings": "domain-validation",
                "tls_domain": "*.bank.example",
                "trust_anchors": "/etc/ssl/certs",
            },
        ],
    }
    assert [one.partition(" ")[0] for one in told(result, ImportResult.LOST)] == [
        "smtpd_tls_cert_file",
        "smtpd_tls_key_file",
        "smtpd_relay_restrictions",
        "alias_maps",
        "message_size_limit",
    ]


def test_the_files_that_are_needed_are_those_of_the_tables():
    assert named_files(FULL, "/etc/postfix") == [
        "/etc/postfix/transport",
        "/etc/postfix/tls_policy",
        "/etc/postfix/relay",
    ]


FIELDS = [
    ("maximal_queue_lifetime = 3h", {"message_expiration": "3h", "cleartext": "after-failed-handshake"}),
    ("myhostname = x.example", {"message_expiration": "5d", "cleartext": "after-failed-handshake"}),
    ("maximal_queue_lifetime = 0", {"cleartext": "after-failed-handshake"}),
    ("maximal_queue_lifetime = 9w", {"cleartext": "after-failed-handshake"}),
    ("smtp_tls_security_level = encrypt", {"message_expiration": "5d"}),
    ("smtp_tls_security_level = tls", {"message_expiration": "5d"}),
]


@pytest.mark.parametrize(("main", "fields"), FIELDS)
def test_fields_of_the_organization(main, fields):
    found = own(imported(main))
    assert {key: value for key, value in found.items() if not isinstance(value, list)} == fields


BASE = "myhostname = mx.o.example\n"
AUTH, RELAY = "authoritative", "internal-relay"
DOMAINS = [
    ("mydestination = $mydomain, localhost, localhost.$mydomain, localhost6", [("o.example", AUTH)]),
    ("mydestination = /list !c.example [192.0.2.1]", [("a.example", AUTH), ("b.example", AUTH)]),
    ("mydestination =\nvirtual_mailbox_domains = hash:/table", [("t.example", AUTH)]),
    ("mydestination =\nvirtual_alias_domains = v.example", [("v.example", AUTH)]),
    ("mydestination =\nvirtual_alias_maps = hash:/aliases ldap:/x", [("v.example", AUTH)]),
    ("mydestination =\nrelay_domains = r.example .s.example", [("*.r.example", RELAY), ("*.s.example", RELAY)]),
    ("mydestination =\nparent_domain_matches_subdomains =\nrelay_domains = r.example", [("r.example", RELAY)]),
    ("mydestination = r.example\nrelay_domains = r.example", [("r.example", AUTH)]),
    ("mydestination =\nrelay_domains = ldap:/x", []),
    ("mydestination =\nvirtual_mailbox_domains = static:all", []),
]
LISTS = {
    "/list": ("a.example\nb.example # not a comment\n".replace(" # not a comment", ""), ""),
    "/table": ("t.example x\n", ""),
    "/aliases": ("v.example anything\na@v.example b@w.example\npostmaster root\n", ""),
}


@pytest.mark.parametrize(("main", "domains"), DOMAINS)
def test_accepted_domains(main, domains):
    found = own(imported(BASE + main, LISTS)).get("accepted_domain", [])
    assert [(one["name"], one["type"]) for one in found] == domains


NETWORKS = [
    ("mynetworks = 192.0.2.1, 192.0.2.1/32 198.51.100.0/24", ["192.0.2.1/32", "198.51.100.0/24"], []),
    ("mynetworks = 10.0.0.0/8 192.0.2.1", ["192.0.2.1/32"], ["10.0.0.0/8 is wider than /24"]),
    ("mynetworks = [2001:db8::]/32 [2001:db8:1::]/48", ["2001:db8:1::/48"], ["wider than /48"]),
    ("mynetworks = [fe80::]/64 192.0.2.1", ["192.0.2.1/32"], ["link-local"]),
    ("mynetworks = !192.0.2.1, 192.0.2.0/28 198.51.100.1", ["198.51.100.1/32"], ["an exception (!)"]),
    ("mynetworks = cidr:/nets", ["192.0.2.0/30"], []),
    ("mynetworks = /list !/out", ["198.51.100.0/30"], ["an exception (!)"]),
    ("mynetworks = hash:/gone 192.0.2.1", ["192.0.2.1/32"], ["/gone was not read"]),
    ("mynetworks = mail.o.example 192.0.2.1", ["192.0.2.1/32"], ["names of hosts are not looked up"]),
    ("mynetworks = 127.0.0.0/8", ["127.0.0.1"], []),
    ("mynetworks = 192.0.2.1\nsmtpd_recipient_restrictions = permit_mynetworks, reject", ["192.0.2.1/32"],
     ["relay rights"]),
    ("mynetworks = " + " ".join(f"10.0.{n >> 8}.{n & 255}" for n in range(4100)),
     [f"10.0.{n >> 8}.{n & 255}/32" for n in range(4000)], ["more than 4000"]),
]  # fmt: skip
NETWORK_FILES = {
    "/nets": ("192.0.2.0/30 OK\n", ""),
    "/list": ("192.0.2.0/30 198.51.100.0/30\n", ""),
    "/out": ("192.0.2.1\n", ""),
}


@pytest.mark.parametrize(("main", "networks", "lost"), NETWORKS, ids=range(len(NETWORKS)))
def test_own_servers(main, networks, lost):
    result = imported(BASE + main, NETWORK_FILES)
    (connector,) = own(result)["inbound_connector"]
    assert connector["sender_ip_addresses"] == networks
    assert connector["require_tls"] is False
    found = told(result, ImportResult.LOST)
    assert len(found) == len(lost)
    for text, words in zip(found, lost, strict=True):
        assert words in text


@pytest.mark.parametrize(
    ("main", "words"),
    [("", "takes the machine's own networks"), ("mynetworks = 10.0.0.0/8", "nothing that is narrow enough")],
)
def test_no_own_servers(main, words):
    result = imported(BASE + main)
    assert "inbound_connector" not in own(result)
    assert any(words in text for text in told(result, ImportResult.LOST))


def test_mynetworks_that_nothing_permits():
    result = imported(BASE + "mynetworks = 192.0.2.1\nsmtpd_relay_restrictions = reject_unauth_destination")
    assert "inbound_connector" not in own(result)


ENCRYPTION = [
    ("smtpd_tls_security_level = encrypt", {}),
    ("smtpd_enforce_tls = yes", {}),
    ("smtpd_tls_security_level = encrypt\nsmtpd_tls_mandatory_protocols = >=TLSv1.3", {"min_tls_version": "TLSv1.3"}),
    ("smtpd_tls_security_level = encrypt\nsmtpd_tls_mandatory_protocols = >=TLSv1", {}),
]


@pytest.mark.parametrize(("main", "fields"), ENCRYPTION)
def test_encryption_is_demanded_from_everybody(main, fields):
    (connector,) = own(imported(BASE + main))["inbound_connector"]
    assert connector == {
        "name": "everybody",
        "connector_type": "partner",
        "sender_domains": ["*"],
        "require_tls": True,
        **fields,
    }


REPORTED = [
    ("novelty = 1", "novelty (line 2): 1: is not known to this import"),
    ("message_size_limit = 1000000", "[limits] message_bytes = 1000000"),
    ("smtp_tls_per_site = hash:/x", "obsolete"),
    ("smtpd_recipient_restrictions = permit_tls_clientcerts", "tls_sender_certificate_name, the name"),
    ("mysubmission_restrictions = permit_tls_all_clientcerts", "permit_tls_all_clientcerts: "),
    ("maximal_queue_lifetime = 0", "write message_expiration"),
    ("maximal_queue_lifetime = 9w", "out of range"),
    ("smtp_tls_security_level = tls", "its level is not known"),
    ("mydestination = !x.example", "exceptions are not written"),
    ("mydestination = ldap:/x", "name its domains by hand"),
]


@pytest.mark.parametrize(("main", "words"), REPORTED)
def test_everything_else_is_reported(main, words):
    found = told(imported(BASE + main), ImportResult.LOST)
    assert any(words in text for text in found), found
    assert not any("geheim" in text for text in found)


@pytest.mark.parametrize("main", ["biff = no", "smtp_sasl_auth_enable = no", "inet_interfaces = all", "novelty ="])
def test_what_asks_for_nothing_is_quiet(main):
    assert told(imported(BASE + "mynetworks = 127.0.0.1\n" + main), ImportResult.LOST) == []


def test_services_with_options_of_their_own_are_reported():
    master = (
        "submission inet n - y - - smtpd\n -o smtpd_tls_security_level=encrypt\n"
        "relay unix - - y - - smtp\n -o syslog_name=x\nlmtp unix - - y - - lmtp\n -o novelty=1\n"
    )
    found = told(imported(BASE, master=master), ImportResult.LOST)
    assert [one for one in found if "master.cf" in one] == [
        "master.cf: submission: smtpd_tls_security_level=encrypt: holds for this service alone, and is not read"
    ]


PROXY = "a setting of the server, not a resource: write proxy_protocol_from = [ADDRESSES] in the [[listener]] in"
FRONTS = [
    ("smtpd_upstream_proxy_protocol = haproxy", "", f"haproxy: {PROXY}"),
    ("postscreen_upstream_proxy_protocol = haproxy", "", f"haproxy: {PROXY}"),
    (
        "smtpd_authorized_xclient_hosts = 192.0.2.9",
        "",
        "192.0.2.9: a setting of the server, not a resource: write xclient",
    ),
    ("smtpd_authorized_xforward_hosts = 192.0.2.9", "", "192.0.2.9: XFORWARD changes what is logged alone"),
    (
        "",
        "2525 inet n - n - - smtpd\n -o smtpd_upstream_proxy_protocol=haproxy\n -o smtpd_upstream_proxy_timeout=5s\n",
        f"master.cf: 2525: smtpd_upstream_proxy_protocol=haproxy: {PROXY}",
    ),
    (
        "",
        "smtp inet n - n - 1 postscreen\n -o postscreen_upstream_proxy_protocol=haproxy\n",
        f"master.cf: smtp: postscreen_upstream_proxy_protocol=haproxy: {PROXY}",
    ),
    (
        "",
        "smtp inet n - n - - smtpd\n -o smtpd_authorized_xclient_hosts=192.0.2.0/28\n",
        "master.cf: smtp: smtpd_authorized_xclient_hosts=192.0.2.0/28: a setting of the server",
    ),
]


@pytest.mark.parametrize(("main", "master", "words"), FRONTS)
def test_who_stands_in_front_is_named_with_the_setting_that_knows_it(main, master, words):
    found = told(imported(BASE + "mynetworks = 127.0.0.1\n" + main, master=master), ImportResult.LOST)
    (line,) = found
    assert words in line


@pytest.mark.parametrize("main", ["smtpd_upstream_proxy_protocol =", "smtpd_authorized_xclient_hosts ="])
def test_who_has_nobody_in_front_is_told_nothing(main):
    master = "smtp inet n - n - - smtpd\n -o smtpd_upstream_proxy_protocol=\n"
    found = imported(BASE + "mynetworks = 127.0.0.1\n" + main, master=master)
    assert told(found, ImportResult.LOST) == []


def test_a_hostname_that_is_not_written():
    found = told(imported("biff = no"), ImportResult.LOST)
    assert any("add it as accepted domain" in text for text in found)
    assert not any("add it" in text for text in told(imported("mydestination = o.example"), ImportResult.LOST))


NAMES = [
    (BASE, "o"),
    ("mydomain = corp.example", "corp"),
    ("mydestination = d.example", "d"),
    ("biff = no", "imported"),
]


@pytest.mark.parametrize(("main", "name"), NAMES)
def test_the_name_of_the_organization(main, name):
    assert imported(main).organization == name


def test_a_given_name():
    assert imported(BASE, organization="own").organization == "own"
    with pytest.raises(ImportRefused, match="--organization"):
        imported(BASE, organization="Not Good")


@pytest.mark.parametrize("main", ["", "# nothing\n"])
def test_an_empty_file_is_refused(main):
    with pytest.raises(ImportRefused, match="no parameter"):
        imported(main)


WORDS = st.sampled_from(
    ["b.example", ".b.example", "*", "smtp:[h]:25", "secure", "encrypt", "match=x", "hash:/t", "!10.0.0.1",
     "10.0.0.0/25", "$mydomain", "${a?b}", "ldap:/x", "a@b.example", ":", "dane-only",
     "verify", "protocols=>=TLSv1.3", "[::1]/128"]
)  # fmt: skip
PARAMETERS = st.sampled_from(
    ["mydestination", "relay_domains", "transport_maps", "relayhost", "smtp_tls_policy_maps", "smtp_tls_security_level",
     "mynetworks", "smtp_tls_cert_file", "smtp_tls_CAfile", "smtp_tls_mandatory_protocols", "smtpd_tls_security_level",
     "virtual_alias_maps", "maximal_queue_lifetime", "novelty"]
)  # fmt: skip


@given(
    st.lists(st.tuples(PARAMETERS, st.lists(WORDS | st.text(max_size=5), max_size=3)), max_size=6),
    st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=4),
)
def test_whatever_is_read_the_document_can_be_applied(parameters, table):
    main = "\n".join(f"{name} = {' '.join(values)}" for name, values in parameters)
    files = {"/t": ("\n".join(" ".join(line) for line in table), "")}
    try:
        named_files(main, "/d")
        imported(main, files)
    except ImportRefused:
        return


RICH = """\
myhostname = gate.contoso.example
mydestination = $myhostname, localhost
relay_domains = contoso.example, hash:/etc/postfix/relay
mynetworks = 127.0.0.0/8, 192.0.2.0/28
relayhost = [relay.example]:587
transport_maps = hash:/etc/postfix/transport
smtp_tls_policy_maps = hash:/etc/postfix/tls_policy
smtp_tls_security_level = may
smtp_tls_cert_file = /etc/ssl/gate-rsa.pem
smtp_tls_key_file = /etc/ssl/gate-rsa.key
smtp_tls_eccert_file = /etc/ssl/gate-ec.pem
smtp_tls_eckey_file = /etc/ssl/gate-ec.key
smtpd_tls_security_level = may
smtpd_milters = inet:localhost:11332
virtual_alias_maps = hash:/etc/postfix/virtual
header_checks = pcre:/etc/postfix/headers
smtpd_sasl_auth_enable = yes
postscreen_dnsbl_sites = dnsbl.example
delay_warning_time = 4h
recipient_delimiter = +
biff = no
message_size_limit = 1000000
message_size_limit = 50000000
something_new = 1
empty_value =
"""
RICH_FILES = {
    "/etc/postfix/relay": "branch.example x\ncontoso.example x\n",
    "/etc/postfix/transport": (
        "bank.example smtp:[mx.bank.example]\n.lab.example :\nlists.example lmtp:unix:/run/lists\n"
        "bank.example smtp:[other.example]\nann@far.example smtp:[far.example]\n"
    ),
    "/etc/postfix/tls_policy": (
        "[mx.bank.example] secure ciphers=high\n.gov.example dane-only\npartner.example encrypt\n"
        "[relay.example]:587 verify match=hostname:relay.example:other.example\nodd.example sometimes\n"
    ),
    "/etc/postfix/virtual": "sales@contoso.example ann@contoso.example\n",
}


def test_nothing_of_a_rich_configuration_is_dropped_without_a_word():
    """Every parameter, and every line of its tables, becomes a resource or is named in the report."""
    result = imported(RICH, {path: (text, "") for path, text in RICH_FILES.items()}, directory="/etc/postfix")
    report = "\n".join(f"{one.resource}: {one.setting}: {one.detail}" for one in result.findings)
    everything = f"{result.document}\n{report}"
    for line in RICH.splitlines():
        name = line.partition(" ")[0]
        assert name in READ or name in report, name
    assert "message_size_limit (line 22): is written again in line 23" in report
    assert "empty_value" in report
    for path in ("/etc/postfix/transport", "/etc/postfix/tls_policy"):
        for number, line in enumerate(RICH_FILES[path].splitlines(), 1):
            key = line.partition(" ")[0]
            assert f"{path}, line {number}" in report or key.strip("[]").partition("]")[0] in everything, line
    assert "/etc/postfix/tls_policy, line 2: .gov.example dane-only" in report
    assert "aliases of a [[mailbox]]" in report
    assert "[[content_hook]]" in report
    assert "gatepost mailbox password" in report
    assert "not looked at" not in report
