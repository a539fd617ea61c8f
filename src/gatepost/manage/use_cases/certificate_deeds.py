"""What the audit says of a step that changed certificates: each field before and after, taken from their history.

The history has the change whoever made it; the audit has it with the address it came from, and beside what
was refused. No key is in either.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases.certificates import history
from gatepost.manage.use_cases.times import stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.certificate_intake import Taken
    from gatepost.manage.use_cases.changeover_steps import Switched
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.store.changes import Change


_MOST: Final = 50  # certificates that one step changes
_TIMES: Final = frozenset({"added", "since", "current_from", "current_until", "switch_at", "not_before", "not_after"})
_LEAF: Final = ("dns_names", "ip_addresses", "subject", "issuer", "key", "sha256", "not_before", "not_after")


@contextmanager
def changes_told(gateway: Gateway, who: Principal, detail: dict[str, Any]) -> Iterator[None]:
    """Put into `detail` what is changed within: "before" and "after", {"ID field": value} with times as texts.

    Nothing if nothing was changed, as by a dry run. Raises Refusal (UNREADABLE).
    """
    with gateway.config() as store:
        begun = store.version()
    yield
    found = [one for one in history(gateway, _MOST) if one.version > begun and one.author == who.name]
    if not found:
        return
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for one in reversed(found):
        _tell(one, before, after)
    detail |= {"before": before, "after": after, "versions": sorted({one.version for one in found})}


def added_told(done: Taken) -> dict[str, Any]:
    """What came in, in a line; its fields are beside it."""
    names = [*done.entry.leaf.dns_names, *done.entry.leaf.ip_addresses]
    return {"state": str(done.entry.state), "names": names, "deprecated": [one.id for one in done.deprecated]}


def switch_told(done: Switched, reason: str) -> dict[str, Any]:
    """What a switch was beside the fields that it changed. reason: why, though gates were not green, "" if none."""
    told = {"planned": done.new.switch_at or None, "replaced": [one.id for one in done.olds], "reason": reason}
    return told | {"red": done.report.reasons if reason else ""}


def _tell(change: Change, before: dict[str, Any], after: dict[str, Any]) -> None:
    """The fields that are different now. What was before the first of several changes stays."""
    old, new = (_flat(change.kind, one) for one in (change.before, change.after))
    for name in {**old, **new}:
        key = f"{change.name} {name}"
        if old.get(name) == new.get(name):
            continue
        if name in old and key not in after:
            before.setdefault(key, old[name])
        after.pop(key, None)
        if name in new:
            after[key] = new[name]


def _flat(kind: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Its fields that say something, those of the certificate itself among them, and what it is."""
    if document is None:
        return {}
    leaf = document.get("leaf", {})
    found = {name: leaf[name] for name in _LEAF if name in leaf}
    found |= {name: value for name, value in document.items() if name != "leaf"}
    said = {
        name: stamp(value) if name in _TIMES else value
        for name, value in found.items()
        if value not in ("", None, [], False, 0.0)
    }
    return said | {"kind": kind.replace("_", " ")}
