"""What a replay would do, found out by reading only."""

from collections import Counter
from itertools import islice
from typing import Callable, Dict, FrozenSet, Iterator, List, Optional, Sequence, Tuple
from typing import Counter as CounterOf

from orderflow.avro.codec import order_reader
from orderflow.dlq.audit import States, replayed_by, replayed_from
from orderflow.dlq.choice import Choice
from orderflow.dlq.desk import Desk, Progress
from orderflow.dlq.letter import Letter
from orderflow.dlq.replay import judge as replay
from orderflow.dlq.replay.judge import Aids, Judge, Verdict
from orderflow.dlq.replay.masked import shown_verdict
from orderflow.dlq.replay.request import Ends, Request
from orderflow.dlq.replay.source_topics import Candidates, SourceTopics, offset_in_log
from orderflow.dlq.replay.staleness import NewestByKey
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import Topic, refuse_successor, states_to_act_on
from orderflow.exits import Refused
from orderflow.kafka.places import spans_of
from orderflow.kafka.positions import Range
from orderflow.kafka.reader import Span
from orderflow.model.records import Place, Record, place_in

EXAMPLES_KEPT = 3
FEW_AT_ONCE = {"queued.min.messages": 1_000, "queued.max.messages.kbytes": 1_024}
"""What is read ahead in a look, since a job's sending takes memory as well."""
SEARCHED = "searched for where they came from"


