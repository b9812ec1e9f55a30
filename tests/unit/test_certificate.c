/* What a certificate of an unknown peer may do to its reader, and what records may do to the buffers. */
#include "nodedot/proof/certificate_parser.h"
#include "nodedot/proof/constraints.h"
#include "nodedot/proof/pem.h"
#include "nodedot/proof/san.h"
#include "nodedot/tls/tls_records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char folder[] = "/tmp/nodedot-certificate-XXXXXX";

static struct pem read_file(const char *name)
{
    char path[512], error[PEM_ERROR];
    struct pem pem;

    snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
    if (!pem_read(path, false, &pem, error))
        fail_msg("%s", error);
    return pem;
}

/* DER. */

static bool length_is_read(const char *octets, size_t size, size_t expected)
{
    uint8_t text[70000] = {0};
    struct der d = der_open((struct octets){text, sizeof(text)});

    memcpy(text, octets, size);
    struct octets contents = der_take(&d, DER_SEQUENCE);
    return !d.bad && contents.size == expected && contents.at == text + size;
}

static void lengths_must_be_definite_and_as_short_as_can_be(void **state)
{
    (void)state;
    assert_true(length_is_read("\x30\x00", 2, 0));
    assert_true(length_is_read("\x30\x7f", 2, 127));
    assert_true(length_is_read("\x30\x81\x80", 3, 128));
    assert_true(length_is_read("\x30\x81\xff", 3, 255));
    assert_true(length_is_read("\x30\x82\x01\x00", 4, 256));
    assert_true(length_is_read("\x30\x82\xff\xff", 4, 65535));
    assert_true(length_is_read("\x30\x83\x01\x00\x00", 5, 65536));
    assert_false(length_is_read("\x30\x81\x7f", 3, 127));
    assert_false(length_is_read("\x30\x82\x00\xff", 4, 255));
    assert_false(length_is_read("\x30\x80", 2, 0));
    assert_false(length_is_read("\x30\x83\x02\x00\x00", 5, 131072)); /* more than there is */
    assert_false(length_is_read("\x30\x84\x00\x00\x00\x01", 6, 1));
    assert_false(length_is_read("\x30\xff", 2, 0));
    assert_false(length_is_read("\x31\x00", 2, 0));     /* another tag */
    assert_false(length_is_read("\x3f\x10\x00", 3, 0)); /* a tag of several octets */
}

static void the_last_octet_is_read_and_none_behind_it(void **state)
{
    const uint8_t whole[] = {0x04, 0x02, 'a', 'b'};

    (void)state;
    struct der d = der_open((struct octets){whole, sizeof(whole)});
    struct octets contents = der_take(&d, DER_OCTET_STRING);
    assert_int_equal(contents.size, 2);
    assert_true(der_at_end(&d) && !d.bad);
    der_skip(&d);
    assert_true(d.bad);
    for (size_t size = 0; size < sizeof(whole); size++) {
        d = der_open((struct octets){whole, size});
        contents = der_take(&d, DER_OCTET_STRING);
        assert_true(d.bad);
        assert_null(contents.at);
    }
}

static void an_element_that_is_cut_short_is_of_no_kind(void **state)
{
    static const uint8_t octets[] = {0x86, 0x05, 'a', '.', 'b'}; /* a URI of five octets, three there */
    struct der d = der_open((struct octets){octets, sizeof(octets)});
    struct octets whole;
    uint8_t tag;

    (void)state;
    struct octets contents = der_any(&d, &tag, &whole);
    assert_true(d.bad);
    assert_int_equal(tag, 0);
    assert_null(contents.at);
    assert_null(whole.at);
}

/* Certificates. */

static void a_certificate_is_read_whole(void **state)
{
    struct pem pem = read_file("leaf");
    struct certificate *leaf = &pem.certificates[0], *ca = &pem.certificates[1];
    char text[64];

    (void)state;
    assert_int_equal(pem.count, 2);
    assert_false(leaf->is_ca || leaf->may_sign || leaf->unknown_critical);
    assert_true(leaf->may_handshake && leaf->may_serve && leaf->signature.kind == SIGNATURE_ECDSA &&
                certificate_key_strong(leaf));
    assert_true(ca->is_ca && ca->may_sign);
    assert_int_equal(ca->path_length, 0);
    assert_int_equal(leaf->path_length, CERTIFICATE_NO_PATH_LENGTH);
    assert_true(octets_equal(leaf->issuer, ca->subject));
    assert_int_equal(leaf->not_after - leaf->not_before, 330 * 86400);
    certificate_describe_name(ca->subject, text, sizeof(text));
    assert_string_equal(text, "CN=Middle, O=Tests, C=DE");
    certificate_describe_name(ca->subject, text, 8);
    assert_string_equal(text, "CN=Midd");
    certificate_describe_name(ca->subject, text, 1);
    assert_string_equal(text, "");
    pem_release(&pem);
}

static void a_certificate_cut_anywhere_is_none(void **state)
{
    struct pem pem = read_file("limited-good");
    struct octets der = pem.certificates[1].der;
    struct certificate out;

    (void)state;
    assert_true(certificate_parse(der.at, der.size, &out));
    for (size_t size = 0; size < der.size; size++) {
        uint8_t *cut = malloc(size + 1); /* of its own, so that a sanitizer sees a read behind it */
        memcpy(cut, der.at, size);
        assert_false(certificate_parse(cut, size, &out));
        free(cut);
    }
    uint8_t *longer = calloc(1, der.size + 1);
    memcpy(longer, der.at, der.size);
    assert_false(certificate_parse(longer, der.size + 1, &out));
    free(longer);
    pem_release(&pem);
}

