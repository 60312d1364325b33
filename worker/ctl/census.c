/* census: see census.h. Asks one question after the other, since their order counts. */
#include "worker/ctl/census.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "domain/store_orders.h"
#include "io/spool.h"
#include "io/spool_file.h"
#include "worker/ctl/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LATE_MS = 10000,   /* a producer writes its row every 2 s */
    SILENT_MS = 60000, /* it is not expected to any more */
    MAX_NAME = 1000,   /* characters that are shown */
    MAX_IDS_SHOWN = 3, /* of a place, to people */
};

static const char *const queue_names[] = {[QUEUE_CHANGE] = "change", [QUEUE_CRAWL] = "crawl"};

/* --- what is left ------------------------------------------------------------------------ */

static struct census_left *leave(struct census *c, const char *queue, const char *place, int64_t n)
{
    c->left = mem_grow(c->left, (c->nleft + 1) * sizeof(*c->left));
    struct census_left *l = &c->left[c->nleft++];
    *l = (struct census_left){.queue = queue, .place = place, .n = n};
    return l;
}

static void name(struct census_left *l, const char *id)
{
    if (l->nids < QUEUE_CENSUS_IDS)
        l->ids[l->nids++] = mem_strdup(id);
}

/* Something that hinders a proof and does not pass. */
static void hinder(struct census *c, const char *place, const char *what, const char *remedy)
{
    struct census_left *l = leave(c, NULL, place, 0);
    l->what = mem_strdup(what);
    l->stuck = mem_strdup(remedy);
}

static void leave_ids(
    struct census *c, const char *queue, const char *place, int64_t n, const struct queue_ids *ids)
{
    if (n <= 0)
        return;
    struct census_left *l = leave(c, queue, place, n);
    for (size_t i = 0; i < ids->n; i++)
        name(l, ids->texts[i]);
}

bool census_empty(const struct census *c)
{
    return c->rc == HL_OK && c->nleft == 0;
}

bool census_stuck(const struct census *c)
{
    for (size_t i = 0; i < c->nleft; i++)
        if (!c->left[i].stuck)
            return false;
    return c->nleft > 0;
}

void census_release(struct census *c)
{
    for (size_t i = 0; i < c->nleft; i++) {
        struct census_left *l = &c->left[i];
        for (size_t k = 0; k < l->nids; k++)
            free(l->ids[k]);
        free(l->what);
        free(l->stuck);
    }
    free(c->left);
    free(c->fingerprint);
    free(c->upstream);
    free(c->heard_of);
    *c = (struct census){0};
}

static bool failed(struct census *c, enum hl_rc rc, const struct hl_err *err)
{
    if (rc == HL_OK)
        return false;
    c->rc = rc;
    c->err = *err;
    return true;
}

/* Waits for answers of a store; false where they came too late. */
static bool answered(
    struct session *s, const struct census_ask *ask, struct census *c, const char *store)
{
    if (!ask->until_ms)
        session_wait(s);
    else if (!session_wait_until(s, ask->until_ms))
        c->rc = hl_fail_why(
            &c->err, HL_RETRY, HL_WHY_TIMEOUT, "%s did not answer before the timeout", store);
    return c->rc == HL_OK;
}

/* --- spools here ------------------------------------------------------------------------- */

static int kind_of_segment(const char *file)
{
    if (spool_is_segment(file, SPOOL_SEGMENT))
        return QUEUE_CHANGE;
    return spool_is_segment(file, SPOOL_CRAWL) ? QUEUE_CRAWL : -1;
}

/* Somebody has it open and locked, as /proc/locks tells: taking the lock to find out would keep it
 * from a producer that wants to adopt it. */
static bool is_locked(ino_t inode)
{
    char line[256], mark[40];
    bool found = false;
    FILE *locks = fopen("/proc/locks", "re");
    if (!locks)
        return true; /* not known: say nothing of it */
    snprintf(mark, sizeof(mark), ":%llu ", (unsigned long long)inode);
    while (!found && fgets(line, sizeof(line), locks))
        found = strstr(line, mark) != NULL;
    fclose(locks);
    return found;
}

static void leave_segment(
    struct census *c, const char *dir, const char *file, int kind, const struct stat *st)
{
    struct census_left *l = leave(c, queue_names[kind], "spool", st->st_size - SPOOL_START);
    l->bytes = true;
    l->what = mem_printf("%s/%s%s", dir, file,
        is_locked(st->st_ino) ? ""
                              : ", which no process holds: a producer on this folder, or "
                                "`hooklinectl spool push`, brings it home");
}

