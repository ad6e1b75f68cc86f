"""Scripts that run sources in interpreters of their own."""

import sys

import pytest
from support.scripts import run_script

needs_interpreters = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="subinterpreters are supported from 3.13 on: earlier ones are not safe"
)

RUN = """
    import sys, threading
    try:
        from concurrent import interpreters
        def run(source):
            interpreter = interpreters.create()
            interpreter.exec(source)
            interpreter.close()
    except ImportError:
        import _interpreters
        def run(source):
            interpreter = _interpreters.create()
            failure = _interpreters.run_string(interpreter, source)
            assert failure is None, failure
            _interpreters.destroy(interpreter)
"""


def script(body, **sources):
    """A script that has the `sources` under their names, run(source), and does what `body` says, indented as RUN is."""
    return RUN + "".join(f"    {name} = {source!r}\n" for name, source in sources.items()) + body


def in_interpreters(body, **sources):
    """Run such a script, whose last word is to be "end"; nothing but Python's own complaints is expected besides."""
    out, err = run_script(script(body, **sources), status=None)
    # 3.13.0 itself complains when a thread leaves an interpreter that used `threading`
    assert out.rstrip().endswith("end"), err
    assert "treadle" not in err and "Fatal" not in err and "Assertion" not in err, err
    return out
