"""The published certificate table for people: one page, whole in itself, without script, to be read and printed.

Used by `pki.certificates.forms`. Current stands beside next and deprecated, as in Microsoft's document (exchange.md
section 1). Subjects and addresses are what authorities and applicants wrote: everything is escaped.

Nothing is fetched from anywhere: no script, font or picture.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.published_json import version_of, written
from gatepost.protocols.tls.profile import published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatepost.pki.certificates.columns import Columns
    from gatepost.pki.certificates.published import Authority, Row, Table


STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --card: #f6f7f9; --line: #d5dae1; --text: #1a2330; --soft: #515c6b; --link: #0b57a4;
  --current: #17692f; --current-ground: #e3f4e7; --next: #0b57a4; --next-ground: #e4effb;
  --deprecated: #7a4b00; --deprecated-ground: #fcf1da; --bad: #a4161a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10141a; --card: #181d25; --line: #323b47; --text: #e6eaf0; --soft: #a6b1bf; --link: #86bdf5;
    --current: #8fdca5; --current-ground: #15311f; --next: #93c5fa; --next-ground: #152c45;
    --deprecated: #f0c677; --deprecated-ground: #37290f; --bad: #ff9d9f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 92rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 62rem; }
a { color: var(--link); }
.soft { color: var(--soft); }
.bad { color: var(--bad); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: .8rem 0 0; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0 1rem; }
.wide:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; padding: .6rem .8rem; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--card); }
tbody th { font-weight: 600; background: var(--card); white-space: nowrap; }
.sides tbody th { position: sticky; left: 0; }
.sides td { min-width: 13rem; border-left: 1px solid var(--line); overflow-wrap: anywhere; }
.sides thead th + th { border-left: 1px solid var(--line); }
.sides thead th.current { background: var(--current-ground); color: var(--current); }
.sides thead th.next { background: var(--next-ground); color: var(--next); }
.sides thead th.deprecated { background: var(--deprecated-ground); color: var(--deprecated); }
.sides thead th small { display: block; font-weight: 400; }
code { font: .86em/1.45 ui-monospace, "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
time { white-space: nowrap; }
td ul, dd ul { list-style: none; margin: 0; padding: 0; }
td li + li { margin-top: .25rem; }
dl { display: grid; grid-template-columns: 14rem minmax(0, 1fr); gap: .15rem 1rem; margin: 0; font-size: .92rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .2rem 1rem .9rem; margin: .8rem 0; }
article h3 { margin-top: .6rem; }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft); }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .5rem; }
  .sides tbody th { position: static; white-space: normal; }
}
@media print {
  :root { color-scheme: light; --ground: #ffffff; --card: #eef1f5; --line: #7c8796; --text: #000000;
    --soft: #1a2330; --link: #000000;
    --current: #000000; --current-ground: #eef1f5; --next: #000000; --next-ground: #eef1f5; --deprecated: #000000;
    --deprecated-ground: #eef1f5; }
  @page { size: landscape; margin: 1.2cm; }
  html { font-size: 8pt; }
  body { padding: 0; max-width: none; }
  nav { display: none; }
  .wide { overflow: visible; border: 0; }
  .sides td { min-width: 0; }
  article, tr { break-inside: avoid; }
}
"""


_EMPTY: Final = '<span class="soft">&ndash;</span>'
_PURPOSES: Final = {"crl": "revocation lists", "ocsp": "OCSP", "aia": "certificates of issuers"}
_STATES: Final = {State.CURRENT: "Current", State.NEXT: "Next", State.DEPRECATED: "Deprecated"}


class Link(NamedTuple):
    """A file beside the page. name: relative to it."""

    name: str
    text: str


def page(table: Table, links: Sequence[Link]) -> bytes:
    """The page, UTF-8."""
    host = escape(table.hostname)
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Certificates of {host}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="alternate" type="application/atom+xml" href="certificates.atom" title="Changes">',
        '<link rel="alternate" type="application/json" href="certificates.json">',
        f"<style>{STYLE}</style>\n</head>\n<body>",
        _head(host, table),
        "<main>",
        *_certificates(table),
        *_authorities(table),
        _firewall(table),
        _downloads(links),
        _suites(table),
        "</main>",
        _foot(table),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts).encode()


