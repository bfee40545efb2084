"""By which upgrade a slot got its images stands on its workload, where no pod minds."""

from dataclasses import replace

from lane_api.names import IMAGES_ANNOTATION
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, DesiredSettings
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child


def rendered(settings: DesiredSettings) -> Desired:
    claims = made.assignment(made.claim(0), made.claim(1))
    return desired_state(made.lane(), made.references(made.lane(), made.pool()), claims, settings)


def test_a_record_stands_on_the_slots_own_workload_and_changes_no_pod() -> None:
    plain = rendered(made.SETTINGS)
    found = rendered(replace(made.SETTINGS, image_records={"otp-0": "{}"}))
    workload, before = child(found, "StatefulSet", "otp-0"), child(plain, "StatefulSet", "otp-0")

    assert workload["metadata"]["annotations"] == {**before["metadata"]["annotations"], IMAGES_ANNOTATION: "{}"}
    assert workload["spec"] == before["spec"]
    assert child(found, "StatefulSet", "otp-1") == child(plain, "StatefulSet", "otp-1"), "which has none"
    assert IMAGES_ANNOTATION not in before["metadata"]["annotations"]
