/* Takes the place of calloc() and free() (the linker's --wrap) for the large tables that a worker takes at start: fresh
 * pages of the kernel cost what is touched of them, while a sanitizer's allocator marks every octet, thousands of times. */
#include "simulation/simulation.h"

#include "simulation/check.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define LARGE  (64 * 1024)
#define TABLES 256

static struct {
    void *at;
    size_t size;
} tables[TABLES];

void *__real_calloc(size_t count, size_t size);
void __real_free(void *at);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *at);

void *__wrap_calloc(size_t count, size_t size)
{
    if (size == 0 || count < LARGE / size || count > SIZE_MAX / size)
        return __real_calloc(count, size);
    for (unsigned i = 0; i < TABLES; i++) {
        if (tables[i].at != NULL)
            continue;
        tables[i].size = count * size;
        tables[i].at = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(tables[i].at != MAP_FAILED);
        return tables[i].at;
    }
    return __real_calloc(count, size);
}

void __wrap_free(void *at)
{
    for (unsigned i = 0; i < TABLES && at != NULL; i++) {
        if (tables[i].at != at)
            continue;
        munmap(tables[i].at, tables[i].size);
        tables[i].at = NULL;
        return;
    }
    __real_free(at);
}

unsigned memory_tables(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < TABLES; i++)
        count += tables[i].at != NULL;
    return count;
}
