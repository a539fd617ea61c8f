"""The replies of the SMTP server about connections, commands, log-ins and the form of messages. Pure tables.

Used by `analysis.replies.catalogue`.
"""

from __future__ import annotations

from typing import Final

from gatepost.analysis.replies.entry import ReplyEntry, entry

_NOTHING: Final = "Nothing to do."
_CLIENT: Final = "Correct the client. `gatepost trace search --event REFUSE` finds the session with its dialogue."
_ORDER: Final = "The client sends commands in an order that SMTP does not allow (RFC 5321 section 4.1.4)."
_LIMIT: Final = "If the client is one of yours, raise `{}` in `[limits]`; otherwise it protects the gateway."

SUCCESSES: Final[tuple[ReplyEntry, ...]] = (
    entry("220", "… ESMTP gatepost", cause="The greeting: the gateway takes commands.", cure=_NOTHING),
    entry(
        "220",
        "ESMTP gatepost, go on as this client",
        cause="XCLIENT was accepted: from now on the session is that of the client it names.",
        cure=_NOTHING,
    ),
    entry("220 2.0.0", "Ready to start TLS", cause="STARTTLS was accepted; the handshake follows.", cure=_NOTHING),
    entry("214 2.0.0", "This server implements SMTP (RFC 5321)", cause="The reply to HELP.", cure=_NOTHING),
    entry("221 2.0.0", "Closing connection", cause="The reply to QUIT.", cure=_NOTHING),
    entry("235 2.7.0", "Authentication successful", cause="The user is logged in.", cure=_NOTHING),
    entry("250", "…", cause="The reply to HELO, or to EHLO with the list of extensions.", cure=_NOTHING),
    entry("250 2.0.0", "OK", cause="The command was carried out (NOOP, RSET).", cure=_NOTHING),
    entry("250 2.0.0", "Chunk received", cause="A chunk of BDAT arrived; more follow.", cure=_NOTHING),
    entry("250 2.0.0", "Message accepted", cause="The message was accepted.", cure=_NOTHING),
    entry(
        "250 2.0.0",
        "Queued as …",
        cause="The message is stored and survives a power cut. The reply names its queue id.",
        cure="`gatepost trace show ID` shows what happened to it since.",
    ),
    entry("250 2.1.0", "Sender OK", cause="MAIL was accepted.", cure=_NOTHING),
    entry("250 2.1.5", "Recipient OK", cause="RCPT was accepted.", cure=_NOTHING),
    entry(
        "252 2.0.0",
        "Cannot verify the address, but will accept mail and attempt delivery",
        cause="The reply to VRFY: the gateway tells nobody which addresses exist.",
        cure="Try RCPT, or ask `gatepost explain` as an administrator.",
    ),
    entry("354", "Start mail input; end with <CRLF>.<CRLF>", cause="The reply to DATA.", cure=_NOTHING),
)

CONNECTIONS: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "421 4.3.0",
        "Temporary server error, try again later",
        cause="The session met a fault of the gateway itself.",
        cure="The log has the fault under the session's id. Report it; clients try again by themselves.",
    ),
    entry(
        "421 4.3.2",
        "Service shutting down, try again later",
        cause="The gateway stops or restarts, or its node is drained (`gatepost node drain`).",
        cure="Clients try again by themselves. If it lasts, start the gateway, or undo the drain.",
    ),
    entry(
        "421 4.4.2",
        "Timed out waiting for your next command",
        cause="The client sent nothing for `idle_timeout`, or no whole command for `command_timeout`.",
        cure=f"Look for a firewall that drops packets, or a slow client. {_LIMIT.format('idle_timeout')}",
    ),
    entry(
        "421 4.4.2",
        "The message arrives more slowly than we accept",
        cause="A message came in at less than `data_rate_min` bytes a second over `data_rate_period`.",
        cure="Correct the line of the client, or lower `data_rate_min` in `[limits]`.",
    ),
    entry(
        "421 4.4.2",
        "The session has lasted as long as we allow",
        cause="The session is older than `session_time`.",
        cure="The client opens a new one. Raise `session_time` in `[limits]` if yours needs longer.",
    ),
    entry(
        "421 4.7.0",
        "…, try again later",
        cause="Too many connections are open, in all (`connections`) or from one source (`connections_per_source`), "
        "or the gateway takes none now and says why.",
        cure=f"The client tries again by itself. {_LIMIT.format('connections_per_source')}",
    ),
    *(
        entry(
            f"{code} 4.7.0",
            f"Too many … {where}, try again later",
            cause=f"A client that no connector knows did too much: {what}, {by} (`[rates]`). The limits are tighter "
            "while the gateway is short of something; `gatepost status` says so.",
            cure="The client tries again by itself. Name a partner's addresses or certificate in a connector: known "
            "clients have no such limit. Or raise `[rates]`.",
        )
        for code, what in (
            (421, "connections, TLS handshakes or protocol errors"),
            (450, "messages or recipients"),
            (454, "failed log-ins"),
        )
        for where, by in (("from … in a minute", "by its address alone"), ("at the moment", "with all others"))
    ),
    entry(
        "421 4.7.0",
        "Too many errors, closing",
        cause="The session had more protocol errors than `errors` allows.",
        cure=_CLIENT,
    ),
    entry(
        "421 4.7.0",
        "Too many commands without mail, closing",
        cause="The client sent more NOOP, RSET, VRFY and the like than `commands_without_mail` allows.",
        cure=f"{_CLIENT} Or raise `commands_without_mail` in `[limits]`.",
    ),
    entry(
        "421 4.7.0",
        "Too many transactions in one session, closing",
        cause="The client began more messages in one session than `transactions` allows.",
        cure=f"The client goes on in a new session. {_LIMIT.format('transactions')}",
    ),
    entry(
        "421 4.7.0",
        "Too many unknown recipients in one session, closing",
        cause="The client named more recipients that do not exist than `unknown_recipients` allows: it may be "
        "collecting addresses.",
        cure=_LIMIT.format("unknown_recipients"),
    ),
    entry(
        "421 4.7.0",
        "Too many failed log-ins in one session, closing",
        cause="Three log-ins failed in one session.",
        cure="Correct the name or password in the client.",
    ),
    entry(
        "421 4.7.0",
        "Command line does not end, closing",
        cause="The client sent far more than `command_line` octets without CRLF.",
        cure="What speaks there is no SMTP client, or is broken.",
    ),
    entry(
        "421 4.7.0",
        "This is not SMTP, closing",
        cause="The client speaks another protocol, such as HTTP: a scanner, or a web page that was tricked.",
        cure="Nothing to do, unless the client is yours: then correct the port it uses.",
    ),
    entry(
        "421 4.7.0",
        "Content may follow a refused command, closing",
        cause="The client sends content without waiting for the reply to DATA or BDAT, which was refused; it could "
        "be taken for commands.",
        cure="Nothing: the client connects again, and then sees the refusal. " + _CLIENT,
    ),
)

