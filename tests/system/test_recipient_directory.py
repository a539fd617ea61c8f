"""Proves that a directory knows the recipients of a relayed domain: OpenLDAP's slapd over TLS, and a list in a file."""

from __future__ import annotations

import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.scenes import STRANGER, connector, contoso, send
from support.slapd import BASE, PASSWORD, READER, Slapd

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

type Start[T] = Callable[..., T]

ANN, ALIAS, NOBODY = "ann@relay.example", "sales@relay.example", "nobody@relay.example"
PEOPLE = {ANN: (f"SMTP:{ANN}", f"smtp:{ALIAS}", "X500:/o=x"), "bob@relay.example": ()}


@pytest.fixture
def leaf(pki: Pki) -> Leaf:
    return pki.leaf("localhost")


@pytest.fixture
def slapd(leaf: Leaf) -> Iterator[Slapd]:
    with Slapd(leaf, PEOPLE) as started:
        yield started


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def relayed(address: str, **fields: Any) -> dict[str, Any]:
    """contoso, with relay.example on a server of its own behind the gateway."""
    domain = {"name": "relay.example", "type": "internal-relay"} | fields
    return contoso(
        domains=[{"name": "contoso.example"}, domain],
        inbound=[],
        outbound=[connector("relay.example", address, connector_type="on-premises")],
    )


def by_ldap(urls: list[str], password: Path, anchors: Path, **fields: Any) -> dict[str, Any]:
    directory = {
        "urls": urls,
        "base_dn": BASE,
        "bind_dn": READER,
        "password_file": str(password),
        "trust_anchors": str(anchors),
    } | fields.pop("directory", {})
    return {"recipient_validation": "ldap", "recipient_directory": directory} | fields


def rcpt(server: Gateway, recipient: str, sender: str = STRANGER) -> str:
    """The reply to RCPT."""
    with smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example") as client:
        client.ehlo()
        client.mail(sender)
        code, text = client.rcpt(recipient)
        return f"{code} {text.decode().partition(' [')[0]}"


def why_refused(gateway: Gateway, recipient: str) -> str:
    """Why a recipient was refused last, by the trace."""
    return str(max(gateway.wait_trace(recipient=recipient, event="REFUSE"), key=lambda row: row["at"])["detail"]["why"])


@pytest.mark.parametrize("place", [0, 1], ids=["ldaps", "starttls"])
def test_a_directory_knows_addresses_and_aliases_and_refuses_others(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path, place: int
) -> None:
    url = slapd.urls[place]
    server = gateway(relayed(sink().address, **by_ldap([url], password_file, pki.root)))
    to = [ANN, ALIAS.upper(), NOBODY]
    for _ in range(2):
        refused = send(server.port, to, sender=STRANGER)
        assert list(refused) == [NOBODY]
        assert refused[NOBODY][1].startswith(b"5.1.1 Recipient address rejected: no such mailbox here [")
    assert slapd.searches() == 3, "the second time the answers are remembered"
    assert why_refused(server, NOBODY) == f"{NOBODY} does not exist: the directory at {url} has no entry with it"
    log = slapd.log()
    assert log.count("BIND dn=") - log.count('BIND dn="" ') >= 1
    assert "tls_ssf=256" in log
    assert PASSWORD not in server.log()


def test_no_character_of_an_address_is_read_as_a_part_of_the_filter(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path
) -> None:
    server = gateway(relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root)))
    for local in ("*", "a*", '"*)(uid=*"', '"*)(|(uid=*"', '"\\\\2a"', '"*))(&(uid=*"', "*)(uid=*"):
        assert not rcpt(server, f"{local}@relay.example").startswith("250"), local
    assert rcpt(server, ANN).startswith("250")
    wait_until(lambda: "nentries=1" in slapd.log(), "the result in the directory's log")  # written after the answer
    assert "err=87" not in slapd.log()


def test_a_detail_behind_the_separator_counts_for_nothing(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path
) -> None:
    resources = relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root))
    resources["organization"]["contoso"]["subaddress_separator"] = "+"
    server = gateway(resources)
    assert rcpt(server, "ann+news@relay.example").startswith("250")
    assert rcpt(server, "nobody+news@relay.example").startswith("550 5.1.1")
    assert slapd.searches() == 2


