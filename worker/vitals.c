/* vitals: see vitals.h. */
#include "worker/vitals.h"

#include "base/json.h"
#include "base/log.h"
#include "domain/connect.h"
#include "worker/job.h"

#include <stdio.h>
#include <unistd.h>

enum { SHOWN_JOBS = 10 }; /* the oldest */

int64_t vitals_rss(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static const struct job *job_at(struct list_node *n)
{
    return job_of(LIST_OF(n, struct job_link, all));
}

/* "CLAIM 3 SCRAPE 20" */
static void put_steps(const struct list *jobs, struct buf *out)
{
    size_t in[JOB_NSTATES] = {0};
    LIST_EACH(jobs, n)
    {
        in[job_state(job_at(n))]++;
    }
    for (int i = 0; i < JOB_NSTATES; i++)
        if (in[i])
            buf_printf(
                out, "%s%s %zu", out->len ? " " : "", job_state_name((enum job_state)i), in[i]);
}

static void log_jobs(const struct list *jobs)
{
    int shown = 0;
    LIST_EACH(jobs, n)
    {
        const struct job *j = job_at(n);
        char id[UUID_STRLEN + 1];
        if (shown++ == SHOWN_JOBS)
            return;
        uuid_format(job_id(j), id);
        log_info("state_job", LOG_S("event_id", id), LOG_S("step", job_state_name(job_state(j))),
            LOG_I("age_ms", job_age_ms(j)));
    }
}

static const char *phase(const struct vitals *v)
{
    if (v->draining)
        return "draining";
    if (!v->working)
        return "fenced";
    return v->quiet ? "quiet" : "working";
}

void vitals_put(const struct vitals *v, struct buf *json)
{
    struct dbpool_stats pool;
    struct list_node *oldest = list_first(v->jobs);
    dbpool_stats(v->pool, &pool);
    json_put_text(json, "phase", phase(v));
    json_put_int(json, "jobs", (int64_t)v->jobs->len);
    json_put_int(json, "crawls", v->crawls);
    json_put_int(json, "oldest_ms", oldest ? job_age_ms(job_at(oldest)) : 0);
    json_put_key(json, "pool");
    buf_printf(json, "{\"open\":%d,\"busy\":%d,\"max\":%d}", pool.open, pool.busy, v->connections);
    json_put_key(json, "metrics");
    metrics_put(v->metrics, json);
    json_put_int(json, "rss_kb", vitals_rss() / 1024);
    json_put_int(json, "done", v->jobs_done);
    json_put_int(json, "restarts", v->restarts);
}

void vitals_log(const struct vitals *v)
{
    struct buf steps = {0};
    put_steps(v->jobs, &steps);
    log_info("state", LOG_S("instance", v->instance), LOG_B("working", v->working),
        LOG_B("quiet", v->quiet), LOG_B("draining", v->draining), LOG_I("jobs", v->jobs->len),
        LOG_S("steps", buf_str(&steps)), LOG_I("jobs_done", v->jobs_done),
        LOG_I("lease_age_ms", v->lease ? lease_age_ms(v->lease) : -1),
        LOG_I("store_waiting", store_waiting(v->store)),
        LOG_I("queue_waiting", queue_waiting(v->queue)), LOG_I("rss_bytes", vitals_rss()));
    buf_release(&steps);
    log_jobs(v->jobs);
    connect_log_pool("work", v->pool);
    connect_log_pool("lease", v->lease_pool);
    metrics_log(v->metrics);
}
