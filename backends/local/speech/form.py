"""The form of one answer: what the engine must keep to while it writes, and how what it writes is to be read."""

from backends.local.params import Generation
from backends.local.speech.grammar import check
from backends.local.speech.parts import CLOSING, OPENING, Manner
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.speech.tools import HERMES, Dialect, calls_shape


def grammar_of(wanted: Generation, tokenizer: ChatTokenizer) -> str:
    """The grammar of the answer, checked; empty: it may be anything. Takes milliseconds. Raises `RequestRejected`."""
    dialect = _dialect(wanted, tokenizer)
    if wanted.shape is not None:
        check(wanted.shape)
    if wanted.calls is not None and dialect is not None and _must_keep_to(wanted, dialect):
        return calls_shape(wanted.calls, dialect, tokenizer.added(dialect.markers), wanted.shape).grammar
    return "" if wanted.shape is None else wanted.shape.grammar


def manner_of(wanted: Generation, tokenizer: ChatTokenizer, prompt: list[int]) -> Manner:
    """How the answer is to be read: for calls where there are tools, for thoughts where the model has them."""
    dialect = _dialect(wanted, tokenizer)
    is_forced = wanted.calls is not None and wanted.calls.is_forced
    is_free = wanted.shape is None and not is_forced
    markers = (*(dialect.markers if dialect is not None else ()), *((OPENING, CLOSING) if tokenizer.thinks else ()))
    return Manner(
        dialect=dialect,
        is_sure=is_forced,
        thinks=tokenizer.thinks and is_free,
        has_begun_thinking=is_free and tokenizer.is_thinking(prompt),
        markers=tokenizer.hidden(markers),
    )


def _dialect(wanted: Generation, tokenizer: ChatTokenizer) -> Dialect | None:
    """How calls are spelled, if there may be any. A model that was taught none can still be made to write them."""
    if wanted.calls is None:
        return None
    return tokenizer.dialect or (HERMES if wanted.calls.is_forced else None)


def _must_keep_to(wanted: Generation, dialect: Dialect) -> bool:
    """Whether calls need a grammar: nothing else may come, or a function is strict about its parameters."""
    assert wanted.calls is not None
    is_found = not dialect.is_bare  # in free text a call without an opening is not known for one in time
    return wanted.calls.is_forced or wanted.shape is not None or (wanted.calls.is_strict and is_found)
