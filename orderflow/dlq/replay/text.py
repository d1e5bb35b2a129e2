"""Replays and jobs as text and as JSON, safe for a terminal."""

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from orderflow.dlq.audit import Job, refused_count
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import plain, to_json
from orderflow.dlq.output.times import clock
from orderflow.dlq.replay.judge import Terms, Verdict, digest
from orderflow.dlq.replay.outlook import Outlook
from orderflow.dlq.replay.request import from_json
from orderflow.model.text import escape, listed, plural

Json = Dict[str, Any]
Lines = Iterator[str]


MOST_PLACES = 20
"""Positions that are shown of what Kafka refused; JSON has all that the job's record keeps."""

# --- Before ---


def question(outlook: Outlook, rate_per_s: Optional[float]) -> str:
    """What has to be confirmed: how many go where, and how fast."""
    goals = [
        f"{plural(number, 'record')} into {topic}" for topic, number in sorted(outlook.by_target.items())
    ]
    first, *others = goals or ["0 records"]
    return ", ".join([f"replay {first}", *others]) + f" {speed(rate_per_s)}?"


def speed(rate_per_s: Optional[float]) -> str:
    """`at 50/s`, `at 90/h`, or without a limit."""
    if rate_per_s is None:
        return "as fast as it goes"
    return f"at {rate_per_s:g}/s" if rate_per_s >= 0.1 else f"at {rate_per_s * 3600:g}/h"


def outlook_lines(outlook: Outlook, rate_per_s: Optional[float]) -> Lines:
    """What would be sent and what would not, with the reasons and an example of each."""
    yield f"{plural(outlook.chosen, 'dead letter')} chosen, {outlook.to_send:,} to send"
    for topic, number in sorted(outlook.by_target.items()):
        yield f"{number:>8,}  into {escape(topic)} {speed(rate_per_s)}"
    if outlook.stale:
        yield f"{outlook.stale:>8,}  of them although their key has a newer order (--stale)"
    if outlook.headers_left_out:
        yield f"{outlook.headers_left_out:>8,}  of them without their headers, which cannot be carried"
    for topic, number in sorted(outlook.fetched.items()):
        yield f"{number:>8,}  of them fetched from {escape(topic)}, where the dead letters point to"
    for parts, number in sorted(outlook.unchecked.items()):
        yield f"{number:>8,}  of these unchecked: the dead letters carry no {' and no '.join(parts)}"
    for why, number in outlook.by_reason.most_common():
        yield f"{number:>8,}  not: {why}"
        for example in outlook.examples.get(why, ()):
            yield f"          {escape(example)}"
    yield from _foreign(outlook.foreign)
    yield from _repairs(outlook)


def _foreign(topics: Mapping[str, int]) -> Lines:
    for topic in topics:
        yield f"to let them go back to {escape(topic)}: --source-topic {escape(topic)}"


def _repairs(outlook: Outlook) -> Lines:
    for position, verdict in outlook.repaired:
        yield f"{position} repaired:"
        for name, value in (verdict.after or {}).items():
            before = (verdict.before or {}).get(name)
            if before != value:
                yield f"          {escape(name)}: {to_json(plain(before))} -> {to_json(plain(value))}"


def verdict_row(letter: Letter, verdict: Verdict) -> Json:
    """One verdict as an object."""
    outgoing = verdict.outgoing
    return {
        "position": letter.position,
        "send": outgoing is not None,
        "target": None if outgoing is None else outgoing.topic,
        "why": verdict.why or None,
        "detail": verdict.detail or None,
        "stale": verdict.is_stale,
        "headers_left_out": verdict.headers_left_out,
        "fetched": verdict.is_fetched,
        "unchecked": list(verdict.unchecked),
        "before": plain(verdict.before),
        "after": plain(verdict.after),
        "sha256": None if outgoing is None else digest(outgoing),
    }


def gone_line(number: int, dlq_topic: str) -> str:
    """That dead letters were deleted before their turn came: nothing can send them any more."""
    are = "is" if number == 1 else "are"
    return f"{number:,} of this job {are} no longer in {dlq_topic}: deleted before being sent"


