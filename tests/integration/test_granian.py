"""granian, whose event loops are entries of a registry."""

import sys

from support.asgi_app import DIGEST, PART, PARTS
from support.packages import need
from support.serving import Client, free_port, serving, wait_for_port

need("granian")

PROGRAM = """\
import asyncio
import sys

import treadle
from granian import Granian, loops
from granian.constants import Interfaces, Loops


@loops.register("asyncio")
def build_loop():
    loop = treadle.new_event_loop() if sys.argv[2] == "treadle" else asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    return loop


if __name__ == "__main__":
    port = int(sys.argv[1])
    Granian("support.asgi_app:app", port=port, interface=Interfaces.ASGI, loop=Loops.asyncio).serve()
"""


def test_loop_of_the_registry(loop_name, tmp_path):
    program, port = tmp_path / "program.py", free_port()
    program.write_text(PROGRAM)
    with serving([sys.executable, str(program), str(port), loop_name], tmp_path) as alive:
        wait_for_port(port, alive)
        with Client(port) as client:
            loop = client.request("GET", "/loop")[1].decode()
            assert ("treadle" in loop) is (loop_name == "treadle") and loop.endswith(" True")
            for number in range(100):
                assert client.request("GET", f"/{number}") == (200, f"GET /{number}".encode())
            assert client.request("POST", "/in", PART * PARTS) == (200, DIGEST.encode())
            assert client.request("GET", "/out") == (200, PART * PARTS)
