"""The accounts of one gateway, in memory. Those of subjects that have been idle go first when there are too many."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateway.quota.buckets import Account, Entry, Moment, Need, Sums, enter, settle
from gateway.settings.trust import Limits

MOST = 100_000
LOOKED_AT = 64  # accounts, the longest idle ones, each time that there are too many


class LocalAccounts:
    """By subject: a tenant's name, or the id of a key. Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._most = most
        self.changed: set[str] = set()  # since somebody took note of them

    def enter(self, subjects: Sequence[tuple[str, Limits]], need: Need, moment: Moment) -> Entry:
        names, limits = zip(*subjects, strict=True)
        after, entry = enter([self.of(name) for name in names], limits, need, moment)
        for name, account in zip(names, after, strict=True):
            self.put(name, account)
        return entry

    def settle(self, subjects: Sequence[tuple[str, Limits]], held: Need, used: Sums, moment: Moment) -> None:
        for name, limits in subjects:
            self.put(name, settle(self.of(name), limits, held, used, moment))
            self.changed.add(name)

    def note(self, subjects: Sequence[tuple[str, Limits]], used: Sums, moment: Moment) -> None:
        """What a request used that did not enter here."""
        for name, limits in subjects:
            after = settle(self.of(name), limits, Need(), used, moment)
            self.put(name, replace(after, running=self.of(name).running))
            self.changed.add(name)

    def learn(self, name: str, account: Account) -> None:
        """How things stand with all gateways together; what is under way here is known here."""
        mine = self.of(name)
        self.put(name, replace(account, running=mine.running, held=mine.held))

    def of(self, name: str) -> Account:
        return self._accounts.get(name) or Account()

    def put(self, name: str, account: Account) -> None:
        """The newest is last; of too many, the longest idle ones go that have nothing under way, and nothing to be
        written down: those count as the newest again."""
        self._accounts[name] = account
        self._accounts.move_to_end(name)
        for _ in range(min(LOOKED_AT, len(self._accounts))):
            if len(self._accounts) <= self._most:
                return
            oldest = next(iter(self._accounts))
            if self._accounts[oldest].running or oldest in self.changed:
                self._accounts.move_to_end(oldest)
            else:
                del self._accounts[oldest]

    def forget(self, name: str) -> bool:
        """Let go of one that has nothing under way."""
        account = self._accounts.get(name)
        if account is None or account.running:
            return False
        del self._accounts[name]
        self.changed.discard(name)
        return True

    def __iter__(self) -> Iterator[tuple[str, Account]]:
        return iter(list(self._accounts.items()))