def test_nothing_is_asked_of_a_server_that_does_not_prove_its_name(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki, password_file: Path
) -> None:
    with ExitStack() as stack:
        for leaf in (pki.leaf("other.example"), pki.expired("localhost"), pki.self_signed("localhost")):
            directory = stack.enter_context(Slapd(leaf, PEOPLE))
            for url in directory.urls:
                server = gateway(relayed(sink().address, **by_ldap([url], password_file, pki.root)))
                assert rcpt(server, ANN).startswith("451 4.4.3")
                assert "its certificate is not trusted: " in why_refused(server, ANN)
            assert READER not in directory.log()


def test_a_password_that_is_wrong_defers_and_the_owner_is_alarmed(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path
) -> None:
    password_file.write_text("wrong\n")
    settings = {"alarms": {"look": 1, "partner_failures": 1}}
    resources = relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root))
    server = gateway(resources, settings=settings)
    assert rcpt(server, ANN).startswith("451 4.4.3")
    why = why_refused(server, ANN)
    assert f"it refuses the log-in of {READER}: invalidCredentials (49)" in why
    alarm = wait_until(lambda: _alarm(server), "an alarm")
    assert "recipients of relay.example cannot be looked up" in alarm["title"]
    password_file.write_text(f"{PASSWORD}\n")
    wait_until(lambda: rcpt(server, ANN).startswith("250"), "the right password", timeout=50)
    wait_until(lambda: not _alarm(server), "the end of the alarm", timeout=50)


def _alarm(server: Gateway) -> dict[str, Any] | None:
    told = server.cli("alarms", json=True, expect=None).data
    rows = told["alarms"] if isinstance(told, dict) else told
    return next((row for row in rows if row["kind"] == "recipients-unknown"), None)


@pytest.mark.parametrize("case", [("defer", "451 4.4.3"), ("accept", "250")], ids=["defer", "accept"])
def test_a_directory_that_is_down_is_the_choice_of_the_domain_and_the_next_server_is_asked(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path, case: tuple[str, str]
) -> None:
    choice, reply = case
    fields = by_ldap(list(slapd.urls), password_file, pki.root, recipient_validation_unavailable=choice)
    fields["recipient_directory"]["urls"].insert(0, "ldaps://localhost:9")
    server = gateway(relayed(sink().address, **fields))
    assert rcpt(server, ANN).startswith("250")
    assert rcpt(server, NOBODY).startswith("550 5.1.1")
    slapd.stop()
    assert rcpt(server, ANN).startswith("250"), "who was known stays known"
    assert rcpt(server, "other@relay.example").startswith(reply)
    slapd.start()
    wait_until(lambda: rcpt(server, "other@relay.example").startswith("550"), "the server again", timeout=50)


def test_a_connection_that_the_server_closed_is_no_failure(
    gateway: Start[Gateway], sink: Start[Sink], leaf: Leaf, pki: Pki, password_file: Path
) -> None:
    with Slapd(leaf, PEOPLE, more="idletimeout 1") as slapd:
        server = gateway(relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root)))
        assert rcpt(server, ANN).startswith("250")
        wait_until(lambda: "closed (idletimeout)" in slapd.log(), "the end of the connection", timeout=30)
        assert rcpt(server, NOBODY).startswith("550")


