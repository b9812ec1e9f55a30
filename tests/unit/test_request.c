#include "nodedot/observe/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOST "Host: node\r\n"

static struct request request;

static bool parse(const char *text)
{
    return request_parse(text, strlen(text), &request);
}

static enum request_status status_of(const char *text)
{
    assert_true(parse(text));
    return request.status;
}

static void the_three_paths_are_known(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\n" HOST "\r\n"), REQUEST_OK);
    assert_int_equal(request.path, REQUEST_METRICS);
    assert_false(request.head);
    assert_int_equal(status_of("GET /healthz HTTP/1.1\r\n" HOST "\r\n"), REQUEST_OK);
    assert_int_equal(request.path, REQUEST_HEALTHZ);
    assert_int_equal(status_of("HEAD /readyz HTTP/1.1\r\n" HOST "\r\n"), REQUEST_OK);
    assert_int_equal(request.path, REQUEST_READYZ);
    assert_true(request.head);
}

static void a_query_string_and_an_absolute_target_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET /metrics?a=b&c HTTP/1.1\r\n" HOST "\r\n"), REQUEST_OK);
    assert_int_equal(status_of("GET /metrics? HTTP/1.1\r\n" HOST "\r\n"), REQUEST_OK);
    assert_int_equal(status_of("GET http://node:9553/metrics HTTP/1.1\r\n" HOST "\r\n"), REQUEST_OK);
    assert_int_equal(request.path, REQUEST_METRICS);
    assert_int_equal(status_of("GET http://node:9553 HTTP/1.1\r\n" HOST "\r\n"), REQUEST_NOT_FOUND);
    assert_int_equal(status_of("GET http:// HTTP/1.1\r\n" HOST "\r\n"), REQUEST_NOT_FOUND);
}

static void every_other_path_is_not_found(void **state)
{
    static const char *const paths[] = {
        "/",           "*",          "metrics",     "/Metrics",     "/metrics/",        "/metricsx", "/metric",
        "//metrics",   "/./metrics", "/../metrics", "/%6detrics",   "/metrics%00",      "/metrics#", "/etc/passwd",
        "/../../etc/", "?/metrics",  "/?/metrics",  "/metrics;a=b", "/healthz/metrics",
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        assert_int_equal(status_of(text), REQUEST_NOT_FOUND);
        assert_true(request.keep_alive);
    }
}

static void every_other_method_is_refused(void **state)
{
    static const char *const methods[] = {"POST", "PUT",     "DELETE", "OPTIONS", "CONNECT", "TRACE",
                                          "get",  "GETTING", "GE",     "HEADS",   "PRI",     "!#$%&'*+-.^_`|~"};
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        snprintf(text, sizeof text, "%s /metrics HTTP/1.1\r\n" HOST "\r\n", methods[i]);
        assert_int_equal(status_of(text), REQUEST_BAD_METHOD);
    }
}

static void a_request_line_that_is_none_is_bad(void **state)
{
    static const char *const lines[] = {
        "GET",
        "GET ",
        "GET /metrics",
        "GET /metrics ",
        "GET  /metrics HTTP/1.1",
        " GET /metrics HTTP/1.1",
        "GET /metrics  HTTP/1.1",
        "GET /metrics HTTP/1.1 ",
        "GET /metrics HTTP/11",
        "GET /metrics http/1.1",
        "GET /metrics HTTP/1.",
        "G\xc3\x84T /metrics HTTP/1.1",
        "GET\t/metrics HTTP/1.1",
        "(GET) /metrics HTTP/1.1",
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        snprintf(text, sizeof text, "%s\r\n" HOST "\r\n", lines[i]);
        assert_int_equal(status_of(text), REQUEST_BAD);
        assert_false(request.keep_alive);
    }
}

static void another_version_is_refused(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET /metrics HTTP/2.0\r\n" HOST "\r\n"), REQUEST_BAD_VERSION);
    assert_int_equal(status_of("GET /metrics HTTP/0.9\r\n" HOST "\r\n"), REQUEST_BAD_VERSION);
    assert_int_equal(status_of("GET /metrics HTTP/1.2\r\n" HOST "\r\n"), REQUEST_BAD_VERSION);
    assert_false(request.keep_alive);
}