class Bench:
    """The open topics and the judge of one replay. Use as a context manager."""

    def __init__(self, desk: Desk, request: Request, plan: Optional[str] = None) -> None:
        """`plan`: the file of the plan that is carried out."""
        self.desk = desk
        self.request = request
        self.plan = plan
        self.states = States()
        self.sources = SourceTopics(desk.client, desk.reader)
        self._later = SourceTopics(desk.client, lambda topic: desk.reader(topic, **FEW_AT_ONCE))
        """The same, and the dead letter topic, for looks while the other readers are at work."""
        self.topic = Topic(desk, lambda partition, offset: self.states.of(partition, offset))
        self.newest = NewestByKey(self._is_own)
        self._begins: Ends = {}
        """Of the source topics: where the first of the chosen stood. None before a survey."""
        self._seen: Ends = {}
        """How far the source topics and the dead letter topic were searched for newer orders."""
        self._passed_over: FrozenSet[Place] = frozenset()
        self._choice = Choice(())
        self._read = order_reader(desk.decoder)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self.sources.__exit__()
        self._later.__exit__()
        self.topic.__exit__()

    def letters(self, selection: Selection, progress: Optional[Progress] = None) -> Iterator[Letter]:
        """What the selection takes, one by one, without those that the job has done or goes past.

        Of a limit these have taken up their part, whether or not they are still there.
        """
        unlimited = selection._replace(limit=None)
        left = (
            letter
            for batch in self.topic.batches(unlimited, progress, self.request.spans)
            for letter in batch
            if self._is_left(letter)
        )
        gone_past = self.states.done.count + len(self._passed_over)
        return islice(left, None if selection.limit is None else max(0, selection.limit - gone_past))

    def hold_to(self, choice: Choice) -> None:
        """From now on it is about these alone, in this process and for whoever goes on with the job."""
        self._choice = choice
        self.request = self.request._replace(spans=choice.spans)

    def confirmed(self) -> Iterator[Letter]:
        """Those that it is held to and that are still there, but for what the job has done or goes past."""
        for batch in self.topic.batches(Selection(), None, self._choice.spans):
            for letter in batch:
                if self._choice.holds(letter) and self._is_left(letter):
                    yield letter

    def _is_left(self, letter: Letter) -> bool:
        done, place = self.states.done, (letter.record.partition, letter.record.offset)
        return place not in self._passed_over and not (done.count and done.get(*place))

    def gone(self, missing: int) -> int:
        """How many of those that are missing can have been deleted: others may write the job's record."""
        deleted = sum(span.begin for span in spans_of(self.topic.reader, Range())) if missing > 0 else 0
        return max(0, min(missing, deleted))

    def pass_over(self, places: FrozenSet[Place]) -> None:
        """Leave these out from now on: Kafka refused them."""
        self._passed_over = places

    def judge(self, job: str = "") -> Judge:
        """The judge by the request's terms, once `survey` has been made; `job` is who sends."""
        aids = Aids(
            self._read,
            self.desk.decoder.decode,
            self._encode,
            self.sources.fetch,
            self._has_newer,
            self.sources.partitions,
            self.sources.room,
            lambda partition, offset: self.states.was_acted_on(partition, offset),
            self.sources.needs_key,
        )
        return Judge(self._terms(), aids, job)

    def _terms(self) -> replay.Terms:
        """Those of the request, with values of the order's types for the JSON that was typed."""
        terms = self.request.terms
        try:
            return terms._replace(repairs=self.desk.field_values(terms.repairs)) if terms.repairs else terms
        except ValueError as error:  # typed for another schema, or changed in the job's record
            raise Refused(f"nothing was sent: --set {error}") from error

    def _encode(self, order: replay.Order) -> bytes:
        """The bytes of a repaired order."""
        return self.desk.encoder().encode(order)

    def _has_newer(self, topic: str, partition: int, offset: int, key: bytes) -> bool:
        end = self._end_in_log(topic, partition)
        return self.newest.has_newer(topic, partition, offset_in_log(offset, end), key)

    def _end_in_log(self, topic: str, partition: int) -> int:
        """Where the log ended when it was shortest: an offset from there on is of a log that is gone."""
        then, now = self.request.ends.get(topic, {}), self._seen.get(topic, {})
        return min(then.get(partition, 0), now.get(partition, 0))

    def _is_own(self, order: Record) -> bool:
        """Whether this job sent the order. Its producer can write such headers, too: the job knows better."""
        if not order.headers or self.states.job is None or replayed_by(order) != self.states.job:
            return False
        place = place_in(self.desk.dlq_topic, replayed_from(order))
        return place is not None and self.states.done.get(*place) != 0

    def rooms(self) -> List[int]:
        """What the topics take that a replay writes to."""
        terms = self.request.terms
        targets = terms.confirmed if terms.target is None else [terms.target]
        return [self.sources.room(topic) for topic in (*targets, terms.audit_topic)]

    def read_states(self, job: str) -> None:
        """Learn again what became of each dead letter, without what this job did."""
        self.states = states_to_act_on(self.desk, job)

    def refuse_successor(self) -> None:
        """Raise Refused where the dead letter topic was created again since the request was made."""
        refuse_successor(self.desk, self.request.dlq_id, self.states)

    def fix_spans(self, selection: Selection) -> None:
        """Fix which part of the dead letter topic is read."""
        self.request = self.request._replace(spans=tuple(spans_of(self.topic.reader, selection.range)))

    def fix_ends(self) -> None:
        """Fix the ends of all topics as they are now, and then learn what became of each dead letter.

        In this order, so that what another job sends in between is known as sent, and not taken for newer
        orders. Raises Refused as `refuse_successor`.
        """
        self._seen = self._ends_now()
        self.states = states_to_act_on(self.desk)
        self.refuse_successor()
        self.request = self.request._replace(ends=self._seen, dlq_id=self.states.dlq_id)

    def _ends_now(self) -> Ends:
        """Of the dead letter topic last: so it tells of each order before the others' ends that had died."""
        ends = {topic: self.sources.ends(topic) for topic in self._source_topics()}
        dead = {span.partition: span.end for span in spans_of(self.topic.reader, Range())}
        return {**ends, self.desk.dlq_topic: dead}

    @property
    def target(self) -> str:
        """Where the canary goes: to the one target, or to the orders."""
        return self.request.terms.target or self.request.terms.orders_topic

    def _source_topics(self) -> List[str]:
        """Where a newer order may stand; none where nobody asks."""
        terms = self.request.terms
        if terms.stale == replay.ALLOW:
            return []
        return [topic for topic in sorted(terms.confirmed) if terms.target in (None, topic)]

    def survey(self, selection: Selection) -> None:
        """Find out which keys have newer orders by now, whenever the job began.

        A pass over all dead letters, then one over the sources.
        """
        topics = self._source_topics()
        if not topics:
            return
        self._seen = self._seen or self._ends_now()
        ends = {topic: {p: self._end_in_log(topic, p) for p in self._seen[topic]} for topic in topics}
        candidates, progress = Candidates(self.newest, ends), Progress(self.desk.err, SEARCHED)
        dead = self._seen[self.desk.dlq_topic]
        spans = [s._replace(end=dead.get(s.partition, 0)) for s in spans_of(self.topic.reader, Range())]
        for batch in self.topic.batches(Selection(), progress, spans):
            for letter in batch:
                candidates.add(letter, self._is_in_spans(letter) and selection.takes(letter))
                candidates.note_replayed(letter)
        progress.clear()
        self.newest.seal()
        self._begins = candidates.begins
        self.sources.read_newer(self.newest, self._begins, self._seen, self._stop_requested)

    def look_again(self) -> None:
        """Find out which keys got newer orders since the last look, where these hold the older ones back.

        It takes as long as to read what came since, the job's own records included. Raises Unreadable.
        """
        if not self._begins or self.request.terms.stale != replay.SKIP:
            return
        before, now, dlq = self._seen, self._ends_now(), self.desk.dlq_topic
        candidates = Candidates(self.newest, {topic: now[topic] for topic in self._begins})
        self.newest.begin_later()
        dead = {partition: before[dlq].get(partition, 0) for partition in now[dlq]}
        for batch in self._later.read(dlq, dead, now[dlq], self._stop_requested):
            for record in batch:
                candidates.add(self.topic.letter(record), is_chosen=False)
        self.newest.seal_later()
        begins = {
            topic: {partition: before[topic].get(partition, 0) for partition in places}
            for topic, places in self._begins.items()
        }
        self._later.read_newer(self.newest, begins, now, self._stop_requested)
        self._seen = now

    def _stop_requested(self) -> bool:
        return self.desk.signals.requested

    def _is_in_spans(self, letter: Letter) -> bool:
        partition, offset = letter.record.partition, letter.record.offset
        return any(s.partition == partition and s.begin <= offset < s.end for s in self.request.spans)


