"""How the tests' own clients reach servers on this machine.

    httpx.get(gateway.url + "/healthz", **LOOPBACK)

httpx reads the authorities of the whole web for each client that it makes, and makes one for each `httpx.get`: 25 ms of
the processor, more than most of what is asked here takes. Plain HTTP needs none of them.
"""

import ssl
from typing import Any

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it trusts no certificate at all
LOOPBACK: dict[str, Any] = {"trust_env": False, "verify": NOBODY}
