"""A secret in a URL is found wherever a definition has it, and no message shows it."""

import time

import pytest
from saltdeploy.core import urls

BAD = [
    "https://joe:hunter2@host/x",
    "https://hunter2@host/x",
    "http://:hunter2@host/x",
    "HTTPS://joe:hunter2@host",
    "https://joe:hun/ter2@host/x",
    "git+https://joe:hunter2@host/x@v1",
    "git+ssh://git:hunter2@host/x",
    "--index-url https://joe:hunter2@host/simple",
    "--extra-index-url=https://__token__:hunter2@host/simple",
    "-f https://hunter2@host/wheels",
    "shop @ https://joe:hunter2@host/shop.whl",
    "ftp://joe:hunter2@host/x",
]
GOOD = [
    "https://host/x@v1",
    "https://host:8443/x?a=b@c",
    "http://[::1]:8500/x",
    "http://{address}:8500",
    "salt://shop@1.0/shop.tar",
    "file:///srv/joe@host/x",
    "git+ssh://git@host/x@v1",
    "shop @ https://host/shop.whl",
    "joe@host",
    "gunicorn==23.0.0",
]


BAD_COMMANDS = [
    "psql postgres://u:hunter2@db/x",
    "psql 'POSTGRES://u:hunter2@db/x'",
    'sh -c "psql \\"postgres://u:hunter2@db/x\\" -c 1"',
    "./x --db=redis://:hunter2@db:6379/0",
    "./x --db mysql+pymysql://u:hun/ter2@db/x",
    "./x amqp://u:hun@ter2@mq//",
    "./x amqp://u:2222@mq//",
    "./x mongodb://u:hun#ter2@a:1,b:2/x",
    "./x db://u:[hunter2]@db/x",
    "git clone https://hunter2@host/x",
    "./x git+https://hunter2@host/x",
    "./x http://a:80 --db db://u:hunter2@db/x",
    "sh -c 'x db://u:${{PASSWORD:-hunter2}}@db/x'",
    "sh -c 'x db://u:$PASSWORD.hunter2@db/x'",
]
GOOD_COMMANDS = [
    "psql postgres://u@db/x",
    "psql postgres://db/x",
    "sh -c 'psql postgres://u:$PASSWORD@db/x'",
    "sh -c 'psql \"postgres://u:${{PASSWORD}}@db/x\"'",
    "sh -c 'psql postgres://u:$(cat /run/password)@db/x'",
    "sh -c 'psql postgres://u:$(</run/password)@db/x'",
    "sh -c 'psql postgres://$USER:$PASSWORD@db/x'",
    "curl http://{address}:{port}/x@v1",
    "sh -c 'curl http://$ADDRESS:$PORT/x@v1'",
    "sh -c 'curl http://[$ADDRESS]:$PORT/x@v1'",
    "curl http://[::1]:8080/x@v1",
    "curl http://localhost:8080/x?mail=joe@host",
    'curl -d {{"url":"http://a:80","mail":"joe@host"}} http://a',
    "git clone ssh://git@host/x",
    "mail joe@host -s a:b",
    "./x --at http://a:80 joe@host",
]


@pytest.mark.parametrize(
    "found, texts",
    [(urls.has_secret, {True: BAD, False: GOOD}), (urls.has_password, {True: BAD_COMMANDS, False: GOOD_COMMANDS})],
    ids=["in a URL", "in a command"],
)
def test_a_secret_is_found(found, texts):
    assert [(text, found(text)) for some in texts.values() for text in some] == [
        (text, bad) for bad, some in texts.items() for text in some
    ]


