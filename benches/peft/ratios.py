"""Medians of two files of measurements, and the peer's over ours: `python ratios.py OURS PEER`. One line a row, times first, then memory."""

import json
import statistics
import sys
from collections import defaultdict


def main():
    ours, peer = (measured(path) for path in sys.argv[1:])
    for what, unit in (("ms", "ms"), ("peak_mb", "MB")):
        for row in ours:
            # The peer trains one model at a time, whatever their number.
            other = peer.get(row) or peer[(row[0], row[1], 1)]
            a, b = (statistics.median(run[what] for run in runs) for runs in (ours[row], other))
            name = "_".join(str(part) for part in row if part) + ("_memory" if what == "peak_mb" else "")
            print(f"{name} {b / a:.2f}  ({a:.4g} and {b:.4g} {unit}, {len(ours[row])} runs)")


def measured(path):
    """(work, shape, count) -> its runs."""
    runs = defaultdict(list)
    for line in open(path):
        run = json.loads(line)
        runs[(run["work"], run["shape"], run["count"])].append(run)
    return runs


if __name__ == "__main__":
    main()
