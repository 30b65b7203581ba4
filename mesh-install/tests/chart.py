"""Renders the chart with Helm's own engine. One JSON line in, one out, per case: values and namespace to the
documents' texts, or to the error's."""

import json
import sys

import helm_python as helm

chart = sys.argv[1]
lint = helm.lint(chart)
problems = lint["errors"] + [m["error"] for m in lint["messages"] if m["severity"] > 1]
print(json.dumps({"lint": problems}))
with helm.Chart.load(chart) as loaded:
    for line in sys.stdin:
        case = json.loads(line)
        try:
            loaded.validate_schema(case["values"])
            texts = loaded.render(case["values"], name="mesh", namespace=case["namespace"])
            print(json.dumps({"texts": [t for name, t in texts.items() if name.endswith(".yaml")]}))
        except helm.HelmError as error:
            print(json.dumps({"error": str(error)}))