def resumed_line(job: Job, done: int, terms: Terms) -> str:
    """What is gone on with: how far it is, and what its record asks for beyond the usual."""
    usual = Terms("", "", "")
    unusual = [f"--{name}" for name in ("again", "unchecked") if getattr(terms, name)]
    if terms.stale != usual.stale:
        unusual.append(f"--stale {terms.stale}")
    if terms.max_replays != usual.max_replays:
        unusual.append(f"--max-replays {terms.max_replays}")
    unusual += [f"--set {name}={to_json(value)}" for name, value in terms.repairs.items()]
    told = f", with {' '.join(unusual)}" if unusual else ""
    if job.refused:
        told += f"; {plural(refused_count(job), 'that Kafka refused is', 'that Kafka refused are')} left out"
    return escape(f"job {job.id} of {job.by}: {done:,} of {job.total:,} were sent{told}")


def resume_words(job: Job, terms: Terms, plan: Optional[str]) -> List[str]:
    """What to type to go on, with the plan's file, or the topics that have to be confirmed again."""
    if plan is not None:
        return ["replay", "--resume", job.id, "--plan", plan]
    extra = sorted(terms.confirmed - {terms.orders_topic})
    if terms.target is not None:
        extra = [terms.target] if terms.target != terms.orders_topic else []
    flag = "--source-topic" if terms.target is None else "--to"
    return ["replay", "--resume", job.id, *(word for each in extra for word in (flag, each))]


# --- After ---


def end_line(job: Job, not_sent: int, took_s: float, sent_here: int) -> str:
    """How it ended, in one line. `sent_here`: by this process, in the time that it took."""
    rate = f" ({sent_here / took_s:,.0f}/s)" if took_s >= 1 else ""
    left = f", {not_sent:,} not" if not_sent else ""
    goal = f" into {escape(job.target)}" if job.target else ""
    return f"{job.done:,} of {job.total:,} sent{goal}{left}, in {took_s:.1f}s{rate}; job {job.id}"


def not_sent_line(by_reason: Mapping[str, int]) -> str:
    """Why some were not sent, where fewer went than was said before: `not sent: 10 already replayed`."""
    told = (f"{number:,} {why}" for why, number in sorted(by_reason.items(), key=lambda each: -each[1]))
    return f"not sent: {', '.join(told)}"


def job_row(job: Job) -> Json:
    """A job as an object."""
    return {
        "job": job.id,
        "action": job.action,
        "status": job.status,
        "by": job.by,
        "started": job.at_ms,
        "changed": job.changed_ms,
        "total": job.total,
        "done": job.done,
        "target": job.target,
        "reason": job.reason,
        "refused": {reason: list(places) for reason, places in job.refused.items()},
        "gone": job.gone,
    }


JOB_HEADING = f"{'JOB':<20}  {'STARTED (UTC)':<19}  {'ACTION':<9}  {'STATUS':<8}  {'DONE':>9}  {'OF':>9}  BY"


def job_line(job: Job) -> str:
    """A job as a line."""
    told = f"  {escape(job.reason)}" if job.reason else ""
    return (
        f"{escape(job.id):<20}  {clock(job.at_ms):<19}  {escape(job.action):<9}  {escape(job.status):<8}  "
        f"{job.done:>9,}  {job.total:>9,}  {escape(job.by)}{told}"
    )


def job_lines(job: Job, came_back: int, command: Callable[..., str]) -> Lines:
    """A job in full."""
    for name, text in (
        ("job", job.id),
        ("action", job.action),
        ("status", job.status),
        ("by", job.by),
        ("started", clock(job.at_ms)),
        ("changed", clock(job.changed_ms)),
        ("done", f"{job.done:,} of {job.total:,}"),
        ("came back", f"{came_back:,}"),
        ("target", job.target or "where each came from"),
        ("reason", job.reason or "none given"),
    ):
        yield f"{name:<12}{escape(text)}"
    for reason, places in job.refused.items():
        yield f"{'refused':<12}{escape(listed(places, MOST_PLACES))}: {escape(reason)}"
    if job.gone:
        yield f"{'deleted':<12}{job.gone:,} before they were sent"
    if not job.is_finished and job.action == "replayed":
        yield f"next: {command(*_words_to_go_on(job))}"


def _words_to_go_on(job: Job) -> List[str]:
    """Of a job that carries out a plan, only whoever has the plan's file can go on with it."""
    try:
        request = from_json(job.request)
    except ValueError:  # it is refused, with the reason
        return ["replay", "--resume", job.id]
    return resume_words(job, request.terms, None if request.plan_digest is None else "FILE")
