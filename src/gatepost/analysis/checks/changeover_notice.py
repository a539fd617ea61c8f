"""The notice to partners before our certificate changes: a mail body in plain text (exchange.md section 9.3).

Pure; printed by `gatepost certificate changeover notice`. Everything in it is taken from the certificates themselves.
"""

from __future__ import annotations

import base64
import textwrap
from typing import TYPE_CHECKING

from gatepost.pki.certificates.entry import Entry, Purpose
from gatepost.times import minute_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.protocols.tls.facts import CertificateFacts


_WIDTH = 76


def notice(
    entry: Entry, olds: Sequence[Entry], *, hostname: str, above: Sequence[CertificateFacts], firewall: Sequence[str]
) -> str:
    """The text. olds: what is replaced. above: issuers of the next one, up to its root. firewall: HOST:PORT."""
    whose = f"mail server {hostname}" if entry.purpose is Purpose.SERVER else f"mail sent by {hostname}"
    when = (
        f"on {minute_text(entry.switch_at)}"
        if entry.switch_at
        else ("soon; we will tell you the date, or ask us for it")
    )
    parts = [
        f"Subject: Change of the TLS certificate of the {whose}",
        "",
        *_folded(f"The TLS certificate of the {whose} changes {when}. Names and protection stay as they are."),
        "",
        *_folded(
            "If your systems trust our certificate by its authority and name alone, and know the root below, there is "
            "nothing to do. If they compare its issuer, subject, serial number, thumbprint or key, please let them "
            "accept both certificates until the change is done."
        ),
        "",
        *_certificate("NEXT CERTIFICATE", entry.leaf),
    ]
    for old in olds:
        parts += ["", *_certificate("CURRENT CERTIFICATE (until the change)", old.leaf)]
    return "\n".join([*parts, "", *_steps(entry, hostname, above, firewall), ""])


def _certificate(title: str, leaf: CertificateFacts) -> Iterator[str]:
    yield title
    names = (*leaf.dns_names, *leaf.ip_addresses)
    pin = base64.b64encode(bytes.fromhex(leaf.spki_sha256)).decode("ascii")
    rows = {
        "subject": leaf.subject,
        "issuer": leaf.issuer,
        "names": ", ".join(names),
        "serial number": leaf.serial,
        "key": leaf.key,
        "valid": f"{minute_text(leaf.not_before)} to {minute_text(leaf.not_after)}",
        "SHA-1": leaf.sha1.upper(),
        "SHA-256": leaf.sha256.upper(),
        "key pin": f"sha256/{pin}",
        "TLSA": f"3 1 1 {leaf.spki_sha256}",
    }
    for name, text in rows.items():
        yield f"  {name:<14} {text}"


def _steps(entry: Entry, hostname: str, above: Sequence[CertificateFacts], firewall: Sequence[str]) -> Iterator[str]:
    yield "PLEASE CHECK"
    yield from _step(1, "The trust store of your mail servers contains these authorities (by SHA-256):")
    for authority in above:
        yield f"     {authority.subject}"
        yield f"     SHA-256 {authority.sha256.upper()}"
    highest = above[-1] if above else entry.leaf
    if highest.subject != highest.issuer:
        yield f"     {highest.issuer}"
        yield "     (its certificate is not known to our gateway: please ask us for it)"
    elif not above:
        yield "     (the certificate is self-signed: trust the certificate itself)"
    yield from _step(
        2,
        "If your mail servers check revocation: your firewall lets them reach these hosts:"
        if firewall
        else "Your firewall needs no change: the certificates name no host for revocation checks.",
    )
    yield from (f"     {host}" for host in firewall)
    if entry.purpose is Purpose.SERVER:
        yield from _step(
            3,
            "Your connectors and policies that name our issuer, subject, thumbprint or key (Exchange: TlsDomain, "
            "TlsCertificateName, TlsDomainCapabilities; Postfix: fingerprint, policy tables) accept the next one too.",
        )
        yield from _step(4, "After the change, this command shows the next certificate and ends in 'Verification: OK':")
        yield f"     openssl s_client -starttls smtp -connect {hostname}:25 -servername {hostname}"
    else:
        yield from _step(
            3,
            "Your connectors that recognize us by our certificate (Exchange: TlsSenderCertificateName; Postfix: "
            "relay_clientcerts, permit_tls_clientcerts) accept the next one beside the current one.",
        )
    yield ""
    if entry.purpose is Purpose.SERVER:
        yield from _folded("If something was missed, mail to us waits in your queue with this error:")
        yield "     450 4.4.317 ... 451 5.7.3 STARTTLS is required to send mail"
        yield "     unable to get local issuer certificate"
    else:
        yield from _folded(
            "If something was missed, your servers refuse mail from us, or treat it as mail from outside."
        )
    yield from _folded("Then please tell us: we can go back to the current certificate within minutes.")


def _step(number: int, text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, initial_indent=f"  {number}. ", subsequent_indent="     ")


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH)