static void look_at_folder(const struct census_ask *ask, const char *dir, struct census *c)
{
    struct stat st;
    DIR *d = opendir(dir);
    if (!d && errno == ENOENT && !ask->spools_must_be)
        return; /* the producers are elsewhere, and have rows of their own */
    if (!d) {
        hl_fail(&c->err, HL_FATAL,
            "spool folder %s cannot be read (%s): run this as who may, or name another with "
            "--spool",
            dir, strerror(errno));
        c->rc = HL_FATAL;
        return;
    }
    c->folders_read++;
    for (struct dirent *e; (e = readdir(d));) {
        int kind = kind_of_segment(e->d_name);
        if (kind >= 0 && ask->queues[kind] && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            st.st_size > SPOOL_START)
            leave_segment(c, dir, e->d_name, kind, &st);
    }
    closedir(d);
}

/* --- the fleet --------------------------------------------------------------------------- */

static bool names_queue(const char *list, const char *queue)
{
    size_t len = strlen(queue);
    for (const char *at = list; (at = strstr(at, queue)); at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || !at[len]))
            return true;
    return false;
}

struct member { /* a row of store_census_fleet */
    const char *what, *name, *host, *text, *by;
    int64_t age_ms, n, crawl_bytes, memory, crawl_memory, now_us;
    bool aged, numbered;
};

static struct member member_at(const PGresult *rows, int row)
{
    return (struct member){.what = db_text(rows, row, MEMBER_WHAT),
        .name = db_text(rows, row, MEMBER_NAME),
        .host = db_text(rows, row, MEMBER_HOST),
        .text = db_text(rows, row, MEMBER_TEXT),
        .by = db_text(rows, row, MEMBER_BY),
        .age_ms = db_int(rows, row, MEMBER_AGE),
        .n = db_int(rows, row, MEMBER_N),
        .crawl_bytes = db_int(rows, row, MEMBER_CRAWL_BYTES),
        .memory = db_int(rows, row, MEMBER_MEMORY),
        .crawl_memory = db_int(rows, row, MEMBER_CRAWL_MEMORY),
        .now_us = db_int(rows, row, MEMBER_NOW),
        .aged = !PQgetisnull(rows, row, MEMBER_AGE),
        .numbered = !PQgetisnull(rows, row, MEMBER_N)};
}

static char *duration(int64_t ms)
{
    struct buf b = {0};
    put_duration(&b, ms < 0 ? 0 : ms);
    return buf_detach(&b);
}

static void saw_spool(const struct census_ask *ask, const struct member *m, struct census *c)
{
    int kind = kind_of_segment(m->name);
    if (kind >= 0 && !ask->queues[kind])
        return;
    struct census_left *l =
        leave(c, kind < 0 ? NULL : queue_names[kind], "spool on a producer's disk", m->n);
    l->bytes = true;
    l->what = mem_printf("%s:%s/%s", m->host, m->text, m->name);
    if (m->age_ms <= SILENT_MS)
        return;
    char *since = duration(m->age_ms);
    l->stuck =
        mem_printf("not heard of for %s: start a producer on that folder, or bring the folder "
                   "home with `hooklinectl spool push`",
            since);
    free(since);
}

/* What it wrote before the fence was set is of an earlier one. */
static void await_fence(const struct census_ask *ask, const struct member *m, struct census *c)
{
    for (int k = 0; k < 2; k++)
        if (ask->must_be_fenced && ask->queues[k] &&
            (!names_queue(m->text, queue_names[k]) || m->age_ms >= c->fenced_ms[k]))
            leave(c, queue_names[k], "fence", 0)->what =
                mem_printf("%s on %s has not confirmed it yet", m->name, m->host);
}

/* A confirmed fence does not spare it: a neighbour may have left something in its folder meanwhile. */
static void hear(const struct member *m, struct census *c)
{
    int64_t seen_us = m->now_us - m->age_ms * 1000;
    if (c->heard_of && seen_us >= c->heard_us)
        return;
    free(c->heard_of);
    c->heard_of = mem_printf("%s on %s", m->name, m->host);
    c->heard_us = seen_us;
}

