"""Placeholders in texts of a definition: they are filled in, and a mistake is named by its place."""

import pytest
from saltdeploy.core import placeholders
from saltdeploy.core.errors import DefinitionError, Refused


def test_a_command_names_its_placeholder_and_its_place_and_not_the_rest():
    with pytest.raises(
        Refused, match=r"unknown placeholder \{prot\} \(did you mean `port`\?\) at character 17"
    ) as caught:
        placeholders.check("./x --key Gehe1 {prot}", "apps:shop:run")
    assert "Gehe1" not in str(caught.value)


@pytest.mark.parametrize("text", ["hunter2{prot}", "hunter2{", "hunter2}", "{hunter2!r}", "{hunter2 }"])
def test_nothing_of_another_text_is_shown(text):
    with pytest.raises(DefinitionError) as caught:
        placeholders.check(text, "apps:shop:env:PASSWORD", command=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text, names",
    [
        ("x", []),
        ("x {port} {port} {address}", ["port", "port", "address"]),
        ("x {{port}}", []),
        ("x {{{port}}}", ["port"]),
    ],
)
def test_the_placeholders_of_a_valid_text(text, names):
    assert placeholders.check(text, "run") == names == placeholders.used(text)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("x {{port}", "character 9 is a brace that belongs to no placeholder"),
        ("x {nope}", "unknown placeholder {nope} at character 3"),
        ("x {version}", "unknown placeholder {version} at character 3. Allowed: port."),
    ],
)
def test_other_placeholders_are_refused(text, problem):
    with pytest.raises(DefinitionError) as caught:
        placeholders.check(text, "run", allowed=("port",))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text, filled",
    [
        ("{app} {port}", "shop {port}"),
        ("{{app}} {{{app}}}", "{app} {shop}"),
        ("{ {app}", "{ shop"),
        ("{}", "{}"),
    ],
)
def test_placeholders_that_are_not_known_yet_stay(text, filled):
    assert placeholders.fill_known(text, {"app": "shop"}) == filled


def test_all_filled_in_is_the_same_both_ways():
    text, values = "{{x}} {app}:{port}", {"app": "shop", "port": 80}
    assert placeholders.fill(text, values) == placeholders.fill_known(text, values) == "{x} shop:80"


def test_a_required_service_is_its_dns_name():
    text = "psql -h {service:postgres} {port}"
    assert placeholders.check(text, "run", services=["postgres"]) == ["port"]
    values = {"port": 80, "service": placeholders.Services("service.consul")}
    assert placeholders.fill(text, values) == "psql -h postgres.service.consul 80"
    assert values["service"]["postgres"] == "postgres.service.consul"
    assert placeholders.fill_known(text, {"port": 80}) == "psql -h {service:postgres} 80"


@pytest.mark.parametrize("text", ["{service:hunter2}", "{service:}", "{service}", "{service:postgres:hunter2}"])
@pytest.mark.parametrize("services", [None, ["postgres"]])
def test_another_service_is_refused_and_not_shown(text, services):
    with pytest.raises(DefinitionError) as caught:
        placeholders.check(text, "apps:shop:env:DB", command=False, services=services)
    assert "hunter2" not in str(caught.value)
    if services and text != "{service}":
        assert str(caught.value).startswith(
            "apps:shop:env:DB: {service:…} at character 1 names a service that is not in"
        )


@pytest.mark.parametrize(
    "text, follow, problem",
    [
        ("{addresses:postgres}", None, "unknown placeholder"),
        ("{addresses:postgres}", False, "{addresses:…} at character 1 is for an app with `follow: true`"),
        ("{addresses:hunter2}", True, "{addresses:…} at character 1 names a service that is not in `requires`"),
        ("{addresses}", True, "{addresses:…} at character 1 names a service"),
    ],
)
def test_addresses_are_for_an_app_that_follows_the_service(text, follow, problem):
    with pytest.raises(DefinitionError) as caught:
        placeholders.check(text, "apps:shop:env:DB", command=False, services=["postgres"], follow=follow)
    assert str(caught.value).startswith(f"apps:shop:env:DB: {problem}") and "hunter2" not in str(caught.value)


def test_only_addresses_are_filled_in_and_all_else_stays():
    text = "{{x}} {address} {addresses:postgres} {service:postgres}"
    assert placeholders.check(text, "run", services=["postgres"], follow=True) == ["address"]
    filled = placeholders.fill_addresses(text, {"postgres": "[fd00::1]:5432"}.__getitem__)
    assert filled == "{{x}} {address} [fd00::1]:5432 {service:postgres}"
    assert placeholders.fill("{addresses:postgres}", {"addresses": placeholders.UNRESOLVED}) == "{addresses:postgres}"
