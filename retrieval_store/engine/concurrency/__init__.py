"""Threads, interrupts and forks: how anything is held in this process.

In comes a piece of work, a function; out comes what it returns, and nothing is held any more,
wherever an exception struck. `locking` has the locks, `forking` what a forked child must not
inherit. It may use nothing else of the project.
"""
