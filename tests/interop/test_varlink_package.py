"""The varlink package of the Python registry, which we did not write, against our daemon and our interface texts."""

import pathlib

import pytest

varlink = pytest.importorskip("varlink")
from varlink import scanner  # noqa: E402

TEXTS = pathlib.Path(__file__).resolve().parents[2] / "lib" / "wire"
INTERFACES = ["org.varlink.service", "io.ckptd.Jobs", "io.ckptd.Admin"]


def text_of(interface):
    return (TEXTS / f"{interface}.varlink").read_text()


def declared(interface, kind):
    lines = text_of(interface).splitlines()
    return [line.split()[1].split("(")[0] for line in lines if line.startswith(kind + " ")]


@pytest.mark.parametrize("name", INTERFACES)
def test_text_parses(name):
    interface = scanner.Interface(text_of(name))
    assert interface.name == name
    assert list(interface.members) == [
        line.split()[1].split("(")[0]
        for line in text_of(name).splitlines()
        if line.split(" ")[0] in ("type", "method", "error")
    ]
    for method in declared(name, "method"):
        assert interface.get_method(method).name == method


@pytest.fixture
def client(ckptd):
    with varlink.Client.new_with_address(f"unix:{ckptd().socket}") as client:
        yield client


def test_get_info(client):
    with client.open("org.varlink.service") as service:
        info = service.GetInfo()
    assert info["product"] == "ckptd"
    assert info["interfaces"] == INTERFACES


@pytest.mark.parametrize("name", INTERFACES)
def test_descriptions(client, name):
    with client.open("org.varlink.service") as service:
        description = service.GetInterfaceDescription(name)["description"]
    assert description == text_of(name)
    assert scanner.Interface(description).name == name


def test_status(client):
    with client.open("io.ckptd.Admin") as admin:
        status = admin.Status()
        assert status["directories"] == []
        assert status["pid"] > 0
        assert admin.Status()["pid"] == status["pid"]  # the connection lives on


def test_errors_by_name(client):
    with client.open("org.varlink.service") as service:
        with pytest.raises(varlink.VarlinkError) as error:
            service.GetInterfaceDescription("io.ckptd.Nothing")
    assert error.value.error() == "org.varlink.service.InterfaceNotFound"
    with client.open("io.ckptd.Admin") as admin:
        with pytest.raises(varlink.VarlinkError) as error:
            admin.Latest()
    assert error.value.error() == "org.varlink.service.InvalidParameter"
    assert error.value.parameters()["parameter"] == "model_dir"
