"""The settings of message encryption: the table `[smime]`.

A part of `settings.model`, read with it; used by `node.content`. Who encrypts what is in the resources.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Range, Record, Size
from gatepost.policy.connectors.units import format_size


class Smime(Record):
    """S/MIME signing, encryption and decryption (docs/smime.md). The gateway's keys need store.master_key."""

    max_size: Annotated[Size, Range(1 << 10, 1 << 30, format_size)] = Field(
        default=50 << 20,
        description="The gateway does not process larger content: mail that must be encrypted or signed is returned "
        "(552 5.3.4), and mail that could be decrypted is delivered encrypted. Each worker processes one "
        "message at a time in memory, with up to seven times its size.",
    )
