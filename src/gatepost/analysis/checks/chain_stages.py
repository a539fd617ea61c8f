"""Judge the facts of a certificate, one finding after the other. `analysis.checks.chain` calls it. Pure.

Each sentence is for an administrator who has no PKI at his desk: what it is, what shows it, what to do, who must act.
Findings about CRLs, OCSP responders, issuers that the certificates name, and stapling come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gatepost.analysis.checks.chain_facts import ChainFacts, From, Kind, Link, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_report import ChainFinding, Part, days_left, endpoint, send_order, shown, title
from gatepost.analysis.checks.chain_stores import OWN
from gatepost.analysis.checks.partner_report import Mark
from gatepost.net.certificate import certificate_facts
from gatepost.net.chain import strong_key
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.protocols.tls.names import describe_names, matches
from gatepost.quantity import quantity
from gatepost.times import day_text, minute_text

_SLOW: Final = 3.0  # seconds: half of what many a server waits
_LARGE: Final = 10 * 1024 * 1024  # octets: what many a server takes at most
_SAID: Final = {UrlStatus.WRONG: "is not usable", UrlStatus.SKIPPED: "was not asked for"}
_WORD: Final = {Kind.CRL: "CRL", Kind.OCSP: "OCSP", Kind.ISSUER: "issuer"}


def revocation_findings(facts: ChainFacts) -> Iterator[ChainFinding]:
    """One for each CRL and OCSP address, and for each certificate that has none."""
    if facts.offline:
        text = "not looked at, as nothing was to be fetched"
        yield ChainFinding(Part.REVOCATION, Mark.INFO, text)
        return
    for number, link in enumerate(facts.path):
        answers = [answer for answer in link.answers if answer.kind is not Kind.ISSUER]
        if not answers and (number == 0 or not link.self_issued) and not _is_anchor(facts, number):
            yield _nowhere(link)
        is_answered = any(answer.result in {UrlStatus.GOOD, UrlStatus.REVOKED} for answer in answers)
        for answer in answers:
            yield _status(link, answer, answered=is_answered)
        if answers and link.published.unusable:
            text = f"{title(link.facts)} also names what is not asked here: {link.published.unusable}"
            yield ChainFinding(Part.REVOCATION, Mark.INFO, text)


def _is_anchor(facts: ChainFacts, number: int) -> bool:
    return number == len(facts.path) - 1 and any(store.holds_root for store in facts.stores)


def _nowhere(link: Link) -> ChainFinding:
    if link.published.unusable:
        text = f"{title(link.facts)} names only what is not asked: {link.published.unusable}"
        fix = "Partners cannot see whether it is revoked, unless they are within the authority's network."
        return ChainFinding(Part.REVOCATION, Mark.WARN, text, fix=fix)
    text = f"{title(link.facts)} names neither a CRL nor an OCSP responder: nobody can see whether it is revoked"
    return ChainFinding(Part.REVOCATION, Mark.INFO, text)


def _status(link: Link, answer: UrlResult, *, answered: bool) -> ChainFinding:
    """answered: another address of this certificate, or this one, says what is to be known."""
    if answer.result is UrlStatus.REVOKED:
        text = f"{title(link.facts)}, serial {link.facts.serial}, was {answer.detail}"
        fix = "Do not use it: have another one issued, with a new key."
        return ChainFinding(Part.REVOCATION, Mark.FAIL, text, f"according to {shown(answer.url)}", fix)
    if answer.result is UrlStatus.GOOD:
        return _good(f"{_WORD[answer.kind]} of {title(link.facts)}: {shown(answer.url)}", answer)
    verdict = Mark.WARN if answered else Mark.FAIL if answer.result is UrlStatus.WRONG else Mark.UNKNOWN
    said = _SAID.get(answer.result, "could not be fetched")
    text = f"{_WORD[answer.kind]} of {title(link.facts)} {said}: {shown(answer.url)}"
    options = ("private",) if answer.result is UrlStatus.FORBIDDEN else ()
    return ChainFinding(Part.REVOCATION, verdict, text, answer.detail, _what_to_do(link, answer), options)


def _good(about: str, answer: UrlResult) -> ChainFinding:
    shown = f"{about}: not revoked; {_figures(answer)}"
    if answer.seconds > _SLOW:
        fix = "Partners may give up waiting. See whether a proxy or a firewall delays it, else ask the authority."
        return ChainFinding(Part.REVOCATION, Mark.WARN, f"{shown}: slow", fix=fix)
    if answer.size > _LARGE:
        fix = "Some servers do not read so long a list: ask the authority for certificates with another CRL."
        return ChainFinding(Part.REVOCATION, Mark.WARN, f"{shown}: very long", fix=fix)
    return ChainFinding(Part.REVOCATION, Mark.PASS, shown)


def _figures(answer: UrlResult) -> str:
    until = f", next by {minute_text(answer.until)}" if answer.until else ""
    since = f", of {minute_text(answer.since)}" if answer.since else ""
    return f"HTTP 200, {answer.seconds * 1000:.0f} ms, {answer.size} bytes, signature good{since}{until}"


def _what_to_do(link: Link, answer: UrlResult) -> str:
    host = endpoint(answer.url) or shown(answer.url)
    match answer.result:
        case UrlStatus.FORBIDDEN:
            return "A public authority names no address of a private network; if this one is your own, allow it."
        case UrlStatus.SKIPPED:
            return "Complete the chain first."
        case UrlStatus.UNREACHABLE if answer.status:
            return f"The server at {host} is in trouble: try again later, then tell {link.facts.issuer}."
        case UrlStatus.UNREACHABLE:
            return f"Let this machine out to {host} in the firewall, and try again. Partners have to reach it too."
        case _:
            return f"This is the authority's fault, or a proxy's: try from elsewhere, then tell {link.facts.issuer}."


def staple_findings(facts: ChainFacts) -> Iterator[ChainFinding]:
    """Whether a server could staple an OCSP response, and whether it has to."""
    leaf = facts.path[0]
    answers = [answer for answer in leaf.answers if answer.kind is Kind.OCSP]
    good = next((answer for answer in answers if answer.result is UrlStatus.GOOD), None)
    if leaf.must_staple:
        yield _must_staple(has_responder=bool(answers))
    if not answers:
        instead = "; partners use its CRL" if leaf.published.crl else ""
        text = f"nothing can be stapled: the certificate names no OCSP responder{instead}"
        yield ChainFinding(Part.STAPLING, Mark.INFO, text)
    elif good is not None:
        yield ChainFinding(Part.STAPLING, Mark.PASS, f"there is an OCSP response to staple: {_held(good)}")
    elif not facts.offline and (facts.staple or leaf.must_staple):
        text = "no OCSP response could be fetched for a server to staple"
        verdict = (
            Mark.FAIL
            if any(answer.result in {UrlStatus.WRONG, UrlStatus.REVOKED} for answer in answers)
            else Mark.UNKNOWN
        )
        yield ChainFinding(
            Part.STAPLING, verdict, text, "; ".join(f"{shown(answer.url)}: {answer.detail}" for answer in answers)
        )


def _held(answer: UrlResult) -> str:
    held = f"holds until {minute_text(answer.until)}" if answer.until else "does not say how long it holds"
    return f"its signature is good, it {held}"


def _must_staple(*, has_responder: bool) -> ChainFinding:
    text = "the certificate asks for OCSP stapling (must-staple, RFC 7633)"
    if not has_responder:
        fix = "Have it issued without must-staple: it names no OCSP responder, so that nothing can be stapled."
        return ChainFinding(Part.STAPLING, Mark.FAIL, text, fix=fix)
    fix = "Use it only with a server that staples, as gatepost does. Clients that obey it refuse others."
    return ChainFinding(Part.STAPLING, Mark.WARN, text, fix=fix)


def issuer_findings(facts: ChainFacts) -> Iterator[ChainFinding]:
    """Whether the issuers' certificates are to be had where the certificates say."""
    for link in facts.path:
        for answer in link.answers:
            if answer.kind is not Kind.ISSUER or answer.result is UrlStatus.SKIPPED:
                continue
            about = f"the issuer of {title(link.facts)}: {shown(answer.url)}"
            if answer.result is UrlStatus.GOOD:
                text = f"{about}: HTTP 200, {answer.seconds * 1000:.0f} ms, {answer.size} bytes"
                yield ChainFinding(Part.ISSUERS, Mark.PASS, text)
            else:
                fix = "Windows servers look there for what a partner forgot to send. " + _what_to_do(link, answer)
                yield ChainFinding(Part.ISSUERS, Mark.WARN, about, answer.detail, fix)


