"""Goes on with a job that was stopped, killed or tripped, whoever began it."""

import argparse
from typing import Optional, Sequence

from orderflow.dlq import audit
from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import read_jobs
from orderflow.dlq.confirmation import confirm
from orderflow.dlq.desk import Desk
from orderflow.dlq.replay import text as replay_text
from orderflow.dlq.replay.confirmed import goal, send_job
from orderflow.dlq.replay.flags import confirmed_by, rate_of, selection_of
from orderflow.dlq.replay.judge import Terms
from orderflow.dlq.replay.masked import shown_terms
from orderflow.dlq.replay.outlook import Bench, look_ahead
from orderflow.dlq.replay.plan_file import Plan, only, read_plan
from orderflow.dlq.replay.request import Request, from_json
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import audit_topics
from orderflow.exits import INCOMPLETE, OK, CommandError, Refused, UsageError
from orderflow.model.text import escape


def resume(desk: Desk, name: str, args: argparse.Namespace) -> int:
    """Go on with the job of this name where it stopped, whichever way it did."""
    desk.require_kafka()
    job = find_job(read_jobs(audit_topics(desk)), name)
    request = _resumed(job)
    if job.is_finished:
        return _tell_finished(desk, job)
    plan = _same_plan(request, args.plan)
    # The record stood in a topic that others may write to; the plan is the operator's own.
    terms = plan.request.terms if plan else _confirmed_again(desk, job, request.terms, args)
    request = request._replace(terms=terms)
    selection = selection_of(desk, request)
    if args.rate is not None:
        request = request._replace(rate_per_s=rate_of(args))
    with Bench(desk, request, plan and plan.path) as bench:
        return _resume_with(bench, only(plan, selection) if plan else selection, job, args)


def _tell_finished(desk: Desk, job: Job) -> int:
    desk.note(f"job {escape(job.id)} is finished: {job.done:,} of {job.total:,} were sent")
    if not job.gone:
        return OK
    desk.note(replay_text.gone_line(job.gone, desk.dlq_topic))
    return INCOMPLETE


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
    bench.pass_over(audit.refused_places(job))
    bench.refuse_successor()
    bench.survey(selection)
    outlook = look_ahead(bench, selection, lambda letter, verdict: None)
    if desk.signals.requested:
        return desk.signals.exit_code
    done = bench.states.done.count
    desk.note(replay_text.resumed_line(job, done, shown_terms(bench.request.terms, desk.mask)))
    gone = bench.gone(job.total - done - audit.refused_count(job) - outlook.chosen)
    if gone:
        desk.note(replay_text.gone_line(gone, desk.dlq_topic))
    for line in replay_text.outlook_lines(outlook, bench.request.rate_per_s):
        desk.note(line)
    bench.hold_to(outlook.choice)
    if outlook.to_send:
        confirm(desk, replay_text.question(outlook, bench.request.rate_per_s), args.yes)
    total = done + audit.refused_count(job) + outlook.to_send
    request = {**job.request, "spans": bench.request.spans}
    left = job._replace(total=total, target=goal(outlook), gone=job.gone + gone, request=request)
    return send_job(bench, selection, left, outlook.refused)


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


def find_job(jobs: Sequence[Job], name: str) -> Job:
    """The job of this name, or whose name begins with it. Raises CommandError."""
    found = [job for job in jobs if job.id.startswith(name)]
    exact = [job for job in found if job.id == name] or found
    if len(exact) != 1:
        many = "several jobs begin with" if exact else "there is no job"
        raise CommandError(f"{many} {name}; `jobs` lists them")
    return exact[0]
