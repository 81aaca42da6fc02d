"""A progress bar on the error output, for a person who looks; nothing for anybody else."""

from types import TracebackType
from typing import TYPE_CHECKING

from gateway.cli.screen import is_watched

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """How much is done, of how much if that is known. A context manager."""

    def __init__(self, what: str, total: int | None) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        if is_watched():
            self._bar = _bar(what, total)
            self._task = self._bar.add_task(what, total=total)

    def at(self, done: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(what: str, total: int | None) -> "Bar":
    from rich import progress

    from gateway.cli.terminal import Screen

    return progress.Progress(
        progress.TextColumn(what),
        progress.BarColumn(),
        progress.TextColumn("{task.completed}") if total is None else progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=Screen(stderr=True),
        transient=True,
    )
