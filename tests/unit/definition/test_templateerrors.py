"""The message on a mistake in a template: its line and the problem, and nothing of the template."""

from __future__ import annotations

import logging

import pytest
import yaml
from salt.exceptions import SaltRenderError
from saltdeploy.definition import templateerrors

SECRET = "hunter2"


def rendered(text):
    """Return the error of Salt's Jinja on a template."""
    from salt.utils.templates import render_jinja_tmpl

    context = {"opts": {"cachedir": "", "file_client": "local", "renderer": "jinja", "__role": "minion"}}
    context.update(saltenv="base", salt={}, grains={}, pillar={})
    with pytest.raises(SaltRenderError) as caught:
        render_jinja_tmpl(text, context)
    return caught.value


@pytest.mark.parametrize(
    "text, message",
    [
        (f"a: {SECRET}\nb: {{{{ nix }}}}", "line 2: Jinja variable 'nix' is undefined"),
        (
            f"a: {SECRET}\n{{% if %}}",
            "line 2: Jinja syntax error: Expected an expression, got 'end of statement block'",
        ),
        (f"a: {{{{ '1{SECRET}' | strftime('%Y') }}}}", "Jinja error: "),
    ],
)
def test_a_mistake_in_jinja(text, message):
    found = templateerrors.mistake(rendered(text))
    assert message in found and SECRET not in found


def test_a_mistake_in_yaml():
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.safe_load(f"a: 1\nb: *{SECRET}")
    assert templateerrors.mistake(caught.value) == "is not YAML: line 2: found undefined alias something."


@pytest.mark.parametrize(
    "text, message",
    [
        (
            f"Jinja variable 'x' is undefined; line 3\n\n---\npassword: {SECRET}\n",
            "Jinja variable 'x' is undefined; line 3",
        ),
        (
            f"found character '{SECRET}' that cannot start any token\n",
            "found character something that cannot start any token",
        ),
        (
            f'while parsing a block mapping\n  in "<unicode string>", line 4, column 1\n{SECRET}',
            "while parsing a block mapping; line 4",
        ),
        ("", ""),
    ],
)
def test_the_first_line_is_without_the_template(text, message):
    assert templateerrors.first_line(text) == message


def test_a_mistake_in_an_sls_is_told_with_its_name():
    said = f"Rendering SLS 'base:web.shop' failed: Jinja variable 'x' is undefined; line 2\n\n---\n{SECRET}"
    assert templateerrors.sls_mistake(said) == "web.shop: Jinja variable 'x' is undefined; line 2"
    gone = "Specified SLS web.gone in saltenv base is not available on the salt master"
    assert templateerrors.sls_mistake(gone) == gone


def test_salts_messages_on_a_template_are_not_logged(caplog):
    with templateerrors.quiet():
        logging.getLogger("salt.utils.templates").error("template: %s", SECRET)
    logging.getLogger("salt.utils.templates").error("afterwards")
    assert SECRET not in caplog.text and "afterwards" in caplog.text
