"""Strategies of hypothesis that are made once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hypothesis import strategies as st


@lru_cache(maxsize=None, typed=True)
def among(*values: Any) -> st.SearchStrategy[Any]:
    """One of some values, as `sampled_from`. Hypothesis examines each new strategy, which takes longer than to draw."""
    return st.sampled_from(values)


@lru_cache(maxsize=None, typed=True)
def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    """One or two of some values, none of them twice."""
    return st.lists(among(*values), min_size=1, max_size=2, unique=True)
