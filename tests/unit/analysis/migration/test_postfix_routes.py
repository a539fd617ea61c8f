from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix_config import parse_main, parse_master
from gatepost.analysis.migration.postfix_routes import outbound
from gatepost.analysis.migration.report import ImportResult, Part, assemble
from gatepost.policy.connectors.model import parse

MASTER = """\
smtp   unix - - y - - smtp
relay  unix - - y - - smtp
  -o syslog_name=postfix/relay
slow   unix - - y - 1 smtp
forced unix - - y - - smtp
  -o smtp_tls_security_level=encrypt
amavis unix - - y - - lmtp
"""
MAY = "smtp_tls_security_level = may\n"
CLEAR = {"cleartext": "after-failed-handshake"}


def routed(main: str, transport: str = "", policy: str = "", master: str = MASTER) -> list[Part]:
    files = {"/t": (transport, ""), "/p": (policy, "")}
    text = main + "\ntransport_maps = hash:/t\nsmtp_tls_policy_maps = hash:/p\n"
    services = {one.name: one for one in parse_master(master)}
    parts = outbound(parse_main(text), services, files)
    parse(assemble("o", parts).document)
    return parts


def connectors(parts: list[Part]) -> list[dict[str, object]]:
    return [
        {key: value for key, value in part.table.items() if key not in {"name", "connector_type"}}
        for part in parts
        if part.kind == "outbound_connector"
    ]


def told(parts: list[Part]) -> list[tuple[str, str]]:
    return [(str(one.outcome), f"{one.setting}: {one.detail}") for part in parts for one in part.findings]


def to(*domains: str, **fields: object) -> dict[str, object]:
    return {"recipient_domains": list(domains), **fields}


# main.cf, transport table, policy table, connectors
ROUTES = [
    (MAY, "", "", []),
    (MAY, "b.example smtp:[mx.b.example]\n", "", [to("b.example", smart_hosts=["mx.b.example"], **CLEAR)]),
    (MAY, "B.Example smtp:[MX.b.example]:2525\n", "", [to("b.example", smart_hosts=["mx.b.example:2525"], **CLEAR)]),
    (MAY, "b.example :[mx.b.example]:submission\n", "", [to("b.example", smart_hosts=["mx.b.example:587"], **CLEAR)]),
    (MAY, "b.example relay:[192.0.2.1], [2001:db8::1]:26\n", "",
     [to("b.example", smart_hosts=["192.0.2.1", "[2001:db8::1]:26"], **CLEAR)]),
    (MAY, "b.example smtp:[ipv6:2001:db8::1]\n", "", [to("b.example", smart_hosts=["[2001:db8::1]"], **CLEAR)]),
    (MAY, "b.example slow:\n", "", [to("b.example", **CLEAR)]),
    (MAY, "b.example smtp:b.example\n", "", [to("b.example", **CLEAR)]),
    (MAY, "b.example smtp:hub.example\n", "", [to("b.example", smart_hosts=["hub.example"], **CLEAR)]),
    (MAY, "b.example :\nc.example\n", "", []),
    (MAY, "b.example smtp:[h]\n.b.example smtp:[h]\nc.example smtp:[h]\n", "",
     [to("b.example", "*.b.example", "c.example", smart_hosts=["h"], **CLEAR)]),
    (MAY + "parent_domain_matches_subdomains = transport_maps\n", "b.example smtp:[h]\n.b.example smtp:[h]\n", "",
     [to("*.b.example", smart_hosts=["h"], **CLEAR)]),
    (MAY, "* smtp:[h]\n", "", [to("*", smart_hosts=["h"], **CLEAR)]),
    (MAY + "relayhost = [h]:587\n", "", "", [to("*", smart_hosts=["h:587"], **CLEAR)]),
    (MAY + "relayhost = [h]\n", "* smtp:[other]\n", "", [to("*", smart_hosts=["other"], **CLEAR)]),
    # policies are looked up by the next hop
    (MAY + "relayhost = [h]:587\n", "", "[h]:587 encrypt\n",
     [to("*", smart_hosts=["h:587"], tls_settings="encryption-only")]),
    (MAY, "b.example smtp:[h]\nc.example smtp:[i]\n", "[h] encrypt\n[i] encrypt\n",
     [to("b.example", smart_hosts=["h"], tls_settings="encryption-only"),
      to("c.example", smart_hosts=["i"], tls_settings="encryption-only")]),
    (MAY, "", "b.example encrypt\nc.example encrypt\n", [to("b.example", "c.example", tls_settings="encryption-only")]),
    (MAY, "", "b.example secure\n", [to("b.example", tls_settings="domain-validation", tls_domain="*.b.example")]),
    (MAY, "", ".b.example encrypt\n", [to("*.b.example", tls_settings="encryption-only")]),
    (MAY, "sub.b.example smtp:\n", ".b.example encrypt\n",
     [to("sub.b.example", "*.b.example", tls_settings="encryption-only")]),
    (MAY, "c.example smtp:mx.b.example\n", ".b.example encrypt\n",
     [to("c.example", smart_hosts=["mx.b.example"], tls_settings="encryption-only"),
      to("*.b.example", tls_settings="encryption-only")]),
    (MAY, "c.example smtp:mx.b.example:26\n", ".b.example encrypt\n",
     [to("c.example", smart_hosts=["mx.b.example:26"], **CLEAR), to("*.b.example", tls_settings="encryption-only")]),
    (MAY, "c.example smtp:[h], [i]\n", "[h] secure match=x.example\n[i] secure match=x.example\n",
     [to("c.example", smart_hosts=["h", "i"], tls_settings="domain-validation", tls_domain="x.example")]),
    # the level for all others
    ("smtp_tls_security_level = encrypt\n", "", "", [to("*", tls_settings="encryption-only")]),
    ("smtp_tls_security_level = encrypt\n", "b.example smtp:[h]\n", "",
     [to("b.example", smart_hosts=["h"], tls_settings="encryption-only"), to("*", tls_settings="encryption-only")]),
    # certificates
    (MAY + "smtp_tls_cert_file = /c\nsmtp_tls_key_file = /k\n", "", "",
     [to("*", client_certificate={"chain": "/c", "key": "/k"}, **CLEAR)]),
    (MAY + "smtp_tls_eccert_file = /e\nsmtp_tls_cert_file = /c\n", "", "",
     [to("*", client_certificate={"chain": "/e", "key": "/e"}, **CLEAR)]),
    (MAY + "smtp_tls_chain_files = /x, /y\n", "", "",
     [to("*", client_certificate={"chain": "/x", "key": "/x"}, **CLEAR)]),
]  # fmt: skip


