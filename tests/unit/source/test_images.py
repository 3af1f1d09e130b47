"""The images that saltdeploy pulled, and the containers that podman left of them."""

import os

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.source import images
from saltdeploy.system import processes

A, ID, NAME = "a" * 64, "f" * 64, "r.example/shop@sha256:aa"
WARNING = f'time="2026-01-02T03:04:05Z" level=warning msg="cafe1234beef 1 is no container, {"e" * 64} no image"\n'


@pytest.fixture
def podman(monkeypatch):
    """Stands for podman: the calls, and the answers by the first word."""
    calls, answers = [], {"inspect": (0, f"{ID}\n{WARNING}")}

    def answer(words, *_):
        calls.append(words)
        return answers.get(words[1] if words[0] == "image" else words[0], (0, ""))

    monkeypatch.setattr(images, "podman", answer)
    answer.calls, answer.answers = calls, answers
    return answer


def test_a_warning_of_podman_is_no_answer(podman):
    assert images.identify(NAME) == ID
    podman.answers["inspect"] = (125, f"{WARNING}Error: {NAME}: image not known\n{WARNING}")
    with pytest.raises(Failed, match=rf"podman image inspect {NAME}: {NAME}: image not known"):
        images.identify(NAME)
    podman.answers["inspect"] = (0, WARNING)
    with pytest.raises(Failed, match="level=warning"):
        images.identify(NAME)


@pytest.mark.parametrize(
    "answer, told",
    [
        ((1, ""), "podman does not have the image ffffffffffff any more"),
        ((125, "Error: database is locked\n"), "podman image exists ffffffffffff: database is locked"),
        ((-9, ""), "podman image exists ffffffffffff: exit code -9"),
    ],
)
def test_an_image_is_only_gone_if_podman_says_so(podman, answer, told):
    images.require(ID)
    podman.answers["exists"] = answer
    with pytest.raises(Failed, match=told):
        images.require(ID)


def test_a_claim_stays_if_podman_cannot_say_whether_the_image_is_gone(podman, tmp_path):
    podman.answers.update(rmi=(125, "Error: database is locked"), exists=(125, "Error: database is locked"))
    images.claim(tmp_path, A, NAME)
    assert images.tidy(tmp_path, set) == [f"podman rmi {NAME}: database is locked"]
    podman.answers["exists"] = (1, "")
    assert images.tidy(tmp_path, set) == [] and not list((tmp_path / ".images").iterdir())


@pytest.mark.parametrize(
    "output, told",
    [
        ("4.3.1\n", ""),
        (f"{WARNING}5.0.0-rc1\n", ""),
        ("10.1.2\n", ""),
        (f"{WARNING}4.2.0\n", "4.2.0"),
        ("3.10.1+ds1\n", "3.10.1+ds1"),
        ("Error: no config", "no config"),
        ("", "of unknown version"),
    ],
)
def test_an_old_podman_is_found(podman, output, told):
    podman.answers["version"] = (0, output)
    assert images.outdated() == told


def test_podman_is_asked_not_to_warn(monkeypatch):
    ran = []
    monkeypatch.setattr(images.commands, "execute", lambda words, *_: (ran.append(words), (0, ""))[1])
    images.podman(["ps"])
    assert ran == [["podman", "--log-level=error", "ps"]]


def test_a_container_whose_processes_were_killed_goes_with_its_image(podman, tmp_path, monkeypatch):
    """podman counts a container as running for ever if its monitor was killed with it."""
    monkeypatch.setattr(processes, "mark", lambda pid: "/folder" if pid == os.getpid() else None)
    podman.answers["ps"] = (0, f"{WARNING}{'b' * 12} 0\n{'c' * 12} {2**22}\n{'d' * 12} {os.getpid()}\n")
    images.claim(tmp_path, A, NAME)
    assert images.tidy(tmp_path, set) == []
    assert podman.calls[1:] == [["rm", "--force", "--ignore", "--time=0", "b" * 12, "c" * 12], ["rmi", NAME]]
    assert not list((tmp_path / ".images").iterdir())


def test_an_image_that_is_in_use_stays_with_its_claim(podman, tmp_path):
    podman.answers["rmi"] = (2, "Error: image is in use by a container\n")
    images.claim(tmp_path, A, NAME)
    assert images.tidy(tmp_path, set) == [f"podman rmi {NAME}: image is in use by a container"]
    assert [path.name for path in (tmp_path / ".images").iterdir()] == [A]
