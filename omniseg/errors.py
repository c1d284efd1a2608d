"""The one exception that the command line shows to a person without a traceback."""


class InputError(ValueError):
    """Something a user gave is wrong and the user can mend it.

    The message is one or two lines: what is wrong, in which file or option, and what to do about it.
    """
