"""Mail that comes back: delivery reports, complaints, automatic answers; bytes in, a `Reading` out, never an error.

`read` is the door. `parts` takes the mail apart, `status` reads RFC 3464, `complaint` RFC 5965 and 9477, `automatic`
RFC 3834 and what people use instead, `plain` the bounces that were written for people only.
"""