COMMANDS: Final[tuple[ReplyEntry, ...]] = (
    entry("500 5.5.1", "Command is not known", cause="No RFC knows this command.", cure=_CLIENT),
    entry(
        "502 5.5.1",
        "Command is not offered here",
        cause="The command exists, but the reply to EHLO does not offer it here and now (for example AUTH on port 25).",
        cure="Use the port for it: users log in on 587 or 465. " + _CLIENT,
    ),
    entry(
        "500 5.5.2",
        "Command has a bare CR or LF; lines must end in CRLF",
        "Command has a NUL or another control character",
        "Command is not valid UTF-8",
        "Command has characters beyond US-ASCII",
        cause="The line is not as SMTP demands. The gateway guesses nothing, since guessing is how mail is smuggled.",
        cure=_CLIENT,
    ),
    entry(
        "500 5.5.2",
        "Command line too long",
        cause="The line has more octets than `command_line` in `[limits]`.",
        cure=_CLIENT,
    ),
    entry(
        "501 5.5.4",
        "This command takes no arguments",
        "Syntax: EHLO domain",
        "Syntax: MAIL FROM:<address> [parameters]",
        "Syntax: RCPT TO:<address> [parameters]",
        "Syntax: BDAT size [LAST]",
        "Syntax: XCLIENT attribute=value, with ADDR",
        "Syntax: VRFY address",
        "Syntax: AUTH mechanism [initial-response]",
        cause="The command is not written as its RFC says; the text shows how.",
        cure=_CLIENT,
    ),
    entry(
        "501 5.5.4",
        "Parameter is given twice",
        "Parameter has an invalid value",
        cause="A parameter of MAIL or RCPT (SIZE, BODY, NOTIFY, …) is wrong.",
        cure=_CLIENT,
    ),
    entry(
        "555 5.5.4",
        "Parameter is not known or not offered here",
        cause="MAIL or RCPT has a parameter of an extension that the reply to EHLO does not name, such as REQUIRETLS "
        "before STARTTLS.",
        cure=_CLIENT,
    ),
    entry(
        "501 5.1.7",
        "Bad sender address syntax",
        cause="The address in MAIL is not written as RFC 5321 section 4.1.2 says.",
        cure=_CLIENT,
    ),
    entry(
        "501 5.1.3",
        "Bad recipient address syntax",
        cause="The address in RCPT is not written as RFC 5321 section 4.1.2 says.",
        cure="Correct the address.",
    ),
    entry(
        "553 5.1.7",
        "Source routes are not accepted",
        cause="The sender's address names a route (`@a,@b:user@c`), which nobody has used for decades.",
        cure=_CLIENT,
    ),
    entry(
        "553 5.1.3",
        "Source routes are not accepted",
        cause="The recipient's address names a route (`@a,@b:user@c`).",
        cure="Send to the address behind the route.",
    ),
    entry(
        "553 5.6.7",
        "Address has characters beyond US-ASCII; SMTPUTF8 is needed",
        cause="The address has letters beyond US-ASCII, and MAIL does not say SMTPUTF8.",
        cure=_CLIENT,
    ),
    entry(
        "503 5.5.1",
        "TLS is active already",
        "Send EHLO first",
        "Send MAIL first",
        "A transaction is open; end it or send RSET",
        "The message is being sent with BDAT",
        "BINARYMIME needs BDAT",
        "Already authenticated",
        cause=_ORDER,
        cure=_CLIENT,
    ),
    entry(
        "550 5.7.0",
        "You may not use XCLIENT here",
        cause="XCLIENT comes from an address that no listener names in `xclient_from`, or twice in a session.",
        cure="Add the filter's address to `xclient_from` of the listener, if it is yours, and have it open a "
        "connection for each client ([load-balancer.md](load-balancer.md)).",
    ),
    entry(
        "452 4.5.3",
        "Too many recipients",
        cause="The message has more recipients than `recipients` in `[limits]`.",
        cure="The client sends the rest in another transaction by itself.",
    ),
    entry(
        "554 5.5.1",
        "No valid recipients",
        cause="DATA or BDAT came although each RCPT was refused.",
        cure="See the replies to RCPT, in the same session.",
    ),
)

