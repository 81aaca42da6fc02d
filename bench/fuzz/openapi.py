"""`python -m bench.fuzz.openapi --examples 100`: what schemathesis makes of the gateway's own OpenAPI document, good or
bad, for every operation."""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import orjson
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from bench.fuzz.asking import UNTRIED, gateway, judged
from bench.inprocess import Answer, ask

BASE = "http://127.0.0.1:8420"
Ask = Callable[[str, str, bytes, list[tuple[bytes, bytes]], bytes], Answer]


@contextmanager
def asking(folder: Path) -> Iterator[tuple[Any, Ask]]:
    """The document of a gateway, and a way to ask that gateway from outside its loop."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(gateway(folder)) as (app, _, _):

        def call(method: str, path: str, body: bytes, headers: list[tuple[bytes, bytes]], query: bytes) -> Answer:
            async def answered() -> Answer:
                return await ask(app, method, path, body, headers, query=query)

            return portal.call(answered)

        yield app.openapi(), call


def run(document: Any, call: Ask, examples: int, below: str = "/", random_seed: int = 7) -> Counter[str]:
    """What came of so many good and so many bad cases of each operation. Raises `Finding` for what none may be told."""
    outcomes: Counter[str] = Counter()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = found.ok() if isinstance(found, Ok) else None
        assert operation is not None, found
        if (operation.method.upper(), operation.path) in UNTRIED or not operation.path.startswith(below):
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(operation, mode, call, examples, outcomes, random_seed)
            except (
                schemathesis.errors.SchemathesisError,
                Unsatisfiable,
            ):  # nothing of it can be wrong, or nothing right
                outcomes["without examples"] += 1
    return outcomes


def _try(operation: Any, mode: GenerationMode, call: Ask, examples: int, outcomes: Counter[str], number: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=BASE)
        parts = urlsplit(sent["url"])
        query = "&".join(filter(None, (parts.query, urlencode(sent.get("params") or {}, doseq=True))))
        raw = _body(sent)
        answer = call(
            operation.method.upper(), unquote(parts.path, errors="replace"), raw, _headers(sent), query.encode()
        )
        outcomes[judged(answer, f"{operation.method} {sent['url']} {query} {raw[:1000]!r}")] += 1

    one()


def _body(sent: Any) -> bytes:
    if "json" in sent:
        try:
            return orjson.dumps(sent["json"])
        except TypeError:  # a number that only Python has
            return json.dumps(sent["json"]).encode("utf-8", "surrogatepass")
    raw = sent.get("data") or b""
    return raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "replace")


def _headers(sent: Any) -> list[tuple[bytes, bytes]]:
    own = {"host", "content-length", "content-type"}
    told = ((name.lower(), str(value)) for name, value in (sent.get("headers") or {}).items())
    return [(name.encode(), value.encode("utf-8", "replace")) for name, value in told if name not in own]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz.openapi", description=__doc__)
    parser.add_argument("--examples", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twicetold-openapi-") as folder, asking(Path(folder)) as (document, call):
        outcomes = run(document, call, options.examples)
    print(f"{outcomes.total()} cases, 0 findings: {dict(outcomes.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
