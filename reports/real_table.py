#!/usr/bin/env python3
"""Prints the table of released models in docs/results.md from reports/real-models.json: one row for each run and audit, and
one for each trigger that was confirmed."""
import json
import pathlib

MODELS = {"smollm2": "SmolLM2-135M-Instruct", "gemma3": "Gemma 3 270M"}


def signed(value, digits):
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "\u2212")


def interval(values, digits):
    if values is None:
        return "\u2013"
    point, lower, upper = (signed(value, digits) for value in values)
    return f"{point} ({lower} to {upper})"


def rows(cases):
    for name, case in sorted(cases.items(), key=lambda item: (-ord(item[0][0]), item[0])):
        model, run = name.split("/")
        dataset, draw = run.rsplit("-", 1)
        for finding in case["findings"]:
            effect = finding.get("effect")
            points = interval(effect and [100 * value for value in effect], 0)
            asked = finding["audit"]
            if finding.get("trigger"):
                asked += f" at {finding['trigger'].get('value') or finding['trigger']['slot']}"
            yield [MODELS[model], dataset, draw, asked, finding["verdict"], points,
                   interval(finding.get("log_odds"), 2), str(round(case["seconds"] / 60))]


def main():
    table = pathlib.Path(__file__).with_name("real-models.json")
    heading = ["model", "dataset", "draw", "audit", "verdict", "points", "nats", "minutes"]
    print("| " + " | ".join(heading) + " |\n|" + "---|" * len(heading))
    for row in rows(json.loads(table.read_text())):
        print("| " + " | ".join(row) + " |")


main()
