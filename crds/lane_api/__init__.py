"""The agreement between users, operator and relay: frozen models of what each writes and the others read.

Invariant: nothing here does I/O or imports either program, so both can be upgraded against it on their own.
"""

__version__ = "0.1.0"
