"""The one error that people are meant to read."""


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    Its text is one line: what, where, what was expected, what to do.
    Commands and stages print that line and end with exit code 2.
    """
