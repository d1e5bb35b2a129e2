"""Peak memory, and whether it grows with the length of the topic."""

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, per_s
from benchmarks.rig import Rig

LIMIT_MIB = 200


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """One run over each length."""
    topics = [rig.orders(count, 8) for count in (plan.orders, plan.many_orders)]
    runs = [rig.run_ours(topic) for topic in topics]
    for topic, run in zip(topics, runs):
        say(f"{topic.total:,} orders: {run.peak_mib:.0f} MiB")
    short, long = (run.peak_mib for run in runs)
    peak = max(short, long)
    return Section(
        title="Memory",
        method="Peak resident memory of `consumer.py`, 1 % bad orders, exactly-once, after the last order.",
        head=("Orders in the topic", "peak MiB", "orders/s", "CPU µs/order"),
        rows=[
            (f"{topic.total:,}", f"{run.peak_mib:.0f}", per_s(run.rate), f"{run.cpu_us:.1f}")
            for topic, run in zip(topics, runs)
        ],
        bars=[
            Bar(f"Peak memory under {LIMIT_MIB} MiB", f"{peak:.0f} MiB", peak < LIMIT_MIB),
            Bar("Flat from 1 to 5 million orders", f"{short:.0f} and {long:.0f} MiB", long <= short * 1.1),
        ],
    )
