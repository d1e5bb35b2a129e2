"""What is typed for `replay`: its flags, and their meaning as a request."""

import argparse
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence

from orderflow.avro.json_value import LongNumber, json_value
from orderflow.cli.values import RATE, SHARE, TOPIC, argument, seconds, whole
from orderflow.dlq.desk import Desk, FieldValues, now_ms
from orderflow.dlq.replay.judge import STALE, Terms
from orderflow.dlq.replay.request import Canary, Request
from orderflow.dlq.selection import Selection, SelectionError, Wanted
from orderflow.dlq.selection_flags import POSITIONS, order_fields, places_of, wanted_of
from orderflow.dlq.selection_flags import add_flags as add_selection
from orderflow.exits import UsageError
from orderflow.model.json_text import read_json
from orderflow.model.text import quoted

DEFAULT_RATE = "50/s"

Add = Callable[..., object]
"""`add_argument` of a parser or of a group of its flags."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of replay, beside the selection."""
    parser.add_argument("positions", nargs="*", metavar="POSITION", help=POSITIONS)
    _add_consent(parser.add_argument)
    _add_terms(parser.add_argument_group("what may be sent").add_argument)
    _add_plan(parser.add_argument_group("a plan first").add_argument)
    _add_pace(parser.add_argument_group("how fast, and when to stop").add_argument)


def _add_consent(add: Add) -> None:
    add("--all", action="store_true", help="really all of them, where nothing else selects")
    add("--reason", metavar="TEXT", help="why, for the audit")
    add("--resume", metavar="JOB", help="go on with a job that was stopped, killed or tripped")
    add("-y", "--yes", action="store_true", help="do not ask")


def _add_terms(add: Add) -> None:
    add("--to", type=argument(TOPIC), metavar="TOPIC", help="send there instead of where each came from")
    repairs = "send the order with this field changed, as --set quantity=1; repeatable"
    add("--set", dest="repairs", action="append", default=[], metavar="FIELD=JSON", help=repairs)
    stale = "orders whose key has a newer one in the partition that they came from (default: skip)"
    add("--stale", choices=STALE, default="skip", help=stale)
    most = "do not send what was replayed so often before (default: 3)"
    add("--max-replays", type=argument(whole(1, 1000)), default=3, metavar="N", help=most)
    add("--again", action="store_true", help="also those that were replayed already")
    add("--unchecked", action="store_true", help="also those that still fail today's decoder or rules")


def _add_plan(add: Add) -> None:
    add("--dry-run", action="store_true", help="tell what would be sent and why the others would not")
    add("--plan-out", metavar="FILE", help="with --dry-run: write the plan, to be carried out with --plan")
    add("--plan", metavar="FILE", help="send exactly what the plan says, or nothing if that has changed")


def _add_pace(add: Add) -> None:
    most = f"send so many a second at most (default: {DEFAULT_RATE})"
    add("--rate", type=rate, default=None, metavar="N/s|none", help=most)
    first = "send N first; the rest only if the consumer group got past them and few came back"
    add("--canary", type=argument(whole(1, 1_000_000)), metavar="N", help=first)
    back = "share of the canary that may not come back (default: 5%%)"
    add("--stop-if-back", type=argument(SHARE), default=0.05, metavar="N%", help=back)
    time = "time for the consumer group to get past the canary (default: 300)"
    add("--canary-timeout", type=argument(seconds(1, 86_400)), default=300.0, metavar="SECONDS", help=time)


def rate(text: str) -> float:
    """A rate for argparse: records a second, 0 for `none`, which means without a limit."""
    return 0.0 if text == "none" else float(argument(RATE)(text))


# --- What was typed ---

PLAN_HEEDS = ("plan", "rate", "yes", "reason")
RESUME_HEEDS = ("resume", "plan", "rate", "yes", "to", "source_topics")
"""Of what `replay` takes, what means something beside a plan or a job. The rest was said before."""


def refuse_other_flags(args: argparse.Namespace, flag: str, heeded: Sequence[str]) -> None:
    """Raise UsageError for what would be ignored: with `--dry-run`, a job would be sent all the same."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    add_selection(parser)
    unset = vars(parser.parse_args([]))
    typed = {name for name, value in unset.items() if getattr(args, name) != value} - set(heeded)
    if typed:
        words = ", ".join(sorted({_flag_of(name) for name in typed}, key=lambda word: word.strip("-")))
        raise UsageError(
            f"{flag} says what is sent: leave {words} away; without --yes it tells first, and asks"
        )


def _flag_of(name: str) -> str:
    if name in Wanted._fields:
        return "selection"
    return {"positions": name, "repairs": "--set"}.get(name, f"--{name.replace('_', '-')}")


def repairs_of(desk: Desk, texts: List[str]) -> Dict[str, Any]:
    """The fields to change, as JSON. Raises UsageError for an unknown field or a value that is none of it."""
    known = order_fields(desk)
    repairs: Dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise UsageError(f"--set {text}: give FIELD=JSON with a field of an order: {', '.join(known)}")
        repairs[name] = repair_of(desk.field_values, name, value)
    return repairs


def repair_of(field_values: FieldValues, name: str, text: str) -> Any:
    """The value that was typed for a field, as a job's record can keep it: in JSON, with every digit.

    A number that JSON would round is kept as a text of its digits. Raises UsageError.
    """
    try:
        read_json(text)  # refuses what a job's record cannot hold
        value = json_value(text)
    except ValueError as error:
        raise UsageError(f"--set {name}: {quoted(text)} {error}; a text needs quotes") from None
    kept = _in_json(value)
    try:
        is_same = field_values({name: value}) == field_values({name: kept})
    except ValueError as error:
        raise UsageError(f"--set {error}") from None
    if not is_same:
        raise UsageError(f"--set {name}: {quoted(text)} has a number that cannot be kept exactly")
    return kept


def _in_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_in_json(each) for each in value]
    return str(value) if isinstance(value, LongNumber) else value


def request_of(desk: Desk, args: argparse.Namespace) -> Request:
    """The request that was typed. Raises UsageError."""
    wanted, at_ms = wanted_of(args), now_ms()
    terms = Terms(
        dlq_topic=desk.dlq_topic,
        audit_topic=desk.audit_topic,
        orders_topic=desk.orders_topic,
        confirmed=confirmed_by(desk, args),
        target=args.to,
        stale=args.stale,
        max_replays=args.max_replays,
        again=args.again,
        unchecked=args.unchecked,
        repairs=repairs_of(desk, args.repairs),
    )
    canary = Canary(args.canary or 0, args.stop_if_back, args.canary_timeout)
    return Request(wanted, places_of(desk, args.positions), at_ms, terms, rate_of(args), canary)


def rate_of(args: argparse.Namespace) -> Optional[float]:
    """Records a second; None: as fast as it goes."""
    per_s = rate(DEFAULT_RATE) if args.rate is None else float(args.rate)
    return per_s or None


def confirmed_by(desk: Desk, args: argparse.Namespace) -> FrozenSet[str]:
    """The topics that the operator named: by setting, by --to, or by --source-topic without a wildcard."""
    named = [topic for topic in args.source_topics if not any(sign in topic for sign in "*?[")]
    return frozenset([desk.orders_topic, *([args.to] if args.to else []), *named])


def selection_of(desk: Desk, request: Request) -> Selection:
    """The dead letters that the request is about. Raises UsageError."""
    try:
        return request.selection(order_fields(desk))
    except SelectionError as error:
        raise UsageError(str(error)) from error
