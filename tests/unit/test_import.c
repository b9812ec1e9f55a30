#include "nodedot/config/import.h"

#include "nodedot/config/corefile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What is printed for a text; the caller frees it. */
static char *imported(const char *text, bool *all)
{
    static struct import import;
    char *copy = strdup(text), *out = NULL;
    size_t size;
    FILE *file = open_memstream(&out, &size);

    assert_non_null(copy);
    assert_non_null(file);
    *all = import_print_text(&import, copy, file);
    fclose(file);
    free(copy);
    return out;
}

/* Is text imported as something that holds all of the parts? all: with nothing left out. */
static void check_text(const char *text, bool all, const char *const *parts)
{
    bool whole;
    char *out = imported(text, &whole);

    for (; *parts != NULL; parts++)
        if (strstr(out, *parts) == NULL)
            fail_msg("'%s' is not in:\n%s", *parts, out);
    if (whole != all)
        fail_msg("%s:\n%s", whole ? "nothing was left out" : "something was left out", out);
    free(out);
}

#define CHECK(all, text, ...) check_text(text, all, (const char *const[]){__VA_ARGS__, NULL})

static void lines_of_a_corefile_have_words_and_depth(void **state)
{
    char text[] = "a b { # comment\n\n\t\"c d\" \"e\\\"f\" g\n  h {\n    i\n  }\n}\nj";
    struct corefile reader = corefile_of(text);
    struct corefile_line line;
    static const struct {
        unsigned number, depth;
        size_t count;
        const char *last;
    } expected[] = {{1, 0, 2, "b"}, {3, 1, 3, "g"}, {4, 1, 1, "h"}, {5, 2, 1, "i"},
                    {6, 1, 0, ""},  {7, 0, 0, ""},  {8, 0, 1, "j"}};

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(corefile_next(&reader, &line));
        assert_int_equal(line.number, expected[i].number);
        assert_int_equal(line.count, i == 0 ? 2 : expected[i].count);
        assert_int_equal(line.depth, expected[i].depth);
        if (line.count > 0)
            assert_string_equal(line.words[line.count - 1], expected[i].last);
        if (i == 1)
            assert_string_equal(line.words[1], "e\"f");
    }
    assert_false(corefile_next(&reader, &line));
}

static void a_server_block_becomes_upstream_and_zones(void **state)
{
    (void)state;
    CHECK(true,
          "a.test:53, b.test {\n bind 169.254.20.10\n forward . 192.0.2.1 [2001:db8::1]:5353 {\n force_tcp\n}\n}\n",
          "[server]\nlisten = 169.254.20.10:53\n",
          "[upstream up1]\naddress = 192.0.2.1:53, [2001:db8::1]:5353\ntransport = plain\nforce-tcp = yes\n",
          "[zone a.test]\nupstream = up1\n", "[zone b.test]\nupstream = up1\n");
    CHECK(true, ".:5300 {\n bind ::1\n forward inner.test 192.0.2.1\n}\n", "listen = [::1]:5300\n",
          "[zone inner.test]\nupstream = up1\n");
    CHECK(true, "a.test,\nb.test {\n bind ::1\n forward . 192.0.2.1\n}\n", "[zone a.test]\n", "[zone b.test]\n");
}

static void tls_becomes_an_upstream_that_proves_itself(void **state)
{
    (void)state;
    CHECK(true,
          ". {\n bind ::1\n forward . tls://9.9.9.9 tls://149.112.112.112 {\n tls_servername dns.quad9.net\n"
          " tls /a/crt /a/key /a/ca\n policy sequential\n }\n}\n",
          "address = 9.9.9.9:853, 149.112.112.112:853\npolicy = ordered\nname = dns.quad9.net\nca-file = /a/ca\n"
          "client-cert = /a/crt\nclient-key = /a/key\n");
    CHECK(true, ". {\n bind ::1\n forward . tls://9.9.9.9%dns.quad9.net {\n tls\n }\n}\n", "name = dns.quad9.net\n");
    CHECK(false, ". {\n bind ::1\n forward . tls://9.9.9.9 192.0.2.1\n}\n",
          "; line 3: 192.0.2.1: an upstream is asked over TLS at all of its addresses or at none\n");
}

static void limits_of_the_cache_become_those_of_cache_and_zone(void **state)
{
    (void)state;
    CHECK(true,
          ". {\n bind ::1\n cache {\n success 9984 30\n denial 9984 5\n serve_stale 2h\n }\n forward . 192.0.2.1\n}\n",
          "[cache]\nmax-ttl = 30\n", "negative-max-ttl = 5\nstale-max = 7200\n");
    CHECK(true, ". {\n bind ::1\n cache 5m\n forward . 192.0.2.1\n}\n", "max-ttl = 300\n", "negative-max-ttl = 300\n");
}

