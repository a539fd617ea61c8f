"""Labels of codes: events of the trace, TLS failures (RFC 8460 section 4.3), values of resource fields. Pure.

Where a page shows a code of a TLS failure or setting, the code stands beside its label, since logs, reports of others
and resource files have the code alone.
"""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup

from gatepost.language import NAMES as LANGUAGE_NAMES
from gatepost.language import _, pgettext
from gatepost.policy.connectors.values import TlsSettings
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.sentences import ours
from gatepost.texts import N_

EVENTS: Final = {
    "RECEIVE": ("info", N_("Received")),
    "REFUSE": ("fail", N_("Refused")),
    "TLSFAIL": ("fail", N_("TLS handshake failed")),
    "SEND": ("pass", N_("Sent")),
    "DELIVER": ("pass", N_("Delivered")),
    "DEFER": ("waiting", N_("Deferred")),
    "FAIL": ("fail", N_("Failed")),
    "EXPIRE": ("fail", N_("Expired")),
    "DROP": ("fail", N_("Dropped")),
    "HOLD": ("hold", N_("Held")),
    "QUARANTINE": ("hold", N_("Quarantined")),
    "RELEASE": ("info", N_("Released")),
    "RETURN": ("fail", N_("Return requested")),
    "DRILL": ("info", N_("Drill")),
}
"""By event: how good it is, as a level of the pages' badges, and its label."""

_FAILURES: Final[dict[str, str]] = {
    ResultType.STARTTLS_NOT_SUPPORTED: N_("STARTTLS not supported"),
    ResultType.CERTIFICATE_HOST_MISMATCH: N_("Certificate name mismatch"),
    ResultType.CERTIFICATE_EXPIRED: N_("Certificate expired"),
    ResultType.CERTIFICATE_NOT_TRUSTED: N_("Certificate not trusted"),
    ResultType.VALIDATION_FAILURE: N_("Validation failure"),
    ResultType.TLSA_INVALID: N_("TLSA record invalid"),
    ResultType.DNSSEC_INVALID: N_("DNSSEC invalid"),
    ResultType.DANE_REQUIRED: N_("DANE required"),
    ResultType.STS_POLICY_FETCH_ERROR: N_("MTA-STS policy not fetched"),
    ResultType.STS_POLICY_INVALID: N_("MTA-STS policy invalid"),
    ResultType.STS_WEBPKI_INVALID: N_("MTA-STS certificate invalid"),
}
_SETTINGS: Final[dict[str, str]] = {
    TlsSettings.OPPORTUNISTIC: N_("Opportunistic TLS"),
    TlsSettings.ENCRYPTION_ONLY: N_("Encryption only"),
    TlsSettings.CERTIFICATE_VALIDATION: N_("Certificate validation"),
    TlsSettings.DOMAIN_VALIDATION: N_("Domain validation"),
}


_NAMES: Final = {
    "smime": "S/MIME",
    "rspamd": "rspamd",
    "clamav": "ClamAV",
    "on-premises": "On-premises",
    **LANGUAGE_NAMES,
    "begun": "Outcome unknown",  # of an audit event
}
_PLAIN: Final = re.compile(r"[a-z]+(?:-[a-z]+)*", re.ASCII)


def value_label(code: str) -> str:
    """A value of a resource field in words: "Internal relay"; what is no such code stays as it is: "TLSv1.2"."""
    if code in _NAMES or not _PLAIN.fullmatch(code):
        return _NAMES.get(code, code)
    return code.replace("-", " ").capitalize()


def shown_label(code: str, context: str = "") -> str:
    """The same in the language of the page. context: of what it is a value, where languages inflect it."""
    return pgettext(context, value_label(code)) if context else _(value_label(code))


def certificate_state(state: str) -> str:
    """The state of a certificate in the language of the page."""
    return shown_label(state, "certificate")


def choice_text(code: str) -> str:
    """The same with its code, which resource files have, where they differ in more than the first letter."""
    label = shown_label(code)
    return label if value_label(code).lower() == code.lower() else f"{label} ({code})"


def event_level(event: str) -> str:
    """The level of an event's badge."""
    return EVENTS.get(event, ("info", ""))[0]


def event_label(event: str) -> str:
    """An event in a word: "Deferred"; one that is not known by its code."""
    return _(EVENTS[event][1]) if event in EVENTS else event


def failure_label(code: str) -> Markup:
    """A TLS failure: its label, then its code; one that is not known by its code alone."""
    return _with_code(_(_FAILURES.get(code, "")), code)


def setting_label(text: str) -> Markup:
    """A requirement of a connector: a TLS setting as label and code, any other as a sentence."""
    return _with_code(_(_SETTINGS[text]), text) if text in _SETTINGS else Markup("{}").format(ours(text))


def _with_code(label: str, code: str) -> Markup:
    return Markup("{} <code>{}</code>").format(label, code) if label else Markup("<code>{}</code>").format(code)
