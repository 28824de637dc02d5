"""Names of columns in tables of predictions."""


def probability(name: str) -> str:
    """Return the column of the probabilities of a class or label; the prefix keeps it apart from others, as of `id`."""
    return f"p:{name}"
