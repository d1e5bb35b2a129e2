"""The failing frame in a stack trace: of the application, the innermost."""

import time
from typing import Optional

import pytest

from orderflow.dlq.frames import frame_of, names_the_bug

PYTHON = """Traceback (most recent call last):
  File "/srv/app/shop/prices.py", line 9, in parse
    return table[sku]
KeyError: 'QM'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/orderflow/consume/calls.py", line 80, in _call
    return handler(order)
  File "/srv/app/shop/handler.py", line 12, in process
    total(order)
  File "/srv/app/shop/prices.py", line 21, in total
    raise Unpriced(sku) from error
  File "/usr/lib/python3.11/json/decoder.py", line 337, in decode
    obj, end = self.raw_decode(s)
  File "<frozen importlib._bootstrap>", line 1, in _load
shop.errors.Unpriced: 'QM'
"""
LIBRARY = """Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/requests/adapters.py", line 519, in send
    raise ConnectionError(e)
"""
JAVA = """org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed
\tat org.springframework.kafka.listener.Container.invoke(Container.java:10)
\tat com.shop.App$$EnhancerBySpringCGLIB$$1f2e3d4c.on(App.java:30)
Caused by: com.shop.Unpriced: QM
\tat java.base/java.util.Objects.requireNonNull(Objects.java:233)
\tat app//com.shop.Pricing.lambda$total$0(Pricing.java:21)
\tat com.shop.App.on(App.java:31)
\t... 14 more
"""
WRAPPED = JAVA.replace("app//com.shop.P", "org.apache.P").replace("com.shop.App.on(", "java.A(")
PARSE = "java.lang.Integer.parseInt(Integer.java:660)"
WINDOWS = '  File "C:\\app\\shop\\prices.py", line 21, in total\n'


@pytest.mark.parametrize(
    ("stack", "frame"),
    [
        (PYTHON, "shop/prices.py:21 in total"),
        (LIBRARY, "site-packages/requests/adapters.py:519 in send"),
        (PYTHON + LIBRARY, "shop/prices.py:21 in total"),
        (JAVA, "com.shop.Pricing.lambda$total$(Pricing.java:21)"),
        (WRAPPED, "com.shop.App$$EnhancerBySpringCGLIB$$.on(App.java:30)"),
        (f"x.Y: z\n\tat {PARSE}", PARSE),
        (WINDOWS, "shop/prices.py:21 in total"),
        ("KeyError: 'sku'", None),
        ("", None),
        (None, None),
    ],
)
def test_the_innermost_line_of_the_application(stack: Optional[str], frame: Optional[str]) -> None:
    """Not the toolkit's, a library's or the language's, as long as there is another one."""
    assert frame_of(stack) == frame


@pytest.mark.parametrize(
    ("frame", "is_enough"),
    [
        ("shop/prices.py:21 in total", True),
        ("com.shop.Pricing.total(Pricing.java:21)", True),
        ("site-packages/requests/adapters.py:519 in send", False),
        ("java.lang.Integer.parseInt(Integer.java:660)", False),
    ],
)
def test_a_library_fails_for_many_reasons(frame: str, is_enough: bool) -> None:
    """Two services that do not answer fail in the same line of the same HTTP client."""
    assert names_the_bug(frame) is is_enough


@pytest.mark.parametrize(
    "part", ['  File "a', "\tat a.", "\tat $$$", '  File "a", line 1, in a\n', "\nCaused by: "]
)
def test_a_hostile_stack_is_read_in_linear_time(part: str) -> None:
    """Whoever writes dead letters must not slow down their reader."""
    began_s = time.process_time()
    for _ in range(5):
        frame_of("\n" + part * 100_000)

    assert time.process_time() - began_s < 0.5
