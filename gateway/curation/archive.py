"""The stored answers as an operator sees them: a list to go through, one of them whole, and ways to judge and remove
them."""

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from backends.chat import PROMPT
from gateway.answers.base import SHARED, CacheError, Entry, Verdict
from gateway.answers.selection import MAX_PAGE, Listed, Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.commons.rule import trust_of
from gateway.curation.feedback import Feedback, Said
from gateway.curation.invalidate import Invalidation
from gateway.errors import InvalidRequest, StoreAway, UnknownId
from gateway.identity.canonical import Fingerprints

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

T = TypeVar("T")

CRITERIA = ("text", "tag", "model", "namespace", "tenant", "revision", "embedder", "id")  # of the list, as they are
PREVIEW_CHARS = 240
LOOKED_THROUGH = 500  # of the nearest, for those that meet the other criteria
ASKING = ("user", PROMPT)  # roles
JSON = dict[str, Any]


class Archive:
    """Lists, shows, judges and removes. Everything raises `StoreAway` when the store fails. Belongs to one event loop.

    Without a `semantic` tier nothing is found by meaning.
    """

    def __init__(
        self, answers: TieredAnswers, invalidation: Invalidation, feedback: Feedback, semantic: "Semantic | None"
    ) -> None:
        self._answers = answers
        self._invalidation = invalidation
        self._feedback = feedback
        self._semantic = semantic

    async def page(self, asked: Mapping[str, str]) -> JSON:
        """A page of what is asked for, newest first; by meaning, nearest first, and one page. The first page of a list
        says how many there are. Raises `InvalidRequest` naming the parameter."""
        page = _page(asked)
        unknown = sorted(set(asked) - {*CRITERIA, "limit", "after", "meaning"})
        if unknown:
            raise InvalidRequest(f"{unknown[0]} is not a criterion; there are: {', '.join(CRITERIA)}.", unknown[0])
        selection = Selection(**{name: asked[name] for name in CRITERIA if name in asked})  # type: ignore[arg-type]
        if "meaning" in asked:
            return await self._nearest(asked["meaning"], selection, page)
        rows = await stored(self._answers.select(selection, replace(page, limit=page.limit + 1)))
        shown, has_more = rows[: page.limit], len(rows) > page.limit
        listed = {"data": await self._rows(shown), "next": _place(shown[-1]) if has_more else None}
        if page.after is not None:
            return listed
        return {**listed, "total": await stored(self._answers.count(selection)) if has_more else len(shown)}

    async def _rows(self, rows: Sequence[Listed]) -> list[JSON]:
        """Rows as they are shown: one that has no question of its own is known by the last thing a user said."""
        return list(await asyncio.gather(*(self._previewed(row) for row in rows)))

    async def _previewed(self, row: Listed) -> JSON:
        if row.question is not None:
            return _row(row, row.question)
        entry = await stored(self._answers.owned(row.tenant, row.id))
        return _row(row, "" if entry is None else _asked(entry))

    async def _nearest(self, meaning: str, selection: Selection, page: Page) -> JSON:
        """What means about the same as a text, of all tenants. Raises `InvalidRequest` or `StoreAway`."""
        if self._semantic is None or not self._semantic.is_ready:
            raise InvalidRequest(
                "Nothing can be looked for by meaning: the semantic tier is off or loading.", "meaning"
            )
        if not meaning.strip():
            raise InvalidRequest("meaning must say something.", "meaning")
        found = await stored(self._semantic.browse(meaning, LOOKED_THROUGH))
        data: list[JSON] = []
        for near in found.near:
            rows = await stored(self._answers.select(replace(selection, id=near.id, scope=near.scope), Page(MAX_PAGE)))
            if (row := next((row for row in rows if row.id == near.id), None)) is not None:
                data.append({**_row(row, row.question), "similarity": near.similarity})
            if len(data) == page.limit:
                break
        return {"data": data, "next": None, "searched": found.searched, "is_whole": found.is_whole}

    async def show(self, entry_id: str) -> JSON:
        """One entry with its request, its answer, and what users said. Raises `UnknownId`."""
        rows = await stored(self._answers.select(Selection(id=entry_id), Page(MAX_PAGE)))
        row = next((row for row in rows if row.id == entry_id), None)
        found = None if row is None else await stored(self._answers.owned(row.tenant, row.id))
        if row is None or found is None:
            raise _unknown(entry_id)
        said = await stored(self._answers.verdicts(found.scope, found.id))
        aliases = [_row(other, other.question) for other in rows if other.alias_of == entry_id]
        content = {**_row(row, _asked(found)), **_content(found)}
        return {**content, "verdicts": [_verdict(verdict) for verdict in said], "aliases": aliases}

    async def judge(self, entry_id: str, *, is_good: bool, comment: str) -> Said:
        """Say what an answer is worth, in the name of the tenant it belongs to. Raises `UnknownId`."""
        rows = await stored(self._answers.select(Selection(id=entry_id), Page(MAX_PAGE)))
        row = next((row for row in rows if row.id == entry_id), None)
        if row is None:
            raise _unknown(entry_id)
        return await self._feedback.of_entry(row.tenant, row.id, is_good=is_good, comment=comment)

    async def remove(self, entry_id: str) -> int:
        """Remove one entry and its aliases; how many. Raises `UnknownId`."""
        done = await stored(self._invalidation.run(Selection(id=entry_id)))
        if not done.count:
            raise _unknown(entry_id)
        return done.count

    async def invalidate(
        self, criteria: JSON, *, older_than_s: float | None, fp: Fingerprints | None, is_all: bool, is_dry_run: bool
    ) -> JSON:
        """Remove what meets every criterion, or say what would go. Raises `InvalidRequest` when none is given."""
        selection = Selection(**criteria, before_s=None if older_than_s is None else time.time() - older_than_s)
        if fp is not None:
            selection = replace(selection, scope=fp.scope, exact=fp.exact)
        if selection.is_empty and not is_all:
            raise InvalidRequest("Name what to remove, or say all: true.", "all")
        work = self._invalidation.preview if is_dry_run else self._invalidation.run
        return (await stored(work(selection))).as_json()


