"""The optional validating webhook: what reconcile would say of an object, said when it is applied.

Invariant: nothing is decided here. What is not asked, since the webhook is off or does not answer (failurePolicy
Ignore), reconcile says itself, in conditions.
"""

from lane_operator.admission.door import Door
from lane_operator.admission.identity import Identity
from lane_operator.admission.review import Verdict, review

__all__ = ["Door", "Identity", "Verdict", "review"]
