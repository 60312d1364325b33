/* The chaos driver.
 *
 *     chaos                      CHAOS_SECONDS (120) of faults from CHAOS_SEED (by chance)
 *     chaos --schedule NAME      one guarantee, with a fixed order of events
 *     chaos --list               the schedules
 *
 * HOOKLINE_BUILD: where the programs are (build); CHAOS_WORKER: another worker, one with a guarantee
 * switched off. Exit status 0: every promise was kept. 1: a violation. 2: the run itself failed. */
#include "tests/chaos/chaos.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUIET_MS = 90000, TICK_MS = 20, MAX_FAULTS = 64 };

static uint64_t seed;

static void run_failed(const char *text)
{
    printf("chaos: the run itself failed:\n%s\nSeed %llu: CHAOS_SEED=%llu make chaos\n", text,
        (unsigned long long)seed, (unsigned long long)seed);
    fflush(stdout);
    exit(2);
}

static long setting(const char *name, long otherwise)
{
    const char *v = getenv(name);
    return v && *v ? atol(v) : otherwise;
}

/* --- the run ----------------------------------------------------------------------------- */

static void storm(
    struct stack *s, struct faults *f, struct operators *o, struct viewers *eyes, long seconds)
{
    int64_t end = harness_now_ms() + seconds * 1000;
    for (int64_t now; (now = harness_now_ms()) < end; harness_pause(TICK_MS)) {
        faults_step(f, now);
        operators_step(o, now);
        stack_tend(s);
        viewers_step(eyes);
    }
}

static bool settles(struct stack *s, struct verdict *v)
{
    int64_t end = harness_now_ms() + QUIET_MS;
    while (!stack_quiet(s)) {
        if (harness_now_ms() > end) {
            verdict_add(v, "not quiet %d s after everything was healed: %ld events unfinished",
                QUIET_MS / 1000, stack_unfinished(s));
            return false;
        }
        stack_tend(s);
        harness_pause(TICK_MS * 5);
    }
    return true;
}

/* The fleet's own books, where hooklinectl knows how. */
static void audit(struct stack *s, struct verdict *v)
{
    const char *out;
    stack_ctl(s, (const char *const[]){"--help", NULL}, &out);
    if (!strstr(out, "\n  audit"))
        return;
    int code = stack_ctl(s, (const char *const[]){"audit", NULL}, &out);
    if (code != 0)
        verdict_add(v, "hooklinectl audit ends with %d:\n%s", code, out);
    else
        printf("hooklinectl audit agrees:\n%s", out);
}

/* In calm weather nothing may keep an operator from the proof. */
static void prove_empty(struct stack *s, struct verdict *v)
{
    const char *out;
    int code = stack_ctl(s,
        (const char *const[]){
            "drain", "--fence", "--unfence", "--yes", "--quiet", "--timeout", "60s", NULL},
        &out);
    if (code != 0)
        verdict_add(v, "hooklinectl drain ends with %d when all is done:\n%s", code, out);
}

/* A letter about a crawl needs a reason: an event of another body under the same id is one. */
static void read_letters(struct stack *s, struct verdict *v)
{
    long n = stack_crawl_letters(s);
    if (n)
        verdict_add(
            v, "%ld dead letters about crawls that nothing explains: XRANGE {hookline}:dead", n);
}

static long crashes(struct stack *s)
{
    char *text = harness_slurp(harness_text("%s/crashes", s->dir), 1 << 20);
    long n = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        n++;
    free(text);
    return n;
}

/* --- the report -------------------------------------------------------------------------- */

static void put_recovery(struct buf *b, const char *what, const struct recovery *r)
{
    buf_printf(b,
        "  %-22s %ld jobs; free again: median %.0f ms, worst %.0f ms;"
        " running again: median %.0f ms, worst %.0f ms\n",
        what, r->jobs, r->median_free_ms, r->worst_free_ms, r->median_ms, r->worst_ms);
}

