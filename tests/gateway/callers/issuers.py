"""An identity provider on loopback, and the tokens it makes, good ones and every other."""

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # on purpose
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

AUDIENCE = "twicetold"


def public(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public half of a key, as a provider names it."""
    kinds = {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256", ed25519.Ed25519PrivateKey: "EdDSA"}
    algorithm = next(name for kind, name in kinds.items() if isinstance(key, kind))
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, **({} if kid is None else {"kid": kid}), **more}


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(issuer: str, **changes: Any) -> dict[str, Any]:
    """What a good token says; None leaves one out."""
    now = int(time.time())
    said = {"iss": issuer, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, "iat": now, **changes}
    return {name: value for name, value in said.items() if value is not None}


class Provider:
    """Tells its keys, counts who asks, and can be away."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.keys: list[Any] = [public(RSA, "r1"), public(EC, "e1")]
        self.asked: list[str] = []
        self.fails = 0  # with this status, if any
        self.says: dict[str, Any] = {}  # of its configuration, instead

    def token(self, key: Any = RSA, kid: str | None = "r1", algorithm: str = "RS256", **changes: Any) -> str:
        headers = {} if kid is None else {"kid": kid}
        return jwt.api_jws.encode(json.dumps(claims(self.url, **changes)).encode(), key, algorithm, headers)

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.fails:
            return self.fails, b"{}"
        if path == "/jwks":
            return 200, json.dumps({"keys": self.keys}).encode()
        told = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.says}
        return 200, json.dumps(told).encode()


@contextmanager
def running_provider() -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = provider.answer(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
