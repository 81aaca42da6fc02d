"""Putting what the store holds into the index, while requests are served.

    store, oldest first --rows--> index, a few at a time --all are there--> lists are made, and it is whole

Nobody waits for it: rows are put a few at a time, and the store gives them behind its lookups. A store that fails
leaves the index as far as it came; the next `run` puts what is not there yet.
"""

import asyncio
import time
from collections.abc import Callable

import numpy as np

from embeddings.index import VectorIndex
from gateway.answers.base import Answers

TOGETHER = 16  # rows put before others have their turn: they wait for a fifth of a millisecond


class Filling:
    """One index that is being filled. Belongs to the event loop."""

    def __init__(self, index: VectorIndex, answers: Answers, fingerprint: str, tell: Callable[[str], None]) -> None:
        """`tell` hears how far it is."""
        self._index = index
        self._answers = answers
        self._fingerprint = fingerprint
        self._tell = tell

    async def open(self) -> None:
        """Read what was trained at another time, before anything is put."""
        await asyncio.to_thread(self._index.open, self._fingerprint)

    async def run(self) -> None:
        """Put what the index lacks. Raises `CacheError` when the store cannot be read to its end."""
        now_s, count, is_again = time.time(), 0, len(self._index) > 0
        async for row in self._answers.embedded(self._fingerprint):
            partition = row.scope + row.compat
            is_here = is_again and self._index.has(partition, row.id)
            if not is_here and (row.expires_s is None or now_s < row.expires_s):
                self._index.add(partition, row.id, np.frombuffer(row.vector, dtype="<f4"))
            count += 1
            if count % TOGETHER == 0:
                self._tell(f"{count:,} vectors read")
                await asyncio.sleep(0)
        self._index.start()
