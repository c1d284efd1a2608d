"""Exceptions whose message is shown to a person without a traceback."""


class InputError(ValueError):
    """A mistake in what a user gave, which the user can mend.

    The message is one or two lines: what is wrong, in which file or option, and what to do about it.
    """


class Refused(InputError):
    """An edit that cannot be done; nothing has changed."""


class NothingThere(Refused):
    """Nothing solid is seen at the point that was clicked."""
