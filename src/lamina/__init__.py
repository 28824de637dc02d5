"""From a folder of pictures to a tracked, tuned, honestly tested classifier."""

__version__ = "0.2.0"
