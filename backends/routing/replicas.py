"""Which backends serve one model, and what its revision is. Pure.

Answers are kept under a model's revision, so replicas must agree on it, and it must not hang on who is up. A backend
that states one (a local engine, or a configured `revision`) decides; who states none is believed to serve the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backends.base import Model
from backends.routing.member import Member


@dataclass(frozen=True, slots=True)
class Replicas:
    """Who serves a model; `strangers` list its name with another revision, and are not asked."""

    model: Model
    members: tuple[Member, ...]
    strangers: tuple[Member, ...] = ()


def replicas(serving: Sequence[tuple[Member, Model]]) -> Replicas:
    """Who of those that list a model, at least one, serve the same one: the first to state a revision decides."""
    if len(serving) == 1:
        member, model = serving[0]
        return Replicas(model, (member,))
    stated = ((member, model) for member, model in serving if member.rule.states_revision)
    _, model = next(stated, serving[0])
    agree = tuple(
        member for member, its in serving if not member.rule.states_revision or its.revision == model.revision
    )
    return Replicas(model, agree, tuple(member for member, _ in serving if member not in agree))


def candidates(members: Sequence[Member], owner: str = "", model: str = "") -> tuple[list[Member], int]:
    """Who is to be asked now, and how good a choice they are: 0 for backends that nothing speaks against."""
    if len(members) == 1:
        lone = members[0].rank(owner, model)
        return ([], 0) if lone is None else ([members[0]], lone)
    ranks = [(member, rank) for member in members if (rank := member.rank(owner, model)) is not None]
    best = min((rank for _, rank in ranks), default=0)
    return [member for member, rank in ranks if rank == best], best
