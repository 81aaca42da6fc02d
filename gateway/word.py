"""What becomes of an answer that is to be kept, for one who waits until it lasts."""

import asyncio

# The first two are kept.
COMPLETE = "complete"  # the store has it
IN_MEMORY = "in_memory"  # the store has not, or nobody knows yet: it is served until this process ends
OVERTAKEN = "overtaken"  # removed, or answered anew, before it was written
NOT_WRITTEN = "not_written"  # neither memory nor the store took it


class Word:
    """What becomes of one answer. Belongs to one event loop."""

    def __init__(self) -> None:
        self._became: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def tell(self, became: str) -> None:
        """Once."""
        self._became.set_result(became)

    async def heard(self, within_s: float) -> str:
        """What became of it; where the store is silent for so long, it is in memory."""
        await asyncio.wait([self._became], timeout=within_s)
        return self._became.result() if self._became.done() else IN_MEMORY
