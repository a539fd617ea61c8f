"""The tasks of a validation as pages show them: what `ui.task` takes, from the record that is kept, or while it runs.

Pure. What a peer said is in it, to the letter: templates escape it.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from gatepost.checks.tasks import PROBE_TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["host_items", "running_item", "task_items", "verdict_item", "waiting_items"]

_LEVELS: Final = {"succeeded": "pass", "failed": "fail", "warning": "warn", "skipped": "waiting"}
_OUTCOMES: Final = {"validated": "pass", "not-validated": "fail", "unknown": "unknown"}
_OPTION: Final = " (--recipient ADDRESS)"  # of the command
_WORDS: Final = {"waiting": "Skipped", "unknown": "Could not tell"}


def waiting_items(text: str) -> list[dict[str, Any]]:
    """Before anything is known. text: what is tried now."""
    first, *others = PROBE_TASKS
    return [_plain("task-0", "running", first, text)] + [
        _plain(f"task-{place}", "waiting", name) for place, name in enumerate(others, 1)
    ]


def running_item(title: str) -> dict[str, Any]:
    """What goes on beside what is known."""
    return _plain("running", "running", title)


def task_items(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of `validation_record`: the verdict, a host after the other, then what belongs to none."""
    hosts: Sequence[Mapping[str, Any]] = record.get("hosts", ())
    items = [item for host in hosts for item in host_items(host, several=len(hosts) > 1)]
    return [verdict_item(record), *items, *_items(record.get("tasks", ()), "")]


def host_items(host: Mapping[str, Any], *, several: bool) -> list[dict[str, Any]]:
    """Of `host_record`. several: whether each says which host it is of."""
    name = f"{host['host']} ({host['address']})" if host["address"] else host["host"]
    return _items(host["tasks"], name if several else "")


def verdict_item(record: Mapping[str, Any]) -> dict[str, Any]:
    """How it ended, with what else an administrator should know."""
    outcome = str(record.get("outcome"))
    verdict = str(record.get("verdict", ""))
    level = _OUTCOMES.get(outcome, "unknown")
    notes = "; ".join(map(str, record.get("notes", ())))
    return _plain("verdict", level, verdict[:1].upper() + verdict[1:], notes and f"Note: {notes}")


def _items(tasks: Iterable[Mapping[str, Any]], host: str) -> list[dict[str, Any]]:
    """Tasks that were skipped for the same reason are one."""
    found: list[dict[str, Any]] = []
    for (skipped, _), group in groupby(tasks, lambda one: (one["status"] == "skipped", one["detail"])):
        same = list(group)
        if skipped:
            found.append(_item({**same[0], "name": ", ".join(one["name"] for one in same), "seconds": None}, host))
        else:
            found += [_item(one, host) for one in same]
    return found


def _item(task: Mapping[str, Any], host: str) -> dict[str, Any]:
    level = "unknown" if task.get("ours") and task["status"] == "failed" else _LEVELS.get(task["status"], "unknown")
    seconds = task["seconds"]
    return {
        "key": _key(host, task["name"]),
        "level": level,
        "word": _WORDS.get(level, ""),
        "title": f"{host}: {task['name']}" if host else task["name"],
        "text": task["detail"].removesuffix(_OPTION),
        "advice": task.get("advice", ""),
        "took": seconds if seconds and seconds >= 0.001 else None,
    }


def _key(host: str, name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in f"{host} {name}".strip().lower())


def _plain(key: str, level: str, title: str, text: str = "") -> dict[str, Any]:
    return {"key": key, "level": level, "word": "", "title": title, "text": text, "advice": "", "took": None}
