"""A secret in any key of the schema, with any mistake: it is in no message, no exception behind it, and no log."""

import copy

import pytest
from saltdeploy import definition
from saltdeploy.core import words
from saltdeploy.core.errors import Refused
from saltdeploy.definition import inheritance, schema, yamlfile

SECRET = "Gehe1m"
# What somebody may write where a secret is meant.
WRONG = {
    "text": SECRET,
    "brace": f"{SECRET}{{",
    "closing brace": f"{SECRET}}}",
    "placeholder": f"x{{{SECRET}}}",
    "placeholder with a format": f"{{port:{SECRET}}}",
    "placeholder in a placeholder": f"{{port:{{{SECRET}}}}}",
    "open quote": f"'{SECRET}",
    "control character": f"{SECRET}\x07",
    "line break": f"{SECRET}\n",
    "look-alike": f"{SECRET}\u043e",
    "too long": SECRET * 10_000,
    "list": [SECRET],
    "mapping": {"password": SECRET},
    "bytes": SECRET.encode(),
    "set": {SECRET},
    "URL with a password": f"https://user:{SECRET}@example.com/",
    "broken URL": f"http://[{SECRET}",
    "number": 7137713771377137,
    "large number": 7137713771377137 * 10**20,
    "ciphertext": f"{yamlfile.CIPHERTEXT}\n{SECRET}",
}
SHOP = {"source": {"pip": "shop"}, "run": "./shop", "ports": "20000-20009"}


def places(part, keys=()):
    """Yield ``(keys, schema)`` of each value that the schema ``part`` has, names of mappings made up."""
    yield keys, part
    for option in part.get("anyOf", ()):
        yield from places(option, keys)
    for key, inner in part.get("properties", {}).items():
        yield from places(inner, (*keys, key))
    if isinstance(part.get("additionalProperties"), dict):
        name = "sixth" if keys[-1:] != ("sha256",) else "1.0"
        yield from places(part["additionalProperties"], (*keys, name))
    if isinstance(part.get("items"), dict):
        yield from places(part["items"], (*keys, 0))


def spoiled(keys, value):
    """Return a pillar with ``value`` at ``keys`` below the app, or below the environment."""
    pillar = {
        "apps": {"shop": copy.deepcopy(SHOP)},
        "environments": {
            "test": {"nodes": {"web1": {"address": "10.0.0.1"}, "web2": {"address": "10.0.0.2"}}, "apps": {"shop": {}}}
        },
    }
    within = pillar
    for key, after in zip(keys, [*keys[1:], None]):
        last = after is None
        if isinstance(within, list):
            within.append(value if last else ([] if after == 0 else {}))
        elif last:
            within[key] = value
        elif not isinstance(within.get(key), (dict, list)):
            within[key] = [] if after == 0 else {}
        within = within[key if not isinstance(within, list) else -1]
    return pillar


def said(pillar, validated=False):
    """Return all that is said of a pillar, on the master and on a node, and all that is behind it.

    :param validated: only where jsonschema is.
    """
    found = []
    reads = (
        lambda: definition.load(pillar, "test"),
        lambda: definition.load_own("web1", pillar),
        lambda: inheritance.own_environment(pillar["environments"], "web1"),
        lambda: definition.load_own("web1", pillar, problems=lambda definitions: None),
    )
    for read in reads[: 3 if validated else 4]:
        try:
            found += getattr(read(), "broken", {}).values()
        except Refused as exc:
            while exc is not None:
                found += [str(exc), repr(exc)]
                exc = exc.__cause__ or exc.__context__
    return "\n".join(found)


APP = [(("apps", "shop", *keys), part) for keys, part in places(schema.APPS["additionalProperties"]) if keys]
ENVIRONMENT = [
    (("environments", "test", *keys), part)
    for keys, part in places(schema.ENVIRONMENTS["additionalProperties"])
    if keys and keys[0] not in ("apps", "based_on")
]


def is_open(part):
    """Whether messages quote what is wrong there: a name, a number, a word of several."""
    return bool(part.get("examples")) or "enum" in part or part.get("type") in ("integer", "number", "boolean")


@pytest.mark.parametrize("label", WRONG)
def test_no_secret_is_said(label, caplog):
    caplog.set_level(0)
    value, shown = WRONG[label], {}
    needle = [SECRET, "7137713771377137", "713771377"]
    opened = {keys for keys, part in APP + ENVIRONMENT if is_open(part)}
    for keys in dict.fromkeys(keys for keys, _ in APP + ENVIRONMENT):
        if keys in opened and not isinstance(value, (list, dict)):
            continue
        if isinstance(value, (list, set)) and any(
            keys == k and is_open(p.get("items", {})) for k, p in APP + ENVIRONMENT
        ):
            continue
        text = said(spoiled(keys, value), keys in opened) + caplog.text
        if any(n in text for n in needle):
            shown[keys] = next(line for line in text.splitlines() if any(n in line for n in needle))[:300]
        caplog.clear()
    assert shown == {}


