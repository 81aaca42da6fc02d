"""Who watches requests from outside the pipeline: the access log and the spans, where the settings ask for them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.engines import Unavailable
from gateway.ledger import Hits, Ledger
from gateway.metrics import Metrics
from gateway.settings import Settings, TracingSettings
from gateway.telemetry.exchange import Observer, note, note_lookup

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Observing:
    """The observers, and how they are closed."""

    observers: tuple[Observer, ...] = ()
    closers: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Write and export what waits; blocks for seconds at most."""
        for close in self.closers:
            close()


def observing_of(settings: Settings, ledger: Ledger, metrics: Metrics) -> Observing:
    """Raises `Unavailable` when the packages of what is asked for are not installed, OSError for a bad file."""
    observing = Observing()
    tracing = _tracing(settings.tracing, ledger, observing)
    logging_ = _access_log(settings, metrics, observing)
    observing.observers = (*tracing, *logging_)  # spans first: the log has their trace's id
    if observing.observers:
        ledger.listen(note, of_hits=_not_on_this_road)
    return observing


def _not_on_this_road(_: Hits) -> None:
    """Answers that are told together had no exchange: who gave them tells the observers."""


def _access_log(settings: Settings, metrics: Metrics, observing: Observing) -> tuple[Observer, ...]:
    if not settings.access_log.path:
        return ()
    from gateway.telemetry.access_log import AccessLog

    access_log = AccessLog(settings.access_log.path, has_questions=settings.access_log.questions)
    metrics.watch(access_log.samples)
    observing.closers.append(access_log.close)
    return (access_log,)


def _tracing(settings: TracingSettings, ledger: Ledger, observing: Observing) -> tuple[Observer, ...]:
    if not settings.endpoint:
        return ()
    try:
        from gateway.telemetry.tracing import Tracing, otlp
    except ImportError as error:
        told = f"tracing needs {error.name}: pip install 'twicetold-server[otel]'"
        if settings.is_from_environment:  # meant for every program on the machine: no reason not to start
            log.warning("no spans are exported: %s", told)
            return ()
        raise Unavailable(told) from error
    tracing = Tracing(
        otlp(settings.endpoint),
        service=settings.service,
        sample=settings.sample,
        has_questions=settings.questions,
    )
    ledger.listen_to_lookups(note_lookup)
    observing.closers.append(tracing.close)
    return (tracing,)
