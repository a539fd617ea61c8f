"""Limits and timeouts of mail: the tables `[limits]`, `[rates]`, `[queue]`, `[outbound]`, `[quarantine]`.

A part of `settings.model`, read with it.
"""

from __future__ import annotations

from typing import Annotated

from gatepost.policy.connectors.fields import Duration, Length, Range, Size, Switch, Whole
from gatepost.policy.connectors.resources import PrefixLimits
from gatepost.policy.connectors.units import format_duration, format_size
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.settings.section import Section, setting
from gatepost.values import copy_fields

Seconds = Annotated[Duration, Range(0.001, 86400, format_duration)]
Count = Annotated[Whole, Range(1, 1_000_000)]


class Limits(Section):
    """Limits on the resources that other servers and clients can use."""

    connections: Count = setting(
        default=5000, description="Inbound connections per worker (Exchange's Receive connector: 5000)."
    )
    connections_per_source: Count = setting(
        default=100,
        description="Inbound connections per worker from one IPv4 address or IPv6 /64 (Exchange: 20 and 2 %; large "
        "senders open more).",
    )
    idle_timeout: Seconds = setting(
        default=300,
        description="Time limit for the client's next bytes (RFC 5321 section 4.5.3.2.7: 5 minutes at least). A TLS "
        "handshake must be complete within a minute, of an unknown client in as little as 10 s under load.",
    )
    command_timeout: Seconds = setting(
        default=300,
        description="Time limit for the client's next complete command, however many bytes arrive meanwhile.",
    )
    session_time: Seconds = setting(default=3600, description="Longest session (Exchange: 10 minutes).")
    data_rate_min: Annotated[Whole, Range(0, 1_000_000)] = setting(
        default=100, description="Minimum rate of a message in bytes per second; 0: no check (our choice)."
    )
    data_rate_period: Seconds = setting(
        default=60, description="Period over which data_rate_min is measured (our choice)."
    )
    command_line: Annotated[Whole, Range(512, 65536)] = setting(
        default=4096,
        description="Maximum octets of a command with its CRLF (RFC 5321 section 4.5.3.1.4: 512, plus what the "
        "extensions add).",
    )
    text_line: Annotated[Whole, Range(0, 1_000_000)] = setting(
        default=0,
        description="Maximum octets of a message line; 0: any length (RFC 5321 section 4.5.3.1.6: 1000; longer ones "
        "are common, and cost no memory here).",
    )
    header_bytes: Annotated[Size, Range(1024, 1 << 24, format_size)] = setting(
        default=262144, description="Maximum size of a message's header section (Exchange: 256 KB)."
    )
    message_bytes: Annotated[Size, Range(65536, 1 << 40, format_size)] = setting(
        default=52428800,
        description="Maximum size of a message, announced as SIZE (RFC 1870; Exchange Online: 150 MB at most).",
    )
    recipients: Annotated[Whole, Range(100, 1_000_000)] = setting(
        default=1000,
        description="Maximum recipients of a message (RFC 5321 section 4.5.3.1.8: 100 at least; Exchange Online: "
        "1000). Further ones get 452 4.5.3.",
    )
    errors: Annotated[Whole, Range(1, 1000)] = setting(
        default=10, description="Protocol errors in a session before 421 4.7.0 (Exchange: 5, Postfix: 20)."
    )
    unknown_recipients: Annotated[Whole, Range(0, 1_000_000)] = setting(
        default=100,
        description="Unknown recipients (550 5.1.1) in a session of an unknown server before 421 4.7.0, against "
        "harvesting of addresses (Postfix: 20 errors of any kind); 0: no limit.",
    )
    commands_without_mail: Count = setting(
        default=100,
        description="NOOP, RSET, VRFY and similar commands since the last message before 421 4.7.0 (Postfix: 100).",
    )
    bdat_chunks: Count = setting(
        default=20000, description="BDAT commands per message (RFC 3030; our choice: chunks of 8 KB are common)."
    )
    transactions: Count = setting(default=1000, description="Messages per session (our choice).")
    discard_bytes: Size = setting(
        default=67108864,
        description="How much a session may still send of a message that was already refused (our choice: more than a "
        "message may have).",
    )
    hops: Annotated[Whole, Range(10, 1000)] = setting(
        default=30,
        description="Number of Received fields at which a message counts as a loop (RFC 5321 section 6.3; Exchange "
        "Server: 30).",
    )
    sender_ip_prefix: Annotated[Whole, Range(0, 32)] = setting(
        default=24,
        description="Widest IPv4 network that an inbound connector may name, as its prefix length (Exchange: /24).",
    )
    sender_ip6_prefix: Annotated[Whole, Range(0, 128)] = setting(
        default=48, description="The same for IPv6 (our choice: /48 is the smallest network that is routed alone)."
    )
    organization_bytes: Annotated[Size, Range(65536, 1 << 30, format_size)] = setting(
        default=8388608,
        description="Largest organization, with all its resources as JSON, that its own administrators can store (our "
        "choice: 10,000 connectors are about 5 MB), and 64 KB beyond that for changes that add no resource. Every "
        "worker keeps it in memory. Administrators of the whole gateway can store larger ones.",
    )
    tenant_records_per_day: Annotated[Size, Range(0, 1 << 40, format_size)] = setting(
        default=536870912,
        description="How much one organization's administrators can add to history and audit log in a day, at each "
        "node: each recorded call counts with 8 KB, a change of resources also with the organization before and after "
        "it, a drill with its result. Further calls are refused until later (429). The last quarter is left "
        "to calls of users, such as holding or deleting a message. 0: no limit (our choice).",
    )

    def smtp(self) -> SmtpLimits:
        """The part that the SMTP core applies."""
        return copy_fields(SmtpLimits, self)

    def prefixes(self) -> PrefixLimits:
        """The part that `policy.connectors.model.parse` applies."""
        return PrefixLimits(ipv4=self.sender_ip_prefix, ipv6=self.sender_ip6_prefix)


