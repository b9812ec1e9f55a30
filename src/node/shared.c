#include "nodedot/node/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Linux 6.3; not in every C library yet. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* A file that can never be executed: vm.memfd_noexec = 2 allows no other. Older kernels do not know the flag. */
static int create_file(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    return fd >= 0 || errno != EINVAL ? fd : memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

int shared_create(struct shared *shared, const char *name, size_t size)
{
    void *memory = MAP_FAILED;
    int fd = create_file(name);

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) == 0)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        int err = -errno;

        close(fd);
        return err;
    }
    *shared = (struct shared){.memory = memory, .size = size, .fd = fd};
    return 0;
}

int shared_seal(const struct shared *shared)
{
    /* Without the size seals, a holder could truncate the file, and the next access here would be a bus error. */
    int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    return fcntl(shared->fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

void shared_destroy(struct shared *shared)
{
    if (shared->memory == NULL)
        return;
    munmap(shared->memory, shared->size);
    close(shared->fd);
    shared->memory = NULL;
}
