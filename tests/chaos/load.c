/* load: see chaos.h. Each client is a process that writes one line for each answer, at once:
 * microseconds before and after, key, status (0 = none), event id or "-", path. */
#include "tests/chaos/chaos.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SITE "http://page.test"
enum { HOT_PAGES = 8, KEY_MAX = 48, PATH_LEN = 128 };

static volatile sig_atomic_t stopped;

static void on_stop(int signo)
{
    (void)signo;
    stopped = 1;
}

struct answer load_post(int port, const char *key, const char *path, const char *snapshot)
{
    static const char member[] = "\"job_id\":\"";
    struct answer a = {.event = "-"};
    char *body =
        mem_printf("{\"watch_id\":\"%s\",\"watch_url\":\"" SITE "%s\",\"watch_title\":"
                   "\"A page\",\"detected_at\":\"2026-11-23T10:00:00Z\",\"snapshot\":\"%s\"}",
            key, path, snapshot);
    char *headers = mem_printf("Content-Type: application/json\r\nIdempotency-Key: %s\r\n"
                               "Authorization: Bearer " CHAOS_TOKEN "\r\n",
        key);
    struct test_reply reply =
        test_http(port, "POST", "/api/webhook/changedetection", headers, body, strlen(body));
    const char *id = strstr(reply.body, member);
    a.status = reply.status;
    if (a.status == 202 && id)
        snprintf(a.event, sizeof(a.event), "%.36s", id + strlen(member));
    free(body);
    free(headers);
    return a;
}

bool load_knows_keys(int port)
{
    struct answer first = load_post(port, "probe", "/ok/probe", "twice"),
                  second = load_post(port, "probe", "/ok/probe", "twice");
    if (first.status != 202 || second.status != 202)
        harness_fail(
            "two events in calm weather are answered %d and %d", first.status, second.status);
    return strcmp(first.event, second.event) == 0;
}

/* --- what is posted ---------------------------------------------------------------------- */

/* Nothing that closes the connection: libcurl then asks once more by itself, and one claim would
 * be seen as two scrapes.
 *
 * Of a hundred events so many: mostly pages of their own, some pages that many events are about
 * (several addresses of one page among them), and the ways in which a scrape fails. */
static const struct kind {
    int share;
    const char *path; /* %s the key, %d a hot page */
    bool hot;
} kinds[] = {
    {43, "/ok/%s",              false},
    {8,  "/ok/hot%d",           true },
    {5,  "/ok/many%d#slow/0",   true },
    {5,  "/ok/many%d#slow/150", true },
    {5,  "/ok/many%d#slow/700", true },
    {8,  "/slow/100/%s",        false},
    {15, "/slow/1200/%s",       false},
    {4,  "/flaky/1/%s",         false},
    {2,  "/fail/503/%s",        false},
    {1,  "/fail/429/%s",        false},
    {1,  "/fail/404/%s",        false},
    {1,  "/hang/%s",            false},
    {1,  "/empty/%s",           false},
    {1,  "/nojson/%s",          false},
};

static void choose_path(struct dice *d, const char *key, char path[PATH_LEN])
{
    int n = dice_upto(d, 100);
    size_t i = 0;
    while (i < COUNT(kinds) - 1 && n >= kinds[i].share)
        n -= kinds[i++].share;
    if (kinds[i].hot)
        snprintf(path, PATH_LEN, kinds[i].path, dice_upto(d, HOT_PAGES));
    else
        snprintf(path, PATH_LEN, kinds[i].path, key);
}

/* --- one client -------------------------------------------------------------------------- */

struct client {
    struct dice dice;
    int number, fd;
    const int *ports;
};

static int post_and_note(struct client *c, const char *key, const char *path, const char *snapshot)
{
    int64_t begun = wall_us();
    struct answer a = load_post(c->ports[dice_upto(&c->dice, HOSTS)], key, path, snapshot);
    dprintf(c->fd, "%lld\t%lld\t%s\t%d\t%s\t%s\n", (long long)begun, (long long)wall_us(), key,
        a.status, a.event, path);
    return a.status;
}

static void one_event(struct client *c, int n)
{
    char key[KEY_MAX], path[PATH_LEN];
    snprintf(key, sizeof(key), "c%d-%d", c->number, n);
    choose_path(&c->dice, key, path);
    int status = post_and_note(c, key, path, "it changed");
    /* A sender that got no receipt tries again; some repeat themselves anyway. */
    for (int i = 0; i < 3 && status != 202 && !stopped; i++) {
        poll(NULL, 0, dice_between(&c->dice, 20, 200));
        status = post_and_note(c, key, path, "it changed");
    }
    int odd = dice_upto(&c->dice, 100);
    if (odd < 5)
        post_and_note(c, key, path, "it changed");
    else if (odd < 7)
        post_and_note(c, key, path, "another body with the same key");
}

_Noreturn static void run_client(struct client *c)
{
    for (int n = 0; !stopped; n++) {
        one_event(c, n);
        poll(NULL, 0, dice_between(&c->dice, 5, 75));
    }
    _exit(0);
}

static bool is_stopped(void)
{
    return stopped;
}

_Noreturn static void run_crawler(const struct client *c)
{
    struct crawl_poster p = {c->dice, c->number, c->fd, c->ports, is_stopped};
    for (int n = 0; !stopped; n++)
        crawls_post_one(&p, n);
    _exit(0);
}

_Noreturn static void run(struct client *c)
{
    const struct sigaction act = {.sa_handler = on_stop}; /* no SA_RESTART: it ends a wait */
    sigaction(SIGTERM, &act, NULL);
    if (c->number < CLIENTS)
        run_client(c);
    else
        run_crawler(c);
}

void load_start(struct load *l, struct stack *s, uint64_t seed)
{
    int ports[HOSTS];
    for (int i = 0; i < HOSTS; i++)
        ports[i] = stack_producer(s, i)->port;
    for (int i = 0; i < CLIENTS + CRAWLERS; i++) {
        struct client c = {.dice = dice_of(seed, 100 + (uint64_t)i), .number = i, .ports = ports};
        l->files[i] = harness_text("%s/client-%d", s->dir, i);
        c.fd = open(l->files[i], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        pid_t parent = getpid();
        l->pids[i] = fork();
        if (l->pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            run(&c);
        }
        if (l->pids[i] < 0 || c.fd < 0)
            harness_fail("a client does not start");
        close(c.fd);
    }
}

void load_stop(struct load *l)
{
    for (int i = 0; i < CLIENTS + CRAWLERS; i++)
        kill(l->pids[i], SIGTERM);
    for (int i = 0; i < CLIENTS + CRAWLERS; i++) {
        int status;
        if (waitpid(l->pids[i], &status, 0) != l->pids[i] || status != 0)
            harness_fail("client %d ended with status %d", i, status);
    }
}
