#include "nodedot/dns/mnemonic.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct mnemonic {
    uint16_t number;
    char text[12];
};

/* Those that are asked for. */
static const struct mnemonic types[] = {
    {1, "A"},       {2, "NS"},       {5, "CNAME"},       {6, "SOA"},     {12, "PTR"},    {13, "HINFO"},
    {15, "MX"},     {16, "TXT"},     {17, "RP"},         {18, "AFSDB"},  {24, "SIG"},    {25, "KEY"},
    {28, "AAAA"},   {29, "LOC"},     {33, "SRV"},        {35, "NAPTR"},  {37, "CERT"},   {39, "DNAME"},
    {41, "OPT"},    {42, "APL"},     {43, "DS"},         {44, "SSHFP"},  {46, "RRSIG"},  {47, "NSEC"},
    {48, "DNSKEY"}, {50, "NSEC3"},   {51, "NSEC3PARAM"}, {52, "TLSA"},   {53, "SMIMEA"}, {55, "HIP"},
    {59, "CDS"},    {60, "CDNSKEY"}, {61, "OPENPGPKEY"}, {62, "CSYNC"},  {63, "ZONEMD"}, {64, "SVCB"},
    {65, "HTTPS"},  {99, "SPF"},     {108, "EUI48"},     {109, "EUI64"}, {249, "TKEY"},  {250, "TSIG"},
    {251, "IXFR"},  {252, "AXFR"},   {253, "MAILB"},     {254, "MAILA"}, {255, "ANY"},   {256, "URI"},
    {257, "CAA"},
};

static const struct mnemonic classes[] = {{1, "IN"}, {3, "CH"}, {4, "HS"}, {254, "NONE"}, {255, "ANY"}};

static const struct mnemonic rcodes[] = {
    {0, "NOERROR"},  {1, "FORMERR"},  {2, "SERVFAIL"},   {3, "NXDOMAIN"}, {4, "NOTIMP"},
    {5, "REFUSED"},  {6, "YXDOMAIN"}, {7, "YXRRSET"},    {8, "NXRRSET"},  {9, "NOTAUTH"},
    {10, "NOTZONE"}, {16, "BADVERS"}, {23, "BADCOOKIE"},
};

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
