"""The TXT record at SELECTOR._domainkey.DOMAIN that publishes a key (RFC 6376 section 3.6.1, RFC 8463 section 4).

Used by `policy.connectors.records` (names), `pki.certificates.dkim_keys` and `gatepost dkim` (ours written, what is
published read). Pure text: the caller asks the DNS and knows the key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.protocols.dkim.tags import read_tags
from gatepost.protocols.dns.text_record import RecordError, joined, shown
from gatepost.protocols.smtp.grammar import GrammarError, parse_domain

KEY_TYPES: Final = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
"""The k= of a record by the a= of the signatures that its key makes."""

BETWEEN: Final = "._domainkey."
"""The label between selector and domain in the name of a key (RFC 6376 section 3.6.2.1)."""

_STRING: Final = 255  # octets of one string of a TXT record (RFC 1035 section 3.3)
_MAIL: Final = "email"
_LONGEST: Final = 253  # characters of a name (RFC 1035 section 2.3.4)
_MOST: Final = 8192  # octets of a record that is looked at
_BLANKS: Final = re.compile(r"[ \t\r\n]+")


class KeyRecord(msgspec.Struct, frozen=True):
    """The tags of a record.

    public_key: p= in base64; "" if the key was revoked. key_type: k=. services: of s=, ("*",) for all. hashes: of h=,
    () for all. testing: t=y, verifiers are to treat the mail as unsigned. strict: t=s.
    """

    public_key: str
    key_type: str = "rsa"
    services: tuple[str, ...] = ("*",)
    hashes: tuple[str, ...] = ()
    testing: bool = False
    strict: bool = False

    @property
    def text(self) -> str:
        """As it is published."""
        tags = ["v=DKIM1"]
        tags += [f"h={':'.join(self.hashes)}"] if self.hashes else []
        tags.append(f"k={self.key_type}")
        tags += [f"s={':'.join(self.services)}"] if self.services != ("*",) else []
        flags = [flag for flag, is_set in (("y", self.testing), ("s", self.strict)) if is_set]
        tags += [f"t={':'.join(flags)}"] if flags else []
        return "; ".join([*tags, f"p={self.public_key}"])

    def zone_line(self, name: str) -> str:
        """The line of a zone file; a string of a TXT record holds 255 octets at most. name: without a final dot."""
        text = self.text
        strings = " ".join(f'"{text[at : at + _STRING]}"' for at in range(0, len(text), _STRING))
        return f"{name}. IN TXT {strings if len(text) <= _STRING else f'( {strings} )'}"

    def lack(self, expected: KeyRecord) -> str:
        """Explain why this record does not verify mail signed with the key of `expected`; "" if it does."""
        if not self.public_key:
            return "the key is revoked: p= is empty"
        if self.public_key != expected.public_key:
            return "another key is published (p= differs)"
        if self.key_type != expected.key_type:
            return f"k={self.key_type}, and the key is {expected.key_type}"
        used = {_MAIL if service == "*" else service for service in expected.services}
        if "*" not in self.services and not used <= set(self.services):
            return f"s={':'.join(self.services)} does not let it sign for {' and '.join(sorted(used))}"
        if self.hashes and "sha256" not in self.hashes:
            return f"h={':'.join(self.hashes)} does not allow SHA-256"
        return "t=y: verifiers treat the mail as if it were not signed" if self.testing else ""


def parse_record(records: Sequence[Sequence[bytes]]) -> KeyRecord | RecordError | None:
    """Parse the TXT records of a key's name. records: the strings of each, joined without blanks.

    None: there is no record. An error means that verifiers find none that they can use.
    """
    texts = joined(records)
    if not texts:
        return None
    if len(texts) > 1:
        return RecordError(f"{len(texts)} TXT records are there, and verifiers may use any of them")
    text = texts[0]
    if len(text) > _MOST or not text.isascii():
        return RecordError(f'the TXT record "{shown(text)}" is not ASCII, or has more than {_MOST} octets')
    try:
        return _record(read_tags(text.decode("ascii"), "the TXT record"), shown(text))
    except ValueError as error:
        return RecordError(str(error))


def _record(tags: dict[str, str], text: str) -> KeyRecord | RecordError:
    """text: the record, for sentences."""
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        return RecordError(f'the TXT record "{text}" does not begin with v=DKIM1')
    if "p" not in tags:
        return RecordError(f'the TXT record "{text}" has no p=')
    flags = _list(tags.get("t", ""))
    return KeyRecord(
        _BLANKS.sub("", tags["p"]),
        tags.get("k", "rsa"),
        _list(tags.get("s", "*")) or ("*",),
        _list(tags.get("h", "")),
        testing="y" in flags,
        strict="s" in flags,
    )


def key_name(selector: str, domain: str) -> str:
    """The DNS name at which a selector's key is published."""
    return f"{selector}{BETWEEN}{domain}"


def split_key_name(text: str) -> tuple[str, str]:
    """Selector and domain of a key's name, in lower-case A-labels. Raises ValueError with a sentence."""
    selector, between, domain = text.removesuffix(".").lower().partition(BETWEEN)
    if not between or text.startswith("[") or domain.startswith("[") or len(text) > _LONGEST:
        raise ValueError(f"{text!r} is not a name of a DKIM key: write SELECTOR._domainkey.DOMAIN")
    try:
        return parse_domain(selector), parse_domain(domain)
    except GrammarError as error:
        raise ValueError(f"{text!r} is not a name of a DKIM key: {error.why}") from None


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip(" \t\r\n") for part in text.split(":") if part.strip(" \t\r\n"))