def test_a_server_that_says_nothing_blocks_no_other_session(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki, password_file: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ldaps://localhost:{silent.getsockname()[1]}"
        server = gateway(relayed(sink().address, **by_ldap([url], password_file, pki.root)))
        waiting = threading.Thread(target=rcpt, args=(server, ANN))
        waiting.start()
        held, _ = silent.accept()
        assert rcpt(server, "alice@contoso.example").startswith("250")
        assert waiting.is_alive(), "the other session waits all the while"
        waiting.join(timeout=30)
        held.close()
        assert "no connection within 5 s" in why_refused(server, ANN)


def test_a_base_that_does_not_exist_says_nothing_of_recipients(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path
) -> None:
    fields = by_ldap([slapd.urls[0]], password_file, pki.root, directory={"base_dn": "dc=elsewhere,dc=example"})
    server = gateway(relayed(sink().address, **fields))
    assert rcpt(server, NOBODY).startswith("451 4.4.3")
    assert "noSuchObject (32)" in why_refused(server, NOBODY) or "referral (10)" in why_refused(server, NOBODY)


DOCUMENTED = f'access to attrs=entry,mail by dn.exact="{READER}" read by * break\naccess to * by * none'
HIDING = {
    "the entries": f'access to dn.base="{BASE}" by dn.exact="{READER}" read by * none\naccess to * by * none',
    "what the filter compares": f'access to attrs=entry by dn.exact="{READER}" read by * none\naccess to * by * none',
    "what it finds": f'access to attrs=entry,mail by dn.exact="{READER}" search by * none\naccess to * by * none',
}


@pytest.mark.parametrize("hidden", HIDING)
def test_a_directory_that_may_show_the_gateway_no_entry_refuses_nobody_for_good(
    gateway: Start[Gateway], sink: Start[Sink], leaf: Leaf, pki: Pki, password_file: Path, hidden: str
) -> None:
    """It answers as one that has no such entry does."""
    by_mail = {"search_filter": "(mail={address})"}
    with Slapd(leaf, PEOPLE, access=HIDING[hidden]) as slapd:
        fields = by_ldap([slapd.urls[0]], password_file, pki.root, directory=by_mail)
        settings = {"alarms": {"look": 1, "partner_failures": 1}}
        server = gateway(relayed(sink().address, **fields), settings=settings)
        assert rcpt(server, ANN).startswith("451 4.4.3")
        assert "shows no recipient at all; check base_dn, search_filter and what bind_dn may read" in why_refused(
            server, ANN
        )
        wait_until(lambda: _alarm(server), "an alarm")
        slapd.stop()
        slapd.access = DOCUMENTED
        slapd.start()
        wait_until(lambda: rcpt(server, ANN).startswith("250"), "the right to read", timeout=50)
        assert rcpt(server, NOBODY).startswith("550 5.1.1")


def test_a_directory_that_hides_its_entries_from_now_on_refuses_nobody_for_good(
    gateway: Start[Gateway], sink: Start[Sink], leaf: Leaf, pki: Pki, password_file: Path
) -> None:
    by_mail = {"search_filter": "(mail={address})"}
    with Slapd(leaf, PEOPLE, access=DOCUMENTED) as slapd:
        server = gateway(
            relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root, directory=by_mail))
        )
        assert rcpt(server, ANN).startswith("250")
        shown = time.monotonic()
        slapd.stop()
        slapd.access = HIDING["what it finds"]
        slapd.start()
        time.sleep(max(0.0, shown + 6 - time.monotonic()))  # for five seconds what was shown proves that entries are
        assert rcpt(server, NOBODY).startswith("451 4.4.3")


def test_a_filter_that_finds_nobody_refuses_nobody_for_good(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path
) -> None:
    for fields in ({"search_filter": "(mailAlternateAddress={address})"}, {"base_dn": READER}):
        directory = by_ldap([slapd.urls[0]], password_file, pki.root, directory=fields)
        server = gateway(relayed(sink().address, **directory))
        assert rcpt(server, ANN).startswith("451 4.4.3")
        assert "shows no recipient at all" in why_refused(server, ANN)


def test_an_unknown_recipient_is_refused_though_nobody_was_found_before(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, password_file: Path
) -> None:
    server = gateway(relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root)))
    for number in range(3):
        assert rcpt(server, f"n{number}@relay.example").startswith("550 5.1.1")
    assert slapd.searches() == 4, "it is asked once whether it shows any"


CHILD = "ldap://child.relay.example/ou=child,dc=relay,dc=example"
REFERRAL = f"""\
dn: ou=child,{BASE}
objectClass: referral
objectClass: extensibleObject
ou: child
ref: {CHILD}
"""


