"""What is done to the content of messages on their way, in the order in which it is done.

Called by `node.assembly` once for a worker. The order matters: DKIM signs what is sent, so it comes last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatepost.outbound.content import ContentSteps
from gatepost.outbound.dkim import DkimSigning

if TYPE_CHECKING:
    from gatepost.certificates.dkim_keys import DkimKeys

__all__ = ["content_steps"]


def content_steps(dkim: DkimKeys) -> ContentSteps:
    """The steps of a worker. dkim: the private keys that sign."""
    return ContentSteps(DkimSigning(dkim, time.time))
