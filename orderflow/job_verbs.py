"""The verb `jobs`: what was done to dead letters, by whom, and what became of it.

Owns: list, show and resume of jobs.
Does not know: how a job is carried out (replay_verbs.py), how it looks (replay_text.py).
Used by: dlq_handler.py.
"""

import argparse

from orderflow import replay_flags, replay_text, replay_verbs, topics
from orderflow.audit import Job
from orderflow.audit_topic import read_entries, read_jobs
from orderflow.browse import Desk, audit_topics, states_now
from orderflow.cli import OK, UsageError
from orderflow.letters import FAILED_AGAIN
from orderflow.render import to_json

ACTIONS = ("list", "show", "resume")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of jobs."""
    parser.add_argument("what", nargs="?", choices=ACTIONS, default="list", help="list is the default")
    parser.add_argument("job", nargs="?", metavar="JOB", help="its name, or how it begins")
    parser.add_argument("--plan", metavar="FILE", help="resume: the plan that the job carries out")
    parser.add_argument("--rate", type=replay_flags.rate, metavar="N/s|none", help="resume: another rate")
    parser.add_argument("-y", "--yes", action="store_true", help="resume: do not ask")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`jobs`."""
    if args.what != "list" and args.job is None:
        raise UsageError(f"{args.what} which job? `jobs` lists them")
    if args.what == "resume":
        args.resume = args.job
        return replay_verbs.resume(desk, args)
    topics.require_kafka(desk.client)
    return _show(desk, args.job) if args.what == "show" else _list(desk)


def _list(desk: Desk) -> int:
    jobs = read_jobs(audit_topics(desk))
    if jobs and not desk.json:
        desk.say(replay_text.JOB_HEADING)
    for job in jobs:
        desk.say(to_json(replay_text.job_row(job)) if desk.json else replay_text.job_line(job))
    return OK


def _show(desk: Desk, name: str) -> int:
    job = replay_verbs.find_job(desk, name)
    came_back = _came_back(desk, job)
    if desk.json:
        desk.say(to_json({**replay_text.job_row(job), "came_back": came_back}))
        return OK
    for line in replay_text.job_lines(job, came_back):
        desk.say(line)
    return OK


def _came_back(desk: Desk, job: Job) -> int:
    """How many of what it sent are dead letters again."""
    states = states_now(desk)
    entries = (entry for entry in read_entries(audit_topics(desk)) if entry.job == job.id)
    places = {(entry.partition, entry.offset) for entry in entries}
    return sum(states.of(*place) == FAILED_AGAIN for place in places)
