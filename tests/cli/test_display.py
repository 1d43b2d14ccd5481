from __future__ import annotations

import io
import json
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from icf import formats
from icf.cli.display import JsonDisplay, LiveDisplay, PlainDisplay, QuietDisplay
from icf.cli.fold_board import FoldBoard, Pace, measure_done
from icf.cli.plan_table import chosen_params, describe_plan, print_plan
from icf.cli.results import print_results
from icf.events import EpochEnd
from icf.pipeline.jobs import Placement
from icf.pipeline.listener import FoldStatus, Listener, RunResult
from icf.plan import Plan, load_plan

RECIPE = """
[problem]
question = "Which digit is it?"
[dataset]
use = "sklearn/digits"
[model]
use = "nn/sequential-cnn"
widths = [16, 32]
[optimizer]
use = "optimizer/adamw"
lr = 0.003
[split]
folds = 3
[train]
epochs = 10
clip_norm = 1.0
"""
NOTE = "rendered demo data"
WARNING = "42 files have the suffix of another format"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "digits.toml"
    path.write_text(RECIPE)
    return load_plan(path)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "digits" / "20260101-120000-abcdef01"


def make_console(width: int = 80, *, terminal: bool = False, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        color_system=None,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )


def read(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(console: Console) -> list[str]:
    return [line.rstrip() for line in read(console).splitlines()]


def make_epoch(fold: int = 2, epoch: int = 2, score: float = 0.8712) -> EpochEnd:
    return EpochEnd(
        run_dir=Path("run"),
        fold=fold,
        epoch=epoch,
        train_loss=0.4123,
        val_loss=0.3881,
        learning_rate=0.001,
        images_per_second=1234.4,
        metrics={"metric/macro-f1": score, "metric/accuracy": 0.9},
    )


def make_result(run_dir: Path, *, folds: int = 3, names: tuple[str, ...] = ()) -> RunResult:
    names = names or ("metric/macro-f1", "metric/accuracy", "metric/log-loss")
    score = {"value": 0.87123, "low": 0.86009, "high": 0.88231}
    fold = {"best_epoch": 7, "epochs": 10, "rows": 12600, "metrics": dict.fromkeys(names, 0.85)}
    metrics = {
        "select": names[0],
        "oof": dict.fromkeys(names, score),
        "rows": 37800,
        "interval": "95 % percentile bootstrap, 1000 resamples of groups",
        "folds": [{"fold": number, **fold} for number in range(folds)],
    }
    return RunResult(
        run_dir=run_dir,
        metrics=metrics,
        notes=(NOTE,),
        warnings=(WARNING,),
        submission=run_dir / "submission.csv",
        report=run_dir / "report.html",
        seconds=201.0,
        stages={"prepare": 9.04, "fit": 192.0},
    )


def play(display: Listener, plan: Plan, run_dir: Path) -> None:
    """Tell a display everything that a run of three folds tells it."""
    display.run_opened(plan, run_dir, continued=True)
    display.stage_started("prepare")
    display.stage_progress("prepare", "train images", 900, 1797)
    display.stage_ended("prepare", 9.04, skipped=True, detail="1,797 training rows, 10 classes")
    display.data_ready({"training rows": 1797, "groups": None, "image": "8 x 8 x 1"}, [NOTE], [WARNING])
    display.stage_started("fit")
    display.folds_placed(Placement("ray-task", "two cores", 2, 1, "cpu"), 3, [0])
    training = FoldStatus(2, "training", epoch=2, epochs=10, step=5, steps=10, images_per_second=1234.4)
    display.folds_changed([FoldStatus(0, "finished", 10, 10), FoldStatus(1, epochs=10), training])
    display.epoch_ended(make_epoch(), 10)
    display.stage_ended("fit", 192.0, skipped=False)
    display.run_ended(make_result(run_dir))


def test_plain_lines_are_exact(plan: Plan, run_dir: Path) -> None:
    console, errors = make_console(), make_console()
    with PlainDisplay(console, errors) as display:
        play(display, plan, run_dir)
    folder = "runs/digits/20260101-120000-abcdef01"
    printed = lines(console)
    assert printed[: printed.index("")] == [
        f"run folder    {folder}",
        "continues: what is complete is not done again",
        "✓ prepare            9.0 s  done before, skipped  1,797 training rows, 10 classes",
        "training rows  1,797",
        "image          8 x 8 x 1",
        f"note: {NOTE}",
        "folds         3 on cpu with ray-task, 2 at a time, 1 thread (two cores);",
        "              finished before: 0",
        "fold 2  epoch 3/10  train 0.412  val 0.388  macro-f1 0.871  1,234 images/s",
        "✓ fit           3 min 12 s",
    ]
    assert printed[-4:] == [
        f"run folder    {folder}",
        f"submission    {folder}/submission.csv",
        f"report        {folder}/report.html",
        "time          3 min 21 s: prepare 9.0 s, fit 3 min 12 s",
    ]
    assert lines(errors) == [f"warning: {WARNING}"]


def test_plain_output_has_no_control_characters(plan: Plan, run_dir: Path) -> None:
    console = make_console()
    with PlainDisplay(console, console) as display:
        play(display, plan, run_dir)
    assert all(character == "\n" or character.isprintable() for character in read(console))


def test_plain_progress_is_told_every_ten_seconds(plan: Plan) -> None:
    console, clock = make_console(), Clock()
    display = PlainDisplay(console, console, clock)
    display.stage_started("prepare")
    for second in range(25):
        clock.now = float(second)
        display.stage_progress("prepare", "train images", second * 1000, 25_000)
    assert lines(console) == [
        "  prepare     train images 10,000 of 25,000",
        "  prepare     train images 20,000 of 25,000",
    ]


def test_a_long_warning_is_one_line_in_a_file_and_is_told_once() -> None:
    console = make_console()
    display = PlainDisplay(make_console(), console)
    text = "word " * 40 + "[bold]not markup[/bold]"
    display.warn(text)
    display.warn(text)
    assert lines(console) == [f"warning: {text}"]


@pytest.mark.parametrize("width", [80, 120])
def test_results_fit_the_width_and_hold_every_number(run_dir: Path, width: int) -> None:
    console = make_console(width)
    print_results(console, make_result(run_dir))
    printed = lines(console)
    assert max(map(len, printed)) <= width
    assert "out of fold  37,800" + f"{'0.8712':>25}" + f"{'0.8712':>18}" * 2 in printed
    assert f"{'[0.8601, 0.8823]':>44}" + f"{'[0.8601, 0.8823]':>18}" * 2 in printed
    assert [line.split()[:4] for line in printed if line.startswith("fold 1")] == [["fold", "1", "12,600", "8/10"]]
    assert f"note: {NOTE}" in printed


def test_more_metrics_than_fit_go_into_further_tables(run_dir: Path) -> None:
    console = make_console(80)
    names = tuple(f"metric/number-{index}" for index in range(7))
    print_results(console, make_result(run_dir, names=names))
    printed = read(console)
    assert max(map(len, lines(console))) <= 80
    assert "…" not in printed
    assert all(f"number-{index}" in printed for index in range(7))
    assert printed.count("out of fold  37,800") == 3


def test_labelled_test_rows_have_their_own_line(run_dir: Path) -> None:
    console = make_console()
    result = make_result(run_dir)
    result.metrics["test"] = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in result.metrics["oof"]}
    print_results(console, result)
    index = next(i for i, line in enumerate(lines(console)) if line.startswith("test"))
    assert lines(console)[index].split() == ["test", "0.5000", "0.5000", "0.5000"]
    assert lines(console)[index + 1].count("[0.4000, 0.6000]") == 3