static void what_it_holds(const struct census_ask *ask, const struct member *m, struct census *c)
{
    const int64_t bytes[] = {[QUEUE_CHANGE] = m->n, [QUEUE_CRAWL] = m->crawl_bytes};
    const int64_t events[] = {[QUEUE_CHANGE] = m->memory, [QUEUE_CRAWL] = m->crawl_memory};
    for (int k = 0; k < 2; k++) {
        if (ask->queues[k] && bytes[k] > 0) {
            struct census_left *l =
                leave(c, queue_names[k], "spool on a producer's disk", bytes[k]);
            l->bytes = true;
            l->what = mem_printf("%s on %s tells of it", m->name, m->host);
        }
        if (ask->queues[k] && events[k] > 0)
            leave(c, queue_names[k], "a producer's memory", events[k])->what =
                mem_printf("%s on %s tells of it", m->name, m->host);
    }
}

/* Whether it may still be taking events in, and what is on its disk, only it knows. */
static void saw_producer(const struct census_ask *ask, const struct member *m, struct census *c)
{
    char *since = duration(m->age_ms);
    c->producers++;
    if (m->age_ms > SILENT_MS) {
        c->producers_silent++;
        if (!ask->ignore_silent) {
            struct census_left *l = leave(c, NULL, "producer", 0);
            l->what = mem_printf("%s on %s has been silent for %s", m->name, m->host, since);
            l->stuck =
                mem_strdup("look whether it lives and what its spool holds; if it is gone for "
                           "good, --ignore-silent leaves it out");
        }
    } else if (m->age_ms > LATE_MS) {
        leave(c, NULL, "producer", 0)->what =
            mem_printf("%s on %s has not reported for %s", m->name, m->host, since);
    } else {
        await_fence(ask, m, c);
        hear(m, c);
    }
    if (m->age_ms <= SILENT_MS)
        what_it_holds(ask, m, c);
    free(since);
}

bool census_heard_since(const struct census *c, const struct census *first)
{
    return !c->heard_of || c->heard_us >= first->fleet_us + (int64_t)ORDERS_TIMEOUT_MS * 1000;
}

void census_leave_unheard(struct census *c)
{
    leave(c, NULL, "producer", 0)->what =
        mem_printf("%s has not reported since the first look", c->heard_of);
}

static void saw_worker(const struct census_ask *ask, const struct member *m, struct census *c)
{
    if (m->age_ms > 2 * ask->lease_ms)
        c->workers.silent++;
    else if (strcmp(m->text, "quiet") == 0 || strcmp(m->text, "draining") == 0)
        c->workers.quiet++;
    else
        c->workers.alive++;
}

static void saw_queue(const struct census_ask *ask, const struct member *m, struct census *c)
{
    for (int k = 0; k < 2; k++) {
        if (strcmp(m->name, queue_names[k]) != 0)
            continue;
        c->paused[k] = m->aged;
        c->fenced[k] = m->numbered;
        c->fenced_ms[k] = m->n;
        if (ask->must_be_fenced && ask->queues[k] && !m->numbered) {
            struct census_left *l = leave(c, queue_names[k], "fence", 0);
            l->what = mem_strdup("somebody lifted it");
            l->stuck = mem_strdup("begin again with --fence");
        }
    }
}

static bool look_at_fleet(struct session *s, const struct census_ask *ask, struct census *c)
{
    struct answer a = {.session = s};
    store_census_fleet(s->store, answer_keep, answer_asked(&a));
    if (!answered(s, ask, c, "PostgreSQL") || failed(c, a.rc, &a.err)) {
        answer_release(&a);
        return false;
    }
    if (PQntuples(a.rows) == CENSUS_MEMBERS)
        hinder(c, "fleet", "more producers, workers and spools than can be looked at",
            "delete rows of webhook.producers that stand for nothing any more");
    for (int i = 0; i < PQntuples(a.rows); i++) {
        const struct member m = member_at(a.rows, i);
        c->fleet_us = m.now_us;
        if (m.what[0] == 'q')
            saw_queue(ask, &m, c);
    }
    for (int i = 0; i < PQntuples(a.rows); i++) {
        const struct member m = member_at(a.rows, i);
        switch (m.what[0]) {
        case 's': saw_spool(ask, &m, c); break;
        case 'p': saw_producer(ask, &m, c); break;
        case 'w': saw_worker(ask, &m, c); break;
        case 'u':
            if (!c->upstream) {
                c->upstream = mem_strdup(m.name);
                c->upstream_ms = m.age_ms;
            }
            break;
        default: break; /* a queue */
        }
    }
    answer_release(&a);
    return true;
}