Rate = Annotated[Whole, Range(0, 100_000_000)]


class Rates(Section):
    """Limits a minute for unknown clients, in each worker; they tighten while it is short of resources.

    Known clients are those that a connector names by address, those that a connector, a log-in or the site identified
    within a day, and this host. The unknown ones of an IPv6 /48 have together five times the limit of a source.
    """

    connections_per_source: Rate = setting(
        default=600,
        description="Connections from one IPv4 address or IPv6 /64. A source may use ten seconds' worth at once.",
    )
    connections: Rate = setting(
        default=12_000,
        description="Connections from all unknown clients. Together they may use two seconds' worth at once.",
    )
    handshakes_per_source: Rate = setting(default=600, description="TLS handshakes with one source.")
    handshakes: Rate = setting(default=6000, description="TLS handshakes with all unknown clients.")
    messages_per_source: Rate = setting(default=6000, description="Messages from one source (Postfix: no limit).")
    messages: Rate = setting(default=120_000, description="Messages from all unknown clients.")
    recipients_per_source: Rate = setting(default=60_000, description="Recipients named by one source.")
    recipients: Rate = setting(default=1_200_000, description="Recipients named by all unknown clients.")
    errors_per_source: Rate = setting(
        default=600, description="Protocol errors of one source; beyond them it cannot connect either."
    )
    errors: Rate = setting(default=60_000, description="Protocol errors of all unknown clients.")
    failed_logins_per_source: Rate = setting(
        default=60,
        description="Failed log-ins from one source; after five, at all workers together, it must wait, longer each "
        "time.",
    )
    failed_logins: Rate = setting(
        default=1000, description="Failed log-ins from all unknown clients, against guessing from many addresses."
    )
    refusals_per_source: Rate = setting(
        default=300,
        description="Refusals of one source that get a row in trace and evidence; the rest is only counted. For a "
        "known client ten times as many.",
    )
    refusals: Rate = setting(default=3000, description="The same for all unknown clients together.")
    memory_mark: Annotated[Whole, Range(0, 99)] = setting(
        default=90,
        description="The limits tighten when more than this percentage of the memory of the machine or container "
        "is in use. 0: never.",
    )
    commit_mark: Annotated[Duration, Range(0, 3600, format_duration)] = setting(
        default=1, description="The limits tighten when messages wait longer than this to be stored. 0: never."
    )
    delay_mark: Annotated[Duration, Range(0, 3600, format_duration)] = setting(
        default=0.002,
        description="The limits tighten when a worker is later than this most of the time because of its own work. "
        "A larger value accepts more from unknown clients, and known ones wait longer. 0: never. They "
        "also tighten when less than four times store.free_space is free.",
    )

    def of(self, limit: str) -> tuple[int, int]:
        """The limits a minute of one source and of all, by the name of the latter; 0 is no limit."""
        return getattr(self, f"{limit}_per_source"), getattr(self, limit)


