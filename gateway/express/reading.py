"""The bytes of a request, as they are known again. Pure.

    POST /v1/chat/completions HTTP/1.1
    host: ...
    x-request-id: abc            passing: left out of what is compared, and told back
    content-length: 5

    {...}

Nothing is parsed here. A request is known by its bytes, and the whole road's parser has read these very bytes before:
`known_as` compares what it made of them with what is made of them here, line by line, and gives up where the two
differ. What may differ afterwards is a passing line, and those are matched in one strict spelling.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Header = tuple[bytes, bytes]

MOST_BYTES = 64 * 2**10  # of a request; longer ones take their time anyway
MOST_HEAD_BYTES = 16 * 2**10
MOST_HEADERS = 64
MOST_PASSING = 16
END = b"\r\n\r\n"

# Ids of a request and of its trace, of which nothing but logs and spans are made.
_NAMES = (
    b"x-request-id",
    b"traceparent",
    b"tracestate",
    b"x-amzn-trace-id",
    b"x-cloud-trace-context",
    b"x-correlation-id",
    b"b3",
    b"x-b3-traceid",
    b"x-b3-spanid",
    b"x-b3-parentspanid",
    b"x-b3-sampled",
)
_PASSING = re.compile(
    rb"\r\n(?:%b):[ \t]{0,8}(?:[!-~](?:[ -~]{0,510}[!-~])?)?(?=\r\n)" % b"|".join(_NAMES), re.IGNORECASE
)
_REQUEST_ID = re.compile(rb"\r\nx-request-id:[ \t]*([^\r]*)", re.IGNORECASE)
_NEVER = frozenset((b"expect", b"upgrade", b"transfer-encoding", b"te", b"trailer", b"http2-settings"))


@dataclass(frozen=True, slots=True)
class Known:
    """What a request is known by."""

    key: bytes = field(repr=False)  # all of it, without passing lines; a credential and a question are in it
    head: bytes = field(repr=False)  # of that, up to and with the empty line
    num_body: int  # bytes of the body


def without_passing(head: bytes) -> tuple[bytes, bytes] | None:
    """A head without passing lines, and what the first of them says that names the request. None: too many of them."""
    kept, count = _PASSING.subn(b"", head)
    if count > MOST_PASSING:
        return None
    found = _REQUEST_ID.search(head) if count else None
    return kept, b"" if found is None else found[1]


def known_as(raw: bytes, method: bytes, target: bytes, headers: Sequence[Header], body: bytes) -> Known | None:
    """What `raw` is known by from now on; None where it is not just what the parser made of it: one plain request with
    a length, that neither asks for nor announces anything of its connection."""
    end = raw.find(END) + len(END)
    if not 0 < end - len(END) <= MOST_HEAD_BYTES or raw[end:] != body:
        return None
    first, *lines = raw[: end - len(END)].split(b"\r\n")
    if first != b"%b %b HTTP/1.1" % (method, target) or len(lines) > MOST_HEADERS:
        return None
    if [_header(line) for line in lines] != list(headers):
        return None
    lengths = [value for name, value in headers if name == b"content-length"]
    if lengths != [b"%d" % len(body)] or not all(map(_is_plain, headers)):
        return None
    kept = without_passing(raw[:end])
    return None if kept is None else Known(kept[0] + body, kept[0], len(body))


def _header(line: bytes) -> Header:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _is_plain(header: Header) -> bool:
    name, value = header
    return name not in _NEVER and (name != b"connection" or value.lower() == b"keep-alive")
