"""What tokens cost: a price list by model, kept in the data directory, and what was saved in money.

A name written out wins, of a model's dated version too (`gpt-4o-2024-08-06` is a `gpt-4o`); else the longest pattern
that matches (`my-model*`, `*`). What nobody priced costs nothing and is told as such. Tokens are counted, never money:
a new price holds for all of them.
"""

import asyncio
import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gateway.errors import InvalidRequest, PricesChanged
from gateway.keptfile import write_whole

log = logging.getLogger(__name__)

FILE = "prices.json"
MOST_MODELS = 500
MOST_CHARS = 256
DEAREST = 1_000_000.0  # per million tokens
MOST_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens."""

    prompt: float = 0.0
    cached_prompt: float = 0.0
    completion: float = 0.0


FREE = Price()

# List prices in US dollars as their makers told them in autumn 2025, shown until somebody writes his own. Whole names:
# a pattern would give a price to models nobody had heard of then.
SHIPPED: Mapping[str, Price] = {
    "gpt-5.1": Price(1.25, 0.125, 10.0),
    "gpt-5": Price(1.25, 0.125, 10.0),
    "gpt-5-mini": Price(0.25, 0.025, 2.0),
    "gpt-5-nano": Price(0.05, 0.005, 0.4),
    "gpt-4.1": Price(2.0, 0.5, 8.0),
    "gpt-4.1-mini": Price(0.4, 0.1, 1.6),
    "gpt-4.1-nano": Price(0.1, 0.025, 0.4),
    "gpt-4o": Price(2.5, 1.25, 10.0),
    "gpt-4o-mini": Price(0.15, 0.075, 0.6),
    "o3": Price(2.0, 0.5, 8.0),
    "o4-mini": Price(1.1, 0.275, 4.4),
    "claude-opus-4-5": Price(5.0, 0.5, 25.0),
    "claude-opus-4-1": Price(15.0, 1.5, 75.0),
    "claude-sonnet-4-5": Price(3.0, 0.3, 15.0),
    "claude-sonnet-4": Price(3.0, 0.3, 15.0),
    "claude-haiku-4-5": Price(1.0, 0.1, 5.0),
    "text-embedding-3-small": Price(0.02, 0.02, 0.0),
    "text-embedding-3-large": Price(0.13, 0.13, 0.0),
}

_DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class Prices:
    """The price list. Belongs to one event loop; a file that cannot be read is told and not overwritten by itself."""

    def __init__(self, file: Path | None = None, own: Iterable[str] = ()) -> None:
        """Without a file it lasts as long as the process. `own`: models of the gateway itself, free unless listed."""
        self._file = file
        self._own = frozenset(own)
        self.currency = "USD"
        self.models: dict[str, Price] = dict(SHIPPED)
        self.is_shipped = True
        self._known: dict[str, Price | None] = {}
        self._changing = asyncio.Lock()

    def open(self) -> None:
        """Read what was kept."""
        if self._file is None or not self._file.exists():
            return
        try:
            kept = json.loads(self._file.read_text("utf-8"))
            self._take(checked_currency(kept["currency"]), checked(kept["models"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, InvalidRequest) as error:
            log.warning("%s cannot be used, list prices are shown instead: %s", self._file, error)

    def of(self, model: str) -> Price | None:
        """The price of a model, None when nobody gave one."""
        try:
            return self._known[model]
        except KeyError:
            price = self._found(model)
            if len(self._known) < MOST_REMEMBERED:
                self._known[model] = price
            return price

    @property
    def version(self) -> str:
        """Of the list as it is: two that say the same have the same."""
        return blake2b(_written(self.currency, self.models).encode(), digest_size=12).hexdigest()

    async def change(self, currency: str, models: Mapping[str, Price], version: str | None = None) -> None:
        """Use another list from now on, and keep it. Raises `OSError` when it cannot be kept, and `PricesChanged` when
        the list is not that of `version` any more: then nothing changes."""
        async with self._changing:
            if version is not None and version != self.version:
                raise PricesChanged("Somebody else has changed the prices since they were read; read them again.")
            if self._file is not None:
                await asyncio.to_thread(write_whole, self._file, _written(currency, models))
            self._take(currency, models)

    def told(self, seen: Iterable[str] = ()) -> dict[str, Any]:
        """As the API tells it; `seen` are models that had requests."""
        return {
            "currency": self.currency,
            "models": {name: asdict(price) for name, price in self.models.items()},
            "is_shipped": self.is_shipped,
            "version": self.version,
            "unpriced": sorted(name for name in seen if self.of(name) is None),
        }

    def _take(self, currency: str, models: Mapping[str, Price]) -> None:
        self.currency, self.models, self.is_shipped = currency, dict(models), False
        self._known = {}

    def _found(self, model: str) -> Price | None:
        for name in (model, _DATE.sub("", model)):
            if name in self.models:
                return self.models[name]
        matching = [name for name in self.models if fnmatchcase(model, name)]
        if matching:
            return self.models[max(matching, key=len)]
        return FREE if model in self._own else None


def _written(currency: str, models: Mapping[str, Price]) -> str:
    body = {"currency": currency, "models": {name: asdict(price) for name, price in models.items()}}
    return json.dumps(body, indent=1, ensure_ascii=False)


def checked(models: Any) -> dict[str, Price]:
    """A price list as it was sent. Raises `InvalidRequest` naming the field."""
    if not isinstance(models, Mapping):
        raise InvalidRequest("models must be an object of prices by model name.", "models")
    if len(models) > MOST_MODELS:
        raise InvalidRequest(f"A price list has {MOST_MODELS} models at most.", "models")
    return {checked_name(name): _price(name, fields) for name, fields in models.items()}


def checked_name(name: Any) -> str:
    """A model's name, or a pattern. Raises `InvalidRequest`."""
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_CHARS or not name.isprintable():
        raise InvalidRequest(f"A model's name is 1 to {MOST_CHARS} printable characters.", "models")
    return name


def checked_currency(currency: Any) -> str:
    """The name of a currency. Raises `InvalidRequest`."""
    if not isinstance(currency, str) or not currency.isascii() or not currency.isalpha() or len(currency) != 3:
        raise InvalidRequest("currency must be three letters, as in USD.", "currency")
    return currency.upper()


def _price(name: str, fields: Any) -> Price:
    where = f"models.{name}"
    if not isinstance(fields, Mapping):
        raise InvalidRequest("A price is an object of prompt, cached_prompt and completion.", where)
    if unknown := set(fields) - {"prompt", "cached_prompt", "completion"}:
        raise InvalidRequest(f"A price has no {min(map(str, unknown))}.", where)
    numbers = {key: _amount(value, f"{where}.{key}") for key, value in fields.items() if value is not None}
    prompt = numbers.get("prompt", 0.0)
    cached = numbers.get("cached_prompt", prompt)  # who gives no discount has none
    if cached > prompt:
        raise InvalidRequest("cached_prompt cannot be over prompt.", f"{where}.cached_prompt")
    return Price(prompt, cached, numbers.get("completion", 0.0))


def _amount(value: Any, where: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= DEAREST:
        raise InvalidRequest(f"A price is a number from 0 to {DEAREST:,.0f} per million tokens.", where)
    return float(value)
