"""Wall time and peak memory of a command, as one JSON object: `python timed.py WORK -- COMMAND...`. Exit codes 0 to 2 are verdicts."""

import json
import resource
import subprocess
import sys
import time


def main():
    work, _, *command = sys.argv[1:]
    start = time.perf_counter()
    code = subprocess.run(command, stdout=sys.stderr).returncode
    milliseconds = 1e3 * (time.perf_counter() - start)
    if code > 2:
        sys.exit(f"{command} ended with {code}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1.024 / 1e3
    print(json.dumps(dict(work=work, shape="nestling", count=0, ms=milliseconds, peak_mb=round(peak))))


if __name__ == "__main__":
    main()
