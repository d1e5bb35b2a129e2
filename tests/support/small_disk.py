"""A disk that is full, as far as one process is concerned."""

import resource
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def small_disk(most_bytes: int) -> Iterator[None]:
    """No file gets larger than this within the block.

    Not to the end of a test: before a fixture is over, pytest writes the test's outcome, which may go to a
    file that is larger by then.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