async def stored(work: Awaitable[T]) -> T:
    """What a store says. Raises `StoreAway` where it fails."""
    try:
        return await work
    except CacheError as error:
        raise StoreAway(str(error)) from error


def _unknown(entry_id: str) -> UnknownId:
    return UnknownId(f"No entry {entry_id!r} is kept.", "entry")


def _page(asked: Mapping[str, str]) -> Page:
    limit = asked.get("limit", "50")
    if not (len(limit) <= 9 and limit.isascii() and limit.isdigit() and 1 <= int(limit) <= MAX_PAGE):
        raise InvalidRequest(f"limit must be a whole number from 1 to {MAX_PAGE}.", "limit")
    if "after" not in asked:
        return Page(int(limit))
    try:
        created_s, number = orjson.loads(urlsafe_b64decode(asked["after"]))
        return Page(int(limit), (float(created_s), int(number)))
    except (ValueError, TypeError) as error:
        raise InvalidRequest("after must be the next of an earlier page.", "after") from error


def _place(row: Listed) -> str:
    return urlsafe_b64encode(orjson.dumps(row.place)).decode()


def _row(row: Listed, asked: str | None) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in Listed.__dataclass_fields__ if name != "place"}
    told |= trust_of(row.tenant, row.namespace, row.tags if row.origin == SHARED else ())
    return {**told, "preview": (asked or "")[:PREVIEW_CHARS]}


def _asked(entry: Entry) -> str:
    """The last text of a user in a request, or its raw prompt."""
    said = [message for message in orjson.loads(entry.canonical).get("messages", ()) if isinstance(message, dict)]
    content = next((message.get("content") for message in reversed(said) if message.get("role") in ASKING), None)
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _content(entry: Entry) -> dict[str, Any]:
    """What was asked and what was answered."""
    choices = [
        {"message": choice.message, "finish_reason": choice.finish_reason} for choice in entry.completion.choices
    ]
    return {
        "request": orjson.loads(entry.canonical),
        "choices": orjson.loads(orjson.dumps(choices, default=dict)),
        "usage": orjson.loads(orjson.dumps(entry.completion.usage.to_wire(), default=dict)),
        "schema": entry.schema,
        "embedder": entry.embedder,
        "sliding_s": entry.sliding_s,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    word = "good" if verdict.is_good else "bad"
    return {"source": verdict.source, "verdict": word, "comment": verdict.comment, "at_s": verdict.at_s}