_LEVELS: Final = ((1, "renew it now"), (7, "renew it this week"), (14, "renew it"), (30, "plan its renewal"))
_SHORT_LIVED: Final = 3  # a certificate is told to end soon in the last third of its life, if that is less than 30 days
_MOST: Final = 10  # certificates that many a server accepts, and this gateway
_OPEN: Final = 0o037  # as `pki.certificates.files` refuses it
_GROUP: Final = 0o040


def chain_findings(facts: ChainFacts) -> tuple[ChainFinding, ...]:
    """Everything there is to say, in the order of `Part`."""
    findings = [
        *_file(facts),
        *_key(facts),
        *_chain(facts),
        *_root(facts),
        *_dates(facts),
        *_strength(facts),
        *_purpose(facts),
        *_names(facts),
        *revocation_findings(facts),
        *staple_findings(facts),
        *issuer_findings(facts),
    ]
    if not facts.judged.trusted and all(finding.verdict is not Mark.FAIL for finding in findings):
        # A reason that no part knows: what no server would trust must not look ready.
        findings.append(ChainFinding(Part.CHAIN, Mark.FAIL, f"{facts.judged.status}: {facts.judged.detail}"))
    return tuple(sorted(findings, key=lambda finding: list(Part).index(finding.part)))


# The file.


