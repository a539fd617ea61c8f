"""The tasks of a validation as pages show them: what `ui.task` takes, from the record that is kept, or while it runs.

Pure. What a peer said is in it, to the letter: templates escape it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from gatepost.analysis.checks.tasks import PROBE_TASKS
from gatepost.language import _
from gatepost.sentences import ours
from gatepost.texts import N_

_LEVELS: Final = {
    "succeeded": "pass",
    "failed": "fail",
    "warning": "warn",
    "skipped": "waiting",
    "running": "running",
    "waiting": "waiting",
}
_OUTCOMES: Final = {"validated": "pass", "not-validated": "fail", "unknown": "unknown"}
_SUBJECT: Final = re.compile(r"[A-Za-z0-9.]+=")  # of a certificate, as RFC 4514 writes it
_WORDS: Final = {"unknown": N_("Inconclusive")}


def live_items(record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Of such a record while it goes on: what has ended, what runs, and what comes later; None before it is known."""
    if record is None or not (record["hosts"] or record["tasks"]):
        first, *others = ({"name": name, "status": "waiting", "detail": "", "seconds": 0} for name in PROBE_TASKS)
        return [_item({**first, "status": "running"}, ""), *(_item(task, "") for task in others)]
    return _all_items(record)


def task_items(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of `validation_record`: the verdict, a host after the other, then what belongs to none."""
    return [verdict_item(record), *_all_items(record)]


def _all_items(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    hosts: Sequence[Mapping[str, Any]] = record.get("hosts", ())
    items = [item for host in hosts for item in host_items(host, several=len(hosts) > 1)]
    items += _items(record.get("tasks", ()), "")
    times: Counter[str] = Counter()  # a host may be the MX of several domains
    for item in items:
        times[item["key"]] += 1
        if times[item["key"]] > 1:
            item["key"] += f"-{times[item['key']]}"
    return items


def host_items(host: Mapping[str, Any], *, several: bool) -> list[dict[str, Any]]:
    """Of a host in the record, the last with what was said. several: whether each says which host it is of."""
    name = f"{host['host']} ({host['address']})" if host["address"] else host["host"]
    items = _items(host["tasks"], name if several else "")
    if items and (lines := host.get("transcript")):
        items[-1] |= {"raw": "\n".join(lines), "raw_title": _("SMTP transcript with %(name)s", name=name)}
    return items


def verdict_item(record: Mapping[str, Any]) -> dict[str, Any]:
    """The result, with remarks for the administrator."""
    outcome = str(record.get("outcome"))
    verdict = ours(str(record.get("verdict", "")))
    level = _OUTCOMES.get(outcome, "unknown")
    notes = "; ".join(ours(str(note)) for note in record.get("notes", ()))
    return _plain("verdict", level, verdict[:1].upper() + verdict[1:], notes and _("Note: %(notes)s", notes=notes))


def _items(tasks: Iterable[Mapping[str, Any]], host: str) -> list[dict[str, Any]]:
    """Tasks that were skipped for the same reason are one; of several hosts also those that come later."""
    together = {"skipped", "waiting"} if host else {"skipped"}
    result: list[dict[str, Any]] = []
    for (status, _detail), group in groupby(tasks, lambda task: (task["status"], task["detail"])):
        same = list(group)
        if status in together:
            result.append(_item({**same[0], "name": ", ".join(task["name"] for task in same), "seconds": None}, host))
        else:
            result += [_item(task, host) for task in same]
    return result


def _item(task: Mapping[str, Any], host: str) -> dict[str, Any]:
    level = "unknown" if task.get("ours") and task["status"] == "failed" else _LEVELS.get(task["status"], "unknown")
    seconds = task["seconds"]
    return {
        "key": _key(host, task["name"]),
        "level": level,
        "word": _("Skipped") if task["status"] == "skipped" else _(_WORDS.get(level, "")),
        "title": f"{host}: {task['name']}" if host else task["name"],
        "text": detail_text(task),
        "advice": ours(task.get("advice", "")),
        "took": seconds if seconds and seconds >= 0.001 else None,
    }


def detail_text(task: Mapping[str, Any]) -> str:
    """The facts of a task in the language of the page, but for those that are a peer's own words."""
    facts: Sequence[str] = task.get("facts") or [task["detail"]]
    return "; ".join(
        fact if _is_a_peers(task, place, len(facts)) or _SUBJECT.match(fact) else ours(fact)
        for place, fact in enumerate(facts)
    )


def _is_a_peers(task: Mapping[str, Any], place: int, count: int) -> bool:
    """Whether a fact is what the host said: its greeting before what it offers, its answer to STARTTLS or the test."""
    if place or task["status"] in {"skipped", "waiting", "running"}:
        return False
    return task["name"] in {"EHLO", "Test message"} or (task["name"] == "STARTTLS" and count == 1)


def _key(host: str, name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in f"{host} {name}".strip().lower())


def _plain(key: str, level: str, title: str, text: str = "") -> dict[str, Any]:
    return {"key": key, "level": level, "word": "", "title": title, "text": text, "advice": "", "took": None}
