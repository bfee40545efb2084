"""Chaos: what a relay promises while it is killed, again and again, and while what it stands on fails.

`python -m tests.chaos` (`make chaos-relay`) runs in network, mount and process namespaces of its own. `ground` makes
them, `internet` the ISPs and the resolver, `slots` the relays. Kills: `traffic` is the mail, `kills` the campaign,
`judge` compares what was promised with what the ISPs wrote down, `lateness` says how busy the machine was; `stepping`
kills at each step of a hand-over. Faults: `faults` are what fails (by `layer` for disk and clock, `resolver` for names,
`crowd` of clients), `suffering` inflicts each by itself beside an ISP that must not feel it, and a twin that cannot.
`mutants` shows that either would find fault, `figures` writes down what was found.
"""
