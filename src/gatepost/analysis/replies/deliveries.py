"""The replies that the queue and the trace record of deliveries, beside those of other servers. Pure tables.

Used by `analysis.replies.catalogue`. A deferral ("4xx") waits and is tried again; at expiry its twin of class 5 goes
to the sender.
"""

from __future__ import annotations

from typing import Final

from gatepost.analysis.replies.entry import ReplyEntry, entry

_AGAIN: Final = "The gateway tries again by itself; `gatepost queue retry` does it now."

MAILBOXES: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "250 2.0.0", "Delivered to the mailbox", cause="The message is in the Maildir, durably.", cure="Nothing to do."
    ),
    entry(
        "452 4.2.2",
        "Mailbox full",
        cause="The quota of the mailbox's file system or account is used up.",
        cure="Free space in the mailbox, or raise its quota.",
    ),
    entry(
        "451 4.3.0",
        "Mailbox temporarily unavailable",
        cause="The Maildir cannot be written: rights, a missing disk, a read-only file system.",
        cure="The trace has the error. The folder must belong to the gateway's account.",
    ),
    entry(
        "550 5.1.1",
        "Mailbox unknown",
        cause="The mailbox was removed after the message was accepted.",
        cure="Add the mailbox again and have the message sent again.",
    ),
)

ROUTES: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "550 5.1.3",
        "The address has no domain",
        cause="The recipient's address has no domain to route by.",
        cure="Correct the address.",
    ),
    entry(
        "553 5.1.3",
        "The address cannot be written in a command",
        cause="The address holds characters that SMTP cannot carry to this host.",
        cure="Correct the address.",
    ),
    entry(
        "450 4.3.5",
        "The organization of the message is not configured",
        cause="The organization was removed while its mail was queued.",
        cure="Add it again, or return its mail (`gatepost queue return`).",
    ),
    entry(
        "450 4.3.5",
        "The connector that a mail flow rule names is disabled",
        cause="A rule sends the mail by a connector that is switched off, and no other way is allowed.",
        cure="Enable the connector, or change the rule.",
    ),
    entry(
        "450 4.3.5",
        "The mail belongs to another node, and this gateway belongs to no site",
        cause="The organization has a `home`, and this gateway did not join the site.",
        cure="Join the site (`gatepost site join`), or take `home` out ([site.md](site.md)).",
    ),
    entry(
        "450 4.3.5",
        "Two organizations here claim this domain: mail waits until one gives it up",
        cause="Two organizations have the same accepted domain, or one below the other's.",
        cure="Remove it from one of them ([domains.md](domains.md)).",
    ),
    entry(
        "450 4.3.5",
        "The connector expects a name that is not known",
        cause="A connector demands domain validation, and neither `tls_domain` nor the host gives a name to check.",
        cure="Set `tls_domain` of the connector.",
    ),
    entry(
        "450 4.3.5",
        "System incorrectly configured",
        cause="A certificate, key or file with trust anchors of the gateway cannot be read.",
        cure="The queue names file and connector. `gatepost doctor` checks them all.",
    ),
    entry(
        "450 4.3.5",
        "The next hop is not a node of this site: it does not offer XGATEPOST",
        cause="The address of a node leads to another server, or to an older version.",
        cure="Correct the node's address, or bring both to the same version ([internal-hops.md](internal-hops.md)).",
    ),
    entry(
        "550 5.1.2",
        "The domain does not exist",
        cause="The DNS says that the recipient's domain does not exist.",
        cure="Correct the address. For a domain that exists, ask its administrators why it is not in the DNS.",
    ),
    entry(
        "550 5.1.2",
        "The domain cannot be looked up",
        cause="The domain is no name that the DNS could hold.",
        cure="Correct the address.",
    ),
    entry(
        "556 5.1.10",
        "The domain does not accept mail (null MX)",
        cause="The domain publishes that it takes no mail (RFC 7505).",
        cure="Use another address of the recipient.",
    ),
    entry(
        "550 5.4.4",
        "Unable to route: the next hop has no address",
        cause="None of the domain's MX hosts has an address.",
        cure="The recipient's administrators must correct their MX records.",
    ),
    entry(
        "450 4.4.312",
        "DNS query failed",
        "DNS query failed: the next hop has no address",
        cause="No nameserver answered, or the host that a connector names has no address. The queue names the "
        "nameserver and its error.",
        cure="Check that the nameservers in `[dns]` answer for other names. If so, those of the recipient's domain are "
        "down; for a smart host, correct its name.",
    ),
    entry(
        "450 4.4.5",
        "The MTA-STS policy cannot be fetched now",
        cause="The gateway knows no policy of the domain and could not fetch one: many other policy hosts do not "
        "answer, or it had no file descriptor or memory left (the queue says so). Without the policy the mail must not "
        "leave.",
        cure=f"{_AGAIN} If it lasts, let this machine reach other hosts over HTTPS (port 443), or stop the mail to "
        "many domains whose policy hosts do not answer. For file descriptors, raise `LimitNOFILE` of the service.",
    ),
    entry(
        "450 4.4.4",
        "Unable to route: the next hop has no public address, and none among [network] tenants_may_reach",
        cause="An organization named a host in a private network, which the gateway's owner did not allow.",
        cure="The owner adds the network to `tenants_may_reach`, or the organization names another host.",
    ),
    entry(
        "554 5.4.6",
        "Mail for the domain loops back to us",
        cause="The domain's MX record leads to this gateway, which has no accepted domain of that name.",
        cure="Add the accepted domain, or correct the MX record. For an address behind NAT, set `own_addresses`.",
    ),
)

