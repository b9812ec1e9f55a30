#include "nodedot/resolver/tally.h"

#include "nodedot/dns/message.h"

#include <stddef.h>

#define COUNTER(name) offsetof(struct metrics, name)

/* By RCODE, and by QTYPE; 0, which is no counter's place: "other". */
static const uint16_t rcodes[] = {
    [RCODE_NOERROR] = COUNTER(answers_noerror_total),   [RCODE_FORMERR] = COUNTER(answers_formerr_total),
    [RCODE_SERVFAIL] = COUNTER(answers_servfail_total), [RCODE_NXDOMAIN] = COUNTER(answers_nxdomain_total),
    [RCODE_NOTIMP] = COUNTER(answers_notimp_total),     [RCODE_REFUSED] = COUNTER(answers_refused_total),
};
static const uint16_t types[] = {
    [TYPE_A] = COUNTER(type_a_total),         [TYPE_NS] = COUNTER(type_ns_total),
    [TYPE_CNAME] = COUNTER(type_cname_total), [TYPE_SOA] = COUNTER(type_soa_total),
    [TYPE_PTR] = COUNTER(type_ptr_total),     [TYPE_MX] = COUNTER(type_mx_total),
    [TYPE_TXT] = COUNTER(type_txt_total),     [TYPE_AAAA] = COUNTER(type_aaaa_total),
    [TYPE_SRV] = COUNTER(type_srv_total),     [TYPE_HTTPS] = COUNTER(type_https_total),
};

static void count(struct metrics *metrics, const uint16_t *table, size_t size, unsigned value, size_t other)
{
    size_t place = value < size && table[value] != 0 ? table[value] : other;
    _Atomic uint64_t *counter = (_Atomic uint64_t *)((char *)metrics + place);

    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

void tally_rcode(struct metrics *metrics, unsigned rcode)
{
    count(metrics, rcodes, sizeof(rcodes) / sizeof(*rcodes), rcode, COUNTER(answers_other_total));
}

void tally_type(struct metrics *metrics, uint16_t qtype)
{
    count(metrics, types, sizeof(types) / sizeof(*types), qtype, COUNTER(type_other_total));
}
