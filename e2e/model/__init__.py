"""A real API server without nodes, relays and controllers that a test moves, and operators that fail on command.

Invariant: the operator's passes, cache, client and visits, the API server, and the relays' admin API are the real ones;
what a test plays is the cluster's other controllers and what a relay has in its spool.
"""
