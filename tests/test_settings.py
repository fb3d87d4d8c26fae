"""Settings from flags, variables and the file: who wins, what is refused, and that nothing is left out."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer.main

from rtprune_cli.commands.app import app
from rtprune_cli.errors import UsageError
from rtprune_cli.options import LogOptions, OcrOptions
from rtprune_cli.settings import Resolved, Setting, all_settings, early_log_options, resolve, to_toml

SETTINGS = list(all_settings().values())


@pytest.fixture(autouse=True)
def user_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without settings: the folder where their file would be."""
    for name in [name for name in os.environ if name.startswith("RTPRUNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("typer.get_app_dir", lambda name: str(tmp_path / "config" / name))
    folder = tmp_path / "config" / "rtprune"
    folder.mkdir(parents=True)
    return folder


def settled(tmp_path: Path, toml: str | bytes = "", variables: dict[str, str] | None = None, **flags: Any) -> Resolved:
    """What becomes of a file's text, variables and flags."""
    path = tmp_path / "rtprune.toml"
    path.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    return resolve(flags, str(path), tmp_path / "absent", variables or {})


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(UsageError) as caught:
        settled(*args, **kwargs)
    return str(caught.value)


# Who wins


def test_a_flag_beats_the_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    toml = "dpi = 300\nbatch-size = 3\nmax-new-tokens = 30"
    found = settled(tmp_path, toml, {"RTPRUNE_DPI": "400", "RTPRUNE_BATCH_SIZE": "4"}, dpi="500")
    assert found.ocr.input.dpi == 500
    assert (found.ocr.decode.batch_size, found.ocr.decode.max_new_tokens) == (4, 30)
    assert found.ocr.decode.loop_window == OcrOptions().decode.loop_window
    sources = [found.values[name].source for name in ("dpi", "batch_size", "max_new_tokens", "loop_window")]
    assert sources == ["flag", "RTPRUNE_BATCH_SIZE", str(tmp_path / "rtprune.toml"), "default"]


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    found = resolve({}, None, tmp_path / "absent", {})
    assert (found.ocr, found.log, found.file_was_read) == (OcrOptions(), LogOptions(), False)


def test_an_empty_variable_is_not_given(tmp_path: Path) -> None:
    assert settled(tmp_path, "dpi = 300", {"RTPRUNE_DPI": "", "RTPRUNE_CONFIG": ""}).ocr.input.dpi == 300


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_a_boolean_variable_can_be_on(tmp_path: Path, word: str) -> None:
    assert settled(tmp_path, variables={"RTPRUNE_RAW": word}).ocr.output.raw


@pytest.mark.parametrize("word", ["0", "False", "no", "off"])
def test_a_boolean_variable_can_be_off(tmp_path: Path, word: str) -> None:
    assert not settled(tmp_path, "raw = true", {"RTPRUNE_RAW": word}).ocr.output.raw


@pytest.mark.parametrize(
    ("toml", "ratio"),
    [("ratio = 'dynamic'", "dynamic"), ("ratio = 'auto'", None), ("ratio = 1", 1.0), ("ratio = 0.5", 0.5)],
)
def test_the_ratio_is_a_word_or_a_number(tmp_path: Path, toml: str, ratio: float | str | None) -> None:
    assert settled(tmp_path, toml, {}).ocr.prune.ratio == ratio
    assert settled(tmp_path, toml, {"RTPRUNE_RATIO": "0.75"}, ratio="dynamic").ocr.prune.ratio == "dynamic"


@pytest.mark.parametrize(("toml", "size"), [("batch-size = 'auto'", None), ("batch-size = 8", 8), ("", None)])
def test_the_batch_size_is_a_word_or_a_whole_number(tmp_path: Path, toml: str, size: int | None) -> None:
    assert settled(tmp_path, toml).ocr.decode.batch_size == size
    assert settled(tmp_path, toml, {"RTPRUNE_BATCH_SIZE": "auto"}, batch_size="4").ocr.decode.batch_size == 4


def test_keys_may_be_snake_case(tmp_path: Path) -> None:
    assert settled(tmp_path, "batch_size = 3").ocr.decode.batch_size == 3


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert settled(tmp_path, b"\xef\xbb\xbfdpi = 300").ocr.input.dpi == 300


def test_the_users_file_is_read_unless_another_is_named(
    rtprune: Any, tmp_path: Path, user_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, dpi in ((user_folder / "rtprune.toml", 301), (tmp_path / "b.toml", 302), (tmp_path / "c.toml", 303)):
        path.write_text(f"dpi = {dpi}")
    assert "dpi = 301 " in rtprune("config", "show").stdout
    monkeypatch.setenv("RTPRUNE_CONFIG", str(tmp_path / "b.toml"))
    assert "dpi = 302 " in rtprune("config", "show").stdout
    assert "dpi = 303 " in rtprune("config", "show", "--config", tmp_path / "c.toml").stdout


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the place is the platform's own")
def test_the_users_file_is_in_the_xdg_folder(monkeypatch: pytest.MonkeyPatch, rtprune: Any, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert str(tmp_path / "rtprune" / "rtprune.toml") in rtprune("config", "show").stdout


# What is refused


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("moed = 'base'", "unknown key 'moed' in {file}. Did you mean mode?"),
        ("zzz = 1", "unknown key 'zzz' in {file}. See: rtprune ocr --help"),
        ("alpha = 0.2", "unknown key 'alpha' in {file}. See: rtprune ocr --help"),
        ("[ocr]\ndpi = 200", "{file} has a table [ocr]. Write key = value lines without tables"),
        ("batch-size = 1\nbatch_size = 2", "batch-size stands twice in {file}. Leave one of them out"),
        ("dpi = 'high'", "dpi is 'high' (dpi in {file}). Give auto or a whole number"),
        ("dpi = 200.0", 'dpi is 200.0 (dpi in {file}). Give "auto" or a whole number'),
        ("dpi = true", 'dpi is true (dpi in {file}). Give "auto" or a whole number'),
        ("raw = 'yes'", 'raw is "yes" (raw in {file}). Give true or false'),
        ("ratio = true", 'ratio is true (ratio in {file}). Give "auto", "dynamic" or a number'),
        ("pages = [1, 2]", "pages is [1, 2] (pages in {file}). Give a text in quotes"),
        ("password = 123", "password is *** (password in {file}). Give a text in quotes"),
        ("mode = 'huge'", "unknown mode 'huge' (mode in {file}). Use one of tiny"),
        ("batch_size = 0", "batch-size is 0 (batch_size in {file}). Give a whole number of at least 1"),
        ("workers = 'many'", "workers is 'many' (workers in {file}). Give auto or a whole number"),
        ("memory-fraction = 2", "memory-fraction 2 is out of range (memory-fraction in {file}). Give a share"),
        ("log-format = 'xml'", "unknown log format 'xml' (log-format in {file}). Use one of"),
        ("verbose = -1", "verbose is -1 (verbose in {file}). Give"),
    ],
)
def test_what_the_file_cannot_say(tmp_path: Path, toml: str, message: str) -> None:
    assert refusal(tmp_path, toml).startswith(message.format(file=tmp_path / "rtprune.toml"))


@pytest.mark.parametrize(
    "toml", ["raw = true\ndpi =\n", "raw = true\ndpi =", "raw = true\nraw = false", b"#\n# \xff\n"]
)
def test_a_file_that_is_no_toml_is_named_with_the_line(tmp_path: Path, toml: str | bytes) -> None:
    message = refusal(tmp_path, toml)
    assert str(tmp_path / "rtprune.toml") in message
    assert "at line 2" in message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("RTPRUNE_MODE", "huge", "unknown mode 'huge' (RTPRUNE_MODE). Use one of tiny"),
        ("RTPRUNE_DPI", "high", "dpi is 'high' (RTPRUNE_DPI). Give auto or a whole number"),
        ("RTPRUNE_RAW", "maybe", "raw is 'maybe' (RTPRUNE_RAW). Give true or false"),
        ("RTPRUNE_BATCH_SIZE", "8.5", "batch-size is '8.5' (RTPRUNE_BATCH_SIZE). Give auto or a whole number"),
        ("RTPRUNE_RATIO", "half", "ratio 'half' is neither 'dynamic' nor a number (RTPRUNE_RATIO). Give"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    assert refusal(tmp_path, variables={name: text}).startswith(message)


def test_a_combination_names_the_places_of_both_and_no_other(tmp_path: Path) -> None:
    message = refusal(tmp_path, "raw = true\noutput = 'x'", {"RTPRUNE_MD_ONLY": "1"})
    assert f"(raw in {tmp_path / 'rtprune.toml'}, RTPRUNE_MD_ONLY)" in message
    assert refusal(tmp_path, raw=True, md_only=True).startswith("--raw and --md-only exclude each other. Give")


def test_what_the_file_switches_on_a_flag_switches_off(rtprune: Any, user_folder: Path) -> None:
    booleans = [s for s in SETTINGS if s.kind is bool and s.no_flag and s.name != "md_only"]
    (user_folder / "rtprune.toml").write_text("".join(f"{s.key} = true\n" for s in booleans))
    shown = rtprune("config", "show", *[s.no_flag for s in booleans]).stdout.splitlines()
    assert {f"{s.key} = false  # flag" for s in booleans} <= set(shown)


def test_a_named_file_must_exist(rtprune: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = rtprune("ocr", "x.pdf", "--config", tmp_path / "absent.toml")
    assert (
        result.stderr
        == f"rtprune: error: the settings file {tmp_path / 'absent.toml'} does not exist. Check the path\n"
    )
    assert result.exit_code == 2
    monkeypatch.setenv("RTPRUNE_CONFIG", str(tmp_path))
    assert "(RTPRUNE_CONFIG)" in rtprune("config", "show").stderr


def test_an_unknown_variable_is_a_warning(rtprune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTPRUNE_RATOI", "1")
    monkeypatch.setenv("_RTPRUNE_COMPLETE", "")
    result = rtprune("config", "show")
    assert result.exit_code == 0
    assert result.stderr.startswith("rtprune: warning: the variable RTPRUNE_RATOI is no setting")
    assert result.stderr.endswith("Did you mean RTPRUNE_RATIO?\n")
    assert rtprune("config", "show", "-q").stderr == ""


def test_how_to_speak_is_known_before_the_settings_are(tmp_path: Path) -> None:
    assert early_log_options({"verbose": 2, "dpi": "high"}, {"RTPRUNE_LOG_FORMAT": "json"}) == LogOptions(
        verbose=2, log_format="json"
    )
    assert early_log_options({"log_format": "xml"}, {}) == LogOptions()


# config show


def test_config_show_says_where_each_setting_is_from(
    rtprune: Any, user_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user_folder / "rtprune.toml"
    assert rtprune("config", "show").stdout.startswith(f"# No settings file; looked for: {path}\n")
    path.write_text("max-page-error-rate = 0")
    monkeypatch.setenv("RTPRUNE_DPI", "300")
    lines = rtprune("config", "show", "-o", "a b", "--ratio", "0.5").stdout.splitlines()
    assert lines[0] == f"# Settings file: {path}"
    assert {
        f"max-page-error-rate = 0.0  # {path}",
        "dpi = 300  # RTPRUNE_DPI",
        'output = "a b"  # flag',
        "ratio = 0.5  # flag",
        'tables = "html"  # default',
        "# mode =  # default",
    } <= set(lines)


def test_what_config_show_prints_gives_the_same_settings(tmp_path: Path) -> None:
    first = settled(
        tmp_path,
        output='a"b\\c\x7f\n😀 é',
        ratio="0.3",
        mode="base",
        recursive=True,
        max_page_error_rate="1e-7",
        verbose=1,
        log_format="json",
    )
    second = settled(tmp_path, to_toml(first))
    assert (second.ocr, second.log) == (first.ocr, first.log)
    plain = resolve({}, None, tmp_path / "absent", {})
    assert settled(tmp_path, to_toml(plain)).ocr == OcrOptions()


def test_config_show_hides_the_password(rtprune: Any, tmp_path: Path) -> None:
    shown = rtprune("config", "show", "--password", "secret").stdout
    assert '# password = "***"  # flag\n' in shown
    assert "secret" not in shown
    assert settled(tmp_path, shown).ocr.input.password is None


# Nothing is left out


def ocr_flags() -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    return {param.name: param for param in command.commands["ocr"].params}


def test_every_flag_has_help() -> None:
    assert [name for name, param in ocr_flags().items() if not param.help] == []


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_flag_variable_and_key(setting: Setting, tmp_path: Path) -> None:
    param = ocr_flags()[setting.name]
    assert setting.flag in param.opts
    assert list(filter(None, [setting.no_flag])) == param.secondary_opts
    plain = {bool: "1", int: "100", float: "0.5", str: "3/16" if setting.name == "shard" else "x"}
    text = setting.choices[0] if setting.choices else plain[setting.kind]
    toml = f'"{text}"' if setting.kind is str else "true" if setting.kind is bool else text
    by_variable = settled(tmp_path, variables={setting.variable: text})
    by_key = settled(tmp_path, f"{setting.key} = {toml}")
    assert by_variable.values[setting.name].value == by_key.values[setting.name].value
    assert (by_variable.ocr, by_variable.log) == (by_key.ocr, by_key.log)


def test_every_field_with_help_is_a_setting_and_no_two_share_a_name() -> None:
    groups = [cls for cls in get_type_hints(OcrOptions).values() if hasattr(cls, "__dataclass_fields__")]
    with_help = [f.name for cls in [*groups, OcrOptions, LogOptions] for f in fields(cls) if "help" in f.metadata]
    assert sorted(with_help) == sorted(all_settings())
    assert "iterations" not in ocr_flags()


def test_help_shows_sections_and_defaults(rtprune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = " ".join(rtprune("ocr", "--help").stdout.split())
    for words in (
        "Options: --files-from FILE",
        "Rarely needed, input: -0, --null",
        "--tables html|markdown",
        "[default: on]",
        "[default: 512]",
        "[default: auto]",
        "-r, --[no-]recursive",
        "RTPRUNE_",
    ):
        assert words in text