static void a_certificate_with_any_octet_changed_stays_within_its_bounds(void **state)
{
    static const uint8_t values[] = {0x00, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xff};
    struct pem pem = read_file("denied-good");
    struct certificate ca = pem.certificates[1], out;
    size_t size = pem.certificates[0].der.size;
    uint8_t *der = malloc(size);
    char text[128];

    (void)state;
    for (size_t i = 0; i < size; i++)
        for (size_t v = 0; v < sizeof(values); v++) {
            memcpy(der, pem.certificates[0].der.at, size);
            der[i] = values[v];
            if (!certificate_parse(der, size, &out))
                continue;
            san_has_name(&out, "dns.example");
            constraints_allow(&ca, &out, &(struct budget){.left_ns = UINT32_MAX});
            certificate_describe_name(out.subject, text, sizeof(text));
            certificate_describe_key(&out, text, sizeof(text));
        }
    free(der);
    pem_release(&pem);
}

/* Records. */

static void assert_record(size_t body, bool good)
{
    static uint8_t record[RECORDS_HEADER + 65535], back[sizeof(record)];
    struct records r;
    int pair[2], large = 1 << 20;
    size_t size = RECORDS_HEADER + body, got = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    assert_true(records_init(&r, pair[0]));
    for (size_t i = 0; i < size; i++)
        record[i] = (uint8_t)(i * 7);
    record[3] = (uint8_t)(body >> 8), record[4] = (uint8_t)body;

    assert_int_equal(records_fetch(&r), RECORDS_AGAIN);
    assert_int_equal(write(pair[1], record, size - 1), size - 1);
    enum records_result result = records_fetch(&r);
    if (!good) {
        assert_int_equal(result, RECORDS_FAILED);
        assert_int_equal(errno, EMSGSIZE);
    } else {
        assert_int_equal(result, RECORDS_AGAIN); /* all but one octet is not a record */
        assert_int_equal(write(pair[1], record + size - 1, 1), 1);
        assert_int_equal(records_fetch(&r), RECORDS_DONE);
        while (got < size)
            got += records_take(&r, back + got, 1000);
        assert_int_equal(got, size);
        assert_memory_equal(record, back, size);
        close(pair[1]);
        while ((result = records_fetch(&r)) == RECORDS_AGAIN)
            ;
        assert_int_equal(result, RECORDS_ENDED);
        assert_int_equal(records_fetch(&r), RECORDS_ENDED);
        pair[1] = -1;
    }
    records_reset(&r);
    close(pair[0]);
    close(pair[1]);
}

static void records_are_handed_over_whole_up_to_the_largest(void **state)
{
    (void)state;
    assert_record(1, true);
    assert_record(16384, true);
    assert_record(RECORDS_BODY_MAX, true);
    assert_record(RECORDS_BODY_MAX + 1, false);
    assert_record(65535, false);
}

static void what_cannot_be_sent_waits_up_to_a_limit(void **state)
{
    static uint8_t block[RECORDS_SEND_MAX + 1], back[sizeof(block)];
    struct records r;
    int pair[2];
    size_t got = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(records_init(&r, pair[0]));
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (uint8_t)(i % 251);
    assert_int_equal(records_add(&r, block, sizeof(block)), RECORDS_FAILED);
    assert_int_equal(errno, ENOBUFS);
    assert_int_equal(records_add(&r, block, RECORDS_SEND_MAX - 1), RECORDS_DONE);
    assert_int_equal(records_add(&r, block + RECORDS_SEND_MAX - 1, 1), RECORDS_DONE);
    assert_int_equal(records_add(&r, block, 1), RECORDS_FAILED);
    while (got < RECORDS_SEND_MAX) {
        assert_int_not_equal(records_flush(&r), RECORDS_FAILED);
        got += (size_t)read(pair[1], back + got, sizeof(back) - got);
    }
    assert_int_equal(records_flush(&r), RECORDS_DONE);
    assert_memory_equal(block, back, RECORDS_SEND_MAX);
    close(pair[1]);
    assert_int_equal(records_add(&r, block, 1), RECORDS_DONE);
    assert_int_equal(records_flush(&r), RECORDS_FAILED); /* and no SIGPIPE */
    records_reset(&r);
    close(pair[0]);
}

static int make_certificates(void **state)
{
    char command[600];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof(command), "python3 tests/unit/certificates.py %s", folder);
    return system(command) == 0 ? 0 : -1;
}

static int remove_certificates(void **state)
{
    char command[600];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_must_be_definite_and_as_short_as_can_be),
        cmocka_unit_test(the_last_octet_is_read_and_none_behind_it),
        cmocka_unit_test(an_element_that_is_cut_short_is_of_no_kind),
        cmocka_unit_test(a_certificate_is_read_whole),
        cmocka_unit_test(a_certificate_cut_anywhere_is_none),
        cmocka_unit_test(a_certificate_with_any_octet_changed_stays_within_its_bounds),
        cmocka_unit_test(records_are_handed_over_whole_up_to_the_largest),
        cmocka_unit_test(what_cannot_be_sent_waits_up_to_a_limit),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
