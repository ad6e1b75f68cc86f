"""Programs of others, with traffic on loopback: the same on asyncio's own loop and on treadle's."""

import asyncio
import ssl
import types

import pytest
import treadle
from support.packages import need

LIMIT = 60.0
FACTORIES = {"stock": asyncio.SelectorEventLoop, "treadle": treadle.new_event_loop}


@pytest.fixture(params=FACTORIES)
def loop_name(request):
    return request.param


@pytest.fixture
def factory(loop_name):
    return FACTORIES[loop_name]


@pytest.fixture
def run(factory):
    """Runs a coroutine function on the loop under test. Nothing may come to the loop's exception handler."""

    def run(main):
        complaints = []

        async def watched():
            loop = asyncio.get_running_loop()
            assert type(loop) is (treadle.EventLoop if factory is treadle.new_event_loop else asyncio.SelectorEventLoop)
            loop.set_exception_handler(lambda loop, context: complaints.append(context))
            async with asyncio.timeout(LIMIT):
                return await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(watched())
        assert not complaints
        return result

    return run


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """TLS contexts that trust each other, `server` and `client`, and the server's key and certificate in a file, `pem`."""
    trustme = need("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    certificate.configure_cert(server)
    authority.configure_trust(client)
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    return types.SimpleNamespace(server=server, client=client, pem=str(pem))
