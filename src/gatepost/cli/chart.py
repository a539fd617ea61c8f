"""A TLS report as a picture, SVG or PNG: what protected the mail, day by day. Needs the extra `gatepost[charts]`.

The only module that imports matplotlib, which is loaded only when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.reports.tls import Direction, Protection

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from gatepost.reports.tls import TlsReport

__all__ = ["draw"]

# Distinct for people who do not see red and green apart, and in shades of grey (Okabe and Ito).
_COLOURS = {
    Protection.DANE: "#0072b2",
    Protection.MTA_STS: "#56b4e9",
    Protection.VERIFIED: "#009e73",
    Protection.ENCRYPTED: "#f0e442",
    Protection.CLEARTEXT: "#d55e00",
}
_MARKS = 10  # days named below the picture


def draw(report: TlsReport, path: Path) -> None:
    """Write the picture; the suffix of the path says which kind, ".svg" or ".png".

    Raises ImportError without the extra, OSError where it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra, half a second to load
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, direction in zip(figure.subplots(2, 1, sharex=True), Direction, strict=True):
        _bars(axes, report, direction)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    figure.suptitle(f"Mail by protection, {report.first} to {report.last} (UTC)")
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": "gatepost"}
    figure.savefig(path, format=path.suffix[1:], dpi=120, metadata=metadata)


def _bars(axes: Axes, report: TlsReport, direction: Direction) -> None:
    days = list(report.days)
    bottom = [0] * len(days)
    for protection in reversed(Protection):
        heights = [report.days[day][direction][protection] for day in days]
        axes.bar(
            range(len(days)), heights, bottom=bottom, color=_COLOURS[protection], label=protection.value, width=0.9
        )
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    step = max(1, -(-len(days) // _MARKS))
    axes.set_xticks(range(0, len(days), step), days[::step], rotation=30, ha="right")
    axes.set_title(direction.value, loc="left")
    axes.set_ylabel("messages by recipient")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
