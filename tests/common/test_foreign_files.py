"""Messages for damaged files of every kind name the file."""

import json

import pytest
import torch
from safetensors.torch import save_file

from vtok.common.errors import UserError
from vtok.common.foreign_files import read_json, read_mapping, read_tensors, read_text, read_yaml

DAMAGED = {
    "latin": "Würfel".encode("latin-1"),
    "utf16": '{"a": 1}'.encode("utf-16"),
    "utf32": '{"a": 1}'.encode("utf-32"),
    "random": bytes(range(256)),
}
NO_JSON = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "deep": b"[" * 20_000,
    "deep_closed": b"[" * 20_000 + b"]" * 20_000,
    "digits": b"1" * 5_000,
    "control": b'{"a": "\x00"}',
}
NO_YAML = {
    "cut": b"a: [1, 2",
    "tab": b"a:\n\t- b: c",
    "deep": b"[" * 20_000,
    "tag": b"!!python/object/apply:os.system ['true']",
    "anchor": b"a: *b",
    "aliases": b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 122)),
    "interpolation": b"a: ${b",
    "control": b"a: \x00",
}


def test_good_files(tmp_path):
    (tmp_path / "a").write_bytes(b'\xef\xbb\xbf{"a": [1, null, "\xc3\xbc"]}')
    assert read_text(tmp_path / "a") == '{"a": [1, null, "ü"]}'
    assert read_json(tmp_path / "a") == read_yaml(tmp_path / "a") == {"a": [1, None, "ü"]}
    (tmp_path / "b").write_text("a: 1e-3\nb: [x, '${a}']\n")
    assert read_yaml(tmp_path / "b") == {"a": 0.001, "b": ["x", "${a}"]}


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_files_that_cannot_be_read(read, tmp_path):
    for path in (tmp_path / "missing", tmp_path, tmp_path / "a\0b", tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match="cannot be read"):
            read(path)


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_bytes_that_are_not_text_are_refused(read, name, tmp_path):
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(UserError, match=rf"{name}: .*(UTF-8|UTF-16|UTF-32)"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("read", "content"), [(read_json, one) for one in NO_JSON.values()] + [(read_yaml, one) for one in NO_YAML.values()]
)
def test_invalid_texts_are_refused(read, content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=r"/file: it is not valid (JSON|YAML)") as caught:
        read(tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert "AssertionError" not in str(caught.value)
    assert len(str(caught.value)) < 1000 + len(str(tmp_path))


def test_valid_json_equals_the_standard_library(tmp_path):
    value = {"deep": [[[{"a": None}]]], "numbers": [1, 1.5, -1e300], "text": "\n\u2028"}
    (tmp_path / "file").write_text(json.dumps(value))
    assert read_json(tmp_path / "file") == value


@pytest.mark.parametrize("content", ["null", "3", "[1]"])
def test_files_without_a_mapping_are_refused(content, tmp_path):
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_text(content if name == "a.json" else content.replace("null", "[null]"))
        with pytest.raises(UserError, match=f"{name}: it is not (a mapping|valid YAML)"):
            read_mapping(tmp_path / name)
    (tmp_path / "b.yaml").write_text("")
    assert read_mapping(tmp_path / "b.yaml") == {}


def test_tensors(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.arange(3000.0)}, file)
    whole = file.read_bytes()
    assert torch.equal(read_tensors(file)["a"], torch.arange(3000.0))
    for content in (b"", whole[:4], whole[:50], whole[:-1], whole.replace(b"F32", b"F99"), bytes(range(256))):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.safetensors: it is not a readable safetensors file \(."):
            read_tensors(file)
    for path in (tmp_path / "missing", tmp_path, tmp_path / "a\0b", tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match="it is not a readable safetensors file"):
            read_tensors(path)
