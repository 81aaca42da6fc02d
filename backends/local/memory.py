"""The memory of the engine process: a limit on it, and how its end is told from other errors."""


def limit_memory(num_bytes: int) -> None:
    """Let this process hold no more than so much; 0 for no limit. What is beyond fails, instead of the machine.

    The limit is on private memory: mapped weight files do not count, as the system takes them back when it must.
    """
    if num_bytes:
        import resource  # not on every system

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short. torch says so by a RuntimeError with the allocator's words."""
    if isinstance(error, MemoryError):
        return True
    words = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "could not allocate")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
