/* obituary: see obituary.h. Two rings: of the dead, and of the jobs they held. Pages of either that
 * nobody ever needs cost no memory. */
#include "worker/obituary.h"

#include "worker/jobstate.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct obituaries {
    size_t size; /* of all this */
    int fd;      /* eventfd, inherited by every child */
    _Atomic uint32_t written, handled;
    struct obituary ring[OBITUARIES_KEPT];
    _Atomic uint64_t held_handled; /* places of `held` before this one are free */
    uint64_t held_written;         /* the supervisor's alone */
    size_t nheld;
    struct held held[];
};

const char *held_step(const struct held *h)
{
    return h->state > 0 && h->state <= JOB_NSTATES ? job_state_name((enum job_state)(h->state - 1))
                                                   : "?";
}

bool held_in_work(const struct held *h)
{
    static const bool in_work[JOB_NSTATES] = {
        [JOB_SCRAPE] = true,
        [JOB_INDEX] = true,
        [JOB_COMPLETE] = true,
        [JOB_FAIL] = true,
        [JOB_RELEASE] = true,
    };
    return h->state > 0 && h->state <= JOB_NSTATES && in_work[h->state - 1];
}

struct obituaries *obituaries_new(size_t held)
{
    size_t size = sizeof(struct obituaries) + held * sizeof(struct held);
    struct obituaries *o =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (o == MAP_FAILED)
        return NULL;
    o->size = size;
    o->nheld = held;
    o->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (o->fd >= 0)
        return o;
    munmap(o, size);
    return NULL;
}

void obituaries_free(struct obituaries *o)
{
    if (!o)
        return;
    close(o->fd);
    munmap(o, o->size);
}

/* What the process worked on goes first: where room is short, blame is what must not be lost. */
static void keep_held(
    struct obituaries *o, struct obituary *one, const struct held *slots, size_t nslots)
{
    size_t room = o->nheld - (size_t)(o->held_written - atomic_load(&o->held_handled));
    one->held_at = o->held_written;
    one->nheld = one->nlost = 0;
    for (int rest = 0; rest < 2; rest++)
        for (size_t i = 0; i < nslots; i++) {
            if (!slots[i].state || held_in_work(&slots[i]) == rest)
                continue;
            if (one->nheld == room) {
                one->nlost++;
                continue;
            }
            o->held[(one->held_at + one->nheld++) % o->nheld] = slots[i];
        }
}

bool obituaries_add(
    struct obituaries *o, struct obituary *one, const struct held *slots, size_t nslots)
{
    uint32_t n = atomic_load(&o->written);
    if (n - atomic_load(&o->handled) >= OBITUARIES_KEPT)
        return false;
    keep_held(o, one, slots, nslots);
    o->held_written += one->nheld;
    o->ring[n % OBITUARIES_KEPT] = *one;
    atomic_store(&o->written, n + 1);
    if (write(o->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0) {
        /* the janitor looks at the ring on every sweep in any case */
    }
    return true;
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
    *out = o->ring[next % OBITUARIES_KEPT];
    return true;
}

struct held obituaries_held(const struct obituaries *o, const struct obituary *one, size_t i)
{
    return o->held[(one->held_at + i) % o->nheld];
}

void obituaries_done(struct obituaries *o)
{
    struct obituary one;
    if (!obituaries_first(o, &one))
        return;
    atomic_store(&o->held_handled, one.held_at + one.nheld);
    atomic_fetch_add(&o->handled, 1);
}
