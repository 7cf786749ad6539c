"""The last things of every kind: what comes often pushes out its own kind, never what comes once a night."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Recent(Generic[Item]):
    """Items by key, in the order they came: at most ``total``, and of each group as many as whoever puts one in says.

    Where all together are too many, a group that has more than its share gives up its own oldest for its newest, and the group
    that has most for that of another. What is dropped follows from the items and their order alone: a copy made of them goes on
    alike. Putting and taking cost O(1), and O(number of groups) only where small groups have grown while the whole was full.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._items: OrderedDict[str, tuple[str, Item]] = OrderedDict()
        self._groups: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[Item]:
        return iter([item for _, item in self._items.values()])

    def __reversed__(self) -> Iterator[Item]:
        return iter([item for _, item in reversed(list(self._items.values()))])

    def get(self, key: str) -> Item | None:
        """Return an item; None when there is none, or none any more."""
        found = self._items.get(key)
        return None if found is None else found[1]

    def put(self, key: str, item: Item, group: str, most: int) -> list[str]:
        """Take an item in as the newest, also in the place of one of the same key; return the keys that were dropped for it."""
        self.pop(key)
        self._items[key] = (group, item)
        own = self._groups.setdefault(group, OrderedDict())
        own[key] = None
        dropped = []
        while len(own) > most or len(self._items) > self._total:
            is_large = len(own) > min(most, max(1, self._total // len(self._groups)))
            largest = group if is_large else max(self._groups, key=lambda name: (len(self._groups[name]), name))
            dropped.append(next(iter(self._groups[largest])))
            self.pop(dropped[-1])
        return dropped

    def pop(self, key: str) -> Item | None:
        """Take an item out; None when there is none."""
        if key not in self._items:
            return None
        group, item = self._items.pop(key)
        own = self._groups[group]
        del own[key]
        if not own:
            del self._groups[group]
        return item

    def clear(self) -> None:
        self._items.clear()
        self._groups.clear()
