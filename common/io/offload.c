/* offload: see offload.h. Owns the thread, the queue towards it, the queue back, and the eventfd
 * that wakes the loop. The lock covers the two queues and `quit`, nothing else. */
#include "io/offload.h"

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct offload {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list todo; /* under lock */
    struct list over; /* under lock: worked, done not run yet */
    bool quit;        /* under lock */
    int wake_fd;
    struct watch watch;
    unsigned turn; /* of resolve_start, see offload.h */
};

struct resolve {
    struct offload_job job;
    struct offload *owner;
    char *host;
    bool all;
    resolve_cb *cb; /* NULL: cancelled */
    void *ctx;
    int rc; /* getaddrinfo's */
    struct addrinfo *found;
};

static void *thread_main(void *arg)
{
    struct offload *o = arg;
    const uint64_t one = 1;

    pthread_mutex_lock(&o->lock);
    while (!o->quit) {
        struct list_node *n = list_pop(&o->todo);
        if (!n) {
            pthread_cond_wait(&o->work, &o->lock);
            continue;
        }
        pthread_mutex_unlock(&o->lock);
        struct offload_job *job = LIST_OF(n, struct offload_job, node);
        job->work(job);
        pthread_mutex_lock(&o->lock);
        list_push(&o->over, n);
        if (write(o->wake_fd, &one, sizeof(one)) < 0) {
            /* only EAGAIN is possible: the counter is full, so the loop is awake already */
        }
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

static void on_wake(int what, void *ctx)
{
    struct offload *o = ctx;
    uint64_t count;
    struct list over;

    (void)what;
    if (read(o->wake_fd, &count, sizeof(count)) < 0)
        return;
    list_init(&over);
    pthread_mutex_lock(&o->lock);
    list_splice(&over, &o->over);
    pthread_mutex_unlock(&o->lock);
    for (struct list_node *n; (n = list_pop(&over));) {
        struct offload_job *job = LIST_OF(n, struct offload_job, node);
        job->done(job);
    }
}

/* Signals belong to the loop's thread: this one is born with all of them blocked. */
static int start_thread(struct offload *o)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&o->thread, NULL, thread_main, o);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_setname_np(o->thread, "offload");
    return rc;
}

struct offload *offload_new(struct loop *l, struct hl_err *err)
{
    struct offload *o = mem_new(struct offload);

    list_init(&o->todo);
    list_init(&o->over);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->work, NULL);
    o->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = o->wake_fd < 0 ? errno : start_thread(o);
    if (rc != 0)
        goto fail;
    watch_start(l, &o->watch, o->wake_fd, WATCH_READ, on_wake, o);
    return o;
fail:
    hl_fail(err, HL_FATAL,
        "the helper thread cannot be started: %s; check the limits on open files and processes",
        strerror(rc));
    if (o->wake_fd >= 0)
        close(o->wake_fd);
    free(o);
    return NULL;
}

void offload_run(struct offload *o, struct offload_job *job)
{
    pthread_mutex_lock(&o->lock);
    list_push(&o->todo, &job->node);
    pthread_cond_signal(&o->work);
    pthread_mutex_unlock(&o->lock);
}

static void resolve_free(struct resolve *r)
{
    if (r->found)
        freeaddrinfo(r->found);
    free(r->host);
    free(r);
}

static void look_up(struct offload_job *job)
{
    struct resolve *r = LIST_OF(job, struct resolve, job);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    r->rc = getaddrinfo(r->host, NULL, &hints, &r->found);
}

static const char *numeric(const struct addrinfo *a, char *out, socklen_t size)
{
    if (getnameinfo(a->ai_addr, a->ai_addrlen, out, size, NULL, 0, NI_NUMERICHOST) != 0)
        return NULL;
    return out;
}

/* The addresses wanted, separated by commas: all, or the one whose turn it is. */
static void pick_addresses(struct resolve *r, struct buf *out)
{
    char text[INET6_ADDRSTRLEN + 32]; /* room for a scope: fe80::1%eth0 */
    unsigned n = 0, i = 0;

    for (const struct addrinfo *a = r->found; a; a = a->ai_next)
        n++;
    unsigned chosen = n && !r->all ? r->owner->turn++ % n : 0;
    for (const struct addrinfo *a = r->found; a; a = a->ai_next, i++) {
        if ((!r->all && i != chosen) || !numeric(a, text, sizeof(text)))
            continue;
        if (out->len)
            buf_putc(out, ',');
        buf_puts(out, text);
    }
}

static void looked_up(struct offload_job *job)
{
    struct resolve *r = LIST_OF(job, struct resolve, job);
    struct buf addresses = {0};
    struct hl_err err = {0};

    if (r->rc == 0)
        pick_addresses(r, &addresses);
    if (!r->cb) {
        /* cancelled */
    } else if (addresses.len) {
        r->cb(HL_OK, addresses.data, NULL, r->ctx);
    } else {
        hl_fail_why(&err, HL_RETRY, HL_WHY_UNREACHABLE,
            "host name \"%.100s\" cannot be resolved: %s", r->host,
            r->rc ? gai_strerror(r->rc) : "it has no address");
        r->cb(HL_RETRY, NULL, &err, r->ctx);
    }
    buf_release(&addresses);
    resolve_free(r);
}

static struct resolve *start(
    struct offload *o, const char *host, bool all, resolve_cb *cb, void *ctx)
{
    struct resolve *r = mem_new(struct resolve);

    r->job.work = look_up;
    r->job.done = looked_up;
    r->owner = o;
    r->host = mem_strdup(host);
    r->all = all;
    r->cb = cb;
    r->ctx = ctx;
    offload_run(o, &r->job);
    return r;
}

struct resolve *resolve_start(struct offload *o, const char *host, resolve_cb *cb, void *ctx)
{
    return start(o, host, false, cb, ctx);
}

struct resolve *resolve_all_start(struct offload *o, const char *host, resolve_cb *cb, void *ctx)
{
    return start(o, host, true, cb, ctx);
}

void resolve_cancel(struct resolve *r)
{
    r->cb = NULL;
}

/* Look-ups are ours to free; any other dropped job stays its owner's. */
static void drop_look_ups(struct list *jobs)
{
    for (struct list_node *n; (n = list_pop(jobs));) {
        struct offload_job *job = LIST_OF(n, struct offload_job, node);
        if (job->done == looked_up)
            resolve_free(LIST_OF(job, struct resolve, job));
    }
}

void offload_free(struct offload *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->quit = true;
    pthread_cond_signal(&o->work);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    watch_stop(&o->watch);
    close(o->wake_fd);
    drop_look_ups(&o->todo);
    drop_look_ups(&o->over);
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->work);
    free(o);
}
