#include "nodedot/forward/exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ID 0x1234

static struct exchange_answer answer;

static struct question question_of(const char *text, uint16_t qtype)
{
    struct question question = {.qtype = qtype, .qclass = CLASS_IN};

    assert_true(name_from_text(text, &question.qname));
    return question;
}

/* The query's own message as an answer with these flags, without its OPT where opt is false. Returns its size. */
static size_t answer_to(const struct exchange_form *form, uint16_t flags, bool opt, uint8_t *out)
{
    struct exchange_form asked = *form;

    asked.edns = opt;
    asked.padded = false;
    asked.stream = false;
    size_t size = exchange_write(&asked, ID, out, MESSAGE_QUERY_MAX);
    wire_put_u16(out + MESSAGE_FLAGS_AT, (uint16_t)(MESSAGE_QR | MESSAGE_RD | MESSAGE_RA | flags));
    return size;
}

static enum exchange_verdict verdict_on(const struct exchange_form *form, uint16_t flags, bool opt)
{
    uint8_t message[MESSAGE_QUERY_MAX];
    size_t size = answer_to(form, flags, opt, message);

    return exchange_judge(form, message, size, &answer);
}

static void an_answer_to_the_question_is_an_answer_whatever_its_rcode(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true};

    (void)state;
    for (uint16_t rcode = RCODE_NOERROR; rcode <= RCODE_REFUSED; rcode++) {
        form.edns_known = true;
        assert_int_equal(verdict_on(&form, rcode, true), EXCHANGE_ANSWERED);
        form.edns = false;
        assert_int_equal(verdict_on(&form, rcode, false), EXCHANGE_ANSWERED);
        form.edns = true;
    }
}

static void tc_in_a_datagram_asks_for_tcp_and_over_tcp_for_another_server(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true};

    (void)state;
    assert_int_equal(verdict_on(&form, MESSAGE_TC, true), EXCHANGE_TRUNCATED);
    form.stream = true;
    assert_int_equal(verdict_on(&form, MESSAGE_TC, true), EXCHANGE_ELSEWHERE);
}

static void a_message_that_is_cut_anywhere_behind_its_question_is_truncated(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true};
    uint8_t message[MESSAGE_QUERY_MAX];
    size_t whole = answer_to(&form, 0, true, message);
    size_t head = answer_to(&form, 0, false, message + whole);

    (void)state;
    for (int tc = 0; tc <= 1; tc++) {
        wire_put_u16(message + MESSAGE_FLAGS_AT, (uint16_t)(MESSAGE_QR | (tc ? MESSAGE_TC : 0)));
        for (size_t size = head; size < whole; size++) {
            form.stream = false;
            assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_TRUNCATED);
            form.stream = true;
            assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_ELSEWHERE);
        }
        for (size_t size = 0; size < head; size++)
            assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_BROKEN);
    }
}

static void octets_behind_a_message_are_no_part_of_it(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true};
    uint8_t message[MESSAGE_QUERY_MAX + 24] = {0};
    size_t size = answer_to(&form, 0, true, message);

    (void)state;
    memset(message + size, 0, 24);
    assert_int_equal(exchange_judge(&form, message, size + 24, &answer), EXCHANGE_ANSWERED);
    assert_int_equal(answer.info.octets_behind, 24);
}

/* The verdict on a message of nothing but a header with this RCODE. */
static enum exchange_verdict verdict_on_bare(const struct exchange_form *form, uint16_t rcode)
{
    static uint8_t header[MESSAGE_HEADER] = {ID >> 8, ID & 0xff, 0x81};

    header[3] = (uint8_t)(0x80 | rcode);
    return exchange_judge(form, header, sizeof(header), &answer);
}