MAPPINGS = [
    (("apps", "shop"), schema.APPS["additionalProperties"]),
    (("environments", "test"), schema.ENVIRONMENTS["additionalProperties"]),
    *((keys, part) for keys, part in APP + ENVIRONMENT if part.get("type") == "object"),
]
# A value that became a part of its key: somebody forgot a space, or wrote a shell's equals sign.
GLUED = [f"DB_PASSWORD:{SECRET}", f"DB_PASSWORD={SECRET}", f":{SECRET}", f"ports:{SECRET}\u043e"]
# Below `env` and `headers` a key that is no name may be a value by itself.
STRAY = [f"{SECRET}!", f"{SECRET} {SECRET}", 7137713771377137, SECRET.encode(), (SECRET,), f"9{SECRET}/"]
# What stands below such a key is wrong, too, so that its path is told.
BELOW = [None, "x", [None], {"x": "\x07"}, "x\x07", "{x", "x" * 40_000, yamlfile.CIPHERTEXT, 10**40, {"x:y": {}}]


@pytest.mark.parametrize("below", BELOW, ids=lambda below: repr(below)[:20])
def test_no_secret_in_a_key_is_said(below, caplog):
    """A validator that is missing, as on a node without jsonschema, finds other mistakes first."""
    caplog.set_level(0)
    shown, told = {}, set()
    for keys, _ in MAPPINGS:
        secretive = {"env", "headers"} & set(keys[-1:])
        for key in [*GLUED, *(STRAY if secretive else ())]:
            text = said(spoiled((*keys, key), below)) + caplog.text
            if any(n in text for n in (SECRET, "7137713771377137", "713771377")):
                shown[keys, key] = next(line for line in text.splitlines() if SECRET in line or "713771377" in line)[
                    :300
                ]
            told |= {keys} if text else set()
            caplog.clear()
    assert shown == {}
    assert len(told) > len(MAPPINGS) / 2


def test_a_key_with_a_value_in_it_is_found_by_its_number():
    pillar = spoiled(("apps", "shop", "env"), {"DB_HOST": "db", f"DB_PASSWORD:{SECRET}": None})
    told = said(pillar)
    assert "apps:shop:env:key number 2: found text of another form. Write the name of a variable: letters" in told
    assert "YAML needs a colon and a space between a key and its value." in told
    assert "apps:shop:env:key number 2: found nothing." in told
    told = said(spoiled(("apps", "shop"), {**SHOP, f"user:{SECRET}": None}))
    assert "apps:shop:user…: unknown key (did you mean `user`?). YAML needs a colon" in told


@pytest.mark.parametrize("keys", [k for k, _ in MAPPINGS if k[-1] == "headers"], ids=str)
def test_a_wrong_name_of_a_header_is_told_what_one_is(keys):
    told = said(spoiled((*keys, "X Token"), "x"))
    assert f"{words.path(keys)}:key number 1: found text of another form. Write the name of a header: letters" in told


def test_a_key_that_is_there_twice_is_named_only_if_it_is_a_name(tmp_path):
    path = tmp_path / "test.sls"
    for key, told in (("DB_HOST", "found the key 'DB_HOST' a second time"), (f"'{SECRET}!'", "found a key a second")):
        path.write_text(f"{{{key}: 1, {key}: 2}}")
        with pytest.raises(Refused, match=told) as caught:
            yamlfile.load(path)
        assert SECRET not in str(caught.value)


def test_what_may_be_a_secret_is_not_open():
    """An allow-list: a new key is not quoted unless it has an example."""
    secret = {
        "env",
        "run",
        "command",
        "headers",
        "url",
        "token",
        "query",
        "json",
        "contains",
        "http",
        "source",
        "archive",
    }
    secret |= {"requirements", "token_file", "config", "pip", "agent", "servers", "ca"}
    found = {
        keys for keys, part in APP + ENVIRONMENT if secret & {k for k in keys if isinstance(k, str)} and is_open(part)
    }
    # Numbers, true or false, and words from a list.
    plain = {"status", "strip", "max", "min", "port", "method", "redirects", "insecure", "sdists"}
    plain |= {"ref", "submodules", "build_timeout", "unpack"}
    versions = {keys for keys in found if plain & set(keys[-2:]) or "consul" in keys[:3]}
    assert found - versions == set()


@pytest.mark.parametrize(
    "keys, part", APP + ENVIRONMENT, ids=lambda found: ":".join(map(str, found)) if isinstance(found, tuple) else ""
)
def test_what_has_a_form_says_it_in_words(keys, part):
    """Of a regular expression no message is made."""
    if "pattern" in part and "anyOf" not in part and "title" not in part:
        above = [p for k, p in APP + ENVIRONMENT if k == keys and "anyOf" in p]
        assert above and "description" in above[0], keys
