"""What the semantic tier serves and gets wrong: `python -m bench quality`, or `python -m bench.quality` for all tables.

streams  policies  vcache  risk  gptcache     a cache that walks a stream, and what decides in it
pairs  fit  sources                           labelled pairs, and the verifier fitted to them
readings  memo                                what is computed once
report  plot                                  tables and the picture in docs/quality.md
"""

from bench.datasets import DATA, DataError
from bench.rows import Row, Scale


def run(scale: Scale) -> list[Row]:
    """Streams at the default target; beside it the best fixed cosine that hindsight finds."""
    from bench.quality.report import DEFAULT, GOALS, left_out, load, walked  # heavy: torch and the embedder

    if not (DATA / "streams").is_dir():
        raise DataError(f"there is no {DATA / 'streams'}")
    streams, sources, shipped = load()
    rows = []
    for stream in streams:
        if stream.name in GOALS and not (scale.quick and len(stream.asked) > 1500):
            one = walked(stream, left_out(stream.name, sources, shipped), shipped)
            tally, best = one.lanes[DEFAULT], one.cosines.get(one.best_cosine)
            note = f"wrong {tally.wrong} of {tally.hits} hits, goal {100 * GOALS[stream.name]:g} %"
            beside = None if best is None else 100 * best.served_share
            rows.append(
                Row("quality", f"{stream.name}, served of answerable at 1 %", 100 * tally.served_share, "%", beside,
                    "best fixed cosine in hindsight", note)
            )  # fmt: skip
    return rows
