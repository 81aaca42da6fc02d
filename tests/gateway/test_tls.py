"""HTTPS of the gateway's own: what is in the files, renewals while it serves, and callers that need a certificate."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.settings import SettingsError, TlsSettings, load_settings
from gateway.tls import Certificates, context_of

CA, OTHER_CA = trustme.CA(), trustme.CA()
LEAF, OTHER_LEAF = CA.issue_cert("127.0.0.1"), CA.issue_cert("127.0.0.1", "localhost")


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    files = TlsSettings(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    write(files, LEAF)
    return files


def write(files: TlsSettings, leaf: trustme.LeafCert) -> None:
    Path(files.cert).write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    Path(files.key).write_bytes(leaf.private_key_pem.bytes())


def caller(leaf: trustme.LeafCert | None = None, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if leaf is not None:
        leaf.configure_cert(context)
    if most is not None:
        context.minimum_version = context.maximum_version = most
    return context


async def ask(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate of the server, after a word each way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"hi\n")
        assert await reader.readline() == b"hi\n"
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_renewed_files_are_taken_up_whole_and_half_written_ones_are_not(
    tls: TlsSettings, tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def renewing() -> list[bytes]:
        certificates = Certificates(tls)
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=certificates.context) as server:
            port: int = server.sockets[0].getsockname()[1]
            seen = [await ask(port, caller())]
            write(TlsSettings(tls.cert, str(tmp_path / "later.pem")), OTHER_LEAF)
            with pytest.raises(SettingsError, match=r"tls\.key"):
                certificates.renew()
            seen.append(await ask(port, caller()))
            write(tls, OTHER_LEAF)
            assert certificates.renew()
            assert not certificates.renew()
            return [*seen, await ask(port, caller())]

    with asyncio.Runner(loop_factory=loop) as runner:
        first, meanwhile, last = runner.run(renewing())
    assert first == meanwhile == ssl.PEM_cert_to_DER_cert(LEAF.cert_chain_pems[0].bytes().decode())
    assert last == ssl.PEM_cert_to_DER_cert(OTHER_LEAF.cert_chain_pems[0].bytes().decode())


async def test_a_renewal_is_noticed_while_serving(tls: TlsSettings) -> None:
    certificates = Certificates(tls, look_s=0.01)
    first = certificates.context.latest
    async with certificates.followed():
        write(tls, OTHER_LEAF)
        async with asyncio.timeout(20):
            while certificates.context.latest is first:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_callers_without_a_certificate_of_the_right_root_are_not_heard(tls: TlsSettings, tmp_path: Path) -> None:
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificates = Certificates(TlsSettings(tls.cert, tls.key, client_ca=str(tmp_path / "ca.pem")))
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=certificates.context) as server:
        port = server.sockets[0].getsockname()[1]
        await ask(port, caller(CA.issue_cert("app@example.com")))
        for stranger in (caller(), caller(OTHER_CA.issue_cert("app@example.com"))):
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await ask(port, stranger)


async def test_nothing_older_than_tls_1_2_is_spoken(tls: TlsSettings) -> None:
    context = context_of(tls)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        await ask(port, caller(most=ssl.TLSVersion.TLSv1_2))


def test_a_key_with_a_password_is_opened_with_it_alone(tls: TlsSettings, tmp_path: Path) -> None:
    key = load_pem_private_key(LEAF.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret"))
    Path(tls.key).write_bytes(locked)

    for password in ("", "wrong-word"):
        with pytest.raises(SettingsError, match=r"tls\.key") as refused:
            context_of(TlsSettings(tls.cert, tls.key, key_password=password))
        assert "wrong-word" not in str(refused.value)
    context_of(TlsSettings(tls.cert, tls.key, key_password="s3cret"))
    assert "s3cret" not in repr(TlsSettings(key_password="s3cret"))


def test_files_of_no_use_stop_the_start_and_are_named(tls: TlsSettings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nnone\n")
    cases = {
        "cert": TlsSettings(str(tmp_path / "none.pem"), tls.key),
        "key": TlsSettings(tls.cert, str(tmp_path / "none.pem")),
        "client_ca": TlsSettings(tls.cert, tls.key, client_ca=str(bad)),
        "cert ": TlsSettings(str(bad), tls.key),
        "key$": TlsSettings(tls.cert),
    }
    for name, files in cases.items():
        with pytest.raises(SettingsError, match=rf"tls\.{name.strip()}"):
            context_of(files)
    with pytest.raises(SettingsError, match=r"tls\.client_ca is set"):
        load_settings({"tls": {"client_ca": str(bad)}}, environ={})
