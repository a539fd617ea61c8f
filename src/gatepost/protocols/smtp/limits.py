"""The limits of an SMTP session, in one record: the memory and work that a peer may cost before it is refused.

Built by the settings; read by the server core and, for the header section, by whoever scans it. Time-outs, data rates
and numbers of connections are the network's and are not here.
"""

from __future__ import annotations

import msgspec


class SmtpLimits(msgspec.Struct, frozen=True):
    """Limits of one session. All are whole numbers; 0 is allowed only where it says so. ValueError otherwise.

    command_line: octets of a command with its CRLF. RFC 5321 section 4.5.3.1.4 asks for 512; SIZE (26), BODY (17),
        SMTPUTF8 (10), ENVID and RET (118), ORCPT and NOTIFY (529) add to it. One limit for all verbs.
    text_line: octets of a line of content with its CRLF, 0 for any length. RFC 5321 section 4.5.3.1.6 asks for 1000;
        longer lines are common in real mail and endanger no memory of ours, as content is never kept by lines.
    header_bytes: octets of a message's header section; Exchange on-premises: 256 KB (Set-ReceiveConnector).
    message_bytes: octets of a message (RFC 1870); Exchange Online allows up to 150 MB to be set, on-premises has 36 MB.
    recipients: RCPT commands of a transaction, refused ones included (RFC 9422 RCPTMAX). RFC 5321 section 4.5.3.1.8
        asks for 100; Exchange Online's maximum is 1000. More are told 452 4.5.3.
    errors: protocol errors of a session, unknown commands included; the last of them is answered 421 4.7.0. Exchange
        on-premises: 5, Postfix: 20.
    commands_without_mail: commands such as NOOP, RSET, VRFY, HELP, EHLO since the last message accepted; the next is
        answered 421 4.7.0. Postfix: 100 (smtpd_junk_command_limit).
    bdat_chunks: BDAT commands of a message. Exim sends chunks of 8 KB, so a message of 50 MB needs 6400.
    transactions: MAIL commands of a session, refused ones included (RFC 9422 MAILMAX); the next is answered 421 4.7.0.
    discard_bytes: octets of a session read only to find the end of what is refused already (content, chunks, endless
        lines); beyond it the refusal is given at once and the session ends.
    """

    command_line: int = 4096
    text_line: int = 0
    header_bytes: int = 262_144
    message_bytes: int = 52_428_800
    recipients: int = 1000
    errors: int = 10
    commands_without_mail: int = 100
    bdat_chunks: int = 20_000
    transactions: int = 1000
    discard_bytes: int = 67_108_864

    def __post_init__(self) -> None:
        """Refuse what no session could live with."""
        floors = {"command_line": 512, "text_line": 0, "discard_bytes": 0}
        for name in self.__struct_fields__:
            floor = floors.get(name, 1)
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < floor:
                raise ValueError(f"{name} is {value!r}, a whole number of at least {floor} is needed")
