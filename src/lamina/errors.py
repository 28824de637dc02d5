"""The one error type whose message is written for users."""

from lamina.text import one_line


class UserError(Exception):
    """An error that the user can fix.

    The message is one line: what went wrong, where, what was expected, what to do. Values in it may come from anywhere:
    they are made printable, and a message of any length is cut.
    Commands and stages print this line to stderr and exit with code 2.
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(message))
