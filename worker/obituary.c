/* obituary: see obituary.h. */
#include "worker/obituary.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEPT = 64 };

struct obituaries {
    int fd; /* eventfd, inherited by every child */
    _Atomic uint32_t written, handled;
    struct obituary ring[KEPT];
};

struct obituaries *obituaries_new(void)
{
    struct obituaries *o =
        mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (o == MAP_FAILED)
        return NULL;
    o->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (o->fd >= 0)
        return o;
    munmap(o, sizeof(*o));
    return NULL;
}

void obituaries_free(struct obituaries *o)
{
    if (!o)
        return;
    close(o->fd);
    munmap(o, sizeof(*o));
}

void obituaries_add(struct obituaries *o, const struct obituary *one)
{
    uint32_t n = atomic_load(&o->written);
    if (n - atomic_load(&o->handled) >= KEPT)
        return;
    o->ring[n % KEPT] = *one;
    atomic_store(&o->written, n + 1);
    if (write(o->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0) {
        /* the janitor looks at the ring on every sweep in any case */
    }
}

int obituaries_fd(const struct obituaries *o)
{
    return o->fd;
}

bool obituaries_first(const struct obituaries *o, struct obituary *out)
{
    uint32_t next = atomic_load(&o->handled);
    if (next == atomic_load(&o->written))
        return false;
    *out = o->ring[next % KEPT];
    return true;
}

void obituaries_done(struct obituaries *o)
{
    atomic_fetch_add(&o->handled, 1);
}
