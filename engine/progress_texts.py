"""Where a query stands, in words for people who watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thresher.progress import Indication, ProgressEvent

__all__ = ["amounts", "certain", "dollars", "duration", "suggested"]

_MOST_INTERVALS = 4  # limits of aggregates that are shown at once


def duration(seconds: float) -> str:
    """Write seconds as people do.

    Examples
    --------
    >>> [duration(s) for s in (0.4, 59.6, 75, 4000)]
    ['0.4 s', '60 s', '1 min 15 s', '1 h 6 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def dollars(amount: float) -> str:
    """Write dollars; small amounts with four digits.

    Examples
    --------
    >>> dollars(0.00123), dollars(12.5)
    ('$0.0012', '$12.50')
    """
    return f"${amount:.4f}" if 0 < amount < 0.1 else f"${amount:,.2f}"


def amounts(event: ProgressEvent, elapsed_s: float) -> str:
    """Say what was bought, of which limits, and what that took.

    Parameters
    ----------
    event : ProgressEvent
    elapsed_s : float
        Seconds since the statement began.

    Examples
    --------
    >>> from thresher.progress import ProgressEvent
    >>> amounts(ProgressEvent("sample", 412, 1000, 9.0, 0.21, left_s=18, usd_limit=1.0), 12)
    '412 of 1,000 labels, $0.21 of $1.00, 12 s, about 18 s left'
    """
    limit = "" if event.label_limit is None else f" of {event.label_limit:,}"
    one = event.n_labels == 1 and not limit
    parts = [f"{event.n_labels:,}{limit} label{'' if one else 's'}"]
    if event.n_reused:
        parts[0] += f" and {event.n_reused:,} from before"
    if (usd := event.cost_usd + event.proxy_cost_usd) or event.usd_limit is not None:
        most = "" if event.usd_limit is None else f" of {dollars(event.usd_limit)}"
        parts.append(f"{dollars(usd)}{most}")
    parts.append(duration(elapsed_s))
    if event.left_s:
        parts.append(f"about {duration(event.left_s)} left")
    return ", ".join(parts)


def certain(event: ProgressEvent) -> str:
    """Say what holds of the answer by now; empty where nothing does.

    Examples
    --------
    >>> from thresher.progress import Found, ProgressEvent
    >>> certain(ProgressEvent("sample", 40, 1000, 9.0, found=Found(500, 40, 12)))
    'certain: 12 to 472 of 500 rows are positive'
    """
    if event.limits is not None:
        shown = [
            f"{' of '.join([one.name, *one.group])} from {_number(one.low)} to {_number(one.high)}"
            for one in event.limits.intervals[:_MOST_INTERVALS]
            if one.low is not None or one.high is not None
        ]
        more = len(event.limits.intervals) - _MOST_INTERVALS
        rest = f", and {more:,} more" if more > 0 else ""
        probability = f"{100 * event.limits.probability:g} %"
        return f"holds with {probability}: {'; '.join(shown)}{rest}" if shown else ""
    found = event.found
    if found is None:
        return ""
    if found.low == found.high:
        return f"certain: {found.low:,} of {found.n_rows:,} rows are positive"
    return f"certain: {found.low:,} to {found.high:,} of {found.n_rows:,} rows are positive"


def suggested(indication: Indication | None) -> str:
    """Say what the labels suggest, marked as no promise; empty where it is nothing.

    Examples
    --------
    >>> from thresher.progress import Indication
    >>> suggested(Indication(811.2, 702.0, 905.5, 912, 0.931, 0.827))
    'not proved yet: about 811 positive rows (702 to 906); a cut now: 912 rows, recall near 93 %, \
precision near 83 %'
    """
    if indication is None:
        return ""
    low, high = round(indication.low), round(indication.high)
    said = f"about {round(indication.n_positive):,} positive rows ({low:,} to {high:,})"
    if indication.n_returned is not None:
        said += f"; a cut now: {indication.n_returned:,} rows"
        for name, share in (("recall", indication.recall), ("precision", indication.precision)):
            said += "" if share is None else f", {name} near {100 * share:.0f} %"
    return f"not proved yet: {said}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
