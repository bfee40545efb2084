"""An object of a name that a lane needs, and that is another's, is left alone; the lane says whose it is and waits."""

import pytest

from e2e.eventually import eventually
from e2e.installation import Installation, lane, pool

pytestmark = pytest.mark.cluster


@pytest.mark.long("tests/lane_operator/test_apply.py")
def test_an_object_that_was_never_the_lanes_is_left_alone_and_said(installation: Installation) -> None:
    here = installation
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "taken", "namespace": here.namespace},
        "spec": {"ports": [{"name": "smtp", "port": 587, "targetPort": 2525}], "selector": {"app": "theirs"}},
    }
    here.apply(theirs, pool("pool", here.namespace))
    here.apply(lane("taken", here.namespace))

    stalled = eventually(lambda: here.condition("taken", "Stalled"), "the lane says whose the Service is")
    assert "Service taken" in stalled["message"]
    assert "not the lane's" in stalled["message"]
    assert here.get("service", "taken")["spec"]["selector"] == {"app": "theirs"}

    here.cluster.kubectl("delete", "service", "taken", "-n", here.namespace)
    here.wait_ready("taken")