LOG_INS: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "530 5.7.0",
        "Authentication required",
        cause="Mail on a submission port (587, 465) without a log-in.",
        cure="Switch on authentication in the client. Servers send to port 25.",
    ),
    entry(
        "530 5.7.0",
        "Authentication required: the mailbox you logged in to no longer exists",
        cause="The mailbox was removed while the session was open.",
        cure="Log in to a mailbox that exists.",
    ),
    entry(
        "530 5.7.0",
        "Must issue a STARTTLS command first",
        cause="The port, or a connector for this sender, takes mail only over TLS.",
        cure="Switch on STARTTLS in the sending client or server.",
    ),
    entry(
        "538 5.7.11",
        "Encryption required for authentication: issue a STARTTLS command first",
        cause="The client wants to send its password unencrypted.",
        cure="Switch on STARTTLS in the client, or use port 465.",
    ),
    entry(
        "535 5.7.8",
        "Authentication credentials invalid",
        cause="The password or token is wrong, or no mailbox has this name. The reply does not say which.",
        cure="`gatepost trace search --event REFUSE` shows the reason. `gatepost mailbox password` sets a password.",
    ),
    entry(
        "535 5.7.8",
        "Channel binding does not match; a proxy that ends TLS may stand between",
        cause="The client binds its log-in (SCRAM-…-PLUS) to another TLS session than the gateway has.",
        cure="Somebody between ends TLS: take the proxy away, or find out who attacks.",
    ),
    entry(
        "454 4.7.0",
        "Too many failed log-ins, try again later",
        cause="Too many log-ins failed for this name or from this address; nobody is heard for a while.",
        cure="Correct the password in all clients of the mailbox, then wait.",
    ),
    entry(
        "454 4.7.0",
        "Temporary authentication failure, try again later",
        cause="Too many log-ins wait for their password to be checked, or the issuer's keys cannot be fetched.",
        cure="The client tries again. If it lasts, the trace has the reason; `gatepost issuer check` tries the issuer.",
    ),
    entry(
        "504 5.5.4",
        "Mechanism is not offered here",
        cause="The client chose a mechanism (such as CRAM-MD5) that the reply to EHLO does not name.",
        cure="Choose PLAIN over TLS, SCRAM-SHA-256 or OAuth in the client ([submission.md](submission.md)).",
    ),
    entry(
        "500 5.5.6", "Authentication exchange line is too long", cause="A response has too many octets.", cure=_CLIENT
    ),
    entry("501 5.0.0", "Authentication cancelled", cause="The client cancelled the log-in with `*`.", cure=_NOTHING),
    entry(
        "501 5.5.2",
        "Response is not base64",
        "Authentication message is malformed",
        cause="The client does not follow the mechanism that it chose.",
        cure=_CLIENT,
    ),
)

CONTENT: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "552 5.3.4",
        "Message is larger than the announced SIZE",
        cause="The message is larger than `message_bytes` in `[limits]`, or than MAIL said.",
        cure="Send a smaller message, or raise `message_bytes`.",
    ),
    entry(
        "552 5.3.4",
        "The header section of the message is larger than we accept",
        cause="The header section has more octets than `header_bytes` in `[limits]`.",
        cure="Send to fewer visible recipients, or raise `header_bytes`.",
    ),
    entry(
        "554 5.6.0",
        "Message contains a bare CR or LF; lines must end in CRLF",
        "Message contains a NUL octet",
        cause="The content is not as RFC 5321 demands, and repairing it is how mail is smuggled.",
        cure="Correct the program that makes the message.",
    ),
    entry(
        "554 5.6.0",
        "Message contains a line longer than is allowed here",
        cause="A line is longer than `text_line` in `[limits]`, which is set here.",
        cure="Correct the program that makes the message, or raise `text_line`.",
    ),
    entry(
        "554 5.5.0",
        "Message is sent in too many chunks",
        cause="The message came in more BDAT commands than `bdat_chunks` in `[limits]`.",
        cure=_CLIENT,
    ),
)

TABLES: Final = (SUCCESSES, CONNECTIONS, COMMANDS, LOG_INS, CONTENT)
