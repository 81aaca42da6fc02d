"""Everything that is fuzzed, and how much of it."""

from collections.abc import Sequence

from bench.fuzz import files, frames, upstreams
from bench.fuzz.asking import asking, of_admins, of_callers
from bench.fuzz.base import Target, in_folder, plain

TARGETS: Sequence[Target] = (
    Target("callers", 0.07, asking(of_callers)),
    Target("admins", 0.04, asking(of_admins)),
    Target("upstreams", 0.02, upstreams.opened),
    Target("rows", 0.005, files.rows),
    in_folder("config", 0.05, files.config),
    in_folder("small files", 0.04, files.small_files),
    in_folder("snapshots", 0.025, files.snapshots),
    plain("answers", 0.13, files.answers),
    plain("keys", 0.1, files.keys),
    plain("imports", 0.09, files.imported),
    plain("segments", 0.11, frames.segments),
    plain("engine frames", 0.1, frames.engine_frames),
    plain("cards", 0.07, frames.cards),
    plain("feed", 0.05, frames.feed),
    plain("words", 0.05, frames.words),
    plain("responses", 0.05, frames.responses),
)
