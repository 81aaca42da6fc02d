"""The edge that settings ask for: its bounds within what the system allows, and its watch over memory."""

import gc

from backends.local.memory import give_back_free_memory
from gateway.edge.descriptors import num_descriptors
from gateway.edge.edge import Edge, reader, rules_of_edge
from gateway.edge.memory import MemoryWatch
from gateway.settings import EdgeSettings


def edge_of(settings: EdgeSettings) -> Edge:
    """What it lets go of when memory is short is named when there is something."""
    rules = rules_of_edge(settings, num_descriptors())
    return Edge(rules, memory=MemoryWatch(reader(settings.memory_mb), give_back=_give_back))


def _give_back() -> None:
    gc.collect()
    give_back_free_memory()
