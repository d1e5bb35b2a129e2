"""How many orders a second: ours, hand-written loops, and the frameworks."""

import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from benchmarks.environments import PEERS, NoEnvironment, python_of
from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Run, Topic, Void

SCRIPTS = Path(__file__).resolve().parent.parent / "peers"

OURS, OURS_AT_LEAST_ONCE = "orderflow, exactly-once", "orderflow, at-least-once"
TUNED, PLAIN = "confluent-kafka loop, tuned", "confluent-kafka loop, plain"
ARROYO = "sentry-arroyo"
FRAMEWORKS = ("FastStream (aiokafka)", "FastStream (Confluent)", ARROYO, "Quix Streams", "pyrallel-consumer")

Start = Callable[[Rig, Topic], Run]


class Contestant(NamedTuple):
    """Who, with which settings, and how one run of it is made."""

    name: str
    settings: str
    is_slow: bool
    start: Start


def contestants(say: Say) -> List[Contestant]:
    """Everybody that can run here."""
    ours = [
        Contestant(OURS, "as shipped", False, lambda rig, topic: rig.run_ours(topic)),
        Contestant(OURS_AT_LEAST_ONCE, "as shipped", False, _ours_at_least_once),
    ]
    own_python = Path(sys.executable)
    loop = SCRIPTS / "confluent_loop.py"
    loops = [
        Contestant(TUNED, "best", False, _peer(own_python, loop, "best")),
        Contestant(PLAIN, "defaults", False, _peer(own_python, loop, "defaults")),
    ]
    return ours + loops + [each for peer in _PEERS for each in _of_peer(peer, say)]


def _ours_at_least_once(rig: Rig, topic: Topic) -> Run:
    return rig.run_ours(topic, "--guarantee", "at-least-once")


_PEERS: Tuple[Tuple[str, str, str, Tuple[str, ...], Tuple[bool, bool]], ...] = (
    ("aiokafka loop", "aiokafka", "aiokafka_loop.py", (), (False, False)),
    ("kafka-python loop", "kafka-python", "kafka_python_loop.py", (), (True, True)),
    ("FastStream (aiokafka)", "faststream", "faststream_app.py", ("aiokafka",), (True, False)),
    ("FastStream (Confluent)", "faststream", "faststream_app.py", ("confluent",), (True, False)),
    (ARROYO, "arroyo", "arroyo_processor.py", (), (True, True)),
    ("Quix Streams", "quixstreams", "quixstreams_app.py", (), (True, True)),
    ("pyrallel-consumer", "pyrallel-consumer", "pyrallel_consumer_app.py", (), (True, True)),
)
"""Name, environment, script, its arguments, and whether it is slow at its defaults and at its best."""


def _of_peer(peer: Tuple[str, str, str, Tuple[str, ...], Tuple[bool, bool]], say: Say) -> List[Contestant]:
    name, environment, script, extra, slow = peer
    try:
        python = python_of(environment, say)
    except NoEnvironment as missing:
        say(f"left out: {missing}")
        return []
    return [
        Contestant(name, settings, is_slow, _peer(python, SCRIPTS / script, settings, *extra))
        for settings, is_slow in zip(("defaults", "best"), slow)
    ]


def _peer(python: Path, script: Path, settings: str, *extra: str) -> Start:
    return lambda rig, topic: rig.run_peer(topic, python, script, settings, *extra)


