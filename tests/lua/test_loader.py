"""The loader puts includes in place, once each, and names the way to one that cannot be."""

from importlib import resources

import pytest

from ropeline.lua.loader import ScriptError, expand, load_script, script_names, with_body


def test_every_packaged_script_is_found_and_loads() -> None:
    names = script_names()
    assert "line/visit" in names
    assert "directory/claim_routes" in names
    for name in names:
        assert "@include" not in load_script(name).text


def test_an_include_is_emitted_once_and_after_those_that_it_needs() -> None:
    text = load_script("line/visit").text
    assert text.count("local function retire_ended(") == 1
    assert text.index("local function retire_ended(") < text.index("local function purge_ended(")


def test_the_sha_is_the_one_that_redis_gives_the_text() -> None:
    source = load_script("line/tick")
    assert len(source.sha) == 40
    assert source is load_script("line/tick")


def test_an_include_of_the_scripts_own_folder_stands_for_one_of_that_name() -> None:
    assert "XADD" in load_script("streams/enqueue").text
    assert "XADD" not in load_script("queue/enqueue").text


def test_a_body_is_all_of_another_script_but_its_header() -> None:
    text, other = load_script("streams/cancel").text, load_script("queue/cancel").text
    assert text.count("#!lua") == 1
    assert text.endswith(other[other.index("local id = ARGV[3]") :])
    with pytest.raises(ScriptError, match="streams/x -> queue/no_such: no such script file"):
        with_body('--- @body "queue/no_such"\n', "streams/x")


def test_a_missing_file_is_named_with_the_way_to_it() -> None:
    with pytest.raises(ScriptError, match="line/no_such: no such script file"):
        load_script("line/no_such")
    with pytest.raises(ScriptError, match="line/x -> includes/no_such: no such script file"):
        expand('--- @include "no_such"\n', ("line/x",), set())


def test_an_include_that_includes_itself_is_named() -> None:
    with pytest.raises(ScriptError, match="includes/read_line -> includes/read_line: an include that includes itself"):
        expand('--- @include "read_line"\n', ("includes/read_line",), set())


def test_every_include_is_used_and_named_as_its_function() -> None:
    includes = resources.files("ropeline.lua").joinpath("includes")
    texts = [load_script(name).text for name in script_names()]
    for entry in includes.iterdir():
        name = entry.name.removesuffix(".lua")
        if entry.is_file():
            assert any(f"local function {name}(" in text for text in texts), name


def test_every_include_of_a_folder_is_used() -> None:
    root = resources.files("ropeline.lua")
    sources = [root.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in script_names()]
    folders = [entry for entry in root.joinpath("includes").iterdir() if entry.is_dir()]
    assert folders
    shared = {
        f"{folder.name}/{entry.name.removesuffix('.lua')}": entry.read_text("utf-8")
        for folder in folders
        for entry in folder.iterdir()
    }
    for name in shared:
        # Those of `streams` stand for includes of the same names.
        wanted = f'"queue/{name.partition("/")[2]}"' if name.startswith("streams/") else f'"{name}"'
        assert any(wanted in text for text in (*sources, *shared.values())), name
