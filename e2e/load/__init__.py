"""Open-loop load over SMTP submission, and the comparison of what was accepted with what the ISPs received.

Invariant: a message is due when its schedule says so, whatever became of those before it; the ledger has every
message that was ever offered.
"""
