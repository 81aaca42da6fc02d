"""What metrics may not tell: who asked, under which name, behind which walls, and what."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.inprocess import ask
from bench.isolation.askers import MARK, NAMES, NUM_BEARERS, Asker, Tenant, tenants
from bench.isolation.asking import THINGS, WORDINGS
from bench.isolation.town import House
from bench.isolation.watch import Watch
from gateway.identity.scope import tenant_of

_MARK = re.compile(MARK.decode())
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
NUMBERS = ("le", "quantile")  # labels that hold a number of the metric's own
TOLD = (*(thing for thing in THINGS if " " in thing), *(how.format(thing) for how in WORDINGS for thing in THINGS))
SHORTEST = 9  # characters; what is shorter is in every text, and is looked for as the whole of a label


@dataclass(frozen=True, slots=True)
class Secrets:
    """What was said in a house by whoever asked, or was told to one of them."""

    tenants: Iterable[Tenant]
    names: Iterable[str] = ()  # of tenants as the gateway has them, of entries, of responses
    told: Iterable[str] = TOLD  # words of questions

    def kinds(self) -> Iterator[tuple[str, Iterable[str]]]:
        yield "a credential", (text for tenant in self.tenants for text in tenant.credentials)
        yield "a tenant's name", (tenant.name for tenant in self.tenants if tenant.name != "nobody")
        yield "a namespace or a salt", NAMES
        yield "a name that one of them was told", self.names
        yield "words of a question", self.told


async def scrape(home: House, keys: Sequence[tuple[str, ...]], watch: Watch) -> None:
    """Hold what the gateways of a house export against all that was said there and told."""
    crowd = tenants(NUM_BEARERS, keys)
    for app, service in zip(home.apps, home.services, strict=True):
        listed = (await ask(app, "GET", "/admin/api/keys")).json()["data"]
        shown = (text for tenant in crowd for text in tenant.credentials)
        names = {*(one["tenant"] for one in listed), *(tenant_of(service.secret, text) for text in shown)}
        nobody = Asker(Tenant("who scrapes metrics"))
        answer = await ask(app, "GET", "/metrics")
        assert answer.status == 200, answer
        watch.look(answer, nobody)
        for what in crossed(answer.body.decode(), Secrets(crowd, {*names, *watch.owners})):
            watch.leaked(f"{what} in metrics", nobody, answer)


def crossed(metrics: str, secrets: Secrets) -> list[str]:
    """What of it is in this text of metrics: in any place, or as a label where it is short."""
    metrics = "\n".join(line for line in metrics.split("\n") if not line.startswith("#"))
    labels = {_plain(value) for name, value in _LABEL.findall(metrics) if name not in NUMBERS}
    found = [f"the mark {mark}" for mark in sorted(set(_MARK.findall(metrics)))]
    for kind, texts in secrets.kinds():
        seen = {text for text in texts if text and (text in labels or (len(text) >= SHORTEST and text in metrics))}
        found += [f"{kind} {text!r}" for text in sorted(seen)]
    return found


def _plain(value: str) -> str:
    """A label's value as it was before it was escaped."""
    return re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], value)