def _head(host: str, table: Table) -> str:
    return (
        f"<header>\n<h1>Certificates of <wbr>{host}</h1>\n"
        "<p>What this mail service presents when mail is delivered to it over TLS, what it will present, and what it "
        "no longer does: all that a connector with forced TLS needs. The page is made of the certificates in use.</p>\n"
        f"{_changed(table)}"
        '<nav aria-label="On this page"><ul><li><a href="#certificates">Certificates</a></li>'
        '<li><a href="#authorities">Roots and intermediates</a></li><li><a href="#firewall">Firewall</a></li>'
        '<li><a href="#downloads">Downloads</a></li><li><a href="#tls">TLS versions and cipher suites</a></li></ul>'
        "</nav>\n</header>"
    )


def _changed(table: Table) -> str:
    when = f"Changed {_time(table.changed)}, version" if table.changed else "Version"
    return f'<p class="soft">{when} <code>{version_of(table)}</code></p>\n'


def _foot(table: Table) -> str:
    lost = "".join(
        f'<p class="bad">The chain of certificate {escape(text)} is not available.</p>' for text in table.lost
    )
    more = f"<p>{table.left_out} older certificates are not shown.</p>" if table.left_out else ""
    return f"<footer>{lost}{more}<p>All times are UTC. Thumbprints are digests of the DER form.</p></footer>"


# certificates, side by side


def _certificates(table: Table) -> Iterable[str]:
    yield '<h2 id="certificates">Certificates</h2>'
    if not table.rows:
        yield "<p>There is no certificate: mail to this service is not encrypted.</p>"
    groups: dict[str, list[Row]] = {}
    for row in table.rows:
        groups.setdefault(row.columns.name, []).append(row)
    for name, rows in sorted(groups.items(), key=lambda group: (group[0] != table.hostname, group[0])):
        yield f"<h3>{escape(name)}</h3>"
        yield _sides(name, rows)


def _sides(name: str, rows: Sequence[Row]) -> str:
    heads = "".join(_side_head(row) for row in rows)
    lines = "".join(
        f'<tr><th scope="row">{label}</th>{"".join(f"<td>{show(row)}</td>" for row in rows)}</tr>\n'
        for label, show in _LINES
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="Certificates {escape(name)}"><table class="sides">'
        f'<thead><tr><th scope="col">Attribute</th>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>'
    )


def _side_head(row: Row) -> str:
    number = row.columns.facts.sha256[:16]
    head = f"{_STATES[row.state]}, {escape(row.columns.key_text.partition(',')[0])}"
    return f'<th scope="col" class="{row.state}" id="c-{number}">{head}<small>{_when(row)}</small></th>'


def _when(row: Row) -> str:
    match row.state:
        case State.CURRENT:
            return f"valid from {_time(row.valid_from)}" if row.valid_from else "presented"
        case State.NEXT:
            return f"valid from {_time(row.planned)} (planned)" if row.planned else "date not set yet"
        case _:
            return f"valid until {_time(row.valid_until)}" if row.valid_until else "not presented any more"


def _root(row: Row) -> str:
    if row.root:
        return escape(row.root)
    return f'<span class="bad">not found</span> (issuer: {escape(row.missing)})'


def _dates(columns: Columns) -> str:
    return f"{_time(columns.facts.not_before)} &ndash; {_time(columns.facts.not_after)}"


_LINES: Final[tuple[tuple[str, Callable[[Row], str]], ...]] = (
    ("Certificate authority root issuer", _root),
    ("Certificate name", lambda row: _plain(row.columns.name)),
    ("Subject alternative names", lambda row: _several(row.columns.names)),
    ("Organization", lambda row: _plain(row.columns.organization)),
    ("Organization unit", lambda row: _plain(row.columns.organization_unit)),
    ("Certificate key strength", lambda row: _plain(row.columns.key_text)),
    ("Signature algorithm", lambda row: _plain(row.columns.signature)),
    ("Issuer", lambda row: _plain(row.columns.facts.issuer)),
    ("Not before, not after", lambda row: _dates(row.columns)),
    ("Serial number", lambda row: _code(row.columns.serial)),
    ("Thumbprint (SHA-1)", lambda row: _code(row.columns.facts.sha1.upper())),
    ("Thumbprint (SHA-256)", lambda row: _code(row.columns.facts.sha256.upper())),
    ("Public key pin (SHA-256, base64)", lambda row: _code(row.columns.pin)),
    ("Public key (SHA-256, hex)", lambda row: _code(row.columns.facts.spki_sha256.upper())),
    ("TLSA records", lambda row: _several(row.tlsa, code=True)),
    ("CRL endpoints", lambda row: _several(row.columns.crl)),
    ("OCSP endpoints", lambda row: _several(row.columns.ocsp)),
    ("AIA endpoints", lambda row: _several(row.columns.issuers)),
)