static void control_characters_are_bad_before_the_request_is_whole(void **state)
{
    char text[] = "GET /met_rics";

    (void)state;
    for (int c = 0; c < 256; c++) {
        bool control = (c < ' ' && c != '\t' && c != '\n') || c == 0x7f;

        text[8] = (char)c;
        assert_int_equal(request_parse(text, sizeof text - 1, &request), control);
        if (control)
            assert_int_equal(request.status, REQUEST_BAD);
    }
    assert_true(request_parse("GET \0", 5, &request));
    assert_int_equal(request.status, REQUEST_BAD);
    assert_false(request_parse("GET /metrics HTTP/1.1\r", 22, &request)); /* the line feed may follow */
}

static void a_header_that_two_programs_could_read_in_two_ways_is_bad(void **state)
{
    static const char *const headers[] = {
        "Accept : text/plain", ": text/plain",  "Accept",  " Accept: text/plain",
        "Acc ept: a",          "Host: another", "X(y): z",
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        snprintf(text, sizeof text, "GET /metrics HTTP/1.1\r\n" HOST "%s\r\n\r\n", headers[i]);
        assert_int_equal(status_of(text), REQUEST_BAD);
    }
}

static void a_host_is_needed_from_1_1_on(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\n\r\n"), REQUEST_BAD);
    assert_int_equal(status_of("GET /metrics HTTP/1.0\r\n\r\n"), REQUEST_OK);
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\nHOST:\r\n\r\n"), REQUEST_OK);
}

static void content_is_not_taken(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), REQUEST_OK);
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n"), REQUEST_WITH_CONTENT);
    assert_false(request.keep_alive);
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\n" HOST "Content-Length: -0\r\n\r\n"), REQUEST_WITH_CONTENT);
    assert_int_equal(status_of("GET /metrics HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
                     REQUEST_WITH_CONTENT);
    assert_int_equal(status_of("POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n"), REQUEST_BAD_METHOD);
    assert_false(request.keep_alive);
}

