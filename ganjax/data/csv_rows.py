"""The rows of a CSV file from elsewhere, in which nothing is left open."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from ganjax.errors import DataError

# The most characters of a value in a message.
MOST_SHOWN = 60


def shown(value: object) -> str:
    """Returns a value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def rows(text: str, file: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the rows of a CSV file that hold anything, the header first.

    Args:
      text: the content of the file.
      file: its name, which begins the messages.

    Yields:
      The name of the row's line, and its cells, as many as the header's, without spaces around.

    Raises:
      DataError: a row is damaged or has another number of cells, or two columns have one name.
    """
    # Strict, since otherwise a quote that is not closed swallows the lines after it.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    while True:
        place = f"{file}: line {reader.line_num + 1}"
        try:
            row = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{place}: {_reason(error)}") from None
        if row and not header:
            header = row
            _check_header(header, file)
        elif row and len(row) != len(header):
            raise DataError(f"{place} has {len(row)} cells, the header {len(header)}")
        if row:
            yield place, row


def _reason(error: csv.Error) -> str:
    """Returns what is wrong with a line, in words that name the mend."""
    if "limit" in str(error):
        return (
            f"a cell has more than {csv.field_size_limit():,} characters, or a quote is not closed"
        )
    if "end of data" in str(error):
        return "a quote is opened and not closed; close it, or write it twice within quotes"
    return f"{error}; write a quote twice within quotes"


def _check_header(header: Sequence[str], file: str) -> None:
    for name, count in Counter(header).items():
        if count > 1:
            places = ", ".join(str(i) for i, each in enumerate(header, start=1) if each == name)
            raise DataError(
                f"{file}: its first line has {count} columns {shown(name)}, {places}; leave one"
            )
