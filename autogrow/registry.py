"""Named strategies: one small table per kind, so that a new one is listed, searched and tested by being registered."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from autogrow.errors import AutogrowError, UsageError, unknown_name

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """A table from names to entries of one kind (triggers, initializations, models, ...)."""

    def __init__(self, kind: str, error: type[AutogrowError] = UsageError) -> None:
        self.kind = kind
        self._error = error
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that files its target under `name`; a name can be taken once."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")

        def file(entry: Entry) -> Entry:
            self._entries[name] = entry
            return entry

        return file

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name; raises the registry's error, with the nearest name, where there is none."""
        if name not in self._entries:
            raise self._error(unknown_name(self.kind, str(name), self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def items(self) -> list[tuple[str, Entry]]:
        return list(self._entries.items())
