/* The payloads, octet by octet; that others read them is for the black-box tests. */
#include "nodedot/observe/dnstap.h"

#include "nodedot/config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t buffer[DNSTAP_MAX];
static uint8_t answer[MESSAGE_MAX_OCTETS];

static struct query_record make_record(void)
{
    struct query_record record = {.wall_ns = 300 * UINT64_C(1000000000) + 5,
                                  .duration_us = 1000000,
                                  .udp = true,
                                  .id = 0x4711,
                                  .flags = MESSAGE_RD,
                                  .question_octets = 5,
                                  .question = {0, 0, TYPE_NS, 0, CLASS_IN},
                                  .answer_octets = 4};

    assert_true(endpoint_parse("192.0.2.1:1025", 0, &record.client));
    assert_true(endpoint_parse("192.0.2.2:53", 0, &record.local));
    memcpy(answer, "\1\2\3\4", 4);
    return record;
}

/* The octets behind the version, which is that of the build. */
static const uint8_t *behind_version(const uint8_t *payload, size_t *size)
{
    size_t version = payload[1];

    assert_int_equal(payload[0], 2 << 3 | 2);
    assert_memory_equal(payload + 2, "nodedot ", 8);
    assert_in_range(version, 9, 100);
    *size -= 2 + version;
    return payload + 2 + version;
}

static void assert_payload(const struct query_record *record, const void *expected, size_t expected_size)
{
    size_t size;
    const uint8_t *payload = dnstap_encode(buffer, record, answer, "", &size);

    payload = behind_version(payload, &size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(payload, expected, size);
}

static void an_answer_is_a_client_response(void **state)
{
    struct query_record record = make_record();
    static const char expected[] = "\x1a\x0a"
                                   "from=cache" /* extra */
                                   "\x78\x01"   /* type: MESSAGE */
                                   "\x72\x2d"   /* message, of 45 octets: */
                                   "\x08\x06"   /* CLIENT_RESPONSE */
                                   "\x10\x01"   /* INET */
                                   "\x18\x01"   /* UDP */
                                   "\x22\x04\xc0\x00\x02\x01"
                                   "\x2a\x04\xc0\x00\x02\x02"
                                   "\x30\x81\x08" /* port 1025 */
                                   "\x38\x35"
                                   "\x40\xac\x02" /* 300 s */
                                   "\x4d\x05\x00\x00\x00"
                                   "\x60\xad\x02" /* a second later */
                                   "\x6d\x05\x00\x00\x00"
                                   "\x72\x04\x01\x02\x03\x04";

    (void)state;
    assert_payload(&record, expected, sizeof(expected) - 1);
}

static void a_dropped_query_is_a_client_query_with_header_and_question(void **state)
{
    struct query_record record = make_record();
    static const char expected[] = "\x1a\x0b"
                                   "dropped=acl"
                                   "\x78\x01"
                                   "\x72\x33"
                                   "\x08\x05" /* CLIENT_QUERY */
                                   "\x10\x02" /* INET6 */
                                   "\x18\x02" /* TCP */
                                   "\x22\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
                                   "\x40\xac\x02"
                                   "\x4d\x05\x00\x00\x00"
                                   "\x52\x11\x47\x11\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

    (void)state;
    assert_true(endpoint_parse("[2001:db8::9]:1025", 0, &record.client));
    record.local.size = 0;
    record.udp = false;
    record.source = QUERY_DROPPED_ACL;
    query_record_mask(&record); /* no port */
    assert_payload(&record, expected, sizeof(expected) - 1);
}

static void the_node_is_the_identity(void **state)
{
    struct query_record record = make_record();
    size_t size;
    const uint8_t *payload = dnstap_encode(buffer, &record, answer, "worker-1", &size);

    (void)state;
    assert_memory_equal(payload,
                        "\x0a\x08"
                        "worker-1\x12",
                        11);
}

static void the_largest_payload_fits(void **state)
{
    struct query_record record = make_record();
    char identity[256];
    char upstream[CONFIG_NAME];
    size_t size;

    (void)state;
    memset(identity, 'i', 255);
    identity[255] = '\0';
    memset(upstream, 'u', sizeof(upstream) - 1);
    upstream[sizeof(upstream) - 1] = '\0';
    record.answer_octets = MESSAGE_MAX_OCTETS;
    record.source = QUERY_FROM_UPSTREAM;
    record.upstream = upstream;
    record.wall_ns = UINT64_MAX - 1000000000;
    assert_true(endpoint_parse("[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535", 0, &record.server));
    answer[MESSAGE_MAX_OCTETS - 1] = 0xee;
    const uint8_t *payload = dnstap_encode(buffer, &record, answer, identity, &size);
    assert_true(payload >= buffer && payload + size <= buffer + sizeof(buffer));
    assert_int_equal(payload[size - 1], 0xee);
    assert_true(size > MESSAGE_MAX_OCTETS + 255 + 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_a_client_response),
        cmocka_unit_test(a_dropped_query_is_a_client_query_with_header_and_question),
        cmocka_unit_test(the_node_is_the_identity),
        cmocka_unit_test(the_largest_payload_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
