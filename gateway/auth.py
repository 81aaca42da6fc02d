"""The credential of a request. Whoever presents the same one is the same tenant."""


def credential_of(authorization: str | None) -> str | None:
    """The bearer token, or None."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else authorization.strip() or None
