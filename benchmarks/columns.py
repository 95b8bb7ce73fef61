"""Lines of text in columns, printed as they come."""


class Columns:
    """Columns of fixed widths.

    :param columns: The title and the width of each.
    """

    def __init__(self, *columns: tuple[str, int]) -> None:
        self._columns = columns

    def head(self) -> str:
        """Return the line of the titles."""
        return self.line(*(title for title, _ in self._columns))

    def line(self, *cells: str) -> str:
        """Return one line."""
        pairs = zip(cells, self._columns, strict=True)
        return "  ".join(cell.rjust(width) for cell, (_, width) in pairs)
