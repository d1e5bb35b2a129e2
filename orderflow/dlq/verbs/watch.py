"""The verb `watch`: one live screen over groups, dead letters, partitions and what waits."""

import argparse
import importlib.util
import io
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any, List, Sequence

from orderflow.cli.output import Notes
from orderflow.cli.terminal import answer_escape_soon
from orderflow.cli.values import LISTEN_AT, argument
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.health import verdict
from orderflow.dlq.output.health_lines import health_lines
from orderflow.dlq.output.portrait import show_lines
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.topic import Topic
from orderflow.dlq.verbs import health, show, waiting
from orderflow.exits import CommandError, UsageError
from orderflow.kafka import topics
from orderflow.kafka.client_properties import is_secret
from orderflow.model.records import read_position
from orderflow.model.text import without_passwords

SCRIPT = Path(__file__).resolve().parents[3] / "dlq_handler.py"
NEEDED = "python -m pip install -r requirements-watch.txt"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of watch, beside the selection."""
    parser.add_argument(
        "--web",
        type=argument(LISTEN_AT),
        metavar="HOST:PORT",
        help="serve the same to a browser, without a log-in: as 127.0.0.1:8090",
    )

    parser.add_argument("--in-browser", action="store_true", help=argparse.SUPPRESS)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Until it is quit."""
    selection = selected(desk, args)
    if desk.json:
        raise UsageError("watch has no --json: groups, list and health have")
    if args.web and args.unmask:
        raise UsageError("--web has no log-in, so MASKED_FIELDS stay hidden there: leave --unmask out")
    for module in ("textual", *(("textual_serve",) if args.web else ())):
        if importlib.util.find_spec(module) is None:
            raise CommandError(f"watch needs {module.replace('_', '-')}: {NEEDED}")
    if args.web:
        return _serve(desk, *args.web)
    if desk.width is None and not args.in_browser:
        raise UsageError("watch needs a terminal; groups, list and health write to a pipe")
    desk.require_kafka()
    topics.require_topic(desk.client, desk.dlq_topic, "consumer.py creates it when it starts")
    app = build(desk, selection)
    app.run()
    return int(app.return_code or 0)


def build(desk: Desk, selection: Any) -> Any:
    """The app, with everything that it asks."""
    answer_escape_soon()  # before Textual is imported
    from orderflow.dlq.watch.app import Watch
    from orderflow.dlq.watch.host import Command, Looks
    from orderflow.dlq.watch.model import Model
    from orderflow.dlq.watch.reading import Reading

    quiet = desk._replace(err=Notes(io.StringIO()))  # notes would be written across the screen
    model = Model(desk.mask, threading.Lock())
    looks = Looks(
        lambda position: _letter(quiet, position),
        lambda width: _health(quiet, width),
        lambda width: _waiting(quiet, width),
    )
    typed = settings_typed(sys.argv[1:])
    unselected = without(typed, SELECTION)
    program = [sys.executable, str(SCRIPT)]
    command = Command(program, without(typed, GROUPS), unselected, without_secrets(unselected))
    return Watch(desk.dlq_topic, model, Reading(quiet, selection, model), looks, command, desk.signals)


def settings_typed(words: List[str]) -> List[str]:
    """What was typed for `watch` behind its name but `--web`: the verbs are run with the same."""
    left, skip = [], False
    for word in words[1:]:
        if skip or word.partition("=")[0] == "--web" or word == "--in-browser":
            skip = not skip and word == "--web"
            continue
        left.append(word)
    return left


GROUPS = ("-g", "--group")
SELECTION = (
    *GROUPS,
    *("-p", "--partition", "-o", "--offset", "-c", "--limit", "--since", "--until", "--reason-code"),
    *("--error", "--key", "--header", "--source-topic", "--state", "--where"),
)
"""What selects dead letters: each of these flags takes a value."""


def without(words: List[str], flags: Sequence[str]) -> List[str]:
    """What was typed, without these flags: a verb gets its own choice, to which any other would be added."""
    left, is_value = [], False
    for word in words:
        if is_value:
            is_value = False
        elif word in flags:
            is_value = True
        elif not _begins_with(word, flags):
            left.append(word)
    return left


def without_secrets(words: Sequence[str]) -> List[str]:
    """What was typed, as it may be shown: with `…` for what a property of the Kafka client keeps secret."""
    return [_shown_property(without_passwords(word)) for word in words]


def _shown_property(word: str) -> str:
    name, equals, _ = word.partition("=")
    return f"{name}=…" if equals and is_secret(name) else word


def _begins_with(word: str, flags: Sequence[str]) -> bool:
    """Whether it is one of these flags with its value in the same word: `-g7f3a`, `--group=7f3a`."""
    if word.startswith("--"):
        return word.partition("=")[0] in flags
    return word[:2] in flags


def _letter(desk: Desk, position: str) -> List[str]:
    _, partition, offset = read_position(position)
    with Topic(desk) as topic:
        shown = show.look_closer(desk, topic.at(partition, offset))
    return list(show_lines(shown, now_ms(), with_stack=True))


def _health(desk: Desk, width: int) -> List[str]:
    facts, most_age_ms = health.facts_of(desk, time.monotonic() + health.LOOK_S), health.MOST_AGE_MS
    return list(health_lines(facts, verdict(facts, most_age_ms), most_age_ms, width))


def _waiting(desk: Desk, width: int) -> List[str]:
    return waiting.summary_of(desk, width)


def _serve(desk: Desk, host: str, port: int) -> int:
    """The same app for browsers, until it is stopped."""
    from orderflow.dlq.watch.web import Serving

    words = [sys.executable, str(SCRIPT), "watch", "--in-browser", *settings_typed(sys.argv[1:])]
    shown = f"[{host}]" if ":" in host else host
    desk.note(f"http://{shown}:{port} until Ctrl-C, without a log-in: whoever reaches it sees dead letters")
    desk.note("nothing is replayed or discarded there: the keys show what to type in a terminal")
    try:
        Serving(shlex.join(words), host, port, "orderflow watch").serve()
    except OSError as error:
        raise CommandError(f"--web {shown}:{port}: cannot listen there: {error.strerror}") from error
    return desk.signals.exit_code
