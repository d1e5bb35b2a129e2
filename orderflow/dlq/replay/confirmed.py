"""Carries out what was confirmed: opens the job, sends, and goes on after an outage of Kafka."""

import argparse
import time
from typing import Optional

from orderflow.cli.outage import Outage
from orderflow.dlq import audit
from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import read_jobs, taken_over_by
from orderflow.dlq.confirmation import confirm
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.replay import sending as replayer
from orderflow.dlq.replay import text as replay_text
from orderflow.dlq.replay.other_readers import reader_lines
from orderflow.dlq.replay.outlook import Bench, Outlook
from orderflow.dlq.replay.request import to_json as request_to_json
from orderflow.dlq.replay.sending import Sending, Sent, new_job_id, who
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import audit_topics
from orderflow.dlq.writer import open_writer
from orderflow.exits import INCOMPLETE, OK, CommandError, KafkaUnreachable, TopicMissing
from orderflow.kafka import topics
from orderflow.kafka.reachable import require_kafka
from orderflow.kafka.reader import Unreadable
from orderflow.kafka.transactions import Fenced, Interrupted
from orderflow.model.text import escape

AGAIN_S = 0.5
"""Between two looks whether all topics can be read again."""
STILL_AT_WORK_MS = 60_000
"""A job that is running and was changed since then is probably still at work."""


def confirm_and_send(bench: Bench, selection: Selection, outlook: Outlook, args: argparse.Namespace) -> int:
    """Ask, then send as a new job."""
    desk = bench.desk
    bench.hold_to(outlook.choice)
    request = bench.request
    # What cannot be recorded must not be sent.
    topics.ensure_topics(desk.client, [topics.audit(desk.audit_topic)])
    warn_of_others(desk)
    for line in reader_lines(desk, outlook.by_target):
        desk.note(line)
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
        target=goal(outlook),
    )
    return send_job(bench, selection, job, outlook.refused)


def goal(outlook: Outlook) -> Optional[str]:
    """The one topic that it all goes to; None where there are several."""
    return next(iter(outlook.by_target)) if len(outlook.by_target) == 1 else None


def send_job(bench: Bench, selection: Selection, job: Job, refused: int) -> int:
    """Send what the bench is held to, as far as the selection still takes it; returns the exit code.

    After an outage of Kafka go on, unless someone else has taken over meanwhile. `refused`: how many were
    chosen and not confirmed, although something is left to do for them.
    """
    desk = bench.desk
    outage = Outage(desk.tell, str(desk.client["bootstrap.servers"]))
    sending = _open(bench, job)
    while True:
        try:
            code = _tell_end(desk, sending, sending.run(selection))
            return INCOMPLETE if refused and code == OK else code
        except Interrupted as error:
            outage.lost(str(error))
            sending = _open_again(bench, sending)
            outage.back()


def _open(bench: Bench, job: Job) -> Sending:
    """Fence others, then read the states anew: by then all that anyone sent is settled."""
    desk = bench.desk
    replayer.at_gap("confirmed")
    transactions = open_writer(desk, bench.rooms())
    replayer.at_gap("fenced")
    bench.read_states(job.id)
    bench.refuse_successor()
    bench.pass_over(audit.refused_places(job))
    replayer.at_gap("states read")
    bench.look_again()  # the question, or an outage, may have taken hours
    # By the marks in Kafka, not by the job's record: they are what counts.
    return Sending(bench, job._replace(done=bench.states.done.count), transactions)


def _open_again(bench: Bench, sending: Sending) -> Sending:
    """Return when Kafka is back. Raises CommandError when asked to stop, Fenced if someone was quicker.

    A broker that answers may still know no leader of a partition, or not all topics.
    """
    desk = bench.desk
    while True:
        try:
            require_kafka(desk.client)
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
    line = replay_text.end_line(sent.job, not_sent, sent.took_s, sent.sent_here)
    desk.result(row if desk.json else line)
    if not_sent and sent.by_reason:
        desk.note(replay_text.not_sent_line(sent.by_reason))
    if sent.gone_here:
        desk.note(replay_text.gone_line(sent.gone_here, desk.dlq_topic))
    if desk.signals.requested:
        desk.note(f"stopped: {sending.how_to_go_on()}")
        return desk.signals.exit_code
    return INCOMPLETE if sent.refused or sent.job.gone else OK


def warn_of_others(desk: Desk) -> None:
    """Say which jobs are at work: one at a time can write, and whoever comes later stops the others."""
    for job in read_jobs(audit_topics(desk)):
        if job.status == audit.RUNNING and now_ms() - job.changed_ms < STILL_AT_WORK_MS:
            desk.note(f"job {escape(job.id)} of {escape(job.by)} is running: to go on here stops it there")
