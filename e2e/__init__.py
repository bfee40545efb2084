"""End-to-end ground of the project: clusters, an internet of real mail servers, and one file a promise.

Invariant: nothing here is imported by the product; programs run as they do at a user's.
"""
