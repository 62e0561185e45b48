"""Configurations beside the weights load as inert stand-ins; nothing of a file is imported or called."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import sys
import types
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero.convert.contents import contents_of  # noqa: E402
from cxrzero.convert.standins import DICTS, OBJECTS, plain  # noqa: E402
from cxrzero.convert.weights import read_file, read_weights  # noqa: E402
from cxrzero.errors import ImportModelError  # noqa: E402

WEIGHT = {"w": torch.arange(3.0)}


def class_of(monkeypatch, name, base=object):
    """A class that pickles under another's name, as a library of that name would have it; gone after the writing."""
    module, _, called = name.rpartition(".")
    made = type(called, (base,), {"__module__": module})
    for end in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:end])
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    setattr(sys.modules[module], called, made)
    return made


def saved(tmp_path, **beside):
    torch.save({"state_dict": WEIGHT, **beside}, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def test_what_training_loops_keep_beside_the_weights_is_read_past_and_named(tmp_path):
    path = saved(
        tmp_path,
        args=argparse.Namespace(lr=1e-4, out=pathlib.Path("runs"), heads=[1, 2]),
        best=np.float64(0.9),
        losses=np.zeros(2),
        counts=defaultdict(int, {"a": 1}),
        optimizer={"state": {0: {"exp_avg": torch.zeros(2)}}},
        epoch=3,
    )
    found = contents_of(read_file(path), path)
    assert list(found.weights) == ["w"]
    assert found.ignored == ("args", "best", "losses", "counts", "optimizer", "epoch")
    assert found.config == {"lr": 1e-4, "out": None, "heads": [1, 2]}


def test_hyper_parameters_as_lightning_and_omegaconf_pickle_them(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        attribute_dict = class_of(patch, "pytorch_lightning.utilities.parsing.AttributeDict", dict)
        container = class_of(patch, "omegaconf.dictconfig.DictConfig")
        node = class_of(patch, "omegaconf.nodes.AnyNode")
        width, config = node(), container()
        width.__dict__ = {"_val": 768, "_parent": config}
        config.__dict__ = {"_content": {"width": width}, "_parent": None}
        path = saved(tmp_path, hyper_parameters=attribute_dict(model=config, name="carzero"))
    found = contents_of(read_file(path), path)
    assert found.config == {"model": {"width": 768}, "name": "carzero"}
    assert torch.equal(read_weights(path)["w"], WEIGHT["w"])


@pytest.mark.parametrize("name", [*OBJECTS, *DICTS])
def test_every_name_may_be_made_called_and_given_a_state_without_effect(tmp_path, name):
    """A pickle that calls the name with a path, makes an object of it, and builds it with a hostile state."""
    module, _, called = name.rpartition(".")
    made = b"c%s\n%s\n" % (module.encode(), called.encode())
    state = b"}X\x09\x00\x00\x00__class__cbuiltins\nset\ns"
    path = tmp_path / "x.pt"
    path.write_bytes(legacy(b"}X\x01\x00\x00\x00a" + made + b"X\x03\x00\x00\x00ran\x85R" + state + b"bs."))
    with pytest.raises(ImportModelError, match="no weights"):
        read_weights(path)
    assert list(tmp_path.iterdir()) == [path]


def legacy(content):
    """A file of torch's old format, whose last pickle is `content`."""
    head = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + b"\x80\x02" + content + pickle.dumps([], 2)


class Writes:
    def __reduce__(self):
        return (open, ("ran", "w"))


class Looks:
    """Names a stand-in, and reaches through it for what it must not have."""

    def __init__(self, *path):
        self.path = path

    def __reduce__(self):
        return (getattr, self.path)


class Hides:
    def __reduce__(self):
        return OrderedDict, ([("w", torch.ones(2))],), {"items": 3, "get": 3, "keys": 3}


@pytest.mark.parametrize(
    "hostile",
    [
        Writes(),
        Looks(argparse.Namespace, "__init__"),
        Looks(pathlib.PosixPath, "touch"),
        {"beside": argparse.Namespace(x=Writes())},
        types.SimpleNamespace(x=1),
    ],
)
def test_anything_else_is_refused_with_the_way_out_and_does_nothing(tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, args=hostile)
    with pytest.raises(ImportModelError, match=r"nothing in it was run \(Unsupported .*Save its state_dict\(\) alone"):
        read_weights(path)
    assert os.listdir(tmp_path) == ["x.ckpt"]


@pytest.mark.parametrize(
    "content",
    [
        b"ccollections\nOrderedDict\nK\x05\x85R.",  # made of a number
        b"X\x01\x00\x00\x00ahs.",
        b"cnumpy.core.multiarray\nscalar\n)Rctorch._utils\n_rebuild_device_tensor_from_numpy\n(h\x00NNNtR.",
        b"J\x01",  # ends within a number
    ],
)
def test_nonsense_is_an_error_of_ours(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(legacy(content))
    with pytest.raises(ImportModelError, match=r"damaged|not a whole"):
        read_weights(tmp_path / "x.pt")


def test_a_stand_in_is_forgotten_after_the_file(tmp_path):
    path = saved(tmp_path, args=argparse.Namespace(x=1))
    read_file(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_a_dict_that_holds_itself_or_hides_its_methods(tmp_path):
    loop = {"w": torch.ones(1)}
    loop["model"] = loop
    for content in (loop, Hides()):
        torch.save(content, tmp_path / "x.pt")
        assert list(read_weights(tmp_path / "x.pt")) == ["w"]
        assert contents_of(read_file(tmp_path / "x.pt"), tmp_path / "x.pt").weights
    assert plain(loop) == {"w": None, "model": None}


def test_what_holds_itself_in_many_places_is_read_once(tmp_path):
    """Followed wherever it stands, it would be read 30 to the power of its depth times."""
    often: list[object] = []
    often += [often] * 30
    many = {"w": torch.ones(1)}
    many |= {f"part{number}": many for number in range(30)}
    torch.save({"model": many, "config": {"often": often}}, tmp_path / "x.pt")
    found = contents_of(read_file(tmp_path / "x.pt"), tmp_path / "x.pt")
    assert list(found.weights) == ["w"]
    assert found.config == {"often": [None] * 30}
