"""The public names of gatepost for Python: what docs/python.md promises, and the tables there and in docs/testing.md.

`PUBLIC` is the promise. docs.py writes the tables from it and from the code, so a signature that changes is seen in
review: tests/unit/test_public_names.py fails until `make docs` was run.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any, TypeAliasType, get_args

import msgspec

from gatepost.policy.connectors.record_base import Record
from gatepost.testing.partner import Defect

# By area, by module below gatepost: names. Public methods and attributes of a class are public with it.
PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "SMTP, the server's side": {
        "protocols.smtp.server.server": ("Server",),
        "protocols.smtp.server.events": (
            *("HelloEvent", "StartTlsEvent", "AuthEvent", "AuthResponseEvent", "MailEvent", "RecipientEvent"),
            *("DataEvent", "ChunkEvent", "MessageEvent", "AbortEvent", "AbortReason", "ErrorEvent", "QuitEvent"),
            *("XclientEvent", "Event"),
        ),
        "protocols.smtp.server.states": ("State",),
        "protocols.smtp.extensions": ("Extensions",),
        "protocols.smtp.limits": ("SmtpLimits",),
        "protocols.smtp.replies": ("Reply",),
        "protocols.smtp.grammar": ("Path", "parse_path", "GrammarError", "AddressFault"),
        "protocols.smtp.parameters": ("MailParameters", "RecipientParameters"),
    },
    "SMTP, the client's side": {
        "protocols.smtp.client.client": ("Client",),
        "protocols.smtp.client.client_events": (
            *("Greeting", "HelloDone", "StartTlsReply", "AuthReply", "BodyWanted", "TransactionDone", "ResetDone"),
            *("RecipientAnswered", "Closed", "ClientEvent"),
        ),
        "protocols.smtp.client.transaction": ("MailTransaction", "TransactionResult", "RecipientReply", "Peer"),
        "protocols.smtp.client.reply_parser": ("ProtocolError",),
    },
    "policy": {
        "policy.connectors.model": ("parse", "dump"),
        "policy.connectors.resources": ("Resources", "PrefixLimits"),
        "policy.connectors.records": ("Organization", "InboundConnector", "OutboundConnector"),
        "policy.connectors.errors": ("ResourceErrors", "FieldError"),
        "policy.connectors.directory": ("Directory",),
        "policy.connectors.facts": ("SessionFacts",),
        "policy.connectors.selection": ("select_outbound", "Selection"),
        "policy.connectors.values": ("Cleartext", "RevocationCheck"),
        "policy.connectors.mail_flow": ("Content",),
        "policy.decisions.inbound": ("decide_mail", "decide_recipient"),
        "policy.decisions.decision": ("InboundVerdict", "OutboundDecision"),
        "policy.decisions.outbound": ("required", "judge", "describe", "describe_achieved", "deferral"),
        "policy.decisions.facts": ("HopFacts",),
        "policy.decisions.requirement": (
            *("Opportunistic", "Encrypted", "Authenticated", "Identity", "StsProof", "DaneProof", "Source"),
            *("Verdict", "Achieved", "Shortfall", "TlsLevel", "MxLevel", "Proof", "Requirement"),
        ),
        "policy.decisions.explain": ("explain", "Explanation"),
        "protocols.tls.facts": ("TlsFacts", "CertificateFacts", "ChainVerdict", "ChainStatus", "Revocation"),
        "protocols.tls.limits": ("TlsLimits", "limited"),
    },
    "what domains publish and report": {
        "protocols.mtasts.record": ("parse_record", "StsRecord"),
        "protocols.mtasts.policy": ("parse_policy", "StsPolicy", "StsMode", "PolicyError", "Reason"),
        "protocols.dns.text_record": ("RecordError",),
        "protocols.dane.tlsa": (
            *("parse", "classify", "Tlsa", "Unusable", "Records", "RecordsKind", "Usage", "Selector", "MatchingType"),
        ),
        "protocols.dane.match": ("authenticate", "Presented", "Anchored", "Refusal", "DaneVerdict", "DaneFailure"),
        "protocols.tlsrpt.received": (
            *("report_part", "unpack", "parse_report", "ReceivedReport", "ReceivedPolicy", "ReceivedFailure"),
            "ReportError",
        ),
        "protocols.tlsrpt.result": ("ResultType",),
    },
    "testing": {
        "testing.gateway": ("Gateway", "CliRun"),
        "testing.resources": ("organization",),
        "testing.partner": ("Partner", "Defect"),
        "testing.sink": ("Sink", "Behaviour", "Received"),
        "testing.pki": ("Pki", "Leaf"),
        "testing.status_server": ("StatusServer",),
        "testing.signed_zone": ("SignedZones", "Zone"),
        "testing.name_server": ("DnsServer", "Query"),
        "testing.mail": ("Mail", "read_maildir"),
        "testing.process": ("FixtureError", "free_port", "wait_until"),
    },
}


def objects() -> Iterator[tuple[str, str, str, Any]]:
    """Area, module, name and what it is, of each public name. Raises AttributeError for one that is not there."""
    for area, modules in PUBLIC.items():
        for module, names in modules.items():
            loaded = import_module(f"gatepost.{module}")
            for name in names:
                yield area, module, name, getattr(loaded, name)


def members(thing: type) -> list[str]:
    """The public methods and attributes that a class has of its own or of gatepost's classes, as they are called."""
    found: dict[str, str] = {}
    for owner in reversed(thing.__mro__):
        if owner.__module__.startswith("gatepost."):
            found |= {name: name for name in attributes(owner)}
            for name, value in vars(owner).items():
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if name.startswith("_"):
                    continue
                if inspect.isfunction(function):
                    found[name] = f"{name}{signature(function)}"
                elif isinstance(value, property):
                    found[name] = name
    return [found[name] for name in sorted(found)]


