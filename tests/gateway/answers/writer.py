"""A process that puts entries until it is done or killed, and says the name of each after its put returned."""

import asyncio
import sys
from pathlib import Path

from gateway.answers.sqlite import SqliteAnswers
from tests.contracts.answers_contract import entry_of


async def main(path: Path, prefix: str, count: int) -> None:
    answers = SqliteAnswers(path, budget_bytes=None, busy_timeout_s=20)
    await answers.open()

    async def put(name: str) -> None:
        await answers.put(entry_of(name, text=name * 50))
        sys.stdout.write(name + "\n")
        sys.stdout.flush()

    for start in range(0, count, 8):
        await asyncio.gather(*(put(f"{prefix}{number}") for number in range(start, min(start + 8, count))))
    await answers.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