@pytest.mark.parametrize(("main", "transport", "policy", "expected"), ROUTES, ids=range(len(ROUTES)))
def test_connectors(main, transport, policy, expected):
    found = connectors(routed(main, transport, policy))
    assert found == expected


def test_names():
    parts = routed(MAY + "relayhost = [r]\n", "b.example smtp:[h]:26\nc.example smtp:\n* smtp:[s]\n", master="")
    assert [part.label for part in parts if part.kind] == [
        "outbound connector 'to h:26'",
        "outbound connector 'to c.example'",
        "outbound connector 'to s'",
    ]
    for main, name in [
        (MAY + "relayhost = [r]\n", "relayhost"),
        ("smtp_tls_security_level = encrypt", "to all others"),
    ]:
        assert routed(main)[0].table["name"] == name


def test_single_addresses_become_rules():
    parts = routed(MAY, "ceo@b.example smtp:[vip]\ncfo@b.example smtp:[vip]\nb.example smtp:[vip]\n")
    assert connectors(parts) == [
        {"is_transport_rule_scoped": True, "smart_hosts": ["vip"], **CLEAR},
        to("b.example", smart_hosts=["vip"], **CLEAR),
    ]
    rules = [part.table for part in parts if part.kind == "mail_flow_rule"]
    assert [rule["recipients"] for rule in rules] == [["ceo@b.example"], ["cfo@b.example"]]
    assert {rule["route_via_connector"] for rule in rules} == {"to vip"}


LOST, DIFFERS = str(ImportResult.LOST), str(ImportResult.DIFFERS)
TOLD = [
    (MAY, "b.example error:5.1.1 gone\n", "", LOST, "/t, line 1: b.example error:5.1.1 gone: mail is returned"),
    (MAY, "b.example discard:\n", "", LOST, "discarded"),
    (MAY, "b.example lmtp:inet:h:24\n", "", LOST, "lmtp:HOST:PORT"),
    (MAY, "b.example uucp:h\n", "", LOST, "'uucp' of master.cf"),
    (MAY, "b.example amavis:h\n", "", LOST, "'amavis' of master.cf"),
    (MAY, "b.example forced:[h]\n", "", LOST, "'forced' of master.cf"),
    (MAY, "", "b.example MUST\n", LOST, "/p, line 1: b.example: 'MUST' begins with no TLS level"),
    (MAY, "b.example smtp:[h]\n", "b.example secure\n", LOST, "never looks at the policy"),
    (MAY + "relayhost = [h]\n", "", "b.example secure\n", LOST, "never looks at the policy"),
    (MAY, "b.example smtp:hub.example\n", "", DIFFERS, "name the MX hosts"),
    (MAY, ".b.example smtp:[h]\n", "", DIFFERS, "*.b.example: takes in the domain itself"),
    ("smtp_tls_security_level = none\n", "b.example smtp:[h]\n", "", DIFFERS, "without TLS"),
    (MAY + "smtp_tls_cert_file = /c\n", "", "", DIFFERS, "holds key and certificate"),
]


