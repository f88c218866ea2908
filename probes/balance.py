"""Who gets which repetition stratum and which half, so that groups can be compared."""

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction


def deal(sizes: Sequence[int], shares: Sequence[int]) -> list[list[tuple[int, int]]]:
    """For each group, return a (stratum, half) for each of its members, by stratum and half.

    `sizes` are the members of the groups, `shares` the weights of the strata; a half is 0 or 1. In a group, in a
    stratum, in one stratum of one group and in all, the halves differ by at most 1. All in all a stratum has its
    share, rounded up or down; within a group it is less than 2 off it, and with equal shares less than 1.
    """
    sequence = _chairmen(sum(sizes), shares)
    counts: list[list[int]] = []
    at = 0
    for size in sizes:
        window = sequence[at : at + size]
        counts.append([window.count(stratum) for stratum in range(len(shares))])
        at += size
    odd = [
        (group, stratum) for group, row in enumerate(counts) for stratum, count in enumerate(row) if count % 2
    ]
    left = _split(odd)
    dealt = []
    for group, row in enumerate(counts):
        members: list[tuple[int, int]] = []
        for stratum, count in enumerate(row):
            first = count // 2 + (left.get((group, stratum)) == 0)
            members += [(stratum, 0)] * first + [(stratum, 1)] * (count - first)
        dealt.append(members)
    return dealt


def _chairmen(length: int, shares: Sequence[int]) -> list[int]:
    """A sequence of strata in which each has, after any number of places, less than 1 more or less than its share.

    R. Tijdeman, The chairman assignment problem, doi:10.1016/0012-365X(80)90269-1: of those that are far enough
    behind, the one that would first be too far behind. With equal shares they take turns.
    """
    total = sum(shares)
    slack = Fraction(1, max(2 * len(shares) - 2, 1))
    taken = [0] * len(shares)
    sequence: list[int] = []
    for place in range(1, length + 1):
        due = [
            stratum
            for stratum, share in enumerate(shares)
            if Fraction(share * place, total) - taken[stratum] >= slack
        ]
        chosen = min(due, key=lambda stratum: (taken[stratum] + 1 - slack) / shares[stratum])
        taken[chosen] += 1
        sequence.append(chosen)
    return sequence


def _split(cells: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Give each (group, stratum) a half so that in every group, every stratum and in all they differ by at most 1.

    Cells of a group are paired, and those of a stratum; each has then at most one partner of either kind. Such
    chains have no odd rings, so that along each the halves can alternate, and no pair is in one half.
    """
    partners: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for axis in (0, 1):
        waiting: dict[int, tuple[int, int]] = {}
        for cell in cells:
            other = waiting.pop(cell[axis], None)
            if other is None:
                waiting[cell[axis]] = cell
            else:
                partners[cell].append(other)
                partners[other].append(cell)
    halves: dict[tuple[int, int], int] = {}
    surplus = 0
    for start in sorted(cells, key=lambda cell: len(partners[cell])):  # the ends of open chains first
        half = int(surplus > 0)
        cell: tuple[int, int] | None = None if start in halves else start
        while cell is not None:
            halves[cell] = half
            surplus += -1 if half else 1
            half = 1 - half
            cell = next((other for other in partners[cell] if other not in halves), None)
    return halves
