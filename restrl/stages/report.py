"""The reports of a run: ``report.md`` for people and ``results.json`` for programs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restrl.artifacts import Artifact
from restrl.evaluate.failures import explanation, failed
from restrl.evaluate.table import metric_names, resampled
from restrl.files import write_json_atomic, write_text_atomic
from restrl.records import Outcome
from restrl.select.report import reward_std_histogram

FAILURES = 5  # answers that are explained
BAR = 40  # characters of the longest bar


def write_report(
    folder: Path,
    results: Mapping[str, Any],
    iterations: Sequence[Mapping[str, Artifact]],
    command: str,
    outcomes: Sequence[Outcome] = (),
) -> None:
    """Writes both files.  Raises UserError.

    ``iterations``: step name -> artifact, in order; ``outcomes``: of the trained policy.
    """
    parts = [f"# {command}", _comparison(results)]
    if wrong := failed(outcomes):
        shown = "\n\n".join(explanation(outcome, whole=False) for outcome in wrong[:FAILURES])
        title = f"## Failures\n\n{len(wrong)} answers of the trained policy failed; the first of them:"
        parts.append(f"{title}\n\n<pre>\n{html.escape(shown)}\n</pre>")
    for number, artifacts in enumerate(iterations, start=1):
        parts.append(f"## Iteration {number}")
        parts += [_step(name, artifact) for name, artifact in artifacts.items()]
    parts.append(
        "## Files\n\n" + "\n".join(f"- {name}: `{place}`" for name, place in results["places"].items())
    )
    write_text_atomic(folder / "report.md", "\n\n".join(parts) + "\n")
    write_json_atomic(folder / "results.json", dict(results))


def _comparison(results: Mapping[str, Any]) -> str:
    base, trained, paired = results["base"], results["trained"], results["paired"]
    lines = [
        f"Held-out problems: {base['n']}; {resampled(base)}, the difference paired by problem.",
        "",
        "| | base | trained | difference |",
        "|---|---|---|---|",
    ]
    for metric in metric_names(base):
        cells = [_interval(r[metric], r["confidence_interval"][metric]) for r in (base, trained)]
        pair = paired.get(metric)
        cells.append(_interval(pair["difference"], pair["interval"]) if pair else "-")
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    if base.get("too_long"):
        count = len(base["too_long"])
        lines += ["", f"{count} problems are left out: their prompts leave no room for an answer."]
    errors = base["harness_errors"] + trained["harness_errors"]
    if errors:
        lines += ["", f"{errors} samples could not be judged; they are left out, not counted as wrong."]
        reasons = {r: None for part in (base, trained) for r in part.get("harness_error_reasons", ())}
        lines += [f"- {html.escape(reason)}" for reason in reasons]
    return "\n".join(lines)


def _interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _step(name: str, artifact: Artifact) -> str:
    lines = [f"### {name}", "", f"`{artifact.folder}`", ""]
    summary = artifact.summary
    if "text" in summary:  # what a step took from samples
        lines.append(summary["text"] + ".")
        if summary.get("sampled"):
            lines += ["", "Reward std by problem, before and after the filter:", "", "```"]
            lines += [*_histogram(summary["reward_stds_before"], summary["reward_stds_after"]), "```"]
    else:
        lines += [f"- {key}: {_plain(value)}" for key, value in summary.items()]
    lines += _machine(artifact.manifest.get("machine", {}).get("sandbox", {}))
    cost = artifact.cost
    if cost.completions:
        seconds = f", {cost.seconds:.0f} s" if cost.seconds else ""
        lines.append(f"- cost: {cost.completions} completions, {cost.model_tokens} tokens{seconds}")
    return "\n".join(lines)


def _machine(sandbox: Mapping[str, Any]) -> list[str]:
    """Facts about the machine that a reader of its verdicts should know."""
    lines = []
    if sandbox.get("missing"):
        lines.append(f"- sandbox: not enforced: {', '.join(sandbox['missing'])}")
    if sandbox.get("limits_factor", 1) > 1:
        lines.append(f"- sandbox: limits in seconds times {sandbox['limits_factor']:g}, for a slow machine")
    return lines


def _histogram(before: Sequence[float], after: Sequence[float]) -> list[str]:
    """Rows ``low-high  before  after`` with bars: # kept, . dropped."""
    edges, counts = reward_std_histogram(before, bins=10)
    _, kept = reward_std_histogram(after, bins=10)
    longest = max([*counts, 1])
    rows = []
    for i, count in enumerate(counts):
        full, width = round(kept[i] / longest * BAR), round(count / longest * BAR)
        bar = "#" * full + "." * max(0, width - full)
        rows.append(f"{edges[i]:.2f}-{edges[i + 1]:.2f} {count:5d} {kept[i]:5d} {bar}")
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
