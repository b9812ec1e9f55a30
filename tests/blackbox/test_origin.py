"""What is in the cache holds as long as the configuration would still take it from the same place."""

import pytest

from harness import behaviours, client, wire
from harness.waiting import wait_until
from test_processes import reloaded, right
from test_resilience import die, fall_back


def reload(program, **sections):
    """Merges the sections into the configuration (None takes one away), and waits for the generation that has it."""
    config = {name: dict(keys) for name, keys in program.config.items()}
    for name, keys in sections.items():
        if keys is None:
            del config[name]
        else:
            config[name] = {**config.get(name, {}), **keys}
    before = program.resolver()
    program.write_config(config)
    reloaded(program, before)
    program.wait_ready()


def asked(server, name):
    return len(server.asked(name))


def test_a_zone_sent_to_another_upstream_takes_no_answer_of_the_old_one(start, upstream, make_upstream):
    other = make_upstream()
    program = start(upstream, sections={"upstream other": other.options("plain")})
    assert right(program.ask("a.test"), "a.test")
    other.behave("a.test", behaviours.addresses(1))
    reload(program, **{"zone .": {"upstream": "other"}})
    assert client.addresses(program.ask("a.test")) == ["10.0.0.0"]


def test_answers_of_other_zones_stay(start, upstream, make_upstream):
    other = make_upstream()
    program = start(upstream, sections={"upstream other": other.options("plain")})
    for name in ("a.stays.test", "a.new.test"):
        program.ask(name)
    reload(program, **{"zone new.test": {"upstream": "other"}})
    for name in ("a.stays.test", "a.new.test"):
        program.ask(name)
    assert asked(upstream, "a.stays.test") == 1 and not other.asked("a.stays.test")
    assert asked(upstream, "a.new.test") == 1 and asked(other, "a.new.test") == 1


def test_a_zone_taken_away_takes_its_answers_along(start, upstream, make_upstream):
    other = make_upstream()
    program = start(
        upstream, sections={"upstream other": other.options("plain"), "zone inner.test": {"upstream": "other"}}
    )
    program.ask("a.inner.test")
    reload(program, **{"zone inner.test": None})
    program.ask("a.inner.test")
    assert asked(other, "a.inner.test") == asked(upstream, "a.inner.test") == 1


def test_a_name_that_no_zone_covers_any_more_is_refused_from_the_cache_too(start, upstream):
    program = start(upstream)
    program.ask("a.test")
    reload(program, **{"zone .": None, "zone other.test": {"upstream": "up"}})
    assert program.ask("a.test").rcode() == wire.REFUSED


@pytest.mark.parametrize(
    "section, keys",
    [
        ("cache", {"max-ttl": 60}),
        ("cache", {"min-ttl": 400}),
        ("cache", {"stale-max": 0}),
        ("cache", {"negative-max-ttl": 5}),
        ("zone .", {"stale-max": 0}),
        ("zone .", {"negative-max-ttl": 5}),
        ("upstream up", {"pin-mode": "report", "auth": "pin+ca"}),
        ("upstream up", {"auth": "pin+ca"}),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_other_limits_or_another_proof_make_a_miss(start, upstream, authority, section, keys):
    program = start(upstream)
    program.ask("a.test")
    if "auth" in keys:
        keys = {**keys, "ca-file": authority.file}
    config = {**program.config, section: {**program.config[section], **keys}}
    before = program.resolver()
    program.write_config(config)
    reloaded(program, before)
    program.ask("a.test")
    assert asked(upstream, "a.test") == 2


def test_other_contents_of_the_ca_file_make_a_miss(start, upstream, authority, tmp_path):
    anchors = tmp_path / "ca.pem"
    anchors.write_bytes(authority.file.read_bytes())
    program = start(upstream, auth="ca", up={"ca-file": anchors})
    program.ask("a.test")
    before = program.resolver()
    anchors.write_bytes(authority.file.read_bytes() + b"\n# the same, in other words\n")
    reloaded(program, before)
    program.ask("a.test")
    assert asked(upstream, "a.test") == 2


@pytest.mark.parametrize(
    "section, keys",
    [("limits", {"timeout": 3000}), ("upstream up", {"policy": "ordered"}), ("cache", {"prefetch": "no"})],
    ids=["limits", "policy", "prefetch"],
)
def test_what_says_nothing_of_an_answer_keeps_the_cache_warm(start, upstream, section, keys):
    program = start(upstream)
    program.ask("a.test")
    reload(program, **{section: keys})
    program.ask("a.test")
    assert asked(upstream, "a.test") == 1


def test_the_order_of_addresses_and_pins_does_not_matter(start, upstream, make_upstream):
    other = make_upstream()
    program = start(upstream, other)
    program.ask("a.test")
    up = program.config["upstream up"]
    reload(program, **{"upstream up": {"address": up["address"][::-1], "pin": up["pin"][::-1]}})
    program.ask("a.test")
    assert asked(upstream, "a.test") + asked(other, "a.test") == 1


def test_a_lower_stale_max_holds_for_what_is_stored_already(start, upstream):
    upstream.behave("old.test", behaviours.proper(ttl=1))
    program = start(upstream)
    program.ask("old.test")
    reload(program, **{"cache": {"stale-max": 0}})
    upstream.behave("old.test", behaviours.failure(wire.SERVFAIL))
    wait_until(lambda: program.ask("old.test").rcode() == wire.SERVFAIL, 5, "the stale answer to be given no more")


def test_answers_of_a_plain_fallback_do_not_outlive_it(start, upstream, make_upstream):
    other = make_upstream()
    program = fall_back(start, upstream, other, other_auth="plain")
    assert right(program.ask("before.test"), "before.test")
    die(upstream)
    for _ in range(2):
        assert right(program.ask("during.test"), "during.test")
        assert right(program.ask("before.test"), "before.test")
    assert asked(other, "during.test") == 1, "it is good while the fallback serves"
    assert asked(upstream, "before.test") == 1 and not other.asked("before.test"), "so is what was proved"
    upstream.listen_again()
    program.wait_log("fallback no longer used", 20)
    for _ in range(2):
        assert right(program.ask("during.test"), "during.test")
        assert right(program.ask("before.test"), "before.test")
    assert asked(upstream, "during.test") == 1 and asked(other, "during.test") == 1
    assert asked(upstream, "before.test") == 1


def test_answers_of_a_fallback_that_proves_itself_stay(start, upstream, make_upstream):
    other = make_upstream()
    program = fall_back(start, upstream, other)
    die(upstream)
    assert right(program.ask("during.test"), "during.test")
    upstream.listen_again()
    program.wait_log("fallback no longer used", 20)
    assert right(program.ask("during.test"), "during.test")
    assert not upstream.asked("during.test") and asked(other, "during.test") == 1


def test_ds_at_a_zones_apex_is_asked_of_the_zone_above(start, upstream, make_upstream):
    other = make_upstream()
    program = start(
        upstream, sections={"upstream other": other.options("plain"), "zone inner.test": {"upstream": "other"}}
    )
    program.ask("inner.test", "DS")
    program.ask("inner.test", "A")
    program.ask("sub.inner.test", "DS")
    assert [asked(upstream, name) for name in ("inner.test", "sub.inner.test")] == [1, 0]
    assert [asked(other, name) for name in ("inner.test", "sub.inner.test")] == [1, 1]