def _file(facts: ChainFacts) -> Iterator[ChainFinding]:
    file, distinct = facts.file, list(dict.fromkeys(facts.file.certificates))
    needed = [link.der for link in send_order(facts.path) if link.place is From.FILE]
    count = quantity(len(distinct), "certificate")
    if file.form == "PKCS#7":  # which is a set: it has no order
        yield ChainFinding(Part.FILE, Mark.PASS, f"{file.form}, {count}")
    elif file.certificates[0] != facts.path[0].der:
        first = title(certificate_facts(file.certificates[0]))
        fix = "Put the server's certificate first, then each issuer: a server takes the first one for its own."
        yield ChainFinding(Part.FILE, Mark.FAIL, f"{file.form}, but {first} comes first", _order(facts), fix)
    elif [der for der in distinct if der in needed] != needed:
        fix = "Put each certificate directly before its issuer: old TLS libraries read no other order."
        yield ChainFinding(Part.FILE, Mark.WARN, f"{file.form}, {count}, not in order", _order(facts), fix)
    else:
        yield ChainFinding(Part.FILE, Mark.PASS, f"{file.form}, {count}, the server's own first")
    if file.form != "PEM":
        make = "openssl x509 -inform DER" if file.form == "DER" else "openssl pkcs7 -print_certs"
        fix = f"Make one of it: {make} -in {file.source} -out chain.pem; then check that one for its order."
        yield ChainFinding(Part.FILE, Mark.INFO, f"{file.form}; mail servers want PEM", fix=fix)
    if len(distinct) < len(file.certificates):
        yield ChainFinding(Part.FILE, Mark.INFO, "a certificate is in it more than once")
    if file.has_key:
        fix = "Keep the key in a file of its own, mode 0600, and give this file to partners without it."
        yield ChainFinding(Part.FILE, Mark.WARN, "the private key is in the same file", fix=fix)
    if len(distinct) > _MOST:
        fix = "Send the server's certificate and its issuers alone."
        yield ChainFinding(Part.FILE, Mark.WARN, f"more than {_MOST} certificates: many servers refuse such", fix=fix)
    yield from _superfluous(facts, [der for der in distinct if der not in needed])


def _order(facts: ChainFacts) -> str:
    return "to be sent, in this order: " + "; then ".join(title(link.facts) for link in send_order(facts.path))


