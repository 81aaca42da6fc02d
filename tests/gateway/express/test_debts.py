"""What hits owe is paid to everybody, whoever fails."""

import pytest
from starlette.types import Scope

from backends.chat import Completion, Usage
from gateway.answers.base import Entry
from gateway.express.debts import Creditors, Debts, Owing
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.policy import Rules
from gateway.served import Served, ServedMemory
from gateway.telemetry.exchange import Exchange


class Failing:
    """The memory of other gateways, the store, and an observer, all of them broken."""

    def __init__(self) -> None:
        self.times = 0

    def tell(self, *_: object) -> None:
        self.times += 1
        raise RuntimeError("not today")

    async def find(self, response_id: str) -> Served | None:
        raise NotImplementedError

    async def judge(self, response_id: str, *, is_good: bool) -> bool | None:
        raise NotImplementedError

    def begin(self, exchange: Exchange, scope: Scope) -> None:
        raise NotImplementedError

    def end(self, exchange: Exchange) -> None:
        self.tell()


def owing(tenant: str) -> Owing:
    entry = Entry("e", b"s", b"x", b"c", b"", None, "m", Completion(()), 1.0, None, 0.1)
    outcome = Outcome("exact", "same_request", "e")
    served = Served(tenant, "m", b"s", b"x", "e", None, None, outcome, Rules(), None, 0.0, 1.0)
    return Owing(entry, None, outcome, 1.0, served, "m", "chat", "/v1/chat/completions", Usage(), tenant, None)


async def test_who_fails_at_being_paid_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    ledger, broken = Ledger(Metrics()), Failing()
    served = ServedMemory(elsewhere=broken)
    debts = Debts(Creditors(ledger, served, broken.tell, (broken,)))
    served.settle = debts.settle
    owings = {tenant: owing(tenant) for tenant in "ab"}
    for number, tenant in enumerate("aab"):
        debts.note(owings[tenant], (f"r{number}", 2.0, 0.001, 0.001), b"req")

    assert served.find("r2", "b") is not None
    assert (len(debts), ledger.totals.requests) == (0, 3)
    assert broken.times == 2 + 2 + 3  # others' memory and the store once for each answer, the observer for each hit
    assert caplog.text.count("was not told of some hits") == 7
