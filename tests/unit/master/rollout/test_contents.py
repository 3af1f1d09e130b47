"""Content under a version never changes: all nodes have the same, or nothing is done."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.core.model import App, Source
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout import contents

A, B = "a" * 64, "b" * 64
APP = App("shop", Source("archive", "http://h/x", sha256="http://h/x.sha256"), "run")


class Fleet:
    """Nodes that answer ``app.room``."""

    def __init__(self, **nodes):
        self.nodes = nodes

    def run(self, function, nodes, name, version, deadline):
        assert (function, name, version) == ("app.room", "shop", "1.0")
        return {
            n: Reply(n, None, self.nodes[n]) if isinstance(self.nodes[n], str) else Reply(n, self.nodes[n])
            for n in nodes
        }


def test_an_answer_of_another_shape_is_no_digest_and_named():
    wrong = {"installed": False, "digest": None, "now": "", "packages": []}
    assert agree(Fleet(web1=wrong, web2=coming(A)), ["web1", "web2"]) == A
    with pytest.raises(Refused, match="web1: its answer is not to be believed: digest: found None"):
        check(Fleet(web1=wrong, web2=coming(A)), ["web1", "web2"])
    assert contents.differing_packages(Fleet(web1={**there(""), "packages": [1]}), APP, "1.0", ["web1"]) == ""


def there(digest, now="", packages=()):
    return {"installed": True, "digest": digest, "now": now, "packages": list(packages)}


def coming(digest, warnings=()):
    return {"installed": False, "digest": digest, "now": digest, "packages": [], "warnings": list(warnings)}


def observed(*nodes):
    return SimpleNamespace(releases={"web9": ("0.9",), **dict.fromkeys(nodes, ("1.0",))})


def agree(fleet, installing, *have, known=""):
    return contents.agree(fleet, APP, "1.0", installing, observed(*have), known)


def check(fleet, installing, *have, record=None):
    return contents.check(fleet, APP, "1.0", installing, observed(*have), record)


def test_the_digest_is_found_once_for_all_nodes():
    assert agree(Fleet(web1=there(A), web2=coming(A)), ["web2"], "web1") == A
    assert agree(Fleet(web2=coming("")), ["web2"]) == ""


def test_what_keeps_one_node_from_installing_is_the_installation_s_matter():
    """Some nodes may fail, if the strategy says so."""
    assert agree(Fleet(web1="no room", web2=coming(A)), ["web1", "web2"]) == A


def test_a_check_looks_also_where_the_release_is_installed_and_only_starts():
    changed = "shop 1.0 is installed on web1 from another source (sha256 changed)."
    with pytest.raises(Refused, match="from another source"):
        check(Fleet(web1=changed), ["web1"], "web1")
    assert check(Fleet(web1=changed, web2=coming("")), ["web2"], "web1") == []


@pytest.mark.parametrize("nodes", [{"web1": there(A), "web2": coming(B)}, {"web1": coming(A), "web2": coming(B)}])
def test_two_contents_under_one_version_are_refused(nodes):
    installing = [n for n, found in nodes.items() if not found["installed"]]
    have = [n for n in nodes if n not in installing]
    for function, error in ((agree, Failed), (check, Refused)):
        with pytest.raises(
            error, match="shop 1.0 has two contents: sha256 aaaaaaaaaaaa… (is .* on|would come to) web1"
        ) as raised:
            function(Fleet(**nodes), installing, *have)
        assert "sha256 bbbbbbbbbbbb… would come to web2 now" in str(raised.value)
        assert "give the new one a new version" in str(raised.value)


def test_two_contents_that_are_installed_already():
    with pytest.raises(Failed, match="aaaaaaaaaaaa… is installed on web1, sha256 bbbbbbbbbbbb… is installed on web2"):
        agree(Fleet(web1=there(A), web2=there(B), web3=coming(A)), ["web3"], "web1", "web2")


def test_an_archive_that_was_built_again_is_refused_though_nothing_is_to_be_installed():
    with pytest.raises(
        Refused, match="aaaaaaaaaaaa… is installed on web1, sha256 bbbbbbbbbbbb… would come to web1 now"
    ):
        check(Fleet(web1=there(A, now=B)), [], "web1")
    check(Fleet(web1=there(A, now=A)), [], "web1")
    check(Fleet(web1=there(A)), [], "web1")


def test_what_is_installed_can_be_gone_back_to_whatever_became_of_its_file():
    assert agree(Fleet(web1=there(A, now=B), web2=there(A)), [], "web1", "web2") == A


def test_what_cannot_be_had_is_refused_beforehand():
    with pytest.raises(Refused, match="web1, web2: gone"):
        check(Fleet(web1="gone", web2="gone"), ["web1", "web2"])


@pytest.mark.parametrize(
    "digests, may", [("http://h/x.sha256", True), ("/srv/x", True), (A, False), ({"1.0": A}, False)]
)
def test_only_a_file_of_digests_may_say_something_else(digests, may):
    assert contents.may_change(replace(APP, source=replace(APP.source, sha256=digests))) is may
    assert not contents.may_change(replace(APP, source=Source("pip", "shop")))
    assert contents.may_change(replace(APP, source=Source("ansible", "http://h/x", sha256=digests))) is may


def test_the_folder_of_a_playbook_may_change():
    assert contents.may_change(replace(APP, source=Source("ansible", "salt://shop")))


def test_the_changes_of_a_playbook_are_told_once_for_all_nodes():
    warnings = []
    journal = SimpleNamespace(warn=warnings.append)
    app = replace(APP, source=Source("ansible", "salt://shop"))

    class Nodes:
        def run(self, function, nodes, name, version, deadline):
            assert (function, name, version, deadline) == ("app.preview", "shop", "1.0", app.strategy.progress_deadline)
            replies = {"web1": Reply("web1", ["a\n+x"]), "web2": Reply("web2", ["a\n+x", "b"])}
            return {**replies, "web3": Reply("web3", None, "site.yml failed"), "web4": Reply("web4", "x")}

    found = contents.preview(Nodes(), app, "1.0", ["web1", "web2", "web3", "web4"], journal)
    start = "the playbook would change on"
    assert found == [f"{start} web1, web2: a\n      +x", f"{start} web2: b"]
    [warning] = warnings
    assert "in check mode on web3: site.yml failed" in warning and "in check mode on web4: its answer" in warning
    assert (
        contents.preview(None, APP, "1.0", ["web1"], journal) == contents.preview(None, app, "1.0", [], journal) == []
    )


def test_a_moved_tag_is_told_as_a_commit():
    app = replace(APP, source=Source("git", "https://host/shop.git"))
    assert contents.may_change(app)
    fleet = Fleet(web1=there("a" * 40, now="b" * 40))
    told = "shop 1.0 has two contents: commit aaaaaaaaaaaa… is installed on web1, commit bbbbbbbbbbbb… would come"
    with pytest.raises(Refused, match=rf"{told} to web1 now\. .* or put the tag back"):
        contents.check(fleet, app, "1.0", [], observed("web1"), None)


def test_a_server_that_does_not_answer_now_is_a_warning():
    nodes = Fleet(web1=coming(A, ["h: 503"]), web2=coming(A, ["h: 503"]), web3=coming(A))
    assert check(nodes, ["web1", "web2", "web3"]) == ["web1, web2: h: 503"]
    assert check(Fleet(web1=coming(A), web2=there(A)), ["web1"], "web2") == []


def test_packages_that_differ_are_named():
    nodes = Fleet(web1=there("", packages=["flask==3.0", "six==1"]), web2=there("", packages=["flask==3.1", "six==1"]))
    told = contents.differing_packages(nodes, APP, "1.0", ["web1", "web2"])
    assert "shop 1.0 is not the same on all nodes: flask 3.0 on web1, 3.1 on web2. Give exact versions" in told
    assert contents.differing_packages(nodes, APP, "1.0", ["web1"]) == ""


def test_what_the_record_has_is_the_content_too():
    """All nodes may have been rebuilt since."""
    assert agree(Fleet(web1=coming(A)), ["web1"], known=A) == A
    told = rf"shop 1\.0 has two contents: sha256 {A[:12]}… was deployed before, sha256 {B[:12]}… would come to web1 now"
    with pytest.raises(Failed, match=told):
        agree(Fleet(web1=coming(B)), ["web1"], known=A)
    record = {"nodes": {"web1": ["shop_1.0_1"]}, "digests": {"1.0": A}}
    assert check(Fleet(web1=coming(A)), ["web1"], record=record) == []
    with pytest.raises(Refused, match=told):
        check(Fleet(web1=coming(B)), ["web1"], record=record)


def test_the_record_keeps_the_digests_of_releases_that_somebody_has():
    record = {"nodes": {"web1": ["shop_1.1_1"]}, "digests": {"1.0": A, "1.1": B, "1.2": A, "0.9": B}}
    assert contents.recorded(record, observed("web1")) == {"1.0": A, "1.1": B, "0.9": B}
    # With any settings.
    numbered = {**record, "nodes": {"web1": ["shop_1.1_1-7"]}}
    assert contents.recorded(numbered, observed("web1")) == {"1.0": A, "1.1": B, "0.9": B}
    assert contents.recorded(None, observed("web1")) == contents.recorded({"nodes": {}}, observed()) == {}


@pytest.mark.parametrize(
    "source, asked",
    [
        (Source("archive", "http://h/x", sha256=A), False),
        (Source("archive", "http://h/x", sha256={"1.0": A.upper(), "0.9": B}), False),
        (Source("archive", "http://h/x", sha256={"0.9": B}), True),
        (Source("archive", "http://h/x", sha256="http://h/x.sha256"), True),
        (Source("ansible", "http://h/x", sha256=A), True),
        (Source("pip", "shop"), True),
    ],
)
def test_nodes_are_not_asked_for_a_digest_that_the_definition_has(source, asked):
    app, fleet = replace(APP, source=source), Fleet(web1=coming(A))
    assert contents.agree(fleet if asked else None, app, "1.0", ["web1"], observed(), A) == A
    if not asked:
        told = f"sha256 {B[:12]}… was deployed before, sha256 {A[:12]}… is in its definition now. Content under"
        with pytest.raises(Failed, match=told):
            contents.agree(None, app, "1.0", ["web1"], observed(), B)
