#include "nodedot/base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_prints(struct table *table, const char *expected)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_true(table_print(table, out));
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    struct table table = table_of(3);

    (void)state;
    table_add(&table, "A");
    table_add(&table, "NUMBER");
    table_add(&table, "C");
    table_add(&table, "longer");
    table_add(&table, "%d", 7);
    table_add(&table, "last");
    assert_prints(&table, "A       NUMBER  C\nlonger  7       last\n");
}

static void an_empty_cell_is_a_dash(void **state)
{
    struct table table = table_of(2);

    (void)state;
    table_add(&table, "%s", "");
    table_add(&table, "%s", "");
    assert_prints(&table, "-  -\n");
}

static void an_empty_table_prints_nothing(void **state)
{
    struct table table = table_of(2);

    (void)state;
    assert_prints(&table, "");
}

static void a_table_grows_and_can_be_filled_again(void **state)
{
    struct table table = table_of(1);
    char expected[2 * 100 + 1] = "";

    (void)state;
    for (int i = 0; i < 100; i++) {
        table_add(&table, "%d", i % 10);
        expected[2 * i] = (char)('0' + i % 10);
        expected[2 * i + 1] = '\n';
    }
    assert_prints(&table, expected);
    table_add(&table, "x");
    assert_prints(&table, "x\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(an_empty_cell_is_a_dash),
        cmocka_unit_test(an_empty_table_prints_nothing),
        cmocka_unit_test(a_table_grows_and_can_be_filled_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