static void a_connection_goes_on_as_its_version_has_it_and_the_client_says(void **state)
{
    (void)state;
    parse("GET /metrics HTTP/1.1\r\n" HOST "\r\n");
    assert_true(request.keep_alive);
    parse("GET /metrics HTTP/1.1\r\n" HOST "Connection: TE, Close\r\n\r\n");
    assert_false(request.keep_alive);
    parse("GET /metrics HTTP/1.0\r\n\r\n");
    assert_false(request.keep_alive);
    parse("GET /metrics HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    assert_true(request.keep_alive);
    parse("GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n");
    assert_false(request.keep_alive);
}

static void a_request_is_read_when_its_last_octet_is_there(void **state)
{
    static const char text[] = "\r\n\nGET /healthz HTTP/1.1\r\n" HOST "\r\nGET /";
    size_t size = sizeof text - 1 - 5;

    (void)state;
    for (size_t i = 0; i < size; i++)
        assert_false(request_parse(text, i, &request));
    for (size_t i = size; i < sizeof text; i++) {
        assert_true(request_parse(text, i, &request));
        assert_int_equal(request.status, REQUEST_OK);
        assert_int_equal(request.size, size);
    }
    assert_true(parse("GET /healthz HTTP/1.1\nHost: node\n\n"));
    assert_int_equal(request.status, REQUEST_OK);
}

/* A request of so many octets, its empty line included. */
static const char *long_request(size_t size)
{
    static char text[REQUEST_MAX + 2];
    static const char begin[] = "GET /metrics HTTP/1.1\r\n" HOST "X: ";

    memset(text, 'x', sizeof text);
    memcpy(text, begin, sizeof begin - 1);
    memcpy(text + size - 4, "\r\n\r\n", 4);
    return text;
}

static void a_header_may_be_as_long_as_the_limit_and_not_longer(void **state)
{
    (void)state;
    assert_true(request_parse(long_request(REQUEST_MAX), REQUEST_MAX, &request));
    assert_int_equal(request.status, REQUEST_OK);
    assert_int_equal(request.size, REQUEST_MAX);
    assert_false(request_parse(long_request(REQUEST_MAX + 1), REQUEST_MAX - 1, &request));
    assert_true(request_parse(long_request(REQUEST_MAX + 1), REQUEST_MAX, &request));
    assert_int_equal(request.status, REQUEST_TOO_LARGE);
    assert_false(request.keep_alive);
    assert_true(request_parse(long_request(REQUEST_MAX + 1), REQUEST_MAX + 1, &request));
    assert_int_equal(request.status, REQUEST_TOO_LARGE);
}

static enum exposition_format format_for(const char *accept)
{
    char text[1024];

    snprintf(text, sizeof text, "GET /metrics HTTP/1.1\r\n" HOST "Accept: %s\r\n\r\n", accept);
    assert_int_equal(status_of(text), REQUEST_OK);
    return request.format;
}

static void who_does_not_ask_for_openmetrics_gets_text(void **state)
{
    (void)state;
    parse("GET /metrics HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(request.format, EXPOSITION_TEXT);
    assert_int_equal(format_for(""), EXPOSITION_TEXT);
    assert_int_equal(format_for("*/*"), EXPOSITION_TEXT);
    assert_int_equal(format_for("application/json"), EXPOSITION_TEXT);
    assert_int_equal(format_for("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), EXPOSITION_TEXT);
    assert_int_equal(format_for("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), EXPOSITION_TEXT);
    assert_int_equal(format_for("application/openmetrics-text;version=2.0.0"), EXPOSITION_TEXT);
    assert_int_equal(format_for("application/openmetrics-text;q=0"), EXPOSITION_TEXT);
    assert_int_equal(format_for("application/openmetrics-text;q=0.5, text/plain;q=0.5"), EXPOSITION_TEXT);
    assert_int_equal(format_for("application/openmetrics-text;q=0.4, text/*;q=0.5"), EXPOSITION_TEXT);
    assert_int_equal(format_for("application/openmetrics-text;q=bad, */*"), EXPOSITION_TEXT);
}

static void who_prefers_openmetrics_gets_it(void **state)
{
    (void)state;
    assert_int_equal(format_for("application/openmetrics-text"), EXPOSITION_OPENMETRICS);
    assert_int_equal(format_for("Application/OpenMetrics-Text; Version=1.0.0"), EXPOSITION_OPENMETRICS);
    assert_int_equal(format_for("application/openmetrics-text ; version=1.0.0 ; charset=utf-8 ; q=0.501,"
                                "text/plain;q=0.5"),
                     EXPOSITION_OPENMETRICS);
    assert_int_equal(format_for("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
                                "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
                     EXPOSITION_OPENMETRICS);
    assert_int_equal(format_for("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
                                "encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;"
                                "escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
                                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,"
                                "*/*;q=0.1"),
                     EXPOSITION_OPENMETRICS);
    assert_int_equal(format_for("*/*;q=0.9, text/plain;q=0.1"), EXPOSITION_OPENMETRICS);
    assert_int_equal(format_for("text/plain;version=1.0.0, application/*;q=0.2"), EXPOSITION_OPENMETRICS);
}

static void several_accept_headers_are_one_list(void **state)
{
    (void)state;
    parse("GET /metrics HTTP/1.1\r\n" HOST "accept: text/plain;q=0.5\r\nACCEPT: application/openmetrics-text\r\n\r\n");
    assert_int_equal(request.format, EXPOSITION_OPENMETRICS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_three_paths_are_known),
        cmocka_unit_test(a_query_string_and_an_absolute_target_change_nothing),
        cmocka_unit_test(every_other_path_is_not_found),
        cmocka_unit_test(every_other_method_is_refused),
        cmocka_unit_test(a_request_line_that_is_none_is_bad),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(control_characters_are_bad_before_the_request_is_whole),
        cmocka_unit_test(a_header_that_two_programs_could_read_in_two_ways_is_bad),
        cmocka_unit_test(a_host_is_needed_from_1_1_on),
        cmocka_unit_test(content_is_not_taken),
        cmocka_unit_test(a_connection_goes_on_as_its_version_has_it_and_the_client_says),
        cmocka_unit_test(a_request_is_read_when_its_last_octet_is_there),
        cmocka_unit_test(a_header_may_be_as_long_as_the_limit_and_not_longer),
        cmocka_unit_test(who_does_not_ask_for_openmetrics_gets_text),
        cmocka_unit_test(who_prefers_openmetrics_gets_it),
        cmocka_unit_test(several_accept_headers_are_one_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
