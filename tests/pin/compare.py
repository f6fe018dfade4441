#!/usr/bin/env python3
"""Compares two builds of foretaste: what must be equal where code is moved and not changed.

    compare.py OLD NEW [RUNS...] [--strict] [--no-plans]

OLD and NEW are programs, RUNS are run folders, such as target/reports/* (made by reports/make).

- Plans: `plan --json` of every fixtures/*/{poisoned,control}.jsonl. Contents, hash and smallest
  detectable effects must be equal. The estimate is not compared, because it is measured.
- Reports: `report` of a copy of every run folder. Verdicts, and findings with their numbers and
  reasons, must be equal. Sentences may differ. With --strict every file must be equal, byte for
  byte.

Prints a line for each fixture and run, and below it the first differences. Exits 1 where anything
differs. Run folders are not changed.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What `report` writes into a run folder.
RENDERED = ["report.json", "report.html", "summary.md", "results.sarif", "junit.xml", "plots"]
# Differences that are printed for one fixture or run.
SHOWN = 5
# Exit codes above this one are errors; the others are verdicts.
LAST_VERDICT = 2


def run(command, folder):
    """Exit code, output and errors of a command."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def plan(program, data):
    """The plan of a dataset without what is measured, or the error."""
    code, output, errors = run([program, "plan", data, "--json"], ROOT)
    if code != 0:
        return {"exit_code": code, "errors": errors}
    document = json.loads(output)
    document.pop("estimate")
    return document


def report(program, source, folder):
    """Exit code, report.json and the bytes of every file that `report` writes."""
    copy = folder / source.name
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("adapters", *RENDERED))
    code, _, errors = run([program, "report", source.name, "--quiet"], folder)
    files = {}
    for name in RENDERED:
        paths = sorted((copy / name).rglob("*")) if (copy / name).is_dir() else [copy / name]
        files.update((str(path.relative_to(copy)), path.read_bytes())
                     for path in paths if path.is_file())
    if code > LAST_VERDICT:
        return {"exit_code": code, "errors": errors}, files
    return {"exit_code": code, **judged(json.loads(files["report.json"]))}, files


def judged(document):
    """Verdicts and findings of report.json, without sentences."""
    def without_text(reason):
        return {name: value for name, value in reason.items() if name != "text"}

    findings = [{**finding, "reasons": [without_text(reason) for reason in finding["reasons"]]}
                for finding in document["findings"]]
    return {
        "plan_sha256": document["plan_sha256"],
        "verdict": document["verdict"],
        "examined": document["examined"],
        "findings": findings,
    }


def differences(old, new, place=""):
    """Places at which two JSON values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            inner = f"{place}.{name}" if place else name
            if name in old and name in new:
                yield from differences(old[name], new[name], inner)
            else:
                yield f"{inner}: only in {'OLD' if name in old else 'NEW'}"
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}: {len(old)} entries, {len(new)} entries"
        for index, (one, other) in enumerate(zip(old, new)):
            yield from differences(one, other, f"{place}[{index}]")
    # 1 and 1.0 differ, as their text does.
    elif old != new or type(old) is not type(new):
        yield f"{place}: {shortened(old)}, {shortened(new)}"


def shortened(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"


class Table:
    """Lines on standard output, and whether any of them says that something differs."""

    def __init__(self):
        self.differing = 0

    def line(self, kind, name, found, note=""):
        found = list(found)
        self.differing += bool(found)
        print(f"{kind:<7}{name:<34}{'differs' if found else 'equal':<9}{note}".rstrip())
        for difference in found[:SHOWN]:
            print(f"         {difference}")
        if len(found) > SHOWN:
            print(f"         and {len(found) - SHOWN} more")
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=pathlib.Path, metavar="OLD")
    parser.add_argument("new", type=pathlib.Path, metavar="NEW")
    parser.add_argument("runs", type=pathlib.Path, metavar="RUNS", nargs="*")
    parser.add_argument("--strict", action="store_true", help="compare the bytes of reports too")
    parser.add_argument("--no-plans", action="store_true", help="compare reports alone")
    arguments = parser.parse_args()
    old, new = arguments.old.resolve(), arguments.new.resolve()
    runs = [path.resolve() for path in arguments.runs if path.is_dir()]
    for path in arguments.runs:
        if not (path / "manifest.json").is_file():
            parser.error(f"{path} is no run folder: it has no manifest.json")
    table = Table()
    fixtures = [] if arguments.no_plans else sorted(
        path for path in (ROOT / "fixtures").glob("*/*.jsonl")
        if path.name in ("poisoned.jsonl", "control.jsonl"))
    for path in fixtures:
        data = str(path.relative_to(ROOT))
        one, other = plan(old, data), plan(new, data)
        table.line("plan", f"{path.parent.name}/{path.stem}", differences(one, other),
                   one.get("plan_sha256", "no plan")[:12])
    for source in runs:
        with tempfile.TemporaryDirectory() as folder:
            sides = []
            for name, program in (("old", old), ("new", new)):
                (pathlib.Path(folder) / name).mkdir()
                sides.append(report(program, source, pathlib.Path(folder) / name))
        (one, files), (other, other_files) = sides
        found = list(differences(one, other))
        changed = sorted(name for name in files.keys() | other_files.keys()
                         if files.get(name) != other_files.get(name))
        if arguments.strict:
            found += [f"{name}: not equal byte for byte" for name in changed]
        note = f"{one.get('verdict', 'no report')}, {len(files) - len(changed)} of {len(files)} " \
               "files byte-equal"
        table.line("report", source.name, found, note)
    compared = len(fixtures) + len(runs)
    print(f"{table.differing} of {compared} differ")
    if compared == 0:
        parser.error("nothing was compared")
    return 1 if table.differing else 0


if __name__ == "__main__":
    sys.exit(main())
