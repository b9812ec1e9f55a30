/* A chain as an unknown peer shows it: the first certificate, and a second one behind it as its CA. */
#include "nodedot/proof/certificate_parser.h"
#include "nodedot/proof/constraints.h"
#include "nodedot/proof/path.h"
#include "nodedot/proof/san.h"

#include <stdlib.h>
#include <string.h>

static bool inside(struct octets part, const uint8_t *data, size_t size)
{
    return part.at == NULL || (part.at >= data && part.size <= size && part.at + part.size <= data + size);
}

static void check(const struct certificate *c, const uint8_t *data, size_t size)
{
    char text[40];

    if (!inside(c->issuer, data, size) || !inside(c->subject, data, size) || !inside(c->spki, data, size) ||
        !inside((struct octets){c->key.raw, c->key.raw_size}, c->spki.at, c->spki.size) ||
        !inside(c->names, data, size) || !inside(c->permitted, data, size) || !inside(c->excluded, data, size))
        abort();
    if (c->path_length < CERTIFICATE_NO_PATH_LENGTH || c->path_length > 127)
        abort();
    certificate_describe_name(c->subject, text, sizeof(text));
    if (strlen(text) >= sizeof(text))
        abort();
    certificate_describe_key(c, text, sizeof(text));
    if (san_has_name(c, "")) /* nothing carries no name */
        abort();
    san_has_name(c, "www.dns.example");
    san_has_name(c, "192.0.2.1");
    for (size_t i = 0; i < 8 && san_name(c, i, text, sizeof(text)); i++)
        if (strlen(text) >= sizeof(text) || strpbrk(text, " \n;[]") != NULL) /* it is written into a configuration */
            abort();
}

/* Judges the chain with the second certificate as root, and with its key pinned. */
static void judge(const struct certificate *chain)
{
    struct path_question question = {.chain = chain,
                                     .count = 2,
                                     .roots = &chain[1],
                                     .root_count = 1,
                                     .pinned = 2,
                                     .now = chain[0].not_before,
                                     .budget = {.left_ns = PATH_BUDGET_NS}};
    struct path_verdict verdict;

    path_judge(&question, &verdict);
    if ((verdict.proved & ~question.pinned) != 0 || (verdict.proved != 0 && !chain[1].is_ca))
        abort();
    if (!verdict.trusted && verdict.root_error[0] == '\0') /* a refusal says why */
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct certificate chain[2];

    /* The first certificate's own length says where the second begins. */
    size_t first = size > 4 && data[1] == 0x82 ? 4 + ((size_t)data[2] << 8 | data[3]) : size;
    if (first > size || !certificate_parse(data, first, &chain[0]))
        return 0;
    check(&chain[0], data, first);
    if (first == size || !certificate_parse(data + first, size - first, &chain[1]))
        return 0;
    check(&chain[1], data + first, size - first);
    constraints_allow(&chain[1], &chain[0], &(struct budget){.left_ns = UINT32_MAX});
    judge(chain);
    return 0;
}
