"""A TLS report as a picture, SVG or PNG: what protected the mail, day by day. Needs the extra `gatepost[charts]`.

The only module that imports matplotlib, which is loaded only when something is drawn.
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

from gatepost.analysis.reports.pictures import span
from gatepost.analysis.reports.tls import Direction, Protection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from gatepost.analysis.reports.tls import TlsReport


# Distinct for people who do not see red and green apart, and in shades of grey (Okabe and Ito).
_COLOURS = {
    Protection.DANE: "#0072b2",
    Protection.MTA_STS: "#56b4e9",
    Protection.VERIFIED: "#009e73",
    Protection.ENCRYPTED: "#f0e442",
    Protection.CLEARTEXT: "#d55e00",
}
_MARKS = 10  # days named below the picture
_ROOM = 1.05  # of the height, for the highest bar
_HALF = 0.45  # of the width of a bar, where a day has 1


def draw(report: TlsReport, path: Path) -> None:
    """Write the picture; the suffix of the path says which kind, ".svg" or ".png".

    Raises ImportError without the extra, OSError where it cannot be written.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra, half a second to load
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, direction in zip(figure.subplots(2, 1, sharex=True), Direction, strict=True):
        _bars(axes, report, direction)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    figure.suptitle(f"Mail by protection, {report.first} to {report.last} (UTC)")
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": "gatepost"}
    with rc_context({"svg.hashsalt": "gatepost"}):  # else ids are random, and no two files of one report the same
        figure.savefig(path, format=path.suffix[1:], dpi=120, metadata=metadata)


def _bars(axes: Axes, report: TlsReport, direction: Direction) -> None:
    days = span(report.first, report.last)
    bottom = [0] * len(days)
    for protection in reversed(Protection):
        heights = [report.days[day][direction][protection] if day in report.days else 0 for day in days]
        _stack(axes, heights, bottom, color=_COLOURS[protection], label=protection.value)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    step = max(1, -(-len(days) // _MARKS))
    axes.set_xticks(range(0, len(days), step), days[::step], rotation=30, ha="right")
    axes.set_title(direction.value, loc="left")
    axes.set_ylabel("messages by recipient")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(-1, len(days))
    axes.set_ylim(0, max(bottom) * _ROOM or 1)


def _stack(axes: Axes, heights: Sequence[int], bottom: Sequence[int], *, color: str, label: str) -> None:
    """A bar for each day, all in one path: one by one, as `axes.bar` makes them, a year would take ten seconds."""
    edges = [place + side for place in range(len(heights)) for side in (-_HALF, _HALF)]
    tops, below = list[float](), list[float]()
    for height, low in zip(heights, bottom, strict=True):
        tops += (low + height if height else nan, nan)  # nothing between this day and the next
        below += (low, nan)
    axes.stairs(tops[:-1], edges, baseline=below[:-1], fill=True, color=color, label=label)
