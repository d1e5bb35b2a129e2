"""The verb `replay`: what was typed, the look ahead, the confirmation, and the end.

Owns: the flags of replay, their meaning as `Terms`, and the order of asking and doing.
Does not know: how it is decided (replay.py) and sent (replayer.py), settings.
Used by: dlq_handler.py.
"""

import argparse
import json
import select
import sys
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from orderflow import audit, replay_text, replayer, topics
from orderflow.audit import Job, States
from orderflow.audit_topic import read_jobs, read_states
from orderflow.browse import Desk, audit_topics, now_ms
from orderflow.cli import INCOMPLETE, OK, CommandError, Refused, UsageError
from orderflow.letters import Letter
from orderflow.plan_file import Drift, Plan, PlanWriter, read_plan
from orderflow.render import to_json
from orderflow.replay import STALE, Terms, Verdict
from orderflow.replay_outlook import Bench, Outlook, Watch, look_ahead
from orderflow.replay_request import Canary, Request, from_json
from orderflow.replay_request import to_json as request_to_json
from orderflow.replay_transactions import Transactions, transactional_id
from orderflow.replayer import Sending, Sent, new_job_id, who
from orderflow.selection import Selection, SelectionError, Wanted
from orderflow.text import escape
from orderflow.values import RATE, SHARE, TOPIC, argument, seconds, whole

DEFAULT_RATE = "50/s"
STILL_AT_WORK_MS = 60_000
"""A job that is running and was changed since then is probably still at work."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of replay, beside the selection."""

    def add(name: str, *more: str, **options: Any) -> None:
        parser.add_argument(name, *more, **options)

    add("positions", nargs="*", metavar="POSITION", help="PARTITION:OFFSET of single dead letters")
    add("--all", action="store_true", help="really all of them, where nothing else selects")
    add("--to", type=argument(TOPIC), metavar="TOPIC", help="send there instead of where each came from")
    add("--dry-run", action="store_true", help="tell what would be sent and why the others would not")
    add("--plan-out", metavar="FILE", help="with --dry-run: write the plan, to be carried out with --plan")
    add("--plan", metavar="FILE", help="send exactly what the plan says, or nothing if that has changed")
    add("--rate", type=rate, default=None, metavar="N/s|none",
        help=f"send so many a second at most (default: {DEFAULT_RATE})")
    add("--canary", type=argument(whole(1, 1_000_000)), metavar="N",
        help="send N first; the rest only if the consumer group got past them and few came back")
    add("--stop-if-back", type=argument(SHARE), default=0.05, metavar="N%",
        help="share of the canary that may not come back (default: 5%%)")
    add("--canary-timeout", type=argument(seconds(1, 86_400)), default=300.0, metavar="SECONDS",
        help="time for the consumer group to get past the canary (default: 300)")
    add("--set", dest="repairs", action="append", default=[], metavar="FIELD=JSON",
        help="send the order with this field changed, as --set quantity=1; repeatable")
    add("--stale", choices=STALE, default="skip",
        help="orders whose key has a newer one in the source topic (default: skip)")
    add("--max-replays", type=argument(whole(1, 1000)), default=3, metavar="N",
        help="do not send what was replayed so often before (default: 3)")
    add("--again", action="store_true", help="also those that were replayed already")
    add("--unchecked", action="store_true", help="also those that still fail today's decoder or rules")
    add("--reason", metavar="TEXT", help="why, for the audit")
    add("--resume", metavar="JOB", help="go on with a job that was stopped, killed or tripped")
    add("-y", "--yes", action="store_true", help="do not ask")


def rate(text: str) -> float:
    """A rate for argparse: records a second, 0 for `none`, which means without a limit."""
    return 0.0 if text == "none" else float(argument(RATE)(text))


# --- What was typed ---


def wanted_of(args: argparse.Namespace) -> Wanted:
    """The filters that were typed."""
    return Wanted(**{name: getattr(args, name) for name in Wanted._fields})


