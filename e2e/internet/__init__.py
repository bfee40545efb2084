"""The internet against which lanes are tested and shown: DNS, ISPs, reflectors, Postfix, all real programs.

`Internet.up(place, ground)` builds it in a place or attaches to it; `addresses` says who answers where.
"""
