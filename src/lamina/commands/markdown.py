"""Text, tables and front matter in Markdown."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ruamel.yaml import YAML

from lamina.text import printable

# an underscore inside a word, the & of an address and an interval in brackets are none
_MARKUP: Final = re.compile(r"[\\`*<>|$~!]|\](?=[(\[])|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")


def escaped(text: object) -> str:
    """Return text that is no markup: names of classes and files come from anywhere."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; its cells are escaped."""
    lines = [list(titles), ["---"] * len(titles), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def front_matter(values: Mapping[str, Any]) -> str:
    """Return values as the YAML block at the top of a card, in their order."""
    text, writer = io.StringIO(), YAML()
    writer.width = 10_000  # a text stays on its line
    writer.dump(dict(values), text)
    return f"---\n{text.getvalue()}---\n"
