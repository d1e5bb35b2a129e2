"""What a replay shows of orders, without what is hidden. What it sends is whole."""

from orderflow.dlq.letter import Letter
from orderflow.dlq.masking import MASKED, Mask
from orderflow.dlq.replay.judge import Terms, Verdict
from orderflow.model.hidden import TextKind, words_of


def shown_verdict(verdict: Verdict, letter: Letter, mask: Mask) -> Verdict:
    """The verdict to be shown: the order around a repair, and why it still fails, may tell hidden values."""
    if not mask.names:
        return verdict
    before, after = verdict.before, verdict.after
    known = [order for order in (letter.order, before, after) if order is not None]
    words = words_of(mask.names, {"orders": known} if known else None, letter.record.key)
    return verdict._replace(
        detail=words.out_of_text(verdict.detail, TextKind.ANY),
        before=None if before is None else mask.order(before),
        after=None if after is None else mask.order(after),
    )


def shown_terms(terms: Terms, mask: Mask) -> Terms:
    """The terms of a job to be shown: somebody may have repaired a hidden field."""
    repairs = {name: MASKED if _is_hidden(name, mask) else value for name, value in terms.repairs.items()}
    return terms._replace(repairs=repairs)


def _is_hidden(path: str, mask: Mask) -> bool:
    return not mask.names.isdisjoint(path.split("."))
