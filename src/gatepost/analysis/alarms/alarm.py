"""An alarm: what is wrong, how bad it is, and what to do about it. Values without any behaviour. Pure.

Made by `analysis.checks.certificate_alarms` and `analysis.alarms.mail_flow`, followed by `analysis.alarms.alarm_state`,
told by `node.alarms`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Kind(StrEnum):
    """The kind of an alarm."""

    EXPIRY = "expiry"
    REVOKED = "revoked"
    TLSA_MISMATCH = "tlsa-mismatch"
    DNSSEC_BOGUS = "dnssec-bogus"
    CHAIN_INCOMPLETE = "chain-incomplete"
    CHAIN_CHANGED = "chain-changed"
    STAPLE_MISSING = "staple-missing"
    RENEWAL_FAILING = "renewal-failing"
    NEXT_MISSING = "next-missing"
    NEXT_ENDS = "next-ends"
    NAME_NOT_COVERED = "name-not-covered"
    NOT_PRESENTED = "not-presented"
    KEY_UNUSABLE = "key-unusable"
    ENDPOINT_UNREACHABLE = "endpoint-unreachable"
    NOT_GRANTED = "not-granted"
    FILE_UNUSABLE = "file-unusable"
    PARTNER_FAILING = "partner-failing"
    LOGIN_REFUSED = "login-refused"
    RECIPIENTS_UNKNOWN = "recipients-unknown"
    SCANNER_DOWN = "scanner-down"
    RECORDS_UNWRITTEN = "records-unwritten"
    PROTECTION_DROP = "protection-drop"
    QUEUE_AGE = "queue-age"
    TLS_FAILURES_RISING = "tls-failures-rising"
    DOMAIN_CONFLICT = "domain-conflict"
    NAMESERVERS_DOWN = "nameservers-down"
    NOTICE_MISSING = "notice-missing"
    JOURNAL_WAITS = "journal-waits"
    QUARANTINE_FULL = "quarantine-full"
    SENDING_LIMIT = "sending-limit"
    OVERLOAD = "overload"
    CLOCK_JUMPED = "clock-jumped"

    @property
    def of_mail(self) -> bool:
        """Whether it is about mail on its way, and not about certificates."""
        return self in _OF_MAIL

    @property
    def of_nodes(self) -> bool:
        """Whether nodes have to say it, and nothing is known while they cannot be asked."""
        return self in {Kind.NOT_PRESENTED, Kind.KEY_UNUSABLE}

    @property
    def of_traffic(self) -> bool:
        """Whether only mail that was seen tells of it, which the running gateway alone knows."""
        return self.of_mail and self is not Kind.DOMAIN_CONFLICT

    @property
    def of_running_gateway(self) -> bool:
        """Whether only the running gateway learns of it and can end it: by mail, its nodes, or a look at files."""
        return self.of_traffic or self.of_nodes or self is Kind.FILE_UNUSABLE


_OF_MAIL: Final = frozenset(
    {
        Kind.PARTNER_FAILING,
        Kind.LOGIN_REFUSED,
        Kind.RECIPIENTS_UNKNOWN,
        Kind.SCANNER_DOWN,
        Kind.RECORDS_UNWRITTEN,
        Kind.PROTECTION_DROP,
        Kind.QUEUE_AGE,
        Kind.TLS_FAILURES_RISING,
        Kind.DOMAIN_CONFLICT,
        Kind.NAMESERVERS_DOWN,
        Kind.NOTICE_MISSING,
        Kind.JOURNAL_WAITS,
        Kind.QUARANTINE_FULL,
        Kind.SENDING_LIMIT,
        Kind.OVERLOAD,
        Kind.CLOCK_JUMPED,
    }
)


class Severity(StrEnum):
    """The severity of an alarm: how soon an administrator must act."""

    WARNING = "warning"  # mail goes as it should; it will not if nothing is done
    ERROR = "error"  # some partners' mail may be refused, or will be within days
    CRITICAL = "critical"  # partners' mail stops now, or within a day


class Alarm(msgspec.Struct, frozen=True):
    """One thing that somebody must see to.

    certificate: its id, "" if it is about none. about: the host, name, address or partner that it is about, "" if the
    certificate alone is. title, detail, fix: sentences. lines: to be typed or put into a zone as they stand.
    step: of an expiry, the days of the threshold that was passed, 0 for expired; -1 for others. since: seconds since
    1970, when it was first seen.
    """

    kind: Kind
    severity: Severity
    certificate: str
    title: str
    detail: str
    fix: str
    about: str = ""
    lines: tuple[str, ...] = ()
    step: int = -1
    since: float = 0.0

    @property
    def key(self) -> str:
        """The key of an alarm, which stays the same as long as the alarm is active."""
        return f"{self.kind} {self.certificate or '-'} {self.about}".rstrip()


class Trouble(msgspec.Struct, frozen=True):
    """An endpoint that fails. since: seconds since 1970, of the first failure. failures: in a row."""

    since: float
    failures: int
    word: str
    detail: str
    certificate: str