CONNECTIONS: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "450 4.4.315",
        "Connection timed out",
        cause="The host does not answer: it is down, or a firewall drops packets. Many providers block port 25 "
        "outwards.",
        cure=f"Make sure that this machine may connect to port 25 (`gatepost doctor` tries). {_AGAIN}",
    ),
    entry(
        "450 4.4.316",
        "Connection refused",
        cause="The host answers, and nothing listens on the port.",
        cure=f"The host's administrators must start its mail server, or let this gateway in. {_AGAIN}",
    ),
    entry(
        "450 4.4.317",
        "Cannot connect to remote server",
        cause="No route to the host, or no TLS could be agreed with it where nothing else is known.",
        cure=f"The trace has the error of the system. {_AGAIN}",
    ),
    entry(
        "450 4.4.318",
        "Connection was closed abruptly",
        "Connection was closed abruptly while …",
        "… while waiting for the reply to …",
        "… while sending the message",
        cause="The connection ended, or timed out, in the middle of a session. Before the text stands what happened "
        "(4.4.315 for a time-out).",
        cure=f"The log of the other host says why. A firewall that inspects SMTP is a frequent cause. {_AGAIN}",
    ),
    entry(
        "450 4.5.0",
        "The next hop broke the protocol",
        cause="The host's replies are not SMTP, or it put commands into the plain text before TLS (an attack that "
        "RFC 3207 describes).",
        cure="The trace shows the dialogue. Find out what stands between the two hosts.",
    ),
    entry(
        "450 4.x.y",
        "The host refused to talk to us: …",
        cause="The greeting or the reply to EHLO was a refusal; its text follows.",
        cure="Read the host's text: often this machine's address is on a block list, or has no PTR record "
        "(`gatepost doctor` checks it).",
    ),
    entry(
        "450 4.7.0",
        "The node turned us away with: …",
        cause="Another node of the site refused this one.",
        cure="`gatepost site status` on both nodes; renew certificates, bring both to the same version.",
    ),
    entry(
        "450 4.7.8",
        "Cannot log in to the next hop: …",
        cause="A smart host refused the connector's log-in, or there is no secret, or the host did not prove its name; "
        "the text says which.",
        cure="Correct the log-in (`gatepost connector secret`, [smart-hosts.md](smart-hosts.md)).",
    ),
    entry(
        "450 4.7.0",
        "Cannot log in to the next hop: …",
        cause="The log-in failed for a reason that passes, such as a token issuer that does not answer.",
        cure=_AGAIN,
    ),
    entry(
        "450 4.x.y",
        "The next hop did not answer a moment ago",
        cause="Other mail, of another organization, failed there just now; this message was not tried. The codes are "
        "those of that failure.",
        cure=_AGAIN,
    ),
)

