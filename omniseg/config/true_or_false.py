"""A setting that is `--NAME true` or `--NAME false` on the command line."""

from typing import Annotated

import tyro

_TRUE_OR_FALSE = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="{true,false}",
    choices=("true", "false"),
    instance_from_str=lambda words: words[0] == "true",
    is_instance=lambda value: isinstance(value, bool),
    str_from_instance=lambda value: [str(value).lower()],
)

TrueOrFalse = Annotated[bool, _TRUE_OR_FALSE, tyro.conf.FlagConversionOff]
"""Bool whose value is written out on the command line, whichever its default is."""
