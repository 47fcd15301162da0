from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used; the message says what to do about it.

    Programs end with this message alone: no traceback, exit status 1.
    """


class FrameError(ValueError):
    """One frame cannot be read; others may."""
