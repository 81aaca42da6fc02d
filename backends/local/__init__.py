"""The local engine: a checkpoint served from a process of its own, over blocks kept by `kvtier`."""
