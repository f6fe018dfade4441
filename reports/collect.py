#!/usr/bin/env python3
"""Collects run folders into one table, reports/cases.json.

    collect.py FOLDER       a folder of run folders, each with a report.json

Prints the table: entries that it already holds and that have no run in FOLDER are kept. Numbers are those of report.json, to
six digits; no sentence is copied.
"""
import json
import pathlib
import sys


def digits(value):
    return None if value is None else float(f"{value:.6g}")


def case(report):
    def finding(found):
        entry = {"audit": found["audit"], "verdict": found["verdict"]}
        estimate = found.get("estimate")
        if estimate:
            entry["effect"] = [digits(estimate[name]) for name in ("point", "lower", "upper")]
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
        "findings": [finding(found) for found in report["findings"]],
    }


def main():
    table = pathlib.Path(__file__).with_name("cases.json")
    cases = json.loads(table.read_text()) if table.exists() else {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*/report.json")):
        cases[path.parent.name] = case(json.loads(path.read_text()))
    lines = [f"{json.dumps(name)}: {json.dumps(cases[name], ensure_ascii=False)}" for name in sorted(cases)]
    print("{\n" + ",\n".join(lines) + "\n}")


main()
