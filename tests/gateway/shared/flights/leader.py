"""A gateway process that leads one generation: python -m tests.gateway.shared.flights.leader URL EXACT LEASE_S

It says "half an", prints `leading`, and waits for a line; then it goes on, and prints whether its answer may be kept.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from secrets import token_hex

from backends.chat import Delta
from gateway.answers.redis.connection import Link
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.shared.flights.leading import Term
from gateway.shared.flights.shared import SharedFlights

SECRET = b"s" * 32


async def main(url: str, exact: str, lease_s: str) -> None:
    link = Link(url, SECRET)
    flights = SharedFlights(link, SECRET, Ledger(Metrics()), replica=token_hex(8), lease_s=float(lease_s))
    await flights.open()
    terms: list[Term] = []

    def generate(term: Term) -> AsyncGenerator[Delta, None]:
        terms.append(term)
        return term.ending(said())

    async for _ in flights.flight(bytes.fromhex(exact), generate, waited_s=0.0)():
        pass
    print("kept" if terms[0].is_ours else "not kept", flush=True)
    await flights.close()
    await link.close()


async def said() -> AsyncGenerator[Delta, None]:
    yield Delta(fields={"role": "assistant", "content": "half"})
    yield Delta(fields={"content": " an"})
    print("leading", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    yield Delta(fields={"content": " answer"}, finish_reason="stop")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
