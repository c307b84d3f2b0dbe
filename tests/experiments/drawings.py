"""Reads a picture of an experiment back: its texts, and where its lines and markers are."""

import re
from xml.etree import ElementTree

Point = tuple[float, float]


class Drawing:
    """An SVG document as `autogrow.experiments.drawing` writes it."""

    def __init__(self, document: str) -> None:
        self._tree = ElementTree.fromstring(document)
        self.texts = [text.text for text in self._tree.findall(".//{*}text")]
        corners = _points(self._tree.find(".//{*}g[@id='axes_1']/{*}g/{*}path"))
        (self._left, self._right), (self._top, self._bottom) = (
            (min(places), max(places)) for places in zip(*corners, strict=True)
        )

    def groups(self, name: str) -> list[ElementTree.Element]:
        return self._tree.findall(f".//{{*}}g[@id='{name}']")

    def lines(self, name: str) -> list[list[Point]]:
        """The points of every line of that name."""
        return [_points(group.find("{*}path")) for group in self.groups(name)]

    def markers(self, name: str) -> list[Point]:
        """Where the markers of that name are."""
        uses = (use for group in self.groups(name) for use in group.findall(".//{*}use"))
        return [(float(use.get("x")), float(use.get("y"))) for use in uses]

    def tick_labels(self, axis: str) -> list[str]:
        ticks = self._tree.find(f".//{{*}}g[@id='matplotlib.axis_{1 + (axis == 'y')}']")
        return [tick.find(".//{*}text").text for tick in ticks if tick.get("id").startswith(f"{axis}tick")]

    def is_within_axes(self, x: float, y: float) -> bool:
        return self._left - 0.1 <= x <= self._right + 0.1 and self._top - 0.1 <= y <= self._bottom + 0.1


def _points(path: ElementTree.Element) -> list[Point]:
    numbers = [float(number) for number in re.findall(r"-?[0-9.]+", path.get("d"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
