"""Many walks on several processes, each kept when it is done: a report that was cut short goes on where it stopped.

    bench/out/quality/runs-<digest>.jsonl     a line for each walk; the digest covers the code and the data walked

Processes are forked after everything is loaded, so that they share it.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.datasets import DATA
from bench.processes import ROOT
from bench.quality.risk import Run, Runner, Task
from bench.quality.streams import Asked
from bench.quality.walk import Outcome, Tally

KEPT = ROOT / "bench" / "out" / "quality"
_WALKED = (
    "embeddings",
    "gateway/identity/questions.py",
    "gateway/semantic/refit.py",
    "gateway/semantic/minds.py",
    "bench/quality",
)
_REPORTS = (
    "__init__.py",
    "__main__.py",
    "audit.py",
    "docs.py",
    "gptcache.py",
    "jobs.py",
    "lost.py",
    "plot.py",
    "report.py",
)

_runners: Mapping[str, Runner] = {}  # in a forked process, its parent's


def run_all(
    tasks: Iterable[Task], runners: Mapping[str, Runner], jobs: int, kept: Path, told: Callable[[Run], None]
) -> list[Run]:
    """What came of every task, as many at a time as there are `jobs`; `told` hears of each that was walked now."""
    wanted = list(tasks)
    done = {run.task: run for run in _read(kept)}
    with kept.open("a", encoding="utf-8") as lines:
        for run in _walked([task for task in wanted if task not in done], runners, jobs):
            done[run.task] = run
            lines.write(json.dumps(_as_json(run)) + "\n")
            lines.flush()
            told(run)
    return [done[task] for task in wanted]


def _walked(tasks: list[Task], runners: Mapping[str, Runner], jobs: int) -> Iterator[Run]:
    global _runners
    _runners = runners
    if jobs < 2:
        yield from map(_run, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for future in as_completed([pool.submit(_run, task) for task in tasks]):
            yield future.result()


def _run(task: Task) -> Run:
    started, runner = time.process_time(), _runners[task.stream]
    run = runner.run(task)
    runner.stream.memo.save()
    return replace(run, seconds=time.process_time() - started)


def kept_file(folder: Path = KEPT) -> Path:
    """Where the walks of this code over this data are kept."""
    digest = blake2b(digest_size=8)
    for name in _WALKED:
        paths = [ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*"))
        for path in paths:
            if path.suffix in (".py", ".safetensors") and not (name == "bench/quality" and path.name in _REPORTS):
                digest.update(path.read_bytes())
    for path in sorted((DATA / "streams").glob("*.jsonl.gz")):
        digest.update(path.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"runs-{digest.hexdigest()}.jsonl"


def _read(path: Path) -> Iterator[Run]:
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            try:
                yield _from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):  # half a line: it was being written when all ended
                continue


def _as_json(run: Run) -> dict[str, Any]:
    return asdict(run)


def _from_json(row: dict[str, Any]) -> Run:
    tally = row["tally"]
    mistakes = [Outcome(**{**one, "asked": Asked(**one["asked"])}) for one in tally.pop("mistakes")]
    return Run(Task(**row["task"]), Tally(**tally, mistakes=mistakes), row["seconds"], row["fits"], row["fit_s"])
