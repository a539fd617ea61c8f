"""What the facts of a certificate mean, where no network and no real path is needed."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from support.chains import CLIENT, SERVER, pem, server
from support.status_authority import NOW, StatusAuthority

from gatepost.analysis.checks.chain import link
from gatepost.analysis.checks.chain_facts import ChainFacts, From, KeyFacts, Store
from gatepost.analysis.checks.chain_file import parse_file
from gatepost.analysis.checks.chain_report import Part
from gatepost.analysis.checks.chain_stages import chain_findings
from gatepost.analysis.checks.partner_report import Mark
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict
from gatepost.times import day_text
from gatepost.values import replace

OWN = "this machine's store"
DAY = 86400.0
TIME = NOW.timestamp()
ROOT = StatusAuthority("Root")
AUTHORITY = StatusAuthority("Intermediate", parent=ROOT)
LEAF = server(AUTHORITY, usages=(SERVER, CLIENT))
TRUSTED = (Store(OWN, True, 140), Store("Mozilla's list", True, 140))


def facts(made=LEAF, content=b"", **fields):
    ders = [made.der, *(one.certificate.public_bytes(Encoding.DER) for one in (AUTHORITY, ROOT))]
    path = tuple(map(link, ders, (From.FILE, From.FILE, From.STORE)))
    file = parse_file(content or pem(made.certificate, AUTHORITY.certificate), "chain.pem")
    usual = {"stores": TRUSTED, "anchors": OWN, "now": TIME, "path": path, "offline": True}
    usual["verdict"] = ChainVerdict(ChainStatus.TRUSTED, "", path[0].facts)
    return ChainFacts(file, 0, **(usual | fields))


def of(part, found):
    return [(str(one.verdict), one.text) for one in chain_findings(found) if one.part is part]


def test_all_is_well():
    found = chain_findings(facts())
    assert [(one.part, one.verdict) for one in found] == [
        (Part.FILE, "pass"),
        (Part.CHAIN, "pass"),
        (Part.ROOT, "pass"),
        (Part.DATES, "pass"),
        (Part.STRENGTH, "pass"),
        (Part.PURPOSE, "pass"),
        (Part.NAMES, "info"),
        (Part.REVOCATION, "info"),
        (Part.STAPLING, "info"),
    ]


def test_a_verdict_that_no_part_explains_is_a_failure():
    verdict = ChainVerdict(ChainStatus.INVALID, "path length constraint exceeded", None)
    assert ("fail", "invalid: path length constraint exceeded") in of(Part.CHAIN, facts(verdict=verdict))


# days until the leaf ends, days that it was made for -> verdict, words of the text
ENDS = [
    (31, 90, "pass", "31 days left"),
    (29.5, 90, "warn", "29 days left"),
    (13.5, 90, "warn", "13 days left"),
    (6.5, 90, "warn", "6 days left"),
    (1.5, 90, "warn", "1 day left"),
    (0.5, 90, "warn", "0 days left"),
    (-0.5, 90, "fail", "expired on"),
    (3, 6, "pass", "3 days left"),
    (1.5, 6, "warn", "1 day left"),
    (29, 47, "pass", "29 days left"),
]
FIXES = {29.5: "Plan its renewal.", 13.5: "Renew it.", 6.5: "Renew it this week.", 1.5: "Renew it this week."}


@pytest.mark.parametrize(("left", "life", "verdict", "text"), ENDS)
def test_dates(left, life, verdict, text):
    end = TIME + left * DAY
    path = tuple(
        replace(one, facts=replace(one.facts, not_after=end + 9, not_before=end - life * DAY)) for one in facts().path
    )
    path = (replace(path[0], facts=replace(path[0].facts, not_after=end)), *path[1:])
    (found, *_) = [one for one in chain_findings(facts(path=path)) if one.part is Part.DATES]
    assert found.verdict == verdict
    assert text in found.text
    if left in FIXES and life == 90:
        assert found.fix == FIXES[left]


def test_an_issuer_that_ends_first():
    path = facts().path
    until = replace(path[0].facts, not_after=TIME + 4000 * DAY, not_before=TIME - DAY)
    above = replace(path[1].facts, not_after=TIME + 2000 * DAY, not_before=TIME - DAY)
    root = replace(path[2].facts, not_after=TIME + 9000 * DAY, not_before=TIME - DAY)
    changed = tuple(replace(one, facts=new) for one, new in zip(path, (until, above, root), strict=True))
    ((verdict, text),) = of(Part.DATES, facts(path=changed))
    assert (verdict, text) == (
        "warn",
        f"Intermediate ends on {day_text(TIME + 2000 * DAY)}, before the certificate that it issued",
    )


ROOTS = [
    (TRUSTED, OWN, [("pass", f"the root Root is in {OWN}, Mozilla's list")]),
    (
        (Store(OWN, True), Store("Mozilla's list", False)),
        OWN,
        [("warn", f"the root Root is in {OWN}, but not in Mozilla's list")],
    ),
    (
        (Store(OWN, False), Store("Mozilla's list", False), Store("own.pem", True)),
        "own.pem",
        [("info", f"the root Root is in own.pem, but not in {OWN}, Mozilla's list")],
    ),
    (
        (Store(OWN, True), Store("Mozilla's list", missing="not here")),
        OWN,
        [("pass", f"the root Root is in {OWN}"), ("info", "Mozilla's list could not be read: not here")],
    ),
    ((Store(OWN, False), Store("M", True)), OWN, [("fail", f"the root Root is not in {OWN} (it is in M)")]),
    ((Store(OWN, False), Store("M", False)), OWN, [("fail", f"the root Root is not in {OWN}")]),
]


@pytest.mark.parametrize(("stores", "anchors", "expected"), ROOTS)
def test_roots(stores, anchors, expected):
    assert of(Part.ROOT, facts(stores=stores, anchors=anchors)) == expected


KEYS = [
    (KeyFacts("k", 0o600), [("pass", "k belongs to the certificate")]),
    (KeyFacts("k", 0o400), [("pass", "k belongs to the certificate")]),
    (KeyFacts("k", 0o640), [("pass", "k belongs to the certificate"), ("info", "k: mode 0640 lets its group read it")]),
    (
        KeyFacts("k", 0o644),
        [("pass", "k belongs to the certificate"), ("fail", "k: mode 0644 lets others read or change the key")],
    ),
    (
        KeyFacts("k", 0o660, "it is another"),
        [("fail", "k: it is another"), ("fail", "k: mode 0660 lets others read or change the key")],
    ),
    (None, []),
]


@pytest.mark.parametrize(("key", "expected"), KEYS)
def test_keys(key, expected):
    assert of(Part.KEY, facts(key=key)) == expected


CROSS = StatusAuthority("Other").issue(
    AUTHORITY.name, AUTHORITY.key, [(x509.BasicConstraints(ca=True, path_length=None), True)], ca=True
)
OLD_CROSS = StatusAuthority("Other").issue(
    AUTHORITY.name, AUTHORITY.key, [(x509.BasicConstraints(ca=True, path_length=None), True)], ca=True, days=(-20, -1)
)
BOTH = pem(LEAF.certificate, AUTHORITY.certificate)
FILES = [
    (BOTH, [("pass", "PEM, 2 certificates, the server's own first")]),
    (BOTH + LEAF.key_pem, [("pass", "PEM, 2 certificates"), ("warn", "the private key is in the same file")]),
    (BOTH + LEAF.pem, [("pass", "PEM, 2 certificates"), ("info", "a certificate is in it more than once")]),
    (BOTH + pem(ROOT.certificate), [("pass", "PEM, 3 certificates"), ("info", "the root Root is in it too")]),
    (BOTH + pem(CROSS), [("pass", ""), ("info", "a second certificate of Intermediate, issued by CN=Other (cross-")]),
    (BOTH + pem(OLD_CROSS), [("pass", ""), ("warn", "a second certificate of Intermediate, issued by CN=Other")]),
    (BOTH + server(ROOT, "x.example").pem, [("pass", ""), ("warn", "x.example is not part of the chain")]),
    (
        BOTH + server(ROOT, "x.example", days=(-9, -2)).pem,
        [("pass", ""), ("warn", "x.example is not part of the chain, which expired on")],
    ),
    (pem(AUTHORITY.certificate, LEAF.certificate), [("fail", "PEM, but Intermediate comes first")]),
    (LEAF.der, [("warn", "DER, 1 certificate, not in order"), ("info", "DER; mail servers want PEM")]),
    (
        BOTH + b"".join(server(ROOT, f"{number}.example").pem for number in range(9)),
        [("pass", ""), ("warn", "more than 10 certificates"), *[("warn", " is not part of the chain")] * 9],
    ),
    (
        pkcs7.serialize_certificates([LEAF.certificate], Encoding.DER),
        [("pass", "PKCS#7, 1 certificate"), ("info", "PKCS#7; mail servers want PEM")],
    ),
]


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_files(content, expected):
    found = of(Part.FILE, facts(content=content))
    assert [verdict for verdict, _ in found] == [verdict for verdict, _ in expected]
    assert all(words in text for (_, text), (_, words) in zip(found, expected, strict=True)), found


def test_an_intermediate_that_is_trusted_here_by_itself():
    leaf, above, _ = facts().path
    found = facts(path=(leaf, replace(above, place=From.STORE)))
    assert of(Part.CHAIN, found) == [
        ("warn", "the intermediate Intermediate is missing in the file; here it is trusted by itself")
    ]


NAMES = ("mx1.contoso.example", "*.mail.contoso.example")
WANTED = [
    ((), [("info", "it is for mx1.contoso.example, *.mail.contoso.example (CN mx1.contoso.example)")]),
    (("mx1.contoso.example",), [("pass", "it is for mx1.contoso.example")]),
    (("a.mail.contoso.example",), [("pass", "it is for a.mail.contoso.example, by *.mail.contoso.example")]),
    (("a.b.mail.contoso.example",), [("fail", "it is not for a.b.mail.contoso.example")]),
    (
        ("mail.contoso.example", NAMES[0]),
        [("fail", "it is not for mail.contoso.example"), ("pass", f"it is for {NAMES[0]}")],
    ),
]


@pytest.mark.parametrize(("names", "expected"), WANTED)
def test_names(names, expected):
    assert of(Part.NAMES, facts(server(AUTHORITY, names=NAMES), names=names)) == expected


def test_a_common_name_is_no_name():
    ((verdict, text),) = of(Part.NAMES, facts(server(AUTHORITY, names=()), names=("mx1.contoso.example",)))
    assert verdict == Mark.FAIL
    assert "(no subjectAltName); the common name 'mx1.contoso.example' is none (RFC 9525)" in text


PURPOSES = [
    ((SERVER,), ["pass"], "for servers (serverAuth) only"),
    ((SERVER, CLIENT), ["pass"], "which public authorities stop issuing"),
    ((CLIENT,), ["fail"], "it is not for TLS servers"),
    ((), ["info"], "not limited to a purpose"),
]


@pytest.mark.parametrize(("usages", "verdicts", "text"), PURPOSES)
def test_purposes(usages, verdicts, text):
    found = of(Part.PURPOSE, facts(server(AUTHORITY, usages=usages)))
    assert [verdict for verdict, _ in found] == verdicts
    assert text in found[0][1]


def test_purposes_of_authorities():
    own = of(Part.PURPOSE, facts(server(AUTHORITY, ca=True)))
    assert [verdict for verdict, _ in own] == ["warn", "pass"]
    verdict = ChainVerdict(ChainStatus.WRONG_PURPOSE, "CN=Intermediate is not for a TLS server", None)
    assert of(Part.PURPOSE, facts(verdict=verdict))[-1] == ("fail", "CN=Intermediate is not for a TLS server")