def _superfluous(facts: ChainFacts, others: list[bytes]) -> Iterator[ChainFinding]:
    path = {link.der for link in facts.path}
    names = {(link.facts.subject, link.facts.spki_sha256) for link in facts.path}
    for der in others:
        extra = certificate_facts(der)
        expired = f", which expired on {day_text(extra.not_after)}" if extra.not_after < facts.now else ""
        if der in path:
            text = f"the root {title(extra)} is in it too: it need not be sent, partners have it or do not trust it"
            yield ChainFinding(Part.FILE, Mark.INFO, text)
        elif (extra.subject, extra.spki_sha256) in names:
            text = f"a second certificate of {title(extra)}, issued by {extra.issuer} (cross-signed){expired}"
            fix = "Remove it unless a partner with an old list of roots needs it." if not expired else "Remove it."
            yield ChainFinding(Part.FILE, Mark.WARN if expired else Mark.INFO, text, fix=fix)
        else:
            text = f"{title(extra)} is not part of the chain{expired}"
            yield ChainFinding(Part.FILE, Mark.WARN, text, f"issued by {extra.issuer}", "Remove it.")


# The key.


def _key(facts: ChainFacts) -> Iterator[ChainFinding]:
    key = facts.key
    if key is None:
        return
    if key.problem:
        fix = "Find the key that was made for this request, or request a certificate anew."
        leaf = facts.path[0].facts
        yield ChainFinding(Part.KEY, Mark.FAIL, f"{key.path}: {key.problem}", f"checked: {title(leaf)}", fix)
    else:
        yield ChainFinding(Part.KEY, Mark.PASS, f"{key.path} belongs to the certificate")
    if key.mode & _OPEN:
        text = f"{key.path}: mode {key.mode:04o} lets others read or change the key"
        yield ChainFinding(
            Part.KEY, Mark.FAIL, text, fix=f"chmod 0600 {key.path}; if others had access, make a new key."
        )
    elif key.mode & _GROUP:
        text = f"{key.path}: mode {key.mode:04o} lets its group read it"
        yield ChainFinding(
            Part.KEY, Mark.INFO, text, fix=f"chmod 0600 {key.path}, unless the server reads it that way."
        )


# The chain and its root.


def _chain(facts: ChainFacts) -> Iterator[ChainFinding]:
    path, top = facts.path, facts.path[-1]
    missing = [link for link in send_order(path) if link.place is not From.FILE]
    ends = top.self_issued or any(store.holds_root for store in facts.stores)
    for link in missing:
        if link is top and any(store.holds_root for store in facts.stores):
            yield _own_anchor(link)
            continue
        below = path[path.index(link) - 1]
        where = _where(below) if link.place is From.FETCHED else "it was found among the roots of this machine"
        text = f"the intermediate {title(link.facts)} is missing in the file: {title(below.facts)} was issued by it"
        fix = f"Append it to the file. {where[0].upper()}{where[1:]}."
        yield ChainFinding(Part.CHAIN, Mark.FAIL, text, f"SHA-256 {link.facts.sha256.upper()}", fix)
    if not ends:
        yield _unknown_issuer(top)
    elif not missing:
        between = len(send_order(path)) - 1
        said = quantity(between, "intermediate") if between else "no intermediate is needed"
        yield ChainFinding(Part.CHAIN, Mark.PASS, f"complete, {said}")


def _own_anchor(link: Link) -> ChainFinding:
    text = f"the intermediate {title(link.facts)} is missing in the file; here it is trusted by itself"
    fix = "Append it to the file: partners trust its root alone, and need it to get there."
    return ChainFinding(Part.CHAIN, Mark.WARN, text, f"SHA-256 {link.facts.sha256.upper()}", fix)


def _where(below: Link) -> str:
    good = (answer.url for answer in below.answers if answer.kind is Kind.ISSUER and answer.result is UrlStatus.GOOD)
    return f"it is to be had at {shown(next(good, next(iter(below.issuers), '')))}"


