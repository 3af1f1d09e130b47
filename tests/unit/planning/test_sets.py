"""The observed instances in named sets, by examples."""

from dataclasses import replace

from saltdeploy.planning.sets import compare, divide

from tests.support.fleet import NEW, OLD, desire, held, instance, make_app, observe

GOOD, SICK = instance("web1", NEW), instance("web2", NEW, healthy=False)
BEFORE, GONE = instance("web1", OLD, 101), instance("web9", NEW)
DEAD, LEFT = instance("web2", NEW, 101, running=False), instance("web3", NEW, published=False)
WAITING, ELSEWHERE = held("web3"), held("web9")
ALL = (GOOD, SICK, BEFORE, GONE, DEAD, LEFT, WAITING, ELSEWHERE)


def test_each_instance_serves_or_is_idle():
    sets = divide(desire(), observe(*ALL))
    assert sets.serving == (GOOD, SICK, BEFORE, GONE)
    assert sets.idle == (DEAD, LEFT, WAITING, ELSEWHERE)
    assert (sets.good, sets.dead, sets.waiting) == ((GOOD,), (DEAD,), (WAITING,))


def test_only_blue_green_has_warm_instances():
    old, new = instance("web1", OLD, published=False), instance("web1", NEW, 101, published=False)
    there = replace(observe(old, new), warm=frozenset((i.node, i.id) for i in (old, new)))
    assert divide(desire(), there).warm == ()
    sets = divide(replace(desire(), app=make_app(type="blue_green")), there)
    assert (sets.warm, sets.reusable) == ((old, new), (new,))


def test_a_deployment_keeps_good_instances_and_retires_the_others_that_serve():
    made = compare(desire(), observe(*ALL))
    assert (made.kept, made.missing) == ((GOOD,), 2)
    assert made.old == made.retired == (SICK, BEFORE, GONE)
    assert made.leftovers == (DEAD, LEFT, WAITING, ELSEWHERE)


def test_with_keep_only_instances_of_the_release_are_replaced():
    made = compare(desire(keep=True), observe(*ALL))
    assert made.old == (SICK, BEFORE, GONE) and made.retired == (SICK,)
    assert BEFORE not in made.before


def test_without_publication_candidates_are_kept_and_nothing_is_retired():
    made = compare(desire(publish=False), observe(*ALL))
    assert (made.kept, made.missing, made.retired) == ((WAITING,), 2, ())


def test_after_a_pause_candidates_are_kept_too():
    assert compare(desire(adopt=True), observe(*ALL)).kept == (GOOD, WAITING)
