from restrl.select.report import AssemblyReport, reward_std_histogram


def test_text_counts_everything():
    report = AssemblyReport(10, 6, {"reward std below sigma0": 3, "nothing judged": 1}, 4, [0.0], [0.5])
    assert report.text() == (
        "kept 6 of 10 problems (dropped: 3 reward std below sigma0, 1 nothing judged); "
        "10 start states, 4 of them partial"
    )
    text = AssemblyReport(2, 2, {}, 0, [], []).text()
    assert text == "kept 2 of 2 problems; 2 start states, 0 of them partial"


def test_histogram_covers_every_possible_std():
    edges, counts = reward_std_histogram([0.0, 0.04, 0.12, 0.5], bins=5)
    assert [round(edge, 6) for edge in edges] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert counts == [2, 1, 0, 0, 1]
    assert reward_std_histogram([], bins=2)[1] == [0, 0]
