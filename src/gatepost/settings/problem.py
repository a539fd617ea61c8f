"""Problems of the settings: the place apart from the sentence, which is in the language of who reads it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class SettingsProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    place: "FILE:LINE", a variable or "". key: "" where the place names it, or there is none. message: what, why, and
    what to do; `gatepost.sentences` knows it.
    """

    place: str
    message: str
    key: str = ""

    @property
    def where(self) -> str:
        """Place and key, as they stand before the message; "" for neither."""
        return "".join(f"{part}: " for part in (self.place, self.key) if part)

    def __str__(self) -> str:
        return f"{self.where}{self.message}"


class SettingsError(Exception):
    """The settings cannot be used. problems: all that is wrong."""

    def __init__(self, problems: Sequence[SettingsProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
