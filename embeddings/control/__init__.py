"""Whether a near question may be answered from memory, so that wrong hits stay under a rate the operator sets.

Pure: no clock, no I/O, no randomness but a keyed hash. A lane that is given the same labels in the same order decides
the same.
"""

from embeddings.control.lane import Lane
from embeddings.control.types import Compares, Label, LaneReport, Looked, Neighbour, Verdict, label_of

__all__ = ["Compares", "Label", "Lane", "LaneReport", "Looked", "Neighbour", "Verdict", "label_of"]
