/* Two public suites of certificate chains: x509-limbo (C2SP) and BetterTLS (Netflix). They are read where they lie, beside the
 * project; where they do not, this is said and nothing is judged. Run from the top of the tree. */
#include "nodedot/base/base64.h"
#include "nodedot/proof/certificate_parser.h"
#include "nodedot/proof/path.h"
#include "nodedot/proof/san.h"
#include "nodedot/tls/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUITES    "../shared/x509"
#define CASES_MIN 800 /* of both suites together; fewer means that they were not read */
#define BLANKS    " \n"

#define AKI    "key identifiers are hints for finding an issuer, and are not read: the signature decides"
#define SERIAL "serial numbers are not read: nothing is revoked by them here"
#define CN     "the common name is not read: subjectAltName alone counts (RFC 8310 section 8.1)"
#define PSL    "there is no list of public suffixes here; the operator names the server"
#define RSA8   "a rule for public CAs; the number of bits is enough"

/* Cases that we judge in another way than their suite, each with its reason. */
static const struct {
    const char *id, *reason;
} judged_differently[] = {
    {"rfc5280::aki::leaf-missing-aki", AKI},
    {"rfc5280::aki::intermediate-missing-aki", AKI},
    {"rfc5280::aki::cross-signed-root-missing-aki", AKI},
    {"rfc5280::ski::root-missing-ski", AKI},
    {"rfc5280::ski::intermediate-missing-ski", AKI},
    {"webpki::aki::root-with-aki-missing-keyidentifier", AKI},
    {"webpki::aki::root-with-aki-authoritycertissuer", AKI},
    {"webpki::aki::root-with-aki-authoritycertserialnumber", AKI},
    {"webpki::aki::root-with-aki-all-fields", AKI},
    {"webpki::aki::root-with-aki-ski-mismatch", AKI},
    {"rfc5280::nc::permitted-dns-match-noncritical", "the constraints are kept as if they were marked critical"},
    {"rfc5280::nc::invalid-dnsname-leading-period", "a leading dot is in wide use, and read as \"below this name\""},
    {"rfc5280::nc::not-allowed-in-ee-noncritical", "constraints of a leaf bind nobody: it signs nothing"},
    {"rfc5280::nc::not-allowed-in-ee-critical", "constraints of a leaf bind nobody: it signs nothing"},
    {"rfc5280::pc::ica-noncritical-pc", "the constraints are kept as if they were marked critical"},
    {"rfc5280::san::noncritical-with-empty-subject", "the names are read whether marked critical or not"},
    {"webpki::san::san-critical-with-nonempty-subject", "the names are read whether marked critical or not"},
    {"rfc5280::san::underscore-dns", "names with an underscore are in use inside clusters"},
    {"rfc5280::serial::too-long", SERIAL},
    {"rfc5280::serial::zero", SERIAL},
    {"rfc5280::ca-empty-subject", "an empty name is a name: issuer and subject are compared octet by octet"},
    {"rfc5280::root-non-critical-basic-constraints", "basicConstraints are kept as if they were marked critical"},
    {"rfc5280::leaf-ku-keycertsign", "a leaf that is no CA signs nothing, whatever its keyUsage says"},
    {"rfc5280::ca-as-leaf", "its key may not sign handshakes, which RFC 8446 section 4.4.2.2 asks for"},
    {"webpki::cn::ipv4-hex-mismatch", CN},
    {"webpki::cn::ipv4-leading-zeros-mismatch", CN},
    {"webpki::cn::ipv6-uppercase-mismatch", CN},
    {"webpki::cn::ipv6-uncompressed-mismatch", CN},
    {"webpki::cn::ipv6-non-rfc5952-mismatch", CN},
    {"webpki::cn::punycode-not-in-san", CN},
    {"webpki::cn::utf8-vs-punycode-mismatch", CN},
    {"webpki::cn::not-in-san", CN},
    {"webpki::cn::case-mismatch", CN},
    {"webpki::eku::ee-anyeku", "anyExtendedKeyUsage includes servers (RFC 5280 section 4.2.1.12)"},
    {"webpki::eku::ee-critical-eku", "extKeyUsage is kept whether marked critical or not"},
    {"webpki::eku::ee-without-eku", "private CAs leave it out; RFC 5280 then allows every use"},
    {"webpki::eku::root-has-eku", "an operator's own root may be for servers alone"},
    {"webpki::san::public-suffix-multi-label-wildcard-san", PSL},
    {"webpki::san::public-suffix-private-namespace-wildcard-san", PSL},
    {"webpki::malformed-aia", "authorityInfoAccess is not read: nothing is fetched"},
    {"webpki::forbidden-rsa-not-divisible-by-8-in-root", RSA8},
    {"webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf", RSA8},
    {"pathlen::validation-ignores-pathlen-in-leaf",
     "its key may not sign handshakes, which RFC 8446 section 4.4.2.2 asks for"},
    {"pathlen::max-chain-depth-0-exhausted", "the case sets a depth of its own; ours is PATH_CHAIN_MAX"},
    {"pathlen::max-chain-depth-1-exhausted", "the case sets a depth of its own; ours is PATH_CHAIN_MAX"},
    {"webpki::ee-basicconstraints-ca", "a CA whose key may sign handshakes may serve, too"},
};

