"""Command line of treadle: ``python -m treadle <command>``.

Each command lives in a package of its own and registers itself with a function
``add_parser(subparsers)`` that sets ``run`` (options -> exit status) as a default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from treadle._demo import command as demo
from treadle._demo.machine import treadle_version


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m treadle",
        description="treadle: one native runtime for concurrent Python.",
    )
    parser.add_argument("--version", action="version", version=f"treadle {treadle_version()}")
    demo.add_parser(parser.add_subparsers(title="commands", metavar="command"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; without one, print the help.  Returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
