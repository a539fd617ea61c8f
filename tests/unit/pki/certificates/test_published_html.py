"""The page is read as a browser would read it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from support.status_authority import StatusAuthority
from support.table_scene import AIA, CRL, HOST, OCSP, OLD, certificate, chain, der

from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.published_html import Link, page
from gatepost.pki.certificates.published_json import version_of
from gatepost.protocols.tls.profile import PROFILES, published
from gatepost.values import replace

VOID = {"meta", "link", "wbr", "br"}
RSA = certificate(kind="rsa", organization="Contoso Corporation")
EC, NEXT = certificate(), certificate()
BEFORE = certificate(OLD, unit="Mail")


class Page(HTMLParser):
    """Tables as rows of cells, headings, ids, and whether every element is closed."""

    def __init__(self, body):
        super().__init__()
        self.open, self.tables, self.tags, self.ids, self.texts = [], [], set(), [], []
        self.feed(body.decode())
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return "".join(self.texts)


@pytest.fixture
def whole(entry, table):
    return table(
        (entry(RSA, current_from=500.0), chain(RSA)),
        (entry(EC), chain(EC)),
        (entry(NEXT, State.NEXT, switch_at=86400.0 * 10), chain(NEXT)),
        (entry(BEFORE, State.DEPRECATED, current_until=86400.0), chain(BEFORE, OLD)),
    )


def test_current_stands_beside_next_and_deprecated(whole):
    read = Page(page(whole, [Link("certificates.p7b", "Bundle")]))
    rows = {row[0]: row[1:] for row in read.tables[0]}
    assert rows["Attribute"] == [
        "Current, RSAvalid from 1970-01-01 00:08Z",
        "Current, EC P-256presented",
        "Next, EC P-256valid from 1970-01-11 00:00Z (planned)",
        "Deprecated, EC P-256valid until 1970-01-02 00:00Z",
    ]
    assert rows["Certificate authority root issuer"] == ["Test Root R1"] * 3 + ["Old Root"]
    assert rows["Certificate name"] == [HOST] * 4
    assert rows["Organization"] == ["Contoso Corporation", "\u2013", "\u2013", "\u2013"]
    assert rows["Organization unit"] == ["\u2013", "\u2013", "\u2013", "Mail"]
    assert rows["Certificate key strength"] == ["RSA, 2048 bits"] + ["EC P-256, 256 bits"] * 3
    facts = [row.columns.facts for row in whole.rows]
    assert rows["Thumbprint (SHA-1)"] == [one.sha1.upper() for one in facts]
    assert rows["Thumbprint (SHA-256)"] == [one.sha256.upper() for one in facts]
    assert [int(one, 16) for one in rows["Serial number"]] == [int(one.serial, 16) for one in facts]
    assert rows["TLSA records"] == [f"_25._tcp.{HOST}. IN TLSA 3 1 1 {one.spki_sha256}" for one in facts]
    assert (rows["CRL endpoints"], rows["OCSP endpoints"], rows["AIA endpoints"]) == ([CRL] * 4, [OCSP] * 4, [AIA] * 4)
    assert [f"c-{one.sha256[:16]}" in read.ids for one in facts] == [True] * 4


def test_the_rest_of_the_page(whole):
    read = Page(page(replace(whole, changed=86400.0), [Link("certificates.p7b", "Bundle")]))
    firewall, suites = read.tables[1:]
    assert firewall[1] == ["crl.ca.example", "80", "revocation lists"]
    assert [row[0] for row in suites[1:]] == [one.name for one in published(PROFILES["default"])]
    assert "TLS 1.2 to TLS 1.3 is offered" in read.text
    for name in ("Test Root R1", "Test CA G2", "Old Root", "Old CA"):
        assert name in read.text
    for name in ("html", "main", "header", "footer", "nav", "h1", "h2", "title"):
        assert name in read.tags
    assert not read.tags & {"script", "img", "iframe", "form", "object"}
    assert "Changed 1970-01-02 00:00Z, version" in read.text
    assert version_of(whole) in read.text
    assert len(read.ids) == len(set(read.ids))


def test_what_is_missing_is_said(entry, table):
    lone = page(table((entry(EC, State.DEPRECATED), EC.pem), roots=()), [])
    assert "not found (issuer: CN=Test CA G2)" in Page(lone).text
    assert "not presented any more" in Page(lone).text
    whole = table((entry(EC), chain(EC)))
    unsent = table((entry(EC), EC.pem), roots=[one.columns.der for one in whole.authorities])
    assert "not sent in handshakes" in Page(page(unsent, [])).text
    none = Page(page(table(), []))
    assert "There is no certificate" in none.text
    assert "none of these certificates names an address" in none.text
    staged = table((entry(NEXT, State.NEXT), chain(NEXT)))
    text = Page(page(replace(staged, left_out=2, lost=("0123abcd",), profile=PROFILES["modern"]), [])).text
    for words in ("date not set yet", "2 older certificates are not shown", "0123abcd is not available"):
        assert words in text
    assert "TLS 1.3 is offered" in text


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='x",
    "&amp;&lt;</title></style><!--",
    "]]>\x00\x1b[2J\u202e",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("known", [True, False])
def test_what_others_wrote_stays_text(entry, table, text, known):
    authority = StatusAuthority(text, crl=['http://x/"><script>'])
    made = certificate(authority, organization=text, unit=text, names=("mx.evil.example",))
    leaf = entry(made).leaf
    hostile = entry(made, leaf=replace(leaf, common_name=text, subject=text, issuer=text, dns_names=(text,)))
    found = table((hostile, chain(made, authority)), roots=[der(authority)] if known else ())
    body = page(replace(found, lost=(text,)), [Link(text, text)])
    read = Page(body)
    assert not read.tags & {"script", "img"}
    assert read.tags == Page(page(table((entry(EC), chain(EC))), [Link("x", "x")])).tags
    organization = read.tables[0][4]
    assert organization[0] == "Organization"
    assert organization[1] == "".join(one if one.isprintable() else "\ufffd" for one in text)
