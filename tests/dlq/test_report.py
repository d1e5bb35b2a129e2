"""The page of an incident: everything in it, nothing from elsewhere, and hostile text stays text."""

import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

from orderflow.cli.private_file import write_private
from orderflow.dlq import sums as sums_module
from orderflow.dlq.audit import Job
from orderflow.dlq.grouping import Groups
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.page import element, page, shown, table
from orderflow.dlq.output.report import GroupStory, Incident, JobStory, report
from orderflow.dlq.sums import Sums, Wanted
from orderflow.exits import CommandError
from orderflow.model.records import Record
from tests.support.dlq_tools import T0_MS, ours

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' &lt; \x1b[2J\u202e"
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "code", "dl", "dt", "dd", "div"),
    *("svg", "rect", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "class", "title"),
    *("xmlns", "role", "viewbox", "width", "height", "x", "y"),
}


class Reading(HTMLParser):
    """The elements, attributes and text of a page; that all elements are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: List[str] = []
        self.attributes: List[Tuple[str, Optional[str]]] = []
        self.text = ""
        self.open: List[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """One begins."""
        self.elements.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """One ends."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data + "\n"


def letter(number: int, order: Dict[str, Any], **changes: Any) -> Letter:
    sent = ours(number, **changes)
    record = Record("dlq", 0, number, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)
    return Letter(record, lambda value: order)


def incident(text: str) -> Incident:
    order = {"customer_id": text, "price": 2.5, "quantity": 2}
    stack = f'  File "/app/{text}/stock.py", line 21, in take\n'
    letters = [letter(n, order, message=text, reason=f"process.{n % 2}", stack=stack) for n in range(30)]
    groups, sums = Groups(), Sums(Wanted("price * quantity", "customer_id"), list(order))
    for one in letters:
        groups.add(one, sums.add(one))
    stories = [GroupStory(group, {"new": group.count}) for group in groups.rows()]
    job = Job(text, "replayed", text, T0_MS, T0_MS, "done", 3, 3, reason=text, target=text)
    return Incident(
        text,
        T0_MS,
        text,
        stories,
        {"new": 30},
        groups.window(1),
        sums,
        [JobStory(job, [("became", text)])],
        T0_MS,
        [text],
    )


def test_hostile_text_stays_text() -> None:
    """Whatever a dead letter, a customer or a colleague wrote is read, not run: no element is theirs."""
    found = Reading(report(incident(HOSTILE)))

    assert found.open == []
    assert set(found.elements) <= ELEMENTS
    assert {name for name, _ in found.attributes} <= ATTRIBUTES
    assert "<script>alert(1)</script>" in found.text
    assert "\x1b" not in found.text and "\u202e" not in found.text


def test_the_page_needs_nothing_but_itself() -> None:
    """No script, no link, no picture, no font from anywhere, and a policy that forbids them."""
    text = report(incident("plain"))

    assert "default-src 'none'" in text
    assert not any(
        word in text for word in ("<script", "<link", "<img", "<a ", "src=", "href=", "url(", "@import")
    )
    assert text.count("http") == text.count("http-equiv") + text.count("http://www.w3.org/2000/svg")


def test_everything_of_the_incident_is_in_it() -> None:
    """What failed, when, how many, how much, whose, and what became of it."""
    text = Reading(report(incident("plain"))).text

    for told in (
        "30",
        "150.0",
        "customer_id",
        "stock.py:21 in take",
        "OutOfStock: plain",
        "process.1",
        "became: plain",
    ):
        assert told in text
    assert "2026-11-25 00:00 to 2026-11-25 00:29 UTC" in text


def test_an_incident_without_anything_is_a_page_too() -> None:
    """No time, no group, no job: it says so."""
    nothing = Incident("dlq", T0_MS, "", [], {}, None, Sums(Wanted(), []), [])
    found = Reading(report(nothing))

    assert "Nothing was replayed or discarded." in found.text
    assert found.open == []


WAYS_IN = [
    shown,
    lambda text: element("p", text),
    lambda text: element("p", title=text),
    lambda text: table([text], [[text]], [0]),
    lambda text: page(text, [text]),
]


@pytest.mark.parametrize("make", WAYS_IN)
def test_every_way_into_a_page_escapes(make: Any) -> None:
    """There is none around it."""
    assert "<script>" not in make("<script>")


def test_a_page_is_written_whole_for_its_owner_alone(tmp_path: Path) -> None:
    """Nothing half-written, nothing overwritten, nothing left lying about."""
    path = tmp_path / "report.html"
    write_private(str(path), "text")

    assert path.read_text("utf-8") == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(CommandError, match="already exists"):
        write_private(str(path), "other")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text("utf-8") == "text"


def test_the_number_of_others_is_about_right_where_not_all_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the verbs say it: early ones of the small may be counted again."""
    monkeypatch.setattr(sums_module, "MOST_OWNERS", 4)
    told = Sums(Wanted("price * quantity", "customer_id"), ["customer_id", "price", "quantity"])
    for number in range(9):
        told.add(letter(number, {"customer_id": f"C{number}", "price": 1.0, "quantity": number}))

    assert "about " not in report(incident("plain"))
    assert re.search("about [0-9]+ others", report(incident("plain")._replace(sums=told)))
