"""What the `certificate` commands share: how a refusal ends one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from gatepost.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from gatepost.administration.refusal import Refusal

__all__ = ["CertificateGroup"]


class CertificateGroup(LazyGroup):
    """A step that the state of a certificate does not allow is a clear no: exit code 1."""

    def end(self, refusal: Refusal) -> NoReturn:
        """The text says all that its fields do."""
        from gatepost.administration.refusal import Kind  # noqa: PLC0415 - `--help` does without
        from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, fail  # noqa: PLC0415 - as above

        codes = {Kind.CONFLICT: NO, Kind.UNREADABLE: UNKNOWN}
        fail(codes.get(refusal.kind, BAD_INPUT), refusal.text)
