"""`make chaos-operator`: the operator is killed, cut off, lied to and raced while its lanes carry one-time codes.

`acts` does it, `rig` and `control` hold what it is done to, `door` is the way to the API server that breaks on command,
`witness` sees what must never be, `judge` counts it. Invariant: what is counted was seen at the ISPs, in the slots'
network namespaces, on the volumes and at the door, never in what the operator says of itself.
"""
