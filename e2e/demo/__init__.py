"""`make demo`: two lanes on a real Kubernetes, a flood through one of them, and what the other's OTPs felt of it.

Order: `lanes` (operator and quickstart) -> `measure` (quiet, flood, the same through one shared Postfix) -> `result`
(table, figures) and `chart`. Invariant: every number printed comes from ledgers and ISP records of this run.
"""
