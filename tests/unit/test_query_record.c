#include "nodedot/observe/query_record.h"

#include "nodedot/observe/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char line[LOG_LINE + 1];

static struct query_record make_record(const char *client, const char *name)
{
    struct query_record record = {.wall_ns = 1769860800123456789u, /* 2026-01-31T12:00:00.123Z */
                                  .duration_us = 8123,
                                  .udp = true,
                                  .flags = MESSAGE_RD,
                                  .source = QUERY_FROM_CACHE,
                                  .answer_octets = 56};
    struct name qname;

    assert_true(endpoint_parse(client, 53, &record.client));
    assert_true(name_from_text(name, &qname));
    memcpy(record.question, qname.bytes, qname.length);
    wire_put_u16(record.question + qname.length, TYPE_A);
    wire_put_u16(record.question + qname.length + 2, CLASS_IN);
    record.question_octets = (uint16_t)(qname.length + 4);
    return record;
}

static void assert_line(const struct query_record *record, const char *expected)
{
    line[query_record_line(record, line)] = '\0';
    assert_string_equal(line, expected);
}

static void a_line_tells_the_query_and_where_its_answer_came_from(void **state)
{
    struct query_record record = make_record("10.0.3.7:41234", "example.com");

    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_line(&record, "2026-01-31T12:00:00.123Z level=info msg=\"query\" client=10.0.3.7:41234 transport=udp "
                         "name=example.com type=A flags=rd from=cache rcode=NOERROR size=56 duration_us=8123\n");
}

static void an_upstream_is_told_with_its_address(void **state)
{
    struct query_record record = make_record("[fd00::7]:41234", "example.com");

    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    record.source = QUERY_FROM_UPSTREAM;
    record.upstream = "quad9";
    record.udp = false;
    record.dnssec_ok = true;
    record.truncated = true;
    record.rcode = 16;
    record.flags = MESSAGE_RD | MESSAGE_AD | MESSAGE_CD;
    assert_true(endpoint_parse("9.9.9.9:853", 0, &record.server));
    assert_true(endpoint_parse("[fd00::10]:53", 0, &record.local));
    assert_line(&record, "{\"time\":\"2026-01-31T12:00:00.123Z\",\"level\":\"info\",\"msg\":\"query\","
                         "\"client\":\"[fd00::7]:41234\",\"local\":\"[fd00::10]:53\",\"transport\":\"tcp\","
                         "\"name\":\"example.com\",\"type\":\"A\",\"flags\":\"rd,ad,cd,do\",\"from\":\"upstream\","
                         "\"rcode\":\"BADVERS\",\"size\":56,\"truncated\":\"yes\",\"duration_us\":8123,"
                         "\"upstream\":\"quad9\",\"server\":\"9.9.9.9:853\"}\n");
}

static void a_dropped_query_has_a_cause_and_no_rcode(void **state)
{
    struct query_record record = make_record("10.0.3.7:41234", "example.com");

    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    record.source = QUERY_DROPPED_ACL;
    record.question_octets = 0;
    record.flags = 0;
    assert_line(&record, "2026-01-31T12:00:00.123Z level=info msg=\"query\" client=10.0.3.7:41234 transport=udp "
                         "flags=\"\" dropped=acl duration_us=8123\n");
}

static void every_source_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (enum query_source i = QUERY_FROM_CACHE; i <= QUERY_DROPPED_GONE; i++) {
        assert_non_null(query_source_name(i));
        for (enum query_source j = QUERY_FROM_CACHE; j < i; j++)
            assert_string_not_equal(query_source_name(i), query_source_name(j));
    }
}

static void a_name_can_forge_nothing(void **state)
{
    struct query_record record = make_record("10.0.3.7:41234", "a\\\" from=x\\010\\255.test");

    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    line[query_record_line(&record, line)] = '\0';
    assert_non_null(strstr(line, " name=\"a\\\\\\\"\\\\032from=x\\\\010\\\\255.test\" type=A "));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

/* 254 octets that each take "\\255" and one more to escape the backslash. */
static void the_longest_name_leaves_room_for_everything(void **state)
{
    struct query_record record = make_record("10.0.3.7:41234", "x");
    static const uint8_t sizes[] = {63, 63, 63, 61};
    uint8_t *at = record.question;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes); i++) {
        *at = sizes[i];
        memset(at + 1, 0xff, sizes[i]);
        at += 1 + sizes[i];
    }
    memset(at, 0, 5);
    record.question_octets = QUESTION_MAX_OCTETS;
    assert_int_equal(at + 5 - record.question, QUESTION_MAX_OCTETS);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    line[query_record_line(&record, line)] = '\0';
    assert_non_null(strstr(line, "\\\\255\",\"type\":\"TYPE0\",\"class\":\"CLASS0\","));
    assert_non_null(strstr(line, "\"duration_us\":8123}\n"));
}

static void assert_masked(const char *client, const char *expected)
{
    struct query_record record = make_record(client, "x");

    query_record_mask(&record);
    line[query_record_line(&record, line)] = '\0';
    assert_non_null(strstr(line, expected));
}

static void a_masked_client_is_its_network(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_masked("10.1.2.3:4000", " client=10.1.2.0/24 ");
    assert_masked("[2001:db8:1:2:3:4:5:6]:4000", " client=2001:db8:1::/48 ");
    assert_masked("[::ffff:10.1.2.3]:4000", " client=::ffff:10.1.2.0/120 ");
}

static void a_record_takes_no_more_than_its_question(void **state)
{
    struct query_record record = make_record("10.1.2.3:4000", "x");

    (void)state;
    assert_int_equal(query_record_size(&record), offsetof(struct query_record, question) + 7);
    assert_true(query_record_size(&record) < 256); /* query_ring.h counts on it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_tells_the_query_and_where_its_answer_came_from),
        cmocka_unit_test(an_upstream_is_told_with_its_address),
        cmocka_unit_test(a_dropped_query_has_a_cause_and_no_rcode),
        cmocka_unit_test(every_source_has_a_name_of_its_own),
        cmocka_unit_test(a_name_can_forge_nothing),
        cmocka_unit_test(the_longest_name_leaves_room_for_everything),
        cmocka_unit_test(a_masked_client_is_its_network),
        cmocka_unit_test(a_record_takes_no_more_than_its_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
