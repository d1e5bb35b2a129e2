"""The verb `replay`: its flags, and its four ways: a dry run, a replay, a plan, a job that goes on."""

import argparse
from typing import Optional

from orderflow.cli.private_file import require_new
from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.replay import flags
from orderflow.dlq.replay import text as replay_text
from orderflow.dlq.replay.confirmed import confirm_and_send
from orderflow.dlq.replay.flags import rate_of, request_of, selection_of
from orderflow.dlq.replay.judge import Verdict
from orderflow.dlq.replay.masked import shown_verdict
from orderflow.dlq.replay.other_readers import reader_lines
from orderflow.dlq.replay.outlook import Bench, Outlook, Watch, look_ahead
from orderflow.dlq.replay.plan_file import Drift, Plan, PlanWriter, only, read_plan
from orderflow.dlq.replay.request import Request
from orderflow.dlq.replay.resuming import resume
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import refuse_everything
from orderflow.dlq.topic import warn_of_policies
from orderflow.exits import OK, Refused, UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of replay, beside the selection."""
    flags.add_flags(parser)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`replay`, in one of its four ways."""
    if args.plan_out and not args.dry_run:
        raise UsageError("--plan-out belongs to --dry-run")
    if args.resume:
        flags.refuse_other_flags(args, "--resume", flags.RESUME_HEEDS)
        return resume(desk, args.resume, args)
    if args.plan:
        flags.refuse_other_flags(args, "--plan", flags.PLAN_HEEDS)
        return _carry_out(desk, args)
    request = request_of(desk, args)
    selection = selection_of(desk, request)
    refuse_everything(selection, args, "replay")
    if args.plan_out:
        require_new(args.plan_out)
    _look_at_kafka(desk)
    with Bench(desk, request) as bench:
        bench.topic.require(request.positions)
        bench.fix_spans(selection)
        bench.fix_ends()
        if args.dry_run:
            return _dry_run(bench, selection, args)
        return _replay(bench, selection, args)


def _look_at_kafka(desk: Desk) -> None:
    desk.require_kafka()
    warn_of_policies(desk)


def _dry_run(bench: Bench, selection: Selection, args: argparse.Namespace) -> int:
    desk = bench.desk
    plan = PlanWriter(args.plan_out, bench.request) if args.plan_out else None
    bench.survey(selection)
    outlook = look_ahead(bench, selection, _show(desk, plan))
    if desk.signals.requested:
        return desk.signals.exit_code
    tell = desk.note if desk.json else desk.premise
    for line in (
        *replay_text.outlook_lines(outlook, bench.request.rate_per_s),
        *reader_lines(desk, outlook.by_target),
    ):
        tell(line)
    if plan:
        plan.end()
        desk.note(f"to carry it out: {desk.command('replay', '--plan', plan.path)}")
    return OK


def _show(desk: Desk, plan: Optional[PlanWriter]) -> Watch:
    say = desk.premise if plan else desk.say

    def watch(letter: Letter, verdict: Verdict) -> None:
        if plan:
            plan.add(letter, verdict)
        if desk.json:
            shown = shown_verdict(verdict, letter, desk.mask)
            say(to_json(replay_text.verdict_row(letter, shown)))

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
    return confirm_and_send(bench, selection, outlook, args)


def _nothing_to_send(outlook: Outlook) -> int:
    """Done, if nothing is left to do; refused, if there is."""
    if outlook.refused:
        raise Refused(f"nothing was sent: none of the {outlook.chosen:,} chosen may be replayed")
    return OK


def _carry_out(desk: Desk, args: argparse.Namespace) -> int:
    """Check that every record of the plan would be sent as it was reviewed, then send just these."""
    plan = read_plan(args.plan)
    request = _planned(desk, plan, args)
    selection = only(plan, selection_of(desk, request))
    _look_at_kafka(desk)
    with Bench(desk, request, plan.path) as bench:
        bench.fix_ends()
        bench.survey(selection)
        drift = Drift(plan)
        outlook = look_ahead(bench, selection, drift.see)
        if desk.signals.requested:
            return desk.signals.exit_code
        drift.refuse_any()
        return confirm_and_send(bench, selection, outlook, args)


def _planned(desk: Desk, plan: Plan, args: argparse.Namespace) -> Request:
    terms = plan.request.terms
    if (terms.dlq_topic, terms.audit_topic) != (desk.dlq_topic, desk.audit_topic):
        raise Refused(f"nothing was sent: the plan is for {terms.dlq_topic}, not for {desk.dlq_topic}")
    request = plan.request if args.rate is None else plan.request._replace(rate_per_s=rate_of(args))
    return request._replace(plan_digest=plan.seal)
