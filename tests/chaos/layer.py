"""Steers `layer.c`: a disk whose syncs fail or are slow, and a wall clock that is off, for the relays of one nursery.

Before: `faults`. After: the shared file that the preloaded layer looks at on each call.
"""

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

_NUMBERS: Final = struct.Struct("7q")
_LONGEST: Final = slice(32, 40)


class Layer:
    """Built and mapped; without a fault until told."""

    def __init__(self, folder: Path, files: tuple[str, ...] = ()) -> None:
        """Needs gcc. `only` of `steer` counts syncs of files whose path has one of these words, or of all."""
        self._files = files
        self._library, self._path = folder / "layer.so", folder / "layer.steering"
        source = Path(__file__).with_name("layer.c")
        build = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"]
        subprocess.run(build, check=True)
        self._path.write_bytes(bytes(_NUMBERS.size))
        with self._path.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), _NUMBERS.size)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to run on it."""
        files = {"CHAOS_LAYER_FILES": ",".join(self._files)} if self._files else {}
        return {"LD_PRELOAD": str(self._library), "CHAOS_LAYER": str(self._path), **files}

    def steer(
        self, *, error: int = 0, delay_ms: int = 0, clock_s: int = 0, only: int = 0, word: str | None = None
    ) -> None:
        """From now on every sync fails with `error`, or takes longer, and the clock is off.

        `only` the sync of this number from now, if it is not 0, counted among files with this one of the layer's words
        where one is named. A delay under way ends when it is taken away.
        """
        counting = 1 << self._files.index(word) if word is not None else 0
        self._mapped[: _NUMBERS.size] = _NUMBERS.pack(error, delay_ms, clock_s, self.met, 0, only, counting)

    def longest_sync_s(self) -> float:
        """What the longest sync took since this was asked last, or since it was steered."""
        longest = _NUMBERS.unpack(self._mapped[: _NUMBERS.size])[4]
        self._mapped[_LONGEST] = bytes(8)
        return int(longest) / 1e6

    @property
    def met(self) -> int:
        """Syncs that met a fault."""
        return int(_NUMBERS.unpack(self._mapped[: _NUMBERS.size])[3])