def _unknown_issuer(top: Link) -> ChainFinding:
    tried = [answer for answer in top.answers if answer.kind is Kind.ISSUER]
    text = f"the issuer of {title(top.facts)} is not in the file and in no store: {top.facts.issuer}"
    options: tuple[str, ...] = ()
    if tried:
        evidence = "; ".join(f"{shown(answer.url)}: {answer.detail}" for answer in tried)
        fix = f"Append it to the file; the certificate says that it is to be had at {shown(tried[0].url)}."
        if any(answer.result is UrlStatus.FORBIDDEN for answer in tried):
            fix += " It was not fetched, as that is in a private network, which only an authority of your own may name."
            options = ("private",)
    else:
        evidence = "the certificate does not say where its issuer's is to be had"
        fix = "Get the intermediate certificates from the authority, and append them to the file."
    if top.authority:
        fix = f"If it is the root of your own authority, trust it here, and give it to partners. Else: {fix}"
        options = ("anchors", *options)
    return ChainFinding(Part.CHAIN, Mark.FAIL, text, evidence, fix, options)


def _root(facts: ChainFacts) -> Iterator[ChainFinding]:
    top = facts.path[-1]
    holding = [store for store in facts.stores if store.holds_root]
    if not top.self_issued and not holding:
        return  # its issuer is not known: the chain's finding says so
    name, shown = title(top.facts), f"SHA-1 {top.facts.sha1.upper()}; SHA-256 {top.facts.sha256.upper()}"
    lacking = [store for store in facts.stores if not store.holds_root and not store.missing]
    trusted_here = any(store.name == facts.anchors for store in holding)
    if not trusted_here:
        yield _untrusted(facts, name, shown, [store.name for store in holding])
        return
    where = ", ".join(store.name for store in holding)
    if lacking:
        text = f"the root {name} is in {where}, but not in {', '.join(store.name for store in lacking)}"
        fix = "Partners who know no more than the public lists will not trust it: give them this root."
        verdict = Mark.INFO if facts.anchors != OWN else Mark.WARN  # a root that somebody names is no surprise to him
        yield ChainFinding(Part.ROOT, verdict, text, shown, fix)
    else:
        yield ChainFinding(Part.ROOT, Mark.PASS, f"the root {name} is in {where}", shown)
    for store in facts.stores:
        if store.missing:
            yield ChainFinding(Part.ROOT, Mark.INFO, f"{store.name} could not be read: {store.missing}")


def _untrusted(facts: ChainFacts, name: str, shown: str, others: list[str]) -> ChainFinding:
    kind = "the certificate is self-signed and" if len(facts.path) == 1 else f"the root {name} is"
    elsewhere = f" (it is in {', '.join(others)})" if others else ""
    text = f"{kind} not in {facts.anchors}{elsewhere}"
    fix = (
        "For partners on the internet get a certificate of a public authority. If this authority is your own, trust "
        "its root here, and give it to every partner who is to trust it."
    )
    return ChainFinding(Part.ROOT, Mark.FAIL, text, shown, fix, ("anchors",))


# Dates, strength, purpose.


def _dates(facts: ChainFacts) -> Iterator[ChainFinding]:
    wrong = False
    for link in facts.path:
        for finding in _date(link, facts, leaf=link is facts.path[0]):
            wrong = True
            yield finding
    if not wrong:
        leaf = facts.path[0].facts
        left = quantity(days_left(leaf, facts.now), "day")
        text = f"valid until {day_text(leaf.not_after)}, {left} left; no issuer ends before"
        yield ChainFinding(Part.DATES, Mark.PASS, text)


def _date(link: Link, facts: ChainFacts, *, leaf: bool) -> Iterator[ChainFinding]:
    certificate, name = link.facts, title(link.facts)
    left, life = certificate.not_after - facts.now, certificate.not_after - certificate.not_before
    if left < 0:
        fix = (
            "Renew it." if leaf else "Get the issuer's current certificate from the authority, or another certificate."
        )
        yield ChainFinding(Part.DATES, Mark.FAIL, f"{name} expired on {day_text(certificate.not_after)}", fix=fix)
    elif certificate.not_before > facts.now:
        fix = f"Wait until {day_text(certificate.not_before)}, or look at this machine's clock."
        yield ChainFinding(
            Part.DATES, Mark.FAIL, f"{name} is not valid before {day_text(certificate.not_before)}", fix=fix
        )
    elif left < min(30 * 86400, life / _SHORT_LIVED):
        days = days_left(certificate, facts.now)
        what = next((what for limit, what in _LEVELS if days < limit), "plan its renewal")
        text = f"{name} ends on {day_text(certificate.not_after)}: {quantity(days, 'day')} left"
        yield ChainFinding(Part.DATES, Mark.WARN, text, fix=f"{what[0].upper()}{what[1:]}.")
    elif certificate.not_after < facts.path[0].facts.not_after:
        text = f"{name} ends on {day_text(certificate.not_after)}, before the certificate that it issued"
        fix = "Expect to change the chain then: ask the authority for the certificate that follows."
        yield ChainFinding(Part.DATES, Mark.WARN, text, fix=fix)


