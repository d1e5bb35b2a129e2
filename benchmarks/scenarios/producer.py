"""How many orders a second producer.py publishes."""

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig

WANTED = 100_000


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """One process, made-up orders, 1 % of them broken on purpose."""
    rates = [rig.publish(plan.orders, 8).published_per_s for _ in range(plan.rounds)]
    say(f"producer.py: {', '.join(map(per_s, rates))}/s")
    rate = median(rates)
    return Section(
        title="Producer",
        method=(
            f"`producer.py --count {plan.orders} --invalid 1%`, idempotent, acks=all, as it says itself: "
            "made up, encoded, sent and confirmed."
        ),
        head=("", "orders/s"),
        rows=[("median", per_s(rate)), ("each round", " ".join(map(per_s, rates)))],
        bars=[Bar(f"One producer process publishes {WANTED:,} orders/s", f"{per_s(rate)}/s", rate >= WANTED)],
    )
