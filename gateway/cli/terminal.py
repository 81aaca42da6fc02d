"""A console of rich, for the commands that draw."""

from rich.console import Console


class Screen(Console):
    """A console that lets the command know when its reader is gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
