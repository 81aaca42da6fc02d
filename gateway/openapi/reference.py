"""`python -m gateway.openapi.reference > docs/api.md`"""

from gateway import __version__, errors
from gateway.errors import GatewayError
from gateway.openapi.document import document
from gateway.openapi.operations import OPERATIONS
from gateway.openapi.page import page


def reference() -> str:
    """docs/api.md as it has to be."""
    return page(document(OPERATIONS, __version__), _errors())


def _errors() -> list[tuple[int, str, str]]:
    """What the gateway itself says, by status; a backend's errors come with its own status and code."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GatewayError)]
    told = {(kind.status, kind.code, _when(kind)) for kind in kinds if kind.code}
    return sorted(told)


def _when(kind: type[GatewayError]) -> str:
    return " ".join((kind.__doc__ or "").split()).rstrip(".").replace("`", "").replace("|", "/")


if __name__ == "__main__":
    print(reference(), end="")
