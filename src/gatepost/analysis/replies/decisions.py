"""The replies that configuration and policy decide: to a sender, a recipient or a whole message. Pure tables.

Used by `analysis.replies.catalogue`.
"""

from __future__ import annotations

from typing import Final

from gatepost.analysis.replies.entry import ReplyEntry, entry

_EXPLAIN: Final = "`gatepost explain --session ID` says which connector decided and why the others do not apply"

SENDERS: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "550 5.7.64",
        "TenantAttribution; Relay Access Denied",
        "TenantAttribution; Relay Access Denied: your certificate is not trusted, …",
        cause="Mail for a domain that is not accepted here, from somebody who is neither one of the organization's own "
        "servers nor logged in. The second text names what is wrong with the certificate that was presented.",
        cure=f"For an own server, correct its on-premises inbound connector (name or address); {_EXPLAIN}. For a "
        "domain of yours, add the accepted domain. Otherwise the refusal is right.",
    ),
    entry(
        "550 5.7.64",
        "Relay Access Denied ATTR36: neither the name in your certificate nor the sender's domain is accepted here",
        "Relay Access Denied ATTR36: your address is known, but the sender's domain is not accepted here",
        "Relay Access Denied ATTR36: your address is known, but the null reverse-path needs a certificate",
        cause="A connector knows the server, but neither its certificate nor the sender's domain shows which "
        "organization the mail belongs to.",
        cure="Let the server present a certificate with a name in an accepted domain, or send with a sender in one. "
        f"{_EXPLAIN}.",
    ),
    entry(
        "550 5.7.51",
        "TenantInboundAttribution; A partner connector binds this sender's domain to a certificate or address you do "
        "not have",
        "TenantInboundAttribution; A partner connector binds this sender's domain to a certificate or address you do "
        "not have: your certificate is not trusted, …",
        "TenantInboundAttribution; A partner connector binds this sender's domain to a certificate, and you presented "
        "none",
        "TenantInboundAttribution; A partner connector binds this sender's domain to a certificate, and yours bears "
        "another name",
        "TenantInboundAttribution; A partner connector binds this sender's domain to addresses, and yours is none of "
        "them",
        cause="An inbound partner connector takes mail of this domain only from agreed servers.",
        cure="If the server is the partner's, correct the certificate name or addresses of the connector, or have the "
        "partner present the agreed certificate. Otherwise somebody forges the partner.",
    ),
    entry(
        "550 5.7.68",
        "TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources",
        cause="Somebody unknown sends in the organization's own name to the organization, which it does not allow.",
        cure="Give your own device or service an inbound connector, or let it log in. Otherwise it is forged.",
    ),
    entry(
        "550 5.7.10",
        "… is required for this sender",
        cause="An inbound connector requires TLS, a TLS version, a key exchange or a cipher suite, and the session "
        "has less.",
        cure="The sender's administrators must switch it on. The trace shows what the session had.",
    ),
    entry(
        "550 5.7.60",
        "SMTP; Client does not have permissions to send as this sender",
        cause="The user is logged in and sends from an address that is not theirs.",
        cure="Send from an own address, or give the mailbox the address ([submission.md](submission.md)).",
    ),
    entry(
        "450 4.7.1",
        "… has reached its limit of … a day (UTC)",
        cause="A user or own server sent as many messages, or to as many recipients, as its daily limit allows.",
        cure="Find out whether the account was stolen. `gatepost limit lift` lifts the limit for today "
        "([sending-limits.md](sending-limits.md)).",
    ),
    entry(
        "451 4.7.5",
        "Revocation of your certificate cannot be checked now, try again later",
        cause="A connector demands that the client's certificate is not revoked, and its revocation list or OCSP "
        "responder cannot be reached.",
        cure="Let this machine reach those addresses over HTTP ([revocation.md](revocation.md)).",
    ),
    entry(
        "451 4.3.5",
        "Temporary server error, please try again later",
        cause="The client's certificate could not be judged: trust anchors of a connector cannot be read.",
        cure="The log names the file. `gatepost doctor` checks it.",
    ),
)

