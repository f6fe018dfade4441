#!/usr/bin/env python3
"""Collects run folders into one table, for example reports/cases.json.

    collect.py TABLE FOLDER       a folder of run folders, each with a report.json

Prints the table: entries that TABLE already holds and that have no run in FOLDER are kept. An entry is named by the run's path
in FOLDER. Numbers are those of report.json, to six digits; no sentence is copied. RUN.seconds, beside a run, has the seconds of
each part of it.
"""
import json
import pathlib
import sys


def digits(value):
    return None if value is None else float(f"{value:.6g}")


def interval(estimate):
    return [digits(estimate[name]) for name in ("point", "lower", "upper")]


def case(report, seconds):
    def finding(found):
        entry = {"audit": found["audit"], "verdict": found["verdict"]}
        if found.get("estimate"):
            entry["effect"] = interval(found["estimate"])
        # Where the verdict rests on log-odds too.
        same = [found.get(name) for name in ("audit", "context", "step")]
        for effect in report["effects"]:
            if [effect[name] for name in ("audit", "context", "step")] == same and "log_odds_test" in effect:
                entry["log_odds"] = interval(effect["log_odds"])
                entry["log_odds_margin"] = digits(effect["log_odds_test"]["margin"])
        entry["margin"] = found["margin"]
        for name in ("context", "step", "trigger"):
            if found.get(name) is not None:
                entry[name] = found[name]
        entry["codes"] = [reason["code"] for reason in found["reasons"]]
        return entry

    return {
        "verdict": report["verdict"],
        "examined": report["examined"],
        "foretaste_version": report["foretaste_version"],
        "plan_sha256": report["plan_sha256"],
        "dataset_sha256": report["dataset"]["sha256"],
        **({"seconds": seconds} if seconds else {}),
        "findings": [finding(found) for found in report["findings"]],
    }


def main():
    table, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    cases = json.loads(table.read_text()) if table.exists() else {}
    for path in sorted(folder.rglob("report.json")):
        run = path.parent
        parts = run.with_name(run.name + ".seconds")
        seconds = sum(map(int, parts.read_text().split())) if parts.exists() else 0
        cases[str(run.relative_to(folder))] = case(json.loads(path.read_text()), seconds)
    lines = [f"{json.dumps(name)}: {json.dumps(cases[name], ensure_ascii=False)}" for name in sorted(cases)]
    print("{\n" + ",\n".join(lines) + "\n}")


main()