@pytest.mark.parametrize("piece", ["a://", "a.", "[", "a://b:c", "a://@", "$A", "a://$A"])
def test_a_long_command_is_looked_through_at_once(piece):
    began = time.process_time()
    urls.has_password((piece * 30_000)[:30_000] + "@")
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://host/x?token=hunter2#hunter2", "https://host/x"),
        ("https://joe:hunter2@host/x", "https://host/x"),
        ("salt://shop@1.0/x", "salt://shop@1.0/x"),
        ("/srv/x?#y", "/srv/x?#y"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert urls.public(url) == shown


@pytest.mark.parametrize(
    "text, shown",
    [
        ("fetched https://joe:hunter2@host/x?token=hunter2 in 2s", "fetched https://host/x in 2s"),
        ("https://host/x?token=hunter2#part", "https://host/x#part"),
        ("https://hun/ter@host", "https://hun/ter@host"),
        ("a https://a@b/ and http://c@d/", "a https://b/ and http://d/"),
        ("no URL: joe@host?", "no URL: joe@host?"),
    ],
)
def test_the_output_of_another_program_is_shown_without_secrets(text, shown):
    assert urls.without_secrets(text) == shown


@pytest.mark.parametrize(
    "left, right, same",
    [
        ("http://host/a", "http://host:80/b?c", True),
        ("https://HOST", "https://host:443/", True),
        ("http://host", "https://host", False),
        ("http://host:81", "http://host", False),
        ("http://host:port", "http://host:port/x", True),
        ("http://host:port", "http://host", False),
    ],
)
def test_two_urls_are_of_the_same_place(left, right, same):
    assert (urls.place(left) == urls.place(right)) is same


@pytest.mark.parametrize(
    "text, hosts",
    [
        ("http://host:80/x", ["host"]),
        ("http://localhost http://127.0.0.1:80 http://[::1]:80/ https://host", []),
        ("--a http://a --b=HTTP://[fd00::1]:80/x", ["a", "[fd00::1]"]),
        ("http://127.0.0.1.example.org/", ["127.0.0.1.example.org"]),
    ],
)
def test_the_hosts_that_are_asked_without_tls(text, hosts):
    assert urls.plain_hosts(text) == hosts


SECRET = "https://joe:hunter2@host/shop.tar"


@pytest.mark.parametrize(
    "definitions, app, advice",
    [
        ({"apps": {"shop": {"source": {"archive": SECRET}}}}, "shop", "source:token_file"),
        ({"apps": {"shop": {"source": {"pip": SECRET}}}}, "shop", "source:netrc"),
        ({"apps": {"shop": {"source": {"git": SECRET}}}}, "shop", "source:token_file"),
        ({"apps": {"shop": {"source": {"build": f"wget {SECRET}"}}}}, "shop", "Messages and discovery show commands"),
        ({"apps": {"shop": {"run": f"./x {SECRET}"}}}, "shop", "Put it into `env`"),
        ({"apps": {"shop": {"tests": [{"command": f"./x {SECRET}"}]}}}, "shop", "Put it into `env`"),
        ({"environments": {"test": {"apps": {"shop": {"source": {"pip": SECRET}}}}}}, "shop", "source:netrc"),
        ({"environments": {"test": {"discovery": {"consul": {"agent": SECRET}}}}}, "", "discovery:consul:token"),
        # A key may be the URL, because YAML takes `NAME:value` without a space for a key.
        ({"apps": {"shop": {"source": {SECRET: None}}}}, "shop", "source:netrc"),
    ],
)
def test_a_secret_is_named_by_its_place_and_not_shown(definitions, app, advice):
    found = urls.secrets(definitions)
    assert list(found) == [app] and len(found[app]) == 1
    assert advice in found[app][0] and "hunter2" not in found[app][0]


@pytest.mark.parametrize(
    "definitions",
    [
        {"apps": {"shop": {"env": {"DATABASE": SECRET}}}},
        {"apps": {"shop": {"source": {"headers": {"Authorization": SECRET}}}}},
        {"apps": [SECRET], "environments": {"test": [SECRET]}},
        "text",
        None,
    ],
)
def test_where_a_secret_belongs_nothing_is_said(definitions):
    assert urls.secrets(definitions) == {}


def test_a_definition_that_holds_itself_is_looked_through_in_time():
    source = {"pip": SECRET}
    source["again"] = [source, source]
    assert len(urls.secrets({"apps": {"shop": {"source": source}}})["shop"]) == 1


@pytest.mark.parametrize(
    "place, name",
    [
        ("https://host/libs/shop-{version}.jar?raw=1#x", "shop-{version}.jar"),
        ("http://host:8081/shop.jar", "shop.jar"),
        ("salt://shop.jar?saltenv=base", "shop.jar"),
        ("file:///srv/a?b.jar", "a?b.jar"),
        ("/srv/shop.jar", "shop.jar"),
        ("https://host", ""),
        ("https://host/?file=shop.jar", ""),
        ("salt://shop/", ""),
        ("/srv/..", ""),
    ],
)
def test_the_name_of_the_file_at_a_place(place, name):
    assert urls.file_name(place) == name
