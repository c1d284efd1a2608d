"""Settings that are true or false on the command line."""

import tyro

TRUE_OR_FALSE = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="{true,false}",
    choices=("true", "false"),
    instance_from_str=lambda words: words[0] == "true",
    is_instance=lambda value: isinstance(value, bool),
    str_from_instance=lambda value: [str(value).lower()],
)
"""Command line of a setting that is turned on and off by `--NAME true` and `--NAME false`."""