static void print_summary(const struct fault_count *counts, int n, long ncrashes, struct verdict *v)
{
    struct buf b = {0};
    int sum = 0;
    for (int i = 0; i < n; i++) {
        buf_printf(&b, "  %-42s %4d\n", counts[i].name, counts[i].done);
        sum += counts[i].done;
    }
    buf_printf(&b, "  %-42s %4ld\n", "crash points that struck", ncrashes);
    printf("Faults: %ld\n%s", sum + ncrashes, b.data);
    printf("Posted %ld: %ld events accepted, %ld receipts again, %ld conflicts, %ld refused (503), "
           "%ld unanswered; rows %ld\nOf crawls posted %ld: %ld events accepted; rows %ld of %ld "
           "sessions, pages %ld; stored within %.1f s\n"
           "Put back through the API: %ld\nLost %ld, doubled %ld, kinds of violations %d\n",
        v->posted, v->accepted, v->duplicates, v->conflicts, v->refused, v->unanswered, v->rows,
        v->crawl_posts, v->crawl_accepted, v->crawl_events, v->crawls, v->crawl_pages,
        (double)v->crawl_waited / 1000, v->put_back, v->lost, v->doubled, v->violations);
    if (v->text.len)
        printf("%s", v->text.data);
    buf_release(&b);
}

static void put_json_recovery(FILE *f, const char *key, const struct recovery *r)
{
    fprintf(f,
        "  \"%s\": {\"jobs\": %ld, \"free_median_ms\": %.0f, \"free_worst_ms\": %.0f,"
        " \"running_median_ms\": %.0f, \"running_worst_ms\": %.0f},\n",
        key, r->jobs, r->median_free_ms, r->worst_free_ms, r->median_ms, r->worst_ms);
}

static void write_report(
    long seconds, const struct fault_count *counts, int n, long ncrashes, const struct verdict *v)
{
    FILE *f = fopen(harness_text("%s/chaos/report.json", harness_build()), "we");
    if (!f)
        return;
    fprintf(f, "{\n  \"seed\": %llu, \"seconds\": %ld,\n  \"faults\": {", (unsigned long long)seed,
        seconds);
    for (int i = 0; i < n; i++)
        fprintf(f, "\"%s\": %d, ", counts[i].name, counts[i].done);
    fprintf(f, "\"crash points\": %ld},\n", ncrashes);
    fprintf(f,
        "  \"posted\": %ld, \"accepted\": %ld, \"duplicates\": %ld, \"conflicts\": %ld,"
        " \"refused\": %ld, \"unanswered\": %ld, \"rows\": %ld,\n",
        v->posted, v->accepted, v->duplicates, v->conflicts, v->refused, v->unanswered, v->rows);
    fprintf(f,
        "  \"crawl_posts\": %ld, \"crawls\": %ld, \"crawl_events\": %ld, \"crawl_pages\": %ld,\n",
        v->crawl_posts, v->crawls, v->crawl_events, v->crawl_pages);
    put_json_recovery(f, "worker_killed", &v->process);
    put_json_recovery(f, "worker_host_killed", &v->host);
    fprintf(f, "  \"lost\": %ld, \"doubled\": %ld, \"violations\": %d\n}\n", v->lost, v->doubled,
        v->violations);
    fclose(f);
}

/* On a violation the folder with logs and data is kept for whoever wants to know why. */
static int outcome(struct verdict *v, const char *again)
{
    if (!v->violations) {
        printf("chaos: every promise was kept\n");
        return 0;
    }
    setenv("HOOKLINE_TEST_KEEP", "1", 1);
    printf("chaos: FAILED; to try again: %s\nLogs and data are in %s\n", again, harness_dir());
    return 1;
}

/* How long a dead worker's jobs may stay its own. In calm weather the supervisor tells at once, and
 * a dead host is noticed after a lease and a sweep. In a storm the janitors are killed and stopped
 * too. */
enum { CALM_MS = 2000, CALM_HOST_MS = LEASE_MS * 2, STORM_MS = 15000 };

static void check_recovery(struct verdict *v, int process_ms, int host_ms)
{
    if (v->process.worst_free_ms > process_ms)
        verdict_add(v, "a dead worker held a job for more than %d ms", process_ms);
    if (v->host.worst_free_ms > host_ms)
        verdict_add(v, "a worker of a dead host held a job for more than %d ms", host_ms);
}

static void print_recovery(const struct verdict *v)
{
    struct buf b = {0};
    put_recovery(&b, "worker killed:", &v->process);
    put_recovery(&b, "worker host killed:", &v->host);
    printf("Recovery, where no store was away\n%s", b.data);
    buf_release(&b);
}