static void an_error_without_a_question_is_that_error_on_a_connection(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true, .edns_known = true};

    (void)state;
    assert_int_equal(verdict_on_bare(&form, RCODE_REFUSED), EXCHANGE_ELSEWHERE);
    assert_int_equal(verdict_on_bare(&form, RCODE_SERVFAIL), EXCHANGE_ELSEWHERE);
    form.stream = true;
    assert_int_equal(verdict_on_bare(&form, RCODE_REFUSED), EXCHANGE_ANSWERED);
    assert_int_equal(answer.info.rcode, RCODE_REFUSED);
    assert_int_equal(answer.info.id, ID);
    assert_true(question_equal(&answer.info.question, &question));
    assert_int_equal(answer.info.size_without_opt, MESSAGE_HEADER + question.qname.length + 4);
    assert_int_equal(wire_get_u16(answer.message), ID);
    for (int stream = 0; stream <= 1; stream++) {
        form.stream = stream;
        assert_int_equal(verdict_on_bare(&form, RCODE_NOERROR), EXCHANGE_BROKEN);
        assert_int_equal(verdict_on_bare(&form, RCODE_NXDOMAIN), EXCHANGE_BROKEN);
    }
}

static void another_question_is_foreign(void **state)
{
    struct question asked = question_of("example.com", TYPE_A), other = question_of("example.org", TYPE_A);
    struct question type = question_of("example.com", TYPE_AAAA);
    struct exchange_form form = {.question = &asked, .edns = true};
    uint8_t message[MESSAGE_QUERY_MAX];

    (void)state;
    size_t size = answer_to(&(struct exchange_form){.question = &other}, 0, true, message);
    assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_FOREIGN);
    size = answer_to(&(struct exchange_form){.question = &type}, 0, true, message);
    assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_FOREIGN);
}

static void an_error_of_a_server_that_never_answered_edns_well_may_mean_edns(void **state)
{
    static const uint16_t suspect[] = {RCODE_FORMERR, RCODE_NOTIMP, RCODE_SERVFAIL};
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(verdict_on(&form, suspect[i], false), EXCHANGE_DISLIKES_EDNS);
        assert_int_equal(verdict_on(&form, suspect[i], true),
                         suspect[i] == RCODE_SERVFAIL ? EXCHANGE_ANSWERED : EXCHANGE_DISLIKES_EDNS);
        assert_int_equal(verdict_on_bare(&form, suspect[i]), EXCHANGE_DISLIKES_EDNS);
    }
    assert_int_equal(verdict_on(&form, RCODE_REFUSED, false), EXCHANGE_ANSWERED);
    form.edns = false;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(verdict_on(&form, suspect[i], false), EXCHANGE_ANSWERED);
}

static void a_server_that_knows_edns_is_believed_but_for_a_formerr_without_opt(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true, .edns_known = true};

    (void)state;
    assert_int_equal(verdict_on(&form, RCODE_SERVFAIL, false), EXCHANGE_ANSWERED);
    assert_int_equal(verdict_on(&form, RCODE_NOTIMP, false), EXCHANGE_ANSWERED);
    assert_int_equal(verdict_on(&form, RCODE_FORMERR, true), EXCHANGE_ANSWERED);
    assert_int_equal(verdict_on(&form, RCODE_FORMERR, false), EXCHANGE_DISLIKES_EDNS);
}

static void badvers_to_version_0_is_dislike(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true, .edns_known = true};
    uint8_t message[MESSAGE_QUERY_MAX];
    size_t size = answer_to(&form, 0, true, message);

    (void)state;
    message[size - 6] = RCODE_BADVERS >> 4; /* in the TTL of the OPT record, which is the last */
    assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_DISLIKES_EDNS);
}

static void options_go_first_then_edns(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form datagram = {.question = &question, .edns = true};
    struct exchange_form tls = {.question = &question, .edns = true, .stream = true, .padded = true};
    uint8_t message[MESSAGE_QUERY_MAX];

    (void)state;
    assert_true(exchange_make_plainer(&datagram));
    assert_false(datagram.edns);
    assert_false(exchange_make_plainer(&datagram));
    assert_true(exchange_make_plainer(&tls));
    assert_true(tls.edns && tls.without_options);
    assert_int_equal(exchange_write(&tls, ID, message, sizeof(message)) % EDNS_PADDING_BLOCK, 0);
    assert_true(exchange_make_plainer(&tls));
    assert_false(tls.edns);
    assert_false(exchange_make_plainer(&tls));
}

