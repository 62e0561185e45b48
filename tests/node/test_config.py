"""node.toml: what it says is read, and what is wrong in it is said with the key's name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.uid import UID

from cxrzero.errors import ConfigError
from cxrzero.images.dicom_frames import TRANSFER_SYNTAXES
from cxrzero.node.config import NodeConfig, example, read_config
from cxrzero.node.keys import read_table
from cxrzero.options import options_of
from tests.support import REPO


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(text: str) -> NodeConfig:
        (tmp_path / "node.toml").write_text(text, encoding="utf-8")
        return read_config(tmp_path / "node.toml")

    return read


def test_the_keys_of_the_issue(read: Any, tmp_path: Path) -> None:
    (tmp_path / "models/own").mkdir(parents=True)
    config = read("""
        ae_title = "SCREEN"
        address = "0.0.0.0"
        port = 104
        callers = ["ORTHANC", "CT 1"]
        watch = "incoming/"
        state = "/var/lib/node"
        out = "results.sqlite"
        labels = ["pneumonia", "mass, left"]
        model = ["models/own", "cxrzero-mini"]
        calibration = "model"
        study_quiet_seconds = 30
        [peer]
        ae_title = "ORTHANC"
        host = "10.0.0.1"
        port = 4242
    """)
    assert (config.ae_title, config.address, config.port) == ("SCREEN", "0.0.0.0", 104)
    assert config.callers == ("ORTHANC", "CT 1")
    assert (config.watch, config.state) == (tmp_path / "incoming", Path("/var/lib/node"))
    assert config.out == str(tmp_path / "results.sqlite")
    assert config.labels == ("pneumonia", "mass, left")
    assert config.model == (str(tmp_path / "models/own"), "cxrzero-mini")
    assert (config.calibration, config.study_quiet_seconds) == ("model", 30.0)
    assert config.peer is not None
    assert (config.peer.ae_title, config.peer.host, config.peer.port) == ("ORTHANC", "10.0.0.1", 4242)
    assert config.objects == Path("/var/lib/node/objects")


def test_the_example_is_what_a_node_does_without_being_told(read: Any, tmp_path: Path) -> None:
    told = read(example())
    assert told == read("")
    assert told == dataclasses.replace(NodeConfig(), state=tmp_path / "node", out=str(tmp_path / "results.sqlite"))


def test_the_example_with_all_that_it_suggests_has_every_key(read: Any, tmp_path: Path) -> None:
    """What stands behind a "#" can be used by taking it away."""
    lines = example().replace("\n# [", "\n[").splitlines()
    text = "\n".join(re.sub(r"^# (\w+ = )", r"\1", line) for line in lines)
    (tmp_path / "node.toml").write_text(re.sub(r'= ""', '= "x"', text), encoding="utf-8")
    config = read_table(NodeConfig, tmp_path / "node.toml")

    def keys(kind: Any, table: Any) -> None:
        for each in options_of(kind):
            assert re.search(rf"^{each.name} = |^\[[a-z.]*{each.name}\]", text, re.MULTILINE), each.name
            if dataclasses.is_dataclass(value := getattr(table, each.name)):
                keys(type(value), value)

    keys(NodeConfig, config)


def test_a_database_url_stays_as_it_is(read: Any) -> None:
    assert read('out = "postgresql://db/results"').out == "postgresql://db/results"


def test_one_text_stands_for_a_list(read: Any) -> None:
    assert read('callers = "A"').callers == ("A",)
    assert read('labels = "pneumonia,edema"').labels == ("pneumonia", "edema")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 104", "unknown key prot; known: ae_title, address, port"),
        ("[limits]\nfoo = 1", r"unknown key limits.foo; known in \[limits\]: associations"),
        ('port = "104"', "port must be a whole number from 0 to 65,535"),
        ("port = 65536", "port must be a whole number from 0 to 65,535"),
        ("port = true", "port must be a whole number"),
        ("keep = 1", "keep must be true or false"),
        ("watch_seconds = nan", "watch_seconds must be a number, 0.05 or more"),
        ("settle_seconds = inf", "settle_seconds must be a number"),
        ('ae_title = "LONGER_THAN_SIXTEEN"', "ae_title: an AE title has 1 to 16 characters"),
        ('ae_title = "A\\\\B"', "ae_title: an AE title has"),
        ('ae_title = "Ä"', "ae_title: an AE title has"),
        ('callers = [""]', "callers: an AE title has"),
        ("callers = [1]", "callers must be a list of texts"),
        ('state = ""', "state must not be empty"),
        ('out = ""', "out must name a database"),
        ('labels = ["a", "a"]', "labels: labels given more than once: a"),
        ('device = "gpu"', "device: device 'gpu' is unknown"),
        ('per = "film"', 'per must be one of "study", "image"'),
        ("timeouts = 1", r"timeouts must be a table, \[timeouts\]"),
        ('ae_title = ""', "films could come from nowhere: set ae_title, watch, or both"),
        (
            'address = "0.0.0.0"',
            r"address 0.0.0.0 can be reached from other machines: list in callers .*or set \[tls\]",
        ),
        ('address = "10.1.2.3"', "can be reached from other machines"),
        ('address = "::"', "can be reached from other machines"),
        ('address = "here"', "address must be an IP address of this machine"),
        ('[tls]\nkey = "x"', "tls.certificate is missing"),
        ('[peer]\nhost = "a"', r"peer needs ae_title, host and port \(C-STORE\), or stow alone"),
        ('[peer]\nstow = "https://a"\nport = 1', "peer needs ae_title, host and port"),
        ('[peer]\nstow = "file:///etc"', "peer.stow must be the address of a DICOMweb service"),
        ('[peer]\nstow = "https://me:hunter2@a/"', "peer.stow must not hold a password"),
        ('[status]\naddress = "0.0.0.0"', "status.address must be a loopback address"),
        ('[status]\naddress = "x"', "status.address must be an IP address"),
        ('watch = "."\n', "state must not be in the watched folder"),
        ("port =", "is not valid TOML"),
    ],
)
def test_a_mistake_is_said_with_the_name_of_its_key(read: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        read(text)
    assert "node.toml" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("more", ['callers = ["A"]', '[tls]\ncertificate = "c.pem"\nkey = "k.pem"'])
def test_an_open_address_needs_callers_or_tls(read: Any, more: str) -> None:
    assert read('address = "::"\n' + more).address == "::"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


def shown(document: str, name: str) -> str:
    """What stands between marks in a document."""
    text = (REPO / "docs" / document).read_text(encoding="utf-8")
    return text.split(f"<!-- {name} -->\n")[1].split(f"<!-- end of {name} -->")[0]


def test_the_documents_show_the_example_and_the_transfer_syntaxes() -> None:
    assert shown("listen.md", "node.toml") == f"```toml\n{example()}```\n"
    rows = "".join(f"| {UID(each).name} | {each} |\n" for each in TRANSFER_SYNTAXES)
    assert shown("conformance.md", "transfer syntaxes") == f"| transfer syntax | UID |\n|---|---|\n{rows}"


def test_the_conformance_statement_names_the_implementation() -> None:
    pytest.importorskip("pynetdicom")
    from cxrzero.node.incoming import IMPLEMENTATION_CLASS

    text = (REPO / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert f"{IMPLEMENTATION_CLASS}, CXRZERO_ and the version" in text


@pytest.mark.parametrize("name", ["compose.yaml", "cxrzero-listen.service"])
def test_the_examples_of_services_run_the_command(name: str) -> None:
    text = (REPO / "examples" / name).read_text(encoding="utf-8")
    found = yaml.safe_load(text)["services"]["cxrzero"]["command"] if name.endswith("yaml") else []
    line = " ".join(found) or next(each for each in text.splitlines() if each.startswith("ExecStart="))
    assert line.endswith("cxrzero listen --config /etc/cxrzero/node.toml")