static int random_run(long seconds)
{
    static struct stack s; /* static: what it points to lives as long as the program */
    struct load load;
    struct verdict v = {0};
    struct fault_count counts[MAX_FAULTS];
    char again[64];

    snprintf(again, sizeof(again), "CHAOS_SEED=%llu make chaos", (unsigned long long)seed);
    printf("chaos: seed %llu, %ld s\n", (unsigned long long)seed, seconds);
    fflush(stdout);
    stack_start(&s, seed, NULL);
    stack_start_unit(&s, stack_producer(&s, 0));
    stack_start_unit(&s, stack_producer(&s, 1));
    bool keys = load_knows_keys(stack_producer(&s, 0)->port);
    s.arm = true;
    stack_start_unit(&s, stack_fleet(&s, 0));
    stack_start_unit(&s, stack_fleet(&s, 1));
    struct faults *f = faults_new(&s, seed);
    struct operators *o = operators_new(&s, seed);
    struct viewers *eyes = viewers_new(&s, seed);
    load_start(&load, &s, seed);
    storm(&s, f, o, eyes, seconds);
    load_stop(&load);
    faults_heal(f);
    viewers_end(eyes, &v);
    operators_end(o, &v);
    operators_load(o);
    int64_t healed = harness_now_ms();
    stack_calm(&s);
    if (settles(&s, &v)) {
        printf("Quiet %.1f s after everything was healed\n",
            (double)(harness_now_ms() - healed) / 1000);
        audit(&s, &v);
        prove_empty(&s, &v);
    }
    read_letters(&s, &v);
    history_check(&s, &load, keys, &v);
    check_recovery(&v, STORM_MS, STORM_MS);
    int n = faults_count(f, counts, MAX_FAULTS);
    print_summary(counts, n, crashes(&s), &v);
    print_recovery(&v);
    write_report(seconds, counts, n, crashes(&s), &v);
    operators_print();
    operators_free(o);
    faults_free(f);
    return outcome(&v, again);
}

static int scheduled_run(const char *name)
{
    for (const struct schedule *k = schedules; k->name; k++) {
        static struct stack s;
        struct verdict v = {0};
        if (strcmp(k->name, name) != 0)
            continue;
        printf("chaos: schedule %s: %s\n", k->name, k->shows);
        fflush(stdout);
        k->run(&s, &v);
        history_check(&s, NULL, true, &v);
        if (v.process.jobs) {
            check_recovery(&v, CALM_MS, CALM_HOST_MS);
            print_recovery(&v);
        }
        if (v.text.len)
            printf("%s", v.text.data);
        return outcome(&v, harness_text("tests/chaos/chaos --schedule %s", name));
    }
    fprintf(stderr, "chaos: there is no schedule \"%s\"; --list tells which there are\n", name);
    return 2;
}

/* A process that has to leave while a store is away leaves its requests to the kernel: under a
 * sanitizer that is no leak worth telling. And it is to die of the SIGSEGV it is sent. The driver
 * itself has read the variable already. */
static void tame_sanitizers(void)
{
    const char *now = getenv("ASAN_OPTIONS");
    setenv("ASAN_OPTIONS", harness_text("%s:detect_leaks=0:handle_segv=0", now ? now : ""), 1);
}

int main(int argc, char **argv)
{
    long seconds = setting("CHAOS_SECONDS", 120);
    const char *given = getenv("CHAOS_SEED");

    setvbuf(stdout, NULL, _IOLBF, 0);
    harness_on_failure = run_failed;
    tame_sanitizers();
    signal(SIGPIPE, SIG_IGN);
    seed = given && *given ? strtoull(given, NULL, 10) : (uint64_t)wall_us() % 1000000;
    if (argc == 3 && strcmp(argv[1], "--schedule") == 0)
        return scheduled_run(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (const struct schedule *k = schedules; k->name; k++)
            printf("%s\n", k->name);
        return 0;
    }
    if (argc > 1 || seconds < 1) {
        fprintf(
            stderr, "usage: [CHAOS_SEED=N] [CHAOS_SECONDS=N] chaos [--schedule NAME | --list]\n");
        return 2;
    }
    return random_run(seconds);
}
