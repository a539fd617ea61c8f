"""The evidence log of a gateway in files: implements `store.evidence_log.Evidence` on `data_dir/evidence`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.store.evidence_chain import EvidenceChain
from gatepost.store.evidence_files import ADMIN_WRITER, EvidenceDirectory, day_files
from gatepost.store.evidence_heads import EvidenceHeads

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.events.evidence.chain import Signer
    from gatepost.events.evidence.entry import Privacy


class EvidenceInFiles(EvidenceDirectory):
    """The log in a directory. node: this host."""

    def __init__(self, directory: Path, node: str) -> None:
        super().__init__(directory)
        self._node = node

    def worker_chain(self, worker: int, *, software: str, privacy: Privacy, signer: Signer) -> EvidenceChain:
        """See `Evidence.worker_chain`."""
        return EvidenceChain(
            self.directory, str(worker), node=self._node, software=software, privacy=privacy, signer=signer
        )

    def admin_chain(self, *, software: str, privacy: Privacy) -> EvidenceChain:
        """See `Evidence.admin_chain`."""
        return EvidenceChain(self.directory, ADMIN_WRITER, node=self._node, software=software, privacy=privacy)

    def sign_rest(self, now: float, *, software: str, signer: Signer) -> None:
        """See `Evidence.sign_rest`."""
        for writer in sorted({file.writer for file in day_files(self.directory)}):
            EvidenceChain(self.directory, writer, node=self._node, software=software, signer=signer).checkpoint(now)

    def heads(self, *, software: str, signer: Signer) -> EvidenceHeads:
        """See `Evidence.heads`."""
        return EvidenceHeads(self.directory, node=self._node, software=software, signer=signer)
