"""An explanation as a few lines of text. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

JSON = Mapping[str, Any]

WORDS = {
    "exact": "the same request is stored",
    "semantic": "the same question is stored in other words",
    "full": "it would be generated",
}


def rendered(told: JSON) -> str:
    """What would happen to a request."""
    would = told["would"]
    entry = f", entry {would['entry']}" if would["entry"] else ""
    lines = [f"{would['tier']}: {WORDS[would['tier']]} ({would['reason']}{entry})"]
    lines += _aligned("request", _request(told["request"]))
    lines += _aligned("without", _without(told["normalised"]))
    lines += _aligned("plan", _plan(told["plan"]))
    lines += _aligned("exact", _exact(told["exact"]))
    lines += _aligned("semantic", _semantic(told["semantic"]))
    lines += _aligned("commons", _commons(told.get("commons")))
    return "\n".join(lines)


def rendered_response(told: JSON) -> str:
    """What was decided about a response."""
    entry = f", entry {told['entry']}" if told["entry"] else ""
    similarity = f", similarity {told['similarity']:.3f}" if told["similarity"] is not None else ""
    lines = [f"{told['tier']}: {told['reason']}{entry}{similarity}"]
    lines += _aligned("request", [f"model {told['model']}, tenant {told['tenant']}"])
    if told["question"]:
        lines += _aligned("question", [told["question"]])
    if told["stored_question"]:
        lines += _aligned("stored", [told["stored_question"]])
    lines += _aligned("semantic", _semantic(told["semantic"]))
    return "\n".join(lines)


def _aligned(name: str, said: "list[str] | Iterator[str]") -> list[str]:
    return [f"{name if at == 0 else '':<10}{line}" for at, line in enumerate(said)]


def _request(request: JSON) -> Iterator[str]:
    revision = f" at {request['revision']}" if request["revision"] else ""
    namespace = f", namespace {request['namespace']}" if request["namespace"] else ""
    salt = ", with a salt" if request["has_salt"] else ""
    yield f"model {request['model']}{revision}, tenant {request['tenant']}{namespace}{salt}"


def _commons(commons: JSON | None) -> Iterator[str]:
    """What tenants share."""
    if commons is None:
        return
    if commons["refusal"] is not None:
        yield f"not shared ({commons['refusal']})"
        return
    objects = ", and this one objects to the answer" if commons["objects"] else ""
    found = f": entry {commons['entry']}" if commons["entry"] else ""
    yield f"{commons['tenants']} of {commons['needed']} tenants have asked this{objects}{found}"


def _without(normalised: JSON) -> Iterator[str]:
    """What was taken out of the prompt."""
    place = "for the key and the backend" if normalised["of"] == "prompt" else "for the key alone"
    for one in normalised["taken_out"]:
        now = f", now {one['to']!r}" if one["to"] else ""
        where = f"message {one['message'] + 1} ({one['role']}), character {one['at'] + 1}"
        yield f"{one['text']!r}{now} {place}: rule {one['rule']}, {where}"
    if normalised["clock_stays"]:
        yield f"the clock stays: {normalised['clock_stays']}"


def _plan(plan: JSON) -> Iterator[str]:
    may = [word for name, word in (("read_exact", "exact"), ("read_semantic", "semantic")) if plan[name]]
    kept = "is kept" if plan["write"] else "is not kept"
    life = f" for {plan['ttl_s']:g} s" if plan["write"] and plan["ttl_s"] is not None else ""
    bypass = f" ({plan['bypass']})" if plan["bypass"] else ""
    yield f"looks for {' and '.join(may) or 'nothing'}{bypass}; its answer {kept}{life}"
    if plan["semantic_refusal"]:
        yield f"exact only: {plan['semantic_refusal']}"


def _exact(exact: JSON) -> Iterator[str]:
    if exact["found"]:
        life = "never ends" if exact["ttl_s"] is None else f"ends in {exact['ttl_s']:.0f} s"
        state = f" but {exact['miss']}" if exact["miss"] else ""
        said = f"{exact['good']} good, {exact['bad']} bad"
        yield f"found{state}: {exact['entry']}, {exact['age_s']:.0f} s old, {life}, {said}"
        return
    yield "not found"
    for place in exact["elsewhere"]:
        walls = ", ".join(f"{name} {_of(place, name)}".strip() for name in place["walls"])
        yield f"the very request is stored behind another wall: {place['entry']} ({walls})"
    if not exact["elsewhere"] and exact["nearest"] is None:
        yield "nothing is stored for this model, namespace, salt and tenant"
    if exact["nearest"] is not None:
        yield f"nearest stored request {exact['nearest']['entry']}:"
        for difference in exact["nearest"]["differences"]:
            yield f"  {difference['text']}"


def _of(place: JSON, wall: str) -> str:
    """What stands there; a salt is nowhere kept."""
    return "" if wall == "cache_salt" else str(place[wall] or "none")


def _semantic(semantic: JSON) -> Iterator[str]:
    yield f"mode {semantic['mode']}, route {semantic['route']}, wrong hits at most {semantic['target']:.2%}"
    if "reason" in semantic:
        yield semantic["reason"]
    if semantic.get("other_histories") is not None:
        yield f"other histories: {semantic['other_histories']}"
    if "threshold" in semantic:
        probability = semantic["probability"]
        sure = "no candidate left" if probability is None else f"probability {probability:.4f}"
        yield f"{semantic['action']}: {sure}, threshold {semantic['threshold']:.4f} ({semantic['why']})"
        for one in semantic["candidates"]:
            judged = one["refusal"] or (
                f"p {one['probability']:.4f}" if one["probability"] is not None else "not judged"
            )
            yield f"  {one['similarity']:.3f}  {judged:<24}  {one['entry']}  {one['question'] or ''}".rstrip()
    elif semantic.get("similarity") is not None:
        yield f"nearest similarity {semantic['similarity']:.3f}"
