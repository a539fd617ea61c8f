"""The address of an issuer of tokens: of resources (`policy.connectors.oauth`) and of settings (`settings.oidc`)."""

from __future__ import annotations

from urllib.parse import urlsplit

ENTRA = "login.microsoftonline.com"


def https_url(value: str) -> str:
    """Check an https address without user and fragment. Raises ValueError."""
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment
        _ = parts.port
    except ValueError:
        good = False
    if not good or not value.isascii() or " " in value:
        raise ValueError(f"{value!r} is not an https address; the gateway fetches keys over HTTPS only")
    return value


def https_issuer(value: str) -> str:
    """Check the URL of an issuer of tokens. Raises ValueError."""
    parts = urlsplit(https_url(value))
    if parts.query:
        raise ValueError(f"{value!r} has a query, which an issuer never has (RFC 8414 section 2)")
    if parts.hostname == ENTRA and parts.path.split("/")[1:2] in (["common"], ["organizations"], ["consumers"]):
        raise ValueError(
            f"{value!r} is in no token: each names its tenant's own issuer; write https://{ENTRA}/TENANT-ID/v2.0"
        )
    return value