def attributes(owner: type) -> dict[str, str]:
    """The public attributes that a class sets in its `__init__`, with their annotations, "" without one."""
    made = vars(owner).get("__init__")
    if not inspect.isfunction(made) or made.__code__.co_filename != inspect.getfile(owner):
        return {}  # written by a decorator: its fields are its parameters
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(made)))):
        if isinstance(node, ast.AnnAssign):
            found |= dict.fromkeys(_own(node.target), ast.unparse(node.annotation))
        elif isinstance(node, ast.Assign):
            found |= dict.fromkeys([name for target in node.targets for name in _own(target)], "")
    return found


def _own(target: ast.expr) -> list[str]:
    """The public names after `self.` in what is assigned to."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [
        part.attr
        for part in parts
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
        and not part.attr.startswith("_")
    ]


def signature(thing: Any) -> str:
    """The parameters of a function or class, without types."""
    if inspect.isclass(thing) and issubclass(thing, msgspec.Struct):  # whose types may be for type checkers alone
        names, defaults = thing.__struct_fields__, thing.__struct_defaults__
        optional = names[len(names) - len(defaults) :]
        return f"({', '.join([f'{name}=…' if name in optional else name for name in names])})"
    given = inspect.signature(thing)
    kept = [one.replace(annotation=one.empty) for one in given.parameters.values() if one.name not in {"self", "cls"}]
    shown = [one.replace(default=_Default(one.default)) if one.default is not one.empty else one for one in kept]
    return str(inspect.Signature(shown))


def is_chosen(thing: Any) -> bool:
    """Whether it is a type of which programs make no objects: they take a member, catch it, or have `parse` read it."""
    return isinstance(thing, TypeAliasType) or (inspect.isclass(thing) and issubclass(thing, Enum | Exception | Record))


class _Default:
    """A default as the table shows it: a value that is no literal is only known to be there."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return repr(self._value) if isinstance(self._value, str | int | float | None) else "…"


def table() -> str:
    """The public names, area by area."""
    lines: list[str] = []
    last = ""
    for area, module, name, thing in objects():
        if area != last:
            lines += ["", f"### {area}", "", "| from `gatepost.…` | name | meaning |", "|---|---|---|"]
            last = area
        called = name if is_chosen(thing) else f"{name}{signature(thing)}"
        meaning = meaning_of(thing)
        if inspect.isclass(thing) and not issubclass(thing, Record) and (own := members(thing)):
            meaning += " " + ", ".join(f"`{one}`" for one in own)
        lines.append(f"| `{module}` | `{called}` | {meaning} |")
    return "\n".join([*lines, "", ""])


def meaning_of(thing: Any) -> str:
    """The first line of its docstring; of an alias, what it stands for."""
    if isinstance(thing, TypeAliasType):
        return f"Any of {', '.join(f'`{one.__name__}`' for one in get_args(thing.__value__))}."
    return (inspect.getdoc(thing) or "").partition("\n")[0].replace("|", "\\|")


def defects() -> str:
    """The defects that a partner of `gatepost.testing` can have."""
    rows = [f"| `Defect.{defect.name}` | {defect.meaning} |" for defect in Defect]
    return "\n".join(["", "| defect | the partner |", "|---|---|", *rows, "", ""])