/* --- Redis ------------------------------------------------------------------------------- */

struct tally_call {
    struct session *session;
    const struct census_ask *ask;
    struct census *census;
    struct buf *fingerprint;
    char *generation;
};

/* Entries of `later` whose time has not come are not counted where retries are ignored; those that are
 * only half there always are. */
static void leave_later(
    const struct census_ask *ask, int kind, const struct queue_tally *q, struct census *c)
{
    const char *queue = queue_names[kind];
    int64_t waiting = ask->retries == RETRIES_IGNORE ? q->later_due : q->later;
    leave_ids(c, queue, "later", waiting, &q->later_ids);
    c->ignored += kind == QUEUE_CRAWL ? q->later - waiting : 0;
    leave_ids(
        c, queue, "later without its job", q->later - (q->later_jobs - q->orphans), &q->later_ids);
    leave_ids(c, queue, "job that later does not name", q->orphans, &q->later_orphans);
}

static void leave_tally(
    const struct census_ask *ask, int kind, const struct queue_tally *q, struct census *c)
{
    int64_t waiting = q->length - q->pending;
    leave_ids(c, queue_names[kind], "pending", q->pending, &q->delivered);
    leave_ids(c, queue_names[kind], "stream", waiting > 0 ? waiting : 0, &q->waiting);
    leave_later(ask, kind, q, c);
}

static void put_tally(struct buf *b, int kind, const struct queue_tally *q)
{
    char key[32];
    snprintf(key, sizeof(key), "redis_%s_added", queue_names[kind]);
    json_put_int(b, key, q->added);
    snprintf(key, sizeof(key), "redis_%s_last_id", queue_names[kind]);
    json_put_text(b, key, q->last_id);
}

static void tallied(
    enum hl_rc rc, const struct queue_tallies *t, const struct hl_err *err, void *ctx)
{
    struct tally_call *call = ctx;
    struct census *c = call->census;
    if (!failed(c, rc, err)) {
        json_put_text(call->fingerprint, "redis_run_id", t->run_id);
        json_put_text(call->fingerprint, "redis_generation", t->generation);
        call->generation = mem_strdup(t->generation);
        c->dead = t->dead;
        if (t->replica)
            hinder(c, "Redis", "this server is a replica, and may be behind",
                "ask the one that the fleet writes to (WEBHOOK_REDIS_URL)");
        for (int k = 0; k < 2; k++) {
            const struct queue_tally *q = &t->queues[k];
            c->numbers[k] =
                (struct queue_tally_numbers){q->length, q->pending, q->later, q->added, -1};
            if (*q->first_id)
                c->numbers[k].oldest_ms = t->at_ms - strtoll(q->first_id, NULL, 10);
            if (!call->ask->queues[k])
                continue;
            leave_tally(call->ask, k, q, c);
            put_tally(call->fingerprint, k, q);
        }
    }
    session_answered(call->session);
}

static bool look_at_redis(struct tally_call *call)
{
    struct session *s = call->session;
    session_asked(s);
    queue_tally(s->queue, s->crawl_queue, tallied, call);
    return answered(s, call->ask, call->census, "Redis");
}

/* --- rows -------------------------------------------------------------------------------- */

/* Redis has to hold the contents that PostgreSQL knows by name: an empty one that has forgotten, or is
 * the wrong one, proves nothing. One that was never told is new. */
static void check_generation(const PGresult *rows, const char *redis, struct census *c)
{
    const char *known = db_text(rows, 0, CENSUS_GENERATION);
    bool announced = strcmp(db_text(rows, 0, CENSUS_ANNOUNCED), "t") == 0;
    if (strcmp(known, redis) == 0 || (!announced && !*redis))
        return;
    struct census_left *l = leave(c, NULL, "generation", 0);
    if (strcmp(redis, "rebuilding") == 0) {
        l->what = mem_strdup("Redis is being filled again from the rows");
        return;
    }
    l->what = *redis ? mem_printf("Redis holds generation %s, PostgreSQL knows %s", redis, known)
                     : mem_strdup("Redis has forgotten what it held, or is not the right one");
    l->stuck =
        mem_strdup("see that WEBHOOK_REDIS_URL and WEBHOOK_QUEUE_PREFIX are those of the fleet; "
                   "a running janitor fills a Redis that has forgotten");
}

