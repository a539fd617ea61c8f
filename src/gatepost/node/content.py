"""What is done to the content of messages on their way, in the order in which it is done.

Called by `node.assembly` once for a worker. The order matters: header fields that stay here are taken out first, and
DKIM signs what is sent, so it comes last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatepost.outbound.content import ContentSteps
from gatepost.outbound.dkim import DkimSigning
from gatepost.outbound.organization_headers import OrganizationHeaders

if TYPE_CHECKING:
    from gatepost.certificates.dkim_keys import DkimKeys

__all__ = ["content_steps"]


def content_steps(hostname: str, dkim: DkimKeys) -> ContentSteps:
    """The steps of a worker. hostname: ours. dkim: the private keys that sign."""
    return ContentSteps(OrganizationHeaders(hostname), DkimSigning(dkim, time.time))
