"""The daily heads: a signed chain that records where every writer's chain stood at the end of each day.

It finds what the chains of single writers cannot: a file that is gone, a day that is gone, an end that was cut off. Its
own end can be cut off too: therefore heads are to be kept elsewhere. Written by `store.evidence_in_files`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gatepost.events.evidence.audit import FaultKind, Faults
from gatepost.events.evidence.chain import Line, Place
from gatepost.events.evidence.entry import Kind, instant


def head_body(place: Place, at: float, *, node: str, day: str, writers: Mapping[str, Place]) -> dict[str, Any]:
    """The head of a day, to be signed. place: where the chain of heads stands. writers: where each one's file ended."""
    ends = [{"writer": name, "number": end.number, "head": end.head} for name, end in sorted(writers.items())]
    return {
        "kind": str(Kind.HEAD),
        "number": place.number + 1,
        "time": instant(at),
        "node": node,
        "day": day,
        "writers": ends,
    }


def pruned_body(place: Place, at: float, *, node: str, before: str) -> dict[str, Any]:
    """The body, to be signed, that announces the removal of the files before a day, as their time is over."""
    return {"kind": str(Kind.PRUNED), "number": place.number + 1, "time": instant(at), "node": node, "before": before}


@dataclass(frozen=True, slots=True)
class DayHead:
    """One day. hash: of the entry: what is noted elsewhere. writers: by name, where each one's file ended."""

    day: str
    hash: str
    writers: dict[str, Place]


@dataclass(slots=True)
class HeadBook:
    """The chain of heads, read. days: by day. before: files of days before this one were removed in order, ""."""

    days: dict[str, DayHead] = field(default_factory=dict)
    before: str = ""

    def take(self, line: Line) -> None:
        """One entry of the chain of heads, in order. What is not one is passed over: its signature was not checked."""
        body = line.body
        if body.get("kind") == Kind.PRUNED:
            self.before = max(self.before, str(body.get("before", "")))
            return
        if body.get("kind") != Kind.HEAD:
            return
        try:
            ends = {
                str(writer["writer"]): Place(int(writer["number"]), str(writer["head"])) for writer in body["writers"]
            }
            day = str(body["day"])
        except (KeyError, TypeError, ValueError):
            return
        self.days[day] = DayHead(day, line.hash, ends)

    def before_day(self, writer: str, day: str) -> Place | None:
        """The position of a writer's chain before a day; None if no head has it."""
        known = [day_head for day_head in self.days.values() if day_head.day < day and writer in day_head.writers]
        return max(known, key=lambda day_head: day_head.day).writers[writer] if known else None

    def compare(self, faults: Faults, file: str, day: str, writer: str, end: Place) -> bool:
        """Hold the end of a file against the head of its day; whether there is one, and they agree."""
        head = self.days.get(day)
        if head is None:
            return False
        signed = head.writers.get(writer)
        if signed is None:
            faults.add(FaultKind.INSERTED, (file, 0, 0), f"the head of {day} knows no such file")
        elif end.number < signed.number:
            text = f"it ends with entry {end.number}; by the head of {day} the last one is {signed.number}"
            faults.add(FaultKind.TRUNCATED, (file, 0, end.number), text)
        elif end.number > signed.number:
            text = f"it goes on behind entry {signed.number}, with which the day ended by its head"
            faults.add(FaultKind.INSERTED, (file, 0, signed.number + 1), text)
        elif end != signed:
            text = f"entry {end.number} has not the hash with which {day} ended by its head"
            faults.add(FaultKind.CHANGED, (file, 0, end.number), text)
        return end == signed

    def missing(self, faults: Faults, present: set[tuple[str, str]], *, since: str = "", until: str = "9999") -> None:
        """Report files that the heads list and that are missing. present: day and writer of every file."""
        first = max(self.before, since)
        for head in self.days.values():
            if not first <= head.day <= until:
                continue
            for writer, end in head.writers.items():
                if (head.day, writer) not in present:
                    text = f"the file of writer {writer} is gone, which ended with entry {end.number}"
                    faults.add(FaultKind.REMOVED, (f"{head.day}.{writer}.log", 0, end.number), text)
