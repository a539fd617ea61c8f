"""The SMTP service extensions that a listener offers, and the EHLO keywords that say so.

Built once per listener from the settings, read by `protocols.smtp.server.server` and `protocols.smtp.commands`. It
announces, it enforces nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec

from gatepost.values import check_type

if TYPE_CHECKING:
    from gatepost.protocols.smtp.limits import SmtpLimits


ORIGIN = "XGATEPOST"
"""The keyword of our own extension, in EHLO and as a parameter of MAIL (RFC 5321 section 2.2.2: X for private use)."""

XCLIENT_ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT")
"""What XCLIENT may say. Never LOGIN: nobody is logged in by another host's word."""

_LIMIT_CEILING = 999_999  # RFC 9422 section 4: one to six digits


class Extensions(msgspec.Struct, frozen=True):
    """The extensions that one listener offers.

    Always: PIPELINING (RFC 2920), 8BITMIME (RFC 6152), ENHANCEDSTATUSCODES (RFC 2034), HELP.
    size: SIZE in octets, RFC 1870. starttls: RFC 3207, offered while TLS is not active. smtputf8: RFC 6531. chunking,
    binarymime: RFC 3030. dsn: RFC 3461. requiretls: RFC 8689, offered while TLS is active. rcptmax, mailmax: LIMITS of
    RFC 9422 from 1 to 999999, 0 announces nothing. auth: SASL mechanisms (RFC 4954), offered while TLS is active;
    with any, only authenticated clients may send mail. origin: XGATEPOST, our own, between nodes of a site and
    under TLS: MAIL names the organization of the mail (`policy.decisions.handover`). xclient: Postfix's XCLIENT, for
    hosts that may name the client. ValueError if they contradict each other.
    """

    size: int
    starttls: bool
    smtputf8: bool = True
    chunking: bool = True
    binarymime: bool = True
    dsn: bool = True
    requiretls: bool = False
    auth: tuple[str, ...] = ()
    rcptmax: int = 0
    mailmax: int = 0
    origin: bool = False
    xclient: bool = False

    def __post_init__(self) -> None:
        """Refuse an offer that the RFCs forbid."""
        if self.binarymime and not self.chunking:
            raise ValueError("BINARYMIME needs CHUNKING (RFC 3030 section 3)")
        for name, value in (("size", self.size), ("rcptmax", self.rcptmax), ("mailmax", self.mailmax)):
            check_type(value, int, name)
            if value < 0:
                raise ValueError(f"{name} is {value!r}, a whole number of 0 or more is needed")
        if max(self.rcptmax, self.mailmax) > _LIMIT_CEILING:
            raise ValueError(f"a limit is announced in at most six digits (RFC 9422), up to {_LIMIT_CEILING}")

    @classmethod
    def within(cls, limits: SmtpLimits, *, starttls: bool, auth: tuple[str, ...] = (), origin: bool = False) -> Self:
        """Everything on offer, announcing the limits that a session will meet."""
        return cls(
            size=limits.message_bytes,
            starttls=starttls,
            requiretls=True,
            auth=auth,
            rcptmax=min(limits.recipients, _LIMIT_CEILING),
            mailmax=min(limits.transactions, _LIMIT_CEILING),
            origin=origin,
        )

    def keywords(self, *, tls_active: bool) -> tuple[str, ...]:
        """The lines of the EHLO reply after the first."""
        limits = [f"{name}={value}" for name, value in (("RCPTMAX", self.rcptmax), ("MAILMAX", self.mailmax)) if value]
        offers = (
            ("PIPELINING", True),
            (f"SIZE {self.size}", True),
            ("STARTTLS", self.starttls and not tls_active),
            (" ".join(["AUTH", *self.auth]), bool(self.auth) and tls_active),
            ("8BITMIME", True),
            ("SMTPUTF8", self.smtputf8),
            ("ENHANCEDSTATUSCODES", True),
            ("DSN", self.dsn),
            ("CHUNKING", self.chunking),
            ("BINARYMIME", self.binarymime),
            ("REQUIRETLS", self.requiretls and tls_active),
            (" ".join(["LIMITS", *limits]), bool(limits)),
            (ORIGIN, self.origin and tls_active),
            (" ".join(["XCLIENT", *XCLIENT_ATTRIBUTES]), self.xclient),
            ("HELP", True),
        )
        return tuple(keyword for keyword, offered in offers if offered)
