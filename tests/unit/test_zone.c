#include "nodedot/forward/zone.h"

#include "nodedot/dns/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config config;
static struct zone_table table;

static struct name name_of(const char *text)
{
    struct name name;

    if (!name_from_text(text, &name))
        fail_msg("not a name: %s", text);
    return name;
}

/* Configures these zones; a NULL ends the list. */
static void configure(const char *const *zones)
{
    memset(&config, 0, sizeof(config));
    for (; *zones != NULL; zones++)
        config.zones[config.zone_count++].name = name_of(*zones);
    zone_table_init(&table, &config);
}

static void assert_zone(const char *text, const char *expected)
{
    struct name name = name_of(text);
    const struct zone_config *zone = zone_find(&table, &name);
    char found[NAME_TEXT];

    assert_string_equal(zone != NULL ? name_to_text(&zone->name, found) : "none", expected);
}

static void the_longest_suffix_wins_whatever_the_order(void **state)
{
    static const char *const orders[][6] = {{".", "local", "cluster.local", "svc.cluster.local", NULL},
                                            {"svc.cluster.local", "cluster.local", "local", ".", NULL},
                                            {"cluster.local", ".", "svc.cluster.local", "local", NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        configure(orders[i]);
        assert_zone("a.b.svc.cluster.local", "svc.cluster.local");
        assert_zone("svc.cluster.local", "svc.cluster.local");
        assert_zone("pod.cluster.local", "cluster.local");
        assert_zone("cluster.local", "cluster.local");
        assert_zone("printer.local", "local");
        assert_zone("local", "local");
        assert_zone("www.example.com", ".");
        assert_zone(".", ".");
    }
}

static void labels_are_compared_whole(void **state)
{
    static const char *const zones[] = {"example.com", "b.c", NULL};

    (void)state;
    configure(zones);
    assert_zone("notexample.com", "none");
    assert_zone("xample.com", "none");
    assert_zone("example.co", "none");
    assert_zone("example.com.org", "none");
    assert_zone("a\\.b.c", "none"); /* one label of three octets, and c */
    assert_zone("a.b.c", "b.c");
    assert_zone("example\\.com", "none");
}

static void octets_inside_a_label_do_not_look_like_a_zone(void **state)
{
    static const char *const zones[] = {"com", NULL};

    (void)state;
    configure(zones);
    assert_zone("x\\003com", "none"); /* holds the wire form of the zone */
    assert_zone("x\\003com.com", "com");
}

static void without_a_root_zone_a_name_may_belong_nowhere(void **state)
{
    static const char *const zones[] = {"cluster.local", NULL};

    (void)state;
    configure(zones);
    assert_zone("example.com", "none");
    assert_zone("local", "none");
    assert_zone(".", "none");
    assert_zone("x.cluster.local", "cluster.local");
}

static void without_zones_nothing_is_found(void **state)
{
    static const char *const zones[] = {NULL};

    (void)state;
    configure(zones);
    assert_zone("example.com", "none");
    assert_zone(".", "none");
}

static void the_longest_name_is_looked_up_to_its_last_label(void **state)
{
    static const char *const zones[] = {"z", NULL};
    char text[256];

    (void)state;
    configure(zones);
    for (size_t i = 0; i < 2 * NAME_MAX_LABELS; i++)
        text[i] = i % 2 == 0 ? 'a' : '.';
    text[2 * NAME_MAX_LABELS - 2] = 'z';
    text[2 * NAME_MAX_LABELS - 1] = '\0';
    assert_zone(text, "z");
    text[2 * NAME_MAX_LABELS - 2] = 'y';
    assert_zone(text, "none");
}

/* Every zone that may be configured, under several keys of the hash, against the obvious way to do it. */
static void a_full_table_agrees_with_a_search_through_all_zones(void **state)
{
    (void)state;
    memset(&config, 0, sizeof(config));
    for (size_t i = 0; i < CONFIG_ZONES; i++) {
        char text[64];

        snprintf(text, sizeof(text), i % 2 == 0 ? "z%zu.test" : "b.z%zu.test", i % 2 == 0 ? i : i - 1);
        config.zones[config.zone_count++].name = name_of(text);
    }
    for (int key = 0; key < 20; key++) {
        zone_table_init(&table, &config);
        for (size_t i = 0; i < 2 * CONFIG_ZONES; i++) {
            const struct zone_config *expected = NULL;
            char text[64];

            snprintf(text, sizeof(text), "%s.z%zu.test", i % 3 == 0 ? "a.b" : "c", i);
            struct name name = name_of(text);
            for (size_t z = 0; z < config.zone_count; z++)
                if (name_in_zone(&name, &config.zones[z].name) &&
                    (expected == NULL || config.zones[z].name.length > expected->name.length))
                    expected = &config.zones[z];
            assert_ptr_equal(zone_find(&table, &name), expected);
        }
    }
}

static void assert_zone_of(const char *text, uint16_t qtype, const char *expected)
{
    struct question question = {.qname = name_of(text), .qtype = qtype, .qclass = CLASS_IN};
    const struct zone_config *zone = zone_of_question(&table, &question);
    char found[NAME_TEXT];

    assert_string_equal(zone != NULL ? name_to_text(&zone->name, found) : "none", expected);
}

static void a_ds_at_a_zones_apex_belongs_to_the_zone_above(void **state)
{
    static const char *const zones[] = {".", "example.com", "sub.example.com", NULL};
    static const char *const alone[] = {"example.com", NULL};

    (void)state;
    configure(zones);
    assert_zone_of("sub.example.com", TYPE_DS, "example.com");
    assert_zone_of("example.com", TYPE_DS, ".");
    assert_zone_of("example.com", TYPE_A, "example.com");
    assert_zone_of("www.sub.example.com", TYPE_DS, "sub.example.com");
    assert_zone_of("com", TYPE_DS, ".");
    assert_zone_of(".", TYPE_DS, ".");
    configure(alone);
    assert_zone_of("example.com", TYPE_DS, "example.com"); /* nobody else can be asked */
    assert_zone_of("com", TYPE_DS, "none");
    assert_zone_of(".", TYPE_DS, "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_suffix_wins_whatever_the_order),
        cmocka_unit_test(labels_are_compared_whole),
        cmocka_unit_test(octets_inside_a_label_do_not_look_like_a_zone),
        cmocka_unit_test(without_a_root_zone_a_name_may_belong_nowhere),
        cmocka_unit_test(without_zones_nothing_is_found),
        cmocka_unit_test(the_longest_name_is_looked_up_to_its_last_label),
        cmocka_unit_test(a_full_table_agrees_with_a_search_through_all_zones),
        cmocka_unit_test(a_ds_at_a_zones_apex_belongs_to_the_zone_above),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