static void ports_and_log_are_taken_over(void **state)
{
    (void)state;
    CHECK(true,
          ". {\n bind ::1\n errors\n log\n prometheus :9253\n health 127.0.0.1:8080\n ready\n reload\n loop\n"
          " forward . 192.0.2.1\n}\n",
          "[metrics]\nlisten = 0.0.0.0:9253\n", "liveness-port = 8080\nreadiness-port = 8181\n",
          "[log]\nqueries = yes\n", "; Needs no word here:\n; line 3: errors: ");
}

static void what_cannot_be_said_is_told_with_its_line_and_reason(void **state)
{
    static const char *const lines[] = {"template IN AAAA {\n rcode NOERROR\n}",
                                        "hosts {\n 192.0.2.1 a.test\n fallthrough\n}",
                                        "kubernetes cluster.local",
                                        "rewrite name a b",
                                        "nonsense",
                                        "forward . /etc/resolv.conf",
                                        "forward . __PILLAR__CLUSTER__DNS__",
                                        "forward .",
                                        "forward . https://9.9.9.9",
                                        "bind eth0",
                                        "cache {\n disable success\n}",
                                        "loadbalance",
                                        "import snippet"};

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), ". {\n bind ::1\n%s\n}\n", lines[i]);
        CHECK(false, text, "\n; Not said above:\n; line ");
    }
    CHECK(false, ". {\n forward . 192.0.2.1\n}\n", "; line 1: no bind: ");
    CHECK(false, "10.0.0.0/8 {\n bind ::1\n forward . 192.0.2.1\n}\n", "; line 1: 10.0.0.0/8: is no zone");
    CHECK(false, ". {\n bind ::1\n forward . 192.0.2.1\n}\n. {\n bind ::1\n forward . 192.0.2.2\n}\n",
          "; line 5: zone . stands twice");
}

static void the_config_map_of_kube_dns_is_read(void **state)
{
    (void)state;
    CHECK(true,
          "data:\n  stubDomains: |\n    {\"acme.local\": [\"192.0.2.1\", \"192.0.2.2:54\"], \"b.test\": "
          "[\"192.0.2.3\"]}\n"
          "  upstreamNameservers: |\n    [\"192.0.2.4\"]\n",
          "address = 192.0.2.1:53, 192.0.2.2:54\ntransport = plain\n", "[zone acme.local]\nupstream = up1\n",
          "[zone b.test]\nupstream = up2\n", "[zone .]\nupstream = up3\n");
}

static void a_config_map_may_hold_a_corefile_and_lines_keep_their_numbers(void **state)
{
    (void)state;
    CHECK(false,
          "kind: ConfigMap\ndata:\n  Corefile: |\n    . {\n        bind ::1\n        nonsense\n    }\n  other: |\n    "
          "a {\n",
          "listen = [::1]:53\n", "; line 6: nonsense: there is nothing like it\n");
}

static void a_resolv_conf_becomes_one_plain_upstream(void **state)
{
    (void)state;
    CHECK(true, "# comment\nnameserver 192.0.2.1\nsearch a.test\nnameserver 2001:db8::1\noptions ndots:5\n",
          "address = 192.0.2.1:53, [2001:db8::1]:53\ntransport = plain\n", "[zone .]\nupstream = up1\n",
          "; line 3: search: ");
    CHECK(false, "nameserver localhost\n", "; line 1: localhost: is no address\n");
}

static void control_characters_do_not_get_out(void **state)
{
    bool all;
    char *out = imported(". {\n bind ::1\n no\x1b[31m\"nse\nnse\"\n}\n", &all);

    (void)state;
    assert_null(strchr(out, '\x1b'));
    free(out);
}

static void too_much_is_bounded_and_told(void **state)
{
    size_t size = 64 * 1024;
    char *text = malloc(size);
    size_t at = (size_t)sprintf(text, ". {\n bind ::1\n");

    (void)state;
    assert_non_null(text);
    while (at < size - 64)
        at += (size_t)sprintf(text + at, "what\nforward a%zu.test 192.0.2.1\n", at);
    snprintf(text + at, size - at, "}\n");
    CHECK(false, text, "there are too many upstreams", "; and ");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_corefile_have_words_and_depth),
        cmocka_unit_test(a_server_block_becomes_upstream_and_zones),
        cmocka_unit_test(tls_becomes_an_upstream_that_proves_itself),
        cmocka_unit_test(limits_of_the_cache_become_those_of_cache_and_zone),
        cmocka_unit_test(ports_and_log_are_taken_over),
        cmocka_unit_test(what_cannot_be_said_is_told_with_its_line_and_reason),
        cmocka_unit_test(the_config_map_of_kube_dns_is_read),
        cmocka_unit_test(a_config_map_may_hold_a_corefile_and_lines_keep_their_numbers),
        cmocka_unit_test(a_resolv_conf_becomes_one_plain_upstream),
        cmocka_unit_test(control_characters_do_not_get_out),
        cmocka_unit_test(too_much_is_bounded_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