def _strength(facts: ChainFacts) -> Iterator[ChainFinding]:
    weak = False
    for number, link in enumerate(facts.path):
        name = title(link.facts)
        if not strong_key(link.facts.key):
            weak = True
            text = f"{name} has the key {link.facts.key}; RSA-2048 or P-256 is the least"
            fix = "Make a new key and request a certificate for it." if not number else "Choose another authority."
            yield ChainFinding(Part.STRENGTH, Mark.FAIL, text, fix=fix)
        if link.weak and not link.self_issued:
            weak = True
            text = f"{name} is signed with {link.weak}, which no longer proves anything"
            yield ChainFinding(Part.STRENGTH, Mark.FAIL, text, fix="Have it issued anew, signed with SHA-256.")
    if not weak:
        leaf = facts.path[0]
        signed = f", signed with {leaf.signature}" if leaf.signature else ""
        yield ChainFinding(Part.STRENGTH, Mark.PASS, f"{leaf.facts.key}{signed}; its issuers are strong enough, too")


def _purpose(facts: ChainFacts) -> Iterator[ChainFinding]:
    leaf = facts.path[0]
    if leaf.authority:
        text = "the certificate is an authority's (basicConstraints CA), not a server's"
        yield ChainFinding(Part.PURPOSE, Mark.WARN, text, fix="Have a certificate for a server issued.")
    usages = leaf.usages
    if usages is None:
        yield ChainFinding(Part.PURPOSE, Mark.INFO, "not limited to a purpose (no extended key usage)")
        return
    if not usages & {"serverAuth", "any"}:
        shown = f"extended key usage: {', '.join(sorted(usages))}"
        fix = "Have it issued for TLS servers (extended key usage serverAuth)."
        yield ChainFinding(Part.PURPOSE, Mark.FAIL, "it is not for TLS servers", shown, fix)
    elif "clientAuth" in usages or "any" in usages:
        text = "for servers (serverAuth), and for clients (clientAuth), which public authorities stop issuing"
        yield ChainFinding(Part.PURPOSE, Mark.PASS, text)
    else:
        text = "for servers (serverAuth) only: a partner who asks sending servers for a certificate may refuse it"
        yield ChainFinding(Part.PURPOSE, Mark.PASS, text)
    if facts.judged.status is ChainStatus.WRONG_PURPOSE and usages & {"serverAuth", "any"}:
        yield ChainFinding(Part.PURPOSE, Mark.FAIL, facts.judged.detail, fix="Choose an issuer for TLS servers.")


def _names(facts: ChainFacts) -> Iterator[ChainFinding]:
    leaf = facts.path[0].facts
    if not leaf.dns_names and not leaf.ip_addresses:
        text = f"it bears no name (no subjectAltName); the common name {leaf.common_name!r} is none (RFC 9525)"
        fix = "Have it issued with the host names as subjectAltName."
        yield ChainFinding(Part.NAMES, Mark.FAIL, text, fix=fix)
        return
    if not facts.names:
        fix = "Compare with the names of your MX records."
        yield ChainFinding(Part.NAMES, Mark.INFO, f"it is for {describe_names(leaf)}", fix=fix, options=("name",))
    for name in facts.names:
        if matches(name, leaf):
            by = "" if name in leaf.dns_names else f", by *.{name.partition('.')[2]}"
            yield ChainFinding(Part.NAMES, Mark.PASS, f"it is for {name}{by}")
        else:
            fix = f"Have it issued with {name} as subjectAltName."
            yield ChainFinding(Part.NAMES, Mark.FAIL, f"it is not for {name}", f"it is for {describe_names(leaf)}", fix)
