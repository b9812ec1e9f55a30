#include "nodedot/dns/record.h"

#include "nodedot/dns/message.h"

/* Octets behind an SOA's names. */
#define SOA_NUMBERS 20

static const struct rdata_layout layouts[] = {
    [TYPE_A] = {.before = 4},
    [TYPE_NS] = {.names = 1},
    [TYPE_MD] = {.names = 1},
    [TYPE_MF] = {.names = 1},
    [TYPE_CNAME] = {.names = 1},
    [TYPE_SOA] = {.names = 2, .after = SOA_NUMBERS},
    [TYPE_MB] = {.names = 1},
    [TYPE_MG] = {.names = 1},
    [TYPE_MR] = {.names = 1},
    [TYPE_PTR] = {.names = 1},
    [TYPE_MINFO] = {.names = 2},
    [TYPE_MX] = {.before = 2, .names = 1},
    [TYPE_RP] = {.names = 2},
    [TYPE_AFSDB] = {.before = 2, .names = 1},
    [TYPE_RT] = {.before = 2, .names = 1},
    [TYPE_SIG] = {.before = 18, .names = 1, .open = true},
    [TYPE_PX] = {.before = 2, .names = 2},
    [TYPE_AAAA] = {.before = 16},
    [TYPE_NXT] = {.names = 1, .open = true},
    [TYPE_SRV] = {.before = 6, .names = 1},
    [TYPE_KX] = {.before = 2, .names = 1},
    [TYPE_DNAME] = {.names = 1},
    [TYPE_RRSIG] = {.before = 18, .names = 1, .open = true},
    [TYPE_NSEC] = {.names = 1, .open = true},
};

const struct rdata_layout *rdata_layout_of(uint16_t type)
{
    const struct rdata_layout *layout;

    if (type >= sizeof(layouts) / sizeof(layouts[0]))
        return NULL;
    layout = &layouts[type];
    return layout->before != 0 || layout->names != 0 ? layout : NULL;
}