def places_of(desk: Desk, texts: List[str]) -> Tuple[Tuple[int, int], ...]:
    """`P:O` or `topic:P:O`, as (partition, offset). Raises UsageError."""
    places = []
    for text in texts:
        partition, _, offset = text.replace(f"{desk.dlq_topic}:", "", 1).partition(":")
        if not (partition.isdecimal() and offset.isdecimal() and partition.isascii() and offset.isascii()):
            raise UsageError(f"{text!r} is no position: give PARTITION:OFFSET, as `list` shows it")
        places.append((int(partition), int(offset)))
    return tuple(places)


def repairs_of(desk: Desk, texts: List[str]) -> Dict[str, Any]:
    """The fields to change. Raises UsageError for an unknown field or a value that is no JSON."""
    known = [str(field["name"]) for field in desk.decoder.reader.parsed["fields"]]
    repairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise UsageError(f"--set {text}: give FIELD=JSON with a field of an order: {', '.join(known)}")
        try:
            repairs[name] = json.loads(value)
        except ValueError:
            raise UsageError(f"--set {text}: {value} is no JSON; a text needs quotes") from None
    return repairs


def request_of(desk: Desk, args: argparse.Namespace) -> Request:
    """The request that was typed. Raises UsageError."""
    wanted, at_ms = wanted_of(args), now_ms()
    terms = Terms(
        dlq_topic=desk.dlq_topic,
        audit_topic=desk.audit_topic,
        orders_topic=desk.orders_topic,
        confirmed=_confirmed(desk, args.to, wanted),
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


def _confirmed(desk: Desk, target: Optional[str], wanted: Wanted) -> FrozenSet[str]:
    """The topics that the operator named: by setting, by --to, or by --source-topic without a wildcard."""
    named = [topic for topic in wanted.source_topics if not any(sign in topic for sign in "*?[")]
    return frozenset([desk.orders_topic, *([target] if target else []), *named])


def selection_of(desk: Desk, request: Request) -> Selection:
    """The dead letters that the request is about. Raises UsageError."""
    fields = [str(field["name"]) for field in desk.decoder.reader.parsed["fields"]]
    try:
        return request.selection(fields)
    except SelectionError as error:
        raise UsageError(str(error)) from error


def refuse_everything(selection: Selection, args: argparse.Namespace, verb: str) -> None:
    """Raise UsageError where nothing was selected and `--all` was not said."""
    if selection.is_everything and not args.all:
        raise UsageError(f"{verb} which? Select with -g, --key, -p and the like, or say --all")


# --- The verb ---


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`replay`, in one of its four ways."""
    if args.plan_out and not args.dry_run:
        raise UsageError("--plan-out belongs to --dry-run")
    if args.resume:
        return resume(desk, args)
    if args.plan:
        return _carry_out(desk, args)
    request = request_of(desk, args)
    selection = selection_of(desk, request)
    refuse_everything(selection, args, "replay")
    with Bench(desk, request, _states(desk)) as bench:
        for place in request.positions:
            bench.topic.at(*place)
        bench.fix_ends(selection)
        if args.dry_run:
            return _dry_run(bench, selection, args)
        return _replay(bench, selection, args)


def _states(desk: Desk, job: Optional[str] = None) -> States:
    topics.require_kafka(desk.client)
    return read_states(audit_topics(desk), job)


def _dry_run(bench: Bench, selection: Selection, args: argparse.Namespace) -> int:
    desk = bench.desk
    plan = PlanWriter(args.plan_out, bench.request) if args.plan_out else None
    bench.survey(selection)
    outlook = look_ahead(bench, selection, _show(desk, plan))
    if desk.signals.requested:
        return desk.signals.exit_code
    tell = desk.note if desk.json else desk.say
    for line in replay_text.outlook_lines(outlook, bench.request.rate_per_s):
        tell(line)
    if plan:
        plan.end()
        desk.note(f"to carry it out: python dlq_handler.py replay --plan {escape(plan.path)}")
    return OK


def _show(desk: Desk, plan: Optional[PlanWriter]) -> Watch:
    def watch(letter: Letter, verdict: Verdict) -> None:
        if plan:
            plan.add(letter, verdict)
        if desk.json:
            desk.say(to_json(replay_text.verdict_row(letter, verdict)))

    return watch


def _replay(bench: Bench, selection: Selection, args: argparse.Namespace) -> int:
    desk = bench.desk
    bench.survey(selection)
    outlook = look_ahead(bench, selection, lambda letter, verdict: None)
    if desk.signals.requested:
        return desk.signals.exit_code
    for line in replay_text.outlook_lines(outlook, bench.request.rate_per_s):
        desk.note(line)
    if not outlook.to_send:
        return _nothing_to_send(outlook)
    return _confirm_and_send(bench, selection, outlook, args)


def _nothing_to_send(outlook: Outlook) -> int:
    """Done, if nothing is left to do; refused, if there is."""
    if outlook.refused:
        raise Refused(f"nothing was sent: none of the {outlook.chosen:,} chosen may be replayed")
    return OK


def _confirm_and_send(bench: Bench, selection: Selection, outlook: Outlook, args: argparse.Namespace) -> int:
    desk, request = bench.desk, bench.request
    # What cannot be recorded must not be sent.
    topics.ensure_topics(desk.client, [topics.audit(desk.audit_topic)])
    _warn_of_others(desk)
    confirm(desk, replay_text.question(outlook, request.rate_per_s), args.yes)
    at_ms = now_ms()
    job = Job(new_job_id(), audit.REPLAYED, who(), at_ms, at_ms, audit.RUNNING, outlook.to_send, 0,
              request=request_to_json(request), reason=args.reason, target=_goal(outlook))
    return _send(bench, selection, job)


def _goal(outlook: Outlook) -> Optional[str]:
    return next(iter(outlook.by_target)) if len(outlook.by_target) == 1 else None


def _send(bench: Bench, selection: Selection, job: Job) -> int:
    """Fence others, read the states anew, send."""
    desk = bench.desk
    replayer.at_gap("confirmed")
    transactions = Transactions(desk.client, transactional_id(desk.dlq_topic), desk.note)
    transactions.open()
    replayer.at_gap("fenced")
    bench.states = read_states(audit_topics(desk), job.id)
    replayer.at_gap("states read")
    # By the marks in Kafka, not by the job's record: they are what counts.
    sending = Sending(bench, job._replace(done=bench.states.done.count), transactions)
    return _tell_end(desk, sending, sending.run(selection))


def _tell_end(desk: Desk, sending: Sending, sent: Sent) -> int:
    not_sent = max(0, sent.job.total - sent.job.done)
    row = to_json(replay_text.job_row(sent.job))
    desk.say(row if desk.json else replay_text.end_line(sent.job, not_sent, sent.took_s))
    if desk.signals.requested:
        desk.note(f"stopped: {sending.how_to_go_on()}")
        return desk.signals.exit_code
    return INCOMPLETE if sent.refused else OK


def _warn_of_others(desk: Desk) -> None:
    for job in read_jobs(audit_topics(desk)):
        if job.status == audit.RUNNING and now_ms() - job.changed_ms < STILL_AT_WORK_MS:
            desk.note(f"job {escape(job.id)} of {escape(job.by)} is running: to go on here stops it there")


# --- With a plan, and again ---


def _carry_out(desk: Desk, args: argparse.Namespace) -> int:
    """Check that every record of the plan would be sent as it was reviewed, then send just these."""
    if any((*wanted_of(args), args.positions, args.repairs, args.to, args.all)):
        raise UsageError("--plan says what is sent: leave selection, --to, --set and --all away")
    plan = read_plan(args.plan)
    request = _planned(desk, plan, args)
    selection = _only(plan, selection_of(desk, request))
    with Bench(desk, request, _states(desk)) as bench:
        spans = bench.request.spans
        bench.fix_ends(selection)
        bench.request = bench.request._replace(spans=spans)
        bench.survey(selection)
        drift = Drift(plan)
        outlook = look_ahead(bench, selection, drift.see)
        if desk.signals.requested:
            return desk.signals.exit_code
        drift.refuse_any()
        return _confirm_and_send(bench, selection, outlook, args)


def _planned(desk: Desk, plan: Plan, args: argparse.Namespace) -> Request:
    terms = plan.request.terms
    if (terms.dlq_topic, terms.audit_topic) != (desk.dlq_topic, desk.audit_topic):
        raise Refused(f"nothing was sent: the plan is for {terms.dlq_topic}, not for {desk.dlq_topic}")
    request = plan.request if args.rate is None else plan.request._replace(rate_per_s=rate_of(args))
    return request._replace(plan_digest=plan.seal)


def _only(plan: Plan, selection: Selection) -> Selection:
    return selection._replace(filters=(plan.holds,), limit=None)


def resume(desk: Desk, args: argparse.Namespace) -> int:
    """Go on with a job where it stopped, whichever way it did."""
    topics.require_kafka(desk.client)
    job = find_job(desk, args.resume)
    request = _resumed(job)
    if job.is_finished:
        desk.note(f"job {job.id} is finished: {job.done:,} of {job.total:,} were sent")
        return OK
    plan = _same_plan(request, args.plan)
    selection = selection_of(desk, request)
    if args.rate is not None:
        request = request._replace(rate_per_s=rate_of(args))
    with Bench(desk, request, States()) as bench:
        left = f"go on with job {job.id}: {job.done:,} of {job.total:,} were sent"
        confirm(desk, f"{left}; send the rest {replay_text.speed(request.rate_per_s)}?", args.yes)
        return _resume_with(bench, _only(plan, selection) if plan else selection, job)


def _resume_with(bench: Bench, selection: Selection, job: Job) -> int:
    # The survey asks for states only where the selection does, and must see those of the job's start.
    bench.states = read_states(audit_topics(bench.desk), job.id)
    bench.survey(selection)
    if bench.desk.signals.requested:
        return bench.desk.signals.exit_code
    return _send(bench, selection, job)


def _resumed(job: Job) -> Request:
    if job.action != audit.REPLAYED:
        raise UsageError(f"job {job.id} is no replay: run its command again, it passes over what is done")
    try:
        return from_json(job.request)
    except ValueError as error:
        raise CommandError(f"job {job.id} cannot be resumed: {error}") from error


def _same_plan(request: Request, path: Optional[str]) -> Optional[Plan]:
    if request.plan_digest is None:
        return None
    if path is None:
        raise UsageError("the job carries out a plan: give its file with --plan")
    plan = read_plan(path)
    if plan.seal != request.plan_digest:
        raise Refused(f"nothing was sent: {path} is not the plan that the job began with")
    return plan


def find_job(desk: Desk, name: str) -> Job:
    """The job of this name, or whose name begins with it. Raises CommandError."""
    found = [job for job in read_jobs(audit_topics(desk)) if job.id.startswith(name)]
    exact = [job for job in found if job.id == name] or found
    if len(exact) != 1:
        many = "several jobs begin with" if exact else "there is no job"
        raise CommandError(f"{many} {name}; `jobs` lists them")
    return exact[0]


# --- Asking ---


def confirm(desk: Desk, question: str, yes: bool) -> None:
    """Return once it is confirmed. Raises Refused where it is not, or nobody is there to ask."""
    if yes:
        return
    if answer(desk, f"{question} [y/N] ").lower() not in ("y", "yes"):
        raise Refused("nothing was sent: not confirmed")


def answer(desk: Desk, prompt: str) -> str:
    """What the operator types. Ctrl-C counts as no answer. Raises Refused off a terminal."""
    if not sys.stdin.isatty():
        raise Refused(f"nothing was sent: there is no terminal to ask {prompt.strip()!r}; say --yes")
    desk.err.write(prompt)
    desk.err.flush()
    while not desk.signals.requested:
        ready, _, _ = select.select([sys.stdin], [], [], 0.2)
        if ready:
            return sys.stdin.readline().strip()
    return ""
