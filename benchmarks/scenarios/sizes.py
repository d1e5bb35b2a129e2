"""No cliffs: the speed at a fifth and at five times of each setting that is a size."""

from functools import partial
from typing import Dict, List, Tuple

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Run
from benchmarks.scenarios.throughput import attempt
from config import SETTINGS

FLAGS = ("--max-queued", "--max-order-bytes")
SIZES: Dict[str, int] = {
    **{setting.flag: int(setting.default or "") for setting in SETTINGS if setting.flag in FLAGS},
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 32_768,
    "fetch.message.max.bytes": 1_048_576,
}
"""Flags of consumer.py and properties of the client, with their defaults."""
AS_SHIPPED = ("as shipped", "")

Variant = Tuple[str, str]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """The default, then each setting smaller and larger, round by round."""
    topic = rig.orders(plan.orders // 4, 8)
    variants = [AS_SHIPPED] + [(name, scale) for name in SIZES for scale in ("a fifth", "five times")]
    results: Dict[Variant, List[Run]] = {variant: [] for variant in variants}
    for number in range(plan.rounds):
        for variant in variants:
            flags = _flags(*variant)
            results[variant] += attempt(partial(rig.run_ours, topic, *flags), str(variant), say)
        say(f"round {number + 1} of the sizes is done")
    return _section(results)


def _flags(name: str, scale: str) -> List[str]:
    if name not in SIZES:
        return []
    value = SIZES[name] // 5 if scale == "a fifth" else SIZES[name] * 5
    return [name, str(value)] if name.startswith("--") else ["-X", f"{name}={value}"]


def _section(results: Dict[Variant, List[Run]]) -> Section:
    rates = {variant: median(run.rate for run in runs) for variant, runs in results.items()}
    own = rates[AS_SHIPPED] or 1.0
    ratios = {variant: rate / own for variant, rate in rates.items() if variant != AS_SHIPPED}
    worst = min(ratios, key=lambda variant: ratios[variant])
    return Section(
        title="No cliffs",
        method="Each size at a fifth and at five times its default, everything else as shipped.",
        head=("Setting", "default", "a fifth: orders/s", "of shipped", "five times: orders/s", "of shipped"),
        rows=[
            ("as shipped", "", per_s(own), "1.00", per_s(own), "1.00"),
            *[
                (
                    f"`{name}`",
                    f"{default:,}",
                    per_s(rates[name, "a fifth"]),
                    f"{ratios[name, 'a fifth']:.2f}",
                    per_s(rates[name, "five times"]),
                    f"{ratios[name, 'five times']:.2f}",
                )
                for name, default in SIZES.items()
            ],
        ],
        bars=[
            Bar(
                "A fifth and five times of each size: within 20 % of the default's speed",
                f"{ratios[worst]:.2f} at worst ({worst[0]}, {worst[1]})",
                ratios[worst] >= 0.8,
            )
        ],
    )
