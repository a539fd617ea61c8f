from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix import convert

BASE = "myhostname = mx.o.example\nmydestination =\nrelay_domains = r.example, s.example\n"
FILES = {
    "/all": ("ann@r.example OK\nBob@sub.r.example x\nc@s.example OK\nbare OK\n", ""),
    "/some": ("ann@r.example OK\n", ""),
    "/wide": ("@r.example OK\nc@s.example OK\n", ""),
    "/bad": ("a..b@r.example OK\nann@r.example OK\nc@s.example OK\n", ""),
}
LIST = "relay_recipient_maps = "
LISTED = {"*.r.example": ["ann@r.example", "bob@sub.r.example"], "*.s.example": ["c@s.example"]}


def converted(main):
    result = convert(BASE + main, FILES)
    (organization,) = result.document["organization"].values()
    lost = [finding.detail for finding in result.findings if finding.setting == "relay_recipient_maps"]
    return organization["accepted_domain"], lost


@pytest.mark.parametrize(
    ("main", "recipients", "said"),
    [
        (LIST + "hash:/all", LISTED, []),
        (
            LIST + "hash:/some, inline:{c@s.example=OK}",
            {"*.r.example": ["ann@r.example"], "*.s.example": ["c@s.example"]},
            [],
        ),
        (LIST + "hash:/some", {"*.r.example": ["ann@r.example"]}, ["it has no recipient of *.s.example"]),
        (LIST + "hash:/wide", {"*.s.example": ["c@s.example"]}, ["it takes every recipient of *.r.example"]),
        (
            LIST + "hash:/bad",
            {"*.r.example": ["ann@r.example"], "*.s.example": ["c@s.example"]},
            ["'a..b@r.example' is not"],
        ),
        (LIST + "hash:/all, mysql:/x", {}, ["is answered by a server"] * 2),
        (LIST + "hash:/all, ldap:/x", {}, ["/x was not read"] * 2),
        (LIST, {}, []),
        ("", {}, []),
    ],
)
def test_recipients_of_relayed_domains(main, recipients, said):
    domains, lost = converted(main)
    assert {domain["name"]: domain["recipients"] for domain in domains if "recipients" in domain} == recipients
    assert {domain["name"] for domain in domains if domain.get("recipient_validation") == "list"} == set(recipients)
    assert [text in detail for text, detail in zip(said, lost, strict=True)] == [True] * len(said)


def test_where_postfix_asks_the_server_behind_so_does_the_gateway():
    asked = "smtpd_recipient_restrictions = permit_mynetworks, reject_unverified_recipient\n"
    domains, _ = converted(asked + LIST + "hash:/some")
    assert {domain["name"]: domain["recipient_validation"] for domain in domains} == {
        "*.r.example": "list",
        "*.s.example": "callout",
    }


PASSWORD = "never to be printed"
DC = (
    "server_host = ldaps://dc1.o.example\nsearch_base = dc=o\nquery_filter = (mail=%s)\nresult_attribute = mail\n"
    f"tls_require_cert = yes\nbind_dn = cn=gw\nbind_pw = {PASSWORD}\n"
)
DIRECTORY = {
    "urls": ["ldaps://dc1.o.example"],
    "base_dn": "dc=o",
    "search_filter": "(mail={address})",
    "bind_dn": "cn=gw",
}
LDAP_FILES = FILES | {
    "/dc": (DC, ""),
    "/groups": (DC.replace("mail", "alias"), ""),
    "/r": (f"{DC}domain = r.example\n", ""),
    "/other": (DC.replace("dc=o", "dc=p"), ""),
    "/bad": ("search_base = %1\n", ""),
    "/old": (f"{DC}version = 2\ntls_cert = /c\nbind = no\n", ""),
}


def imported(main, secrets=""):
    result = convert(BASE + main, LDAP_FILES, secrets=secrets)
    assert PASSWORD not in repr(result)
    (organization,) = result.document["organization"].values()
    domains = {domain["name"]: domain for domain in organization["accepted_domain"]}
    assert PASSWORD not in repr((result.document, result.findings, result.notes, result.left_out))
    return domains, {(str(found.outcome), found.setting): found.detail for found in result.findings}, result


