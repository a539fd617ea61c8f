"""The settings of certificates that an ACME authority issues (RFC 8555): the table `[acme]`.

A part of `settings.model`, read with it; used by `pki.acme.issuer` and what belongs to it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from gatepost.policy.connectors import fields
from gatepost.policy.connectors.names import is_https
from gatepost.policy.connectors.units import format_duration
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.settings.references import secret_reference
from gatepost.settings.section import Checked, Section, setting

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


class Challenge(StrEnum):
    """The way to prove to an authority that names are ours (RFC 8555 section 8)."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"


class KeyType(StrEnum):
    """Keys that are made for certificates."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


def acme_directory(value: str) -> str:
    """The address of an ACME directory, "" for none. Raises ValueError."""
    if value and not is_https(value):
        raise ValueError(f"{value!r} is not an https address; write the authority's directory, such as {LETS_ENCRYPT}")
    return value


def _contact(value: str) -> str:
    try:
        return parse_address(value.removeprefix("mailto:")).text
    except GrammarError as error:
        raise ValueError(f"{value!r} is not a mail address: {error.why}") from None


def _hook(value: tuple[str, ...]) -> tuple[str, ...]:
    if value and not value[0].startswith("/"):
        raise ValueError(f"{value[0]!r}: write the absolute path of the program; no shell looks for it")
    return value


class Acme(Section):
    """Certificates from an ACME authority (RFC 8555). Needs the extra `gatepost[acme]` and store.master_key."""

    directory_url: Annotated[str, Checked(acme_directory), fields.Form("https address; empty: off")] = setting(
        default=LETS_ENCRYPT, description="The authority's directory (default: Let's Encrypt). Empty: off."
    )
    agree_tos: fields.Switch = setting(
        default=False,
        description="Set to true to agree to the authority's terms of service. Without it the gateway requests no "
        "certificates.",
    )
    contact: tuple[Annotated[str, Checked(_contact), fields.Form("mail address")], ...] = setting(
        default=(), description="Mail addresses that the authority can notify of problems with the account."
    )
    eab_key_id: Annotated[fields.Text, fields.Length(most=1000)] = setting(
        default="",
        description="Key identifier of your customer account at the authority, for one that demands external account "
        "binding (RFC 8555 section 7.3.4). Needed once, to make the ACME account.",
    )
    eab_mac_key: Annotated[
        str, Checked(secret_reference), fields.Form('"file:/PATH", "env:NAME" or "credential:NAME"')
    ] = setting(
        default="",
        description="The MAC key (HMAC key) that belongs to eab_key_id, in base64url as the authority shows it: in "
        "a file of mode 0600, an environment variable, or a systemd credential.",
    )
    names: Annotated[tuple[fields.NamePattern, ...], fields.Length(most=100)] = setting(
        default=(),
        description="Names in the certificate. Empty: server.hostname. Each mta-sts.DOMAIN whose policy is served "
        "here, and that is not listed, gets its own certificate, so that the DNS of one domain cannot "
        "block the renewal of others. *.DOMAIN needs dns-01.",
    )
    challenge: Challenge = setting(
        default=Challenge.HTTP_01,
        description="http-01: the authority fetches a token from port 80 of each name. dns-01: dns_hook publishes a "
        "TXT record.",
    )
    http_address: fields.ListenAddress = setting(
        default="0.0.0.0:80",
        description="Address and port that serve the tokens for http-01, and nothing else. The authority uses port 80.",
    )
    dns_hook: Annotated[tuple[fields.Text, ...], fields.Length(most=50), Checked(_hook)] = setting(
        default=(),
        description="Program and arguments for dns-01. The gateway runs it without a shell and adds three arguments: "
        '"present" or "remove", the record\'s name (_acme-challenge.…), and its value. Exit status 0 means '
        "success.",
    )
    dns_hook_timeout: Annotated[fields.Duration, fields.Range(1, 600, format_duration)] = setting(
        default=60, description="Time limit for each run of dns_hook."
    )
    dns_wait: Annotated[fields.Duration, fields.Range(0, 3600, format_duration)] = setting(
        default=0,
        description="Time to wait after the last record before the authority checks, until all nameservers have it.",
    )
    key_type: KeyType = setting(default=KeyType.EC_P256, description="Key type of new certificates.")
    roll_key: fields.Switch = setting(
        default=False,
        description="Make a new key at each renewal. false: keep the key, and with it a TLSA record 3 1 1. A "
        "certificate that the published TLSA records do not allow becomes the next one and waits for a "
        "changeover.",
    )
    renew_before: Annotated[fields.Duration, fields.Range(0, 31536000, format_duration)] = setting(
        default=0,
        description="Time before expiry at which to renew, if the authority does not set one (RFC 9773). 0: when a "
        "third of the lifetime is left.",
    )
    trust_anchors: Annotated[fields.FilePath, fields.Length(1)] = setting(
        default="system",
        description='Roots for the authority\'s own HTTPS server: "system", a PEM file, or a directory.',
    )
    profile: fields.Text = setting(
        default="",
        description='Certificate profile of the authority, such as "shortlived". Empty: its default.',
    )

    @property
    def is_on(self) -> bool:
        """Whether certificates are asked for."""
        return bool(self.directory_url) and self.agree_tos

    @property
    def served_at(self) -> str:
        """The address that serves tokens, "" if none does."""
        return self.http_address if self.is_on and self.challenge is Challenge.HTTP_01 else ""
