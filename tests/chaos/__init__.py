"""Chaos: what a relay promises while it is killed, again and again, under mixed traffic.

`python -m tests.chaos` (`make chaos-relay`) runs in network, mount and process namespaces of its own. `ground` makes
them, `internet` the ISPs and the resolver, `slots` the relays, `traffic` the mail; `kills` is the campaign, `judge`
compares what was promised with what the ISPs wrote down, `mutants` shows that it would find fault. Not here yet: a
disk, clock, resolver and peers that fail, each beside an ISP that must not feel it.
"""
