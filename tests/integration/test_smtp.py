"""Mail: aiosmtpd, whose protocol is a subclass of StreamReaderProtocol, with aiosmtplib as its client; STARTTLS too."""

import asyncio
import contextlib

import pytest
from support.packages import need

_, aiosmtplib = need("aiosmtpd", "aiosmtplib")
from aiosmtpd.smtp import SMTP  # noqa: E402


class Box:
    """A handler that keeps what comes."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content, session.ssl is not None))
        return "250 taken"


@contextlib.asynccontextmanager
async def serving(box, **options):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop, hostname="localhost", **options), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("secure", [False, True])
def test_mail(run, tls, secure, size):
    body = b"".join(b"line %06d of the mail\r\n" % i for i in range(size // 24 + 1))

    async def main():
        box = Box()
        async with serving(box, tls_context=tls.server if secure else None) as port:
            options = {"start_tls": True, "tls_context": tls.client} if secure else {"start_tls": False}
            host = "localhost" if secure else "127.0.0.1"
            async with aiosmtplib.SMTP(hostname=host, port=port, **options) as client:
                for _ in range(3):
                    await client.sendmail("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\n" + body)
        return box.mails

    mails = run(main)
    expected = ("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\n" + body, secure)
    assert mails == [expected] * 3
