"""The verb `replay`: the look ahead, the confirmation, the sending and the end, in each of its four ways."""

import argparse
import time
from typing import Optional

from orderflow.cli.status import Outage
from orderflow.dlq import audit
from orderflow.dlq.audit import Job, States
from orderflow.dlq.audit_topic import read_jobs, taken_over_by
from orderflow.dlq.confirmation import confirm
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.replay import flags
from orderflow.dlq.replay import sending as replayer
from orderflow.dlq.replay import text as replay_text
from orderflow.dlq.replay.flags import confirmed_by, rate_of, request_of, selection_of
from orderflow.dlq.replay.judge import Terms, Verdict
from orderflow.dlq.replay.outlook import Bench, Outlook, Watch, look_ahead
from orderflow.dlq.replay.plan_file import Drift, Plan, PlanWriter, read_plan
from orderflow.dlq.replay.request import Request, from_json
from orderflow.dlq.replay.request import to_json as request_to_json
from orderflow.dlq.replay.sending import Sending, Sent, new_job_id, who
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import refuse_everything, wanted_of
from orderflow.dlq.topic import audit_topics, states_now, warn_of_policies
from orderflow.exits import INCOMPLETE, OK, CommandError, KafkaUnreachable, Refused, TopicMissing, UsageError
from orderflow.kafka import topics
from orderflow.kafka.reader import Unreadable
from orderflow.kafka.transactions import Fenced, Interrupted, Transactions, transactional_id
from orderflow.model.text import escape

