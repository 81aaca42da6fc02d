"""Where answerable prompts are lost, and what is served wrongly: `python -m bench.quality.lost STREAM [--refitted]`.

One walk of the product's lane at 1 % in the stream's own order. Every answerable prompt that was not served has one
reason, the first that holds:

    other language     every stored question with its answer is written in another script: the embedder reads one
    gate ...           nobody looks for other words of it
    not in reach       none of these is among the neighbours that are looked at; its similarity tells how far it is
    guard ...          a guard refused the nearest of these
    sampled            it would have been served, and was generated to learn
    wrong one chosen   the lane put a neighbour with another answer above it, and had no room for either
    chance n to m      it was chosen, and thought wrong with such a chance: more than there was room for
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.quality.loading import load
from bench.quality.policies import Served
from bench.quality.risk import DEFAULT, Runner
from bench.quality.streams import Asked, Stream
from bench.quality.walk import Outcome, walk
from embeddings.control import Verdict
from embeddings.text import has_han

CHANCES = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
SHOWN = 12  # examples of a reason


@dataclass(frozen=True, slots=True)
class Step:
    """One prompt of a walk."""

    outcome: Outcome
    reason: str = ""  # why it was missed; empty: it was not, or had no answer
    missed: str = ""  # the stored question with its answer
    weighed: tuple[tuple[str, bool], ...] = ()  # what became of candidates, and whether they were right


def steps(runner: Runner, *, is_refitted: bool = False) -> Iterator[Step]:
    """A walk in the stream's own order, told step by step."""
    stream = runner.stream
    policy = Served(runner.left_out, DEFAULT, prior=runner.prior, is_refitted=is_refitted)
    stored: dict[tuple[str, str], list[str]] = defaultdict(list)
    classes: dict[str, str] = {}
    waiting = iter(stream.asked)
    for one in walk(stream, stream.asked, policy, policy):
        while (asked := next(waiting)) is not one.asked:  # inserts are walked without an outcome
            _remember(asked, stored, classes)
        verdict, policy.verdict = policy.verdict, None  # a prompt behind a gate has none
        if one.how != "generated":
            yield Step(one)
            continue
        weighed = tuple(_weighed(verdict, one.asked.class_id, classes))
        if one.is_answerable:
            twins = stored[one.asked.scope, one.asked.class_id]
            yield Step(one, *_reason(stream, one, verdict, twins, classes), weighed)
        else:
            yield Step(one, weighed=weighed)
        _remember(one.asked, stored, classes)


def _weighed(verdict: Verdict | None, class_id: str, classes: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """The neighbour that was chosen, by its chance of being wrong, and a nearer one that was refused, by the guard."""
    if verdict is None or not verdict.looked:
        return
    nearest, chosen = verdict.looked[0], verdict.chosen
    if nearest.refusal is not None:
        yield nearest.refusal, classes[nearest.id] == class_id
    if chosen is not None and verdict.probability is not None:
        yield _band(1.0 - verdict.probability), classes[chosen] == class_id


def _remember(asked: Asked, stored: dict[tuple[str, str], list[str]], classes: dict[str, str]) -> None:
    stored[asked.scope, asked.class_id].append(asked.text)
    classes[asked.text] = asked.class_id


def _reason(
    stream: Stream, one: Outcome, verdict: Verdict | None, twins: list[str], classes: dict[str, str]
) -> tuple[str, str]:
    text = one.asked.text
    if not twins:
        return "answered by a wrong hit before", ""
    if all(has_han(twin) != has_han(text) for twin in twins):
        return "other language", twins[0]
    if (gate := stream.gates.get(text)) is not None:
        return f"gate {gate}", ""
    near = stream.similar[stream.rows[text], [stream.rows[twin] for twin in twins]]
    nearest = twins[int(np.argmax(near))]
    if one.is_spent:
        return "sampled", nearest
    if verdict is not None and verdict.wording is not None:
        return "bare form, no room", verdict.wording
    looked = [each for each in verdict.looked if each.id in twins] if verdict is not None else []
    if not looked:
        beyond = f"{max(near):.1f}" if stream.gates.get(nearest) is None else "behind a gate"
        return f"not in reach, {beyond}", nearest
    judged = [each for each in looked if each.probability is not None]
    if not judged:
        return str(looked[0].refusal), looked[0].id
    best = max(judged, key=lambda each: each.probability or 0.0)
    chosen = verdict.chosen if verdict is not None else None
    if chosen is not None and classes[chosen] != one.asked.class_id:
        return "wrong one chosen", f"{best.id}  <>  {chosen}"
    return _band(1.0 - (best.probability or 0.0)), best.id


def _band(chance: float) -> str:
    low = max((limit for limit in (0.0, *CHANCES) if limit <= chance), default=0.0)
    high = min((limit for limit in CHANCES if limit > chance), default=1.0)
    return f"chance {low:g} to {high:g}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality.lost", description=__doc__.split("\n\n")[0])
    parser.add_argument("stream")
    parser.add_argument("--refitted", action="store_true", help="with a verifier fitted to the lane's labels")
    parser.add_argument("--examples", help="print those of one reason")
    options = parser.parse_args()
    runner = load([options.stream])[options.stream]
    stream = runner.stream
    found = list(steps(runner, is_refitted=options.refitted))
    stream.memo.save()
    if options.examples:
        _show(stream, [one for one in found if one.reason.startswith(options.examples)])
        return 0
    parts = sorted({_part_of(one) for one in found})
    print("answerable, served rightly, wrong hits of hits; then what was missed")
    for part in parts:
        _table(part, [one for one in found if _part_of(one) == part])
    if len(parts) > 1:
        _table("all", found)
    print("\nwhat was generated: its best candidate by chance, its nearest by the guard that refused it; right, wrong")
    weighed = Counter(each for one in found for each in one.weighed)
    for name in sorted({name for name, _ in weighed}):
        print(f"  {weighed[name, True]:5d} {weighed[name, False]:5d}  {name}")
    print("\nwrong hits")
    for one in (one.outcome for one in found):
        if one.is_wrong:
            print(f"  {one.how}: {one.asked.text!r} ({one.asked.class_id})")
            print(f"    <- {one.stored!r} ({one.served_class})")
    return 0


def _part_of(one: Step) -> str:
    return one.outcome.asked.class_id.split(":")[0]


def _table(name: str, found: list[Step]) -> None:
    answerable = [one.outcome for one in found if one.outcome.is_answerable]
    served = sum(one.how != "generated" and not one.is_wrong for one in answerable)
    hits = [one.outcome for one in found if one.outcome.how in ("wording", "near")]
    share = 100 * served / max(len(answerable), 1)
    print(f"{name}: {len(answerable)}, {served} = {share:.1f} %, {sum(one.is_wrong for one in hits)} of {len(hits)}")
    for reason, count in Counter(one.reason for one in found if one.reason).most_common():
        print(f"  {count:5d}  {100 * count / max(len(answerable), 1):5.1f} %  {reason}")


def _show(stream: Stream, missed: list[Step]) -> None:
    order = np.random.default_rng(0).permutation(len(missed))[:SHOWN]
    for one in (missed[n] for n in order):
        text, rows = one.outcome.asked.text, stream.rows.get(one.missed)
        near = "" if rows is None else f" {stream.similar[stream.rows[text], rows]:.3f}"
        print(f"{one.reason}{near}\n  {text!r}\n  {one.missed!r}")


if __name__ == "__main__":
    sys.exit(main())