static void leave_rows(
    struct census *c, const PGresult *names, const char *kind, int64_t n, const char *place)
{
    if (n <= 0)
        return;
    struct census_left *l = leave(c, "change", place, n);
    for (int i = 0; i < PQntuples(names); i++)
        if (strcmp(db_text(names, i, 0), kind) == 0)
            name(l, db_text(names, i, 1));
}

static int64_t age_ms(const PGresult *rows, enum census_col col)
{
    return PQgetisnull(rows, 0, col) ? -1
                                     : (db_int(rows, 0, CENSUS_NOW) - db_int(rows, 0, col)) / 1000;
}

static void saw_rows(
    const struct census_ask *ask, const PGresult *rows, const PGresult *names, struct census *c)
{
    int64_t later = db_int(rows, 0, CENSUS_LATER), due = db_int(rows, 0, CENSUS_DUE);
    c->in_progress = db_int(rows, 0, CENSUS_IN_PROGRESS);
    c->later = later;
    c->next_due_us = db_int(rows, 0, CENSUS_NEXT_DUE);
    c->oldest_us = db_int(rows, 0, CENSUS_OLDEST);
    c->rows_due = due;
    c->crawls_to_ask = db_int(rows, 0, CENSUS_CRAWLS_TO_ASK);
    c->rows_oldest_ms = age_ms(rows, CENSUS_OLDEST);
    if (!ask->queues[QUEUE_CHANGE])
        return;
    int64_t orphaned = db_int(rows, 0, CENSUS_ORPHANED);
    leave_rows(c, names, "in_progress", c->in_progress, "rows in progress");
    if (orphaned)
        c->left[c->nleft - 1].what =
            mem_printf("%lld of them by workers that are dead or gone", (long long)orphaned);
    leave_rows(c, names, "due", due, "rows queued");
    if (ask->retries == RETRIES_IGNORE)
        c->ignored += later;
    else
        leave_rows(c, names, "later", later, "rows waiting for a later attempt");
}

static void put_rows(const struct census_ask *ask, const PGresult *rows, struct buf *b)
{
    json_put_text(b, "postgres_server", db_text(rows, 0, CENSUS_SERVER));
    json_put_text(b, "generation", db_text(rows, 0, CENSUS_GENERATION));
    json_put_text(b, "generation_crawl", db_text(rows, 0, CENSUS_GENERATION_CRAWL));
    if (!ask->queues[QUEUE_CHANGE])
        return;
    json_put_int(b, "scrape_clock", db_int(rows, 0, CENSUS_CLOCK));
    json_put_int(b, "last_row", db_int(rows, 0, CENSUS_SERIAL));
}

static bool look_at_rows(struct tally_call *call)
{
    struct session *s = call->session;
    struct census *c = call->census;
    struct answer rows = {.session = s}, names = {.session = s};

    store_census_names(s->store, QUEUE_CENSUS_IDS, answer_keep, answer_asked(&names));
    if (answered(s, call->ask, c, "PostgreSQL") && !failed(c, names.rc, &names.err)) {
        store_census(s->store, answer_keep, answer_asked(&rows));
        if (answered(s, call->ask, c, "PostgreSQL"))
            failed(c, rows.rc, &rows.err);
    }
    if (c->rc == HL_OK) {
        saw_rows(call->ask, rows.rows, names.rows, c);
        put_rows(call->ask, rows.rows, call->fingerprint);
        check_generation(rows.rows, call->generation, c);
        if (strcmp(db_text(rows.rows, 0, CENSUS_STANDBY), "t") == 0)
            hinder(c, "PostgreSQL", "this server is a standby, and may be behind",
                "ask the primary (WEBHOOK_DATABASE_URL)");
    }
    answer_release(&rows);
    answer_release(&names);
    return c->rc == HL_OK;
}

/* --- what does not go by itself ---------------------------------------------------------- */

/* Nothing in a queue that is paused, or that nobody works off, goes; what is in hand does. */
static void judge(struct census *c)
{
    static const char *const in_hand[] = {"pending", "rows in progress", "fence", "generation"};
    for (size_t i = 0; i < c->nleft; i++) {
        struct census_left *l = &c->left[i];
        if (l->stuck || l->n == 0 || strncmp(l->place, "spool", 5) == 0)
            continue;
        int k = l->queue && strcmp(l->queue, "crawl") == 0 ? QUEUE_CRAWL : QUEUE_CHANGE;
        bool held = false;
        for (size_t j = 0; j < sizeof(in_hand) / sizeof(*in_hand); j++)
            held |= strcmp(l->place, in_hand[j]) == 0;
        if (c->workers.alive == 0 && !(held && c->workers.quiet > 0))
            l->stuck = mem_strdup(c->workers.quiet ? "all workers are quiet: `hooklinectl workers "
                                                     "quiet --off`"
                                                   : "no worker lives: start hookline-worker");
        else if (c->paused[k] && !held)
            l->stuck = mem_printf("the queue is paused: `hooklinectl resume %s`", queue_names[k]);
    }
}

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A change event is counted once, though it has a row and a job; of a spool nobody knows how many are
 * in it. */
