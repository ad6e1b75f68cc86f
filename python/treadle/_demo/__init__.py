"""The demo: the same real jobs done by the standard library and by treadle.

    command.py   the command line, the run as a whole, the exit status
    section.py   what a section is, how one is timed and its results compared
    pages.py     section: pages from a slow HTTP server     server.py: that server, a child process
    files.py     section: hash and compress real files
    items.py     section: a small function over many items
    loop_pages.py  section: the pages by asyncio, on its own loop and on treadle's
    echo.py      section: an echo server under load         load.py: the load, a child process
    pools.py     the sides of a job for threads             loops.py: those of a job for a loop
    child.py     child processes that serve
    machine.py   what machine and interpreter this is
    report.py    the table and the JSON form
    progress.py  the line on the terminal while it runs

A new section is one module with a function ``make(settings) -> Section`` and one line in
``command.THREADS`` or ``command.LOOPS``.
"""
