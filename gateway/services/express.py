"""The express road, where there is one."""

from gateway.curation.erase import Held
from gateway.curation.retention import Aged
from gateway.express.debts import Creditors
from gateway.express.express import Express
from gateway.express.grounds import World
from gateway.express.reading import MOST_HEAD_BYTES
from gateway.services.running import Services

MIB = 2**20


def express_of(services: Services) -> Express | None:
    """Over what is wired already. None where it is turned off, and where spans are told: each hit has one, on the road
    that it took."""
    settings, semantic = services.settings, services.semantic
    if not settings.cache.express_mb or not settings.cache.enabled or settings.tracing.endpoint:
        return None
    express = Express(
        World(
            services.keys,
            services.policies,
            services.answers,
            services.router,
            None if semantic is None else semantic.changes,
        ),
        Creditors(services.ledger, services.served, services.pipeline.count_hits, services.observing.observers),
        settings.cache.express_mb * MIB,
        services.pipeline.redactor,
        services.edge.lets_in,
        most_head_bytes=min(MOST_HEAD_BYTES, services.edge.rules.head_bytes or MOST_HEAD_BYTES),
    )
    services.served.settle = express.settle
    services.erasure.held.insert(0, Held("prepared", express.count, express.forget))  # what is owed comes before others
    keeps = settings.retention
    services.retention.aged.append(Aged(_least(keeps.answers_s, keeps.requests_s), express.forget_before))
    services.edge.memory.sheds = (*services.edge.memory.sheds, express.shed)
    services.metrics.watch(express.samples)
    return express


def _least(*times_s: float) -> float:
    """The shortest of those that are set; 0: none is."""
    return min((time_s for time_s in times_s if time_s), default=0.0)