static int64_t estimate(const struct census_ask *ask, const struct census *c)
{
    const struct queue_tally_numbers *n = c->numbers;
    int64_t rows = c->rows_due + c->in_progress, events = 0;
    int64_t jobs = n[QUEUE_CHANGE].length;
    if (ask->retries != RETRIES_IGNORE) {
        rows += c->later;
        jobs += n[QUEUE_CHANGE].later;
    }
    if (ask->queues[QUEUE_CHANGE])
        events += largest(rows, jobs);
    if (ask->queues[QUEUE_CRAWL])
        events += n[QUEUE_CRAWL].length + n[QUEUE_CRAWL].later;
    return events;
}

void census_take(struct session *s, const struct census_ask *ask, struct census *c)
{
    struct buf fingerprint = {0};
    struct tally_call call = {.session = s, .ask = ask, .census = c, .fingerprint = &fingerprint};

    *c = (struct census){.at_us = clock_wall_us(), .began_ms = clock_mono_ms()};
    buf_putc(&fingerprint, '{');
    for (size_t i = 0; i < ask->nspools && c->rc == HL_OK; i++)
        look_at_folder(ask, ask->spools[i], c);
    if (c->rc == HL_OK && look_at_fleet(s, ask, c) && look_at_redis(&call) && look_at_rows(&call)) {
        judge(c);
        c->events = estimate(ask, c);
    }
    buf_putc(&fingerprint, '}');
    c->fingerprint = buf_detach(&fingerprint);
    free(call.generation);
}

/* --- for people and programs ------------------------------------------------------------- */

static void put_count(const struct census_left *l, struct buf *out)
{
    buf_puts(out, l->queue ? l->queue : "");
    buf_puts(out, l->queue ? ": " : "");
    if (l->bytes)
        put_bytes(out, l->n);
    else if (l->n)
        buf_printf(out, "%lld", (long long)l->n);
    buf_printf(out, l->n ? " in %s" : "%s", l->place);
}

/* What others wrote, without what a terminal would obey. */
static void put_named(const char *before, const char *text, struct buf *out)
{
    buf_puts(out, before);
    text_one_line(text, MAX_NAME, out);
}

/* Enough to look one up; the rest is in the JSON. They were read a moment after they were counted. */
static void put_some_ids(const struct census_left *l, struct buf *out)
{
    size_t k = 0;
    for (; k < l->nids && k < MAX_IDS_SHOWN; k++)
        put_named(k ? " " : ": ", l->ids[k], out);
    if (k && l->n > (int64_t)k && !l->bytes)
        buf_puts(out, " ...");
}

void census_put_left(const struct census *c, struct buf *out)
{
    for (size_t i = 0; i < c->nleft; i++) {
        const struct census_left *l = &c->left[i];
        buf_puts(out, "  ");
        put_count(l, out);
        if (l->what)
            put_named(": ", l->what, out);
        put_some_ids(l, out);
        if (l->stuck)
            buf_printf(out, "\n    stuck: %s", l->stuck);
        buf_putc(out, '\n');
    }
}

void census_put_left_json(const struct census *c, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < c->nleft; i++) {
        const struct census_left *l = &c->left[i];
        buf_puts(out, i ? ",{" : "{");
        json_put_text(out, "queue", l->queue);
        json_put_text(out, "place", l->place);
        json_put_int(out, l->bytes ? "bytes" : "n", l->n);
        json_put_text(out, "what", l->what);
        json_put_text(out, "stuck", l->stuck);
        json_put_key(out, "ids");
        buf_putc(out, '[');
        for (size_t k = 0; k < l->nids; k++) {
            buf_puts(out, k ? "," : "");
            json_put_string(out, l->ids[k]);
        }
        buf_puts(out, "]}");
    }
    buf_putc(out, ']');
}