@pytest.mark.parametrize(("main", "transport", "policy", "outcome", "words"), TOLD, ids=range(len(TOLD)))
def test_what_is_told(main, transport, policy, outcome, words):
    assert any(words in text and kind == outcome for kind, text in told(routed(main, transport, policy)))


REFUSED = [
    (MAY, "b.example smtp:[h\n", "", "cannot be read"),
    (MAY, "b.example smtp:[h]:imap\n", "", "cannot be read"),
    (MAY, "b.example smtp:[h], [i]\n", "[h] encrypt\n", "different TLS policies"),
    ("smtp_tls_security_level = tls\n", "", "", "its level is not known"),
]


@pytest.mark.parametrize(("main", "transport", "policy", "words"), REFUSED)
def test_what_is_refused(main, transport, policy, words):
    assert words in routed(main, transport, policy)[0].refused


def test_tables_that_cannot_be_read_are_told():
    parts = outbound(parse_main("transport_maps = ldap:/x inline:{ b.example=smtp:[h] }"), {}, {})
    assert connectors(parts) == [to("b.example", smart_hosts=["h"])]
    assert any("ldap:/x" in text for _, text in told(parts))


def test_an_entry_that_says_nothing_takes_its_mail_out_of_a_wider_one():
    """transport(5): a null transport and next hop is what there would be without the table."""
    main = MAY + "relayhost = [relay.example]\n"
    parts = routed(main, "* smtp:[hub.example]\nb.example :\n")
    assert connectors(parts) == [
        to("*", smart_hosts=["hub.example"], **CLEAR),
        to("b.example", smart_hosts=["relay.example"], **CLEAR),
    ]
    assert any("no wider entry" in text for _, text in told(routed(MAY, "b.example :\n")))


@pytest.mark.parametrize("key", [".gov.example", "gov.example", "[mx.gov.example]:25"])
def test_a_policy_beside_a_relayhost_is_not_dropped_without_a_word(key):
    """Postfix looks for a policy by the relayhost's name, and so never at this one; somebody meant it to count."""
    parts = routed(MAY + "relayhost = [relay.example]\n", policy=f"{key} dane-only\n")
    ((outcome, text),) = [one for one in told(parts) if key in one[1]]
    assert outcome == "not carried over"
    assert text.startswith("/p, line 1: ")
    assert "Postfix never looks at the policy" in text


def test_of_equal_keys_and_of_several_certificates_the_others_are_named():
    main = MAY + "smtp_tls_cert_file = /rsa.pem\nsmtp_tls_eccert_file = /ec.pem\n"
    texts = [text for _, text in told(routed(main, "b.example smtp:[one.example]\nb.example smtp:[two.example]\n"))]
    assert "/t, line 2: b.example smtp:[two.example]: is written before, at /t, line 1, and the first counts" in texts
    assert "client_certificate: a connector shows one, /ec.pem; /rsa.pem is not shown" in texts


@pytest.mark.parametrize(
    ("files", "certificate", "lost"),
    [
        ("/all.pem", ("/all.pem", "/all.pem"), False),
        ("/gate.key, /gate.pem", ("/gate.pem", "/gate.key"), False),
        ("/key.pem /chain.pem, /rsa.pem", ("/chain.pem", "/key.pem"), True),
        ("/a-key.pem, /b-key.pem", ("/a-key.pem", "/a-key.pem"), True),
    ],
)
def test_a_key_has_its_chain_in_its_own_file_or_the_next(files, certificate, lost):
    parts = routed(MAY + f"smtp_tls_chain_files = {files}\n")
    assert connectors(parts)[0]["client_certificate"] == dict(zip(("chain", "key"), certificate, strict=True))
    assert any("is not shown" in text for _, text in told(parts)) is lost


@pytest.mark.parametrize("folder", ["", "/etc/gatepost/secrets"])
def test_a_password_has_a_file_of_its_own_or_is_to_be_entered(folder):
    main = (
        "relayhost = [h.example]\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{h.example=ann:word}\n"
    )
    parts = outbound(parse_main(main), {}, {}, folder)
    (one,) = connectors(parts)
    assert one["authentication"].get("secret_file") == (f"{folder}/relayhost-1.secret" if folder else None)
    assert assemble("o", parts).secrets == ({f"{folder}/relayhost-1.secret": "word"} if folder else {})
    assert any("is not printed; enter it" in line for _, line in told(parts)) is not bool(folder)
