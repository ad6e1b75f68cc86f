"""The demo: the same real jobs done one by one, by concurrent.futures and by treadle.

    command.py   the command line, the run as a whole, the exit status
    section.py   what a section is, how one is timed and its results compared
    pages.py     section: pages from a slow HTTP server     server.py: that server, a child process
    files.py     section: hash and compress real files
    items.py     section: a small function over many items
    machine.py   what machine and interpreter this is
    report.py    the table and the JSON form
    progress.py  the line on the terminal while it runs

A new section is one module with a function ``make(settings) -> Section`` and one line in
``command.SECTIONS``.
"""
