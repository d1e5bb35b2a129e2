"""Tells which file an import found in the place of the module that it needed."""

import sys
from typing import Optional


def file_in_place_of(error: BaseException) -> Optional[str]:
    """Which file was found in the place of the module that an import needed; None if none was.

    `import email.utils` fails where an `email.py` comes before the standard library's.
    """
    if not isinstance(error, ImportError) or not error.name:
        return None
    name = error.name.partition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or (isinstance(error, ModuleNotFoundError) and name == error.name):
        return None
    return f"the module {name} is {file}: if another one is meant, rename this file"
