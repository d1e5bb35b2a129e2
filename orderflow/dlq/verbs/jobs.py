"""The verb `jobs`: what was done to dead letters, by whom, and what became of it."""

import argparse

from orderflow.cli.values import TOPIC, argument
from orderflow.dlq.audit_topic import read_jobs
from orderflow.dlq.desk import Desk
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.replay import flags as replay_flags
from orderflow.dlq.replay import text as replay_text
from orderflow.dlq.replay.fates import Fates
from orderflow.dlq.replay.resuming import find_job, resume
from orderflow.dlq.topic import audit_topics, history_now, warn_of_policies
from orderflow.exits import OK, UsageError

ACTIONS = ("list", "show", "resume")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of jobs."""
    parser.add_argument("what", nargs="?", choices=ACTIONS, default="list", help="list is the default")
    parser.add_argument("job", nargs="?", metavar="JOB", help="its name, or how it begins")
    parser.add_argument("--plan", metavar="FILE", help="resume: the plan that the job carries out")
    parser.add_argument("--to", type=argument(TOPIC), metavar="TOPIC", help="resume: confirm its target")
    parser.add_argument(
        "--source-topic",
        dest="source_topics",
        action="append",
        metavar="TOPIC",
        default=[],
        help="resume: confirm this as a topic that the orders came from",
    )
    parser.add_argument("--rate", type=replay_flags.rate, metavar="N/s|none", help="resume: another rate")
    parser.add_argument("-y", "--yes", action="store_true", help="resume: do not ask")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`jobs`."""
    if args.what != "list" and args.job is None:
        raise UsageError(f"{args.what} which job? `jobs` lists them")
    if args.what == "resume":
        return resume(desk, args.job, args)
    desk.require_kafka()
    warn_of_policies(desk)
    return _show(desk, args.job) if args.what == "show" else _list(desk)


def _list(desk: Desk) -> int:
    jobs = read_jobs(audit_topics(desk))
    if jobs and not desk.json:
        desk.say(replay_text.JOB_HEADING)
    for job in jobs:
        desk.say(to_json(replay_text.job_row(job)) if desk.json else replay_text.job_line(job))
    return OK


def _show(desk: Desk, name: str) -> int:
    history = history_now(desk)
    job = find_job(history.jobs, name)
    fates = Fates(desk, [job], history)
    came_back, became = fates.came_back(job), fates.of(job)
    if desk.json:
        rows = [fate.row(back) for fate, back in became]
        desk.say(to_json({**replay_text.job_row(job), "came_back": came_back, "became": rows}))
        return OK
    for line in replay_text.job_lines(job, came_back, desk.command):
        desk.say(line)
    for fate, back in became:
        for title, text in fate.rows(back):
            desk.say(f"{title:<12}{text}")
    return OK