AGAIN_S = 0.5
"""Between two looks whether all topics can be read again."""
STILL_AT_WORK_MS = 60_000
"""A job that is running and was changed since then is probably still at work."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of replay, beside the selection."""
    flags.add_flags(parser)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`replay`, in one of its four ways."""
    if args.plan_out and not args.dry_run:
        raise UsageError("--plan-out belongs to --dry-run")
    if args.resume:
        return resume(desk, args.resume, args)
    if args.plan:
        return _carry_out(desk, args)
    request = request_of(desk, args)
    selection = selection_of(desk, request)
    refuse_everything(selection, args, "replay")
    with Bench(desk, request, _states(desk)) as bench:
        for place in request.positions:
            bench.topic.at(*place)
        bench.fix_spans(selection)
        bench.fix_ends()
        if args.dry_run:
            return _dry_run(bench, selection, args)
        return _replay(bench, selection, args)


def _states(desk: Desk) -> States:
    topics.require_kafka(desk.client)
    warn_of_policies(desk)
    return states_now(desk)


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
    job = Job(
        new_job_id(),
        audit.REPLAYED,
        who(),
        at_ms,
        at_ms,
        audit.RUNNING,
        outlook.to_send,
        0,
        request=request_to_json(request),
        reason=args.reason,
        target=_goal(outlook),
    )
    return _send(bench, selection, job)


def _goal(outlook: Outlook) -> Optional[str]:
    return next(iter(outlook.by_target)) if len(outlook.by_target) == 1 else None


def _send(bench: Bench, selection: Selection, job: Job) -> int:
    """Send, and after an outage of Kafka go on, unless someone else has taken over meanwhile."""
    desk = bench.desk
    outage = Outage(desk.note, str(desk.client["bootstrap.servers"]))
    sending = _open(bench, job)
    while True:
        try:
            return _tell_end(desk, sending, sending.run(selection))
        except Interrupted as error:
            outage.lost(str(error))
            sending = _open_again(bench, sending)
            outage.back()


def _open(bench: Bench, job: Job) -> Sending:
    """Fence others, then read the states anew: by then all that anyone sent is settled."""
    desk = bench.desk
    replayer.at_gap("confirmed")
    transactions = Transactions(desk.client, transactional_id(desk.dlq_topic), desk.note)
    transactions.open()
    replayer.at_gap("fenced")
    bench.read_states(job.id)
    replayer.at_gap("states read")
    # By the marks in Kafka, not by the job's record: they are what counts.
    return Sending(bench, job._replace(done=bench.states.done.count), transactions)


def _open_again(bench: Bench, sending: Sending) -> Sending:
    """Return when Kafka is back. Raises CommandError when asked to stop, Fenced if someone was quicker.

    A broker that answers may still know no leader of a partition, or not all topics.
    """
    desk = bench.desk
    while True:
        try:
            topics.require_kafka(desk.client)
            _refuse_if_taken_over(desk, sending)
            return _open(bench, sending.job)
        except (KafkaUnreachable, Unreadable, TopicMissing) as error:
            if desk.signals.requested:
                raise CommandError(f"Kafka is still away; {sending.how_to_go_on()}") from error
        time.sleep(AGAIN_S)


def _refuse_if_taken_over(desk: Desk, sending: Sending) -> None:
    other = taken_over_by(audit_topics(desk), sending.job)
    if other is not None:
        raise Fenced(f"job {other.id} of {other.by} has taken over; {sending.how_to_go_on()}")


def _tell_end(desk: Desk, sending: Sending, sent: Sent) -> int:
    not_sent = max(0, sent.job.total - sent.job.done)
    row = to_json(replay_text.job_row(sent.job))
    desk.result(row if desk.json else replay_text.end_line(sent.job, not_sent, sent.took_s))
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
        bench.refuse_successor()
        bench.fix_ends()
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


def resume(desk: Desk, name: str, args: argparse.Namespace) -> int:
    """Go on with the job of this name where it stopped, whichever way it did."""
    topics.require_kafka(desk.client)
    job = find_job(desk, name)
    request = _resumed(job)
    if job.is_finished:
        desk.note(f"job {escape(job.id)} is finished: {job.done:,} of {job.total:,} were sent")
        return OK
    plan = _same_plan(request, args.plan)
    # The record stood in a topic that others may write to; the plan is the operator's own.
    terms = plan.request.terms if plan else _confirmed_again(desk, job, request.terms, args)
    request = request._replace(terms=terms)
    selection = selection_of(desk, request)
    if args.rate is not None:
        request = request._replace(rate_per_s=rate_of(args))
    with Bench(desk, request, States()) as bench:
        return _resume_with(bench, _only(plan, selection) if plan else selection, job, args)


def _confirmed_again(desk: Desk, job: Job, terms: Terms, args: argparse.Namespace) -> Terms:
    """The job's terms. Raises Refused where they lead anywhere that is not confirmed by what is typed now."""
    ours = desk.dlq_topic, desk.audit_topic, desk.orders_topic
    if (terms.dlq_topic, terms.audit_topic, terms.orders_topic) != ours:
        raise Refused(f"nothing was sent: job {job.id} is of {terms.dlq_topic} and {terms.orders_topic}")
    goals = terms.confirmed if terms.target is None else {terms.target}
    strange = sorted(goals - confirmed_by(desk, args))
    if strange:
        flag = "--source-topic" if terms.target is None else "--to"
        raise Refused(
            f"nothing was sent: by its record job {job.id} sends into {strange[0]}, which is not the orders' "
            f"topic; if that is right, say so with {flag} {strange[0]}"
        )
    return terms


def _resume_with(bench: Bench, selection: Selection, job: Job, args: argparse.Namespace) -> int:
    """Look again at what is left, ask, and send it."""
    desk = bench.desk
    # The survey asks for states only where the selection does, and must see those of the job's start.
    bench.read_states(job.id)
    bench.refuse_successor()
    bench.survey(selection)
    outlook = look_ahead(bench, selection, lambda letter, verdict: None)
    if desk.signals.requested:
        return desk.signals.exit_code
    done = bench.states.done.count
    desk.note(replay_text.resumed_line(job, done, bench.request.terms))
    for line in replay_text.outlook_lines(outlook, bench.request.rate_per_s):
        desk.note(line)
    if outlook.to_send:
        confirm(desk, replay_text.question(outlook, bench.request.rate_per_s), args.yes)
    return _send(bench, selection, job._replace(total=done + outlook.to_send, target=_goal(outlook)))


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
