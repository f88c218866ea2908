"""Numbers into words: one way to write rates, differences and intervals on every page."""

import sys

from reports.findings import Difference, Proportion


def percent(rate: float) -> str:
    """Write a rate in percent, without the sign: one decimal below ten, never 0 or 100 unless it is."""
    value = 100 * rate
    if value == 0:
        return "0"
    if abs(value) < 0.05:
        return "<0.1" if value > 0 else ">−0.1"
    if 99.5 <= value < 100:
        return f"{value:.1f}" if value < 99.95 else ">99.9"
    digits = f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
    return digits.replace("-", "−")


def share(rate: float) -> str:
    """Write a share in percent, without the sign: always one decimal, never 0.0 or 100.0 unless it is."""
    value = 100 * rate
    if value == 0:
        return "0.0"
    if abs(value) < 0.05:
        return "<0.1" if value > 0 else ">−0.1"
    if 99.95 <= abs(value) < 100:
        return ">99.9" if value > 0 else "<−99.9"
    return f"{value:.1f}".replace("-", "−")


def shares(low: float, high: float) -> str:
    """Write an interval of shares in percent, without the sign."""
    return f"{share(low)} to {share(high)}"


def portion(count: int, total: int) -> str:
    """Write a count with its share: `23 of 64 (35.9 %)`."""
    return f"{count} of {total} ({share(count / total)} %)" if total else "none asked"


def quantity(value: float, unit: str) -> str:
    """Write a value in its unit: a share in percent, nats and rewards with two decimals."""
    if unit == "share":
        return f"{share(value)} %"
    return f"{nats(value)} nats per token" if unit == "nats per token" else f"{plain(value)} {unit}"


def between(low: float, high: float, unit: str) -> str:
    """Write an interval in its unit; what its values are is said beside it. Contracts write no infinity."""
    if high == sys.float_info.max:
        return "not known"
    if unit == "share":
        return f"{shares(low, high)} %"
    write = nats if unit == "nats per token" else plain
    return f"{write(low)} to {write(high)}"


def plain(value: float) -> str:
    """Write a number with two decimals."""
    return f"{value:.2f}".replace("-", "−")


def chance(value: float) -> str:
    """Write a p-value alone, for a column of them: `0.034`, `< 0.001`."""
    return p_value(value).removeprefix("p ").removeprefix("= ")


def spent(seconds: float) -> str:
    """Write a time: `90 seconds`, `48212 seconds (13.4 hours)`."""
    hours = f" ({seconds / 3600:.1f} hours)" if seconds >= 3600 else ""
    return f"{seconds:.0f} seconds{hours}"


def joined(words: list[str]) -> str:
    """Write a list: `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def signed(rate: float) -> str:
    """Write a difference of rates in percentage points, with its sign."""
    return f"+{percent(rate)}" if rate > 0 and not percent(rate).startswith("<") else percent(rate)


def points(difference: Difference) -> str:
    """Write a paired difference with its interval: `+48 points (37 to 60)`."""
    return f"{signed(difference.value)} points ({percent(difference.low)} to {percent(difference.high)})"


def spread(proportion: Proportion) -> str:
    """Write the uncertainty alone: `37 to 60`, `at most 5.7` for a count of zero, in percent without the sign."""
    if proportion.total == 0:
        return "nothing measured"
    if proportion.count == 0:
        return f"at most {percent(proportion.high)}"
    return f"{percent(proportion.low)} to {percent(proportion.high)}"


def measured(proportion: Proportion, confidence: float | None = None) -> str:
    """Write what stands in brackets after a count: `48 %, 95 % interval 37 to 60` or `at most 5.7 %`."""
    if proportion.total == 0:
        return spread(proportion)
    if proportion.count == 0:
        return f"{spread(proportion)} %"
    name = "" if confidence is None else f"{confident(confidence)} interval "
    return f"{percent(proportion.rate)} %, {name}{spread(proportion)}"


def confident(confidence: float) -> str:
    """Write a confidence: `95 %`, `99.9 %`."""
    return f"{100 * confidence:.4g} %"


def nats(value: float) -> str:
    """Write a difference of log-probabilities with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def p_value(value: float) -> str:
    """Write a p-value: `p = 0.034`, `p < 0.001`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def often(times: int) -> str:
    """Write how often something was shown: `once`, `16 times`."""
    return "once" if times == 1 else f"{times} times"