# authorities


def _authorities(table: Table) -> Iterable[str]:
    yield '<h2 id="authorities">Roots and intermediates</h2>'
    yield "<p>The roots must be in your trust store. The intermediates are sent with the certificate, unless noted.</p>"
    for authority in table.authorities:
        yield _authority(authority)


def _authority(authority: Authority) -> str:
    columns = authority.columns
    facts = columns.facts
    kind = "Root" if authority.is_root else "Intermediate"
    unsent = "" if authority.is_root or authority.sent else '<span class="bad">not sent in handshakes</span>'
    lines = (
        ("Type", f"{kind} of {', '.join(map(str, authority.states))} certificates {unsent}"),
        ("Subject", _plain(facts.subject)),
        ("Issuer", _plain(facts.issuer)),
        ("Serial number", _code(columns.serial)),
        ("Public key length", _plain(columns.key_text)),
        ("Signature algorithm", _plain(columns.signature)),
        ("Not before", _time(facts.not_before)),
        ("Not after", _time(facts.not_after)),
        ("Subject key identifier", _code(columns.ski)),
        ("Authority key identifier", _code(columns.aki)),
        ("Thumbprint (SHA-1)", _code(facts.sha1.upper())),
        ("Thumbprint (SHA-256)", _code(facts.sha256.upper())),
        ("Pin (SHA-256)", _code(columns.pin)),
        ("AIA URLs", _several(columns.issuers)),
        ("CRL URLs", _several(columns.crl)),
        ("OCSP URLs", _several(columns.ocsp)),
    )
    body = "".join(f"<dt>{label}</dt><dd>{text}</dd>\n" for label, text in lines)
    return f"<article>\n<h3>{escape(columns.name)}</h3>\n<dl>{body}</dl>\n</article>"


# the rest


def _firewall(table: Table) -> str:
    head = (
        '<h2 id="firewall">Required firewall rules</h2>\n'
        "<p>To find out whether these certificates were revoked, and to fetch issuers that are missing, your servers "
        "connect to:</p>\n"
    )
    if not table.firewall:
        return f"{head}<p>None: none of these certificates names an address.</p>"
    rows = "".join(
        f"<tr><td>{escape(row.host)}</td><td>{row.port}</td><td>{', '.join(_PURPOSES[it] for it in row.purposes)}</td>"
        "</tr>\n"
        for row in table.firewall
    )
    return head + _table(("Host", "Port", "For"), rows, "Hosts and ports")


def _downloads(links: Sequence[Link]) -> str:
    items = "".join(f'<li><a href="{escape(link.name)}">{escape(link.text)}</a></li>\n' for link in links)
    return f'<h2 id="downloads">Downloads</h2>\n<ul>\n{items}</ul>'


def _suites(table: Table) -> str:
    profile = table.profile
    rows = "".join(
        f"<tr><td><code>{suite.name}</code></td><td>{suite.key_exchange}</td>"
        f"<td>{'yes' if suite.forward_secrecy else 'no'}</td><td>{suite.cipher}</td><td>{suite.authentication}</td>"
        f"<td>{_version(suite.version)}</td></tr>\n"
        for suite in published(profile)
    )
    columns = (
        "Cipher suite",
        "Key exchange / strength",
        "Forward secrecy",
        "Cipher / strength",
        "Authentication / strength",
        "Oldest version",
    )
    newest = f" to {_version(profile.max_version)}" if profile.max_version != profile.min_version else ""
    return (
        f'<h2 id="tls">TLS versions and cipher suites</h2>\n<p>{_version(profile.min_version)}{newest} is offered, the '
        "first of these suites first that both sides know.</p>\n" + _table(columns, rows, "Cipher suites")
    )


def _version(name: str) -> str:
    return name.replace("TLSv", "TLS ")


def _table(columns: Iterable[str], rows: str, name: str) -> str:
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{name}"><table><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def _plain(text: str) -> str:
    return escape(text) if text else _EMPTY


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else _EMPTY


def _several(texts: Sequence[str], *, code: bool = False) -> str:
    if not texts:
        return _EMPTY
    items = "".join(f"<li>{_code(text) if code else escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>"


def _time(seconds: float) -> str:
    text = written(seconds)
    if not text:
        return _EMPTY
    return f'<time datetime="{text}">{text[:10]} {text[11:16]}Z</time>'
