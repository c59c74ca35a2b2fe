"""The command line as its users see it: help, exit codes, error messages and files."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_echomamba.cli import build_parser, main, parse_settings
from recbole_echomamba.commands import COMMANDS
from recbole_echomamba.commands.results import format_next_commands, format_result
from recbole_echomamba.system.errors import MissingFileError, UserError
from tests.conftest import SMALL, write_inter

ROOT = Path(__file__).parent.parent
SCRIPTS = {
    "run_recbole.py": "run",
    "run_compare.py": "compare",
    "run_hyper.py": "tune",
    "recommend.py": "recommend",
}


def execute(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300)


def flags(settings):
    return [f"--{key}={value}" for key, value in settings.items()]


def test_run_recbole_trains_prints_a_table_and_writes_the_result(settings):
    script = str(ROOT / "run_recbole.py")
    done = execute(script, "--model=EchoMamba4Rec", "--dataset=cycle", "--result_file=r.json", *flags(settings))
    assert done.returncode == 0, done.stderr
    result = json.loads(Path("r.json").read_text())
    lines = [line.split() for line in done.stdout.splitlines()]
    for metric, value in result["test_result"].items():
        assert [metric, str(result["best_valid_result"][metric]), str(value)] in lines
    assert result["run_directory"] in done.stdout


def test_the_terminal_shows_what_is_run_and_a_line_an_epoch_and_the_log_file_all(settings):
    command = [str(ROOT / "run_recbole.py"), "--model=Mamba4Rec", "--dataset=cycle", *flags(settings), "--n_heads=2"]
    short = execute(*command)
    shown = short.stderr.splitlines()
    warning = "setting 'n_heads' belongs to another model and has no effect on Mamba4Rec"
    assert shown[0] == f"warning: {warning}"
    assert shown[1] == "Mamba4Rec on cycle, seed 2020"
    assert [line.split()[1] for line in shown if line.startswith("epoch")] == ["1/2", "2/2"]
    assert len(shown) <= 16
    assert short.stdout.startswith(f"\n1 warning:\n- {warning}\n\nMamba4Rec on cycle")
    long = execute(*command, "--verbose")
    whole = "learning_rate = 0.001", "Mamba4Rec(", "validation after epoch 1", "FutureWarning"
    assert not any(part in short.stderr for part in whole)
    for log in [long.stderr, *(file.read_text() for file in Path("log/Mamba4Rec").iterdir())]:
        assert all(part in log for part in whole[:3])
        assert warning in log


def test_the_commands_to_go_on_with_can_be_pasted():
    result = {"model": "Mamba4Rec", "dataset": "cycle", "run_directory": "saved/here"}
    heading, *commands = format_next_commands(result, "my_models:Net").splitlines()
    assert "compare --models=my_models:Net,SASRec --dataset=cycle" in commands[-1]
    assert heading == "next:"
    parser = build_parser()
    for command in commands:
        python, *module, name, _ = command.split()[:5]
        assert Path(python).name.startswith("python")
        assert module == ["-m", "recbole_echomamba"]
        assert parser.parse_args(command.split()[3:]).execute is COMMANDS[name].execute


def test_model_and_dataset_have_short_flags(settings, capsys):
    assert main(["run", "-m", "Mamba4Rec", "-d", "cycle", *flags({**settings, "epochs": 1})]) == 0
    printed = capsys.readouterr().out
    assert "Mamba4Rec on cycle, seed 2020" in printed
    assert "ndcg@10" in printed


def test_a_run_without_a_test_part_prints_no_metrics():
    result = {
        "model": "Mamba4Rec",
        "dataset": "cycle",
        "seed": 7,
        "config_hash": "abc",
        "epochs": 3,
        "seconds_per_epoch": 1.25,
        "test_result": {},
        "run_directory": "saved/here",
    }
    title, directory = format_result(result).strip().splitlines()
    assert title == "Mamba4Rec on cycle, seed 7, settings abc: 3 epochs, 1.2 s per epoch; there is no test part"
    assert directory == "saved in saved/here"


def test_the_package_can_be_executed():
    done = execute("-m", "recbole_echomamba", "--version")
    assert (done.returncode, done.stdout) == (0, "0.1.0\n")


BAD = {
    "unknown model": (["--model=EchoMamba", "--dataset=cycle"], ["EchoMamba4Rec"]),
    "no model": (["--dataset=cycle"], ["--model"]),
    "no dataset": (["--model=Mamba4Rec"], ["--dataset"]),
    "unknown dataset": (["--model=Mamba4Rec", "--dataset=nothing"], ["nothing.inter", "data_path"]),
    "unprepared ml-1m": (["--model=Mamba4Rec", "--dataset=ml-1m"], ["python -m dataset_prep ml-1m"]),
    "unknown key": (["--model=Mamba4Rec", "--dataset=cycle", "--drop_out=1"], ["drop_out", "dropout_prob"]),
    "a flag with dashes": (["--model=Mamba4Rec", "--dataset=cycle", "--result-file=r.json"], ["--result_file"]),
    "no value": (
        ["--model=Mamba4Rec", "--dataset=cycle", "--epochs", "3"],
        ["--epochs", "write settings as --epochs=3"],
    ),
    "bad length": (["--model=Mamba4Rec", "--dataset=cycle", "--MAX_ITEM_LIST_LENGTH=0"], ["MAX_ITEM_LIST_LENGTH"]),
    "no config file": (["--model=Mamba4Rec", "--dataset=cycle", "--config_files=gone.yaml"], ["gone.yaml"]),
    "twice": (["--model=Mamba4Rec", "--dataset=cycle", "--epochs=1", "--epochs=2"], ["--epochs", "twice"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(case, data_path, tmp_path, capsys):
    arguments, words = BAD[case]
    assert main(["run", *arguments, f"--data_path={data_path}", f"--checkpoint_dir={tmp_path / 'saved'}"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
    assert all(word in message for word in words)
    assert not (tmp_path / "saved").exists()


def test_debug_raises_the_error_with_its_traceback(data_path):
    with pytest.raises(UserError, match="EchoMamba4Rec"):
        main(["run", "--model=EchoMamba", "--dataset=cycle", f"--data_path={data_path}", "--debug"])


TRAIN = ["run", "--model=SASRec", "--dataset=ml-100k"]


@pytest.fixture
def fail(monkeypatch):
    """``fail(error)``: make the command ``run`` raise an error."""

    def replace(error):
        def run(*arguments, **settings):
            raise error

        monkeypatch.setattr("recbole_echomamba.experiment.run", run)

    return replace


def test_an_unexpected_error_is_shown_as_a_bug_with_the_way_to_its_traceback(fail, capsys):
    fail(RuntimeError("sizes differ"))
    assert main(TRAIN) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: RuntimeError: sizes differ"
    assert "This is a bug in recbole_echomamba" in second
    assert "--debug" in second
    with pytest.raises(RuntimeError, match="sizes differ"):
        main([*TRAIN, "--debug"])


@pytest.mark.parametrize("kind", [UserError, MissingFileError])
def test_an_error_that_the_user_can_mend_is_one_line(fail, capsys, kind):
    fail(kind("there is no file a.txt"))
    assert main(TRAIN) == 1
    assert capsys.readouterr().err == "error: there is no file a.txt\n"


def test_a_full_disk_that_a_library_found_is_one_line(fail, capsys, tmp_path):
    fail(OSError(errno.ENOSPC, "No space left on device"))
    assert main(TRAIN) == 1
    assert capsys.readouterr().err == (
        f"error: no space left on device: free some in {tmp_path} and in the folders given, then resume\n"
    )


@pytest.mark.parametrize("option", ["--data_path=", "--resume=", "--config_files=", "--result_file="])
def test_a_path_that_the_system_refuses_is_one_line_that_names_it(capsys, option, data_path, tmp_path):
    path = tmp_path / ("x" * 300)
    given = ["--model=SASRec", "--dataset=cycle", f"--data_path={data_path}"]
    given = [each for each in given if not each.startswith(option)] if option != "--resume=" else []
    assert main(["run", *given, f"{option}{path}"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "rror" in line]
    assert line.startswith("error: ")
    assert str(path) in line


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".", "..", ".x", "", " ", "a\tb", "a\nb", "x" * 151, "\udcff"])
@pytest.mark.parametrize("command", ["run --model=SASRec", "compare --models=SASRec", "tune --model=EchoMamba4Rec"])
def test_the_name_of_a_dataset_that_is_no_name_of_a_file_is_refused_before_anything_is_written(
    capsys, tmp_path, name, command
):
    assert main([*command.split(), f"--dataset={name}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: dataset {name!r} is not a short, plain name")
    assert not list(tmp_path.iterdir())


def test_numbers_that_no_one_writes_are_refused_in_one_line(capsys):
    for seeds in ("²", "9" * 5000, "-1", "1.5"):
        assert main(["compare", "--models=SASRec", "--dataset=cycle", f"--seeds={seeds}"]) == 1
        assert "--seeds must be whole numbers" in capsys.readouterr().err
    assert main(["run", "--model=SASRec", "--dataset=cycle", f"--seed={2**32}"]) == 1
    assert "seed must be at most 2147483647" in capsys.readouterr().err


@pytest.mark.parametrize("message", ["", "interrupted after 3 epochs"])
def test_an_interruption_is_one_line_and_exit_code_130(fail, capsys, message):
    fail(KeyboardInterrupt(message))
    assert main(TRAIN) == 130
    assert capsys.readouterr().err == (message or "interrupted") + "\n"


def test_an_inter_file_without_timestamps_is_refused_with_its_name(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    write_inter(tmp_path / "mine" / "mine.inter", [("a", "b")], "user_id:token\titem_id:token")
    assert main(["run", "--model=Mamba4Rec", "--dataset=mine", f"--data_path={tmp_path}", *flags(SMALL)]) == 1
    message = capsys.readouterr().err
    assert "mine.inter, line 1" in message
    assert "timestamp:float" in message


def test_a_value_may_contain_an_equals_sign():
    assert parse_settings(["--variant=a=b", "--topk=[5,10]"]) == {"variant": "a=b", "topk": "[5,10]"}


@pytest.mark.parametrize("argument", ["3", "--epochs", "--=3", "epochs=3"])
def test_an_argument_that_is_no_setting_is_an_error_that_shows_the_form(argument):
    with pytest.raises(UserError, match=f"cannot read the argument '{argument}'; write settings as --key=value"):
        parse_settings([argument])


def test_the_help_lists_every_command_with_its_summary(capsys):
    assert main(["--help"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for name, command in COMMANDS.items():
        assert f"{name} {command.summary}" in lines


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_summary_groups_and_examples(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: echomamba {name} ")
    assert f"\n{COMMANDS[name].summary}\n" in text
    assert "\nsettings:\n  --KEY=VALUE" in text
    assert f"\nExamples:\n  echomamba {name} {COMMANDS[name].examples[0]}\n" in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_called_by_its_own_name_in_its_help(script):
    done = execute(str(ROOT / script), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python {script} ")
    assert COMMANDS[SCRIPTS[script]].summary in done.stdout
    assert "echomamba run" not in done.stdout


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from recbole_echomamba.__main__ import main; "
        "from recbole_echomamba.commands import COMMANDS; "
        "codes = [main([*name, '--help']) for name in ([], *([name] for name in COMMANDS))]; "
        "assert codes == [0] * (len(COMMANDS) + 1); "
        "print('loaded:', [name for name in ('torch', 'recbole', 'numpy') if name in sys.modules])"
    )
    assert execute("-c", code).stdout.splitlines()[-1] == "loaded: []"


WRONG = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "an unknown command": (["train"], "invalid choice: 'train'"),
    "a missing argument": (["compare", "--dataset=cycle"], "the following arguments are required: --models"),
    "no number": (["run", "--nproc=two"], "argument --nproc: invalid int value: 'two'"),
    "an unknown choice": (["tune", "--tool=Grid"], "argument --tool: invalid choice: 'Grid'"),
    "two models": (["run", "-m=SASRec", "--model=GRU4Rec"], "is given twice, as 'SASRec' and 'GRU4Rec'"),
    "two numbers": (["run", "--nproc=1", "--nproc=2"], "--nproc: is given twice, as '1' and '2'"),
    "two lists": (["compare", "--models=A", "-d=c", "--seeds=1", "--seeds=2"], "--seeds: is given twice"),
    "two choices": (["tune", "--tool=Ray", "--tool=Hyperopt"], "--tool: is given twice"),
    "two histories": (
        ["recommend", "--run=r", "--out=o.csv", "--history=1", "--history=2"],
        "--history: is given twice",
    ),
    "two pages": (["inspect", "r", "--out=a.html", "--out=b.html"], "--out: is given twice"),
    "two kinds of users": (["recommend", "--run=r", "--out=o.csv", "--all", "--users=u"], "not allowed with"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arguments_that_cannot_be_parsed_show_the_usage_and_exit_with_2(case, capsys):
    arguments, message = WRONG[case]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: echomamba ")
    assert message in error.splitlines()[-1]


DEFAULTS = {
    "run": {
        "model": None,
        "dataset": None,
        "config_files": None,
        "nproc": 1,
        "world_size": -1,
        "ip": "localhost",
        "port": "5678",
        "group_offset": 0,
        "result_file": None,
        "resume": None,
        "continue_from": None,
    },
    "compare": {
        "models": "m",
        "dataset": "d",
        "seeds": "2020",
        "variant": [],
        "config_files": None,
        "out": None,
        "latex": False,
        "only_finished": False,
    },
    "tune": {
        "model": None,
        "dataset": None,
        "config_files": None,
        "params_file": None,
        "output_file": None,
        "display_file": None,
        "tool": "Optuna",
        "algo": None,
        "max_evals": 10,
        "early_stop": 10,
        "out": None,
        "resume": False,
        "ray_address": None,
        "cpus_per_trial": 1,
        "gpus_per_trial": 0,
    },
    "recommend": {
        "run": "r",
        "model": None,
        "out": "o",
        "topk": 10,
        "users": None,
        "all": True,
        "history": None,
        "histories": None,
        "items": None,
        "exclude_seen": False,
        "skip_unknown": False,
        "titles": False,
    },
    "inspect": {"run": "r", "other": None, "user": None, "out": None, "model": None},
    "export": {"run": "r", "to": "onnx", "topk": None, "out": None, "model": None},
    "card": {"run": "r", "out": None},
}
REQUIRED = {
    "compare": ["--models=m", "--dataset=d"],
    "recommend": ["--run=r", "--out=o", "--all"],
    "inspect": ["r"],
    "export": ["r"],
    "card": ["r"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_and_their_defaults_stay_and_everything_else_is_a_setting(name):
    arguments = [name, *REQUIRED.get(name, []), "--hidden_size=128", "--topks=[5, 10]"]
    options, rest = build_parser().parse_known_args(arguments)
    assert {"-h", "--debug"} < set(vars(options).pop("flags"))
    assert vars(options) == {**DEFAULTS[name], "execute": COMMANDS[name].execute, "debug": False, "verbose": False}
    assert parse_settings(rest) == {"hidden_size": "128", "topks": "[5, 10]"}
