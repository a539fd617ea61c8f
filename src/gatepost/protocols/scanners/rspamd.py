"""rspamd's protocol (rspamd.com, "Rspamd protocol", /checkv2): the fields of a request and the JSON of an answer.

Spoken over HTTP by `net.lookups.rspamd`; what is said of a message goes in, a `ScanFinding` comes out. An answer is a
stranger's text: its size is bounded by who reads it, and here everything that gets into a message or the trace is.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import msgspec

from gatepost.protocols.message.edit import EditError, HeaderEdits
from gatepost.protocols.scanners.finding import SYMBOLS, ScanAction, ScanFinding, UnusableAnswer, printable

ANSWER_OCTETS: Final = 1 << 20
"""The longest response that is read, in octets; those to real mail have some kilobytes."""

_RECIPIENTS: Final = 1000
_VALUE: Final = 1000  # characters of one field of a request
_ADDED: Final = 50
_ADDED_OCTETS: Final = 64 * 1024
_REMOVED: Final = 50
_SPAM_FIELD: Final = "X-Spam"

_ACTIONS: Final = {
    "no action": ScanAction.NO_ACTION,
    "greylist": ScanAction.GREYLIST,
    "add header": ScanAction.ADD_HEADER,
    "rewrite subject": ScanAction.REWRITE_SUBJECT,
    "soft reject": ScanAction.SOFT_REJECT,
    "reject": ScanAction.REJECT,
    # No mail vanishes here: who sent it is told.
    "discard": ScanAction.REJECT,
}


class Described(msgspec.Struct, frozen=True):
    """The facts about a message that rspamd gets besides its content; "" for those that are not known.

    user: the one who logged in. tag: the hook's organization, as "MTA-Tag", by which rspamd's settings can tell
    organizations apart. settings_id: of the settings to apply.
    """

    ip: str
    hello: str
    reverse_path: str
    recipients: tuple[str, ...]
    queue_id: str
    hostname: str
    user: str = ""
    tls_version: str = ""
    tls_cipher: str = ""
    tag: str = ""
    settings_id: str = ""


def request_fields(message: Described) -> list[tuple[str, str]]:
    """The fields of an HTTP request. Peers wrote some of the values: nothing of them ends a line."""
    said = [
        ("IP", message.ip),
        ("Helo", message.hello),
        ("From", f"<{message.reverse_path}>"),
        *(("Rcpt", f"<{recipient}>") for recipient in message.recipients[:_RECIPIENTS]),
        ("User", message.user),
        ("Queue-Id", message.queue_id),
        ("MTA-Name", message.hostname),
        ("MTA-Tag", message.tag),
        ("TLS-Version", message.tls_version),
        ("TLS-Cipher", message.tls_cipher),
        ("Settings-ID", message.settings_id),
    ]
    return [(name, printable(value, _VALUE)) for name, value in said if value]


def read_answer(body: bytes) -> ScanFinding:
    """Parse rspamd's answer. body: the whole JSON. Raises UnusableAnswer."""
    answer = _object(body)
    action, score, required = answer.get("action"), _number(answer, "score"), _number(answer, "required_score")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise UnusableAnswer(f"its action is {printable(str(action), 40)!r}, which the gateway does not support")
    symbols = answer.get("symbols", {})
    subject = answer.get("subject", "")
    messages = answer.get("messages", {})
    if not isinstance(symbols, dict) or not isinstance(messages, dict) or not isinstance(subject, str):
        raise UnusableAnswer("symbols, messages or subject are of another type")
    milter = answer.get("milter", {})
    if not isinstance(milter, dict):
        raise UnusableAnswer("milter is not an object")
    carried_out = ScanAction.NO_ACTION if milter.get("no_action") is True else _ACTIONS[action]
    try:
        edits = _edits(answer, milter, action)
        marks = _marks(milter, edits)
        HeaderEdits(subject=subject).checked()
    except EditError as error:
        raise UnusableAnswer(str(error)) from None
    return ScanFinding(
        action=carried_out,
        score=score,
        required=required,
        symbols=_symbols(symbols),
        said=printable(str(messages.get("smtp_message", ""))),
        edits=edits,
        marks=marks,
        subject=subject,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise UnusableAnswer("the answer is not JSON in UTF-8") from None
    if not isinstance(answer, dict):
        raise UnusableAnswer("the answer is not a JSON object")
    if "error" in answer and "action" not in answer:
        raise UnusableAnswer(f"rspamd says {printable(str(answer['error']))!r}")
    return answer


def _number(table: dict[str, Any], key: str) -> float | None:
    value = table.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return round(number, 2) if math.isfinite(number) else None


def _symbols(symbols: dict[str, Any]) -> tuple[str, ...]:
    """Those that weigh most, with their scores."""
    weighed = []
    for name, said in symbols.items():
        score = _number(said, "score") if isinstance(said, dict) else None
        weighed.append((score or 0.0, printable(name, 60)))
    weighed.sort(key=lambda symbol: (-abs(symbol[0]), symbol[1]))
    return tuple(f"{name}({score:g})" for score, name in weighed[:SYMBOLS])


def _marks(milter: dict[str, Any], edits: HeaderEdits) -> HeaderEdits:
    """The field that tells spam by, unless the answer itself brings it. Raises EditError."""
    name = str(milter.get("spam_header", _SPAM_FIELD))
    if any(text.lower() == name.lower() for text, _ in edits.add):
        return HeaderEdits()
    return HeaderEdits(((name, "Yes"),), ((name, 0),)).checked()


def _edits(answer: dict[str, Any], milter: dict[str, Any], action: str) -> HeaderEdits:
    """The header changes that the answer requests. action: in rspamd's word. Raises EditError and UnusableAnswer."""
    add = _added(milter.get("add_headers", {}))
    signatures = answer.get("dkim-signature", [])
    add += [
        ("DKIM-Signature", signature) for signature in (signatures if isinstance(signatures, list) else [signatures])
    ]
    remove = _removed(milter.get("remove_headers", {}))
    if milter.get("no_action") is True:
        add.append(("X-Rspamd-Action", action))
    if not all(isinstance(value, str) for _, value in add):
        raise UnusableAnswer("a field to be added has no text")
    if len(add) > _ADDED or sum(len(name) + len(value) for name, value in add) > _ADDED_OCTETS:
        raise UnusableAnswer(f"more than {_ADDED} fields or {_ADDED_OCTETS} octets are to be added")
    return HeaderEdits(tuple(add), tuple(remove)).checked()


def _added(fields: object) -> list[tuple[str, Any]]:
    """Names and values; one name may have several, and a value may be a text or an object that also has an order."""
    if not isinstance(fields, dict):
        raise UnusableAnswer("add_headers is not an object")
    result: list[tuple[str, Any]] = []
    for name, values in fields.items():
        several = values if isinstance(values, list) else [values]
        result += [(name, value.get("value") if isinstance(value, dict) else value) for value in several]
    return result


def _removed(fields: object) -> list[tuple[str, int]]:
    if not isinstance(fields, dict) or len(fields) > _REMOVED:
        raise UnusableAnswer(f"remove_headers is not an object of at most {_REMOVED} names")
    found: list[tuple[str, int]] = []
    for name, which in fields.items():
        for number in which if isinstance(which, list) else [which]:
            if not isinstance(number, int) or isinstance(number, bool):
                raise UnusableAnswer("remove_headers does not say which field")
            found.append((name, number))
    return found[:_REMOVED]