# --- Looking ahead ---


class Outlook:
    """What would be sent, and what would not, and why."""

    def __init__(self, spans: Sequence[Span] = ()) -> None:
        """`spans`: what is read of the dead letter topic."""
        self.choice = Choice(spans)
        """The dead letters that would be sent."""
        self.chosen = 0
        self.by_target: CounterOf[str] = Counter()
        self.stale = 0
        self.headers_left_out = 0
        self.fetched: CounterOf[str] = Counter()
        """How many stand in a source topic only, by topic."""
        self.unchecked: CounterOf[Tuple[str, ...]] = Counter()
        """How many of these are taken on trust, by what the dead letters do not carry to check them by."""
        self.by_reason: CounterOf[str] = Counter()
        self.examples: Dict[str, List[str]] = {}
        """By reason: positions and details of the first few."""
        self.repaired: List[Tuple[str, Verdict]] = []
        """The first few orders that --set changes."""
        self.foreign: CounterOf[str] = Counter()
        """Topics that were not confirmed."""

    @property
    def to_send(self) -> int:
        """How many would be sent."""
        return sum(self.by_target.values())

    @property
    def refused(self) -> int:
        """How many are not sent although something is left to do for them."""
        return sum(number for why, number in self.by_reason.items() if why not in replay.SETTLED)

    def add(self, letter: Letter, verdict: Verdict) -> None:
        """Take one verdict in."""
        self.chosen += 1
        self.choice.add(letter, verdict.outgoing is not None)
        if verdict.outgoing is None:
            self._refuse(letter, verdict)
            return
        self.by_target[verdict.outgoing.topic] += 1
        self.stale += verdict.is_stale
        self.headers_left_out += verdict.headers_left_out
        if verdict.is_fetched:
            self.fetched[letter.kind.topic or ""] += 1
        if verdict.unchecked:
            self.unchecked[verdict.unchecked] += 1
        if verdict.after is not None and len(self.repaired) < EXAMPLES_KEPT:
            self.repaired.append((letter.position, verdict))

    def _refuse(self, letter: Letter, verdict: Verdict) -> None:
        self.by_reason[verdict.why] += 1
        if verdict.why in replay.SETTLED:
            return
        kept = self.examples.setdefault(verdict.why, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(f"{letter.position} {verdict.detail}".strip())
        if verdict.why == replay.FOREIGN:
            self.foreign[letter.kind.topic or ""] += 1


Watch = Callable[[Letter, Verdict], None]


def look_ahead(bench: Bench, selection: Selection, watch: Watch) -> Outlook:
    """Judge every chosen dead letter and send none. `watch` sees each verdict."""
    outlook, judge = Outlook(bench.request.spans), bench.judge()
    progress = Progress(bench.desk.err)
    for letter in bench.letters(selection, progress):
        verdict = judge.verdict(letter)
        outlook.add(letter, shown_verdict(verdict, letter, bench.desk.mask))
        watch(letter, verdict)
    progress.clear()
    return outlook