CONTENT: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "450 4.7.5",
        "Encryption needed (S/MIME), no usable certificate of the recipient",
        cause="A connector or rule demands encryption with S/MIME, and there is no valid certificate of the recipient.",
        cure="`gatepost smime recipient add` ([smime.md](smime.md)). The message leaves then by itself.",
    ),
    entry(
        "450 4.7.5",
        "Signature needed (S/MIME), no usable certificate for the author",
        cause="A connector or rule demands a signature with S/MIME, and there is no valid identity of the author.",
        cure="`gatepost smime identity add` ([smime.md](smime.md)).",
    ),
    entry(
        "451 4.3.0",
        "The message must be protected by S/MIME, which is not possible just now",
        cause="The sealed keys cannot be opened, or signing or encryption failed.",
        cure="The log names the cause; check `master_key` in `[store]`.",
    ),
    entry(
        "552 5.3.4",
        "Message too large to be protected by S/MIME",
        cause="The message is larger than `max_size` in `[smime]`.",
        cure="Send a smaller message, or raise `max_size`.",
    ),
    entry(
        "451 4.7.5",
        "The message cannot be signed now",
        cause='No DKIM key of the domain can be used, and the organization says `dkim_key_unavailable = "defer"`.',
        cure="`gatepost dkim list` shows the keys; check `master_key` in `[store]` ([dkim.md](dkim.md)).",
    ),
    entry(
        "554 5.6.3",
        "Conversion required but not supported: the next hop does not offer BINARYMIME",
        cause="The message has binary content that the next host cannot take, and the gateway changes no content.",
        cure="The sender's program must send in base64.",
    ),
    entry(
        "553 5.6.7",
        "SMTPUTF8 needed but the next hop does not offer it",
        cause="An address or the header has letters beyond US-ASCII, which the next host cannot take.",
        cure="Use addresses in US-ASCII, if sender and recipient have such.",
    ),
    entry(
        "552 5.3.4",
        "Message is larger than the next hop accepts",
        cause="The next host announced a smaller SIZE.",
        cure="Send a smaller message, or ask the recipient's administrators to allow more.",
    ),
    entry(
        "554 5.7.30",
        "REQUIRETLS needed but the next hop does not offer it",
        cause="The sender asked for REQUIRETLS (RFC 8689), which the next host does not know.",
        cure="Send the message without the request ([requiretls.md](requiretls.md)).",
    ),
)

QUEUE: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "451 4.3.0",
        "No attempt was made",
        cause="The attempt ended before the message's turn came, for example because the gateway stopped.",
        cure=_AGAIN,
    ),
    entry(
        "451 4.4.2",
        "The reply to the message did not come before a stop, it may arrive twice",
        cause="The message was sent completely, and the gateway stopped before the other host replied.",
        cure="Nothing to do. The gateway sends it again rather than lose it.",
    ),
    entry(
        "451 4.3.0",
        "It failed, and the notice for its sender cannot be made yet",
        cause="The delivery failed for good, but the notice (DSN) cannot be stored; nothing fails without one.",
        cure="The alarm `notice-missing` and the log have the reason.",
    ),
    entry(
        "451 4.3.0",
        "The attempt failed for a reason of our own",
        cause="A fault of the gateway itself.",
        cure="The log has the error under the delivery's number. Report it.",
    ),
    entry(
        "451 4.3.0",
        "The stored message cannot be read",
        cause="A file or row of the message is missing or damaged.",
        cure="`gatepost store check` finds what is not whole; restore it from a backup ([backup.md](backup.md)).",
    ),
    entry(
        "550 5.3.0",
        "…",
        cause="An administrator returned the message (`gatepost queue return`); the text is theirs.",
        cure="Ask the administrator. The audit log names them.",
    ),
    entry(
        "550 5.x.y",
        "Message expired, …",
        cause="The message waited longer than `message_expiration`. Code and text are those of its last attempt: "
        "450 4.7.320 becomes 550 5.7.320.",
        cure="Look up the code with class 4 on this page; then send the message again.",
    ),
    entry(
        "550 5.4.7",
        "Message expired, …",
        cause="The message waited longer than `message_expiration`, and the reply to its last attempt had no enhanced "
        "status code.",
        cure="Read the text after the comma, which is that reply's; then send the message again.",
    ),
    entry(
        "… x.y.z",
        "Taken over for the recipient's organization",
        "Cannot establish a session as required",
        "Certificate validation failed",
        "Cannot log in to the next hop",
        "Remote certificate failed MTA-STS validation",
        "The mail cannot be handed over to the recipient's organization now",
        "The recipient's organization, or its server, did not take the mail",
        cause="The recipient's organization on this gateway decides where its mail goes. The sender's organization "
        "sees code and status, and nothing that names hosts or connectors of the other.",
        cure="The recipient's organization, or the gateway's owner, sees the whole reply under the same queue id.",
    ),
    entry(
        "4xx/5xx x.y.z",
        "…",
        cause="Another server's reply, as it came. 552 to RCPT counts as 452, as RFC 5321 section 4.5.3.1.10 asks.",
        cure="Read the server's text; RFC 3463 explains its enhanced status code.",
    ),
)

TABLES: Final = (MAILBOXES, ROUTES, CONNECTIONS, CONTENT, QUEUE)
