"""Whoever is slow in asking, in sending or in reading is cut off; whoever says too much is told."""

import json
import logging
import time
from asyncio import CancelledError
from collections.abc import Iterator

import pytest

from gateway.edge.rules import EdgeRules, is_late
from gateway.edge.server import CutAtTheEnd
from tests.gateway.edge.served import LOOK_S, Served, all_of, served

GET = b"GET / HTTP/1.1\r\nhost: a\r\n"
LAST = b"connection: close\r\n\r\n"
RULES = EdgeRules(connections=20, head_bytes=4096, head_s=0.3, body_s=0.3, idle_s=1, write_s=0.3)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(RULES) as running:
        yield running


def status_and_error(said: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"]


@pytest.mark.parametrize("first", [b"", b"GET / HT", GET, GET + b"x-a: b\r\n"])
def test_headers_that_do_not_come_in_time_are_a_408(server: Served, first: bytes) -> None:
    status, error = status_and_error(server.ask(first))

    assert (status, error["code"]) == (408, "request_timeout")


def test_a_head_in_drops_is_as_slow_as_one_that_stops(server: Served) -> None:
    with server.connect(GET) as client:
        began, said = time.monotonic(), b""
        client.settimeout(0.05)
        while not said and time.monotonic() < began + 10:
            client.sendall(b"x")
            try:
                said = client.recv(4096)
            except TimeoutError:
                continue

    assert said.startswith(b"HTTP/1.1 408 ")


def test_a_second_request_that_stops_in_its_headers_is_cut_too(server: Served) -> None:
    said = server.ask(GET + b"\r\n" + b"GET /")

    assert said.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 408 " in said


def test_a_body_that_does_not_come_in_time_is_a_408_in_the_shape_of_its_path(server: Served) -> None:
    said = server.ask(b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome")

    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["type"] == "error"


def test_a_body_may_take_its_time_while_it_comes() -> None:
    rules = EdgeRules(body_s=30)

    assert not is_late(rules, 29, 0)
    assert is_late(rules, 31, 0)
    assert not is_late(rules, 1000, 2**20)
    assert not is_late(EdgeRules(body_s=0), 10**6, 0)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET + b"x-long: " + b"a" * 5000 + b"\r\n" + LAST, 431),
        (GET + b"x-endless: " + b"a" * 5000, 431),
        (GET + b"".join(b"x-%d: a\r\n" % n for n in range(200)) + LAST, 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: a\r\n" + LAST, 414),
        (b"nonsense\r\n\r\n", 400),
    ],
    ids=["long", "endless", "many", "address", "nonsense"],
)
def test_a_head_that_is_too_much_is_refused_in_json(server: Served, request_: bytes, status: int) -> None:
    assert status_and_error(server.ask(request_))[0] == status


def test_who_asks_for_another_protocol_is_answered_in_this_one_and_so_is_what_follows(server: Served) -> None:
    asking = b"POST /a HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: h2c\r\n"
    server.app.asked.clear()
    with server.connect(
        asking + b"content-length: 5\r\n\r\n12345" + asking + b"transfer-encoding: chunked\r\n\r\n"
    ) as client:
        time.sleep(3 * LOOK_S)
        client.sendall(b"3\r\nabc\r\n0\r\n\r\n" + GET + LAST)
        said = all_of(client)

    assert [each[-1:] for each in said.split(b"HTTP/1.1 200 OK")[1:]] == [b"5", b"3", b"0"]
    assert server.app.asked == ["/a", "/a", "/"]
    assert b"upgrade" not in server.app.headers
    tunnel = b"CONNECT /a HTTP/1.1\r\nhost: a\r\n\r\n"
    assert b"connection: close" in server.ask(tunnel + GET + LAST)  # what follows is none of ours
    assert server.app.asked[3:] == ["/a"]


def test_fields_behind_a_chunked_body_are_no_headers(server: Served) -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n" + LAST
    said = server.ask(head + b"3\r\nabc\r\n0\r\nauthorization: Bearer other\r\n\r\n")

    assert said.endswith(b"\r\n\r\n3")
    assert b"authorization" not in server.app.headers


def test_some_requests_may_be_sent_ahead_and_are_answered_in_order(server: Served) -> None:
    said = server.ask((GET + b"\r\n") * 3 + GET + LAST)

    assert said.count(b"HTTP/1.1 200 OK") == 4


def test_more_requests_ahead_than_anybody_needs_end_the_connection(server: Served) -> None:
    before = len(server.app.asked)
    said = server.ask(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n" + (GET + b"\r\n") * 500)

    assert said == b""
    assert server.counts.cut["pipeline"] == 1
    assert server.app.left.wait(10)
    assert server.app.asked[before:] == ["/hang"]


def test_who_leaves_with_a_request_waiting_leaves_the_one_under_way_too() -> None:
    with served(RULES) as server:
        with server.connect(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n" + GET + b"\r\n"):
            while not server.app.asked:
                time.sleep(0.01)

        assert server.app.left.wait(10)


def test_who_does_not_read_is_cut_off_and_what_it_was_told_ends() -> None:
    with served(RULES) as server, server.connect(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n") as client:
        client.setsockopt(1, 8, 4096)  # SO_RCVBUF
        assert server.app.left.wait(10)
        assert server.counts.cut["slow_reader"] == 1


def test_an_idle_connection_is_closed(server: Served) -> None:
    with server.connect(GET + b"\r\n") as client:
        assert all_of(client).startswith(b"HTTP/1.1 200 OK")


def test_more_connections_than_there_may_be_are_told_so() -> None:
    with served(EdgeRules(connections=2)) as server:
        others = [server.connect(GET + b"\r\n") for _ in range(2)]
        assert all(other.recv(4096).startswith(b"HTTP/1.1 200") for other in others)
        status, error = status_and_error(server.ask(GET + b"\r\n"))
        for other in others:
            other.close()

        assert (status, error["code"]) == (503, "overloaded")
        assert server.counts.refused["connections"] == 1


def test_answers_that_a_stop_cuts_off_are_counted_and_not_an_error_each() -> None:
    cut, error = CutAtTheEnd(), CancelledError()
    said = ["ASGI callable returned without completing response."] * 3 + ["Cancel %s running task(s)", "Something else"]
    records = [logging.LogRecord("", logging.ERROR, "", 0, text, (), None) for text in said]
    records.append(logging.LogRecord("", logging.ERROR, "", 0, "Exception", (), (CancelledError, error, None)))
    told = [record.msg for record in records if cut.filter(record)]

    assert (told, cut.answers) == (["Something else"], 4)
