"""Named strategies: one small table per kind, so that a new one is listed, searched and tested by being registered.

Installed packages add to a table through an entry point of its group, such as ``autogrow.triggers``. Their names are
read from what is installed, and a package is only imported when its entry is used: by a name that is not ours, or where
all entries are gone through. Source: https://packaging.python.org/en/latest/specifications/entry-points/
"""

import logging
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from autogrow.errors import RAISED_BY_OTHERS, AutogrowError, UsageError, one_line, unknown_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Entry = TypeVar("Entry")
logger = logging.getLogger(__name__)


class Registry(Generic[Entry]):
    """A table from names to entries of one kind (triggers, initializations, models, ...).

    Args:
        kind: What an entry is called in messages.
        error: What an unknown name, or a package that cannot be used, raises.
        group: Of the entry points by which installed packages add entries; None: they cannot.
        accepts: Makes an entry of a name and of what a package's entry point gives; raises `ValueError`, saying what
            is expected, for what is none.
    """

    def __init__(
        self,
        kind: str,
        error: type[AutogrowError] = UsageError,
        *,
        group: str | None = None,
        accepts: Callable[[str, Any], Entry] | None = None,
    ) -> None:
        self.kind = kind
        self._error = error
        self._group = group
        self._accepts = accepts
        self._entries: dict[str, Entry] = {}
        self._loaded: dict[tuple[EntryPoint, str], Entry] = {}
        self._left_out: set[tuple[EntryPoint, str]] = set()
        """Those that could not be loaded, of which that was said."""

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that files its target under `name`; a name can be taken once."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")

        def file(entry: Entry) -> Entry:
            self._entries[name] = entry
            return entry

        return file

    def origin(self, name: str) -> str | None:
        """The package and version that an entry is from; None for autogrow's own. Nothing is imported."""
        return next((_package_of(point) for point in self._offered() if point.name == name), None)

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises the registry's error, with the nearest name, where there is none; and for one of a package that cannot
        be used, with the package's and the entry point's name.
        """
        return self._entries[name] if name in self._entries else self._packaged(name)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or any(point.name == name for point in self._offered())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._entries, *(point.name for point in self._offered()))))

    def items(self) -> list[tuple[str, Entry]]:
        """All entries; those of packages that cannot be used are left out with a warning, said once."""
        return [(name, self[name]) for name in self if self._is_usable(name)]

    def _offered(self) -> tuple["EntryPoint", ...]:
        """Entry points of installed packages. A name of autogrow's own stays what it is."""
        if self._group is None:
            return ()
        installed = _installed(tuple(sys.path)).get(self._group, ())
        return tuple(point for point in installed if point.name not in self._entries)

    def _is_usable(self, name: str) -> bool:
        try:
            self[name]
        except self._error as error:
            points = {_installation(point) for point in self._offered() if point.name == name}
            if not points <= self._left_out:
                self._left_out |= points
                logger.warning(str(error))
            return False
        return True

    def _packaged(self, name: str) -> Entry:
        """The entry of an installed package."""
        points = [point for point in self._offered() if point.name == str(name)]
        if not points:
            raise self._error(unknown_name(self.kind, str(name), self))
        if len(points) > 1:
            packages = " and ".join(map(_package_of, points))
            raise self._error(f"{self.kind} {name!r} is in {packages}: uninstall one of them")
        place = _installation(points[0])
        if place not in self._loaded:
            self._loaded[place] = self._load(points[0])
        return self._loaded[place]

    def _load(self, point: "EntryPoint") -> Entry:
        where = f"{self.kind} {point.name!r} of {_package_of(point)} (entry point {self._group}: {point.value})"
        try:
            given = point.load()
        except RAISED_BY_OTHERS as error:
            raise self._error(f"{where} cannot be imported: {one_line(error)}; mend or uninstall it") from error
        try:
            return given if self._accepts is None else self._accepts(point.name, given)
        except ValueError as error:
            raise self._error(f"{where} is not {error}; mend or uninstall it") from error


def subclass_of(base: type[Any]) -> Callable[[str, Any], Any]:
    """An `accepts` for classes below `base` that say their own name as `kind`."""

    def accepts(name: str, given: Any) -> Any:
        if not isinstance(given, type) or not issubclass(given, base):
            raise ValueError(f"a class below {base.__module__}.{base.__name__}")
        kind = getattr(given, "kind", None)
        if kind != name:
            raise ValueError(f"of the kind that it is registered as: its kind is {kind!r}")
        return given

    return accepts


def instance_of(base: type[Any]) -> Callable[[str, Any], Any]:
    """An `accepts` for an object of `base`, or for a class below it, of which one is made."""

    def accepts(name: str, given: Any) -> Any:
        if isinstance(given, type) and issubclass(given, base):
            try:
                given = given()
            except TypeError as error:
                raise ValueError(f"complete: {one_line(error)}") from error
        if not isinstance(given, base):
            raise ValueError(f"of the class {base.__module__}.{base.__name__}")
        return given

    return accepts


def any_callable(name: str, given: Any) -> Any:
    """An `accepts` for whatever can be called."""
    if not callable(given):
        raise ValueError("a function")
    return given


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> dict[str, tuple["EntryPoint", ...]]:
    """The entry points of autogrow's groups, by group, of all packages on the import path.

    Read once for a path: what is installed while a program runs is found by the next one.
    """
    from importlib.metadata import entry_points  # costs milliseconds that most commands need not spend

    found = entry_points()
    return {group: tuple(found.select(group=group)) for group in found.groups if group.startswith("autogrow.")}


def _installation(point: "EntryPoint") -> tuple["EntryPoint", str]:
    """An entry point with where its package lies: equal ones of two folders are not the same."""
    return point, "" if point.dist is None else str(point.dist.locate_file(""))


def _package_of(point: "EntryPoint") -> str:
    package = point.dist
    return "an unknown package" if package is None else f"{package.name} {package.version}"
