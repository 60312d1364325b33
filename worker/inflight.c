/* inflight: see inflight.h. */
#include "worker/inflight.h"

#include "base/mem.h"
#include "base/pgarray.h"

#include <stdlib.h>

static struct job *job_at(struct list_node *n)
{
    return job_of(LIST_OF(n, struct job_link, all));
}

/* The last bytes of an event id are random (or of a digest). */
static struct list *bucket_of(struct inflight *f, const struct uuid *id)
{
    return &f->buckets[(id->b[14] << 8 | id->b[15]) % INFLIGHT_BUCKETS];
}

struct job *inflight_find(struct inflight *f, const struct uuid *id)
{
    LIST_EACH(bucket_of(f, id), n)
    {
        struct job *j = job_of(LIST_OF(n, struct job_link, bucket));
        if (uuid_equal(job_id(j), id))
            return j;
    }
    return NULL;
}

void inflight_moved(struct inflight *f, struct job *j)
{
    f->held[job_link(j)->mark].state = (uint8_t)(job_state(j) + 1);
}

void inflight_add(struct inflight *f, struct job *j)
{
    struct job_link *link = job_link(j);
    link->mark = f->free_lines[--f->room];
    list_push(&f->jobs, &link->all);
    list_push(bucket_of(f, job_id(j)), &link->bucket);
    f->held[link->mark].id = *job_id(j);
    inflight_moved(f, j);
}

void inflight_remove(struct inflight *f, struct job *j)
{
    struct job_link *link = job_link(j);
    list_remove(&f->jobs, &link->all);
    list_remove(bucket_of(f, job_id(j)), &link->bucket);
    f->held[link->mark].state = 0;
    f->free_lines[f->room++] = link->mark;
}

void inflight_abort(struct inflight *f)
{
    LIST_EACH(&f->jobs, n)
    {
        job_abort(job_at(n));
    }
}

const char *inflight_ids(struct inflight *f)
{
    char id[UUID_STRLEN + 1];
    pgarray_begin(&f->ids);
    LIST_EACH(&f->jobs, n)
    {
        uuid_format(job_id(job_at(n)), id);
        pgarray_text(&f->ids, id);
    }
    return pgarray_end(&f->ids);
}

void inflight_init(struct inflight *f, struct held *held, int max)
{
    *f = (struct inflight){.held = held, .room = max};
    list_init(&f->jobs);
    for (int i = 0; i < INFLIGHT_BUCKETS; i++)
        list_init(&f->buckets[i]);
    f->free_lines = mem_array((size_t)max, sizeof(*f->free_lines));
    for (int i = 0; i < max; i++)
        f->free_lines[i] = i;
}

void inflight_release(struct inflight *f)
{
    free(f->free_lines);
    buf_release(&f->ids);
}