RECIPIENTS: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "550 5.1.1",
        "Recipient address rejected: no such mailbox here",
        cause="The domain is accepted here, and the recipient does not exist: no mailbox, and not in the list or "
        "directory of a relayed domain.",
        cure="Correct the address, or add the mailbox. `gatepost domain recipients` shows where recipients are looked "
        "up ([recipients.md](recipients.md)).",
    ),
    entry(
        "550 5.1.1",
        "Recipient address rejected: this rewritten address is not ours, or has expired",
        cause="An SRS address (`SRS0=…`) was not made here, or is too old: a late notice, or a forged one.",
        cure="Nothing to do, unless the keys were lost: `gatepost srs list` shows them.",
    ),
    entry(
        "550 5.7.1",
        "Recipient address rejected: a rewritten address accepts only notices",
        cause="Mail with a sender goes to an SRS address, which exists for notices (null reverse-path) only.",
        cure="Send to the person's own address.",
    ),
    entry(
        "451 4.4.3",
        "Recipient cannot be verified now, try again later",
        cause="The server or directory that knows the domain's recipients did not answer, and the domain says to wait "
        "then.",
        cure="Bring the server or directory back; the alarm `recipients-unknown` names it "
        "([recipients.md](recipients.md)).",
    ),
    entry(
        "451 4.3.5",
        "Two organizations here claim this domain: mail waits until the server's owner decides",
        cause="Two organizations have the same accepted domain, or one below the other's.",
        cure="Remove it from one of them ([domains.md](domains.md)).",
    ),
    entry(
        "452 4.5.3",
        "Too many recipients: send this one a separate message",
        cause="Recipients of several organizations, or with different ways through content hooks, cannot share one "
        "message.",
        cure="The client sends the rest in another transaction by itself.",
    ),
)

MESSAGES: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "554 5.7.1",
        "Message refused because of its content",
        cause="A content hook (rspamd, ClamAV) or its rule refused the message.",
        cure="The trace shows the hook and what it found. If it is wrong, correct the scanner's rules "
        "([content-hooks.md](content-hooks.md)).",
    ),
    entry(
        "451 4.7.1",
        "Message not accepted for now because of its content, try again later",
        cause="A content hook asks the sender to come back (greylisting).",
        cure="Servers try again by themselves.",
    ),
    entry(
        "451 4.7.1",
        "Message cannot be examined now, try again later",
        cause="A scanner did not answer in its time, and the content hook says to wait then.",
        cure="Start the scanner. The trace names it and its error.",
    ),
    entry(
        "552 5.3.4",
        "Message is too large to be examined",
        cause="The message is larger than `max_size` of a content hook, which refuses such messages.",
        cure="Send a smaller message, or raise `max_size` of the hook and of its scanner.",
    ),
    entry(
        "554 5.4.6",
        "Hop count exceeded - possible mail loop",
        cause="The message has passed `hops` servers (`[limits]`): it goes round.",
        cure="Find the two servers in its Received fields that send to each other, and correct one of them.",
    ),
    entry(
        "554 5.4.6",
        "Mail forwarding loop: a recipient has sent this message on already",
        cause="A forwarding leads back to the mailbox that forwards.",
        cure="Remove one of the forwardings.",
    ),
    entry(
        "554 5.4.6",
        "Journal loop: the journal mailbox sends its copies back to this gateway",
        cause="The journal mailbox forwards what it receives.",
        cure="Stop the forwarding at the journal mailbox ([journaling.md](journaling.md)).",
    ),
    entry(
        "451 4.3.0",
        "Temporary failure, the message was not queued",
        cause="The store cannot be written: PostgreSQL does not answer, or the disk has a fault.",
        cure="`gatepost status` and the log name the cause. Nothing was lost: the sender keeps the message.",
    ),
    entry(
        "452 4.3.1",
        "Insufficient system storage",
        cause="Less than `free_space` of `[store]` is free, the disk is far behind, the disk of a mailbox is full, "
        "or the organization's quarantine is.",
        cure="Free space, or release and delete what is in quarantine ([quarantine.md](quarantine.md)).",
    ),
)

NODES: Final[tuple[ReplyEntry, ...]] = (
    entry(
        "554 5.7.1",
        "This port is for nodes of one site: your certificate is not one of theirs",
        cause="Somebody who is no node of the site connects to an `internal` listener.",
        cure="If it is a node, renew its certificate (`gatepost site status`); otherwise let the firewall keep others "
        "away ([internal-hops.md](internal-hops.md)).",
    ),
    entry(
        "550 5.7.1",
        "Mail is accepted here only with XGATEPOST, which names its organization",
        cause="A node sends mail to an `internal` listener as if it were a stranger.",
        cure="Bring both nodes to the same version and configuration.",
    ),
    entry(
        "501 5.5.4",
        "XGATEPOST cannot be read",
        cause="What a node says of a message is not understood, for example from a newer version.",
        cure="Bring both nodes to the same version.",
    ),
    entry(
        "451 4.3.5",
        "The organization of this mail is not configured on this node",
        cause="Nodes have different resources.",
        cure="Apply the same resources on both nodes (`gatepost export`, `gatepost apply`).",
    ),
    entry(
        "451 4.4.6",
        "Mail loop between nodes: by the configuration here this mail belongs to another node",
        cause="Two nodes do not agree which of them is home to the organization.",
        cure="Give both the same `home` of the organization ([internal-hops.md](internal-hops.md)).",
    ),
)

TABLES: Final = (SENDERS, RECIPIENTS, MESSAGES, NODES)