def test_quiet_writes_one_line_and_complains_elsewhere(plan: Plan, run_dir: Path) -> None:
    output, errors = make_console(), make_console()
    with QuietDisplay(output, errors) as display:
        play(display, plan, run_dir)
    assert lines(output) == ["macro-f1 0.8712 [0.8601, 0.8823]  runs/digits/20260101-120000-abcdef01"]
    assert lines(errors) == [f"note: {NOTE}", f"warning: {WARNING}"]


def test_json_is_one_valid_object(plan: Plan, run_dir: Path) -> None:
    output, errors = make_console(), make_console()
    result = make_result(run_dir)
    result.metrics["oof"]["metric/log-loss"] = {"value": math.nan, "low": math.inf, "high": 0.1}
    display = JsonDisplay(output, errors)
    display.run_ended(result)
    found = json.loads(read(output), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(found) == [
        "run_dir", "metrics", "notes", "warnings", "skipped", "submission", "report", "seconds",
    ]  # fmt: skip
    assert found["metrics"]["oof"]["metric/log-loss"] == {"value": None, "low": None, "high": 0.1}
    assert found["metrics"]["oof"]["metric/macro-f1"]["value"] == 0.87123
    assert found["submission"] == str(run_dir / "submission.csv")
    assert lines(errors) == [f"warning: {WARNING}"]


@pytest.mark.parametrize("width", [80, 120])
def test_live_ends_with_lines_that_stay(plan: Plan, run_dir: Path, width: int) -> None:
    console = make_console(width, terminal=True)
    with LiveDisplay(console, console) as display:
        play(display, plan, run_dir)
    printed = read(console)
    assert "✓ prepare" in printed
    assert "1 of 3 folds finished" in printed
    assert printed.index("1 of 3 folds finished") < printed.index("out of fold")
    assert printed.endswith("\x1b[?25h"), "the cursor must be visible again"


@pytest.mark.parametrize("terminal", [True, False])
def test_live_writes_warnings_above_what_it_redraws_or_into_the_file_of_errors(
    plan: Plan, run_dir: Path, terminal: bool
) -> None:
    console, errors = make_console(terminal=True), make_console(terminal=terminal)
    with LiveDisplay(console, errors) as display:
        play(display, plan, run_dir)
    assert (WARNING in read(console)) is terminal
    assert (WARNING in read(errors)) is not terminal


def test_live_is_stopped_by_an_exception_and_keeps_the_folds(plan: Plan, run_dir: Path) -> None:
    console = make_console(terminal=True)
    display = LiveDisplay(console, console)
    before = set(threading.enumerate())

    def interrupted() -> None:
        with display:
            display.run_opened(plan, run_dir, continued=False)
            display.folds_placed(Placement("inline", "small", 1, 1, "cpu"), 3, [])
            display.folds_changed([FoldStatus(0, "training", 1, 10, 5, 10)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=2)
        assert not thread.is_alive()
    assert "0 of 1 folds finished" in read(console)
    assert printed_cursor_is_visible(read(console))


def printed_cursor_is_visible(printed: str) -> bool:
    return printed.rindex("\x1b[?25h") > printed.rindex("\x1b[?25l")


def render_board(board: FoldBoard, width: int = 80, height: int = 40) -> list[str]:
    console = make_console(width, terminal=True, height=height)
    console.print(board)
    return lines(console)


def test_board_shows_last_and_best_score_and_time_left(plan: Plan) -> None:
    clock = Clock()
    board = FoldBoard(plan, clock)
    states = ((0, 0, None), (1, 5, make_epoch(0, 0, 0.9)), (2, 5, make_epoch(0, 1, 0.8)))
    for epoch, step, last in states:
        clock.now = 10.0 * (epoch + step / 10)
        status = FoldStatus(0, "training", epoch, 10, step, 10, 1234.4, last=last, best=0.9 if last else None)
        board.update([status, FoldStatus(1, epochs=10)])
    printed = render_board(board)
    assert printed[1].split() == ["0", "3/10", "━" * 5, "0.412", "0.388", "0.8000", "0.9000", "1,234", "1:15"]
    assert printed[2].split() == ["1", "0/10", "waiting"]
    assert printed[3] == "0 of 2 folds finished, 25 s elapsed, about 2 min 55 s left"


@pytest.mark.parametrize("width", [80, 100, 120])
def test_board_fits_the_width_with_the_longest_numbers(plan: Plan, width: int) -> None:
    clock = Clock()
    board = FoldBoard(plan, clock)
    for second in (0, 100):
        clock.now = float(second)
        last = make_epoch(99)
        board.update([FoldStatus(99, "training", 97, 100, second // 100, 100, 12345.6, last=last) for _ in range(3)])
    printed = render_board(board, width)
    assert max(map(len, printed)) <= width
    assert "…" not in "".join(printed)
    assert len(printed) == 5


def test_board_keeps_folds_at_work_on_a_small_screen(plan: Plan) -> None:
    board = FoldBoard(plan, Clock())
    finished = [FoldStatus(fold, "finished", 10, 10) for fold in range(20)]
    board.update([*finished, FoldStatus(20, "training", 1, 10, 1, 10), FoldStatus(21, epochs=10)])
    printed = render_board(board, height=16)
    folds = [line.split()[0] for line in printed[1:11]]
    assert folds[-2:] == ["20", "21"]
    assert printed[11:] == ["... and 12 more folds", "20 of 22 folds finished, 0.0 s elapsed"]


def test_threads_may_change_the_display_at_the_same_time(plan: Plan, run_dir: Path) -> None:
    console = make_console(terminal=True)
    failures: list[Exception] = []

    def shout(number: int) -> None:
        try:
            for step in range(30):
                display.folds_changed([FoldStatus(f, "training", 0, 10, step, 30, 9.0) for f in range(5)])
                display.epoch_ended(make_epoch(number, step), 30)
                display.warn(f"warning {number} {step}")
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    with LiveDisplay(console, console) as display:
        display.run_opened(plan, run_dir, continued=False)
        display.folds_placed(Placement("inline", "small", 1, 1, "cpu"), 5, [])
        threads = [threading.Thread(target=shout, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    printed = read(console)
    assert all(f"warning: warning {number} {step}" in printed for number in range(4) for step in range(30))


def test_pace_is_the_rest_at_the_speed_so_far() -> None:
    pace = Pace()
    pace.observe(100.0, 0.25, 1.0)
    assert pace.left is None
    pace.observe(101.0, 0.5, 1.0)
    assert pace.left is None, "too early to tell"
    pace.observe(110.0, 0.5, 1.0)
    assert pace.left == pytest.approx(20.0)


def test_done_is_between_nothing_and_all() -> None:
    assert measure_done(FoldStatus(0)) == 0.0
    assert measure_done(FoldStatus(0, "training", 1, 4, 5, 10)) == pytest.approx(0.375)
    assert measure_done(FoldStatus(0, "finished", 3, 10)) == 1.0
    assert measure_done(FoldStatus(0, "predicting", 10, 10, 0, 10)) == 1.0


def test_plan_table_shows_what_was_chosen_and_no_default(plan: Plan) -> None:
    rows = dict(describe_plan(plan))
    assert rows["data set"] == "sklearn/digits"
    assert rows["model"] == "nn/sequential-cnn (widths = [16, 32])"
    assert rows["optimizer"] == "optimizer/adamw (lr = 0.003)"
    assert rows["split"] == "auto, 3 folds"
    assert rows["training"] == "10 epochs, batches of 64, seed 0, clip_norm = 1.0"
    assert rows["metrics"].startswith("metric/macro-f1 chooses the best epoch, metric/accuracy")
    assert rows["executor"] == "auto"
    assert chosen_params(plan.loss) == {}


def test_full_plan_table_shows_every_parameter(plan: Plan) -> None:
    rows = dict(describe_plan(plan, full=True))
    for choice, label in ((plan.model, "model"), (plan.optimizer, "optimizer"), (plan.loss, "loss")):
        assert all(f"{name} = " in rows[label] for name, value in choice.params.items() if value is not None)
    assert "on_bad_image = error" in rows["data set"]
    assert "duplicates = together" in rows["split"]


def test_plan_table_prints_the_question_within_80_columns(plan: Plan) -> None:
    console = make_console()
    print_plan(console, plan, full=True)
    assert lines(console)[0] == "Which digit is it?"
    assert max(map(len, lines(console))) <= 80


@pytest.mark.parametrize(
    ("seconds", "words", "clock"),
    [
        (0.04, "0.0 s", "0:00"),
        (9.94, "9.9 s", "0:10"),
        (9.96, "10 s", "0:10"),
        (59.6, "1 min 00 s", "1:00"),
        (192, "3 min 12 s", "3:12"),
        (3599.7, "1 h 00 min", "1:00:00"),
        (3909, "1 h 05 min", "1:05:09"),
    ],
)
def test_durations(seconds: float, words: str, clock: str) -> None:
    assert formats.format_seconds(seconds) == words
    assert formats.format_clock(seconds) == clock


@given(st.floats(0, 1e6))
def test_a_clock_says_the_seconds_that_it_was_given(seconds: float) -> None:
    parts = [int(part) for part in formats.format_clock(seconds).split(":")]
    assert all(part < 60 for part in parts[1:])
    assert sum(part * 60**power for power, part in enumerate(reversed(parts))) == round(seconds)


def test_numbers_are_written_for_people() -> None:
    assert formats.format_score(0.87123) == "0.8712"
    assert formats.format_score(31.06094) == "31.061"
    assert formats.format_score(12345.6) == "12,346"
    assert formats.format_score(math.nan) == "–"
    assert formats.format_speed(1234.4) == "1,234"
    assert formats.format_speed(3.14) == "3.1"
    assert formats.format_speed(None) == ""


def test_names_are_shortened_only_where_they_stay_apart() -> None:
    refs = ["metric/f1", "other/f1", "metric/accuracy"]
    assert formats.shorten_refs(refs) == {
        "metric/f1": "metric/f1",
        "other/f1": "other/f1",
        "metric/accuracy": "accuracy",
    }
