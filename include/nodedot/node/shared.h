/* shared.h - memory that generations share and that outlives them: the cache and the status page.
 *
 * Made with memfd_create(2), mapped before a fork, so that children inherit the mapping; the file descriptor stays
 * with the supervisor.
 */
#ifndef NODEDOT_NODE_SHARED_H
#define NODEDOT_NODE_SHARED_H

#include <stdbool.h>
#include <stddef.h>

struct shared {
    void *memory; /* zeroed; NULL: none */
    size_t size;
    int fd;
};

/* Takes no memory until it is written to. 0 or -errno. */
int shared_create(struct shared *shared, const char *name, size_t size);

/* From now on a holder of the file descriptor can only read; existing mappings stay writable. */
int shared_seal(const struct shared *shared);

void shared_destroy(struct shared *shared);

#endif