class Queue(Section):
    """Retries of queued mail, and limits of the queue."""

    retry: Annotated[tuple[Annotated[Duration, Range(1, 86400, format_duration)], ...], Length(1, 100)] = setting(
        default=(900, 900, 3600),
        description="Waits between attempts; the last one repeats (Exchange Online after a failed DANE check: 15 min, "
        "15 min, then hourly).",
    )
    message_expiration: Annotated[Duration, Range(1, 1209600, format_duration)] = setting(
        default=86400,
        description="How long the gateway tries to deliver a message before it returns it (Exchange Online: 24 h). An "
        "organization can override it.",
    )
    delay_notice: Annotated[Duration, Range(0, 1209600, format_duration)] = setting(
        default=14400, description="When to notify the sender of a delay, once; 0: never (Exchange Server: 4 h)."
    )
    connections_per_destination: Annotated[Whole, Range(1, 1000)] = setting(
        default=20,
        description="Connections to one next hop at the same time, including idle ones, for all domains that lead "
        "there: to the smart hosts of a connector together, or to the MX hosts that domains share "
        "(Exchange's Send connector: 20). The limit is for the node, or for the site where nodes share a queue in "
        "PostgreSQL: workers share it, and each has at least one.",
    )
    messages_per_minute_per_destination: Annotated[Whole, Range(0, 1_000_000)] = setting(
        default=0,
        description="Messages to one next hop in a minute, of all organizations together; a connector's "
        "max_messages_per_minute comes before it. Mail beyond it waits, without a failed attempt. 0: "
        "no limit.",
    )
    connections: Count = setting(
        default=1000,
        description="Active outbound connections in total (Exchange's Send connectors: 1000). The limit is for the "
        "node: workers share it, and each has at least one. Of several organizations, each has three "
        "quarters at most, and a few always stay free for others.",
    )
    lane_wait: Seconds = setting(
        default=0.02,
        description="How long mail waits for a busy connection to its next hop before another one is opened (our "
        "choice).",
    )
    window_messages: Count = setting(
        default=20000,
        description="Deliveries that a worker keeps in memory; the others wait in the store (our choice). Of "
        "several organizations, each has three quarters at most, and some room always stays free for "
        "others.",
    )
    window_per_destination: Count = setting(
        default=1000, description="The part of them for one domain; four times as many for one next hop (our choice)."
    )
    window_bytes: Size = setting(default=67108864, description="Bodies kept in memory with them (our choice).")
    idle_connection: Seconds = setting(
        default=30, description="How long an idle outbound connection is kept for the next message (our choice)."
    )
    idle_connections: Count = setting(default=500, description="Idle outbound connections of each worker (our choice).")
    messages_per_connection: Count = setting(
        default=100, description="Messages over one outbound connection (Exchange: 20; many more save handshakes)."
    )
    paused: Switch = setting(
        default=False,
        description="Accept and queue mail, but deliver nothing, for example during maintenance elsewhere.",
    )


class Outbound(Section):
    """Time limits for sending. The defaults are the minimum of RFC 5321 section 4.5.3.2."""

    connect_timeout: Seconds = setting(default=30, description="For TCP (the RFC names none).")
    greeting_timeout: Seconds = setting(default=300, description="For the greeting.")
    hello_timeout: Seconds = setting(default=300, description="For the reply to EHLO.")
    handshake_timeout: Seconds = setting(default=60, description="For TLS (the RFC names none).")
    envelope_timeout: Seconds = setting(default=300, description="For the replies to MAIL and RCPT.")
    recipient_timeout: Seconds = setting(default=5, description="Added for each recipient beyond the first.")
    data_timeout: Seconds = setting(default=120, description="For the reply to DATA.")
    block_timeout: Seconds = setting(default=180, description="For the peer to take 256 KB of a message.")
    end_timeout: Seconds = setting(default=600, description="For the reply to the end of a message.")
    private_policy_hosts: Switch = setting(
        default=False,
        description="Also fetch MTA-STS policies from hosts at private addresses, and send TLS reports to them. "
        "Anyone who has a domain can then make the gateway connect to hosts of your network. For other "
        "hosts that tenants name, see [network] tenants_may_reach.",
    )


class Quarantine(Section):
    """Limits of the quarantine (docs/quarantine.md). Each organization has its own quarantine in the queue."""

    messages: Annotated[Whole, Range(1, 100_000)] = setting(
        default=10_000,
        description="How many messages an organization may have in quarantine; a message to several recipients "
        "counts once for each. When it is full, the gateway asks senders of further messages to try "
        "again later (452).",
    )
    size: Annotated[Size, Range(1 << 20, 1 << 40, format_size)] = setting(
        default=1 << 30, description="The same for the total size of the messages."
    )
    digest_hour: Annotated[Whole, Range(0, 23)] = setting(
        default=6,
        description="The hour (UTC) from which the daily lists for recipients are sent, where an organization has "
        "quarantine_digest.",
    )
