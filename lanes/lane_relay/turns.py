"""A line in which keys take turns: campaigns of one lane share whatever there is to share, however unequal they are.

Round robin by item (deficit round robin, Shreedhar and Varghese 1995, with one item as quantum): each key's own items
stay in their order, and a key that has 500 gets every second turn beside one that has 500,000.
Invariants: every act takes the same time however many items and keys there are, but for looks over all of them; a key
without items costs nothing; one key alone costs what a plain queue costs, and few items no more than a list of them.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

__all__ = ["Turns", "sift", "swept"]

T = TypeVar("T")

_SMALL: Final = 32
"""Up to so many items a list is shorter (56 bytes and 8 an item against 624) and as quick as a deque."""


class Turns(Generic[T]):
    """Items by key. `first`, `key` and `popleft` are for a line that is not empty."""

    __slots__ = ("_key", "_queue", "_rotation", "length")

    def __init__(self) -> None:
        self._key = ""
        """Of all items, while there is no rotation."""
        self._queue: list[T] | deque[T] | None = None
        self._rotation: OrderedDict[str, list[T] | deque[T]] | None = None
        """Of each of several keys, what it has; the first one's turn is next."""
        self.length = 0
        """What `len` says, without a call; for others to read alone."""

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[T]:
        """Every item, one key's after the other's."""
        for key in self.in_turn():
            yield from self._of(key)

    @property
    def key(self) -> str:
        """Whose turn is next."""
        return self._key if self._rotation is None else next(iter(self._rotation))

    @property
    def first(self) -> T:
        """The next item."""
        queue = self._queue
        return (queue if queue is not None else self._of(self.key))[0]

    def in_turn(self) -> list[str]:
        """Who has items, in the order of their turns."""
        if self._rotation is not None:
            return list(self._rotation)
        return [self._key] if self.length else []

    def count(self, key: str) -> int:
        """How many items this key has."""
        return len(self._of(key))

    def all_of(self, key: str) -> list[T]:
        """A copy of what this key has, in order: of half a million a few milliseconds."""
        return list(self._of(key))

    def append(self, key: str, item: T) -> bool:
        """The item comes after all of its key; True if the key had none."""
        self.length += 1
        queue = self._queue
        if queue is not None and key == self._key:
            queue.append(item)
            if len(queue) > _SMALL and isinstance(queue, list):
                self._queue = deque(queue)
            return False
        return self._append_other(key, item)

    def _append_other(self, key: str, item: T) -> bool:
        if self.length == 1:
            self._key, self._queue = key, [item]
            return True
        rotation = self._rotation if self._rotation is not None else self._begin_rotation()
        queue = rotation.get(key)
        if queue is None:
            rotation[key] = [item]
            return True
        queue.append(item)
        if len(queue) > _SMALL and isinstance(queue, list):
            rotation[key] = deque(queue)
        return False

    def _begin_rotation(self) -> OrderedDict[str, list[T] | deque[T]]:
        rotation = self._rotation = OrderedDict()
        if self._queue is not None:
            rotation[self._key], self._queue = self._queue, None
        return rotation

    def appendleft(self, key: str, item: T, *, is_next: bool = True) -> None:
        """The item is the next one: what was taken and not used keeps its turn.

        Not `is_next`: the next one of its key, whose turn is over.
        """
        self.length += 1
        queue: list[T] | deque[T]
        if self._rotation is None and (self._queue is None or key == self._key):
            queue = self._queue if self._queue is not None else []
            self._key, self._queue = key, queue
        else:
            rotation = self._rotation if self._rotation is not None else self._begin_rotation()
            queue = rotation.setdefault(key, [])
            if is_next:
                rotation.move_to_end(key, last=False)
        if isinstance(queue, deque):
            queue.appendleft(item)
        else:
            queue.insert(0, item)

    def popleft(self) -> T:
        """Takes the next item out; it is another key's turn then."""
        self.length -= 1
        queue = self._queue
        if queue is not None:
            item = queue.popleft() if isinstance(queue, deque) else queue.pop(0)
            if not queue:
                self._queue = None
            return item
        return self._pop_of_rotation()

    def _pop_of_rotation(self) -> T:
        rotation = self._rotation
        if rotation is None:
            raise IndexError("nobody is in line")
        key, queue = next(iter(rotation.items()))
        item = queue.popleft() if isinstance(queue, deque) else queue.pop(0)
        if queue:
            rotation.move_to_end(key)
        else:
            self._drop(key)
        return item

    def take_out(self, key: str, start: int, most: int, takes: Callable[[T], bool | None]) -> tuple[int, list[T]]:
        """As `sift`, of one key's items."""
        queue = self._of(key)
        if not queue:
            return start, []
        end, found = sift(queue, start, most, takes)
        self.length -= len(found)
        if not queue:
            self._drop(key)
        return end, found

    def clear(self) -> None:
        """Nobody is in line any more."""
        self._queue = self._rotation = None
        self.length = 0

    def _of(self, key: str) -> list[T] | deque[T]:
        if self._rotation is not None:
            return self._rotation.get(key) or []
        return self._queue if self._queue is not None and key == self._key else []

    def _drop(self, key: str) -> None:
        """This key has no items left; of two that took turns the other one is alone."""
        rotation = self._rotation
        if rotation is None:
            self._queue = None
            return
        del rotation[key]
        if len(rotation) == 1:
            self._key, self._queue = rotation.popitem()
            self._rotation = None


def sift(queue: list[T] | deque[T], start: int, most: int, takes: Callable[[T], bool | None]) -> tuple[int, list[T]]:
    """Takes out what is to be taken of so many items from `start` on; where to go on, and the taken, in order.

    `takes` says None when it will take no more: the look ends before that item.
    """
    found: list[T] = []
    kept: list[T] = []
    rest = min(most, len(queue) - start)
    if isinstance(queue, deque):
        queue.rotate(-start)
        for _ in range(rest):
            taken = takes(queue[0])
            if taken is None:
                break
            (found if taken else kept).append(queue.popleft())
        queue.extend(kept)
        queue.rotate(start + len(kept))
        return start + len(kept), found
    for looked, item in enumerate(queue[start : start + rest]):
        taken = takes(item)
        if taken is None:
            rest = looked
            break
        (found if taken else kept).append(item)
    queue[start : start + rest] = kept
    return start + len(kept), found


def swept(line: Turns[T], unwanted: Callable[[T], bool], most: int) -> Iterator[list[T]]:
    """Takes out every item that is unwanted, in portions of so many looks; between two the line may be used as ever."""
    for key in line.in_turn():
        start = 0
        while start < line.count(key):
            start, found = line.take_out(key, start, most, unwanted)
            yield found