Results = Dict[Tuple[str, str], List[Run]]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Everybody in turn, round by round."""
    many, few = rig.orders(plan.orders, 8), rig.orders(plan.few_orders, 8)
    everybody = contestants(say)
    results: Results = {(each.name, each.settings): [] for each in everybody}
    # It does not count: Kafka compiles its code meanwhile, and whoever comes first would pay for it.
    attempt(partial(everybody[0].start, rig, many), "warming up", say)
    for number in range(plan.rounds):
        # Nobody always comes first, or always right after the slowest.
        first = number * len(everybody) // plan.rounds
        for each in [*everybody[first:], *everybody[:first]]:
            found = attempt(partial(each.start, rig, few if each.is_slow else many), each.name, say)
            results[each.name, each.settings] += found
            say(f"round {number + 1}: {each.name}, {each.settings}: {_rates(found)}")
    return _section(results, plan)


def attempt(start: Callable[[], Run], name: str, say: Say) -> List[Run]:
    """One run, or none if its counts are not right."""
    try:
        return [start()]
    except Void as void:
        say(f"void: {name}: {void}")
        return []


def _rates(runs: Sequence[Run]) -> str:
    return ", ".join(f"{per_s(run.rate)}/s" for run in runs) or "void"


def _section(results: Results, plan: Plan) -> Section:
    rates = {who: median(run.rate for run in runs) for who, runs in results.items()}
    tuned = rates[TUNED, "best"] or 1.0
    rows = [
        (
            f"{name}, {settings}",
            per_s(rates[name, settings]) if runs else "void",
            f"{rates[name, settings] / tuned:.2f}",
            f"{median(run.cpu_us for run in runs):.1f}",
            " ".join(per_s(run.rate / 1000) for run in runs),
        )
        for (name, settings), runs in sorted(results.items(), key=lambda item: -rates[item[0]])
    ]
    return Section(
        title="Throughput",
        method=(
            f"{plan.orders:,} orders ({plan.few_orders:,} for the slow ones: the rate is what counts) in 8 "
            "partitions, as `producer.py --invalid 1%` publishes them; the handler only counts. Everybody "
            "decodes and checks with the same code, and has its dead letters confirmed before it commits. "
            "Timed from the first to the last order handled. The tuned loop takes 5,000 records at a time "
            "with `fetch.queue.backoff.ms=5` and `queued.min.messages=20000`, and has no retries, no "
            "ledger and no exactly-once; ours is all of `consumer.py`."
        ),
        head=("Contestant", "orders/s", "of the tuned loop", "CPU µs/order", "each round, k/s"),
        rows=rows,
        bars=_bars(rates, results),
        remarks=[*_remarks(), _what_arroyo_asks(rates)],
    )


def _bars(rates: Dict[Tuple[str, str], float], results: Results) -> List[Bar]:
    ours = rates[OURS, "as shipped"]
    best = {name: rates.get((name, "best"), 0.0) for name in FRAMEWORKS}
    defaults = {name: rates.get((name, "defaults"), 0.0) for name in FRAMEWORKS}
    return [
        _ratio("0.95 of the tuned at-least-once loop", ours, TUNED, rates[TUNED, "best"], 0.95),
        _ratio("1.5 times the fastest framework at its best", ours, *_fastest(best), 1.5),
        _ratio("2 times the fastest framework at its defaults", ours, *_fastest(defaults), 2.0),
        _ratio("7 times sentry-arroyo", ours, ARROYO, best[ARROYO], 7.0),
    ]


def _what_arroyo_asks(rates: Dict[Tuple[str, str], float]) -> str:
    """How hard that bar is, which depends on the machine more than the others do."""
    tuned, arroyo = rates[TUNED, "best"] or 1.0, rates[ARROYO, "best"] or 1.0
    return (
        f"The tuned loop is {tuned / arroyo:.1f} times sentry-arroyo here, so 7 times sentry-arroyo is "
        f"{7 * arroyo / tuned:.2f} of the tuned loop."
    )


def _fastest(rates: Dict[str, float]) -> Tuple[str, float]:
    return max(rates.items(), key=lambda item: item[1])


def _ratio(promise: str, ours: float, name: str, theirs: float, wanted: float) -> Bar:
    ratio = ours / theirs if theirs else 0.0
    return Bar(f"Exactly-once: {promise}", f"{ratio:.3f} ({name}: {per_s(theirs)}/s)", ratio >= wanted)


def _remarks() -> List[str]:
    versions = "; ".join(", ".join(each.requirements) for each in PEERS.values())
    return [
        f"Peers: {versions}. pyrallel-consumer needs Python 3.12, all others run on ours.",
        "FastStream at its defaults takes records one at a time and commits on a timer; at its best it takes "
        "5,000 at a time without type casting, and acknowledges after the work.",
        "Void rounds are left out; a contestant without a valid round has 0.",
    ]
