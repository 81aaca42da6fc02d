"""How many files and sockets this process may open: without one an accept fails, or the store, or a child."""

from contextlib import suppress

MOST = 65_536  # nobody needs more, and children scan them all


def raise_descriptors() -> None:
    """As many as the system lets us have without asking."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # not on every system

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def num_descriptors() -> int:
    """How many there may be; 0 where the system does not say, or sets no limit."""
    with suppress(ImportError, OSError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return 0 if soft == resource.RLIM_INFINITY else soft
    return 0
