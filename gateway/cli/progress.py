"""A progress bar on the error output, for a person who looks; nothing for anybody else."""

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gateway.cli.screen import Screen, is_watched


class Progress:
    """How much is done, of how much if that is known. A context manager."""

    def __init__(self, what: str, total: int | None) -> None:
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if is_watched():
            count = TextColumn("{task.completed}") if total is None else MofNCompleteColumn()
            columns = (TextColumn(what), BarColumn(), count, TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Screen(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=total)

    def at(self, done: int) -> None:
        if self._bar is not None:
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
