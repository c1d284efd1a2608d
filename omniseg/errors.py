"""Exceptions whose message is shown to a person without a traceback."""


class InputError(ValueError):
    """A mistake in what a user gave, which the user can mend.

    The message is one or two lines: what is wrong, in which file or option, and what to do about it.

    Attributes:
        exit_status: of a command that ends with it.
    """

    exit_status = 1


class Refused(InputError):
    """An edit that cannot be done; nothing has changed."""


class NothingThere(Refused):
    """Nothing solid is seen at the point that was clicked."""


class BadArgument(InputError):
    """A bad value of an argument, which a command has as an option of the same name.

    Args:
        argument: name of the argument.
        problem: the expected value and the given one, and what to do.
        value: the given value, where the message begins with it.
    """

    def __init__(self, argument: str, problem: str, value: object = "") -> None:
        given = f" {value}" if str(value) else ""
        super().__init__(f"{argument}{given}: {problem}")
        self.as_option = f"--{argument.replace('_', '-')}{given}: {problem}"


class NoSurfaces(InputError):
    """A training that ended in fog: its result is saved, but no photo confirms what another one sees."""

    exit_status = 3
