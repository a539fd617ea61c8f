"""Proves `gatepost check`: domains and hosts of every defect, each told by its stage, without a gateway.

NSD serves signed zones and Unbound validates them; the MX hosts are recording sinks on port 25 of loopback addresses of
their own, a real HTTPS server has the MTA-STS policies, a real authority says what it has revoked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.x509 import ocsp
from support.debian import need
from support.dnssec import SignedDns
from support.policy_host import PolicyHost
from support.process import loopback, run_gatepost
from support.stapling import Stapler

from gatepost.testing.gateway import CliRun
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import EXTENSIONS, Behaviour, Sink
from gatepost.testing.status_server import StatusServer

NET = loopback("25")
HOSTS = (
    "good",
    "second",
    "clear",
    "garbage",
    "self-signed",
    "expired",
    "soon",
    "misnamed",
    "banner",
    "later",
    "never",
    "closed",
    "revoked",
    "no-status",
    "hostile",
    "third",
)
ADDRESS = {name: f"{NET}.{number}" for number, name in enumerate(HOSTS, 10)}
POLICY_ADDRESS, NO_POLICY = f"{NET}.8", f"{NET}.9"
BAD_TLSA = "030101" + "ab" * 32
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e" + "A" * 300


def tlsa(leaf: Leaf) -> str:
    """ "3 1 1" of a certificate."""
    spki = leaf.x509.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "030101" + hashlib.sha256(spki).hexdigest()


@dataclass
class Lab:
    """The world that is checked."""

    dns: SignedDns
    pki: Pki
    sinks: dict[str, Sink]
    policy: PolicyHost
    status: StatusServer
    folder: Path

    def run(self, *words: str, expect: int, **environment: str) -> CliRun:
        """The command, in a folder without settings."""
        anchors = () if "--anchors" in words else ("--anchors", str(self.pki.root))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GATEPOST_")}
        nameserver = () if "--nameserver" in words else ("--nameserver", self.dns.address)
        words = ("check", *words, *nameserver, *anchors)
        done = CliRun.of(run_gatepost(*words, environment=clean | environment, folder=self.folder, timeout=100))
        assert "Traceback" not in done.stderr, done.stderr
        assert done.status == expect, done.stdout + done.stderr
        return done

    def json(self, *words: str, expect: int) -> Any:
        done = self.run(*words, "--json", expect=expect)
        assert done.stderr == ""
        return json.loads(done.stdout)


def certificates(pki: Pki, status: StatusServer) -> dict[str, Leaf]:
    revoked = pki.leaf("revoked.good.test", crl=status.crl)
    pki.revoke(revoked)
    own = {
        "good": pki.leaf("good.good.test", crl=status.crl),
        "self-signed": pki.self_signed("self-signed.good.test"),
        "expired": pki.expired("expired.good.test"),
        "soon": pki.leaf("soon.good.test", days=(-80, 9.5)),
        "misnamed": pki.leaf("somebody.else.test"),
        "revoked": revoked,
        "no-status": pki.leaf("no-status.good.test", ocsp=f"http://127.0.0.1:{free_port()}/"),
        "hostile": Pki(pki.folder / "hostile", HOSTILE[:40]).self_signed(
            "hostile.good.test", names=["a.test", *[f"n{number}.test" for number in range(300)]]
        ),
    }
    return own | {name: pki.leaf(f"{name}.good.test") for name in HOSTS if name not in own}


def behaviours() -> dict[str, Behaviour]:
    return {
        "good": Behaviour(extensions=(*EXTENSIONS, "REQUIRETLS")),
        "clear": Behaviour(starttls="absent"),
        "garbage": Behaviour(starttls="garbage"),
        "banner": Behaviour(replies={"CONNECT": "554 5.7.1 go away"}),
        "later": Behaviour(replies={"CONNECT": "450 4.7.1 come back later"}),
        "never": Behaviour(holds=frozenset({"CONNECT"})),
        "hostile": Behaviour(
            replies={"CONNECT": f"220 {HOSTILE}"}, extensions=tuple(f"X{number} {HOSTILE}" for number in range(300))
        ),
    }


def zones(own: dict[str, Leaf]) -> dict[str, Zone]:
    """Every host has an address and a domain of its own, NAME-only.good.test."""
    records = [
        "@ MX 10 good",
        "@ MX 20 second",
        f"_25._tcp.good TLSA {tlsa(own['good'])}",
        f"_25._tcp.second TLSA {tlsa(own['second'])}",
        '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tls@good.test"',
        *[f"{name} A {address}" for name, address in ADDRESS.items()],
        *[f"{name}-only MX 10 {name}" for name in HOSTS],
        *[f"mixed MX {preference} {name}" for preference, name in ((10, "later"), (20, "closed"), (30, "soon"))],
        "wrong MX 10 wrong-mx",
        f"wrong-mx A {ADDRESS['second']}",
        f"_25._tcp.wrong-mx TLSA {BAD_TLSA}",
        "unusable MX 10 unusable-mx",
        f"unusable-mx A {ADDRESS['second']}",
        f"_25._tcp.unusable-mx TLSA 000101{'ab' * 32}",
        "unusable-clear MX 10 unusable-clear-mx",
        f"unusable-clear-mx A {ADDRESS['clear']}",
        "_25._tcp.unusable-clear-mx TLSA 03010100",
        "dane-self MX 10 dane-self-mx",
        f"dane-self-mx A {ADDRESS['self-signed']}",
        f"_25._tcp.dane-self-mx TLSA {tlsa(own['self-signed'])}",
        f"_25._tcp.dane-self-mx TLSA {BAD_TLSA}",
        "alias MX 10 alias-mx",
        "alias-mx CNAME good",
        "null MX 0 .",
        "no-address MX 10 nowhere",
        f"implicit A {ADDRESS['good']}",
        *[f"many MX {number} good" for number in range(1)],
        *[f"many MX 10 many{number}" for number in range(12)],
        *[f"many{number} A {ADDRESS['clear']}" for number in range(12)],
    ]
    for name, host in (("sts", "third"), ("sts-unlisted", "clear"), ("sts-self", "self-signed"), ("sts-down", "soon")):
        records += [f"{name} MX 10 {host}", f'_mta-sts.{name} TXT "v=STSv1; id=1"']
        records += [f"mta-sts.{name} A {POLICY_ADDRESS if name != 'sts-down' else NO_POLICY}"]
    records += ["bad-sts MX 10 soon", '_mta-sts.bad-sts TXT "v=STSv1; ID=1"', '_smtp._tls.bad-sts TXT "v=TLSRPTv1;"']
    return {
        "good": Zone(records),
        "plain": Zone(["@ MX 10 good.good.test."], unsigned=True),
        "forged": Zone(["@ MX 10 mx", f"mx A {ADDRESS['good']}", f"_25._tcp.mx TLSA {BAD_TLSA}"], forged=["TLSA"]),
        "forged-mx": Zone(["@ MX 10 mx"], forged=["MX"]),
    }


@pytest.fixture(scope="module")
def lab(signed_dns: Callable[..., SignedDns], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("root")
    with ExitStack() as stack:
        pki = Pki(tmp_path_factory.mktemp("check-pki"))
        status = stack.enter_context(StatusServer(pki))
        own, how = certificates(pki, status), behaviours()
        dns = signed_dns(zones(own))
        sinks = {
            name: stack.enter_context(
                Sink(
                    hostname=f"{name}.good.test",
                    host=ADDRESS[name],
                    port=25,
                    certificate=own[name],
                    behaviour=how.get(name),
                )
            )
            for name in HOSTS
            if name != "closed"
        }
        served = pki.leaf(
            "mta-sts", names=[f"mta-sts.{name}.good.test" for name in ("sts", "sts-unlisted", "sts-self")]
        )
        text = b"version: STSv1\nmode: enforce\nmx: third.good.test\nmx: self-signed.good.test\nmax_age: 604800\n"
        policy = PolicyHost(served, text, address=POLICY_ADDRESS, port=443)
        stack.enter_context(policy)
        yield Lab(dns, pki, sinks, policy, status, tmp_path_factory.mktemp("nothing-here"))


PARTNERS = [
    # domain, exit code -> outcome, policy, then "stage=verdict" of the first row, and words of findings
    (
        "good.test",
        0,
        "deliver dane",
        "dns=pass tls=pass certificate=pass dane=pass mta-sts=info revocation=pass requiretls=pass",
        ["TLS reports"],
    ),
    ("alias.good.test", 0, "deliver dane", "dns=warn dane=pass", ["alias of good.good.test"]),
    ("dane-self.good.test", 0, "deliver dane", "certificate=info dane=pass revocation=unknown", ["vouch"]),
    ("wrong.good.test", 1, "hold dane", "tls=pass dane=fail", ["tlsa-invalid"]),
    ("unusable.good.test", 0, "deliver dane", "dane=warn tls=pass", ["none of which can be used"]),
    ("unusable-clear.good.test", 1, "hold dane", "dane=warn tls=fail", ["DANE asks for TLS"]),
    ("forged.test", 1, "hold opportunistic", "dane=fail", ["DNSSEC validation fails"]),
    ("forged-mx.test", 1, "hold ", "", ["MX records of forged-mx.test cannot be looked up"]),
    ("plain.test", 0, "deliver opportunistic", "dns=info dane=info tls=pass", ["not signed"]),
    (
        "clear-only.good.test",
        1,
        "cleartext opportunistic",
        "tls=fail certificate=unknown requiretls=info",
        ["leave unencrypted"],
    ),
    ("garbage-only.good.test", 1, "hold opportunistic", "tls=fail", ["not TLS"]),
    ("self-signed-only.good.test", 0, "deliver opportunistic", "certificate=warn", ["self-signed"]),
    ("expired-only.good.test", 0, "deliver opportunistic", "certificate=warn", ["expired"]),
    ("soon-only.good.test", 0, "deliver opportunistic", "certificate=warn revocation=info", ["ends in 9 days"]),
    ("misnamed-only.good.test", 0, "deliver opportunistic", "certificate=warn", ["somebody.else.test"]),
    ("banner-only.good.test", 1, "hold opportunistic", "connect=pass ehlo=fail tls=unknown", ["go away"]),
    ("later-only.good.test", 3, "unknown opportunistic", "ehlo=unknown", ["come back later"]),
    ("never-only.good.test", 3, "unknown opportunistic", "ehlo=unknown", ["says nothing"]),
    ("closed-only.good.test", 1, "hold opportunistic", "connect=fail ehlo=unknown", ["nothing listens"]),
    ("revoked-only.good.test", 0, "deliver opportunistic", "certificate=pass revocation=fail", ["keyCompromise"]),
    ("no-status-only.good.test", 0, "deliver opportunistic", "revocation=unknown", ["soft-fail"]),
    ("mixed.good.test", 0, "deliver opportunistic", "ehlo=unknown", ["nothing listens"]),
    ("sts.good.test", 0, "deliver mta-sts", "mta-sts=pass", ["policy in mode enforce"]),
    ("sts-unlisted.good.test", 1, "hold mta-sts", "mta-sts=fail tls=fail", ["does not list clear.good.test"]),
    ("sts-self.good.test", 1, "hold mta-sts", "mta-sts=fail certificate=warn", ["prove the name"]),
    ("sts-down.good.test", 0, "deliver opportunistic", "mta-sts=unknown", ["policy cannot be fetched"]),
    ("bad-sts.good.test", 0, "deliver opportunistic", "mta-sts=unknown", ["has no id", "has no rua"]),
    ("null.good.test", 1, "hold ", "", ["null MX"]),
    ("missing.good.test", 1, "hold ", "", ["does not exist"]),
    ("no-address.good.test", 1, "hold opportunistic", "dns=fail connect=unknown", ["has no address"]),
    ("implicit.good.test", 0, "deliver opportunistic", "certificate=warn", ["no MX records"]),
]


@pytest.mark.parametrize(("domain", "code", "answer", "stages", "words"), PARTNERS, ids=[case[0] for case in PARTNERS])
def test_a_partner_of_each_defect(lab: Lab, domain: str, code: int, answer: str, stages: str, words: list[str]) -> None:
    # Only where nobody ever answers does the time for an answer end, whatever else the machine does.
    patience = "2" if domain.startswith("never") else "40"
    found = lab.json("partner", domain, "--private", "--timeout", patience, expect=code)
    assert f"{found['verdict']} {found['policy']}" == answer, found
    told = dict(pair.split("=") for pair in stages.split())
    if told:
        row = found["hosts"][0]
        assert {stage: row["stages"].get(stage) for stage in told} == told, row
    text = json.dumps(found)
    assert all(word in text for word in words), text
    for sink in lab.sinks.values():
        assert not {"MAIL", "RCPT", "DATA", "BDAT"} & set(sink.counts), f"{sink.hostname} got more than EHLO"


HOST_CASES = [
    # host, exit code -> outcome and policy, "stage=verdict"
    ("good.good.test", 0, "deliver dane", "dns=pass dane=pass revocation=pass requiretls=pass"),
    ("clear.good.test", 1, "cleartext opportunistic", "tls=fail certificate=unknown"),
    (f"{ADDRESS['good']}:25", 0, "deliver opportunistic", "dns=info certificate=info dane=info"),
    (f"{ADDRESS['good']}:26", 1, "hold opportunistic", "connect=fail ehlo=unknown tls=unknown"),
    ("nowhere.good.test", 1, "hold opportunistic", "dns=fail connect=unknown"),
    ("hostile.good.test", 1, "hold opportunistic", "ehlo=fail"),
]


@pytest.mark.parametrize(
    ("host", "code", "answer", "stages"), HOST_CASES, ids=[case[0].replace(NET, "net") for case in HOST_CASES]
)
def test_a_host(lab: Lab, host: str, code: int, answer: str, stages: str) -> None:
    found = lab.json("host", host, "--timeout", "40", expect=code)
    assert f"{found['verdict']} {found['policy']}" == answer, found
    told = dict(pair.split("=") for pair in stages.split())
    (row,) = found["hosts"]
    assert {stage: row["stages"].get(stage) for stage in told} == told, row
    assert "mta-sts" not in row["stages"]


STAPLED = [
    # what is stapled -> the verdict about revocation, and what is said; the responder of the certificate is down
    ("good", "pass", "staple"),
    ("revoked", "fail", "keyCompromise"),
    ("of another certificate", "unknown", ""),
    ("", "unknown", ""),
]


@pytest.mark.parametrize(("stapled", "verdict", "said"), STAPLED, ids=[case[0] for case in STAPLED])
def test_a_stapled_response_counts(lab: Lab, stapled: str, verdict: str, said: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/"
    leaf, other = (lab.pki.leaf("127.0.0.1", ocsp=nobody) for _ in range(2))
    if stapled == "revoked":
        lab.pki.revoke(leaf)
    issuer = x509.load_pem_x509_certificate(lab.pki.intermediate.read_bytes())
    about = other if stapled == "of another certificate" else leaf
    request = ocsp.OCSPRequestBuilder().add_certificate(about.x509, issuer, SHA1()).build()  # noqa: S303 - a name
    response = lab.pki.ocsp_answer(request.public_bytes(serialization.Encoding.DER)) if stapled else b""
    with Stapler(leaf, response) as host:
        found = lab.json("host", host.address, "--timeout", "40", expect=0)
        assert host.asked == 1
    (row,) = found["hosts"]
    assert row["stages"]["revocation"] == verdict, row
    (finding,) = [one for one in row["findings"] if one["stage"] == "revocation"]
    assert said in json.dumps(finding), finding


def test_what_a_person_reads(lab: Lab) -> None:
    out = lab.run("partner", "good.test", "--private", expect=0).stdout
    assert out.startswith("good.test: would mail be delivered safely?  YES, verified by DANE, TLSv1.3\n")
    good = next(line for line in out.splitlines() if line.startswith("10 good.good.test"))
    assert "✓ 3 1 1" in good
    assert "✓ CRL" in good
    last = "verdict=deliver policy=dane tls=TLSv1.3 group=X25519MLKEM768 fails=0 warnings=0 unknown=0"
    assert out.splitlines()[-1] == last
    bad = lab.run("partner", "wrong.good.test", "--private", expect=1).stdout
    assert "NO, it would wait and then be returned: the certificate is not what the TLSA records ask for" in bad
    assert "do not work around this" in bad
    assert bad.splitlines()[-1].startswith("verdict=hold policy=dane ")


def test_a_report_to_hand_on(lab: Lab) -> None:
    file = lab.folder / "report.html"
    lab.sinks["hostile"].behaviour = behaviours()["hostile"]
    done = lab.run("host", "hostile.good.test", "--html", str(file), expect=1)
    assert done.stdout.splitlines()[-1].startswith("verdict=")
    text = file.read_text()
    assert text.lstrip().startswith("<!doctype html>")
    assert "hostile.good.test:25: protection of mail" in text
    assert not any(word in text for word in ("<script", "<link", "<img", "src=", "href=", "\x1b"))
    refused = lab.run("partner", "good.test", "--private", "--html", str(lab.folder / "none" / "x"), expect=2)
    assert "No such file or directory" in refused.stderr


def test_signs_that_the_output_cannot_show_are_ascii(lab: Lab) -> None:
    out = lab.run("partner", "good.test", "--private", expect=0, PYTHONIOENCODING="ascii").stdout
    assert out.isascii()
    assert "+ 3 1 1" in out


@pytest.mark.parametrize("words", [("host", "hostile.good.test", "-v"), ("partner", "hostile-only.good.test", "-v")])
def test_what_a_hostile_host_says_does_nothing_to_a_terminal(lab: Lab, words: tuple[str, ...]) -> None:
    for behaviour in (
        behaviours()["hostile"],
        Behaviour(replies={"CONNECT": f"220 {HOSTILE}"}, extensions=(f"X {HOSTILE}",)),
        Behaviour(replies={"CONNECT": f"554 {HOSTILE}"}),
        Behaviour(replies={"STARTTLS": f"454 4.7.0 {HOSTILE}"}),
        Behaviour(replies={"EHLO": f"502 5.5.1 {HOSTILE}", "HELO": f"502 5.5.1 {HOSTILE}"}),
    ):
        lab.sinks["hostile"].behaviour = behaviour
        done = lab.run(*words, "--timeout", "40", expect=0 if behaviour.extensions[0].startswith("X \x1b") else 1)
        text = done.stdout + done.stderr
        assert all(character.isprintable() or character == "\n" for character in text), text
        assert max(map(len, text.splitlines())) < 1000


def test_many_hosts_are_bounded(lab: Lab) -> None:
    found = lab.json("partner", "many.good.test", expect=0)
    assert len(found["hosts"]) == 10
    assert any("3 more hosts" in one["text"] and one["verdict"] == "unknown" for one in found["findings"])


def test_a_silent_host_ends_in_time(lab: Lab) -> None:
    """It would say nothing for ever; the command itself waits for 15 seconds, if it is told no other time."""
    found = lab.json("host", "never.good.test", "--timeout", "0.5", expect=3)
    assert found["verdict"] == "unknown"


def test_the_keys_of_json_stay(lab: Lab) -> None:
    found = lab.json("partner", "good.test", "--private", expect=0)
    assert list(found) == [
        *("target", "kind", "at", "seconds", "verdict", "policy", "tls", "group", "fails", "warnings", "unknown"),
        *("findings", "hosts"),
    ]
    assert list(found["hosts"][0]) == [
        *("host", "preference", "address", "outcome", "policy", "stages", "findings", "tls", "transcript", "looking"),
    ]
    assert list(found["findings"][0]) == ["stage", "verdict", "text", "evidence", "fix", "stops", "because"]


def test_without_a_resolver_that_proves_anything(lab: Lab, dns_server: Callable[..., Any]) -> None:
    server = dns_server({"b.example MX": ["10 mx.b.example."], "mx.b.example A": [ADDRESS["good"]]})
    done = lab.run("partner", "b.example", "--nameserver", server.address, expect=0)
    assert "it is not known whether DNSSEC protects these answers" in done.stdout
    assert "unknown=1" in done.stdout.splitlines()[-1]


WRONG = [
    (("partner", "no domain"), "is not a domain"),
    (("partner", "[127.0.0.1]"), "address literal"),
    (("host", "b.example:x"), "the port must be a number"),
    (("host", "b.example", "--anchors", "/nowhere"), "does not exist"),
    (("host", "b.example", "--anchors", "/dev/null"), "/dev/null: "),
    (("host", "b.example", "--nameserver", "ns.example"), "--nameserver: "),
    (("host", "b.example", "--timeout", "0"), "--timeout"),
    (("host", "b.example", "--config", "/nowhere.toml"), "/nowhere.toml: cannot be read"),
]


@pytest.mark.parametrize(
    ("words", "text"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_wrong_use(lab: Lab, words: tuple[str, ...], text: str) -> None:
    done = lab.run(*words, expect=2)
    assert text in done.stderr
    assert done.stdout == ""
