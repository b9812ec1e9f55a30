#include "nodedot/dns/mnemonic.h"

#include "nodedot/dns/types.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct mnemonic {
    uint16_t number;
    char text[12];
};

#define TYPE_ROW(name, number, before, names, after, open) {(number), #name},
static const struct mnemonic types[] = {DNS_TYPES(TYPE_ROW)};

static const struct mnemonic classes[] = {{1, "IN"}, {3, "CH"}, {4, "HS"}, {254, "NONE"}, {255, "ANY"}};

#define RCODE_ROW(name, number) {(number), #name},
static const struct mnemonic rcodes[] = {DNS_RCODES(RCODE_ROW)};

static const char *find(const struct mnemonic *table, size_t count, uint16_t number, const char *kind, char *out)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].number == number)
            return table[i].text;
    }
    snprintf(out, MNEMONIC_TEXT, "%s%u", kind, number);
    return out;
}

const char *rrtype_to_text(uint16_t type, char *out)
{
    return find(types, sizeof(types) / sizeof(types[0]), type, "TYPE", out);
}

bool rrtype_from_text(const char *text, uint16_t *type)
{
    char *end;

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcasecmp(types[i].text, text) == 0) {
            *type = types[i].number;
            return true;
        }
    }
    if (strncasecmp(text, "TYPE", 4) != 0 || text[4] < '0' || text[4] > '9')
        return false;
    unsigned long number = strtoul(text + 4, &end, 10);
    *type = (uint16_t)number;
    return *end == '\0' && number <= UINT16_MAX;
}

const char *rrclass_to_text(uint16_t class, char *out)
{
    return find(classes, sizeof(classes) / sizeof(classes[0]), class, "CLASS", out);
}

const char *rcode_to_text(uint16_t rcode, char *out)
{
    return find(rcodes, sizeof(rcodes) / sizeof(rcodes[0]), rcode, "RCODE", out);
}
