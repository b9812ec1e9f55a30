#include "nodedot/observe/process.h"

#include "nodedot/observe/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Entries that one getdents64(2) returns: about 40. */
#define ENTRIES_SIZE 1024

/* "." and "..". */
#define DOTS 2

static uint64_t microseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static uint64_t cpu_us(void)
{
    struct rusage usage = {0};

    getrusage(RUSAGE_SELF, &usage);
    return microseconds(&usage.ru_utime) + microseconds(&usage.ru_stime);
}

/* The second number of statm is the pages in memory (proc(5)). */
static uint64_t resident_bytes(int statm)
{
    char text[128];
    ssize_t size = pread(statm, text, sizeof text - 1, 0);
    char *second;

    if (size <= 0)
        return 0;
    text[size] = '\0';
    second = strchr(text, ' ');
    return second != NULL ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t count_entries(int directory)
{
    _Alignas(struct dirent64) char entries[ENTRIES_SIZE];
    uint64_t count = 0;
    ssize_t size;

    lseek(directory, 0, SEEK_SET);
    while ((size = getdents64(directory, entries, sizeof entries)) > 0) {
        for (ssize_t at = 0; at < size; count++)
            at += ((struct dirent64 *)(void *)(entries + at))->d_reclen;
    }
    return count > DOTS ? count - DOTS : 0;
}

/* From Linux 6.2 on the directory's size tells; before, it is 0 and its entries are counted. */
static uint64_t open_fds(int directory)
{
    struct stat s;

    if (directory < 0)
        return 0;
    if (fstat(directory, &s) == 0 && s.st_size > 0)
        return (uint64_t)s.st_size;
    return count_entries(directory);
}

void process_open(struct process *process, const struct process_status *before)
{
    process->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    process->fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    process->before_us = atomic_load(&before->cpu_us);
    process->before_lost = atomic_load(&before->log_lost) - log_lost();
}

void process_close(struct process *process)
{
    if (process->statm >= 0)
        close(process->statm);
    if (process->fds >= 0)
        close(process->fds);
}

void process_write(const struct process *process, struct process_status *status)
{
    atomic_store(&status->cpu_us, process->before_us + cpu_us());
    atomic_store(&status->resident_bytes, resident_bytes(process->statm));
    atomic_store(&status->log_lost, process->before_lost + log_lost());
    atomic_store(&status->open_fds, open_fds(process->fds));
}
