"""Two prompts: where they part, and how far they are one again behind the difference. Pure.

    earlier   ......... 10:31:05 ................ 3f9a ............. A
    new       ......... 12:07:44 ................ 77c0 ............. B
                       |  start  | end       run |    |     run     |

What a difference costs are the runs behind it: they would have been reused were it not there, nor another before them.
"""

from dataclasses import dataclass

ANCHOR = 32  # bytes that are looked for behind a difference
SKIPS = (0, 8, 16, 32, 64, 128, 256, 512)  # how far behind the parting of the new prompt
WINDOW = 1024  # bytes of the earlier prompt in which they are looked for
MOST = 8  # differences of two prompts


@dataclass(frozen=True, slots=True)
class Parting:
    """Where the new prompt leaves the earlier one, where it is back, and for how many bytes."""

    start: int
    end: int
    earlier_start: int
    earlier_end: int
    run: int


def shared(one: bytes, other: bytes, at: int = 0, other_at: int = 0) -> int:
    """How many bytes are the same from two places on, by growing strides."""
    limit = min(len(one) - at, len(other) - other_at)
    done, stride = 0, 256
    while done < limit:
        size = min(stride, limit - done)
        if one[at + done : at + done + size] == other[other_at + done : other_at + done + size]:
            done += size
            stride = min(stride * 4, 1 << 16)
            continue
        while size > 1:
            half = size // 2
            if one[at + done : at + done + half] == other[other_at + done : other_at + done + half]:
                done, size = done + half, size - half
            else:
                size = half
        return done
    return limit


def partings(earlier: bytes, new: bytes, start: int) -> list[Parting]:
    """Every difference of two prompts that part at `start`, up to where they do not meet again."""
    found: list[Parting] = []
    at = earlier_at = start
    while len(found) < MOST:
        one = _parting(earlier, new, earlier_at, at)
        if one is None:
            break
        found.append(one)
        at, earlier_at = one.end + one.run, one.earlier_end + one.run
    return found


def _parting(earlier: bytes, new: bytes, earlier_start: int, start: int) -> Parting | None:
    for skip in SKIPS:
        here = start + skip
        anchor = new[here : here + ANCHOR]
        if len(anchor) < ANCHOR:
            return None
        there = earlier.find(anchor, earlier_start, earlier_start + skip + WINDOW)
        if there < 0:
            continue
        while here > start and there > earlier_start and new[here - 1] == earlier[there - 1]:
            here, there = here - 1, there - 1
        return Parting(start, here, earlier_start, there, shared(new, earlier, here, there))
    return None
