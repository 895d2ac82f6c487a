import io

from rich.console import Console

from restrl.config import DecoderConfig
from restrl.evaluate.methods import COST, methods_markdown
from restrl.evaluate.results import compare, evaluate
from restrl.evaluate.table import comparison_table, results_table
from restrl.records import Answer, Outcome, Problem, Verdict

CONFIG = DecoderConfig(bootstrap=100)


def outcome(task_id, reward):
    status = "passed" if reward == 1 else "failed"
    verdict = Verdict("harness_error", 0, 1, None, 0) if reward is None else Verdict(status, 0, 1, reward, 0)
    return Outcome(Answer(task_id, 0, ""), verdict)


def render(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_comparison_shows_both_and_the_difference():
    problems = [Problem("a", "", {}), Problem("b", "", {})]
    base = [outcome("a", 0.0), outcome("b", 0.0)]
    trained = [outcome("a", 1.0), outcome("b", 1.0)]
    results = {
        name: evaluate(o, problems, CONFIG, 0) for name, o in [("base [bold]", base), ("trained", trained)]
    }
    text = render(
        comparison_table(results, compare(base, trained, problems, CONFIG, 0), "held-out [red]x[/red]")
    )
    assert "held-out [red]x[/red]" in text  # names are text, not markup
    assert text.count("base [bold]") == 2  # its own column, and the difference's
    row = next(line for line in text.splitlines() if "pass@1 %" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "pass@1 %", "0.0 [0.0, 0.0]", "100.0 [100.0, 100.0]", "+100.0 [+100.0, +100.0]",
    ]  # fmt: skip
    assert "95% bootstrap intervals over 2 problems" in text


def test_the_caption_says_what_was_resampled():
    problems = [Problem(name, "", {}, family=name[0]) for name in ("a1", "a2", "b1")]
    results = evaluate([outcome(p.task_id, 1.0) for p in problems], problems, CONFIG, 0)
    text = render(results_table(results, "decode"))
    assert "95% bootstrap intervals over 3 problems, resampled by family (2 of them)" in text
    results |= {"oracle": False, "cost_per_answer": dict.fromkeys(COST, 1.0)}
    assert "over 3 problems, resampled by family (2 of them); cost" in methods_markdown({"x": results}, "t")


def test_results_have_a_row_per_data_set_and_say_what_is_missing():
    problems = [
        Problem("a", "", {}, dataset="x"),
        Problem("b", "", {}, dataset="y"),
        Problem("c", "", {}, dataset="y"),
    ]
    results = evaluate([outcome("a", 1.0), outcome("b", None)], problems, CONFIG, 0)
    text = render(results_table(results, "decode"))
    rows = [
        [cell.strip() for cell in line.strip("│ ").split("│")] for line in text.splitlines() if "│" in line
    ]
    assert rows == [
        ["x", "1", "1", "100.0 [-]", "100.0 [-]"],
        ["y", "0", "0", "-", "-"],
        ["all", "1", "1", "100.0 [-]", "100.0 [-]"],
    ]
    assert "1 samples could not be judged" in " ".join(text.split())
    assert "2 problems have no judged sample" in " ".join(text.split())