def test_what_another_server_may_have_is_not_refused(
    gateway: Start[Gateway], sink: Start[Sink], leaf: Leaf, pki: Pki, password_file: Path
) -> None:
    with Slapd(leaf, PEOPLE, entries=REFERRAL) as slapd:
        server = gateway(relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root)))
        assert rcpt(server, ANN).startswith("250"), "the server itself has the entry"
        assert rcpt(server, NOBODY).startswith("451 4.4.3")
        assert f"refers to {CHILD}" in why_refused(server, NOBODY)
        below = {"base_dn": f"ou=child,{BASE}"}
        server = gateway(relayed(sink().address, **by_ldap([slapd.urls[0]], password_file, pki.root, directory=below)))
        assert rcpt(server, NOBODY).startswith("451 4.4.3")
        assert "referral (10)" in why_refused(server, NOBODY)


def test_a_directory_that_postfix_asked_is_asked_by_the_gateway(
    gateway: Start[Gateway], sink: Start[Sink], slapd: Slapd, pki: Pki, tmp_path: Path
) -> None:
    (tmp_path / "main.cf").write_text(
        "myhostname = mx.contoso.example\nmydestination =\nrelay_domains = relay.example\nmynetworks = 192.0.2.1\n"
        "parent_domain_matches_subdomains =\nrelay_recipient_maps = inline:{printer@relay.example=OK}, "
        "proxy:ldap:$config_directory/people.cf\n"
        f"transport_maps = inline:{{relay.example=smtp:[127.0.0.1]:{sink().port}}}\n"
    )
    (tmp_path / "people.cf").write_text(
        f"server_host = {slapd.urls[1]}\nversion = 3\nstart_tls = yes\ntls_require_cert = yes\n"
        f"tls_ca_cert_file = {pki.root}\nsearch_base = {BASE}\nbind_dn = {READER}\nbind_pw = {PASSWORD}\n"
        "query_filter = (|(mail=%s)(proxyAddresses=smtp:%s))\nresult_attribute = mail\n"
    )
    server = gateway()
    command = ("import", "postfix", str(tmp_path), "--organization", "contoso", "--output", str(tmp_path / "r.toml"))
    printed = server.cli(*command, expect=None)
    assert "gatepost domain password relay.example" in printed.stderr
    printed = server.cli(*command, "--secrets", str(tmp_path / "secrets"), expect=0)
    assert PASSWORD not in printed.stdout + printed.stderr + (tmp_path / "r.toml").read_text()
    server.cli("apply", "-f", str(tmp_path / "r.toml"))
    wait_until(lambda: rcpt(server, ANN).startswith("250"), "the resources")
    assert rcpt(server, ALIAS).startswith("250")
    assert rcpt(server, NOBODY).startswith("550 5.1.1")
    assert slapd.searches() == 3
    assert rcpt(server, "Printer@relay.example").startswith("250")
    assert slapd.searches() == 3, "nobody is asked for whom the list has"


def test_a_file_is_read_again_when_it_changes_and_bad_lines_are_named(
    gateway: Start[Gateway], sink: Start[Sink], tmp_path: Path
) -> None:
    path = tmp_path / "recipients"
    path.write_text(f"# relay.example\n{ANN}  # the boss\nno address\nx@elsewhere.example\n\n")
    fields = {"recipient_validation": "file", "recipients_file": str(path)}
    server = gateway(relayed(sink().address, **fields))
    assert rcpt(server, ANN.upper()).startswith("250")
    assert rcpt(server, NOBODY).startswith("550 5.1.1")
    assert why_refused(server, NOBODY).endswith(f"it is not in the recipient list {path}")
    assert f"{path}, line 3 is left out" in server.log()
    assert f"{path}, line 4 is left out: x@elsewhere.example is not in relay.example" in server.log()
    path.write_text(f"{NOBODY}\n")
    wait_until(lambda: rcpt(server, NOBODY).startswith("250"), "the new list")
    assert rcpt(server, ANN).startswith("550")
    path.unlink()
    wait_until(lambda: rcpt(server, NOBODY).startswith("451 4.4.3"), "the missing file")
    missing = f"the recipient list cannot be read: {path}: No such file or directory"
    wait_until(lambda: missing in why_refused(server, NOBODY), "the trace")