static void what_is_no_answer_is_broken(void **state)
{
    struct question question = question_of("example.com", TYPE_A);
    struct exchange_form form = {.question = &question, .edns = true};
    uint8_t message[MESSAGE_QUERY_MAX];
    size_t size = answer_to(&form, 0, true, message);

    (void)state;
    assert_int_equal(exchange_judge(&form, message, 0, &answer), EXCHANGE_BROKEN);
    assert_int_equal(exchange_judge(&form, message, MESSAGE_HEADER - 1, &answer), EXCHANGE_BROKEN);
    wire_put_u16(message + MESSAGE_FLAGS_AT, MESSAGE_RD);
    assert_int_equal(exchange_judge(&form, message, size, &answer), EXCHANGE_BROKEN);
}

/* ---- lists ---- */

static void assert_order(const struct exchange_list *list, struct exchange *const *order, size_t count)
{
    struct exchange *at = list->first;
    struct exchange *previous = NULL;

    for (size_t i = 0; i < count; i++, previous = at, at = at->next) {
        assert_ptr_equal(at, order[i]);
        assert_ptr_equal(at->previous, previous);
    }
    assert_null(at);
    assert_ptr_equal(list->last, previous);
}

static void exchanges_stand_in_the_order_in_which_they_came(void **state)
{
    struct exchange_list list = {NULL, NULL};
    struct exchange a = {.state = EXCHANGE_WAITING}, b = a, c = a;

    (void)state;
    assert_order(&list, NULL, 0);
    exchange_list_push(&list, &a);
    exchange_list_push(&list, &b);
    exchange_list_push(&list, &c);
    assert_order(&list, (struct exchange *[]){&a, &b, &c}, 3);
    assert_int_equal(a.state, EXCHANGE_WAITING);
}

static void an_exchange_is_taken_out_wherever_it_stands(void **state)
{
    (void)state;
    for (int out = 0; out < 3; out++) {
        struct exchange_list list = {NULL, NULL};
        struct exchange exchanges[3] = {{.state = EXCHANGE_LOST}, {.state = EXCHANGE_LOST}, {.state = EXCHANGE_LOST}};
        struct exchange *left[2];

        for (int i = 0, n = 0; i < 3; i++) {
            exchange_list_push(&list, &exchanges[i]);
            if (i != out)
                left[n++] = &exchanges[i];
        }
        exchange_list_remove(&list, &exchanges[out]);
        assert_int_equal(exchanges[out].state, EXCHANGE_FREE);
        assert_order(&list, left, 2);
        exchange_list_push(&list, &exchanges[out]);
        assert_order(&list, (struct exchange *[]){left[0], left[1], &exchanges[out]}, 3);
        for (int i = 0; i < 3; i++)
            exchange_list_remove(&list, &exchanges[i]);
        assert_order(&list, NULL, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_to_the_question_is_an_answer_whatever_its_rcode),
        cmocka_unit_test(tc_in_a_datagram_asks_for_tcp_and_over_tcp_for_another_server),
        cmocka_unit_test(a_message_that_is_cut_anywhere_behind_its_question_is_truncated),
        cmocka_unit_test(octets_behind_a_message_are_no_part_of_it),
        cmocka_unit_test(an_error_without_a_question_is_that_error_on_a_connection),
        cmocka_unit_test(another_question_is_foreign),
        cmocka_unit_test(an_error_of_a_server_that_never_answered_edns_well_may_mean_edns),
        cmocka_unit_test(a_server_that_knows_edns_is_believed_but_for_a_formerr_without_opt),
        cmocka_unit_test(badvers_to_version_0_is_dislike),
        cmocka_unit_test(options_go_first_then_edns),
        cmocka_unit_test(what_is_no_answer_is_broken),
        cmocka_unit_test(exchanges_stand_in_the_order_in_which_they_came),
        cmocka_unit_test(an_exchange_is_taken_out_wherever_it_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
