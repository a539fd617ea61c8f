"""Alarms about users and own servers that reached a daily limit, or send far more than they usually do. Pure.

Called by `analysis.alarms.mail_flow`; `analysis.reports.mail_facts` reads what they sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm
from gatepost.quantity import quantity

_TIMES: Final = 5  # what was sent on the busiest day before
_LEARNT: Final = 7  # days after the first one that was counted, before which nothing is known of what is usual


class NotableSender(msgspec.Struct, frozen=True):
    """A user or own server that reached a limit today (UTC), or sent much.

    subject: as `policy.decisions.daily_limits.DailyLimit`. breach: the reply that told it of its limit, "" if none did.
    recipients: today. busiest: on one of the five weeks before. days: since it was first counted in them; of a user,
    since anybody of its organization was, as an account that never sent is stolen, too, and those without a limit.
    """

    organization: str
    subject: str
    breach: str = ""
    recipients: int = 0
    busiest: int = 0
    days: int = 0


def judge_senders(senders: Sequence[NotableSender], unusual: int) -> Iterator[Alarm]:
    """One for each sender. unusual: recipients a day from which on it is compared with the days before; 0: never."""
    for sender in senders:
        if sender.breach:
            yield _limited(sender)
        elif unusual and _is_unusual(sender, unusual):
            yield _unusual(sender)


def _is_unusual(sender: NotableSender, unusual: int) -> bool:
    return sender.days >= _LEARNT and sender.recipients >= unusual and sender.recipients > _TIMES * sender.busiest


def _limited(sender: NotableSender) -> Alarm:
    kind, _space, name = sender.subject.partition(" ")
    who = f"user {name}" if kind == "user" else f"connector {name}"
    return make_alarm(
        Kind.SENDING_LIMIT,
        Severity.CRITICAL,
        f"{sender.organization}/{sender.subject}",
        f"{who} of {sender.organization} has reached its daily sending limit",
        f"The gateway replied: {sender.breach}. It accepts more mail from this sender tomorrow (UTC). An account "
        "or a server that suddenly sends much may be in the hands of others.",
        "See what it sends. If the mail is not its own, change its password; else lift the limit for today:"
        if kind == "user"
        else "See what it sends, and from where. If the mail is not its own, disable the connector until the server is "
        "secured, and let it take only that server's certificate or address; else lift the limit for today, or raise "
        "it (messages_per_day):",
        *_commands(sender),
        command_line("gatepost", "limit", "lift", "--organization", sender.organization, named=name),
    )


def _unusual(sender: NotableSender) -> Alarm:
    kind, _space, name = sender.subject.partition(" ")
    who = f"user {name}" if kind == "user" else f"connector {name}"
    return make_alarm(
        Kind.SENDING_UNUSUAL,
        Severity.CRITICAL,
        f"{sender.organization}/{sender.subject}",
        f"{who} of {sender.organization} sends far more than usual",
        f"Today (UTC) it sent to {quantity(sender.recipients, 'recipient')}; on its busiest day of the five weeks "
        f"before, to {sender.busiest}. The gateway still accepts its mail. An account or a server that suddenly sends "
        "much may be in the hands of others.",
        "See what it sends, and from where. If the mail is not its own, change its password and hold what waits; "
        "else you need not do anything:"
        if kind == "user"
        else "See what it sends, and from where. If the mail is not its own, disable the connector until the server is "
        "secured, let it take only that server's certificate or address, and give it a daily limit "
        "(messages_per_day); else you need not do anything:",
        *_commands(sender),
    )


def _commands(sender: NotableSender) -> Iterator[str]:
    """What shows what it sends, and what stops it; of a user also what stops what waits."""
    kind, _space, name = sender.subject.partition(" ")
    words = ("gatepost", "trace", "search", "--by-message", "--since", "24h")
    if kind != "user":  # connectors of several organizations may have one name
        of = ("--organization", sender.organization)
        yield command_line(*words, *of, "--connector", name)
        yield command_line("gatepost", "connector", "switch", "disable", *of, "--direction", "inbound", named=name)
    else:
        yield command_line(*words, "--sender", name)
        yield command_line("gatepost", "mailbox", "password", named=name)
        yield command_line("gatepost", "queue", "hold", "--reason", "INCIDENT", "--sender", name)
