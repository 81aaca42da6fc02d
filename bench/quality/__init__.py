"""What the semantic tier serves and gets wrong: `python -m bench quality`, or `python -m bench.quality` for all tables.

streams  walk                        prompts with their classes, and a cache that walks them
policies  refits  vcache             what decides in it: the product's lane, and what stands beside it
risk  jobs  loading                  one walk as a task; many on all cores, kept on disk
report  gptcache  plot  docs         tables and the picture in docs/quality.md
audit  lost                          wrong hits read by a human eye; why answerable prompts are missed
pairs  fit  sources  precision       labelled pairs, and the verifier fitted to them
belief                               what a lane believes before its first label, fitted to walks
readings  memo                       what is computed once
"""

from bench.datasets import DATA, DataError
from bench.rows import Row, Scale


def run(scale: Scale) -> list[Row]:
    """Streams at the default target; beside it the best fixed cosine that hindsight finds."""
    from bench.quality.loading import load  # heavy: torch and the embedder
    from bench.quality.report import GOALS, walked
    from bench.quality.risk import COSINES, DEFAULT, Task

    if not (DATA / "streams").is_dir():
        raise DataError(f"there is no {DATA / 'streams'}")
    rows = []
    for name, runner in load([name for name in GOALS if not (scale.quick and name != "spider")]).items():
        tasks = [Task(name, "lane", DEFAULT), *(Task(name, "cosine", at) for at in COSINES)]
        (one,) = walked([runner.run(task) for task in tasks])
        runner.stream.memo.save()
        tally, best = one.runs["lane", DEFAULT], one.runs.get(("cosine", one.best_cosine))
        note = f"wrong {tally.wrong} of {tally.hits} hits, goal {100 * GOALS[name]:g} %"
        beside = None if best is None else 100 * best.served_share
        rows.append(
            Row("quality", f"{name}, served of answerable at 1 %", 100 * tally.served_share, "%", beside,
                "best fixed cosine in hindsight", note)
        )  # fmt: skip
    return rows