def test_a_directory_says_who_exists_and_a_list_stands_beside_it():
    domains, said, result = imported(f"{LIST}hash:/some, proxy:ldap:/dc")
    assert domains["*.r.example"]["recipient_validation"] == "ldap"
    assert domains["*.r.example"]["recipient_directory"] == DIRECTORY
    assert domains["*.r.example"]["recipients"] == ["ann@r.example"]
    assert domains["*.s.example"] == {
        "name": "*.s.example",
        "type": "internal-relay",
        "recipient_validation": "ldap",
        "recipient_directory": DIRECTORY,
    }
    detail = said["not carried over", "relay_recipient_maps: bind_pw"]
    assert "gatepost domain password *." in detail
    assert result.secrets == {}


def test_passwords_go_into_files_of_their_own():
    domains, _, result = imported(f"{LIST}ldap:/dc", "/secrets")
    files = {domain["recipient_directory"]["password_file"] for domain in domains.values()}
    assert result.secrets == {"/secrets/recipient-directory-1.password": PASSWORD}
    assert files == set(result.secrets)


def test_directories_that_differ_in_the_filter_alone_are_one():
    domains, _, _ = imported(f"{LIST}ldap:/dc ldap:/groups")
    directory = domains["*.r.example"]["recipient_directory"]
    assert directory == DIRECTORY | {"search_filter": "(|(mail={address})(alias={address}))"}


def test_where_one_of_two_directories_would_be_missing_nobody_is_refused():
    domains, said, _ = imported(f"{LIST}hash:/some ldap:/dc ldap:/other")
    assert "recipient_validation" not in domains["*.r.example"]
    assert domains["*.r.example"]["recipient_directory"] == DIRECTORY
    assert said["not carried over", "relay_recipient_maps"].startswith("ldap:/other: a domain has one directory")


def test_a_directory_is_asked_for_the_domains_that_postfix_asks_it_for():
    domains, said, _ = imported(f"{LIST}ldap:/r")
    assert "recipient_directory" in domains["*.r.example"]
    assert "recipient_directory" not in domains["*.s.example"]
    assert "has no recipient of *.s.example" in said["not carried over", "relay_recipient_maps"]


def test_what_differs_or_is_lost_is_reported_by_parameter():
    _, said, _ = imported(f"{LIST}ldap:/old")
    assert "version 3" in said["differs", "relay_recipient_maps: version"]
    assert "bind_dn" in said["not carried over", "relay_recipient_maps: tls_cert"]
    assert not [setting for _, setting in said if "bind_pw" in setting]


def test_a_directory_that_cannot_be_carried_over_is_reported():
    domains, said, _ = imported(f"{LIST}ldap:/bad")
    assert "recipient_validation" not in domains["*.r.example"]
    assert "search_base has %1" in said["not carried over", "relay_recipient_maps"]


VIRTUAL = "virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = ldap:/dc\n"


@pytest.mark.parametrize(
    ("main", "name", "parameter"),
    [
        (f"{VIRTUAL}virtual_transport = smtp:[inner.example]\n", "v.example", "virtual_mailbox_maps"),
        (
            "mydestination = v.example\nlocal_recipient_maps = ldap:/dc\nlocal_transport = relay:[inner.example]\n",
            "v.example",
            "local_recipient_maps",
        ),
    ],
)
def test_mailboxes_of_a_server_behind_are_those_of_a_relayed_domain(main, name, parameter):
    domains, said, _ = imported(main)
    assert domains[name]["type"] == "internal-relay"
    assert domains[name]["recipient_validation"] == "ldap"
    assert "inner.example" in said["differs", parameter]
    assert not [setting for _, setting in said if setting.startswith(f"{parameter} (line")]


@pytest.mark.parametrize("transport", ["", "virtual_transport = lmtp:unix:/run/lmtp\n", "virtual_transport = smtp\n"])
def test_mailboxes_that_postfix_itself_has_are_reported(transport):
    domains, said, _ = imported(VIRTUAL + transport)
    assert domains["v.example"] == {"name": "v.example", "type": "authoritative"}
    assert "[[mailbox]]" in said["not carried over", "virtual_mailbox_maps"]


def test_parameters_of_a_directory_in_main_cf_are_read_and_never_printed():
    main = "".join(f"old_{line}\n" for line in DC.splitlines())
    domains, said, _ = imported(f"{LIST}ldap:old\n{main}")
    assert domains["*.r.example"]["recipient_directory"] == DIRECTORY
    assert not [setting for _, setting in said if setting.startswith("old_")]
    _, said, _ = imported(main)  # nothing refers to it
    assert PASSWORD not in repr(said)
