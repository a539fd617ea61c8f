from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix_config import parse_main
from gatepost.analysis.migration.postfix_ldap import ldap_parameters, read_ldap_table
from gatepost.policy.connectors.recipient_directory import RecipientDirectory

MINIMAL = "server_host = ldaps://dc1.o.example\nsearch_base = dc=o, dc=example\ntls_require_cert = yes\n"
MAIL = MINIMAL + "query_filter = (mail=%s)\nresult_attribute = mail\n"
PASSWORD = "never to be printed"


def read(text, *, reference="ldap:/t", main="", local=False):
    return read_ldap_table(reference, parse_main(main), {"/t": (text, "")}, local=local)


@pytest.mark.parametrize(
    ("hosts", "urls"),
    [
        ("", ["ldap://localhost:389"]),
        ("server_host = dc1.o.example dc2.o.example:1389", ["ldap://dc1.o.example:389", "ldap://dc2.o.example:1389"]),
        ("server_host = dc1.o.example\nserver_port = 3268", ["ldap://dc1.o.example:3268"]),
        ("server_host = ldaps://a.example:636/,\n  ldap://b.example", ["ldaps://a.example:636/", "ldap://b.example"]),
        ("server_host = 2001:db8::1", ["ldap://[2001:db8::1]:389"]),
        ("server_host = [2001:db8::1]:390", ["ldap://[2001:db8::1]:390"]),
        ("server_host = ldapi://%2Fsocket ldaps://a.example", ["ldaps://a.example"]),
    ],
)
def test_servers(hosts, urls):
    made = read(f"search_base = dc=o\n{hosts}\n")
    assert made.directory["urls"] == urls
    assert ("server_host" in made.lost) is ("ldapi" in hosts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("query_filter = (mail=%s)\nresult_attribute = mail", "(mail={address})"),
        ("query_filter = mail=%s\nresult_attribute = Mail", "(mail={address})"),
        (
            "query_filter = (&(uid=%u)(o=%d)(!(off=1)))\nresult_attribute = uid",
            "(&(uid={local})(o={domain})(!(off=1)))",
        ),
        ("query_filter = (&(mail=%S)\n (a=100%%))\nresult_attribute = x", "(&(&(mail={address})(a=100%))(x=*))"),
        ("query_filter = (a={%s})\nresult_attribute = a", "(a=\\7b{address}\\7d)"),
        (
            "query_filter = (|(mail=%s)(alias=%s))\nresult_attribute = mail, uid",
            "(&(|(mail={address})(alias={address}))(|(mail=*)(uid=*)))",
        ),
        ("query_filter = (|(mail=%s)(mail=x))\nresult_attribute = mail", "(|(mail={address})(mail=x))"),
        ("query_filter = (&(!(mail=x))(uid=%u))\nresult_attribute = mail", "(&(&(!(mail=x))(uid={local}))(mail=*))"),
        ("", "(&(mailacceptinggeneralid={address})(maildrop=*))"),
        (
            "query_filter = (m=%s)\nresult_attribute =\nleaf_result_attribute = m\nspecial_result_attribute = member",
            "(m={address})",
        ),
    ],
)
def test_filters(text, expected):
    made = read(f"{MINIMAL}{text}\n")
    assert made.directory["search_filter"] == expected
    RecipientDirectory.model_validate(made.directory)
    assert ("special_result_attribute" in made.differs) is ("special" in text)


def test_local_recipients_are_looked_up_by_their_local_part_too():
    made = read(MAIL, local=True)
    assert made.directory["search_filter"] == "(|(mail={address})(mail={local}))"
    only = read(f"{MINIMAL}query_filter = (uid=%u)\nresult_attribute = uid\n", local=True)
    assert only.directory["search_filter"] == "(uid={local})"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("search_base =\n", "search_base is missing"),
        ("search_base = dc=%2,dc=%1\n", "search_base has %2"),
        (f"{MAIL}query_filter = (mail=%s%1)\n", "query_filter has %1"),
        (f"{MAIL}result_attribute =\n", "result_attribute is empty"),
        (f"{MAIL}query_filter = (mail=ann)\n", "no {address}"),
        (f"{MAIL}query_filter = (mail=%s\n", "no closing parenthesis"),
        (f"{MAIL}server_host = ldapi:///\n", "names no server"),
        (f"{MAIL}server_host = ldaps://a/b\n", "is not an address of a server"),
        (f"{MAIL}bind_dn = {'x' * 1001}\nbind_pw = x\n", "bind_dn"),
        (None, "/t: Permission denied"),
    ],
)
def test_what_cannot_be_carried_over_says_why_and_what_to_do(text, why):
    made = read_ldap_table("ldap:/t", parse_main(""), {"/t": (text, "/t: Permission denied")})
    assert isinstance(made, str)
    assert why in made
    assert made.endswith("by hand")


