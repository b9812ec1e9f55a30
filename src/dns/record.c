#include "nodedot/dns/record.h"

#define LAYOUT(name, number, before_, names_, after_, open_) \
    [TYPE_##name] = {.before = (before_), .names = (names_), .after = (after_), .open = (open_)},
static const struct rdata_layout layouts[] = {DNS_TYPES(LAYOUT)};

const struct rdata_layout *rdata_layout_of(uint16_t type)
{
    const struct rdata_layout *layout;

    if (type >= sizeof(layouts) / sizeof(layouts[0]))
        return NULL;
    layout = &layouts[type];
    return layout->before != 0 || layout->names != 0 ? layout : NULL;
}
