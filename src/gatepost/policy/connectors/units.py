"""Durations and sizes as people write them: "15m", "24h", "50MB", or plain numbers of seconds and bytes.

Used by the models of `connectors` and `settings`. Sizes count in powers of 1024, as mail servers' SIZE limits do.
"""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}

_DURATION = re.compile(r"(?:\d+(?:\.\d{1,3})?(?:ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])", re.ASCII)
_LONGEST = 10**12  # seconds
_NUMBER = re.compile(r"\d+(?:\.\d{1,3})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,100})\s?([KMG]?I?B?)", re.ASCII)
_LARGEST = 10**18  # bytes


def parse_duration(value: object) -> float:
    """A duration in seconds, 0 or more: a number, or a text such as "30s", "15m", "1h30m", "24h", "7d" or "900".

    Raises ValueError with a sentence for the person who wrote it.
    """
    seconds = _seconds(value)
    if not 0 <= seconds <= _LONGEST:  # whole numbers without a bound are no floats
        raise ValueError(f"a duration must be between 0 and {_LONGEST:,} seconds")
    return float(seconds)


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return round(sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value)), 3)
    raise ValueError(f'{value!r} is not a duration: write seconds, or a text such as "30s", "15m", "24h" or "7d"')


def format_duration(seconds: float) -> str:
    """A duration as `parse_duration` reads it back, in the largest unit that keeps it whole: 86400 is "24h"."""
    for unit, least in (("d", 172800.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= least and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{round(seconds, 3):.12g}s"


def parse_size(value: object) -> int:
    """A size in bytes, 0 or more: a whole number, or a text such as "256KB" or "50MB" (powers of 1024).

    Raises ValueError with a sentence for the person who wrote it.
    """
    size = _octets(value)
    if not 0 <= size <= _LARGEST:
        raise ValueError(f"a size must be between 0 and {_LARGEST:,} bytes")
    return size


def _octets(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.upper())) and match[2] in _BYTES:
        return int(match[1]) * _BYTES[match[2]]
    raise ValueError(f'{value!r} is not a size: write bytes, or a text such as "256KB" or "50MB"')


def format_size(size: int) -> str:
    """A size as `parse_size` reads it back, in the largest unit that keeps it whole."""
    for unit in ("GB", "MB", "KB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def measured_size(size: int) -> str:
    """A measured number of bytes, as people say it: "75.9 GB", "381 MB". A KB has 1,024 bytes, as in settings."""
    for unit in ("GB", "MB", "KB"):
        if size >= _BYTES[unit]:
            value = size / _BYTES[unit]
            return f"{value:,.{0 if value >= 99.95 else 1}f} {unit}"
    return f"{size} B"