def test_a_file_that_was_not_read_is_said():
    assert read_ldap_table("ldap:/gone", parse_main(""), {}).startswith("/gone was not read")


@pytest.mark.parametrize(
    ("text", "bind_dn", "password", "said"),
    [
        (f"bind_dn = cn=gw\nbind_pw = {PASSWORD}", "cn=gw", PASSWORD, ""),
        (f"bind = simple\nbind_dn = cn=gw\nbind_pw = {PASSWORD}", "cn=gw", PASSWORD, ""),
        (f"bind = no\nbind_dn = cn=gw\nbind_pw = {PASSWORD}", None, "", ""),
        ("bind_dn = cn=gw", None, "", "bind_pw"),
        ("", None, "", ""),
        ("bind = sasl\nsasl_mechs = GSSAPI", None, "", "bind"),
    ],
)
def test_the_password_is_apart_from_the_directory(text, bind_dn, password, said):
    made = read(f"{MAIL}{text}\n")
    assert (made.directory.get("bind_dn"), made.password) == (bind_dn, password)
    assert PASSWORD not in repr(made)
    assert list({**made.differs, **made.lost}) == ([said] if said else [])


@pytest.mark.parametrize(
    ("text", "differs", "lost"),
    [
        ("", [], []),
        ("version = 3\ntimeout = 5\nscope = sub\ndereference = 0\nchase_referrals = 0", [], []),
        ("version = 2", ["version"], []),
        ("scope = one", ["scope"], []),
        ("dereference = 3\nchase_referrals = yes", [], ["chase_referrals", "dereference"]),
        ("tls_require_cert = no", ["tls_require_cert"], []),
        ("server_host = dc1.o.example", ["start_tls"], []),
        ("server_host = dc1.o.example\nstart_tls = yes", [], []),
        ("tls_cert = /c\ntls_key = /k\ntls_cipher_suite = HIGH", ["tls_cipher_suite"], ["tls_cert", "tls_key"]),
        ("domain = o.example, hash:/domains", ["domain"], []),
        ("tls_ca_cert_file = ca.pem", [], ["tls_ca_cert_file"]),
        ("colour = red", [], ["colour"]),
    ],
)
def test_what_differs_and_what_is_lost(text, differs, lost):
    made = read(f"{MAIL}{text}\n")
    assert (sorted(made.differs), sorted(made.lost)) == (differs, lost)


def test_roots_are_the_file_or_the_folder():
    assert read(f"{MAIL}tls_ca_cert_file = /ca.pem\ntls_ca_cert_dir = /ca\n").directory["trust_anchors"] == "/ca.pem"
    assert read(f"{MAIL}tls_ca_cert_dir = /ca\n").directory["trust_anchors"] == "/ca"


def test_the_domains_that_postfix_asks_for():
    made = read(f"{MAIL}domain = O.example, p.example\n")
    assert [made.takes(name) for name in ("o.example", "*.p.example", "q.example")] == [True, True, False]
    assert read(MAIL).takes("q.example")


def test_parameters_in_main_cf():
    main = f"old_server_host = ldaps://a.example\nold_search_base = dc=$x\nx = o\nold_bind_pw = {PASSWORD}\nolder = 1\n"
    made = read(None, reference="proxy:ldap:old", main=main)
    assert made.directory["base_dn"] == "dc=o"
    config = parse_main(main)
    assert ldap_parameters(config, iter(["proxy:ldap:old", "hash:/x", "ldap:/file"])) == {
        "old_server_host",
        "old_search_base",
        "old_bind_pw",
    }
    assert "main.cf has no parameters of it" in read(None, reference="ldap:other", main=main)
