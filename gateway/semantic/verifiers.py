"""Which verifier a lane is given: everybody's, beside it one fitted to its labels, behind both a second look."""

import asyncio
import logging

from embeddings.base import EmbedderError
from embeddings.control import Compares
from embeddings.verifier import Verifier, load_verifier
from embeddings.verifier.cross_encoder import SecondLook
from gateway.semantic.rule import LaneKey
from gateway.semantic.second_look import LooksTwice
from gateway.semantic.shelf import Shelf

log = logging.getLogger(__name__)


class Verifiers:
    """Gives verifiers out. `fingerprint` is of the embedder, as soon as there is one."""

    def __init__(self, shelf: Shelf | None = None, second_look: SecondLook | None = None) -> None:
        """Verifiers are fitted to labels where there is a `shelf` for them."""
        self.shelf = shelf
        self.fingerprint = ""
        self.second_looks_failed = 0  # to load: there is none then
        self._second_look = second_look

    async def open(self) -> None:
        """Load the second look, if there is one."""
        if self._second_look is None:
            return
        try:
            await asyncio.to_thread(self._second_look.load)
        except EmbedderError as error:  # its clue stays 0: lanes learned with it keep what they know
            self.second_looks_failed += 1
            log.warning("no second look: %s", error)

    def minds_of(self, lane: LaneKey) -> tuple[Compares, Verifier | None]:
        """Everybody's verifier, and the lane's own if it has one."""
        shelf = self.shelf
        first, own = (load_verifier(self.fingerprint), None) if shelf is None else shelf.minds(lane, self.fingerprint)
        return (first if self._second_look is None else LooksTwice(first, self._second_look)), own

    def versions(self, lane: LaneKey) -> list[str]:
        """The versions of a lane's verifier, oldest first."""
        return self.shelf.versions(lane) if self.shelf is not None else []

    async def choose(self, lane: LaneKey, name: str) -> bool:
        """Use a version by its name, or "shipped", from now on; False when there is none of that name."""
        return self.shelf is not None and await asyncio.to_thread(self.shelf.choose, lane, name)
