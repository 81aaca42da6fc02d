"""How a replica hears of the others: the feed, what it changes here, and the answer that it did."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.answers.tiered import TieredAnswers
from gateway.ledger import Ledger
from gateway.policy import Rules
from gateway.services.shared import Shared

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic
    from gateway.shared.echo import Echo
    from gateway.shared.follower import Follower


@dataclass(frozen=True, slots=True)
class Following:
    """One replica's ear, and its mouth."""

    follower: "Follower"
    echo: "Echo"


def following_of(
    shared: Shared | None, answers: TieredAnswers, semantic: "Semantic | None", rules: Rules, ledger: Ledger
) -> Following | None:
    """What follows the feed; None where nothing is shared."""
    if shared is None:
        return None
    from gateway.shared.echo import Echo
    from gateway.shared.follower import Follower
    from gateway.shared.near import NearStores
    from gateway.shared.stream import RedisFeed

    near = NearStores(answers, shared.store, semantic, rules, ledger, shared.link.seal)
    echo = Echo(shared.link, shared.replica, also=shared.store.learn_clock)
    stream = RedisFeed(shared.link, shared.replica)
    return Following(Follower(stream, near, shared.replica, ledger, echo=echo), echo)