struct list {
    struct certificate certificates[128];
    size_t count;
    bool readable;
    uint8_t *octets[128];
};

static struct list list_read(char *text)
{
    struct list list = {.readable = true};
    char *rest;

    if (strcmp(text, "-") == 0)
        return list;
    for (char *one = strtok_r(text, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest)) {
        size_t length = strlen(one), size = length / 4 * 3 - (one[length - 1] == '=') - (one[length - 2] == '=');
        uint8_t *octets = malloc(size);

        assert_true(list.count < sizeof(list.octets) / sizeof(*list.octets));
        assert_true(base64_decode(one, length, octets, size));
        list.readable &= certificate_parse(octets, size, &list.certificates[list.count]);
        list.octets[list.count++] = octets;
    }
    return list;
}

static void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->octets[i]);
}

/* As identity_check() does with auth = ca. */
static bool accepted(const struct list *chain, const struct list *roots, const char *name, int64_t now, char *reason)
{
    struct path_question question = {.chain = chain->certificates,
                                     .count = chain->count,
                                     .roots = roots->certificates,
                                     .root_count = roots->count,
                                     .now = now,
                                     .budget = {.left_ns = PATH_BUDGET_NS}};
    struct path_verdict verdict;

    snprintf(reason, PATH_ERROR, "a certificate cannot be read");
    if (!chain->readable)
        return false;
    path_judge(&question, &verdict);
    snprintf(reason, PATH_ERROR, "%s", verdict.root_error);
    if (!verdict.trusted)
        return false;
    snprintf(reason, PATH_ERROR, "the leaf does not carry the name");
    return strcmp(name, "-") == 0 || san_has_name(&chain->certificates[0], name);
}

static const char *excuse(const char *id)
{
    for (size_t i = 0; i < sizeof(judged_differently) / sizeof(*judged_differently); i++)
        if (strcmp(judged_differently[i].id, id) == 0)
            return judged_differently[i].reason;
    return NULL;
}

/* Judges the case of a line. False: not as the suite or the table above says. */
static bool judge_line(char *line)
{
    char *rest, reason[PATH_ERROR];
    const char *id = strtok_r(line, BLANKS, &rest), *suite = strtok_r(NULL, BLANKS, &rest);
    bool expected = strcmp(strtok_r(NULL, BLANKS, &rest), "yes") == 0;
    const char *name = strtok_r(NULL, BLANKS, &rest);
    int64_t now = strtoll(strtok_r(NULL, BLANKS, &rest), NULL, 10);
    struct list roots = list_read(strtok_r(NULL, BLANKS, &rest)), chain = list_read(strtok_r(NULL, BLANKS, &rest));
    bool verdict = accepted(&chain, &roots, name, now, reason), good = verdict == (expected != (excuse(id) != NULL));

    if (!good)
        print_error("%s (%s): %s, expected %s\n", id, suite, verdict ? "accepted" : reason,
                    expected != (excuse(id) != NULL) ? "accepted" : "refused");
    list_free(&roots);
    list_free(&chain);
    return good;
}

static void both_suites_are_judged_right(void **state)
{
    char *line = NULL;
    size_t capacity = 0, count = 0, wrong = 0;

    (void)state;
    if (access(SUITES "/cases.jsonl.xz", R_OK) != 0) {
        print_message("not run: there is no " SUITES " here\n");
        skip();
    }
    FILE *cases = popen("python3 tests/unit/chains.py " SUITES, "r");
    assert_non_null(cases);
    for (; getline(&line, &capacity, cases) > 0; count++)
        wrong += !judge_line(line);
    free(line);
    assert_int_equal(pclose(cases), 0);
    assert_true(count >= CASES_MIN);
    assert_int_equal(wrong, 0);
}

static int start_tls(void **state)
{
    (void)state;
    return tls_global_init() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_suites_are_judged_right),
    };

    return cmocka_run_group_tests(tests, start_tls, NULL);
}
