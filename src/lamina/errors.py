"""The one error type whose message is written for users."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one line: what went wrong, where, what was expected, what to do.
    Commands and stages print this line to stderr and exit with code 2.
    """
