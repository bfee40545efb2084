"""Records have their own share of a real small volume: they never take the room, or the patience, of mail."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_disk_filled_with_records_alone_refuses_no_mail_before_the_spools_own_budget(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=36m none "$1" && exec "$2" -m tests.lane_relay.audit.flood "$1"'
    done = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", str(volume), sys.executable],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mail took" in done.stdout
